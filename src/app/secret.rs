//! Secrets, which never show themselves.

use std::{borrow::Cow, fmt, sync::OnceLock};

use crate::{
    protocol::signature,
    settings::{Secrets, Takes, Text},
};

/// A string that never shows itself: `Debug` prints dots, there is no `Display`.
#[derive(Clone)]
pub struct Secret {
    text: Box<str>,
    /// Made at its first use: of many apps most are idle.
    key: OnceLock<Box<signature::Key>>,
}

impl Secret {
    /// Wraps a secret.
    #[must_use]
    pub fn new(secret: impl Into<Box<str>>) -> Self {
        Self {
            text: secret.into(),
            key: OnceLock::new(),
        }
    }

    /// The bytes to sign with.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        self.text.as_bytes()
    }

    /// The secret made ready to check signatures with.
    #[must_use]
    pub fn key(&self) -> &signature::Key {
        self.key
            .get_or_init(|| Box::new(signature::Key::new(self.expose())))
    }

    /// The text, for the one library call that needs it.
    #[must_use]
    pub fn expose_str(&self) -> &str {
        &self.text
    }
}

impl Text for Secret {
    const TAKES: Takes = Takes::Secret;

    fn parse(text: &str) -> Result<Self, String> {
        match text.trim() {
            "" => Err("must not be empty".to_owned()),
            trimmed if trimmed == text => Ok(Self::new(text)),
            _ => Err("must not start or end with white space".to_owned()),
        }
    }

    fn text(&self, secrets: Secrets) -> Cow<'_, str> {
        match secrets {
            Secrets::Shown => self.expose_str().into(),
            Secrets::Hidden => "".into(),
        }
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_show_itself() {
        assert_eq!(format!("{:?}", Secret::new("hidden")), "Secret(…)");
    }
}
