//! The table itself: its columns, its rows, and changes of them.

use std::collections::HashMap;

use sqlx::{Any, AnyConnection, AnyPool, Row as _, Transaction, any::AnyRow, query::Query};
use tracing::{info, warn};

use super::row::Row;
use crate::{
    config::{Database, Dialect, Layout},
    settings::{Json, Takes},
    store::{self, StoreError, WriteError, columns::Column},
};

/// Rows that are asked for by their ids at once; databases have limits for arguments.
const IDS_MAX: usize = 500;

/// A table of apps.
pub(super) struct SqlTable {
    pool: AnyPool,
    dialect: Dialect,
    layout: Layout,
    name: String,
    /// Those that the table has, with their names there.
    columns: Vec<(String, Column)>,
    /// Whether rows say when they were changed.
    is_stamped: bool,
}

type Settings = serde_json::Map<String, Json>;

impl SqlTable {
    pub(super) fn new(pool: AnyPool, dialect: Dialect, settings: &Database) -> Self {
        Self {
            pool,
            dialect,
            layout: settings.layout,
            name: settings.table().to_owned(),
            columns: Vec::new(),
            is_stamped: false,
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// soketi's own tools change soketi's table.
    pub(super) fn refuse_if_foreign(&self, place: &str) -> Result<(), WriteError> {
        match self.layout {
            Layout::Loudhailer => Ok(()),
            Layout::Soketi => Err(WriteError::ReadOnly(place.to_owned())),
        }
    }

    /// Looks which columns there are; makes the table or columns of ours that are missing, if it may.
    pub(super) async fn prepare(&mut self) -> Result<(), StoreError> {
        let mut names = self.column_names().await?;
        if self.layout == Layout::Loudhailer {
            if names.is_empty() {
                self.create().await?;
                names = self.column_names().await?;
            }
            if self.add_missing(&names).await {
                names = self.column_names().await?;
            }
        }
        if names.is_empty() {
            let reason = format!("there is no table {}", self.name);
            return Err(StoreError::Unavailable(reason));
        }
        let known = Column::all(self.layout);
        let column = |name: &String| {
            let column = known
                .iter()
                .find(|column| plain(column.name) == plain(name))?;
            Some((name.clone(), *column))
        };
        self.columns = names.iter().filter_map(column).collect();
        // SQLite's times are too coarse, and its rows are near.
        self.is_stamped =
            self.dialect != Dialect::Sqlite && names.iter().any(|name| name == "updated_at");
        Ok(())
    }

    async fn column_names(&self) -> Result<Vec<String>, StoreError> {
        let query = sqlx::query(self.dialect.columns()).bind(&self.name);
        let rows = query.fetch_all(&self.pool).await?;
        Ok(rows.iter().filter_map(|row| text(row, 0)).collect())
    }

    async fn create(&self) -> Result<(), StoreError> {
        let columns = Column::all(self.layout);
        for statement in self.dialect.creation(&self.name, &columns) {
            if let Err(error) = sqlx::query(&statement).execute(&self.pool).await {
                // Another node may have been first.
                if !self.column_names().await?.is_empty() {
                    return Ok(());
                }
                let reason = format!(
                    "there is no table {}, and none can be made: {error}",
                    self.name
                );
                return Err(StoreError::Unavailable(reason));
            }
        }
        info!(table = self.name, "made the table of the apps");
        Ok(())
    }

    /// Adds a column for each key that has none; whether there was one.
    async fn add_missing(&self, names: &[String]) -> bool {
        let missing = Column::all(self.layout).into_iter();
        let missing = missing.filter(|column| !names.iter().any(|name| name == column.name));
        let mut any = false;
        for column in missing {
            let (table, name) = (
                self.dialect.quoted(&self.name),
                self.dialect.quoted(column.name),
            );
            let kind = self.dialect.column_type(column);
            let statement = format!("ALTER TABLE {table} ADD COLUMN {name} {kind}");
            match sqlx::query(&statement).execute(&self.pool).await {
                Ok(_) => any = true,
                // Another node may have been first; or the user may only read, and the key has its default.
                Err(error) => {
                    warn!(table = self.name, column = column.name, %error, "no such column could be added")
                }
            }
        }
        any
    }

    /// Ends the connection; the next statement makes another.
    pub(super) async fn disconnect(&self) -> Result<(), StoreError> {
        Ok(self.pool.acquire().await?.close().await?)
    }

    /// A value that differs after each change; `None` if only the rows tell.
    pub(super) async fn probe(&self) -> Result<Option<String>, StoreError> {
        if !self.is_stamped && self.dialect != Dialect::Sqlite {
            return Ok(None);
        }
        let statement = self.dialect.probe(&self.name);
        let row = sqlx::query(&statement).fetch_one(&self.pool).await?;
        Ok(text(&row, 0))
    }

    /// When each row was changed, by id; `None` if only the rows tell.
    pub(super) async fn stamps(&self) -> Result<Option<HashMap<String, String>>, StoreError> {
        if !self.is_stamped {
            return Ok(None);
        }
        let (id, stamp) = (
            self.dialect.as_text("id"),
            self.dialect.as_text("updated_at"),
        );
        let table = self.dialect.quoted(&self.name);
        let statement = format!("SELECT {id}, {stamp} FROM {table}");
        let rows = sqlx::query(&statement).fetch_all(&self.pool).await?;
        let pairs = rows
            .iter()
            .filter_map(|row| Some((text(row, 0)?, text(row, 1)?)));
        Ok(Some(pairs.collect()))
    }

    /// The rows with these ids, or all.
    pub(super) async fn rows(&self, ids: Option<&[String]>) -> Result<Vec<Row>, sqlx::Error> {
        let mut columns: Vec<_> = self.columns.iter().map(|(name, _)| name.as_str()).collect();
        if self.is_stamped {
            columns.push("updated_at");
        }
        let columns: Vec<_> = columns
            .iter()
            .map(|name| self.dialect.as_text(name))
            .collect();
        let table = self.dialect.quoted(&self.name);
        let all = format!("SELECT {} FROM {table}", columns.join(", "));
        let Some(ids) = ids else {
            let rows = sqlx::query(&all).fetch_all(&self.pool).await?;
            return Ok(rows.iter().filter_map(|row| self.row(row)).collect());
        };
        let mut found = Vec::with_capacity(ids.len());
        for ids in ids.chunks(IDS_MAX) {
            let places = (1..=ids.len()).map(|number| self.dialect.argument(number));
            let places = places.collect::<Vec<_>>().join(", ");
            let statement = format!("{all} WHERE {} IN ({places})", self.dialect.quoted("id"));
            let query = ids.iter().fold(sqlx::query(&statement), Query::bind);
            let rows = query.fetch_all(&self.pool).await?;
            found.extend(rows.iter().filter_map(|row| self.row(row)));
        }
        Ok(found)
    }

    fn row(&self, row: &AnyRow) -> Option<Row> {
        let columns = self.columns.iter().enumerate();
        let texts = columns.filter_map(|(at, (_, column))| Some((*column, text(row, at)?)));
        let texts: Vec<_> = texts.collect();
        let id = texts.iter().find(|(column, _)| column.key == "id");
        let id = id.map(|(_, id)| id.clone())?;
        let stamp = match self.is_stamped {
            true => text(row, self.columns.len()).unwrap_or_default(),
            false => digest(&texts),
        };
        Some(Row { id, stamp, texts })
    }

    /// What is written through it counts when it is committed.
    pub(super) async fn begin(&self) -> Result<Transaction<'static, Any>, sqlx::Error> {
        self.pool.begin().await
    }

    pub(super) async fn insert(
        &self,
        on: &mut AnyConnection,
        settings: &Settings,
    ) -> Result<(), WriteError> {
        let columns = self.set(settings, |_| true);
        let names: Vec<_> = columns
            .iter()
            .map(|(name, ..)| self.dialect.quoted(name))
            .collect();
        let places = (1..=columns.len()).map(|number| self.dialect.argument(number));
        let statement = format!(
            "INSERT INTO {} ({}) VALUES ({})",
            self.dialect.quoted(&self.name),
            names.join(", "),
            places.collect::<Vec<_>>().join(", ")
        );
        let query = sqlx::query(&statement);
        let query = columns
            .iter()
            .fold(query, |query, (_, takes, value)| bind(query, *takes, value));
        query.execute(on).await?;
        Ok(())
    }

    pub(super) async fn update(
        &self,
        on: &mut AnyConnection,
        id: &str,
        before: &Settings,
        after: &Settings,
    ) -> Result<(), WriteError> {
        fn value<'a>(settings: &'a Settings, key: &str) -> &'a Json {
            settings.get(key).unwrap_or(&Json::Null)
        }
        let columns = self.set(after, |key| value(before, key) != value(after, key));
        if columns.is_empty() {
            return Ok(());
        }
        let changes = columns.iter().enumerate().map(|(at, (name, ..))| {
            format!(
                "{} = {}",
                self.dialect.quoted(name),
                self.dialect.argument(at + 1)
            )
        });
        let statement = format!(
            "UPDATE {} SET {} WHERE id = {}",
            self.dialect.quoted(&self.name),
            changes.collect::<Vec<_>>().join(", "),
            self.dialect.argument(columns.len() + 1)
        );
        let query = sqlx::query(&statement);
        let query = columns
            .iter()
            .fold(query, |query, (_, takes, value)| bind(query, *takes, value));
        query.bind(id).execute(on).await?;
        Ok(())
    }

    /// Whether there was such a row.
    pub(super) async fn delete(&self, id: &str) -> Result<bool, WriteError> {
        let (table, argument) = (self.dialect.quoted(&self.name), self.dialect.argument(1));
        let statement = format!("DELETE FROM {table} WHERE id = {argument}");
        let done = sqlx::query(&statement).bind(id).execute(&self.pool).await?;
        Ok(done.rows_affected() > 0)
    }

    /// The columns that are written, with their values; null where a key is absent.
    fn set<'a>(
        &'a self,
        settings: &'a Settings,
        is_written: impl Fn(&str) -> bool,
    ) -> Vec<(&'a str, Takes, Option<&'a Json>)> {
        let columns = self.columns.iter();
        columns
            .filter(|(_, column)| is_written(column.key))
            .map(|(name, column)| {
                let value = settings.get(column.key).filter(|value| !value.is_null());
                (name.as_str(), column.takes, value)
            })
            .collect()
    }
}

type AnyQuery<'q> = Query<'q, Any, sqlx::any::AnyArguments<'q>>;

fn bind<'q>(query: AnyQuery<'q>, takes: Takes, value: &Option<&Json>) -> AnyQuery<'q> {
    match takes {
        Takes::Switch => query.bind(value.and_then(Json::as_bool)),
        Takes::Number { .. } => query.bind(value.and_then(Json::as_i64)),
        _ => query.bind(value.map(|value| match value {
            Json::String(text) => text.clone(),
            other => other.to_string(),
        })),
    }
}

/// A column's text. Long texts come as bytes from some databases.
fn text(row: &AnyRow, at: usize) -> Option<String> {
    let as_text = row.try_get::<Option<String>, _>(at);
    as_text.unwrap_or_else(|_| {
        let bytes = row.try_get::<Option<Vec<u8>>, _>(at).ok().flatten()?;
        String::from_utf8(bytes).ok()
    })
}

/// A column's name as soketi compares it: `max_connections`, `maxConnections` and `MaxConnections` are one.
fn plain(name: &str) -> String {
    name.replace('_', "").to_ascii_lowercase()
}

fn digest(texts: &[(Column, String)]) -> String {
    let named = texts.iter().map(|(column, text)| (column.name, text));
    store::digest(&named.collect::<Vec<_>>()).to_string()
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl From<sqlx::Error> for WriteError {
    fn from(error: sqlx::Error) -> Self {
        match error.as_database_error() {
            Some(of_database) if of_database.is_unique_violation() => {
                Self::Exists("the app's id or key".to_owned())
            }
            _ => Self::Unavailable(error.to_string()),
        }
    }
}
