//! `${VAR}` and `${file:/path}` in values of the file: what they refer to takes their place.

use std::{collections::BTreeMap, fs};

use super::Config;
use crate::{
    app::App,
    settings::{Map, Path, Problems, Settings, Takes, Value, ValueKind, find},
};

const OPEN: &str = "${";
/// Before the name of a file.
const FILE: &str = "file:";
/// Bytes of a file that a value may refer to: a secret, not a mistake such as a log.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// Resolves all references of a file. A value with one is then read as a variable's text is.
pub(super) fn resolve(
    root: &mut Map<String, Value>,
    variables: &BTreeMap<String, String>,
    problems: &mut Problems,
) {
    for (name, value) in root {
        let takes = find(Config::FIELDS, name).map(|section| section.takes);
        resolve_value(value, takes, Path::ROOT.key(name), variables, problems);
    }
}

/// Resolves all references of an app.
pub(super) fn resolve_app(
    app: &mut Value,
    path: Path<'_>,
    variables: &BTreeMap<String, String>,
    problems: &mut Problems,
) {
    resolve_value(
        app,
        Some(Takes::Table(App::FIELDS)),
        path,
        variables,
        problems,
    );
}

fn resolve_value(
    value: &mut Value,
    takes: Option<Takes>,
    path: Path<'_>,
    variables: &BTreeMap<String, String>,
    problems: &mut Problems,
) {
    let origin = value.origin().unwrap_or_default().to_owned();
    match &mut value.kind {
        ValueKind::String(text) if text.contains(OPEN) => match expand(text, variables) {
            Ok(text) => value.kind = takes.unwrap_or(Takes::Text).read(&text, &origin),
            Err(reason) => {
                problems.refuse(value, path, reason);
                value.kind = ValueKind::Nil;
            }
        },
        ValueKind::Array(values) => {
            let takes = match takes {
                Some(Takes::List(of)) => Some(*of),
                _ => None,
            };
            for (index, value) in values.iter_mut().enumerate() {
                resolve_value(value, takes, path.index(index), variables, problems);
            }
        }
        ValueKind::Table(entries) => {
            for (name, value) in entries {
                let field = takes.and_then(Takes::keys).and_then(|it| find(it, name));
                let takes = field.map(|field| field.takes);
                resolve_value(value, takes, path.key(name), variables, problems);
            }
        }
        _ => {}
    }
}

/// The text with what its references refer to. The error is the rest of a sentence that begins with the key.
fn expand(text: &str, variables: &BTreeMap<String, String>) -> Result<String, String> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(OPEN) {
        let (before, reference) = rest.split_at(at);
        if before.ends_with('$') {
            // `$${` stands for `${` itself.
            expanded.push_str(before);
            expanded.push_str(&OPEN[1..]);
            rest = &reference[OPEN.len()..];
            continue;
        }
        expanded.push_str(before);
        let end = closing(reference).ok_or("has a \"${\" without its \"}\"")?;
        let name = expand(&reference[OPEN.len()..end], variables)?;
        expanded.push_str(&referred(&name, variables)?);
        rest = &reference[end + 1..];
    }
    expanded.push_str(rest);
    Ok(expanded)
}

/// The brace that closes a reference, others within it skipped.
fn closing(reference: &str) -> Option<usize> {
    let mut depth = 0;
    reference.char_indices().find_map(|(at, character)| {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        (character == '}' && depth == 0).then_some(at)
    })
}

fn referred(name: &str, variables: &BTreeMap<String, String>) -> Result<String, String> {
    let Some(file) = name.strip_prefix(FILE) else {
        let value = variables.get(name).cloned();
        return value.ok_or_else(|| format!("refers to the variable {name}, which is not set"));
    };
    let unreadable =
        |reason: String| format!("refers to the file {file}, which can't be read: {reason}");
    let bytes = fs::metadata(file)
        .map_err(|error| unreadable(error.to_string()))?
        .len();
    if bytes > FILE_BYTES_MAX {
        return Err(unreadable(format!(
            "it has more than {FILE_BYTES_MAX} bytes"
        )));
    }
    let text = fs::read_to_string(file).map_err(|error| unreadable(error.to_string()))?;
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_expanded_also_within_each_other() {
        let variables = BTreeMap::from([("A", "1"), ("DIR", "/nowhere"), ("EMPTY", "")]);
        let variables = variables
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let expand = |text| expand(text, &variables);
        for (text, expected) in [
            ("${A}", "1"),
            ("a${A}b${A}", "a1b1"),
            ("${EMPTY}", ""),
            ("$${A} $A {A}", "${A} $A {A}"),
            ("costs 5$", "costs 5$"),
        ] {
            assert_eq!(expand(text).as_deref(), Ok(expected), "{text}");
        }
        for (text, reason) in [
            ("${B}", "refers to the variable B, which is not set"),
            ("${A", "has a \"${\" without its \"}\""),
            (
                "${file:${DIR}/x}",
                "refers to the file /nowhere/x, which can't be read: No such file or directory (os error 2)",
            ),
        ] {
            assert_eq!(expand(text).err().as_deref(), Some(reason), "{text}");
        }
    }
}
