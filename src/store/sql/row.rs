//! One row of a table, as text.

use crate::{
    settings::{Json, Map, Value, ValueKind, to_json},
    store::columns::Column,
};

/// A row; null is left out.
pub(super) struct Row {
    pub(super) id: String,
    /// Differs after each change of the row.
    pub(super) stamp: String,
    pub(super) texts: Vec<(Column, String)>,
}

impl Row {
    /// The row as a table of settings, which knows where it came from.
    pub(super) fn value(&self, table: &str) -> Value {
        let place = place(table, &self.id);
        let entries = self.texts.iter().filter_map(|(column, text)| {
            let kind = column.read(text, &place);
            let is_set = kind != ValueKind::Nil;
            is_set.then(|| (column.key.to_owned(), Value::new(Some(&place), kind)))
        });
        let entries: Map<String, Value> = entries.collect();
        Value::new(Some(&place), entries)
    }

    /// The row as settings that may be edited.
    pub(super) fn settings(&self) -> serde_json::Map<String, Json> {
        let entries = self.texts.iter();
        entries
            .map(|(column, text)| (column.key.to_owned(), to_json(column.read(text, "").into())))
            .collect()
    }
}

/// An empty value that knows the row.
pub(super) fn origin(table: &str, id: &str) -> Value {
    Value::new(Some(&place(table, id)), ValueKind::Nil)
}

fn place(table: &str, id: &str) -> String {
    format!("{table}, app {id}")
}
