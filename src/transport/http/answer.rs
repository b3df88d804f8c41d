//! Answers that no handler gives: to what is no HTTP request, or comes when there are too many.

use actix_http::StatusCode;
use memchr::memmem;

use crate::tls::{Failure, NO_TLS_HERE};

const VERSION: &[u8] = b"HTTP/1.1 ";
const EMPTY: &[u8] = b"\r\ncontent-length: 0\r\n";
const END: &[u8] = b"\r\n\r\n";

/// A whole answer that ends the connection.
pub(super) fn whole(status: u16, text: &str) -> Vec<u8> {
    let reason = StatusCode::from_u16(status).ok();
    let reason = reason.and_then(|status| status.canonical_reason());
    let head = format!(
        "HTTP/1.1 {status} {}\r\nconnection: close",
        reason.unwrap_or_default()
    );
    with_body(head.as_bytes(), status, text)
}

/// What a client that has taken one port for the other is told in its own language.
pub(super) fn to_failure(failure: &Failure) -> Option<Vec<u8>> {
    match failure {
        Failure::PlainHttp => Some(whole(400, &failure.to_string())),
        Failure::TlsOnPlainPort => Some(NO_TLS_HERE.to_vec()),
        _ => None,
    }
}

/// What to write instead of bytes that end with an error without a body, as actix-http makes them for what it cannot parse.
pub(super) fn instead_of(bytes: &[u8]) -> Option<Vec<u8>> {
    let before = bytes.strip_suffix(END)?;
    let (earlier, head) = before.split_at(memmem::rfind(before, VERSION)?);
    let status = head.get(VERSION.len()..VERSION.len() + 3)?;
    let status = std::str::from_utf8(status).ok()?.parse().ok()?;
    if status < 400 {
        return None;
    }
    // The last line has lost its end.
    let head = [head, b"\r\n"].concat();
    let at = memmem::find(&head, EMPTY)?;
    let rest = &head[at + EMPTY.len() - b"\r\n".len()..];
    let head = [&head[..at], rest.strip_suffix(b"\r\n")?].concat();
    Some([earlier, &with_body(&head, status, text_of(status))].concat())
}

fn text_of(status: u16) -> &'static str {
    match status {
        400 => "this is no valid HTTP/1.1 request",
        408 => "the request did not arrive in time",
        431 => "the head of the request is too large",
        _ => "the request could not be served",
    }
}

/// `head` without its last line end.
fn with_body(head: &[u8], status: u16, text: &str) -> Vec<u8> {
    let body = format!(r#"{{"error":"{text}","code":{status}}}"#);
    let lines = format!(
        "\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    [head, lines.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instead(text: &str) -> Option<String> {
        instead_of(text.as_bytes()).map(|bytes| String::from_utf8(bytes).expect("text"))
    }

    #[test]
    fn an_empty_error_gets_a_body() {
        let body = r#"{"error":"this is no valid HTTP/1.1 request","code":400}"#;
        let length = body.len();
        for (empty, head) in [
            (
                "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\ndate: now\r\n\r\n",
                "HTTP/1.1 400 Bad Request\r\ndate: now",
            ),
            (
                "HTTP/1.1 400 Bad Request\r\ndate: now\r\ncontent-length: 0\r\n\r\n",
                "HTTP/1.1 400 Bad Request\r\ndate: now",
            ),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n",
                "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}HTTP/1.1 400 Bad Request",
            ),
        ] {
            let expected = format!(
                "{head}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
            );
            assert_eq!(instead(empty), Some(expected), "{empty}");
        }
    }

    #[test]
    fn other_answers_stay_as_they_are() {
        for answer in [
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 204 No Content\r\n\r\n",
            "HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 4\r\n\r\n\r\n\r\n",
            "HTTP/1.1 100 Continue\r\n\r\n",
            "0\r\n\r\n",
            "",
        ] {
            assert_eq!(instead(answer), None, "{answer}");
        }
    }

    #[test]
    fn a_whole_answer_is_one() {
        let answer = String::from_utf8(whole(503, "too many")).expect("text");
        assert!(
            answer.starts_with("HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\n"),
            "{answer}"
        );
        assert!(
            answer.ends_with("\r\n\r\n{\"error\":\"too many\",\"code\":503}"),
            "{answer}"
        );
    }
}
