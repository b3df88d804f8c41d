//! Users and their sessions, kept in SQLite. Knows nothing of HTTP or of broadcasting.
//!
//! Everything here blocks (a password check takes tens of milliseconds by design), so the pages
//! call it off the worker threads.

use std::sync::{Mutex, MutexGuard, PoisonError};

use argon2::Argon2;
use argon2::password_hash::{self, PasswordHasher, PasswordVerifier, phc::PasswordHash};
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::Serialize;
use sha2::{Digest, Sha256};

/// How long a session lasts when nothing ends it sooner.
pub(crate) const SESSION_S: i64 = 12 * 60 * 60;

/// The seeded users: name, email, password. The first one gets id 1.
const SEED: [(&str, &str, &str); 2] = [
    ("Outman", "outman@example.com", "outman-password"),
    ("Grace", "grace@example.com", "grace-password"),
];

const SCHEMA: &str = "
    PRAGMA foreign_keys = ON;
    CREATE TABLE IF NOT EXISTS users (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL,
        email TEXT NOT NULL UNIQUE,
        password_hash TEXT NOT NULL
    );
    CREATE TABLE IF NOT EXISTS sessions (
        token_hash TEXT PRIMARY KEY,
        user_id INTEGER NOT NULL REFERENCES users (id),
        expires_at INTEGER NOT NULL
    );";

/// Why an account could not be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AccountError {
    /// SQLite refused.
    #[error("database: {0}")]
    Database(#[from] rusqlite::Error),
    /// A stored password hash is damaged, or a new one could not be made.
    #[error("password hash: {0}")]
    PasswordHash(#[from] password_hash::Error),
}

/// A user, as pages and events show them.
#[derive(Serialize)]
pub(crate) struct User {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) email: String,
}

impl User {
    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get("id")?,
            name: row.get("name")?,
            email: row.get("email")?,
        })
    }
}

/// The secret in a browser's session cookie. It has no `Debug`, so it cannot reach a log.
pub(crate) struct SessionToken(String);

impl SessionToken {
    fn random() -> Self {
        Self(hex::encode(rand::random::<[u8; 32]>()))
    }

    /// Takes what a cookie says; only a look-up tells whether such a session exists.
    pub(crate) fn from_cookie(value: &str) -> Self {
        Self(value.to_owned())
    }

    /// The cookie's value.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }

    /// What the database and the broadcast server know of the token: a stolen copy of it opens no session.
    pub(crate) fn hash(&self) -> String {
        hex::encode(Sha256::digest(&self.0))
    }
}

/// A login that succeeded.
pub(crate) struct Login {
    pub(crate) user: User,
    pub(crate) token: SessionToken,
    /// How many other sessions of theirs this login ended.
    pub(crate) ended: usize,
}

/// The accounts and sessions of this example.
pub(crate) struct Accounts {
    database: Mutex<Connection>,
    /// Checked when the email is unknown, so that the answer takes equally long.
    decoy_hash: String,
}

impl Accounts {
    /// Opens (or makes) the database at `path`, with its users. `:memory:` keeps nothing.
    pub(crate) fn open(path: &str) -> Result<Self, AccountError> {
        let database = Connection::open(path)?;
        database.execute_batch(SCHEMA)?;
        for (name, email, password) in SEED {
            database.execute(
                "INSERT OR IGNORE INTO users (name, email, password_hash) VALUES (?1, ?2, ?3)",
                [name, email, &hash_password(password)?],
            )?;
        }
        Ok(Self {
            database: Mutex::new(database),
            decoy_hash: hash_password(SessionToken::random().reveal())?,
        })
    }

    /// Checks the password. If it is right, ends the other sessions of the user. `current` is what
    /// the browser's cookie says: if it already is a session of this user, that one goes on.
    pub(crate) fn log_in(
        &self,
        email: &str,
        password: &str,
        current: Option<SessionToken>,
        now: i64,
    ) -> Result<Option<Login>, AccountError> {
        let found = self
            .database()
            .query_row(
                "SELECT id, name, email, password_hash FROM users WHERE email = ?1",
                [email],
                |row| Ok((User::from_row(row)?, row.get::<_, String>("password_hash")?)),
            )
            .optional()?;
        let (user, hash) = match found {
            Some((user, hash)) => (Some(user), hash),
            None => (None, self.decoy_hash.clone()),
        };
        if !password_matches(&hash, password)? {
            return Ok(None);
        }
        let Some(user) = user else {
            return Ok(None);
        };
        let token = match current {
            Some(token)
                if self
                    .user_of(&token, now)?
                    .is_some_and(|its| its.id == user.id) =>
            {
                token
            }
            // Never a token that somebody else may have put into the browser.
            _ => SessionToken::random(),
        };
        self.start_session(user, token, now).map(Some)
    }

    /// One transaction: the user never has two sessions, nor none because half of this failed.
    fn start_session(
        &self,
        user: User,
        token: SessionToken,
        now: i64,
    ) -> Result<Login, AccountError> {
        let mut database = self.database();
        let change = database.transaction()?;
        change.execute("DELETE FROM sessions WHERE expires_at <= ?1", [now])?;
        let ended = change.execute(
            "DELETE FROM sessions WHERE user_id = ?1 AND token_hash <> ?2",
            params![user.id, token.hash()],
        )?;
        change.execute(
            "INSERT OR REPLACE INTO sessions (token_hash, user_id, expires_at) VALUES (?1, ?2, ?3)",
            params![token.hash(), user.id, now + SESSION_S],
        )?;
        change.commit()?;
        Ok(Login { user, token, ended })
    }

    /// Whose session this is, if it is one and has not ended.
    pub(crate) fn user_of(
        &self,
        token: &SessionToken,
        now: i64,
    ) -> Result<Option<User>, AccountError> {
        let user = self
            .database()
            .query_row(
                "SELECT id, name, email FROM users JOIN sessions ON user_id = id
                 WHERE token_hash = ?1 AND expires_at > ?2",
                params![token.hash(), now],
                User::from_row,
            )
            .optional()?;
        Ok(user)
    }

    /// Ends this session.
    pub(crate) fn log_out(&self, token: &SessionToken) -> Result<(), AccountError> {
        self.database()
            .execute("DELETE FROM sessions WHERE token_hash = ?1", [token.hash()])?;
        Ok(())
    }

    /// A thread that panicked left no half-done change: its transaction was rolled back.
    fn database(&self) -> MutexGuard<'_, Connection> {
        self.database.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn hash_password(password: &str) -> Result<String, AccountError> {
    let hash: PasswordHash = Argon2::default().hash_password(password.as_bytes())?;
    Ok(hash.to_string())
}

fn password_matches(hash: &str, password: &str) -> Result<bool, AccountError> {
    let hash = PasswordHash::new(hash).map_err(password_hash::Error::from)?;
    match Argon2::default().verify_password(password.as_bytes(), &hash) {
        Ok(()) => Ok(true),
        Err(password_hash::Error::PasswordInvalid) => Ok(false),
        Err(damaged) => Err(damaged.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::{Accounts, Login, SESSION_S, SessionToken};

    const NOW: i64 = 1_700_000_000;

    fn accounts() -> Accounts {
        Accounts::open(":memory:").expect("an in-memory database opens")
    }

    fn log_in(accounts: &Accounts, name: &str, current: Option<&SessionToken>) -> Login {
        let current = current.map(|token| SessionToken::from_cookie(token.reveal()));
        let (email, password) = (format!("{name}@example.com"), format!("{name}-password"));
        let login = accounts
            .log_in(&email, &password, current, NOW)
            .expect("the database works");
        login.expect("a seeded user with their password")
    }

    fn user_id(accounts: &Accounts, login: &Login, now: i64) -> Option<i64> {
        let user = accounts
            .user_of(&login.token, now)
            .expect("the database works");
        user.map(|user| user.id)
    }

    #[test]
    fn a_login_ends_the_users_other_session_and_nobody_elses() {
        let accounts = accounts();
        let older = log_in(&accounts, "outman", None);
        let grace = log_in(&accounts, "grace", None);
        let newer = log_in(&accounts, "outman", None);
        assert_eq!((older.ended, newer.ended), (0, 1));
        assert_eq!(user_id(&accounts, &older, NOW), None);
        assert_eq!(user_id(&accounts, &newer, NOW), Some(1));
        assert_eq!(user_id(&accounts, &grace, NOW), Some(2));
    }

    #[test]
    fn a_browser_that_logs_in_again_keeps_its_session() {
        let accounts = accounts();
        let first = log_in(&accounts, "outman", None);
        let again = log_in(&accounts, "outman", Some(&first.token));
        assert_eq!(again.ended, 0);
        assert_eq!(user_id(&accounts, &first, NOW), Some(1));
    }

    #[test]
    fn a_token_that_is_no_session_of_the_user_is_not_taken_over() {
        let accounts = accounts();
        let grace = log_in(&accounts, "grace", None);
        for planted in [&grace.token, &SessionToken::from_cookie("planted")] {
            let login = log_in(&accounts, "outman", Some(planted));
            assert_ne!(login.token.reveal(), planted.reveal());
        }
        assert_eq!(user_id(&accounts, &grace, NOW), Some(2));
    }

    #[test]
    fn a_wrong_password_or_an_unknown_email_logs_nobody_in() {
        for (email, password) in [
            ("outman@example.com", "grace-password"),
            ("outman@example.com", ""),
            ("nobody@example.com", "outman-password"),
        ] {
            let login = accounts()
                .log_in(email, password, None, NOW)
                .expect("the database works");
            assert!(login.is_none(), "{email}");
        }
    }

    #[test]
    fn a_session_expires() {
        let accounts = accounts();
        let login = log_in(&accounts, "outman", None);
        assert_eq!(user_id(&accounts, &login, NOW + SESSION_S - 1), Some(1));
        assert_eq!(user_id(&accounts, &login, NOW + SESSION_S), None);
    }
}
