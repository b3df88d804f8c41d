//! An event's data on its way from a request to the frame: a JSON string token that goes out byte for byte.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::error::EventError;
use crate::protocol::{EventData, data::LoneSurrogate};

/// An event's data as it was given.
#[derive(Debug)]
pub(super) enum Data<'a> {
    /// In a JSON body: any JSON.
    Json(&'a RawValue),
    /// Elsewhere: the text itself.
    Text(Cow<'a, str>),
}

impl Data<'_> {
    /// The data as a JSON string token: a string as it stands, anything else serialised into one.
    pub(super) fn token(&self, max_bytes: usize) -> Result<Cow<'_, str>, EventError> {
        let data = match self {
            Self::Json(json) => {
                EventData::of(json).map_err(|LoneSurrogate| EventError::LoneSurrogate)?
            }
            Self::Text(text) => EventData::of_text(text),
        };
        let (size, max) = (data.len(), max_bytes);
        if size > max {
            return Err(EventError::DataTooLarge { size, max });
        }
        Ok(data.into_token())
    }
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
    fn data_over_the_limit_and_half_a_pair_are_refused() {
        assert!(token(r#""\u00e9""#, 2).is_ok());
        let refused = token(r#""\u00e9""#, 1);
        assert!(matches!(
            refused,
            Err(EventError::DataTooLarge { size: 2, max: 1 })
        ));
        assert!(matches!(
            token(r#""\ud83d""#, 9),
            Err(EventError::LoneSurrogate)
        ));
    }
}
