//! The `data` of an event, as it came and as it goes out: untouched.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::message::json_string;

/// An event's data as the JSON string token that clients receive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventData<'a> {
    token: Cow<'a, str>,
    bytes: usize,
}

/// A string with half of a surrogate pair, which is no text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotText;

impl<'a> EventData<'a> {
    /// Takes a string token as it is, byte for byte; other JSON becomes a string that contains it.
    ///
    /// # Errors
    /// [`NotText`] when an escape stands for no character.
    pub fn of(raw: &'a RawValue) -> Result<Self, NotText> {
        let token = raw.get();
        if !token.starts_with('"') {
            return Ok(Self {
                token: Cow::Owned(json_string(token)),
                bytes: token.len(),
            });
        }
        Ok(Self {
            bytes: text_bytes(token)?,
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

/// The decoded length of a valid JSON string token.
fn text_bytes(token: &str) -> Result<usize, NotText> {
    let inner = &token.as_bytes()[1..token.len() - 1];
    let mut escapes = 0;
    let mut at = 0;
    while let Some(next) = inner[at..].iter().position(|b| *b == b'\\') {
        if inner.get(at + next + 1) == Some(&b'u') {
            return serde_json::from_str::<String>(token)
                .map(|text| text.len())
                .map_err(|_| NotText);
        }
        escapes += 1;
        at += next + 2;
    }
    Ok(inner.len() - escapes)
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
    fn half_a_surrogate_pair_is_no_text() {
        assert_eq!(EventData::of(&raw(r#""\ud83d""#)), Err(NotText));
    }
}
