//! An app as the tests know it: credentials to sign with, options to configure.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::atomic::{AtomicU32, Ordering},
};

use serde_json::Value;

use super::signing::hmac_hex;

static SECRETS: AtomicU32 = AtomicU32::new(0);

/// Credentials, and the options that differ from the defaults.
#[derive(Debug, Clone)]
pub(crate) struct App {
    pub(crate) id: String,
    pub(crate) key: String,
    pub(crate) secret: String,
    options: BTreeMap<String, Value>,
}

impl App {
    /// An app with an own secret, unlike anything else a log could hold.
    pub(crate) fn new(id: &str, key: &str) -> Self {
        let number = SECRETS.fetch_add(1, Ordering::Relaxed);
        Self::with_secret(id, key, &format!("s3cr3t-{number}-of-{id}-never-printed"))
    }

    pub(crate) fn with_secret(id: &str, key: &str, secret: &str) -> Self {
        Self {
            id: id.to_owned(),
            key: key.to_owned(),
            secret: secret.to_owned(),
            options: BTreeMap::new(),
        }
    }

    /// The app of tests that need only one.
    pub(crate) fn usual() -> Self {
        Self::new("1001", "key-of-1001")
    }

    /// Lets clients send as fast as they can, for floods whose subject is something else.
    pub(crate) fn unpaced(self) -> Self {
        self.set("max_messages_per_second", 1_000_000_000)
    }

    pub(crate) fn set(mut self, option: &str, value: impl Into<Value>) -> Self {
        self.options.insert(option.to_owned(), value.into());
        self
    }

    /// The app's table of the configuration file.
    pub(crate) fn toml(&self) -> String {
        let Self {
            id, key, secret, ..
        } = self;
        let mut toml = format!("[[apps]]\nid = {id:?}\nkey = {key:?}\nsecret = {secret:?}\n");
        for (option, value) in &self.options {
            writeln!(toml, "{option} = {}", in_toml(value)).expect("a string takes text");
        }
        toml
    }

    /// The app's row in a table.
    #[cfg(feature = "sql")]
    pub(crate) fn columns(&self) -> Vec<(&str, Value)> {
        let Self {
            id, key, secret, ..
        } = self;
        let credentials = [("id", id), ("key", key), ("secret", secret)];
        let credentials = credentials.map(|(name, text)| (name, text.as_str().into()));
        let options = self.options.iter();
        let options = options.map(|(name, value)| (name.as_str(), value.clone()));
        credentials.into_iter().chain(options).collect()
    }

    /// `key:signature` for a subscription without `channel_data`.
    pub(crate) fn auth(&self, socket_id: &str, channel: &str) -> String {
        self.sign(&format!("{socket_id}:{channel}"))
    }

    /// `key:signature` for a subscription with `channel_data`.
    pub(crate) fn auth_with(&self, socket_id: &str, channel: &str, channel_data: &str) -> String {
        self.sign(&format!("{socket_id}:{channel}:{channel_data}"))
    }

    /// `key:signature` for a sign-in.
    pub(crate) fn auth_user(&self, socket_id: &str, user_data: &str) -> String {
        self.sign(&format!("{socket_id}::user::{user_data}"))
    }

    fn sign(&self, text: &str) -> String {
        format!("{}:{}", self.key, hmac_hex(&self.secret, text))
    }
}

/// JSON's strings, numbers and booleans are TOML's too.
fn in_toml(value: &Value) -> String {
    match value {
        Value::Array(values) => {
            let values: Vec<_> = values.iter().map(in_toml).collect();
            format!("[{}]", values.join(", "))
        }
        Value::Object(entries) => {
            let entries = entries.iter();
            let entries: Vec<_> = entries
                .map(|(key, value)| format!("{key:?} = {}", in_toml(value)))
                .collect();
            format!("{{{}}}", entries.join(", "))
        }
        other => other.to_string(),
    }
}
