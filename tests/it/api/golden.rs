//! §13: requests whose signatures were computed elsewhere, years ago; only the clock is told to be tolerant.

use serde_json::json;

use crate::support::{
    app::App,
    http::{Http, Response},
    server::TestServer,
    setup::Setup,
};

const AUTH: &str = "auth_key=app-key-1&auth_timestamp=1700000000&auth_version=1.0";

fn server() -> TestServer {
    let setup = Setup::new()
        .set("api.timestamp_tolerance_s", 4_000_000_000_u32)
        .app(App::with_secret("app1", "app-key-1", "app-secret-1"))
        .app(App::with_secret(
            "3",
            "278d425bdf160c739803",
            "7ad3773142a6692b25b8",
        ));
    TestServer::start(setup)
}

fn request(server: &TestServer, method: &str, target: &str, body: &str) -> Response {
    let mut http = Http::connect(server.public);
    let length = body.len();
    http.send(format!(
        "{method} {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}"
    ));
    http.response()
}

/// The signature is right: another one is 401, this one is not.
#[track_caller]
fn is_right(
    server: &TestServer,
    method: &str,
    target: &str,
    signature: &str,
    body: &str,
) -> Response {
    let flipped = if signature.starts_with('0') { "1" } else { "0" }.to_owned() + &signature[1..];
    request(
        server,
        method,
        &format!("{target}&auth_signature={flipped}"),
        body,
    )
    .is_error(401);
    let response = request(
        server,
        method,
        &format!("{target}&auth_signature={signature}"),
        body,
    );
    assert_ne!(response.status, 401, "{response:?}");
    response
}

#[test]
fn the_worked_example_of_events() {
    let body =
        r#"{"name":"order.created","channel":"orders","data":"{\"id\":42}","socket_id":"11.22"}"#;
    let target = format!("/apps/app1/events?{AUTH}&body_md5=e4b8576ecddb042f26e6a75aa7361149");
    let signature = "2b35d77be86bc9fec858358ded82b2693a43df9df1909e3e497c00ae2f933d0e";
    is_right(&server(), "POST", &target, signature, body).is_empty_object();
}

#[test]
fn the_example_of_pushers_own_documentation() {
    let body = r#"{"name":"foo","channels":["project-3"],"data":"{\"some\":\"data\"}"}"#;
    let target = "/apps/3/events?body_md5=ec365a775a4cd0599faeb73354201b6f&auth_version=1.0\
                  &auth_key=278d425bdf160c739803&auth_timestamp=1353088179";
    let signature = "da454824c97ba181a32ccc17a72625ba02771f50b50e1e7430e47a1f3f457e6c";
    is_right(&server(), "POST", target, signature, body).is_empty_object();
}

#[test]
fn channels_with_a_filter() {
    let target = format!("/apps/app1/channels?{AUTH}&filter_by_prefix=presence-&info=user_count");
    let signature = "a0f9c47b27d9fcd214d4cca0c9aecfbecec8e6f680a11607c9c21b81a2c642f7";
    is_right(&server(), "GET", &target, signature, "").is(&json!({"channels": {}}));
}

#[test]
fn an_array_as_php_sends_it() {
    let server = server();
    let signature = "e81b466d450d86283daf726217756dac2dba7e4d452e1cbb52f3daf58b1545cd";
    for info in [
        "info%5B0%5D=user_count&info%5B1%5D=subscription_count",
        "info[0]=user_count&info[1]=subscription_count",
        "info=user_count%2Csubscription_count",
        "info=user_count,subscription_count",
    ] {
        let target = format!("/apps/app1/channels?{AUTH}&{info}");
        // Rightly signed, and then `user_count` without a filter is refused.
        is_right(&server, "GET", &target, signature, "").is_error(400);
    }
}

#[test]
fn upper_case_names() {
    let target = format!("/apps/app1/channels?{AUTH}&Info=user_count&Zeta=1");
    let signature = "62904dce6fbb16173e323b519d067d7f5b3c7af88bb70de7be86ba6368756e52";
    let response = is_right(&server(), "GET", &target, signature, "");
    assert!([200, 400].contains(&response.status), "{response:?}");
}

#[test]
fn terminate_connections() {
    let target = "/apps/app1/users/u-1/terminate_connections";
    let target = format!("{target}?{AUTH}&body_md5=99914b932bd37a50b983c5e7c90ae93b");
    let signature = "e9b6c1e1d4c6ee3843388d90a880744945b8c476c3e1b15d090e6df79b0f9600";
    is_right(&server(), "POST", &target, signature, "{}").is_empty_object();
}

#[test]
fn a_batch() {
    let body = r#"{"batch":[{"name":"a","channel":"c1","data":"1"},{"name":"b","channel":"presence-c2","data":"2","info":"user_count"}]}"#;
    let target =
        format!("/apps/app1/batch_events?{AUTH}&body_md5=7fb321f44172f1df42bcad820829635b");
    let signature = "2d959ab256ab41eb752f221d0f74829656cfa44700f59af60482050e18c4c5de";
    let response = is_right(&server(), "POST", &target, signature, body);
    response.is(&json!({"batch": [{}, {"user_count": 0}]}));
}

#[test]
fn the_legacy_endpoint() {
    let target = format!(
        "/apps/app1/channels/orders/events?{AUTH}&body_md5=053d97b35951861fb2a956062b3a95dd&name=order.created"
    );
    let signature = "deb3af4e1443ae718bc3af2c7fdf8cc588506d2dee5db28ced0c27fac263e474";
    assert_eq!(
        is_right(&server(), "POST", &target, signature, r#"{"id":42}"#).status,
        202
    );
}
