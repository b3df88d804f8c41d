//! The types of values that only the configuration has.

use std::{
    borrow::Cow,
    fmt,
    net::{IpAddr, Ipv4Addr},
};

use ipnet::IpNet;
use tracing_subscriber::filter::{EnvFilter, LevelFilter};

use crate::{
    app::is_path_segment,
    settings::{Secrets, Text, words},
};

/// An address to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Host(pub IpAddr);

impl Host {
    /// Whether only this machine reaches it.
    #[must_use]
    pub fn is_loopback(self) -> bool {
        self.0.to_canonical().is_loopback()
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Text for Host {
    fn parse(text: &str) -> Result<Self, String> {
        if text.eq_ignore_ascii_case("localhost") {
            return Ok(Self(Ipv4Addr::LOCALHOST.into()));
        }
        let in_brackets = text.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
        let hint = "an IP address to listen on, such as 127.0.0.1 or 0.0.0.0";
        match in_brackets.unwrap_or(text).parse() {
            Ok(address) => Ok(Self(address)),
            Err(_) => Err(format!("must be {hint}, not {text:?}")),
        }
    }

    fn text(&self, _: Secrets) -> Cow<'_, str> {
        self.to_string().into()
    }
}

/// A network, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network(pub IpNet);

impl Text for Network {
    fn parse(text: &str) -> Result<Self, String> {
        let address = || text.parse::<IpAddr>().map(IpNet::from);
        match text.parse().or_else(|_| address()) {
            Ok(network) => Ok(Self(network)),
            Err(_) => Err(format!(
                "must be an address or a network such as \"10.0.0.0/8\", not {text:?}"
            )),
        }
    }

    fn text(&self, _: Secrets) -> Cow<'_, str> {
        self.0.to_string().into()
    }
}

/// Empty, or `/something` without a trailing slash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPrefix(pub String);

impl Text for PathPrefix {
    /// Takes `/`, a slash at the end and nothing at all for what they mean.
    fn parse(text: &str) -> Result<Self, String> {
        let trimmed = text.trim_end_matches('/');
        if trimmed.is_empty() {
            return Ok(Self(String::new()));
        }
        let Some(path) = trimmed.strip_prefix('/') else {
            return Err(format!("must start with \"/\", not {text:?}"));
        };
        if matches!(path.split('/').next(), Some("app" | "apps" | "users")) {
            return Err(format!(
                "must not be {text:?}: the server's own paths start so"
            ));
        }
        if !path.split('/').all(is_path_segment) {
            let allowed = "segments of letters, digits, and \"-\", \".\", \"_\", \"~\"";
            return Err(format!("must be {allowed}, such as \"/ws\", not {text:?}"));
        }
        Ok(Self(trimmed.to_owned()))
    }

    fn text(&self, _: Secrets) -> Cow<'_, str> {
        (&self.0).into()
    }
}

/// Stands before every metric's name, with an underscore between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricsPrefix(pub String);

impl Text for MetricsPrefix {
    fn parse(text: &str) -> Result<Self, String> {
        // soketi's own variable ends with the underscore.
        let prefix = text.trim_end_matches('_');
        let begins = prefix.starts_with(|c: char| c.is_ascii_alphabetic());
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if !begins || !prefix.chars().all(is_word) {
            return Err(format!(
                "must be letters, digits and \"_\", a letter first, such as \"loudhailer\", not {text:?}"
            ));
        }
        Ok(Self(prefix.to_owned()))
    }

    fn text(&self, _: Secrets) -> Cow<'_, str> {
        (&self.0).into()
    }
}

/// A tracing filter: a level, or directives such as `loudhailer=debug`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFilter(pub String);

impl Text for LogFilter {
    fn parse(text: &str) -> Result<Self, String> {
        // A bare word in a filter names a target, so that a misspelt level would be taken for one and silence everything.
        let is_level =
            |part: &str| part.contains(['=', '[']) || part.parse::<LevelFilter>().is_ok();
        let parts_are_known = text.contains('[') || text.split(',').all(|it| is_level(it.trim()));
        if text.trim().is_empty() || !parts_are_known || EnvFilter::try_new(text).is_err() {
            return Err(format!(
                "must be error, warn, info, debug, trace or a filter such as \
                 \"info,loudhailer=debug\", not {text:?}"
            ));
        }
        Ok(Self(text.to_owned()))
    }

    fn text(&self, _: Secrets) -> Cow<'_, str> {
        (&self.0).into()
    }
}

/// Permissions of a file, in octal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileMode(pub u32);

impl Text for FileMode {
    fn parse(text: &str) -> Result<Self, String> {
        match u32::from_str_radix(text, 8) {
            Ok(mode) if mode <= 0o777 => Ok(Self(mode)),
            _ => Err(format!(
                "must be a file's permissions in octal, such as \"0660\", not {text:?}"
            )),
        }
    }

    fn text(&self, _: Secrets) -> Cow<'_, str> {
        format!("{:04o}", self.0).into()
    }
}

words! {
    /// How log lines are written.
    pub enum LogFormat {
        /// For people.
        Text = "text",
        /// One JSON object a line.
        Json = "json",
    }
}
