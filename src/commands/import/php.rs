//! Reads the array that a PHP configuration file returns. Nothing is executed: what is no plain value is told by its line.

use serde_json::{Map, Value as Json};

/// Values within values.
const DEPTH_MAX: usize = 32;
/// Characters of an expression that are shown.
const SHOWN_MAX: usize = 60;

/// What was read.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Read {
    /// The array.
    pub(super) value: Json,
    /// Expressions that are no plain values: their keys' paths, lines and texts.
    pub(super) unread: Vec<Unread>,
}

/// An expression that is no plain value; its value is null.
#[derive(Debug, PartialEq)]
pub(super) struct Unread {
    /// Keys from the outermost array on, with dots between.
    pub(super) path: String,
    /// Counted from 1.
    pub(super) line: usize,
    /// The beginning of it.
    pub(super) text: String,
}

/// Reads a file that returns an array. `env` gives the value of a variable, for `env('NAME', default)`.
///
/// # Errors
/// Line and reason, where the file returns no array that ends.
pub(super) fn read(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Read, String> {
    let mut reader = Reader {
        text,
        at: 0,
        env,
        path: Vec::new(),
        depth: 0,
        unread: Vec::new(),
    };
    reader.find_return()?;
    let value = reader.value()?;
    if !value.is_object() && !value.is_array() {
        return Err(reader.wrong("it returns no array"));
    }
    Ok(Read {
        value,
        unread: reader.unread,
    })
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    env: &'a dyn Fn(&str) -> Option<String>,
    path: Vec<String>,
    depth: usize,
    unread: Vec<Unread>,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn line(&self) -> usize {
        self.text[..self.at].matches('\n').count() + 1
    }

    fn wrong(&self, reason: &str) -> String {
        format!("{}: {reason}", self.line())
    }

    /// Skips to what the file returns.
    fn find_return(&mut self) -> Result<(), String> {
        loop {
            self.skip_blank();
            if self.take("return") {
                return Ok(());
            }
            if self.rest().is_empty() {
                return Err(self.wrong("it returns no array"));
            }
            if self.string().is_none() {
                self.step();
                while self
                    .rest()
                    .starts_with(|c: char| c.is_alphanumeric() || c == '_')
                {
                    self.step();
                }
            }
        }
    }

    fn step(&mut self) {
        self.at += self.rest().chars().next().map_or(0, char::len_utf8);
    }

    /// Skips spaces and comments.
    fn skip_blank(&mut self) {
        loop {
            let trimmed = self.rest().trim_start();
            self.at = self.text.len() - trimmed.len();
            let end = match trimmed {
                it if it.starts_with("/*") => it.find("*/").map(|end| end + 2),
                it if it.starts_with("//") || it.starts_with('#') => it.find('\n'),
                _ => return,
            };
            self.at = end.map_or(self.text.len(), |end| self.at + end);
        }
    }

    /// Takes this, after blanks.
    fn take(&mut self, what: &str) -> bool {
        self.skip_blank();
        let is_next = self.rest().starts_with(what);
        if is_next {
            self.at += what.len();
        }
        is_next
    }

    /// A value up to the comma or bracket behind it.
    fn value(&mut self) -> Result<Json, String> {
        self.skip_blank();
        let start = self.at;
        let unread = self.unread.len();
        let value = self.plain()?;
        self.skip_blank();
        let is_whole = self.rest().is_empty() || self.rest().starts_with([',', ']', ')', ';']);
        match value.filter(|_| is_whole) {
            Some(value) => Ok(value),
            None => {
                self.at = start;
                self.unread.truncate(unread);
                self.skip_expression()?;
                Ok(Json::Null)
            }
        }
    }

    /// A value of a kind that is read; `None` for any other.
    fn plain(&mut self) -> Result<Option<Json>, String> {
        if self.depth >= DEPTH_MAX {
            return Err(self.wrong("it is nested too deep"));
        }
        self.depth += 1;
        let value = self.nested();
        self.depth -= 1;
        value
    }

    fn nested(&mut self) -> Result<Option<Json>, String> {
        for cast in ["(int)", "(string)", "(bool)", "(float)"] {
            if self.take(cast) {
                return self.plain();
            }
        }
        if self.take("[") {
            return self.array("]").map(Some);
        }
        if self.take("array(") {
            return self.array(")").map(Some);
        }
        if self.take("env(") {
            return self.env();
        }
        Ok(self.scalar())
    }

    /// A text, a number, a switch or null.
    fn scalar(&mut self) -> Option<Json> {
        self.skip_blank();
        if let Some(text) = self.string() {
            return Some(text.into());
        }
        let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '\\');
        let length = self
            .rest()
            .find(|c| !is_word(c))
            .unwrap_or(self.rest().len());
        let word = self.rest()[..length].to_owned();
        self.at += length;
        match word.to_ascii_lowercase().as_str() {
            "true" => Some(true.into()),
            "false" => Some(false.into()),
            "null" => Some(Json::Null),
            number => number.replace('_', "").parse::<i64>().ok().map(Json::from),
        }
    }

    fn array(&mut self, end: &str) -> Result<Json, String> {
        let (mut list, mut table) = (Vec::new(), Map::new());
        loop {
            if self.take(end) {
                break;
            }
            if self.rest().is_empty() {
                return Err(self.wrong("an array does not end"));
            }
            let start = self.at;
            let key = self.scalar();
            let key = key.filter(|_| self.take("=>"));
            match key {
                Some(key) => {
                    let key = key.as_str().map_or_else(|| key.to_string(), str::to_owned);
                    self.path.push(key.clone());
                    let value = self.value()?;
                    table.insert(key, value);
                }
                None => {
                    self.at = start;
                    self.path.push(list.len().to_string());
                    let value = self.value()?;
                    list.push(value);
                }
            }
            self.path.pop();
            if !self.take(",") && !self.rest().starts_with(end) {
                return Err(self.wrong("an array has something that can't be read"));
            }
        }
        Ok(match table.is_empty() {
            true => list.into(),
            false => table.into(),
        })
    }

    /// The value of `env('NAME', default)`, as Laravel reads it.
    fn env(&mut self) -> Result<Option<Json>, String> {
        self.skip_blank();
        let Some(name) = self.string() else {
            return Ok(None);
        };
        let default = match self.take(",") {
            true => self.value()?,
            false => Json::Null,
        };
        self.take(",");
        if !self.take(")") {
            return Ok(None);
        }
        let Some(text) = (self.env)(&name) else {
            return Ok(Some(default));
        };
        Ok(Some(match text.to_ascii_lowercase().as_str() {
            "true" | "(true)" => true.into(),
            "false" | "(false)" => false.into(),
            "null" | "(null)" => Json::Null,
            "empty" | "(empty)" => "".into(),
            _ => text.into(),
        }))
    }

    /// A text in quotes. One with a variable in it is none: its value is not known.
    fn string(&mut self) -> Option<String> {
        let start = self.at;
        let quote = self
            .rest()
            .chars()
            .next()
            .filter(|c| matches!(c, '\'' | '"'))?;
        self.step();
        let mut text = String::new();
        loop {
            let character = self.rest().chars().next();
            self.step();
            match character {
                None => break,
                Some('$') if quote == '"' => break,
                Some('\\') => {
                    let next = self.rest().chars().next()?;
                    self.step();
                    match next {
                        'n' if quote == '"' => text.push('\n'),
                        't' if quote == '"' => text.push('\t'),
                        '\\' | '\'' | '"' | '$' => text.push(next),
                        other => text.extend(['\\', other]),
                    }
                }
                Some(other) if other == quote => return Some(text),
                Some(other) => text.push(other),
            }
        }
        self.at = start;
        None
    }

    /// Skips an expression, brackets and texts within it as wholes, and notes it.
    fn skip_expression(&mut self) -> Result<(), String> {
        let (start, line) = (self.at, self.line());
        let mut depth = 0_usize;
        loop {
            if self.rest().starts_with(['\'', '"']) {
                self.skip_string()?;
                continue;
            }
            match self.rest().chars().next() {
                None => return Err(self.wrong("an expression does not end")),
                Some(',' | ';' | ']' | ')') if depth == 0 => break,
                Some('(' | '[' | '{') => depth += 1,
                Some(')' | ']' | '}') => depth = depth.saturating_sub(1),
                Some(_) => {}
            }
            self.step();
        }
        let text = self.text[start..self.at].split_whitespace();
        let text = text.collect::<Vec<_>>().join(" ");
        self.unread.push(Unread {
            path: self.path.join("."),
            line,
            text: text.chars().take(SHOWN_MAX).collect(),
        });
        Ok(())
    }

    fn skip_string(&mut self) -> Result<(), String> {
        let quote = self.rest().chars().next();
        self.step();
        loop {
            match self.rest().chars().next() {
                None => return Err(self.wrong("a text does not end")),
                Some('\\') => self.step(),
                other if other == quote => {
                    self.step();
                    return Ok(());
                }
                Some(_) => {}
            }
            self.step();
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn env(name: &str) -> Option<String> {
        match name {
            "KEY" => Some("k".to_owned()),
            "ON" => Some("(true)".to_owned()),
            "NOTHING" => Some("null".to_owned()),
            _ => None,
        }
    }

    #[test]
    fn plain_values_are_read() {
        let text = r#"<?php
            use Some\Thing; // return [
            /* return ['a'] */
            return [
                'text' => 'it\'s', "double" => "a\n", # a comment
                'number' => 10_000, 'negative' => -1, 'on' => TRUE, 'off' => false, 'none' => null,
                'env' => env('KEY'), 'default' => env('MISSING', 7), 'cast' => (int) env('MISSING', '8'),
                'switch' => env('ON', false), 'null' => env('NOTHING', 1), 'unset' => env('MISSING'),
                'list' => ['a', "b",], 'old' => array('x' => array(1, 2)), 3 => 'numbered', 'empty' => [],
            ];"#;
        let read = read(text, &env).expect("an array");
        let expected = json!({
            "text": "it's", "double": "a\n", "number": 10000, "negative": -1, "on": true, "off": false, "none": null,
            "env": "k", "default": 7, "cast": "8", "switch": true, "null": null, "unset": null,
            "list": ["a", "b"], "old": {"x": [1, 2]}, "3": "numbered", "empty": [],
        });
        assert_eq!(read.value, expected);
        assert_eq!(read.unread, []);
    }

    #[test]
    fn what_is_no_plain_value_is_told_and_never_executed() {
        let text = "<?php return [\n'a' => env('KEY') === 'k',\n'b' => ['c' => storage_path('x, y')],\n'd' => Some\\Thing::class,\n'e' => \"$KEY\", 'f' => 1 + 2, 'g' => 5];";
        let read = read(text, &env).expect("an array");
        assert_eq!(
            read.value,
            json!({"a": null, "b": {"c": null}, "d": null, "e": null, "f": null, "g": 5})
        );
        let unread: Vec<_> = read
            .unread
            .iter()
            .map(|it| (it.path.as_str(), it.line, it.text.as_str()))
            .collect();
        assert_eq!(
            unread,
            [
                ("a", 2, "env('KEY') === 'k'"),
                ("b.c", 3, "storage_path('x, y')"),
                ("d", 4, "Some\\Thing::class"),
                ("e", 5, "\"$KEY\""),
                ("f", 5, "1 + 2"),
            ]
        );
    }

    #[test]
    fn what_is_no_file_of_that_kind_is_refused_and_deep_nesting_is_bounded() {
        for (text, reason) in [
            ("", "1: it returns no array"),
            ("<?php return 7;", "1: it returns no array"),
            (
                "<?php\nreturn [1, 2",
                "2: an array has something that can't be read",
            ),
            ("<?php return ['a' => foo(", "1: an expression does not end"),
        ] {
            assert_eq!(read(text, &env).expect_err(text), reason, "{text}");
        }
        for opening in ["[", "env('A', ", "(int)", "['a' => ["] {
            let deep = format!("<?php return {}", opening.repeat(100_000));
            assert!(
                read(&deep, &env).expect_err(opening).contains("too deep"),
                "{opening}"
            );
        }
    }
}
