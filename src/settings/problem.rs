//! What is wrong with a source, where, and in which words. Never holds a secret.

use std::fmt;

use super::{Path, Value};

/// Problems beyond these are counted, not printed.
const SHOWN_MAX: usize = 20;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// `file:line:column`, or the name of a variable, or whatever else the value came from.
    pub place: String,
    /// The dotted key; empty if there is none.
    pub key: String,
    /// What is wrong, as the rest of a sentence that begins with the key.
    pub reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, key, reason } = self;
        if !place.is_empty() {
            write!(f, "{place}: ")?;
        }
        if !key.is_empty() {
            write!(f, "{key} ")?;
        }
        f.write_str(reason)
    }
}

/// Everything that is wrong, in the order in which it was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// Adds a problem.
    pub fn push(&mut self, problem: Problem) {
        self.0.push(problem);
    }

    /// Adds a problem of a value.
    pub fn refuse(&mut self, value: &Value, path: Path<'_>, reason: impl Into<String>) {
        self.push(Problem {
            place: value.origin().unwrap_or(DEFAULTS).to_owned(),
            key: path.to_string(),
            reason: reason.into(),
        });
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }

    /// Moves all of them out.
    #[must_use]
    pub fn take(&mut self) -> Vec<Problem> {
        std::mem::take(&mut self.0)
    }

    /// Puts those of one file in the order of their lines.
    pub fn sort(&mut self) {
        let position = |problem: &Problem| {
            let mut parts = problem.place.rsplitn(3, ':');
            let column: u32 = parts.next()?.parse().ok()?;
            let line: u32 = parts.next()?.parse().ok()?;
            Some((line, column))
        };
        self.0.sort_by_key(position);
    }

    /// Adds others.
    pub fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }
}

/// The origin of values that nobody set.
pub(super) const DEFAULTS: &str = "the defaults";

impl fmt::Display for Problems {
    /// One line each.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.iter().take(SHOWN_MAX).map(ToString::to_string);
        f.write_str(&shown.collect::<Vec<_>>().join("\n"))?;
        match self.0.len().checked_sub(SHOWN_MAX) {
            Some(more @ 1..) => write!(f, "\nand {more} more"),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for Problems {}
