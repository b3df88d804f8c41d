//! Changes of the apps in a configuration file, which keep its comments and its order.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process,
};

use toml_edit::{ArrayOfTables, DocumentMut, Item, Table, TableLike};

use super::{Change, WriteError, edit::Settings};
use crate::{
    app::App,
    config::Config,
    settings::{self, Json, Problem, Settings as _, sample::inline},
};

/// The list of apps.
const APPS: &str = "apps";

/// A configuration file, and the variables that complete it.
pub struct TomlFile {
    path: PathBuf,
    variables: BTreeMap<String, String>,
}

impl TomlFile {
    /// The file at this path.
    #[must_use]
    pub fn new(path: PathBuf, variables: BTreeMap<String, String>) -> Self {
        Self { path, variables }
    }

    /// Whether there is a file at all.
    #[must_use]
    pub fn is_named(&self) -> bool {
        !self.path.as_os_str().is_empty()
    }

    /// Changes one app. The file is replaced as a whole, if the result is valid.
    ///
    /// # Errors
    /// [`WriteError`]; nothing was changed.
    pub fn write(&self, change: Change) -> Result<(), WriteError> {
        let failed = |error: io::Error| {
            WriteError::Unavailable(format!("cannot change {}: {error}", self.path.display()))
        };
        // A link stays one.
        let file = fs::canonicalize(&self.path).map_err(failed)?;
        let text = fs::read_to_string(&file).map_err(failed)?;
        let document: DocumentMut = text.parse().map_err(|_| refused("", "is not TOML"))?;
        let text = apply(document, change)?;
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let new = file.with_file_name(format!(".{name}.{}.new", process::id()));
        let done = write_beside(&file, &new, &text)
            .map_err(failed)
            .and_then(|()| self.check(&new))
            .and_then(|()| fs::rename(&new, &file).map_err(failed));
        if done.is_err() {
            // It may not be there.
            let _ = fs::remove_file(&new);
        }
        done
    }

    /// Problems name the file that is to be replaced, not the new one.
    fn check(&self, new: &Path) -> Result<(), WriteError> {
        let checked = Config::load(Some(new), &self.variables);
        let Err(mut problems) = checked else {
            return Ok(());
        };
        let (new, old) = (new.display().to_string(), self.path.display().to_string());
        let problems = problems.take().into_iter().map(|problem| Problem {
            place: problem.place.replace(&new, &old),
            ..problem
        });
        Err(WriteError::Invalid(problems.collect()))
    }
}

/// Writes a file that only its owner can read, until it has the permissions of the one that it replaces.
fn write_beside(file: &Path, new: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut out = options.write(true).create_new(true).mode(0o600).open(new)?;
    out.write_all(text.as_bytes())?;
    out.set_permissions(fs::metadata(file)?.permissions())?;
    out.sync_all()
}

/// The document's text after the change.
fn apply(mut document: DocumentMut, change: Change) -> Result<String, WriteError> {
    let empty = || Item::ArrayOfTables(ArrayOfTables::new());
    let listed = document.entry(APPS).or_insert_with(empty);
    if listed.as_array().is_some_and(toml_edit::Array::is_empty) {
        *listed = empty();
    }
    let apps = listed
        .as_array_of_tables_mut()
        .ok_or_else(|| refused("", "must list each app under [[apps]]"))?;
    match change {
        Change::Create(settings) => {
            let id = settings.get("id").and_then(Json::as_str);
            if let Some(id) = id
                && place_of(apps, id).is_some()
            {
                return Err(WriteError::Exists(format!("app {id}")));
            }
            let mut table = Table::new();
            update(&mut table, &Settings::new(), &settings)?;
            apps.push(table);
        }
        Change::Update(id, edit) => {
            let at = place_of(apps, &id).ok_or(WriteError::NotFound)?;
            let table = apps.get_mut(at).ok_or(WriteError::NotFound)?;
            let before = settings_of(table);
            let mut after = before.clone();
            edit(&mut after)?;
            update(table, &before, &after)?;
        }
        Change::Delete(id) => {
            let at = place_of(apps, &id).ok_or(WriteError::NotFound)?;
            if apps.len() == 1 {
                let reason = "is the file's last app: without any, the demo app would be served";
                return Err(refused(&id, reason));
            }
            apps.remove(at);
        }
    }
    Ok(document.to_string())
}

fn refused(key: &str, reason: &str) -> WriteError {
    WriteError::Invalid(vec![Problem {
        place: String::new(),
        key: key.to_owned(),
        reason: reason.to_owned(),
    }])
}

/// Where the app of this id is listed.
fn place_of(apps: &ArrayOfTables, id: &str) -> Option<usize> {
    apps.iter()
        .position(|table| table.get("id").and_then(Item::as_str) == Some(id))
}

/// Writes the keys that differ.
fn update(table: &mut Table, before: &Settings, after: &Settings) -> Result<(), WriteError> {
    let gone = before.keys().filter(|name| !after.contains_key(*name));
    for name in gone {
        table.remove(name);
    }
    for (name, value) in settings::in_order(App::FIELDS, after) {
        if before.get(name) == Some(value) {
            continue;
        }
        if value.is_null() {
            table.remove(name);
            continue;
        }
        let item = item(name, value)?;
        match table.get_mut(name) {
            // A comment behind the value stays.
            Some(Item::Value(old)) if item.is_value() => {
                let decor = old.decor().clone();
                *table.get_mut(name).expect("it was found") = item;
                if let Some(Item::Value(new)) = table.get_mut(name) {
                    *new.decor_mut() = decor;
                }
            }
            _ => {
                table.insert(name, item);
            }
        }
    }
    Ok(())
}

fn item(name: &str, value: &Json) -> Result<Item, WriteError> {
    let tables = settings::find(App::FIELDS, name).and_then(|field| field.takes.keys());
    if let (Some(keys), Json::Array(elements)) = (tables, value) {
        let mut tables = ArrayOfTables::new();
        for element in elements.iter().filter_map(Json::as_object) {
            let mut table = Table::new();
            let entries = settings::in_order(keys, element).into_iter();
            for (name, value) in entries.filter(|(_, value)| !value.is_null()) {
                table.insert(name, Item::Value(in_toml(name, value)?));
            }
            tables.push(table);
        }
        return Ok(Item::ArrayOfTables(tables));
    }
    in_toml(name, value).map(Item::Value)
}

fn in_toml(name: &str, value: &Json) -> Result<toml_edit::Value, WriteError> {
    let value: Result<toml_edit::Value, _> = inline(value).parse();
    value.map_err(|_| refused(name, "can't be written as TOML"))
}

fn settings_of(table: &dyn TableLike) -> Settings {
    let entries = table.iter();
    entries
        .map(|(name, item)| (name.to_owned(), json_of(item)))
        .collect()
}

fn json_of(item: &Item) -> Json {
    match item {
        Item::None => Json::Null,
        Item::Value(value) => json_of_value(value),
        Item::Table(table) => settings_of(table).into(),
        Item::ArrayOfTables(tables) => tables.iter().map(|table| settings_of(table)).collect(),
    }
}

fn json_of_value(value: &toml_edit::Value) -> Json {
    match value {
        toml_edit::Value::String(text) => text.value().as_str().into(),
        toml_edit::Value::Integer(number) => (*number.value()).into(),
        toml_edit::Value::Float(number) => (*number.value()).into(),
        toml_edit::Value::Boolean(switch) => (*switch.value()).into(),
        toml_edit::Value::Datetime(moment) => moment.value().to_string().into(),
        toml_edit::Value::Array(values) => values.iter().map(json_of_value).collect(),
        toml_edit::Value::InlineTable(table) => settings_of(table).into(),
    }
}
