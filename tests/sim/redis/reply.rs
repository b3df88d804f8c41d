//! What a command answers, in the terms of RESP3.

use bytes::Bytes;

/// A reply. Scripts see it as RESP2 has it ([`super::lua`]).
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Reply {
    Nil,
    Int(i64),
    Double(f64),
    Bool(bool),
    Status(String),
    Bulk(Bytes),
    Array(Vec<Reply>),
    Map(Vec<(Reply, Reply)>),
    Set(Vec<Reply>),
    Error(ErrorReply),
}

/// An error as a client reads it: its first word is the code.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ErrorReply {
    pub(crate) code: String,
    pub(crate) text: String,
}

/// What running a command results in.
pub(super) type Outcome = Result<Reply, ErrorReply>;

impl Reply {
    pub(super) fn ok() -> Self {
        Self::Status("OK".to_owned())
    }

    pub(super) fn bulk(bytes: &Bytes) -> Self {
        Self::Bulk(bytes.clone())
    }

    /// The bytes, or nil.
    pub(super) fn optional(bytes: Option<&Bytes>) -> Self {
        bytes.map_or(Self::Nil, Self::bulk)
    }

    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Bulk(Bytes::from(text.into()))
    }

    pub(super) fn count(count: usize) -> Self {
        Self::Int(i64::try_from(count).expect("memory holds less than 2^63 things"))
    }

    pub(super) fn flag(flag: bool) -> Self {
        Self::Int(i64::from(flag))
    }

    pub(super) fn bulks<'a>(items: impl IntoIterator<Item = &'a Bytes>) -> Self {
        Self::Array(items.into_iter().map(Self::bulk).collect())
    }
}

impl ErrorReply {
    /// An error without a code of its own.
    pub(super) fn plain(text: impl Into<String>) -> Self {
        Self {
            code: "ERR".to_owned(),
            text: text.into(),
        }
    }

    /// Splits a line at its first space, as clients do. Line breaks cannot be sent: within the line they become spaces.
    pub(crate) fn from_line(line: &str) -> Self {
        let line = line.trim_end_matches(['\r', '\n']);
        let line = line.replace(['\r', '\n'], " ");
        let (code, text) = line.split_once(' ').unwrap_or((&line, ""));
        Self {
            code: code.to_owned(),
            text: text.to_owned(),
        }
    }

    /// The error as one line, code first.
    pub(super) fn line(&self) -> String {
        format!("{} {}", self.code, self.text)
    }

    pub(super) fn wrong_type() -> Self {
        Self::from_line("WRONGTYPE Operation against a key holding the wrong kind of value")
    }

    pub(super) fn syntax() -> Self {
        Self::plain("syntax error")
    }

    pub(super) fn not_an_integer() -> Self {
        Self::plain("value is not an integer or out of range")
    }

    pub(super) fn arity(name: &str) -> Self {
        Self::plain(format!("wrong number of arguments for '{name}' command"))
    }
}
