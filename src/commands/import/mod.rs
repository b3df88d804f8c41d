//! `loudhailer import`: another server's configuration as a file of ours, with a comment for all that differs.
//!
//! A file of soketi, laravel-websockets or Reverb becomes the variables that say the same, and the apps beside them; the variables become
//! our keys as in [`config`](crate::config).

mod names;
mod php;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::Path,
};

use names::{LARAVEL_WEBSOCKETS, Names, REVERB, SOKETI};
use serde_json::{Map, Value as Json};

use super::apps::toml;
use crate::{
    app::App,
    config::{Config, Loaded},
    dotenv,
    settings::{
        self, Field, Problems, Secrets, Setting, Settings, Value, leave_out_defaults, of_json,
        sample::inline, to_json,
    },
};

/// Bytes of a file that is read: a configuration, not a mistake such as a log.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Characters of a value that a comment shows.
const SHOWN_MAX: usize = 60;

/// Variables by name.
type Variables = BTreeMap<String, String>;

/// What a file comes to.
#[derive(Default)]
struct Carried {
    server: &'static str,
    variables: Variables,
    /// Where each variable was found, if not by its name.
    paths: BTreeMap<&'static str, String>,
    apps: Vec<Map<String, Json>>,
    /// What differs, a sentence each.
    differences: Vec<String>,
}

/// Reads a `.env` file, soketi's JSON, or `config/websockets.php` or `config/reverb.php`, and gives our file. `environment` is for
/// `env('NAME')` in PHP.
///
/// # Errors
/// Why the file can't be read or followed, a line each.
pub fn run(file: &Path, environment: &Variables) -> Result<String, String> {
    let name = file.display().to_string();
    let text = text_of(file).map_err(|reason| format!("cannot read {name}: {reason}"))?;
    let extension = file.extension().and_then(|extension| extension.to_str());
    let carried = match extension {
        Some("json") => of_soketi(&text),
        Some("php") => of_php(&text, environment),
        _ => of_dotenv(&text, environment),
    };
    let mut carried = carried.map_err(|reason| format!("{name}:{reason}"))?;
    let loaded = load(&mut carried)?;
    Ok(write(&name, &carried, &loaded))
}

fn text_of(file: &Path) -> Result<String, String> {
    let bytes = fs::metadata(file).map_err(|error| error.to_string())?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(format!("it has more than {FILE_BYTES_MAX} bytes"));
    }
    fs::read_to_string(file).map_err(|error| error.to_string())
}

fn of_dotenv(text: &str, environment: &Variables) -> Result<Carried, String> {
    let read = dotenv::parse(text, environment);
    let variables = read.map_err(|mistake| format!("{}: {}", mistake.line, mistake.reason))?;
    Ok(Carried {
        server: "the app's .env",
        variables,
        ..Carried::default()
    })
}

fn of_soketi(text: &str) -> Result<Carried, String> {
    let tree: Json = serde_json::from_str(text)
        .map_err(|error| format!("{}:{}: {error}", error.line(), error.column()))?;
    Ok(Carried::of(&SOKETI, tree, &[]))
}

fn of_php(text: &str, environment: &Variables) -> Result<Carried, String> {
    let read = php::read(text, &|name| environment.get(name).cloned())?;
    let names = match read.value.get("servers") {
        Some(_) => &REVERB,
        None => &LARAVEL_WEBSOCKETS,
    };
    let mut carried = Carried::of(names, read.value, &read.unread);
    let scales = carried.variables.get("WEBSOCKETS_REPLICATION_MODE");
    if scales.is_some_and(|mode| mode == "redis") {
        let redis = environment
            .iter()
            .filter(|(name, _)| name.starts_with("REDIS_"));
        let redis = redis.map(|(name, value)| (name.clone(), value.clone()));
        carried.variables.extend(redis);
    }
    Ok(carried)
}

impl Carried {
    fn of(names: &Names, mut tree: Json, unread: &[php::Unread]) -> Self {
        let mut carried = Self {
            server: names.server,
            ..Self::default()
        };
        let pointer = format!("/{}", names.apps.replace('.', "/"));
        let apps = tree.pointer_mut(&pointer).map(Json::take);
        for (index, app) in apps
            .iter()
            .flat_map(|apps| apps.as_array())
            .flatten()
            .enumerate()
        {
            let app = carried.app(names, index, app);
            carried.apps.push(app);
        }
        let mut leaves = Vec::new();
        collect(&tree, String::new(), &mut leaves);
        let mut told = BTreeSet::new();
        for (path, value) in leaves {
            let variable = names.variables.iter().find(|(known, _)| *known == path);
            if let Some((_, name)) = variable {
                carried.variables.insert((*name).to_owned(), text(value));
                carried.paths.insert(name, path);
            } else if let Some((start, reason)) = without(names, &path) {
                if told.insert(start) {
                    carried.differences.push(format!("{start}: {reason}"));
                }
            } else {
                carried.differences.push(format!(
                    "{path} = {}: nothing corresponds to it",
                    shown(value)
                ));
            }
        }
        for php::Unread { path, line, text } in unread {
            let digits_and_dots = |c: char| c.is_ascii_digit() || c == '.';
            let in_app = path.strip_prefix(names.apps);
            let in_app = in_app.map(|rest| rest.trim_start_matches(digits_and_dots));
            match without(names, in_app.unwrap_or(path)) {
                Some((start, reason)) => {
                    if told.insert(start) {
                        carried.differences.push(format!("{start}: {reason}"));
                    }
                }
                None => carried.differences.push(format!(
                    "{path} (line {line}) was not read, because it is an expression: {text}"
                )),
            }
        }
        carried
    }

    /// An app with our keys.
    fn app(&mut self, names: &Names, index: usize, theirs: &Json) -> Map<String, Json> {
        let mut ours = Map::new();
        let entries = theirs.as_object().into_iter().flatten();
        for (name, value) in entries.filter(|(_, value)| !value.is_null()) {
            let at = format!("{}[{index}].{name}", names.apps);
            let known = names.app.iter().find(|(known, ..)| known == name);
            if let Some((_, key, reading)) = known {
                let field = settings::find(App::FIELDS, key).expect("a test looks every key up");
                let value = reading.value(field.takes, &text(value), &at);
                ours.insert((*key).to_owned(), to_json(Value::new(None, value)));
            } else if let Some((_, reason)) = without(names, name) {
                self.differences.push(format!("{at}: {reason}"));
            } else {
                self.differences.push(format!(
                    "{at} = {}: nothing corresponds to it",
                    shown(value)
                ));
            }
        }
        ours.retain(|_, value| !value.is_null());
        ours
    }
}

/// Why what is at a path is not carried over, and how such paths begin.
fn without(names: &Names, path: &str) -> Option<(&'static str, &'static str)> {
    let is_below = |start: &str| {
        let rest = path.strip_prefix(start);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    names
        .without
        .iter()
        .find(|(start, _)| is_below(start))
        .copied()
}

/// All values that are no tables, with their paths. A list is one value.
fn collect<'a>(tree: &'a Json, path: String, leaves: &mut Vec<(String, &'a Json)>) {
    match tree {
        Json::Object(entries) => {
            for (name, value) in entries {
                let path = match path.as_str() {
                    "" => name.clone(),
                    path => format!("{path}.{name}"),
                };
                collect(value, path, leaves);
            }
        }
        Json::Null => {}
        Json::Array(values) if values.is_empty() => {}
        _ => leaves.push((path, tree)),
    }
}

/// A value as a variable has it.
fn text(value: &Json) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

fn shown(value: &Json) -> String {
    value.to_string().chars().take(SHOWN_MAX).collect()
}

/// Reads the variables. One that can't be followed is left out, which a comment says.
fn load(carried: &mut Carried) -> Result<Loaded, String> {
    loop {
        let problems = match Config::load(None, &carried.variables) {
            Ok(loaded) => return Ok(loaded),
            Err(problems) => problems,
        };
        let mut left_out = false;
        for problem in problems.iter() {
            let named = [&problem.key, &problem.place];
            let name = named
                .into_iter()
                .find(|name| carried.variables.contains_key(*name));
            let Some(name) = name.cloned() else { continue };
            carried.variables.remove(&name);
            carried
                .differences
                .push(format!("NOT CARRIED OVER: {problem}"));
            left_out = true;
        }
        if !left_out {
            return Err(problems.to_string());
        }
    }
}

fn write(name: &str, carried: &Carried, loaded: &Loaded) -> String {
    let server = carried.server;
    let mut text = format!("# Made of {name} by `loudhailer import`. It holds secrets.\n");
    let found_at = |line: String| {
        let names = carried.paths.iter();
        let named = names
            .filter(|(name, _)| line.contains(**name))
            .max_by_key(|(name, _)| name.len());
        named.map_or(line.clone(), |(name, path)| line.replace(name, path))
    };
    let mut differences = carried.differences.clone();
    let unused = loaded.understood.unused.iter();
    differences.extend(unused.map(|it| format!("{}: {}", it.name, it.reason)));
    differences.extend(loaded.understood.notes.iter().cloned());
    let mut apps = String::new();
    for (index, app) in carried.apps.iter().enumerate() {
        let value = of_json(app.clone().into(), name);
        let mut problems = Problems::default();
        let path = settings::Path::ROOT.key("apps");
        match <App as Setting>::read(&value, path.index(index), &mut problems) {
            Some(app) if problems.is_empty() => apps.push_str(&toml(&app)),
            _ => differences.extend(problems.iter().map(|it| format!("NOT CARRIED OVER: {it}"))),
        }
    }
    if !loaded.understood.is_demo && carried.apps.is_empty() {
        apps.extend(loaded.config.apps.iter().map(|app| toml(app)));
    }
    if !differences.is_empty() {
        let _ = writeln!(text, "#\n# What differs from {server}:");
    }
    for line in differences {
        let _ = writeln!(text, "# - {}", found_at(line).replace('\n', " "));
    }
    text.push('\n');
    text.push_str(&sections(&loaded.config));
    text.push_str(&apps);
    text
}

/// The tables of the file with the keys that differ from their defaults, the apps left out.
fn sections(config: &Config) -> String {
    let mut all = Map::new();
    config.write_into(Secrets::Shown, &mut all);
    all.remove("apps");
    let mut text = String::new();
    for section in settings::fields(Config::FIELDS) {
        if let (Some(keys), Some(Json::Object(table))) =
            (section.takes.keys(), all.remove(section.name))
        {
            write_section(section.name, keys, table, &mut text);
        }
    }
    text
}

/// A table and, behind it, the tables within.
fn write_section(
    path: &str,
    keys: &'static [&'static [Field]],
    mut table: Map<String, Json>,
    text: &mut String,
) {
    let within = settings::fields(keys).filter_map(|field| {
        let keys = field.takes.keys()?;
        match table.get(field.name) {
            Some(Json::Object(_)) => Some((field.name, keys, table.remove(field.name)?)),
            _ => None,
        }
    });
    let within: Vec<_> = within.collect();
    leave_out_defaults(keys, &mut table);
    if !table.is_empty() {
        let _ = writeln!(text, "[{path}]");
        for (name, value) in settings::in_order(keys, &table) {
            let _ = writeln!(text, "{name} = {}", inline(value));
        }
        text.push('\n');
    }
    for (name, keys, table) in within {
        if let Json::Object(table) = table {
            write_section(&format!("{path}.{name}"), keys, table, text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_of_an_app_is_ours_and_every_variable_is_known() {
        for names in [SOKETI, LARAVEL_WEBSOCKETS, REVERB] {
            for (_, key, _) in names.app {
                assert!(settings::find(App::FIELDS, key).is_some(), "{key}");
            }
            for (path, name) in names.variables {
                let given = BTreeMap::from([((*name).to_owned(), "local".to_owned())]);
                let told = match Config::load(None, &given) {
                    Ok(loaded) => format!("{:?}", loaded.understood),
                    Err(problems) => problems.to_string(),
                };
                assert!(
                    !told.contains("no server has such a setting"),
                    "{path}: {name}"
                );
            }
        }
    }
}
