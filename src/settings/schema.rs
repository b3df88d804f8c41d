//! Settings as JSON Schema.

use serde_json::json;

use super::{Field, Json, Takes, fields, sample::plain};

/// The schema of a table. Secrets are written and never read.
#[must_use]
pub fn of_table(groups: &'static [&'static [Field]]) -> Json {
    let mut properties = serde_json::Map::new();
    for field in fields(groups) {
        let mut schema = of_value(field.takes);
        schema["description"] = plain(field.doc).into();
        if let Some(default) = (field.default)().filter(|default| !default.is_null()) {
            schema["default"] = default;
        }
        properties.insert(field.name.to_owned(), schema);
    }
    json!({"type": "object", "additionalProperties": false, "properties": properties})
}

fn of_value(takes: Takes) -> Json {
    match takes {
        Takes::Text => json!({"type": "string"}),
        Takes::Secret => json!({"type": "string", "writeOnly": true}),
        Takes::Word(words) => json!({"type": "string", "enum": words}),
        Takes::Switch => json!({"type": "boolean"}),
        Takes::Number { min, max } => json!({"type": "integer", "minimum": min, "maximum": max}),
        Takes::List(of) => json!({"type": "array", "items": of_value(*of)}),
        Takes::Table(groups) => of_table(groups),
        Takes::Headers => {
            json!({"type": "object", "additionalProperties": {"type": "string"}, "writeOnly": true})
        }
    }
}
