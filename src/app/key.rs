//! An app's keys: several may be valid at once, so that a secret can be replaced without an outage.

use super::{App, Moment, Name, Secret};
use crate::settings::{Problems, Table, settings};

settings! {
    /// A further key of an app.
    #[derive(Clone, Debug, PartialEq)]
    pub struct AppKey {
        /// As the app's own `key`; unique among all keys of all apps.
        key: Name => "\"app-key-2\"",
        /// As the app's own `secret`.
        secret: Secret => "\"app-secret-2\"",
        /// For people.
        label: String = "",
        /// When the key was made: `"2026-10-01T12:00:00Z"`.
        created: Option<Moment> => "\"2026-10-01T12:00:00Z\"",
        /// When the key ceases to be valid, or did. Open connections stay.
        disabled: Option<Moment> => "\"2026-11-01T12:00:00Z\"",
    }
}

/// One of an app's keys.
#[derive(Clone, Copy, Debug)]
pub struct KeyRef<'a> {
    /// The key itself.
    pub key: &'a Name,
    /// What it signs with.
    pub secret: &'a Secret,
    /// When it ceases to be valid.
    disabled: Option<Moment>,
}

impl KeyRef<'_> {
    /// Whether it is valid at this time.
    #[must_use]
    pub fn is_valid(self, now: Moment) -> bool {
        self.disabled.is_none_or(|disabled| now < disabled)
    }
}

impl App {
    /// All keys, the oldest first: the app's own `key`, then those of `keys`.
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = KeyRef<'_>> {
        let own = self.key.as_ref().zip(self.secret.as_ref());
        let own = own.map(|(key, secret)| KeyRef {
            key,
            secret,
            disabled: None,
        });
        let further = self.keys.iter().map(|further| KeyRef {
            key: &further.key,
            secret: &further.secret,
            disabled: further.disabled,
        });
        own.into_iter().chain(further)
    }

    /// The secret of a valid key.
    #[must_use]
    pub fn secret_of(&self, key: &[u8], now: Moment) -> Option<&Secret> {
        let found = self.keys().find(|it| it.key.as_bytes() == key)?;
        found.is_valid(now).then_some(found.secret)
    }

    /// As [`App::secret_of`], but a key in other letter case will do, if there is none in this.
    #[must_use]
    pub fn secret_of_any_case(&self, key: &str, now: Moment) -> Option<&Secret> {
        let exact = self.keys().find(|it| **it.key == *key);
        let found = exact.or_else(|| self.keys().find(|it| it.key.eq_ignore_ascii_case(key)))?;
        found.is_valid(now).then_some(found.secret)
    }

    /// The key that signs webhooks: the one that `webhook_key` names, else the newest valid one.
    #[must_use]
    pub fn webhook_key(&self, now: Moment) -> Option<KeyRef<'_>> {
        let mut keys = self.keys().rev().filter(|it| it.is_valid(now));
        match &self.webhook_key {
            Some(named) => keys.find(|it| it.key == named),
            None => keys.next(),
        }
    }

    /// Whether webhooks of both are signed alike.
    #[must_use]
    pub fn signs_webhooks_as(&self, other: &Self) -> bool {
        (&self.id, &self.key, &self.secret) == (&other.id, &other.key, &other.secret)
            && (&self.keys, &self.webhook_key) == (&other.keys, &other.webhook_key)
    }

    /// The key to show where one is shown: the oldest valid one, else any.
    #[must_use]
    pub fn shown_key(&self, now: Moment) -> Option<KeyRef<'_>> {
        let valid = self.keys().find(|it| it.is_valid(now));
        valid.or_else(|| self.keys().next())
    }
}

/// `key` needs a `secret` and the reverse; without `keys`, both are required.
pub(super) fn check_presence(table: &Table<'_>, problems: &mut Problems) {
    let is_needed = ["key", "secret"].into_iter().any(|name| table.has(name)) || !table.has("keys");
    for name in ["key", "secret"] {
        if is_needed && !table.has(name) {
            table.refuse_absent(name, problems);
        }
    }
}

/// What concerns several keys.
pub(super) fn check(app: &App, table: &Table<'_>, problems: &mut Problems) {
    for (index, one) in app.keys.iter().enumerate() {
        let mut others = app
            .keys()
            .take_while(|other| !std::ptr::eq(other.key, &one.key));
        if others.any(|other| *other.key == one.key) {
            let reason = format!("{:?} is there twice", &*one.key);
            table.refuse_within(("keys", Some(index)), "key", problems, reason);
        }
    }
    if let Some(named) = &app.webhook_key
        && app.keys().all(|it| it.key != named)
    {
        let reason = format!("is {named:?}, which is none of the app's keys");
        table.refuse("webhook_key", problems, reason);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Literal;

    fn further(key: &'static str, disabled: Option<u64>) -> AppKey {
        AppKey {
            key: Literal::of(key),
            secret: Secret::new(format!("secret of {key}")),
            label: String::new(),
            created: None,
            disabled: disabled.map(Moment),
        }
    }

    #[test]
    fn every_key_is_valid_until_it_is_disabled_and_the_newest_signs_webhooks() {
        let mut app = App::for_test("1", "old");
        app.keys = vec![further("new", None), further("gone", Some(100))];
        let is_valid = |key: &str, now| app.secret_of(key.as_bytes(), Moment(now)).is_some();
        assert!(is_valid("old", 99) && is_valid("new", 99) && is_valid("gone", 99));
        assert!(is_valid("old", 100) && is_valid("new", 100) && !is_valid("gone", 100));
        assert!(!is_valid("other", 99));
        let signs = |app: &App, now| app.webhook_key(Moment(now)).map(|it| it.key.to_string());
        assert_eq!(signs(&app, 99).as_deref(), Some("gone"));
        assert_eq!(signs(&app, 100).as_deref(), Some("new"));
        app.webhook_key = Some(Literal::of("old"));
        assert_eq!(signs(&app, 99).as_deref(), Some("old"));
    }
}
