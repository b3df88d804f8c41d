//! Apps in a table of SQLite, PostgreSQL, MySQL or MariaDB.
//!
//! A look is cheap while nothing has changed: one value tells. Then only rows that differ are read, and each that is not valid is left as it
//! was. The table is made if it is missing, and gets a column for each key that is new; a user who may only read suffices.

mod dialect;
mod file;
mod listen;
mod row;
mod table;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    future::Future,
    slice,
    sync::Arc,
    time::Duration,
};

use file::DatabaseFile;
use listen::Listener;
use row::Row;
use sqlx::any::AnyPoolOptions;
use table::SqlTable;
use tokio::{
    select,
    time::{sleep, timeout},
};

use super::{AppStore, Change, Reading, Scope, StoreError, WriteError};
use crate::{
    app::{App, KeyRef, WebhookTargets},
    config::{DEMO_KEY, DEMO_SECRET, Database, DatabaseUrl, Dialect, Server},
    settings::{Json, Path, Problems, Setting, Value, of_json},
};

/// How long the database may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A table of apps.
pub struct SqlStore {
    place: String,
    table: SqlTable,
    poll: Duration,
    rules: Rules,
    /// Differs after each change of the table.
    probe: Option<String>,
    /// By id, as of the last reading.
    rows: BTreeMap<String, Known>,
    /// What the last reading gave, by id.
    served: BTreeMap<String, Arc<App>>,
    listener: Option<Listener>,
    file: Option<DatabaseFile>,
}

/// What the operator does not let an app have, whoever configures it.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Whether the public credentials may be served.
    demo: Demo,
    /// Where webhooks may be sent to.
    targets: WebhookTargets,
}

impl Rules {
    /// Those of a server with these settings.
    #[must_use]
    pub fn of(server: &Server) -> Self {
        Self {
            demo: match server.host.is_loopback() {
                true => Demo::Allowed,
                false => Demo::Refused,
            },
            targets: server.webhook_allowed_addresses.clone(),
        }
    }

    /// Reports what the app must not have; `value` is what it was read from.
    fn check(&self, app: &App, value: &Value, problems: &mut Problems) {
        if self.demo == Demo::Refused && app.keys().any(is_demo) {
            let reason = "has the public demo key or secret, which is refused beyond loopback";
            problems.refuse(value, Path::ROOT.key("keys"), reason);
        }
        for (key, reason) in self.targets.refusals(app) {
            problems.refuse(value, Path::ROOT.key(&key), reason);
        }
    }
}

/// Whether the demo app's public credentials may be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Demo {
    /// On a loopback address.
    Allowed,
    /// Elsewhere.
    Refused,
}

/// What becomes of apps whose ids are in the table already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// Nothing is imported.
    Refused,
    /// They are as the imported ones from then on.
    Replaced,
}

/// A row as it was read last.
struct Known {
    stamp: String,
    /// Its last valid state.
    app: Option<Arc<App>>,
    problems: Problems,
}

impl SqlStore {
    /// Connects to the database. A SQLite file that is missing is made, as by a start; nothing else changes.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn try_out(url: &DatabaseUrl) -> Result<(), StoreError> {
        sqlx::any::install_default_drivers();
        let unavailable = |error: sqlx::Error| {
            StoreError::Unavailable(format!("cannot reach {}: {error}", url.shown))
        };
        let pool = AnyPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(PATIENCE);
        let pool = pool
            .connect_lazy(&connection_url(url))
            .map_err(unavailable)?;
        pool.acquire().await.map(drop).map_err(unavailable)
    }

    /// Connects to the database and reads its apps.
    ///
    /// # Errors
    /// When it does not answer, or has no such table and none can be made.
    pub async fn open(
        url: DatabaseUrl,
        settings: Database,
        rules: Rules,
    ) -> Result<(Self, Reading), StoreError> {
        sqlx::any::install_default_drivers();
        let pool = AnyPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(PATIENCE)
            .connect_lazy(&connection_url(&url))
            .map_err(|error| StoreError::Unavailable(error.to_string()))?;
        let table = SqlTable::new(pool, url.dialect, &settings);
        let mut store = Self {
            place: format!("{} ({})", settings.table(), url.shown),
            listener: Listener::of(&url, &settings),
            file: DatabaseFile::of(&url),
            table,
            poll: settings.poll_s.get(),
            rules,
            probe: None,
            rows: BTreeMap::new(),
            served: BTreeMap::new(),
        };
        let reading = store.load(Scope::All).await?;
        Ok((store, reading))
    }

    async fn read(&mut self, scope: Scope) -> Result<Reading, StoreError> {
        self.follow_file().await?;
        if scope == Scope::All || self.probe.is_none() {
            self.table.prepare().await?;
        }
        let probe = self.table.probe().await?;
        if scope == Scope::Changed && probe.is_some() && probe == self.probe {
            return Err(StoreError::Unchanged);
        }
        match self.table.stamps().await? {
            Some(stamps) if scope == Scope::Changed => self.read_differing(&stamps).await?,
            _ => {
                let rows = self.table.rows(None).await?;
                self.take(rows, scope, |_| true);
            }
        }
        self.probe = probe;
        Ok(self.reading())
    }

    /// Has the next statement go to the file that is there now.
    async fn follow_file(&mut self) -> Result<(), StoreError> {
        if let Some(file) = &mut self.file
            && file.was_replaced()?
        {
            self.table.disconnect().await?;
            self.probe = None;
        }
        Ok(())
    }

    /// Reads the rows whose stamps differ.
    async fn read_differing(&mut self, stamps: &HashMap<String, String>) -> Result<(), StoreError> {
        let known = |id: &str| self.rows.get(id).map(|row| &row.stamp);
        let differing = stamps.iter().filter(|(id, stamp)| known(id) != Some(stamp));
        let ids: Vec<_> = differing.map(|(id, _)| id.clone()).collect();
        let rows = self.table.rows(Some(&ids)).await?;
        let asked: HashSet<&str> = ids.iter().map(String::as_str).collect();
        let may_be_gone = |id: &str| asked.contains(id) || !stamps.contains_key(id);
        self.take(rows, Scope::Changed, may_be_gone);
        Ok(())
    }

    /// Takes note of rows that were read. Known rows that are not among them are gone, if they `may_be_gone`.
    fn take(&mut self, rows: Vec<Row>, scope: Scope, may_be_gone: impl Fn(&str) -> bool) {
        let mut gone: HashSet<String> = self.rows.keys().cloned().collect();
        for row in rows {
            gone.remove(&row.id);
            let is_same = |known: &Known| scope == Scope::Changed && known.stamp == row.stamp;
            if self.rows.get(&row.id).is_some_and(is_same) {
                continue;
            }
            let mut problems = Problems::default();
            let app = self.app(&row, &mut problems);
            // A row that is not valid keeps its last valid state.
            let app = app.or_else(|| self.rows.remove(&row.id)?.app);
            let known = Known {
                stamp: row.stamp,
                app,
                problems,
            };
            self.rows.insert(row.id, known);
        }
        self.rows
            .retain(|id, _| !gone.contains(id) || !may_be_gone(id));
    }

    fn app(&self, row: &Row, problems: &mut Problems) -> Option<Arc<App>> {
        let value = row.value(self.table.name());
        let app = <App as Setting>::read(&value, Path::ROOT, problems)?;
        self.rules.check(&app, &value, problems);
        if !problems.is_empty() {
            return None;
        }
        let known = self.rows.get(&row.id).and_then(|known| known.app.as_ref());
        let known = known.filter(|known| ***known == app);
        Some(known.map_or_else(|| Arc::new(app), Arc::clone))
    }

    /// What the rows come to. Of two apps with the same key the one that has it keeps it; the other one stays as it is, if it can.
    fn reading(&mut self) -> Reading {
        let mut reading = Reading::default();
        let mut owners: HashMap<String, String> = HashMap::new();
        let mut served: BTreeMap<String, Arc<App>> = BTreeMap::new();
        let is_served = |id: &str, app| self.served.get(id).is_some_and(|it| Arc::ptr_eq(it, app));
        let (same, other): (Vec<_>, Vec<_>) = self
            .rows
            .iter()
            .filter_map(|(id, row)| Some((id, row.app.as_ref()?)))
            .partition(|(id, app)| is_served(id, app));
        for (id, app) in same.into_iter().chain(other) {
            let mut candidates = [Some(app), self.served.get(id)].into_iter().flatten();
            let free = candidates.find(|app| match taken(app, &owners) {
                None => true,
                Some((key, owner)) => {
                    let reason = format!("{key:?} is a key of app {owner} already");
                    let row = row::origin(self.table.name(), id);
                    reading.problems.refuse(&row, Path::ROOT.key("key"), reason);
                    false
                }
            });
            if let Some(app) = free {
                owners.extend(app.keys().map(|it| (it.key.to_string(), id.clone())));
                served.insert(id.clone(), Arc::clone(app));
            }
        }
        for row in self.rows.values() {
            reading.problems.extend(row.problems.clone());
        }
        reading.apps = served.values().cloned().collect();
        self.served = served;
        reading
    }

    async fn change(&mut self, change: Change) -> Result<(), WriteError> {
        self.table.refuse_if_foreign(&self.place)?;
        let followed = self.follow_file().await;
        followed.map_err(|error| WriteError::Unavailable(error.to_string()))?;
        // SQLite's own connection does not see its changes as such.
        self.probe = None;
        match change {
            Change::Create(settings) => {
                let app = self.checked(&settings)?;
                if self.rows.contains_key(&*app.id) {
                    return Err(WriteError::Exists(format!("app {}", app.id)));
                }
                let mut transaction = self.table.begin().await?;
                self.table.insert(&mut transaction, &settings).await?;
                Ok(transaction.commit().await?)
            }
            Change::Update(id, edit) => {
                let rows = self.table.rows(Some(slice::from_ref(&id))).await?;
                let row = rows.into_iter().next().ok_or(WriteError::NotFound)?;
                let before = row.settings();
                let mut after = before.clone();
                edit(&mut after)?;
                if after.get("id") != before.get("id") {
                    return Err(WriteError::Exists(
                        "the app's id can't change: it".to_owned(),
                    ));
                }
                self.checked(&after)?;
                let mut transaction = self.table.begin().await?;
                let on = &mut transaction;
                self.table.update(on, &id, &before, &after).await?;
                Ok(transaction.commit().await?)
            }
            Change::Delete(id) => match self.table.delete(&id).await? {
                true => Ok(()),
                false => Err(WriteError::NotFound),
            },
        }
    }

    /// Adds apps, all or none. Returns how many are new.
    ///
    /// # Errors
    /// [`WriteError`]; nothing was changed.
    pub async fn import(
        &mut self,
        apps: &[Arc<App>],
        existing: Existing,
    ) -> Result<usize, WriteError> {
        self.table.refuse_if_foreign(&self.place)?;
        self.probe = None;
        self.check_import(apps, existing)?;
        let known = apps.iter().filter(|app| self.rows.contains_key(&*app.id));
        let known: Vec<_> = known.map(|app| app.id.to_string()).collect();
        let rows = self.table.rows(Some(&known)).await?.into_iter();
        let rows: HashMap<_, _> = rows.map(|row| (row.id.clone(), row.settings())).collect();
        let mut transaction = self.table.begin().await?;
        let on = &mut transaction;
        for app in apps {
            let settings = app.settings();
            match rows.get(&*app.id) {
                Some(before) => self.table.update(on, &app.id, before, &settings).await?,
                None => self.table.insert(on, &settings).await?,
            }
        }
        transaction.commit().await?;
        Ok(apps.len() - rows.len())
    }

    /// Whether these apps may be in the table, beside those that are there.
    fn check_import(&self, apps: &[Arc<App>], existing: Existing) -> Result<(), WriteError> {
        let imported: HashSet<&str> = apps
            .iter()
            .map(|app| &*app.id)
            .map(|id| -> &str { id })
            .collect();
        let mut problems = Problems::default();
        let mut owners: HashMap<String, String> = HashMap::new();
        for (id, row) in &self.rows {
            match &row.app {
                _ if imported.contains(id.as_str()) && existing == Existing::Refused => {
                    return Err(WriteError::Exists(format!("app {id}")));
                }
                Some(app) if !imported.contains(id.as_str()) => {
                    owners.extend(app.keys().map(|it| (it.key.to_string(), id.clone())));
                }
                _ => {}
            }
        }
        for app in apps {
            let origin = row::origin(self.table.name(), &app.id);
            self.rules.check(app, &origin, &mut problems);
            if let Some((key, owner)) = taken(app, &owners) {
                return Err(WriteError::Exists(format!("key {key}, of app {owner},")));
            }
        }
        match problems.is_empty() {
            true => Ok(()),
            false => Err(WriteError::Invalid(problems.take())),
        }
    }

    /// The app of these settings, if it is valid and its keys are free.
    fn checked(&self, settings: &serde_json::Map<String, Json>) -> Result<App, WriteError> {
        let value: Value = of_json(settings.clone().into(), "");
        let mut problems = Problems::default();
        let app = <App as Setting>::read(&value, Path::ROOT, &mut problems);
        if let Some(app) = &app {
            self.rules.check(app, &value, &mut problems);
        }
        let app = app.filter(|_| problems.is_empty());
        let app = app.ok_or_else(|| WriteError::Invalid(problems.take()))?;
        let others = self.rows.iter().filter(|(id, _)| **id != *app.id);
        for other in others.filter_map(|(_, row)| row.app.as_ref()) {
            if let Some(key) = app
                .keys()
                .find(|it| other.keys().any(|its| its.key == it.key))
            {
                return Err(WriteError::Exists(format!("key {}", key.key)));
            }
        }
        Ok(app)
    }
}

impl AppStore for SqlStore {
    fn place(&self) -> &str {
        &self.place
    }

    fn is_writable(&self) -> bool {
        self.table.refuse_if_foreign(&self.place).is_ok()
    }

    async fn load(&mut self, scope: Scope) -> Result<Reading, StoreError> {
        in_time(self.read(scope), StoreError::Unavailable).await
    }

    async fn changed(&mut self) {
        let told = async {
            match &mut self.listener {
                Some(listener) => listener.heard().await,
                None => std::future::pending().await,
            }
        };
        select! {
            () = told => {}
            () = sleep(self.poll) => {}
        }
    }

    async fn write(&mut self, change: Change) -> Result<(), WriteError> {
        in_time(self.change(change), WriteError::Unavailable).await
    }
}

/// A database that hangs must not stop the others' reloads for ever.
async fn in_time<T, E>(
    work: impl Future<Output = Result<T, E>>,
    late: fn(String) -> E,
) -> Result<T, E> {
    let seconds = PATIENCE.as_secs();
    let outcome = timeout(PATIENCE, work).await;
    outcome.unwrap_or_else(|_| Err(late(format!("no answer within {seconds} s"))))
}

/// The first key of the app that another one has.
fn taken(app: &App, owners: &HashMap<String, String>) -> Option<(String, String)> {
    app.keys().find_map(|it| {
        let owner = owners.get(&**it.key)?;
        Some((it.key.to_string(), owner.clone()))
    })
}

fn is_demo(key: KeyRef<'_>) -> bool {
    *key.key == *DEMO_KEY || key.secret.expose_str() == DEMO_SECRET
}

/// SQLite makes the file if it may; a file that it may not write to is read all the same.
fn connection_url(url: &DatabaseUrl) -> String {
    let text = url.url.expose_str();
    match url.dialect {
        Dialect::Sqlite if !text.contains('?') => format!("{text}?mode=rwc"),
        _ => text.to_owned(),
    }
}
