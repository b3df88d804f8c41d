//! Servers that fail, ask to wait or are hostile, and files that are damaged.

use std::{
    fs, io,
    net::{SocketAddr, TcpListener},
    time::{Duration, Instant},
};

use serde_json::json;

use super::{ALPN, Acme, FAILED, HTTP};
use crate::support::{
    acme::{Fault, Resource},
    eventually,
    feed::Feed,
    server::TestServer,
};

#[test]
fn a_failing_server_is_asked_again_and_again_and_the_old_certificate_stays() {
    let acme = Acme::new();
    acme.store_due();
    let problem = Fault::Problem(500, "serverInternal", "the database is down", None);
    acme.acme.fail(Resource::NewOrder, problem);
    let mut it = acme.start_usual(HTTP);
    let old = acme.shown(&it, "localhost", &[]).expect("the stored one");
    let asked = acme.acme.wait_asked(Resource::NewOrder, 3);
    let waits: Vec<_> = asked.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let seconds = [2, 4].map(Duration::from_secs);
    assert!(
        waits[0] >= seconds[0] && waits[1] >= seconds[1],
        "{waits:?}"
    );
    assert_eq!(acme.shown(&it, "localhost", &[]).expect("kept"), old);
    let said = "urn:ietf:params:acme:error:serverInternal: the database is down";
    assert_eq!(it.state("localhost")["error"], said);
    assert_eq!(it.logged(FAILED), 1, "it is told once");
    let metrics = it.server.admin_get("/metrics").body;
    assert!(
        metrics.contains(r#"acme_orders_total{result="failed"}"#),
        "{metrics}"
    );
    acme.acme.recover();
    it.server.process.signal("HUP");
    it.wait_rest("localhost");
    assert!(it.state("localhost")["error"].is_null());
    assert_ne!(acme.shown(&it, "localhost", &[]).expect("a new one"), old);
}

#[test]
fn a_server_that_asks_to_wait_is_not_asked_before_not_even_on_sighup() {
    for status in [429, 503] {
        let acme = Acme::new();
        let kind = "rateLimited";
        let problem = Fault::Problem(status, kind, "too many certificates", Some("5"));
        acme.acme.fail_next(Resource::NewOrder, problem);
        let mut it = acme.start_usual(HTTP);
        it.expect_log("urn:ietf:params:acme:error:rateLimited: too many certificates");
        it.expect_log("retry_after_s=5");
        it.server.process.signal("HUP");
        let asked = acme.acme.wait_asked(Resource::NewOrder, 2);
        let waited = asked[1] - asked[0];
        assert!(waited >= Duration::from_secs(5), "{status}: {waited:?}");
        acme.wait_shown(&it, "localhost");
    }
}

#[test]
fn a_nonce_that_is_not_accepted_is_replaced() {
    let acme = Acme::new();
    acme.acme.refuse_nonces(2);
    let it = acme.start_usual(ALPN);
    acme.wait_shown(&it, "localhost");
    assert_eq!(it.logged(FAILED), 0);
}

#[test]
fn an_invalid_order_is_told_with_what_the_authority_says_and_tried_again_on_sighup() {
    let acme = Acme::new();
    let elsewhere = TestServer::usual();
    let mut it = acme.start(acme.setup(HTTP, &["localhost"]));
    let mut feed = Feed::connect(&it.server);
    acme.acme.check_at(elsewhere.public, elsewhere.public);
    let told = feed.expect("certificates_refused");
    let message = told["message"].as_str().expect("text");
    let said = "localhost: urn:ietf:params:acme:error:unauthorized: another answer";
    assert!(message.contains(said), "{message}");
    it.expect_log("urn:ietf:params:acme:error:unauthorized");
    eventually("the next order is some minutes away", || {
        let next = it.state("localhost")["next_order_s"].as_u64()?;
        (200..=300).contains(&next).then_some(())
    });
    acme.check_at(&it);
    it.server.process.signal("HUP");
    acme.wait_shown(&it, "localhost");
    it.wait_rest("localhost");
    assert!(it.state("localhost")["error"].is_null());
}

#[test]
fn damaged_files_lead_to_a_new_order_and_a_line() {
    let acme = Acme::new();
    fs::create_dir_all(acme.own()).expect("a folder");
    for file in ["account.json", "localhost.pem"] {
        fs::write(acme.own().join(file), "broken\n").expect("it is written");
    }
    let it = acme.start_usual(HTTP);
    acme.wait_shown(&it, "localhost");
    it.expect_log("a stored certificate can't be used; another one is ordered");
    it.expect_log("the ACME account can't be read; a new one is made");
    it.wait_rest("localhost");
    let served = acme.wait_shown(&it, "localhost");
    // While the server runs, too: what is served stays until the next one comes.
    fs::write(acme.own().join("localhost.pem"), "broken again\n").expect("it is written");
    acme.acme.wait_asked(Resource::NewOrder, 2);
    eventually("the new certificate is served", || {
        let shown = acme.shown(&it, "localhost", &[]);
        (shown.expect("there is always one") != served).then_some(())
    });
}

#[test]
fn a_certificate_that_can_t_be_stored_is_not_ordered_again_at_once() {
    let acme = Acme::new();
    fs::create_dir_all(acme.own().join("localhost.pem")).expect("a folder in its place");
    let it = acme.start_usual(HTTP);
    it.expect_log("the certificate can't be stored: ");
    eventually("the next order is some minutes away", || {
        let next = it.state("localhost")["next_order_s"].as_u64()?;
        (200..=300).contains(&next).then_some(())
    });
    assert_eq!(acme.orders(), 1);
    it.expect_well();
}

#[test]
fn a_process_that_is_killed_while_it_orders_holds_up_no_other() {
    let acme = Acme::new();
    let setup = acme.setup(HTTP, &["localhost"]);
    let mut one = acme.start(setup.clone());
    acme.acme.wait_asked(Resource::Challenge, 1);
    let other = acme.start(setup);
    one.server.kill();
    acme.check_at(&other);
    acme.wait_shown(&other, "localhost");
    other.wait_rest("localhost");
    assert_eq!(acme.orders(), 2);
    assert_eq!(acme.acme.asked(Resource::NewAccount).len(), 1);
    let left = fs::read_dir(acme.own().join("challenges")).expect("a folder");
    assert_eq!(left.count(), 0, "the answers of the dead are left behind");
}

/// A directory whose resources are all at another server.
fn foreign_directory(victim: SocketAddr) -> String {
    let url = format!("https://{victim}/x");
    let body = json!({"newNonce": url, "newAccount": url, "newOrder": url}).to_string();
    let length = body.len();
    format!("HTTP/1.1 200 x\r\nContent-Length: {length}\r\n\r\n{body}")
}

#[test]
fn a_hostile_server_harms_nobody() {
    let victim = TcpListener::bind("127.0.0.1:0").expect("a free port");
    victim.set_nonblocking(true).expect("an option");
    let address = victim.local_addr().expect("an address");
    let raw = |text: String| Fault::Raw(text);
    let redirect =
        format!("HTTP/1.1 307 x\r\nLocation: https://{address}/\r\nContent-Length: 0\r\n\r\n");
    let long = format!("HTTP/1.1 200 x\r\nX: {}\r\n\r\n", "x".repeat(1 << 20));
    let token = |token: &str| {
        let body = json!({
            "status": "pending",
            "identifier": {"type": "dns", "value": "localhost"},
            "challenges": [{"type": "http-01", "url": "https://127.0.0.1/", "token": token, "status": "pending"}],
        });
        let (body, nonce) = (body.to_string(), "Replay-Nonce: x");
        let length = body.len();
        Fault::Raw(format!(
            "HTTP/1.1 200 x\r\n{nonce}\r\nContent-Length: {length}\r\n\r\n{body}"
        ))
    };
    let far = "HTTP/1.1 200 x\r\nReplay-Nonce: x\r\nRetry-After: 18446744073709551615\r\nContent-Length: 2\r\n\r\n{}";
    for (resource, fault, told) in [
        (Resource::Directory, Fault::Endless, "too long"),
        (Resource::NewOrder, Fault::Endless, "too long"),
        (Resource::Directory, raw(long), "can't be reached"),
        (Resource::Directory, raw(redirect), "answers 307"),
        (
            Resource::Directory,
            raw(foreign_directory(address)),
            "which is another server",
        ),
        (
            Resource::Directory,
            raw("HTTP/1.1 200 x\r\nContent-Length: 1\r\n\r\n{".to_owned()),
            "unexpected answer",
        ),
        (Resource::NewOrder, raw(far.to_owned()), "unexpected answer"),
        (
            Resource::Authorization,
            token("../../stolen"),
            "token of the ACME server's challenge is malformed",
        ),
    ] {
        let acme = Acme::new();
        acme.acme.fail(resource, fault);
        let it = acme.start_usual(HTTP);
        it.expect_log(FAILED);
        it.expect_log(told);
        it.expect_well();
    }
    let met = victim.accept().expect_err("nobody was led there").kind();
    assert_eq!(met, io::ErrorKind::WouldBlock);
}

#[test]
fn a_server_that_is_silent_holds_up_neither_clients_nor_the_stop() {
    let acme = Acme::new();
    acme.acme.fail(Resource::NewOrder, Fault::Silent);
    let mut it = acme.start_usual(HTTP);
    acme.acme.wait_asked(Resource::NewOrder, 1);
    it.expect_well();
    let began = Instant::now();
    it.server.terminate();
    it.server.expect_clean_exit();
    assert!(began.elapsed() < Duration::from_secs(15));
}
