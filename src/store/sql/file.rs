//! SQLite's file: an open connection stays with the one that it has opened, even when another takes its place or it is removed.

use std::{fs, os::unix::fs::MetadataExt, path::PathBuf};

use percent_encoding::percent_decode_str;

use super::StoreError;
use crate::config::{DatabaseUrl, Dialect};

/// The file at a path.
pub(super) struct DatabaseFile {
    path: PathBuf,
    /// The device and number of the file that was there at the last look.
    known: Option<(u64, u64)>,
}

impl DatabaseFile {
    /// `None` where there is no file: another dialect, or SQLite in memory.
    pub(super) fn of(url: &DatabaseUrl) -> Option<Self> {
        let is_sqlite = url.dialect == Dialect::Sqlite;
        let text = url.url.expose_str().strip_prefix("sqlite://");
        let path = text.filter(|_| is_sqlite)?.split('?').next()?;
        let path = percent_decode_str(path).decode_utf8().ok()?;
        Some(Self {
            path: path.as_ref().into(),
            known: None,
        })
    }

    /// Whether another file has taken the place of the one that was there at the last look.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if there is none any more.
    pub(super) fn was_replaced(&mut self) -> Result<bool, StoreError> {
        let found = match fs::metadata(&self.path) {
            Ok(file) => Some((file.dev(), file.ino())),
            // The first connection makes it.
            Err(_) if self.known.is_none() => None,
            Err(error) => {
                let reason = format!("{}: {error}", self.path.display());
                return Err(StoreError::Unavailable(reason));
            }
        };
        let known = std::mem::replace(&mut self.known, found);
        Ok(known.is_some() && known != found)
    }
}
