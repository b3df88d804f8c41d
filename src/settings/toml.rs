//! TOML as values that know their line and column.

use ::toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{Map, Problem, Problems, Value, ValueKind};

/// Whether values know their places, which costs more than all the rest of their reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Places {
    /// Their origin is `name:line:column`.
    Known,
    /// They have no origin.
    Unknown,
}

/// A document whose list of tables may be long: of 10,000, each is parsed for itself, and only if it is not known.
pub struct Document<'a> {
    lines: Lines<'a>,
    /// The name of the list.
    list: &'a str,
    /// What was parsed, each with its place in the text. The list may be in the first.
    parts: Vec<(usize, DeTable<'a>)>,
    /// The text of each element, if each can be parsed for itself.
    blocks: Option<Vec<Block<'a>>>,
}

/// The text from the head of a list's table to that of the next.
struct Block<'a> {
    start: usize,
    text: &'a str,
    /// Whether the element is all of it, and not a table after it, too.
    is_pure: bool,
}

impl<'a> Document<'a> {
    /// Parses a document that people know by this name. A block that `is_known` is not parsed: it was before, and was pure.
    ///
    /// # Errors
    /// Every syntax error, with its place but without the line itself, which may hold a secret.
    pub fn parse(
        name: &'a str,
        text: &'a str,
        list: &'a str,
        is_known: impl Fn(&str) -> bool,
    ) -> Result<Self, Problems> {
        let mut document = Self {
            lines: Lines::of(name, text),
            list,
            parts: Vec::new(),
            blocks: None,
        };
        if document.split(is_known).is_none() {
            let (root, errors) = DeTable::parse_recoverable(text);
            document.refuse(&errors)?;
            document.parts = vec![(0, root.into_inner())];
            document.blocks = None;
        }
        Ok(document)
    }

    /// Parses the blocks one by one. `None`: they make sense only together, or not at all, as where a text of several lines has a line
    /// that looks like a head.
    fn split(&mut self, is_known: impl Fn(&str) -> bool) -> Option<()> {
        let text = self.lines.text;
        let starts = self.lines.heads(&format!("[[{}]]", self.list));
        let head = text.get(..*starts.first()?)?;
        self.parts = vec![(0, DeTable::parse(head).ok()?.into_inner())];
        let mut blocks = Vec::with_capacity(starts.len());
        for (at, start) in starts.iter().enumerate() {
            let end = starts.get(at + 1).copied().unwrap_or(text.len());
            let text = text.get(*start..end)?;
            let mut is_pure = true;
            if !is_known(text) {
                let mut table = DeTable::parse(text).ok()?.into_inner();
                let DeValue::Array(elements) = table.remove(self.list)?.into_inner() else {
                    return None;
                };
                is_pure = table.is_empty();
                if elements.len() != 1 {
                    return None;
                }
                if !is_pure {
                    self.parts.push((*start, table));
                }
            }
            blocks.push(Block {
                start: *start,
                text,
                is_pure,
            });
        }
        self.blocks = Some(blocks);
        self.has_distinct_keys().then_some(())
    }

    /// Whether no key is in two parts, nor the list in one.
    fn has_distinct_keys(&self) -> bool {
        let keys = self.parts.iter().flat_map(|(_, part)| part.keys());
        let mut keys: Vec<&str> = keys.map(|key| &**key.get_ref()).collect();
        keys.push(self.list);
        let count = keys.len();
        keys.sort_unstable();
        keys.dedup();
        keys.len() == count
    }

    fn refuse(&self, errors: &[::toml::de::Error]) -> Result<(), Problems> {
        let mut problems = Problems::default();
        for error in errors {
            problems.push(Problem {
                place: self.lines.place(error.span().map_or(0, |span| span.start)),
                key: String::new(),
                reason: error.message().replace('\n', ", "),
            });
        }
        match problems.is_empty() {
            true => Ok(()),
            false => Err(problems),
        }
    }

    /// Everything but the elements of the list, which stays empty.
    #[must_use]
    pub fn without_list(&self) -> Map<String, Value> {
        let mut all = Map::new();
        for (start, part) in &self.parts {
            for (key, value) in part {
                let key = key.get_ref().to_string();
                let value = match value.get_ref() {
                    DeValue::Array(_) if key == self.list => self.empty_list(value.span().start),
                    _ => self.lines.value(value, *start, Places::Known),
                };
                all.insert(key, value);
            }
        }
        if let Some(first) = self.blocks.as_ref().and_then(|blocks| blocks.first()) {
            all.insert(self.list.to_owned(), self.empty_list(first.start));
        }
        all
    }

    fn empty_list(&self, at: usize) -> Value {
        let place = self.lines.place(at);
        Value::new(Some(&place), ValueKind::Array(Vec::new()))
    }

    /// How many elements the list has.
    #[must_use]
    pub fn listed(&self) -> usize {
        match &self.blocks {
            Some(blocks) => blocks.len(),
            None => self.elements().len(),
        }
    }

    /// An element of the list.
    #[must_use]
    pub fn element(&self, index: usize, places: Places) -> Option<Value> {
        let Some(blocks) = &self.blocks else {
            let element = self.elements().get(index)?;
            return Some(self.lines.value(element, 0, places));
        };
        let block = blocks.get(index)?;
        let table = DeTable::parse(block.text).ok()?.into_inner();
        let DeValue::Array(elements) = table.get(self.list)?.get_ref() else {
            return None;
        };
        Some(self.lines.value(elements.first()?, block.start, places))
    }

    /// The text of an element, if it is all that the element depends on.
    #[must_use]
    pub fn source(&self, index: usize) -> Option<&'a str> {
        let block = self.blocks.as_ref()?.get(index)?;
        block.is_pure.then_some(block.text)
    }

    fn elements(&self) -> &[Spanned<DeValue<'a>>] {
        let list = self.parts.first().and_then(|(_, part)| part.get(self.list));
        match list.map(Spanned::get_ref) {
            Some(DeValue::Array(elements)) => elements,
            _ => &[],
        }
    }
}

/// Where the lines of a document begin.
struct Lines<'a> {
    name: &'a str,
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn of(name: &'a str, text: &'a str) -> Self {
        let ends = memchr::memchr_iter(b'\n', text.as_bytes());
        let starts = std::iter::once(0).chain(ends.map(|end| end + 1));
        Self {
            name,
            text,
            starts: starts.collect(),
        }
    }

    /// Where lines begin that are nothing but this.
    fn heads(&self, head: &str) -> Vec<usize> {
        let ends = self.starts.iter().skip(1).copied();
        let ends = ends.chain(std::iter::once(self.text.len()));
        let lines = self.starts.iter().copied().zip(ends);
        let is_head = |(start, end): &(usize, usize)| {
            let line = self.text.get(*start..*end);
            line.is_some_and(|line| line.trim_end() == head)
        };
        lines.filter(is_head).map(|(start, _)| start).collect()
    }

    /// `name:line:column`, both counted from 1; the column in characters.
    fn place(&self, at: usize) -> String {
        let line = self.starts.partition_point(|start| *start <= at);
        let start = self.starts[line - 1];
        let column = self
            .text
            .get(start..at)
            .map_or(0, |before| before.chars().count())
            + 1;
        format!("{}:{line}:{column}", self.name)
    }

    /// `start`: where the text that was parsed begins.
    fn value(&self, value: &Spanned<DeValue<'_>>, start: usize, places: Places) -> Value {
        let kind = match value.get_ref() {
            DeValue::String(text) => ValueKind::String(text.to_string()),
            DeValue::Boolean(switch) => ValueKind::Boolean(*switch),
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
                .map_or_else(|_| ValueKind::Float(f64::INFINITY), ValueKind::I64),
            DeValue::Float(number) => ValueKind::Float(number.as_str().parse().unwrap_or(f64::NAN)),
            DeValue::Datetime(time) => ValueKind::String(time.to_string()),
            DeValue::Array(values) => {
                let values = values.iter().map(|value| self.value(value, start, places));
                ValueKind::Array(values.collect())
            }
            DeValue::Table(entries) => {
                let entries = entries.iter();
                let entries = entries.map(|(key, value)| {
                    (key.get_ref().to_string(), self.value(value, start, places))
                });
                ValueKind::Table(entries.collect())
            }
        };
        let place = match places {
            Places::Known => Some(self.place(start + value.span().start)),
            Places::Unknown => None,
        };
        Value::new(place.as_ref(), kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse<'a>(text: &'a str, known: &str) -> Result<Document<'a>, Problems> {
        Document::parse("f", text, "apps", |block| block == known)
    }

    fn origin(value: &Value) -> &str {
        value.origin().unwrap_or_default()
    }

    fn entry<'a>(value: &'a Value, key: &str) -> &'a Value {
        match &value.kind {
            ValueKind::Table(entries) => &entries[key],
            other => panic!("not a table: {other:?}"),
        }
    }

    #[test]
    fn every_value_knows_its_line_and_column() {
        let text = "top = 1\n[server]\n  port = 2\n[[apps]]\nid = \"é\"\nlist = [ 1,\n 2 ]\n[[apps]]\n[log]\nlevel = 1\n";
        let document = parse(text, "").expect("valid TOML");
        assert!(document.blocks.is_some());
        let root = document.without_list();
        assert_eq!(origin(&root["top"]), "f:1:7");
        assert_eq!(origin(entry(&root["server"], "port")), "f:3:10");
        assert_eq!(origin(entry(&root["log"], "level")), "f:10:9");
        assert_eq!(origin(&root["apps"]), "f:4:1");
        let app = document.element(0, Places::Known).expect("an app");
        assert_eq!(origin(&app), "f:4:1");
        assert_eq!(origin(entry(&app, "id")), "f:5:6");
        let ValueKind::Array(list) = &entry(&app, "list").kind else {
            panic!("a list")
        };
        assert_eq!(origin(&list[1]), "f:7:2");
        let unplaced = document.element(0, Places::Unknown).expect("an app");
        assert_eq!(
            (origin(&unplaced), origin(entry(&unplaced, "id"))),
            ("", "")
        );
        assert_eq!(document.listed(), 2);
        assert!(document.source(0).is_some() && document.source(1).is_none());
    }

    #[test]
    fn a_known_block_is_not_parsed() {
        let text = "[[apps]]\nid = 1\n[[apps]]\nnonsense\n";
        let document = parse(text, "[[apps]]\nnonsense\n").expect("the rest is valid");
        assert_eq!(document.listed(), 2);
        assert!(document.element(0, Places::Known).is_some());
    }

    #[test]
    fn blocks_that_make_sense_only_together_are_parsed_together() {
        for (text, elements) in [
            ("[[apps]]\na = \"\"\"\n[[apps]]\n\"\"\"\n", 1),
            ("[[apps]]\n[[apps]] # commented\n[[ apps ]]\n", 3),
            ("apps = [{ a = 1 }, { a = 2 }]\n", 2),
        ] {
            let document = parse(text, "").expect(text);
            assert!(document.blocks.is_none(), "{text}");
            assert_eq!(document.listed(), elements, "{text}");
            assert!(
                document.element(elements - 1, Places::Known).is_some(),
                "{text}"
            );
        }
        let twice = "[server]\n[[apps]]\n[log]\n[[apps]]\n[server]\n";
        let problems = parse(twice, "").err().expect("a table is there twice");
        assert_eq!(
            problems.iter().next().map(|it| it.place.as_str()),
            Some("f:5:2")
        );
        assert!(parse("apps = []\n[[apps]]\n", "").is_err());
    }

    #[test]
    fn all_syntax_errors_are_found() {
        let problems = parse("a = \n[b\nc = 1\n", "").err().expect("two errors");
        let places: Vec<_> = problems.iter().map(|it| it.place.as_str()).collect();
        assert_eq!(places, ["f:2:3", "f:1:5"], "{problems}");
    }
}
