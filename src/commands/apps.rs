//! `loudhailer apps`: lists and changes the apps where the configuration keeps them, in its file or in a database.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Subcommand;

#[cfg(feature = "sqlx")]
use crate::store::{AppStore, Existing, Reading, Rules, SqlStore, StoreError};
use crate::{
    app::{App, Moment},
    config::{Config, Loaded},
    settings::{
        self, Json, Secrets, Setting, Settings as _, Takes, Text, Value, sample::inline, to_json,
    },
    store::{
        Change, TomlFile, WriteError,
        edit::{self, Settings},
    },
};

/// What to do with the apps.
#[derive(Debug, Subcommand)]
pub enum AppsCommand {
    /// List the apps, without their secrets.
    List {
        /// One JSON object per line, with every key.
        #[arg(long)]
        json: bool,
    },
    /// Make an app and print its credentials; id, key and secret are made if they are left out.
    Add {
        /// Keys of [[apps]], such as name=Shop or client_events=true; lists with commas or as JSON.
        #[arg(value_name = "KEY=VALUE", value_parser = Assignment::parse)]
        settings: Vec<Assignment>,
    },
    /// Change an app's settings.
    Set {
        /// The app's id.
        id: String,
        /// As for `add`; an empty value gives a key its default.
        #[arg(value_name = "KEY=VALUE", required = true, value_parser = Assignment::parse)]
        settings: Vec<Assignment>,
    },
    /// Remove an app.
    Remove {
        /// The app's id.
        id: String,
    },
    /// Give an app a further key and print it; or disable an old key.
    Rotate {
        /// The app's id.
        id: String,
        /// What the new key is called.
        #[arg(long, default_value = "", conflicts_with = "disable")]
        label: String,
        /// The key to disable, instead of making one.
        #[arg(long, value_name = "KEY")]
        disable: Option<String>,
        /// When it is disabled, such as 2026-11-01T00:00:00Z; without it, now.
        #[arg(long, value_name = "TIME", requires = "disable")]
        at: Option<String>,
    },
    /// Copy the apps of a configuration file into the database, all or none.
    Import {
        /// The file.
        file: PathBuf,
        /// Replace apps whose ids are in the database already.
        #[arg(long)]
        replace: bool,
    },
    /// Print all apps as a configuration file has them, with their secrets.
    Export,
}

/// A key and its value, as text.
#[derive(Clone, Debug)]
pub struct Assignment(String, Json);

impl Assignment {
    fn parse(text: &str) -> Result<Self, String> {
        let (name, value) = text
            .split_once('=')
            .ok_or("must be KEY=VALUE, such as client_events=true")?;
        let field = settings::find(App::FIELDS, name);
        let takes = field.map_or(Takes::Text, |field| field.takes);
        let value = match value {
            "" => Json::Null,
            value => to_json(Value::new(None, takes.read(value, ""))),
        };
        Ok(Self(name.to_owned(), value))
    }

    fn table(assignments: Vec<Self>) -> Settings {
        let entries = assignments.into_iter();
        entries.map(|Self(name, value)| (name, value)).collect()
    }
}

/// Why a command did nothing.
#[derive(Debug)]
pub enum AppsError {
    /// The configuration does not name what the command needs.
    Misconfigured(String),
    /// The apps can't be read or changed.
    Failed(String),
}

impl fmt::Display for AppsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Misconfigured(reason) | Self::Failed(reason)) = self;
        f.write_str(reason)
    }
}

impl std::error::Error for AppsError {}

impl From<WriteError> for AppsError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Invalid(problems) => {
                let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
                Self::Failed(problems.join("\n"))
            }
            other => Self::Failed(other.to_string()),
        }
    }
}

#[cfg(feature = "sqlx")]
impl From<StoreError> for AppsError {
    fn from(error: StoreError) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Does it, and returns what to print.
///
/// # Errors
/// [`AppsError`]; nothing was changed.
pub fn run(
    command: AppsCommand,
    file: Option<&Path>,
    variables: &BTreeMap<String, String>,
) -> Result<String, AppsError> {
    let open = || Place::open(load(file, variables)?, variables);
    match command {
        AppsCommand::List { json: true } => {
            Ok(open()?.apps().iter().map(|app| line(app)).collect())
        }
        AppsCommand::List { json: false } => Ok(table(open()?.apps())),
        AppsCommand::Export => Ok(open()?.apps().iter().map(|app| toml(app)).collect()),
        AppsCommand::Add { settings } => add(open()?, Assignment::table(settings)),
        AppsCommand::Set { id, settings } => {
            let changes = Assignment::table(settings);
            open()?.edit(id, |settings| {
                settings.extend(changes);
                Ok(())
            })
        }
        AppsCommand::Remove { id } => open()?.write(Change::Delete(id)),
        AppsCommand::Rotate {
            id,
            disable: Some(key),
            at,
            ..
        } => {
            let at = at.unwrap_or_else(|| Moment::now().text(Secrets::Shown).into_owned());
            let disabled = Settings::from_iter([("disabled".to_owned(), at.into())]);
            open()?.edit(id, move |all| edit::change_key(all, &key, disabled))
        }
        AppsCommand::Rotate { id, label, .. } => {
            let key = edit::new_key(&label);
            let shown = credentials(&id, &key);
            open()?.edit(id, |all| edit::add_key(all, key))?;
            Ok(shown)
        }
        AppsCommand::Import {
            file: from,
            replace,
        } => import(file, &from, replace, variables),
    }
}

fn load(file: Option<&Path>, variables: &BTreeMap<String, String>) -> Result<Loaded, AppsError> {
    let loaded = Config::load(file, variables);
    loaded.map_err(|problems| AppsError::Misconfigured(problems.to_string()))
}

fn add(place: Place, mut settings: Settings) -> Result<String, AppsError> {
    let id = edit::complete(&mut settings);
    let shown = credentials(&id, &settings.clone().into());
    place.write(Change::Create(settings))?;
    Ok(shown)
}

fn credentials(id: &str, settings: &Json) -> String {
    let text = |name: &str| settings[name].as_str().unwrap_or_default().to_owned();
    let (key, secret) = (text("key"), text("secret"));
    format!("id:     {id}\nkey:    {key}\nsecret: {secret}\n")
}

fn line(app: &App) -> String {
    format!("{}\n", app.write(Secrets::Hidden))
}

fn table(apps: &[Arc<App>]) -> String {
    let now = Moment::now();
    let mut rows = vec![["ID", "NAME", "KEYS", "STATE"].map(str::to_owned)];
    for app in apps {
        let keys = app.keys().map(|it| match it.is_valid(now) {
            true => it.key.to_string(),
            false => format!("({})", &**it.key),
        });
        let state = if app.enabled { "enabled" } else { "disabled" };
        let keys = keys.collect::<Vec<_>>().join(", ");
        rows.push([app.id.to_string(), app.name.clone(), keys, state.to_owned()]);
    }
    let width = |at: usize| {
        let widths = rows.iter().map(|row| row[at].chars().count());
        widths.max().unwrap_or_default()
    };
    let widths = [0, 1, 2].map(width);
    let mut text = String::new();
    for [id, name, keys, state] in &rows {
        let [first, second, third] = widths;
        let _ = writeln!(text, "{id:first$}  {name:second$}  {keys:third$}  {state}");
    }
    text
}

/// The app as a table of the configuration file.
pub(super) fn toml(app: &App) -> String {
    let mut text = "[[apps]]\n".to_owned();
    let settings = app.settings();
    let mut tables = String::new();
    for (name, value) in settings::in_order(App::FIELDS, &settings) {
        let field = settings::find(App::FIELDS, name);
        let Some(keys) = field.and_then(|field| field.takes.keys()) else {
            let _ = writeln!(text, "{name} = {}", inline(value));
            continue;
        };
        let elements = value.as_array().into_iter().flatten();
        for element in elements.filter_map(Json::as_object) {
            let _ = writeln!(tables, "\n[[apps.{name}]]");
            for (name, value) in settings::in_order(keys, element) {
                let _ = writeln!(tables, "{name} = {}", inline(value));
            }
        }
    }
    text + &tables + "\n"
}

/// Where the apps are.
enum Place {
    File(Vec<Arc<App>>, TomlFile),
    #[cfg(feature = "sqlx")]
    Database(tokio::runtime::Runtime, Box<SqlStore>, Reading),
}

impl Place {
    fn open(loaded: Loaded, variables: &BTreeMap<String, String>) -> Result<Self, AppsError> {
        #[cfg(feature = "sqlx")]
        if loaded.config.database.url.is_some() {
            let (runtime, store, reading) = open_database(&loaded.config)?;
            return Ok(Self::Database(runtime, Box::new(store), reading));
        }
        // Without a file there is something to list, but nothing to change.
        let file = loaded.understood.file.unwrap_or_default();
        Ok(Self::File(
            loaded.config.apps,
            TomlFile::new(file, variables.clone()),
        ))
    }

    fn apps(&self) -> &[Arc<App>] {
        match self {
            Self::File(apps, _) => apps,
            #[cfg(feature = "sqlx")]
            Self::Database(_, _, reading) => &reading.apps,
        }
    }

    fn edit(
        self,
        id: String,
        edit: impl FnOnce(&mut Settings) -> Result<(), WriteError> + Send + 'static,
    ) -> Result<String, AppsError> {
        self.write(Change::Update(id, Box::new(edit)))
    }

    /// Changes an app; there is nothing to print.
    fn write(self, change: Change) -> Result<String, AppsError> {
        match self {
            Self::File(_, file) if !file.is_named() => {
                let reason = "there is no file to change: name one with --config, or a database with database.url";
                return Err(AppsError::Misconfigured(reason.to_owned()));
            }
            Self::File(_, file) => file.write(change)?,
            #[cfg(feature = "sqlx")]
            Self::Database(runtime, mut store, _) => runtime.block_on(store.write(change))?,
        }
        Ok(String::new())
    }
}

#[cfg(feature = "sqlx")]
fn open_database(
    config: &Config,
) -> Result<(tokio::runtime::Runtime, SqlStore, Reading), AppsError> {
    let url = config.database.url.clone();
    let url = url.ok_or_else(no_database)?;
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build();
    let runtime = runtime.map_err(|error| AppsError::Failed(error.to_string()))?;
    let opening = SqlStore::open(url, config.database.clone(), Rules::of(&config.server));
    let (store, reading) = runtime.block_on(opening)?;
    Ok((runtime, store, reading))
}

fn no_database() -> AppsError {
    let reason = "there is no database to import into: set database.url";
    AppsError::Misconfigured(reason.to_owned())
}

#[cfg(feature = "sqlx")]
fn import(
    file: Option<&Path>,
    from: &Path,
    replace: bool,
    variables: &BTreeMap<String, String>,
) -> Result<String, AppsError> {
    let load = |file| {
        let loaded = Config::load_for_import(file, variables);
        loaded.map_err(|problems| AppsError::Misconfigured(problems.to_string()))
    };
    let target = load(file)?;
    let source = load(Some(from))?;
    if source.understood.is_demo || source.config.apps.is_empty() {
        let reason = format!("{} lists no apps", from.display());
        return Err(AppsError::Misconfigured(reason));
    }
    let (runtime, mut store, _) = open_database(&target.config)?;
    let existing = match replace {
        true => Existing::Replaced,
        false => Existing::Refused,
    };
    let apps = source.config.apps;
    let added = runtime.block_on(store.import(&apps, existing))?;
    let replaced = apps.len() - added;
    Ok(format!("{added} added, {replaced} replaced\n"))
}

#[cfg(not(feature = "sqlx"))]
fn import(
    _: Option<&Path>,
    _: &Path,
    _: bool,
    _: &BTreeMap<String, String>,
) -> Result<String, AppsError> {
    Err(no_database())
}
