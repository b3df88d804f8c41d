//! From what was seen to the names of faults, as tables.

use std::{net::IpAddr, time::Duration};

use rustls::{CertificateError, Error as TlsError};

use super::{
    fault::Fault,
    judge::{self, Verdict},
    route::{self, Place, Placed, other_prefixes},
    seen::{
        Answer, Attempt, Certificate, Delivery, Fallback, Idle, Layer, Names, Opened, Ports,
        Routes, Signed, Tried,
    },
};
use crate::{
    cli::{
        network::{Issuer, Presented},
        sources::endpoint_of,
    },
    protocol::CloseCode,
};

const DAY_S: u64 = 86_400;
const HTML: &str = "<html><h1>Not Found</h1></html>";
const NO_PATH: &str = r#"{"error":"there is nothing at this path","code":404}"#;

fn faults(verdict: &Verdict) -> Vec<&'static str> {
    match verdict {
        Verdict::Found(findings) => findings
            .iter()
            .map(|it| it.fault.description().name)
            .collect(),
        Verdict::Fine(_) | Verdict::Skipped(_) => Vec::new(),
    }
}

fn answer(status: u16, text: &str) -> Answer {
    Answer {
        status,
        text: text.to_owned(),
        ..Answer::default()
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn refused(code: Option<CloseCode>) -> Opened {
    Opened::Refused {
        code: code.map(CloseCode::number),
        reason: "words".to_owned(),
    }
}

#[test]
fn names_and_their_addresses() {
    for (host, addresses, expected) in [
        ("h", Err("unknown".to_owned()), &["no_address"][..]),
        ("h", Ok(vec![]), &["no_address"]),
        ("h", Ok(vec![ip("192.0.2.1"), ip("2001:db8::1")]), &[]),
        ("h", Ok(vec![ip("2001:db8::1")]), &["ipv6_only"]),
        // Whoever writes an address knows which network it is of.
        ("2001:db8::1", Ok(vec![ip("2001:db8::1")]), &[]),
    ] {
        let names = Names {
            host: host.to_owned(),
            addresses,
        };
        assert_eq!(
            faults(&judge::names(&names)),
            expected,
            "{:?}",
            names.addresses
        );
    }
}

#[test]
fn ports_that_accept_refuse_and_say_nothing() {
    let accepted = || Attempt::Accepted(Duration::from_millis(3));
    for (attempts, expected) in [
        (vec![accepted()], &[][..]),
        (vec![accepted(), accepted()], &[]),
        (vec![Attempt::Refused], &["port_refused"]),
        (vec![Attempt::Silent], &["port_silent"]),
        (vec![Attempt::Refused, Attempt::Silent], &["port_silent"]),
        (
            vec![Attempt::Failed("no route".to_owned())],
            &["port_refused"],
        ),
        (vec![Attempt::Silent, accepted()], &["address_down"]),
    ] {
        let attempts: Vec<_> = attempts
            .into_iter()
            .map(|one| (ip("192.0.2.1"), one))
            .collect();
        let ports = Ports {
            port: 443,
            attempts,
        };
        assert_eq!(
            faults(&judge::ports(&ports)),
            expected,
            "{:?}",
            ports.attempts
        );
    }
}

#[test]
fn what_a_port_speaks() {
    let no_tls = |speaks_http| Layer::NoTls {
        error: "corrupt message".to_owned(),
        speaks_http,
    };
    for (layer, expected) in [
        (no_tls(true), &["tls_on_plain_port"][..]),
        (no_tls(false), &["tls_failed"]),
        (Layer::Plain { speaks_tls: true }, &["plain_on_tls_port"]),
        (Layer::Plain { speaks_tls: false }, &[]),
    ] {
        assert_eq!(faults(&judge::layer(&layer)), expected);
    }
}

#[test]
fn certificates_by_what_verification_says_and_who_issued_them() {
    use CertificateError::{Expired, NotValidForName, NotValidYet, UnknownIssuer};
    let unknown = || Some(UnknownIssuer);
    for (error, issuer, left_s, expected) in [
        (None, Issuer::Presented, 60 * DAY_S, &[][..]),
        (None, Issuer::Absent, 60 * DAY_S, &[]),
        (
            None,
            Issuer::Presented,
            13 * DAY_S,
            &["certificate_expires_soon"],
        ),
        (
            Some(Expired),
            Issuer::Presented,
            0,
            &["certificate_expired"],
        ),
        (Some(Expired), Issuer::Itself, 0, &["certificate_expired"]),
        (
            Some(NotValidYet),
            Issuer::Presented,
            0,
            &["certificate_not_yet_valid"],
        ),
        (
            Some(NotValidForName),
            Issuer::Presented,
            0,
            &["certificate_wrong_name"],
        ),
        (unknown(), Issuer::Itself, 0, &["certificate_self_signed"]),
        (
            unknown(),
            Issuer::Absent,
            0,
            &["certificate_chain_incomplete"],
        ),
        (
            unknown(),
            Issuer::Presented,
            0,
            &["certificate_unknown_issuer"],
        ),
    ] {
        let now_s = 1_700_000_000;
        let layer = Layer::Tls(Certificate {
            host: "h".to_owned(),
            presented: Presented {
                refused: error.clone().map(TlsError::InvalidCertificate),
                issuer,
                expires_s: Some(now_s + left_s),
            },
            now_s,
        });
        assert_eq!(
            faults(&judge::layer(&layer)),
            expected,
            "{error:?} {issuer:?}"
        );
    }
}

/// What hosts and proxies say, and whose answer it is.
#[test]
fn answers_to_signed_requests_are_told_apart() {
    let mut with_password = answer(401, "Authorization Required");
    with_password.challenge = Some("Basic".to_owned());
    for (answer, expected) in [
        (answer(200, r#"{"channels":{}}"#), Place::Here),
        (answer(200, "Welcome to nginx!"), Place::Nothing),
        (answer(404, HTML), Place::Nothing),
        (answer(404, NO_PATH), Place::Nothing),
        (
            answer(404, r#"{"error":"no app has this id","code":404}"#),
            Place::Here,
        ),
        // soketi, whose errors have the status 200.
        (
            answer(
                200,
                r#"{"error":"The app 9 could not be found.","code":404}"#,
            ),
            Place::Here,
        ),
        // Reverb.
        (
            answer(404, "No matching application for ID [9]."),
            Place::Here,
        ),
        (
            answer(401, "Authentication signature invalid."),
            Place::Here,
        ),
        (
            answer(401, r#"{"error":"auth_signature is wrong","code":401}"#),
            Place::Here,
        ),
        (with_password, Place::Blocked),
        (answer(403, HTML), Place::Blocked),
        (answer(502, HTML), Place::Down),
        (
            answer(503, r#"{"error":"too many events are waiting"}"#),
            Place::Here,
        ),
        (answer(301, ""), Place::Redirected),
    ] {
        assert_eq!(
            Ok::<_, String>(answer.clone()).place(),
            expected,
            "{answer:?}"
        );
    }
    assert_eq!(
        Err::<Answer, _>("broken".to_owned()).place(),
        Place::Silence
    );
}

#[test]
fn answers_to_upgrades_are_told_apart() {
    for (opened, expected) in [
        (Opened::Greeted, Place::Here),
        (Opened::Silent, Place::Here),
        (refused(Some(CloseCode::AppNotFound)), Place::Here),
        (refused(Some(CloseCode::PathNotFound)), Place::Nothing),
        (Opened::NotUpgraded(answer(426, "")), Place::NoUpgrade),
        (Opened::NotUpgraded(answer(404, NO_PATH)), Place::NoUpgrade),
        (Opened::NotUpgraded(answer(404, HTML)), Place::Nothing),
        (Opened::NotUpgraded(answer(504, HTML)), Place::Down),
        (Opened::Broken("reset".to_owned()), Place::Silence),
    ] {
        assert_eq!(opened.place(), expected, "{opened:?}");
    }
}

fn tried<T>(path: &str, written: T, others: Vec<(&str, T)>) -> Tried<T> {
    let others = others.into_iter();
    Tried {
        endpoint: endpoint_of(&format!("https://h{path}")).expect("a URL"),
        written,
        others: others
            .map(|(prefix, one)| (prefix.to_owned(), one))
            .collect(),
    }
}

#[test]
fn routes_by_what_is_under_them() {
    let here = || Ok::<_, String>(answer(200, r#"{"channels":{}}"#));
    let page = || Ok::<_, String>(answer(404, HTML));
    let no_path = || Ok::<_, String>(answer(404, NO_PATH));
    let not = |status, text| Opened::NotUpgraded(answer(status, text));
    let routes = |path, opened: Opened, signed: Signed, of_nobody| Routes {
        socket: tried(path, opened, vec![]),
        api: tried(path, signed, vec![]),
        of_nobody,
    };
    for (routes, expected) in [
        (routes("", Opened::Greeted, here(), None), &[][..]),
        (routes("", refused(None), here(), None), &[]),
        (routes("", not(404, NO_PATH), here(), None), &["no_upgrade"]),
        (
            routes("", not(426, ""), page(), Some(page())),
            &["no_upgrade", "apps_not_forwarded"],
        ),
        (
            routes("", not(404, HTML), here(), None),
            &["app_not_forwarded"],
        ),
        (
            routes("", Opened::Greeted, page(), None),
            &["apps_not_forwarded"],
        ),
        (
            routes("", not(404, HTML), page(), Some(page())),
            &["host_rewritten"],
        ),
        (
            routes("", not(404, HTML), page(), Some(Ok(answer(200, "other")))),
            &["wrong_prefix"],
        ),
        // A Pusher host does not mind the Host header.
        (
            routes("", not(404, NO_PATH), no_path(), Some(no_path())),
            &["wrong_prefix"],
        ),
        (
            routes("", not(502, HTML), Ok(answer(502, HTML)), None),
            &["server_down"],
        ),
        (
            routes("", not(301, ""), Ok(answer(301, "")), None),
            &["redirected"],
        ),
        (
            routes("", Opened::Greeted, Ok(answer(403, HTML)), None),
            &["request_refused"],
        ),
        (
            routes("", Opened::Broken(String::new()), Err(String::new()), None),
            &["no_http"],
        ),
    ] {
        let (opened, signed) = (&routes.socket.written, &routes.api.written);
        let seen = format!("{opened:?} {signed:?}");
        assert_eq!(faults(&route::routes(&routes)), expected, "{seen}");
    }
}

#[test]
fn the_path_under_which_the_host_is_names_the_fault() {
    let here = || Ok::<_, String>(answer(200, r#"{"channels":{}}"#));
    let page = || Ok::<_, String>(answer(404, HTML));
    let not = || Opened::NotUpgraded(answer(404, HTML));
    for (written, right, expected) in [
        ("/ws/", "/ws", "doubled_slash"),
        ("//", "", "doubled_slash"),
        ("", "/ws", "wrong_prefix"),
        ("/ws", "", "wrong_prefix"),
        ("/app/key", "", "wrong_prefix"),
    ] {
        assert!(
            other_prefixes(written).contains(&right.to_owned()),
            "{written}"
        );
        let routes = Routes {
            socket: tried(
                written,
                not(),
                vec![("/x", not()), (right, Opened::Greeted)],
            ),
            api: tried(written, page(), vec![("/x", page()), (right, here())]),
            of_nobody: Some(page()),
        };
        assert_eq!(faults(&route::routes(&routes)), [expected], "{written}");
    }
}

#[test]
fn the_same_path_is_not_tried_twice() {
    for written in ["", "/ws", "/ws/", "/app/key", "/a//b/"] {
        let others = other_prefixes(written);
        let mut distinct = others.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), others.len(), "{others:?}");
        assert!(!others.contains(&written.to_owned()), "{others:?}");
    }
}

#[test]
fn clocks_are_compared_by_date_and_by_what_the_host_says() {
    let dated = |clock_ahead_s| {
        Ok::<_, String>(Answer {
            clock_ahead_s,
            ..answer(200, r#"{"channels":{}}"#)
        })
    };
    let late = r#"{"error":"auth_timestamp is 1200 s off this server's clock","code":401}"#;
    for (signed, expected) in [
        (dated(Some(0)), &[][..]),
        (dated(Some(-59)), &[]),
        (dated(Some(61)), &["clock_skewed"]),
        (dated(Some(-700)), &["clock_skewed"]),
        (dated(None), &[]),
        (Ok(answer(401, late)), &["clock_skewed"]),
        (
            Ok(answer(
                401,
                "auth_signature is wrong; expected that of auth_timestamp=1",
            )),
            &[],
        ),
        (
            Ok(answer(401, "Timestamp expired: Given timestamp")),
            &["clock_skewed"],
        ),
    ] {
        let seen = format!("{signed:?}");
        assert_eq!(
            faults(&judge::clock(&Opened::Greeted, &signed)),
            expected,
            "{seen}"
        );
    }
}

#[test]
fn credentials_by_what_is_refused() {
    let ok = || answer(200, r#"{"channels":{}}"#);
    let says =
        |code: u16, error: &str| answer(code, &format!(r#"{{"error":"{error}","code":{code}}}"#));
    for (opened, signed, expected) in [
        (Opened::Greeted, ok(), &[][..]),
        (
            refused(Some(CloseCode::AppNotFound)),
            says(404, "no app"),
            &["unknown_key", "wrong_id"],
        ),
        (
            refused(Some(CloseCode::AppDisabled)),
            says(403, "the app is disabled"),
            &["app_disabled"],
        ),
        (refused(Some(CloseCode::TlsOnly)), ok(), &["tls_required"]),
        (
            refused(Some(CloseCode::Unauthorized)),
            ok(),
            &["origin_refused"],
        ),
        (refused(Some(CloseCode::AppOverQuota)), ok(), &["full"]),
        (refused(None), ok(), &["connection_refused"]),
        (Opened::Silent, ok(), &["connection_refused"]),
        (
            Opened::Greeted,
            says(401, "auth_signature is wrong; expected that of auth_key=k"),
            &["wrong_secret"],
        ),
        (
            Opened::Greeted,
            answer(401, "Authentication signature invalid."),
            &["wrong_secret"],
        ),
        (
            Opened::Greeted,
            says(401, "auth_key is not the app's key"),
            &["wrong_id"],
        ),
        (
            Opened::Greeted,
            says(404, "no app has this id"),
            &["wrong_id"],
        ),
        (
            Opened::Greeted,
            says(429, "slow down"),
            &["request_refused"],
        ),
        // The clock is a step of its own.
        (
            Opened::Greeted,
            says(401, "auth_timestamp is 900 s off"),
            &[],
        ),
    ] {
        let seen = format!("{opened:?} {signed:?}");
        assert_eq!(
            faults(&judge::app(Some(&opened), Some(&Ok(signed)))),
            expected,
            "{seen}"
        );
    }
}

#[test]
fn what_becomes_of_events() {
    let took = Delivery::Took(Duration::from_millis(4));
    let slow = Delivery::Took(Duration::from_millis(1_500));
    for (delivery, small, large) in [
        (took, &[][..], &[][..]),
        (slow, &["slow_delivery"], &[]),
        (Delivery::Missing, &["not_delivered"], &["not_delivered"]),
        (
            Delivery::Refused(answer(413, HTML)),
            &["request_refused"],
            &["body_limit"],
        ),
        (
            Delivery::Refused(answer(413, r#"{"error":"data has 10000 bytes"}"#)),
            &["request_refused"],
            &["event_limit"],
        ),
        (
            Delivery::NoAnswer("reset".to_owned()),
            &["request_refused"],
            &["body_limit"],
        ),
    ] {
        assert_eq!(faults(&judge::delivery(&delivery)), small, "{delivery:?}");
        assert_eq!(
            faults(&judge::large(10_000, &delivery)),
            large,
            "{delivery:?}"
        );
    }
}

#[test]
fn streams_and_what_browsers_may_read_of_them() {
    let stream =
        |origins: &[&str], pong_ms: Option<u64>, encoding: Option<&str>| Fallback::Stream {
            head: Answer {
                allowed_origins: origins.iter().map(|origin| (*origin).to_owned()).collect(),
                encoding: encoding.map(str::to_owned),
                ..answer(200, "")
            },
            pong: pong_ms
                .map(Duration::from_millis)
                .ok_or("nothing".to_owned()),
        };
    for (fallback, streamed, read) in [
        (stream(&["*"], Some(3), None), &[][..], &[][..]),
        (stream(&["*"], None, None), &["buffered"], &[]),
        (stream(&["*"], None, Some("gzip")), &[], &[]),
        (stream(&[], Some(3), None), &[], &["no_cors"]),
        (stream(&["*", "*"], Some(3), None), &[], &["cors_twice"]),
        (stream(&["*, *"], Some(3), None), &[], &["cors_twice"]),
        (Fallback::Absent(answer(404, "")), &[], &[]),
        (
            Fallback::NoAnswer("no answer within 5 s".to_owned()),
            &["buffered"],
            &[],
        ),
    ] {
        assert_eq!(faults(&judge::fallback(&fallback)), streamed);
        assert_eq!(faults(&judge::cors(&fallback)), read);
    }
}

#[test]
fn compression_and_silence() {
    let encoded = |encoding: Option<&str>| Answer {
        encoding: encoding.map(str::to_owned),
        ..Answer::default()
    };
    assert_eq!(faults(&judge::compression(&Ok(encoded(None)))), [""; 0]);
    assert_eq!(
        faults(&judge::compression(&Ok(encoded(Some("gzip"))))),
        ["compressed"]
    );
    assert_eq!(
        faults(&judge::idle(&Idle::Held(Duration::from_secs(65)))),
        [""; 0]
    );
    let cut = Idle::Cut {
        after: Duration::from_secs(30),
        how: "broken".to_owned(),
    };
    assert_eq!(
        faults(&judge::idle(&cut)),
        [Fault::IdleCut.description().name]
    );
}
