//! What commands print: lines for people on a terminal, one JSON object a line (NDJSON) elsewhere.

use std::{
    env,
    fmt::Write as _,
    io::{self, IsTerminal, Write},
};

use clap::Args;
use serde_json::Value;

use super::Failure;

/// The form of what is printed.
#[derive(Args, Clone, Copy, Debug, Default)]
#[command(next_help_heading = "Output")]
pub(super) struct Output {
    /// Print one JSON object a line, also on a terminal.
    #[arg(long)]
    json: bool,
    /// Print lines for people, also into a pipe.
    #[arg(long, conflicts_with = "json")]
    text: bool,
}

impl Output {
    pub(super) fn printer(self) -> Printer {
        let for_people = self.text || (!self.json && io::stdout().is_terminal());
        match for_people {
            true => Printer::Text,
            false => Printer::Json,
        }
    }
}

/// Prints in one form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Printer {
    Text,
    Json,
}

impl Printer {
    pub(super) fn is_text(self) -> bool {
        self == Self::Text
    }

    /// Prints a fact in the form that was asked for.
    ///
    /// # Errors
    /// When standard output takes no more.
    pub(super) fn show(self, json: &Value, text: &str) -> Result<(), Failure> {
        match self {
            Self::Text => print(&text.lines().map(visible).collect::<Vec<_>>().join("\n")),
            Self::Json => print(&json.to_string()),
        }
    }
}

/// Prints text and ends the line.
///
/// # Errors
/// When standard output takes no more.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")
        .and_then(|()| out.flush())
        .map_err(Failure::Print)
}

/// Progress of long work, for people who watch: it replaces the line before on standard error. A terminal that is too narrow cuts it
/// off instead of going on in the next line, which would stay.
pub(super) fn progress(text: &str) {
    let mut err = io::stderr().lock();
    let is_dumb = env::var_os("TERM").is_none_or(|kind| kind == "dumb");
    if err.is_terminal() && !is_dumb {
        // Progress that nobody sees is no failure.
        let _ = write!(err, "\r\x1b[?7l\x1b[K{text}\x1b[?7h").and_then(|()| err.flush());
    }
}

/// Text of others without characters that steer a terminal.
pub(super) fn visible(text: &str) -> String {
    let mut visible = String::with_capacity(text.len());
    for character in text.chars() {
        match character.is_control() {
            true => {
                let _ = write!(visible, "{}", character.escape_default());
            }
            false => visible.push(character),
        }
    }
    visible
}

/// Rows with columns of equal width.
pub(super) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |at: usize| {
        let widths = rows.iter().filter_map(|row| row.get(at));
        widths
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or_default()
    };
    let widths: Vec<_> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths);
        let cells = cells.map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_said_cannot_steer_the_terminal() {
        assert_eq!(visible("a\x1b[2Jb\u{9b}c é"), "a\\u{1b}[2Jb\\u{9b}c é");
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["A", "B"], ["long", "x"]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(table(&rows), "A     B\nlong  x");
    }
}
