//! What a mistaken key or variable was probably meant to be.

use super::Config;
use crate::settings::{Field, Problems, Settings, UNKNOWN, fields};

/// A known key: its section and its name.
struct Known {
    section: String,
    name: &'static str,
}

/// All keys of the file, those of lists' tables included. The apps come first, so that a lone `[app]` is rather taken for them than
/// for `api`.
fn known() -> Vec<Known> {
    fn collect(field: &'static Field, path: &str, known: &mut Vec<Known>) {
        let Some(keys) = field.takes.keys() else {
            return;
        };
        let path = match path {
            "" => field.name.to_owned(),
            path => format!("{path}.{}", field.name),
        };
        for key in fields(keys) {
            known.push(Known {
                section: path.clone(),
                name: key.name,
            });
            collect(key, &path, known);
        }
    }
    let mut known = Vec::new();
    for section in fields(Config::FIELDS) {
        collect(section, "", &mut known);
    }
    known.sort_by_key(|key| !key.section.starts_with("apps"));
    known
}

/// Tells of each unknown key which one is most like it.
pub(super) fn with_hints(mut problems: Problems) -> Problems {
    let mut hinted = Problems::default();
    for mut problem in problems.take() {
        if problem.reason == UNKNOWN {
            problem.reason = match nearest(&problem.key) {
                Some(nearest) => format!("{UNKNOWN}; did you mean {nearest}?"),
                None => format!("{UNKNOWN}; `loudhailer default-config` prints every key"),
            };
        }
        hinted.push(problem);
    }
    hinted
}

/// `path` is the key as it stands, with list positions.
fn nearest(path: &str) -> Option<String> {
    let mistaken = without_positions(path);
    let section = || {
        let sections = fields(Config::FIELDS).map(|section| section.name);
        let mut sections: Vec<_> = sections.collect();
        sections.sort_by_key(|name| *name != "apps");
        let distance = |name: &&str| strsim::osa_distance(&mistaken, name);
        let nearest = sections.into_iter().min_by_key(distance)?;
        (distance(&nearest) <= 2).then(|| nearest.to_owned())
    };
    let key = || {
        let key = nearest_key(&mistaken)?;
        let table = match path.rsplit_once('.') {
            Some((table, _)) if without_positions(table) == key.section => table,
            _ => &key.section,
        };
        Some(format!("{table}.{}", key.name))
    };
    match mistaken.contains('.') {
        true => key(),
        false => section().or_else(key),
    }
}

/// The variable of the nearest key that is not in a list.
pub(super) fn nearest_variable(mistaken: &str) -> Option<String> {
    let key = nearest_key(&mistaken.to_ascii_lowercase().replace("__", "."))?;
    let section = match key.section.as_str() {
        "apps" => "apps__0",
        section => section,
    };
    let variable = format!("{}{section}__{}", super::variables::PREFIX, key.name);
    Some(variable.to_ascii_uppercase())
}

fn nearest_key(mistaken: &str) -> Option<Known> {
    let (_, mistaken_name) = mistaken.rsplit_once('.').unwrap_or(("", mistaken));
    let distance = |key: &Known| {
        let whole = format!("{}.{}", key.section, key.name);
        // The right name in the wrong table is a common slip, and nearer than any other name.
        let name = strsim::osa_distance(mistaken_name, key.name) + 1;
        strsim::osa_distance(mistaken, &whole).min(name)
    };
    let nearest = known().into_iter().min_by_key(distance)?;
    (distance(&nearest) <= 1 + mistaken_name.len() / 4).then_some(nearest)
}

/// `apps[1].key` as `apps.key`.
fn without_positions(path: &str) -> String {
    let parts = path.split('[');
    parts
        .map(|part| part.split_once(']').map_or(part, |(_, after)| after))
        .collect()
}
