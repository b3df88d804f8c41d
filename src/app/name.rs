//! Ids and keys.

use std::{
    borrow::{Borrow, Cow},
    fmt,
    ops::Deref,
    sync::Arc,
};

use crate::settings::{Secrets, Text};

/// An app's id or key: a path segment that needs no percent-encoding.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Arc<str>);

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        self
    }
}

impl PartialEq<str> for Name {
    fn eq(&self, other: &str) -> bool {
        **self == *other
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl Text for Name {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "" => Err("must not be empty".to_owned()),
            text if is_path_segment(text) => Ok(Self(text.into())),
            text => Err(format!(
                "may hold only letters, digits, \"-\", \".\", \"_\", \"~\", not {text:?}"
            )),
        }
    }

    fn text(&self, _: Secrets) -> Cow<'_, str> {
        (&**self).into()
    }
}

/// Whether the text stands in a URL path as it is, without percent-encoding.
#[must_use]
pub fn is_path_segment(segment: &str) -> bool {
    let unreserved = |c: char| c.is_ascii_alphanumeric() || "-._~".contains(c);
    !matches!(segment, "" | "." | "..") && segment.chars().all(unreserved)
}
