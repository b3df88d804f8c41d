//! Settings written out: the sample file, and the tables of the documentation.

use std::fmt::Write as _;

use super::{Field, Json, Takes, fields};

/// Characters of a comment's line.
const WIDTH: usize = 110;

/// A TOML file of every key with its documentation and its default; `intro` comes first. Keys without a default are commented out,
/// but for those of `demo`.
#[must_use]
pub fn toml(intro: &str, root: &'static [&'static [Field]], demo: &[&str]) -> String {
    let mut text = comment(intro);
    for section in fields(root) {
        text.push('\n');
        table(&mut text, section, section.name, Some(demo));
    }
    text
}

/// A table and those within. `demo`: keys that are there although they have no default; `None`: all of it is commented out.
fn table(text: &mut String, section: &Field, path: &str, demo: Option<&[&str]>) {
    let Some(keys) = section.takes.keys() else {
        return;
    };
    let heading = match section.takes {
        Takes::Table(_) => format!("[{path}]"),
        _ => format!("[[{path}]]"),
    };
    text.push_str(&comment(&plain(section.doc)));
    let mark = if demo.is_none() { "# " } else { "" };
    let _ = writeln!(text, "{mark}{heading}");
    let is_table = |field: &&Field| field.takes.keys().is_some();
    for field in fields(keys).filter(|field| !is_table(field)) {
        text.push_str(&comment(&plain(field.doc)));
        let default = (field.default)().filter(|default| !default.is_null());
        let is_set = demo.is_some_and(|demo| {
            default.is_some() || demo.contains(&&*format!("{path}.{}", field.name))
        });
        let value = default.map_or_else(
            || field.example.unwrap_or_default().to_owned(),
            |default| inline(&default),
        );
        let mark = if is_set { "" } else { "# " };
        let _ = writeln!(text, "{mark}{} = {value}", field.name);
    }
    for field in fields(keys).filter(is_table) {
        table(text, field, &format!("{path}.{}", field.name), None);
    }
}

/// A value as TOML, on one line.
#[must_use]
pub fn inline(value: &Json) -> String {
    match value {
        Json::Array(values) => {
            let values: Vec<_> = values.iter().map(inline).collect();
            format!("[{}]", values.join(", "))
        }
        Json::Object(entries) => {
            let entries: Vec<_> = entries
                .iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(key, value)| format!("{} = {}", Json::from(key.as_str()), inline(value)))
                .collect();
            match entries.is_empty() {
                true => "{}".to_owned(),
                false => format!("{{ {} }}", entries.join(", ")),
            }
        }
        // JSON's texts, numbers and switches are TOML's too.
        other => other.to_string(),
    }
}

/// The documentation without links and line breaks.
pub(super) fn plain(doc: &[&str]) -> String {
    let (mut text, mut rest) = (String::new(), one_line(doc));
    while let Some((before, link)) = rest.split_once('[') {
        let parts = link.split_once("](").and_then(|(name, after)| {
            let (_, after) = after.split_once(')')?;
            (!name.contains(['[', ']'])).then(|| (name.to_owned(), after.to_owned()))
        });
        text.push_str(before);
        let Some((name, after)) = parts else {
            text.push('[');
            rest = link.to_owned();
            continue;
        };
        text.push_str(&name);
        rest = after;
    }
    (text + &rest).replace(" (below)", "")
}

fn one_line(doc: &[&str]) -> String {
    let lines: Vec<_> = doc.iter().map(|line| line.trim()).collect();
    lines.join(" ").trim().to_owned()
}

fn comment(text: &str) -> String {
    let mut comment = String::new();
    for paragraph in text.lines() {
        let mut line = "#".to_owned();
        for word in paragraph.split_whitespace() {
            if line.chars().count() + word.chars().count() >= WIDTH {
                comment += &format!("{line}\n");
                line = "#".to_owned();
            }
            line += &format!(" {word}");
        }
        comment += &format!("{line}\n");
    }
    comment
}

/// The rows of a table in Markdown: key, type, default and meaning.
#[must_use]
pub fn markdown(groups: &'static [&'static [Field]]) -> String {
    let mut text = "| Key | Type | Default | Meaning |\n|---|---|---|---|\n".to_owned();
    for field in fields(groups) {
        let default = match (field.default)() {
            _ if matches!(field.takes, Takes::Table(_)) => "below".to_owned(),
            None => "required".to_owned(),
            Some(Json::Null) => "none".to_owned(),
            Some(Json::Array(values)) if values.is_empty() => "none".to_owned(),
            Some(default) => format!("`{}`", inline(&default)),
        };
        let takes = field.takes.described();
        let _ = writeln!(
            text,
            "| `{}` | {takes} | {default} | {} |",
            field.name,
            one_line(field.doc)
        );
    }
    text
}
