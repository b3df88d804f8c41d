//! Keeps web pages out: a browser sends its page's requests here too, and only the headers tell.

use std::net::IpAddr;

use actix_web::{
    HttpRequest,
    http::header::{HOST, HeaderName, ORIGIN},
};

/// Whether a browser made this request for a page of another origin, or by a name that only pretends to be this machine's.
pub(super) fn is_foreign(request: &HttpRequest) -> bool {
    let header = |name: HeaderName| request.headers().get(name).map(|value| value.to_str());
    let Some(Ok(host)) = header(HOST) else {
        return true;
    };
    let origin_fits = match header(ORIGIN) {
        None => true,
        Some(origin) => origin.is_ok_and(|origin| {
            origin
                .split_once("://")
                .is_some_and(|(_, authority)| authority == host)
        }),
    };
    !(origin_fits && is_loopback(host))
}

fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || address
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn only_this_machine_and_its_own_pages_are_let_in() {
        for (host, origin, foreign) in [
            ("127.0.0.1:9601", None, false),
            ("localhost:9601", None, false),
            ("[::1]:9601", None, false),
            ("127.0.0.1:9601", Some("http://127.0.0.1:9601"), false),
            ("127.0.0.1:9601", Some("https://evil.example"), true),
            ("127.0.0.1:9601", Some("http://127.0.0.1:8000"), true),
            ("127.0.0.1:9601", Some("null"), true),
            ("evil.example:9601", None, true),
            ("evil.example:9601", Some("http://evil.example:9601"), true),
        ] {
            let mut request = TestRequest::default().insert_header((HOST, host));
            if let Some(origin) = origin {
                request = request.insert_header((ORIGIN, origin));
            }
            assert_eq!(
                is_foreign(&request.to_http_request()),
                foreign,
                "{host} {origin:?}"
            );
        }
    }
}
