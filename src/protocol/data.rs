//! The `data` of an event, as it came and as it goes out: untouched.

use std::borrow::Cow;

use serde_json::value::RawValue;

use memchr::memchr;

use super::message::json_string;

/// An event's data as the JSON string token that clients receive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventData<'a> {
    token: Cow<'a, str>,
    bytes: usize,
}

/// Half of a pair of `\u` escapes without the other half: no text at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoneSurrogate;

impl<'a> EventData<'a> {
    /// Takes a string token as it is, byte for byte; other JSON becomes a string that contains it.
    ///
    /// # Errors
    /// [`LoneSurrogate`] when an escape stands for no character.
    pub fn of(raw: &'a RawValue) -> Result<Self, LoneSurrogate> {
        let token = raw.get();
        if !token.starts_with('"') {
            return Ok(Self {
                token: Cow::Owned(json_string(token)),
                bytes: token.len(),
            });
        }
        Ok(Self {
            bytes: size_of_token(token)?,
            token: Cow::Borrowed(token),
        })
    }

    /// Data that is not JSON but plain text.
    #[must_use]
    pub fn of_text(text: &str) -> Self {
        Self {
            token: Cow::Owned(json_string(text)),
            bytes: text.len(),
        }
    }

    /// As [`EventData::token`], for longer than this lasts.
    #[must_use]
    pub fn into_token(self) -> Cow<'a, str> {
        self.token
    }

    /// The JSON string token, quotes included.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// UTF-8 bytes of the text that clients read.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Whether the text is empty, which is legal.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }
}

/// How many bytes of UTF-8 a string token stands for. The JSON reader has checked all of it but the surrogates.
fn size_of_token(token: &str) -> Result<usize, LoneSurrogate> {
    let mut rest = &token.as_bytes()[1..token.len() - 1];
    let mut size = 0;
    while let Some(at) = memchr(b'\\', rest) {
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

    fn raw(json: &str) -> Box<RawValue> {
        RawValue::from_string(json.to_owned()).expect("valid JSON")
    }

    #[test]
    fn strings_pass_untouched_and_are_measured_as_text() {
        for (json, bytes) in [
            (r#""""#, 0),
            (r#""hello""#, 5),
            (r#""{\"id\":42}""#, 9),
            (r#""a\\b\/c""#, 5),
            (r#""\\""#, 1),
            (r#""é😀""#, 6),
            (r#""\u00e9\ud83d\ude00""#, 6),
            (r#""\\u00e9""#, 6),
        ] {
            let raw = raw(json);
            let data = EventData::of(&raw).expect("text");
            assert_eq!((data.token(), data.len()), (json, bytes), "{json}");
        }
    }

    #[test]
    fn other_json_becomes_a_string_that_contains_it() {
        for (json, token) in [
            ("1", r#""1""#),
            (r#"{"a": "b"}"#, r#""{\"a\": \"b\"}""#),
            ("null", r#""null""#),
        ] {
            let raw = raw(json);
            assert_eq!(EventData::of(&raw).expect("text").token(), token);
        }
    }

    #[test]
    fn the_size_is_that_of_the_decoded_text() {
        for json in [
            r#""""#,
            r#""plain""#,
            r#""\\\"\/\b\f\n\r\t""#,
            r#""\u0041\u00e9\u20ac\uFFFD""#,
            r#""\ud83d\ude00\uD83D\uDE00""#,
            r#""é日本😀\\u0041""#,
        ] {
            let size = serde_json::from_str::<String>(json).expect(json).len();
            assert_eq!(size_of_token(json), Ok(size), "{json}");
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
            assert_eq!(size_of_token(json), Err(LoneSurrogate), "{json}");
        }
    }
}
