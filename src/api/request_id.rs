//! The name of one API call: in the reply, in the log, and in the feed beside what the call published.

use actix_web::{
    HttpRequest,
    http::header::{HeaderName, HeaderValue},
};

use crate::protocol::digits::hex_digits;

/// Where a caller names its request, and the reply says the name.
pub(super) const HEADER: HeaderName = HeaderName::from_static("x-request-id");
/// Characters of a caller's own name that are taken.
const LENGTH_MAX: usize = 128;

/// A request's name: the caller's if it gave one that fits, else a random one.
#[derive(Debug)]
pub(super) struct RequestId(String);

impl RequestId {
    pub(super) fn of(request: &HttpRequest) -> Self {
        let given = request
            .headers()
            .get(HEADER)
            .and_then(|id| id.to_str().ok());
        let is_name = |id: &&str| {
            (1..=LENGTH_MAX).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
        };
        Self(given.filter(is_name).map_or_else(random, str::to_owned))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn into_header(self) -> HeaderValue {
        HeaderValue::try_from(self.0).expect("visible ASCII is a header's value")
    }
}

/// A name that no other request has.
pub(super) fn random() -> String {
    // One number, because each byte of an array would be drawn by itself.
    let number = rand::random::<u64>().to_be_bytes();
    str::from_utf8(hex_digits(number).as_flattened())
        .expect("digits are ASCII")
        .to_owned()
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn a_name_that_fits_is_kept_and_others_are_replaced() {
        let id = |given: &str| {
            let request = TestRequest::default().insert_header((HEADER, given));
            RequestId::of(&request.to_http_request()).0
        };
        assert_eq!(id("call-7:a/b"), "call-7:a/b");
        for given in ["", "two words", &"x".repeat(129), "\u{e9}"] {
            assert_eq!(id(given).len(), 16, "{given}");
        }
        assert_ne!(id(""), id(""));
    }
}
