//! What can be wrong with a configuration; every message names the key and where its value came from.

use std::{error::Error, fmt, io};

/// Why a configuration was refused. Its text never holds a secret.
#[derive(Debug)]
pub enum ConfigError {
    /// The file cannot be read.
    Unreadable {
        /// The file.
        file: String,
        /// What the system said.
        error: io::Error,
    },
    /// The file is not TOML.
    Syntax {
        /// The file.
        file: String,
        /// Where and what; never the line itself, which may hold a secret.
        message: String,
    },
    /// The file has a key that does not exist.
    UnknownKey {
        /// The file.
        place: String,
        /// The dotted key.
        key: String,
        /// The existing key that is most like it.
        nearest: Option<String>,
    },
    /// A `LOUDHAILER_` variable that stands for no key.
    UnknownVariable {
        /// The variable.
        name: String,
        /// The existing variable that is most like it.
        nearest: Option<String>,
    },
    /// A key that an app must have is absent.
    Missing {
        /// The file.
        place: String,
        /// The dotted key.
        key: String,
    },
    /// A value that its key does not take.
    BadValue {
        /// The file or the variable that gave the value.
        place: String,
        /// The dotted key.
        key: String,
        /// What is wrong, as the rest of a sentence that starts with the key.
        reason: String,
    },
    /// Two variables of other servers set one key to different values.
    Conflict {
        /// The dotted key.
        key: String,
        /// One variable.
        first: String,
        /// The other.
        second: String,
        /// What settles it.
        remedy: String,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { file, error } => write!(f, "cannot read {file}: {error}"),
            Self::Syntax { file, message } => write!(f, "{file}: {message}"),
            Self::UnknownKey {
                place,
                key,
                nearest,
            } => {
                write!(f, "{place}: unknown key {key}{}", hint(nearest.as_deref()))
            }
            Self::UnknownVariable { name, nearest } => {
                write!(f, "unknown variable {name}{}", hint(nearest.as_deref()))
            }
            Self::Missing { place, key } => write!(f, "{place}: {key} is missing"),
            Self::BadValue { place, key, reason } => write!(f, "{place}: {key} {reason}"),
            Self::Conflict {
                key,
                first,
                second,
                remedy,
            } => write!(
                f,
                "{first} and {second} set {key} to different values; remove one, or {remedy}"
            ),
        }
    }
}

fn hint(nearest: Option<&str>) -> String {
    match nearest {
        Some(nearest) => format!("; did you mean {nearest}?"),
        None => "; `loudhailer default-config` prints every key".to_owned(),
    }
}

impl Error for ConfigError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Unreadable { error, .. } => Some(error),
            _ => None,
        }
    }
}
