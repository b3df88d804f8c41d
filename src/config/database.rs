//! Where apps are kept, if not in the configuration file.

use std::borrow::Cow;

use url::Url;

use crate::{
    app::Secret,
    settings::{Seconds, Secrets, Takes, Text, settings, words},
};

settings! {
    /// A database of apps, which then take the place of those of this file ([apps.md](apps.md#in-a-database)).
    #[derive(Clone, Debug)]
    pub struct Database {
        /// `sqlite:///var/lib/loudhailer/apps.db`, `postgres://user:password@host/database` or `mysql://user:password@host/database`, which is
        /// for MariaDB, too. Without it the apps are those of this file.
        url: Option<DatabaseUrl> => "\"postgres://loudhailer:password@127.0.0.1/apps\"",
        /// `"loudhailer"`: a table that is created if it is missing. `"soketi"`: soketi's `apps`, which is only read.
        layout: Layout = "loudhailer",
        /// The table's name. Without it, `loudhailer_apps` or `apps`.
        table: Option<TableName> => "\"loudhailer_apps\"",
        /// Seconds between two looks whether apps have changed. PostgreSQL tells of changes at once besides.
        poll_s: Seconds<1, 3600> = 3,
    }
}

impl Database {
    /// The table's name.
    #[must_use]
    pub fn table(&self) -> &str {
        match (&self.table, self.layout) {
            (Some(table), _) => &table.0,
            (None, Layout::Loudhailer) => "loudhailer_apps",
            (None, Layout::Soketi) => "apps",
        }
    }
}

words! {
    /// Whose table it is.
    pub enum Layout {
        /// Our own.
        Loudhailer = "loudhailer",
        /// soketi's.
        Soketi = "soketi",
    }
}

/// What answers at the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// SQLite, in this process.
    Sqlite,
    /// PostgreSQL.
    Postgres,
    /// MySQL or MariaDB.
    MySql,
}

impl Dialect {
    /// Whether its driver takes the address. The error is the rest of a sentence that begins with the key.
    #[cfg_attr(
        not(feature = "sqlx"),
        allow(unused_variables, reason = "no driver is built in")
    )]
    fn check(self, url: &str) -> Result<(), String> {
        let read: Result<(), String> = match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite => options::<sqlx::sqlite::SqliteConnectOptions>(url),
            #[cfg(feature = "postgres")]
            Self::Postgres => options::<sqlx::postgres::PgConnectOptions>(url),
            #[cfg(feature = "mysql")]
            Self::MySql => options::<sqlx::mysql::MySqlConnectOptions>(url),
            #[allow(unreachable_patterns, reason = "a build may have all drivers")]
            _ => Ok(()),
        };
        read.map_err(|error| format!("is no valid address: {error}"))
    }

    /// The feature of this package that it needs, and whether this build has it.
    fn feature(self) -> (&'static str, bool) {
        match self {
            Self::Sqlite => ("sqlite", cfg!(feature = "sqlite")),
            Self::Postgres => ("postgres", cfg!(feature = "postgres")),
            Self::MySql => ("mysql", cfg!(feature = "mysql")),
        }
    }
}

#[cfg(feature = "sqlx")]
fn options<T: std::str::FromStr<Err = sqlx::Error>>(url: &str) -> Result<(), String> {
    let read = url.parse::<T>();
    read.map(drop).map_err(|error| error.to_string())
}

/// The address of a database. It may hold a password.
#[derive(Clone, Debug, PartialEq)]
pub struct DatabaseUrl {
    /// What answers there.
    pub dialect: Dialect,
    /// The address itself.
    pub url: Secret,
    /// The address without user, password and parameters.
    pub shown: String,
}

impl Text for DatabaseUrl {
    const TAKES: Takes = Takes::Secret;

    fn parse(text: &str) -> Result<Self, String> {
        let scheme = text.split_once("://").map(|(scheme, _)| scheme);
        let dialect = match scheme {
            Some("sqlite") => Dialect::Sqlite,
            Some("postgres" | "postgresql") => Dialect::Postgres,
            Some("mysql" | "mariadb") => Dialect::MySql,
            _ => return Err("must be a sqlite://, postgres:// or mysql:// URL".to_owned()),
        };
        let url = Url::parse(text).map_err(|error| format!("is no valid URL: {error}"))?;
        dialect.check(text)?;
        let (feature, is_built_in) = dialect.feature();
        if !is_built_in {
            return Err(format!(
                "needs a build with `cargo build --features {feature}`; the released binary is one"
            ));
        }
        let mut shown = url;
        // A URL without a host has neither.
        let _ = shown.set_username("");
        let _ = shown.set_password(None);
        shown.set_query(None);
        Ok(Self {
            dialect,
            url: Secret::new(text),
            shown: shown.into(),
        })
    }

    fn text(&self, secrets: Secrets) -> Cow<'_, str> {
        match secrets {
            Secrets::Shown => self.url.expose_str().into(),
            Secrets::Hidden => (&self.shown).into(),
        }
    }
}

/// A table's name, which needs no quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableName(String);

impl Text for TableName {
    fn parse(text: &str) -> Result<Self, String> {
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if text.starts_with(|c: char| c.is_ascii_digit()) || !text.chars().all(is_word) {
            return Err(format!(
                "must be letters, digits and \"_\", no digit first, not {text:?}"
            ));
        }
        Ok(Self(text.to_owned()))
    }

    fn text(&self, _: Secrets) -> Cow<'_, str> {
        (&self.0).into()
    }
}
