//! Laravel's `.env` files, read as Laravel reads them (vlucas/phpdotenv 5): quotes, escapes, comments, lines that go on, and `${NAME}`.
//!
//! Reads text and returns variables; it knows neither files nor what a variable means.

use std::{collections::BTreeMap, fmt};

/// A mistake that Laravel would stop at, too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong.
    pub reason: Reason,
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The name has other characters than letters, digits, `_` and `.`.
    Name(String),
    /// A value with spaces outside quotes, or text after the closing quote.
    Whitespace,
    /// A backslash before a character that has no such form.
    Escape(char),
    /// A quote is never closed.
    Unclosed(char),
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, reason } = self;
        write!(f, "line {line}: {reason}")
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "{name:?} is no name of a variable"),
            Self::Whitespace => f.write_str(
                "a value with spaces needs quotes, and nothing may follow a closing quote",
            ),
            Self::Escape(character) => write!(
                f,
                "\\{character} has no meaning within double quotes; write \\\\ for a backslash"
            ),
            Self::Unclosed(quote) => write!(f, "the {quote} is never closed"),
        }
    }
}

/// Reads the text of a file. `${NAME}` stands for a variable of `environment`, else for an earlier one of the file, and for itself
/// if there is neither. A name that occurs twice has its last value, as in Laravel.
///
/// # Errors
/// The first [`Mistake`].
pub fn parse(
    text: &str,
    environment: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, Mistake> {
    let mut variables = BTreeMap::new();
    for entry in entries(text.trim_start_matches('\u{feff}')) {
        let (name, value) = match entry.text.split_once('=') {
            Some((name, value)) => (name, value),
            // A name alone has no value.
            None => (entry.text.as_str(), ""),
        };
        let at = |reason| Mistake {
            line: entry.line,
            reason,
        };
        let name = name_of(name).map_err(at)?;
        let pieces = Pieces::read(value.trim_start()).map_err(at)?;
        let resolved = pieces.resolve(|name| environment.get(name).or_else(|| variables.get(name)));
        variables.insert(name, resolved);
    }
    Ok(variables)
}

/// A line, or several where a double quote stays open.
struct Entry {
    line: usize,
    text: String,
}

fn entries(text: &str) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut is_open = false;
    for (at, line) in text.lines().enumerate() {
        match entries.last_mut().filter(|_| is_open) {
            Some(entry) => {
                entry.text.push('\n');
                entry.text.push_str(line);
                is_open = leaves_quote_open(&entry.text);
            }
            None if line.trim().is_empty() || line.trim_start().starts_with('#') => {}
            None => {
                is_open = leaves_quote_open(line);
                let (line, text) = (at + 1, line.to_owned());
                entries.push(Entry { line, text });
            }
        }
    }
    entries
}

/// Whether the value begins with a double quote that the text does not close.
fn leaves_quote_open(entry: &str) -> bool {
    let value = entry.split_once('=').map(|(_, value)| value.trim_start());
    let Some(quoted) = value.and_then(|value| value.strip_prefix('"')) else {
        return false;
    };
    let mut escaped = false;
    !quoted.chars().any(|character| {
        let closes = character == '"' && !escaped;
        escaped = character == '\\' && !escaped;
        closes
    })
}

fn name_of(text: &str) -> Result<String, Reason> {
    let text = text.trim();
    let name = text.strip_prefix("export ").map_or(text, str::trim_start);
    let unquoted = ['"', '\''].iter().find_map(|quote| {
        name.strip_prefix(*quote)
            .and_then(|name| name.strip_suffix(*quote))
    });
    let name = unquoted.unwrap_or(name);
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    if name.is_empty() || !name.chars().all(is_name) {
        return Err(Reason::Name(name.to_owned()));
    }
    Ok(name.to_owned())
}

/// A value's text, and where in it a `$` may begin a `${NAME}`.
#[derive(Default)]
struct Pieces {
    text: String,
    dollars: Vec<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Initial,
    Unquoted,
    SingleQuoted,
    DoubleQuoted,
    Escaped,
    /// After the value: only spaces and a comment may follow.
    Behind,
}

impl Pieces {
    fn read(value: &str) -> Result<Self, Reason> {
        let mut pieces = Self::default();
        let mut state = State::Initial;
        for character in value.chars() {
            if character == '#' && matches!(state, State::Initial | State::Unquoted | State::Behind)
            {
                return Ok(pieces);
            }
            state = pieces.take(state, character)?;
        }
        match state {
            State::SingleQuoted => Err(Reason::Unclosed('\'')),
            State::DoubleQuoted | State::Escaped => Err(Reason::Unclosed('"')),
            _ => Ok(pieces),
        }
    }

    fn take(&mut self, state: State, character: char) -> Result<State, Reason> {
        Ok(match (state, character) {
            (State::Initial, '\'') => State::SingleQuoted,
            (State::Initial, '"') => State::DoubleQuoted,
            (State::SingleQuoted, '\'') | (State::DoubleQuoted, '"') => State::Behind,
            (State::DoubleQuoted, '\\') => State::Escaped,
            (State::Unquoted, character) if character.is_whitespace() => State::Behind,
            (State::Behind, character) if character.is_whitespace() => State::Behind,
            (State::Behind, _) => return Err(Reason::Whitespace),
            (State::Escaped, character) => {
                self.text.push(escaped(character)?);
                State::DoubleQuoted
            }
            (State::SingleQuoted, character) => {
                self.text.push(character);
                State::SingleQuoted
            }
            (state, character) => {
                if character == '$' {
                    self.dollars.push(self.text.len());
                }
                self.text.push(character);
                match state {
                    State::DoubleQuoted => State::DoubleQuoted,
                    _ => State::Unquoted,
                }
            }
        })
    }

    fn resolve<'a>(&self, find: impl Fn(&str) -> Option<&'a String>) -> String {
        let mut resolved = String::with_capacity(self.text.len());
        let mut done = 0;
        for &dollar in &self.dollars {
            let Some(name) = reference(&self.text[dollar..]) else {
                continue;
            };
            let Some(value) = find(name) else { continue };
            resolved.push_str(&self.text[done..dollar]);
            resolved.push_str(value);
            done = dollar + "${}".len() + name.len();
        }
        resolved.push_str(&self.text[done..]);
        resolved
    }
}

fn escaped(character: char) -> Result<char, Reason> {
    match character {
        '"' | '\\' | '$' => Ok(character),
        'n' => Ok('\n'),
        'r' => Ok('\r'),
        't' => Ok('\t'),
        'v' => Ok('\u{b}'),
        'f' => Ok('\u{c}'),
        other => Err(Reason::Escape(other)),
    }
}

/// The name in a `${NAME}` that the text begins with.
fn reference(text: &str) -> Option<&str> {
    let (name, _) = text.strip_prefix("${")?.split_once('}')?;
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    (!name.is_empty() && name.chars().all(is_name)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(line: &str) -> Result<String, Reason> {
        let environment = BTreeMap::from([("HOME".to_owned(), "/root".to_owned())]);
        let read = parse(&format!("A=earlier\nX={line}\n"), &environment);
        read.map(|variables| variables["X"].clone())
            .map_err(|mistake| mistake.reason)
    }

    #[test]
    fn values_are_read_as_laravel_reads_them() {
        for (line, expected) in [
            ("plain", "plain"),
            ("", ""),
            ("  spaced  ", "spaced"),
            ("a # comment", "a"),
            ("a#comment", "a"),
            ("# comment", ""),
            ("'a # b'", "a # b"),
            ("\"a # b\" # comment", "a # b"),
            (r#""a \"b\" \\ \$HOME \n""#, "a \"b\" \\ $HOME \n"),
            (r"'a\nb'", r"a\nb"),
            (r"C:\new", r"C:\new"),
            ("${A}/x", "earlier/x"),
            ("\"${A} ${HOME}\"", "earlier /root"),
            ("'${A}'", "${A}"),
            ("${MISSING}", "${MISSING}"),
            ("pa$word", "pa$word"),
            ("\"pa$A\"", "pa$A"),
            ("base64:a+b/c==", "base64:a+b/c=="),
            ("é${A}", "éearlier"),
        ] {
            assert_eq!(value(line).as_deref(), Ok(expected), "{line}");
        }
    }

    #[test]
    fn what_laravel_stops_at_is_a_mistake() {
        for (line, expected) in [
            ("a b", Reason::Whitespace),
            ("\"a\" b", Reason::Whitespace),
            ("\"a\\x\"", Reason::Escape('x')),
            ("'a", Reason::Unclosed('\'')),
            ("\"a", Reason::Unclosed('"')),
        ] {
            assert_eq!(value(line), Err(expected), "{line}");
        }
        let mistake = parse("A=1\n\nB-C=2", &BTreeMap::new()).expect_err("a bad name");
        assert_eq!(mistake.line, 3);
        assert_eq!(mistake.reason, Reason::Name("B-C".to_owned()));
    }

    #[test]
    fn names_may_be_exported_and_the_last_of_two_counts() {
        let text = "\u{feff}export A=1\n A = 2\n#C=3\nB\nC=\"one\ntwo\"\nD=4";
        let variables = parse(text, &BTreeMap::new()).expect("no mistake");
        let expected = [("A", "2"), ("B", ""), ("C", "one\ntwo"), ("D", "4")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(variables, BTreeMap::from(expected));
    }
}
