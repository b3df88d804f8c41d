//! An event's data on its way from a request to the frame: a JSON string token that goes out byte for byte.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::error::EventError;
use crate::protocol::message::json_string;

/// An event's data as it was given.
#[derive(Debug)]
pub(super) enum Data<'a> {
    /// In a JSON body: any JSON.
    Json(&'a RawValue),
    /// Elsewhere: the text itself.
    Text(Cow<'a, str>),
}

/// Half of a pair of `\u` escapes without the other half: no text at all.
#[derive(Debug, PartialEq, Eq)]
struct LoneSurrogate;

impl Data<'_> {
    /// The data as a JSON string token: a string as it stands, anything else serialised into one.
    pub(super) fn token(&self, max_bytes: usize) -> Result<Cow<'_, str>, EventError> {
        let text = match self {
            Self::Json(json) if json.get().starts_with('"') => {
                let token = json.get();
                // Escapes only ever shrink, so this one fits, and nothing in it can be half a pair.
                if token.len() - 2 <= max_bytes && !token.contains(r"\u") {
                    return Ok(Cow::Borrowed(token));
                }
                let size =
                    size_of_token(token).map_err(|LoneSurrogate| EventError::LoneSurrogate)?;
                return fitting(size, max_bytes).map(|()| Cow::Borrowed(token));
            }
            Self::Json(json) => json.get(),
            Self::Text(text) => text,
        };
        fitting(text.len(), max_bytes).map(|()| Cow::Owned(json_string(text)))
    }
}

fn fitting(size: usize, max: usize) -> Result<(), EventError> {
    if size > max {
        Err(EventError::DataTooLarge { size, max })
    } else {
        Ok(())
    }
}

/// How many bytes of UTF-8 a string token stands for. The JSON reader has checked all of it but the surrogates.
fn size_of_token(token: &str) -> Result<usize, LoneSurrogate> {
    let mut rest = &token.as_bytes()[1..token.len() - 1];
    let mut size = 0;
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        let (bytes, length) = size_of_escape(&rest[at..])?;
        size += at + bytes;
        rest = &rest[at + length..];
    }
    Ok(size + rest.len())
}

/// What the escape at the beginning stands for, in bytes, and how long it is.
fn size_of_escape(text: &[u8]) -> Result<(usize, usize), LoneSurrogate> {
    let Some(unit) = code_unit(text) else {
        return Ok((1, 2));
    };
    match unit {
        0..=0x7f => Ok((1, 6)),
        0x80..=0x7ff => Ok((2, 6)),
        0xd800..=0xdbff => match code_unit(&text[6..]) {
            Some(0xdc00..=0xdfff) => Ok((4, 12)),
            _ => Err(LoneSurrogate),
        },
        0xdc00..=0xdfff => Err(LoneSurrogate),
        _ => Ok((3, 6)),
    }
}

/// The number of the `\uXXXX` that the text begins with.
fn code_unit(text: &[u8]) -> Option<u16> {
    let digits = text.strip_prefix(br"\u")?.get(..4)?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(json: &str, max_bytes: usize) -> Result<String, EventError> {
        let raw: &RawValue = serde_json::from_str(json).expect(json);
        Data::Json(raw).token(max_bytes).map(Cow::into_owned)
    }

    #[test]
    fn a_string_goes_through_byte_for_byte() {
        for json in [
            r#""""#,
            r#""{\"id\":42}""#,
            r#""\u00e9\/\n""#,
            r#""é日本😀""#,
            r#""\ud83d\ude00""#,
            r#""\u0000\\ud800""#,
        ] {
            assert_eq!(token(json, 100).expect(json), json);
        }
    }

    #[test]
    fn other_json_becomes_a_string() {
        for (json, expected) in [
            ("42", r#""42""#),
            ("null", r#""null""#),
            (r#"{"a": [1, "b"]}"#, r#""{\"a\": [1, \"b\"]}""#),
        ] {
            assert_eq!(token(json, 100).expect(json), expected);
        }
        let text = Data::Text("a \"quoted\"\nline".into());
        assert_eq!(text.token(100).expect("short"), r#""a \"quoted\"\nline""#);
    }

    #[test]
    fn the_size_is_that_of_the_decoded_text() {
        for json in [
            r#""""#,
            r#""plain""#,
            r#""{\"id\":42}""#,
            r#""\\\"\/\b\f\n\r\t""#,
            r#""\u0041\u00e9\u20ac\uFFFD""#,
            r#""\ud83d\ude00\uD83D\uDE00""#,
            r#""é日本😀\\u0041""#,
        ] {
            let size = serde_json::from_str::<String>(json).expect(json).len();
            assert_eq!(size_of_token(json), Ok(size), "{json}");
            assert!(token(json, size).is_ok(), "{json}");
            if size > 0 {
                let refused = token(json, size - 1);
                let max = size - 1;
                assert!(
                    matches!(refused, Err(EventError::DataTooLarge { size: s, max: m }) if s == size && m == max),
                    "{json}"
                );
            }
        }
    }

    #[test]
    fn half_a_surrogate_pair_is_refused() {
        for json in [
            r#""\ud83d""#,
            r#""\ude00""#,
            r#""\ud83dx""#,
            r#""\ud83d\n""#,
            r#""\ud83d\u0041""#,
            r#""\ud83d\ud83d\ude00""#,
            r#""\ude00\ud83d""#,
            r#""\ud83d\\ude00""#,
        ] {
            assert!(
                matches!(token(json, 100), Err(EventError::LoneSurrogate)),
                "{json}"
            );
        }
    }
}
