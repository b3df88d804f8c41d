//! §7.2: the ways in which libraries sign one thing and send another.

use serde_json::json;

use crate::support::{
    api::{Call, encode},
    server::TestServer,
    setup::Setup,
};

/// The call's own query and signature, with `query` instead of what `signed` stands for.
fn target_with(call: &Call, signed: &str, query: &str) -> String {
    let target = call.target();
    assert!(target.contains(signed), "{target}");
    target.replace(signed, query)
}

fn list(server: &TestServer) -> Call {
    server.api().call("GET", "/channels")
}

fn occupied(server: &TestServer) -> crate::support::client::TestClient {
    let mut client = server.client();
    client.join("presence-a", "7");
    client
}

#[test]
fn a_php_array_is_signed_as_one_value() {
    let server = TestServer::usual();
    let _client = occupied(&server);
    let call = list(&server)
        .set("filter_by_prefix", "presence-")
        .set("info", "user_count,subscription_count");
    let expected = json!({"channels": {"presence-a": {"user_count": 1, "subscription_count": 1}}});
    let signed = "info=user_count%2Csubscription_count";
    for sent in [
        signed,
        "info=user_count,subscription_count",
        "info%5B0%5D=user_count&info%5B1%5D=subscription_count",
        "info[0]=user_count&info[1]=subscription_count",
        "info%5B%5D=user_count&info%5B%5D=subscription_count",
    ] {
        call.send_to(&target_with(&call, signed, sent))
            .is(&expected);
    }
}

#[test]
fn an_array_may_be_signed_verbatim() {
    let server = TestServer::usual();
    let call = list(&server).set("extra[]", "one");
    let signed_with_both = format!(
        "GET\n/apps/1001/channels\nauth_key={}&auth_timestamp={}&auth_version=1.0&extra[]=b&extra[]=a",
        server.app().key,
        crate::support::api::unix_now()
    );
    let signature = crate::support::signing::hmac_hex(&server.app().secret, &signed_with_both);
    let query = signed_with_both.rsplit('\n').next().unwrap();
    for query in [query.to_owned(), query.replace("[]", "%5B%5D")] {
        let target = format!("/apps/1001/channels?{query}&auth_signature={signature}");
        call.send_to(&target).is(&json!({"channels": {}}));
    }
    call.send().is(&json!({"channels": {}}));
}

#[test]
fn parameters_may_come_in_any_order_and_the_signature_first() {
    let server = TestServer::usual();
    let call = list(&server).set("zeta", "1").set("alpha", "2");
    let target = call.target();
    let (path, query) = target.split_once('?').unwrap();
    let mut pairs: Vec<_> = query.split('&').collect();
    for _ in 0..pairs.len() {
        pairs.rotate_right(1);
        call.send_to(&format!("{path}?{}", pairs.join("&")))
            .is(&json!({"channels": {}}));
    }
}

#[test]
fn names_are_signed_in_lower_case() {
    let server = TestServer::usual();
    let call = list(&server).set("Zeta", "1").set("ALPHA", "Mixed Case");
    call.send().is(&json!({"channels": {}}));
}

#[test]
fn values_may_be_sent_encoded_or_not() {
    let server = TestServer::usual();
    let value = "a,b;c@d=e/f:g'h(i)~*!$";
    let call = list(&server).set("extra", value);
    let encoded = format!("extra={}", encode(value));
    call.send().is(&json!({"channels": {}}));
    let sent = target_with(&call, &encoded, &format!("extra={value}"));
    call.send_to(&sent).is(&json!({"channels": {}}));
    let lower = encoded.to_lowercase();
    call.send_to(&target_with(&call, &encoded, &lower))
        .is(&json!({"channels": {}}));
}

#[test]
fn a_plus_is_a_plus_or_a_space() {
    let server = TestServer::usual();
    for (signed, encoded) in [("a+b", "extra=a%2Bb"), ("a b", "extra=a%20b")] {
        let call = list(&server).set("extra", signed);
        call.send().is(&json!({"channels": {}}));
        call.send_to(&target_with(&call, encoded, "extra=a+b"))
            .is(&json!({"channels": {}}));
    }
}

#[test]
fn values_beyond_ascii_are_signed_decoded() {
    let server = TestServer::usual();
    list(&server)
        .set("extra", "é日本😀")
        .send()
        .is(&json!({"channels": {}}));
}

#[test]
fn the_path_may_be_signed_decoded_or_as_it_was_sent() {
    let server = TestServer::usual();
    let _client = occupied(&server);
    let decoded = "/apps/1001/channels/presence-a";
    for sent in [
        "/apps/1001/channels/presence-a",
        "/apps/1001/channels/presence%2Da",
        "/apps/1001/channels/%70resence-a",
    ] {
        for signed in [decoded, sent] {
            let call = list(&server).path(sent).signed_path(signed);
            call.send().is(&json!({"occupied": true}));
        }
    }
    let call = server
        .api()
        .call("POST", "/")
        .path("/apps/1001/users/u%201/terminate_connections");
    call.clone().send().is_empty_object();
    call.signed_path("/apps/1001/users/u 1/terminate_connections")
        .send()
        .is_empty_object();
}

#[test]
fn the_prefix_may_be_signed_or_not() {
    let server = TestServer::start(Setup::new().set("server.path_prefix", "/ws"));
    let bare = "/apps/1001/channels";
    let prefixed = "/ws/apps/1001/channels";
    for (sent, signed) in [(bare, bare), (prefixed, bare), (prefixed, prefixed)] {
        list(&server)
            .path(sent)
            .signed_path(signed)
            .send()
            .is(&json!({"channels": {}}));
    }
    list(&server)
        .path("/other/apps/1001/channels")
        .send()
        .is_error(404);
}

#[test]
fn no_equivalent_opens_another_request() {
    let server = TestServer::usual();
    let call = list(&server).set("info", "subscription_count");
    let signed = "info=subscription_count";
    for sent in [
        "info=user_count",
        "info[0]=user_count",
        "",
        "info=subscription_count&info=user_count",
    ] {
        call.send_to(&target_with(&call, signed, sent))
            .is_error(401);
    }
    call.clone()
        .signed_path("/apps/1001/channels/")
        .send()
        .is_error(401);
    call.signed_path("/apps/1001/CHANNELS").send().is_error(401);
}
