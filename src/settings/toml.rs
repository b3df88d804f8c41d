//! TOML as values that know their line and column.

use ::toml::de::{DeTable, DeValue};

use super::{Map, Problem, Problems, Value, ValueKind};

/// Reads a document. Every value's origin is `name:line:column`.
///
/// # Errors
/// Every syntax error, with its place but without the line itself, which may hold a secret.
pub fn parse(name: &str, text: &str) -> Result<Map<String, Value>, Problems> {
    let lines = Lines::of(name, text);
    let (document, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return Ok(lines.table(document.into_inner()));
    }
    let mut problems = Problems::default();
    for error in errors {
        problems.push(Problem {
            place: lines.place(error.span().map_or(0, |span| span.start)),
            key: String::new(),
            reason: error.message().replace('\n', ", "),
        });
    }
    Err(problems)
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

    fn table(&self, table: DeTable<'_>) -> Map<String, Value> {
        let entries = table.into_iter();
        entries
            .map(|(key, value)| {
                let at = value.span().start;
                (
                    key.into_inner().into_owned(),
                    self.value(value.into_inner(), at),
                )
            })
            .collect()
    }

    fn value(&self, value: DeValue<'_>, at: usize) -> Value {
        let kind = match value {
            DeValue::String(text) => ValueKind::String(text.into_owned()),
            DeValue::Boolean(switch) => ValueKind::Boolean(switch),
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
                .map_or_else(|_| ValueKind::Float(f64::INFINITY), ValueKind::I64),
            DeValue::Float(number) => ValueKind::Float(number.as_str().parse().unwrap_or(f64::NAN)),
            DeValue::Datetime(time) => ValueKind::String(time.to_string()),
            DeValue::Array(values) => {
                let values = values.into_iter().map(|value| {
                    let at = value.span().start;
                    self.value(value.into_inner(), at)
                });
                ValueKind::Array(values.collect())
            }
            DeValue::Table(table) => ValueKind::Table(self.table(table)),
        };
        Value::new(Some(&self.place(at)), kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_knows_its_line_and_column() {
        let text =
            "top = 1\n[server]\n  port = 2\n[[apps]]\nid = \"é\"\nlist = [ 1,\n 2 ]\n[[apps]]\n";
        let root = parse("f", text).expect("valid TOML");
        let origin = |value: &Value| value.origin().unwrap_or_default().to_owned();
        assert_eq!(origin(&root["top"]), "f:1:7");
        let table = |value: &Value| value.clone().into_table().expect("a table");
        let array = |value: &Value| value.clone().into_array().expect("a list");
        assert_eq!(origin(&table(&root["server"])["port"]), "f:3:10");
        let apps = array(&root["apps"]);
        assert_eq!([origin(&apps[0]), origin(&apps[1])], ["f:4:1", "f:8:1"]);
        assert_eq!(origin(&table(&apps[0])["id"]), "f:5:6");
        assert_eq!(origin(&array(&table(&apps[0])["list"])[1]), "f:7:2");
    }

    #[test]
    fn all_syntax_errors_are_found() {
        let problems = parse("f", "a = \n[b\nc = 1\n").expect_err("two errors");
        let places: Vec<_> = problems.iter().map(|it| it.place.as_str()).collect();
        assert_eq!(places, ["f:2:3", "f:1:5"], "{problems}");
    }
}
