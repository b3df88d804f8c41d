//! A server and the store of its apps, whichever it is.

use serde_json::Value;

#[cfg(feature = "sql")]
use crate::support::database::{Database, Kind};
use crate::support::{app::App, http::Response, server::TestServer, setup::Setup};

pub(crate) const JSON: [&str; 2] = ["Host: localhost", "Content-Type: application/json"];

/// Where the apps are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StoreKind {
    File,
    #[cfg(feature = "sql")]
    Sqlite,
    #[cfg(feature = "sql")]
    Postgres,
    #[cfg(feature = "sql")]
    MariaDb,
}

/// A running server and its apps' store.
pub(crate) struct Stored {
    pub(crate) server: TestServer,
    pub(crate) setup: Setup,
    #[cfg(feature = "sql")]
    pub(crate) database: Option<Database>,
}

impl Stored {
    /// A server with these apps.
    #[track_caller]
    pub(crate) fn start(kind: StoreKind, apps: &[App]) -> Self {
        Self::start_with(kind, Setup::new(), apps)
    }

    #[track_caller]
    pub(crate) fn start_with(kind: StoreKind, setup: Setup, apps: &[App]) -> Self {
        #[cfg(feature = "sql")]
        if let Some(kind) = kind.database() {
            return Self::start_on(Database::new(kind), setup, apps);
        }
        assert_eq!(kind, StoreKind::File);
        let all = apps.iter().cloned().fold(setup.clone(), Setup::app);
        Self {
            server: TestServer::start(all),
            setup,
            #[cfg(feature = "sql")]
            database: None,
        }
    }

    /// A server whose apps are in this database.
    #[cfg(feature = "sql")]
    #[track_caller]
    pub(crate) fn start_on(database: Database, setup: Setup, apps: &[App]) -> Self {
        let url = database.url.clone();
        Self::start_through(&url, database, setup, apps)
    }

    /// A server that has another URL of the database than the test.
    #[cfg(feature = "sql")]
    #[track_caller]
    pub(crate) fn start_through(url: &str, database: Database, setup: Setup, apps: &[App]) -> Self {
        let setup = setup.set("database.url", url).set("database.poll_s", 1);
        let config = crate::support::process::ConfigFile::new(&setup.toml());
        let mut server = TestServer::launch(&["--config", config.path()], &[]);
        server.apps = apps.to_vec();
        server.config = Some(config);
        let stored = Self {
            server,
            setup,
            database: Some(database),
        };
        stored.put(apps);
        stored
    }

    /// Has the store hold exactly these apps; they are in force when this ends.
    #[track_caller]
    pub(crate) fn put(&self, apps: &[App]) -> Value {
        self.write(apps);
        let response = self.reload("");
        assert_eq!(response.status, 200, "{response:?}");
        response.json()
    }

    /// Has the store hold exactly these apps.
    pub(crate) fn write(&self, apps: &[App]) {
        #[cfg(feature = "sql")]
        if let Some(database) = &self.database {
            return database.execute(&statements(database, apps));
        }
        let all = apps.iter().cloned().fold(self.setup.clone(), Setup::app);
        let file = self.server.config.as_ref().expect("a file");
        file.replace(&all.toml());
    }

    pub(crate) fn reload(&self, body: &str) -> Response {
        self.server.admin_call("POST /api/reload", &JSON, body)
    }
}

#[cfg(feature = "sql")]
impl StoreKind {
    fn database(self) -> Option<Kind> {
        match self {
            Self::File => None,
            Self::Sqlite => Some(Kind::Sqlite),
            Self::Postgres => Some(Kind::Postgres),
            Self::MariaDb => Some(Kind::MariaDb),
        }
    }
}

/// What replaces the table's rows.
#[cfg(feature = "sql")]
pub(crate) fn statements(database: &Database, apps: &[App]) -> Vec<String> {
    let mut statements = vec!["DELETE FROM loudhailer_apps".to_owned()];
    let names = |app: &App| -> Vec<String> {
        let columns = app.columns().into_iter();
        columns.map(|(name, _)| database.quoted(name)).collect()
    };
    for apps in apps.chunk_by(|one, other| names(one) == names(other)) {
        let rows = apps.iter().map(|app| {
            let values: Vec<_> = app.columns().iter().map(|(_, it)| literal(it)).collect();
            format!("({})", values.join(", "))
        });
        statements.push(format!(
            "INSERT INTO loudhailer_apps ({}) VALUES {}",
            names(&apps[0]).join(", "),
            rows.collect::<Vec<_>>().join(", ")
        ));
    }
    statements
}

#[cfg(feature = "sql")]
fn literal(value: &Value) -> String {
    let text = match value {
        Value::Bool(switch) => return switch.to_string(),
        Value::Number(number) => return number.to_string(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    format!("'{}'", text.replace('\'', "''"))
}

/// Runs each of these functions as a test on every store.
macro_rules! on_every_store {
    ($($name:ident)*) => {
        $(
            mod $name {
                use crate::apps::store::StoreKind;

                #[test]
                fn file() {
                    super::$name(StoreKind::File);
                }

                #[cfg(feature = "sql")]
                #[test]
                fn sqlite() {
                    super::$name(StoreKind::Sqlite);
                }

                #[cfg(feature = "sql")]
                #[test]
                fn postgres() {
                    super::$name(StoreKind::Postgres);
                }

                #[cfg(feature = "sql")]
                #[test]
                fn mariadb() {
                    super::$name(StoreKind::MariaDb);
                }
            }
        )*
    };
}
pub(crate) use on_every_store;
