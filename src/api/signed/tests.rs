use super::*;
use crate::{app::Secret, protocol::signature};

const AUTH: &str = "auth_key=app-key-1&auth_timestamp=1700000000&auth_version=1.0";
const CLOCK: Clock = Clock {
    now_s: 1_700_000_000,
    tolerance_s: 600,
};

fn app() -> App {
    App {
        secret: Some(Secret::new("app-secret-1")),
        ..App::for_test("app1", "app-key-1")
    }
}

fn verify(method: &str, path: &str, query: &str, body: &str) -> Result<(), ApiError> {
    let request = SignedRequest {
        method,
        path,
        query,
    };
    let app = app();
    let (parameters, secret) = request.check(&app, CLOCK)?;
    let verified = request.verify(parameters, body.as_bytes(), secret, "/ws");
    verified.map(|_| ())
}

fn refusal(method: &str, path: &str, query: &str, body: &str) -> Option<Unauthorized> {
    match verify(method, path, query, body) {
        Ok(()) => None,
        Err(ApiError::Unauthorized(cause)) => Some(cause),
        Err(other) => panic!("{other}"),
    }
}

/// Signs `text` and sends `path` and `query`.
#[track_caller]
fn passes(text: &str, path: &str, query: &str) {
    let signature = signature::sign(b"app-secret-1", &[text.as_bytes()]);
    let query = format!("{query}&auth_signature={signature}");
    assert_eq!(
        refusal("GET", path, &query, ""),
        None,
        "{text:?} as {path}?{query}"
    );
}

#[track_caller]
fn fails(text: &str, path: &str, query: &str) {
    let signature = signature::sign(b"app-secret-1", &[text.as_bytes()]);
    let query = format!("{query}&auth_signature={signature}");
    let refused = refusal("GET", path, &query, "");
    assert!(
        matches!(refused, Some(Unauthorized::Signature(_))),
        "{text:?} as {path}?{query}"
    );
}

/// Every golden vector of the protocol reference that is a request: method, path, query, body, signature.
#[rustfmt::skip]
const GOLDEN: &[(&str, &str, &str, &str, &str)] = &[
    ("POST", "/apps/app1/events", "body_md5=e4b8576ecddb042f26e6a75aa7361149",
     r#"{"name":"order.created","channel":"orders","data":"{\"id\":42}","socket_id":"11.22"}"#,
     "2b35d77be86bc9fec858358ded82b2693a43df9df1909e3e497c00ae2f933d0e"),
    ("GET", "/apps/app1/channels", "filter_by_prefix=presence-&info=user_count", "",
     "a0f9c47b27d9fcd214d4cca0c9aecfbecec8e6f680a11607c9c21b81a2c642f7"),
    ("GET", "/apps/app1/channels", "info[0]=user_count&info[1]=subscription_count", "",
     "e81b466d450d86283daf726217756dac2dba7e4d452e1cbb52f3daf58b1545cd"),
    ("GET", "/apps/app1/channels", "info%5B0%5D=user_count&info%5B1%5D=subscription_count", "",
     "e81b466d450d86283daf726217756dac2dba7e4d452e1cbb52f3daf58b1545cd"),
    ("GET", "/apps/app1/channels", "Info=user_count&Zeta=1", "",
     "62904dce6fbb16173e323b519d067d7f5b3c7af88bb70de7be86ba6368756e52"),
    ("POST", "/apps/app1/users/u-1/terminate_connections", "body_md5=99914b932bd37a50b983c5e7c90ae93b", "{}",
     "e9b6c1e1d4c6ee3843388d90a880744945b8c476c3e1b15d090e6df79b0f9600"),
    ("POST", "/apps/app1/batch_events", "body_md5=7fb321f44172f1df42bcad820829635b",
     r#"{"batch":[{"name":"a","channel":"c1","data":"1"},{"name":"b","channel":"presence-c2","data":"2","info":"user_count"}]}"#,
     "2d959ab256ab41eb752f221d0f74829656cfa44700f59af60482050e18c4c5de"),
    ("POST", "/apps/app1/channels/orders/events", "body_md5=053d97b35951861fb2a956062b3a95dd&name=order.created",
     r#"{"id":42}"#, "deb3af4e1443ae718bc3af2c7fdf8cc588506d2dee5db28ced0c27fac263e474"),
];

#[test]
fn golden_vectors() {
    for (method, path, query, body, signature) in GOLDEN {
        for query in [
            format!("{AUTH}&{query}&auth_signature={signature}"),
            format!("auth_signature={signature}&{query}&{AUTH}"),
        ] {
            assert_eq!(refusal(method, path, &query, body), None, "{path}?{query}");
        }
        let flipped = format!("{AUTH}&{query}&auth_signature=f{}", &signature[1..]);
        assert!(
            refusal(method, path, &flipped, body).is_some(),
            "{path}?{flipped}"
        );
    }
}

#[test]
fn the_example_of_pushers_documentation() {
    let app = App {
        secret: Some(Secret::new("7ad3773142a6692b25b8")),
        ..App::for_test("3", "278d425bdf160c739803")
    };
    let request = SignedRequest {
        method: "POST",
        path: "/apps/3/events",
        query: "body_md5=ec365a775a4cd0599faeb73354201b6f&auth_version=1.0&auth_key=278d425bdf160c739803\
                &auth_timestamp=1353088179\
                &auth_signature=da454824c97ba181a32ccc17a72625ba02771f50b50e1e7430e47a1f3f457e6c",
    };
    let body = br#"{"name":"foo","channels":["project-3"],"data":"{\"some\":\"data\"}"}"#;
    let then = Clock {
        now_s: 1_353_088_179,
        tolerance_s: 600,
    };
    let (parameters, secret) = request.check(&app, then).expect("the time is right");
    assert!(request.verify(parameters, body, secret, "").is_ok());
    assert!(request.check(&app, CLOCK).is_err());
}

#[test]
fn equivalents_pass() {
    let path = "/apps/app1/channels";
    let text = |path: &str, rest: &str| format!("GET\n{path}\n{AUTH}{rest}");
    for (signed, sent) in [
        ("&info=a,b", "&info%5B0%5D=a&info%5B1%5D=b"),
        ("&info=a,b", "&info[]=a&info[]=b"),
        (
            "&channels[]=b&channels[]=a",
            "&channels[]=b&channels%5B%5D=a",
        ),
        ("&x=a+b", "&x=a+b"),
        ("&x=a b", "&x=a+b"),
        ("&x=a b", "&x=a%20b"),
        ("&x=a,b c", "&x[0]=a&x[1]=b+c"),
        ("&x=é&y=", "&y&x=%C3%A9"),
    ] {
        passes(&text(path, signed), path, &format!("{AUTH}{sent}"));
    }
    for (signed, sent) in [
        ("/apps/app1/users/a b/x", "/apps/app1/users/a%20b/x"),
        ("/apps/app1/users/a%20b/x", "/apps/app1/users/a%20b/x"),
        ("/ws/apps/app1/users/a b/x", "/apps/app1/users/a%20b/x"),
        ("/ws/apps/app1/channels", "/apps/app1/channels"),
    ] {
        passes(&text(signed, ""), sent, AUTH);
        passes(
            &text(signed, "&i=a,b c"),
            sent,
            &format!("{AUTH}&i[]=a&i[]=b+c"),
        );
    }
}

#[test]
fn what_says_something_else_does_not_pass() {
    let path = "/apps/app1/channels";
    let text = |path: &str, rest: &str| format!("GET\n{path}\n{AUTH}{rest}");
    for (signed, sent) in [
        ("", "&info=a"),
        ("&info=a", ""),
        ("&info=a,b", "&info[]=b&info[]=a"),
        ("&info=a", "&info=A"),
        ("&x=a%20b", "&x=a%20b"),
        ("&x=a b", "&x=a-b"),
    ] {
        fails(&text(path, signed), path, &format!("{AUTH}{sent}"));
    }
    for signed in [
        "/apps/app1/channels/",
        "/apps/app2/channels",
        "/other/apps/app1/channels",
        "/ws",
    ] {
        fails(&text(signed, ""), path, AUTH);
    }
    fails(&format!("get\n{path}\n{AUTH}"), path, AUTH);
}

#[test]
fn the_error_names_the_element_that_does_not_fit() {
    let body = r#"{"id":42}"#;
    let good = format!("{AUTH}&body_md5=053d97b35951861fb2a956062b3a95dd&auth_signature=00");
    let of = |query: &str| refusal("POST", "/apps/app1/events", query, body);
    for (old, new, expected) in [
        ("auth_key=app-key-1&", "", Unauthorized::Missing("auth_key")),
        ("app-key-1", "app-key-2", Unauthorized::Key),
        (
            "&auth_version=1.0",
            "",
            Unauthorized::Missing("auth_version"),
        ),
        ("1.0", "1.1", Unauthorized::Version),
        (
            "&auth_timestamp=1700000000",
            "",
            Unauthorized::Missing("auth_timestamp"),
        ),
        ("1700000000", "soon", Unauthorized::Timestamp),
        ("1700000000", "-1", Unauthorized::Timestamp),
        (
            "1700000000",
            "1700000601",
            Unauthorized::Clock {
                off_s: 601,
                tolerance_s: 600,
            },
        ),
        (
            "1700000000",
            "1699999399",
            Unauthorized::Clock {
                off_s: 601,
                tolerance_s: 600,
            },
        ),
        (
            "&body_md5=053d97b35951861fb2a956062b3a95dd",
            "",
            Unauthorized::Missing("body_md5"),
        ),
        ("053d97b3", "053d97b4", Unauthorized::BodyMd5),
        ("053d97b3", "053d97", Unauthorized::BodyMd5),
        (
            "&auth_signature=00",
            "",
            Unauthorized::Missing("auth_signature"),
        ),
    ] {
        assert_eq!(
            of(&good.replace(old, new)),
            Some(expected),
            "{old} -> {new}"
        );
    }
    for edge in ["1700000600", "1699999400"] {
        let refused = of(&good.replace("1700000000", edge));
        assert!(
            matches!(refused, Some(Unauthorized::Signature(_))),
            "{edge}: {refused:?}"
        );
    }
    let signed = format!("{AUTH}&body_md5=053d97b35951861fb2a956062b3a95dd");
    let signed = format!("POST\n/apps/app1/events\n{signed}");
    assert_eq!(of(&good), Some(Unauthorized::Signature(signed.into())));
}

#[test]
fn an_empty_body_may_have_its_md5() {
    let path = "/apps/app1/channels";
    let md5 = |md5: &str| format!("{AUTH}&body_md5={md5}");
    let empty = md5("d41d8cd98f00b204e9800998ecf8427e");
    passes(&format!("GET\n{path}\n{empty}"), path, &empty);
    let other = md5("99914b932bd37a50b983c5e7c90ae93b");
    assert_eq!(
        refusal("GET", path, &other, ""),
        Some(Unauthorized::BodyMd5)
    );
}
