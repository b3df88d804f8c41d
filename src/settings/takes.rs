//! Which values a key takes: how text from a variable is read, what a refusal says, what documentation and SQL call it.

use super::{Field, Json, Value, ValueKind};

/// From here on documentation names no bound: it only keeps sums and points in time representable.
const NO_BOUND: u32 = 365 * 24 * 60 * 60;

/// Which values a key takes.
#[derive(Clone, Copy, Debug)]
pub enum Takes {
    /// Any text, or text of a form that its type checks.
    Text,
    /// Text that is never shown.
    Secret,
    /// One of these words.
    Word(&'static [&'static str]),
    /// `true` or `false`.
    Switch,
    /// A whole number.
    Number {
        /// The smallest.
        min: u32,
        /// The largest.
        max: u32,
    },
    /// Any number of values.
    List(&'static Self),
    /// A table of these keys.
    Table(&'static [&'static [Field]]),
    /// A table of texts that are never shown.
    Headers,
}

impl Takes {
    /// Reads text of this origin, such as that of a variable: a list is JSON or separated by commas, a table JSON. What can't be read stays text, which is then refused with a reason.
    #[must_use]
    pub fn read(self, text: &str, origin: &str) -> ValueKind {
        let as_text = || ValueKind::String(text.to_owned());
        match self {
            Self::Text | Self::Secret | Self::Word(_) => as_text(),
            Self::Switch => match text.trim().to_ascii_lowercase().as_str() {
                "true" | "1" | "on" | "yes" => ValueKind::Boolean(true),
                "false" | "0" | "off" | "no" => ValueKind::Boolean(false),
                _ => as_text(),
            },
            Self::Number { .. } => text
                .trim()
                .parse()
                .map_or_else(|_| as_text(), ValueKind::I64),
            Self::List(_) | Self::Table(_) | Self::Headers => {
                match (self, serde_json::from_str(text).ok()) {
                    (Self::List(_), Some(json @ Json::Array(_)))
                    | (Self::Table(_) | Self::Headers, Some(json @ Json::Object(_))) => {
                        of_json(json, origin).kind
                    }
                    (Self::List(Self::Text | Self::Secret | Self::Word(_)), _) => {
                        let entries = text.split(',').map(str::trim);
                        let entries = entries.filter(|entry| !entry.is_empty());
                        let origin = origin.to_owned();
                        let value = |entry| Value::new(Some(&origin), entry);
                        ValueKind::Array(entries.map(value).collect())
                    }
                    _ => as_text(),
                }
            }
        }
    }

    /// The keys of the table, or of the tables in the list.
    #[must_use]
    pub fn keys(self) -> Option<&'static [&'static [Field]]> {
        match self {
            Self::Table(keys) | Self::List(&Self::Table(keys)) => Some(keys),
            _ => None,
        }
    }

    /// Whether values of the key may be shown.
    #[must_use]
    pub fn is_secret(self) -> bool {
        match self {
            Self::Secret | Self::Headers => true,
            Self::List(of) => of.is_secret(),
            _ => false,
        }
    }

    /// Says, as the rest of a sentence that begins with the key, that it does not take a value of this kind.
    #[must_use]
    pub fn refusal(self, value: &ValueKind) -> String {
        let what = match self {
            Self::Text | Self::Secret => "text in quotes".to_owned(),
            Self::Word(words) => return one_of(words, value),
            Self::Switch => "true or false".to_owned(),
            Self::Number { min: 1, .. } if matches!(value, ValueKind::I64(..1)) => {
                "at least 1".to_owned()
            }
            Self::Number { min, max } => format!("a whole number from {min} to {max}"),
            Self::List(Self::Text | Self::Secret) => "a list of texts in quotes".to_owned(),
            Self::List(_) => "a list of tables, each under [[…]]".to_owned(),
            Self::Table(_) => "a table".to_owned(),
            Self::Headers => "a table of texts in quotes".to_owned(),
        };
        let may_hold_a_secret = matches!(
            self,
            Self::Secret | Self::List(_) | Self::Table(_) | Self::Headers
        );
        match value {
            ValueKind::Table(_) => format!("must be {what}, not a table"),
            ValueKind::Array(_) => format!("must be {what}, not a list"),
            _ if may_hold_a_secret || what == "at least 1" => format!("must be {what}"),
            ValueKind::String(text) => format!("must be {what}, not {text:?}"),
            other => format!("must be {what}, not {other}"),
        }
    }

    /// The type, as a table of the documentation names it.
    #[must_use]
    pub fn described(self) -> String {
        match self {
            Self::Text => "text".to_owned(),
            Self::Secret => "text, secret".to_owned(),
            Self::Word(words) => {
                let words: Vec<_> = words.iter().map(|word| format!("`\"{word}\"`")).collect();
                words.join(", ")
            }
            Self::Switch => "switch".to_owned(),
            Self::Number { min, max } if max < NO_BOUND => format!("{min}–{max}"),
            Self::Number { .. } => "number".to_owned(),
            Self::List(Self::Table(_)) => "tables".to_owned(),
            Self::List(of) if of.is_secret() => "list, secret".to_owned(),
            Self::List(_) => "list".to_owned(),
            Self::Table(_) => "table".to_owned(),
            Self::Headers => "table, secret".to_owned(),
        }
    }
}

fn one_of(words: &[&str], value: &ValueKind) -> String {
    let quoted: Vec<_> = words.iter().map(|word| format!("{word:?}")).collect();
    let (last, others) = quoted.split_last().expect("there is more than one word");
    let given = match value {
        ValueKind::String(text) => format!("{text:?}"),
        other => other.to_string(),
    };
    format!("must be {} or {last}, not {given}", others.join(", "))
}

/// JSON as a value of this origin.
#[must_use]
pub fn of_json(json: Json, origin: &str) -> Value {
    let kind = match json {
        Json::Null => ValueKind::Nil,
        Json::Bool(switch) => ValueKind::Boolean(switch),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => ValueKind::I64(whole),
            (None, number) => ValueKind::Float(number.unwrap_or(f64::NAN)),
        },
        Json::String(text) => ValueKind::String(text),
        Json::Array(values) => {
            let values = values.into_iter().map(|value| of_json(value, origin));
            ValueKind::Array(values.collect())
        }
        Json::Object(table) => {
            let entries = table.into_iter();
            ValueKind::Table(
                entries
                    .map(|(name, value)| (name, of_json(value, origin)))
                    .collect(),
            )
        }
    };
    Value::new(Some(&origin.to_owned()), kind)
}

/// A value as JSON.
#[must_use]
pub fn to_json(value: Value) -> Json {
    match value.kind {
        ValueKind::Nil => Json::Null,
        ValueKind::Boolean(switch) => switch.into(),
        ValueKind::I64(number) => number.into(),
        ValueKind::Array(values) => values.into_iter().map(to_json).collect(),
        ValueKind::Table(entries) => {
            let entries = entries.into_iter();
            Json::Object(
                entries
                    .map(|(name, value)| (name, to_json(value)))
                    .collect(),
            )
        }
        other => other.to_string().into(),
    }
}
