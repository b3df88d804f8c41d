//! What differs between databases. Every value travels as text, because drivers differ most in types.

use super::super::columns::Column;
use crate::{config::Dialect, settings::Takes};

impl Dialect {
    /// A name in quotes.
    pub(super) fn quoted(self, name: &str) -> String {
        match self {
            Self::Sqlite | Self::Postgres => format!("\"{name}\""),
            Self::MySql => format!("`{name}`"),
        }
    }

    /// A column's value as text.
    pub(super) fn as_text(self, column: &str) -> String {
        let column = self.quoted(column);
        match self {
            Self::Sqlite => format!("CAST({column} AS TEXT)"),
            Self::Postgres => format!("CAST({column} AS TEXT)"),
            Self::MySql => format!("CAST({column} AS CHAR)"),
        }
    }

    /// The place of the argument of this number, counted from 1.
    pub(super) fn argument(self, number: usize) -> String {
        match self {
            Self::Postgres => format!("${number}"),
            Self::Sqlite | Self::MySql => "?".to_owned(),
        }
    }

    /// Lists the columns of a table, whose name is the argument.
    pub(super) fn columns(self) -> &'static str {
        match self {
            Self::Sqlite => "SELECT name FROM pragma_table_info(?)",
            Self::Postgres => {
                "SELECT CAST(column_name AS TEXT) FROM information_schema.columns \
                 WHERE table_name = $1 AND table_schema = ANY(current_schemas(false))"
            }
            Self::MySql => {
                "SELECT CAST(column_name AS CHAR) FROM information_schema.columns \
                 WHERE table_name = ? AND table_schema = DATABASE()"
            }
        }
    }

    /// A value that differs after each change of a table with stamps, if there is a cheap one.
    pub(super) fn probe(self, table: &str) -> String {
        let table = self.quoted(table);
        match self {
            // Of the connection, which is why there is only one.
            Self::Sqlite => {
                "SELECT CAST(data_version AS TEXT) FROM pragma_data_version()".to_owned()
            }
            Self::Postgres => format!(
                "SELECT CAST(count(*) AS TEXT) || ' ' || \
                 COALESCE(CAST(sum(extract(epoch FROM updated_at)) AS TEXT), '') FROM {table}"
            ),
            Self::MySql => format!(
                "SELECT CAST(CONCAT_WS(' ', COUNT(*), SUM(UNIX_TIMESTAMP(updated_at))) AS CHAR) FROM {table}"
            ),
        }
    }

    /// The type of a column of our own table.
    pub(super) fn column_type(self, column: Column) -> &'static str {
        match (self, column.takes) {
            (Self::MySql, _) if column.is_indexed() => "VARCHAR(255) COLLATE utf8mb4_bin",
            (_, Takes::Switch) => "BOOLEAN",
            (_, Takes::Number { .. }) => "BIGINT",
            (Self::MySql, _) => "MEDIUMTEXT",
            (Self::Sqlite | Self::Postgres, _) => "TEXT",
        }
    }

    /// What makes our own table, with columns for these keys, and has it note when a row changes.
    pub(super) fn creation(self, table: &str, columns: &[Column]) -> Vec<String> {
        let columns = columns.iter().map(|column| {
            let name = self.quoted(column.name);
            let constraint = match column.name {
                "id" => " NOT NULL PRIMARY KEY",
                _ if column.is_indexed() => " UNIQUE",
                _ => "",
            };
            format!("{name} {}{constraint}", self.column_type(*column))
        });
        let columns = columns.collect::<Vec<_>>().join(", ");
        match self {
            Self::Sqlite => sqlite(table, &columns),
            Self::Postgres => postgres(table, &columns),
            Self::MySql => vec![format!(
                "CREATE TABLE `{table}` ({columns}, \
                 created_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6), \
                 updated_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6))"
            )],
        }
    }
}

fn sqlite(table: &str, columns: &str) -> Vec<String> {
    let now = "strftime('%Y-%m-%d %H:%M:%f', 'now')";
    vec![
        format!(
            "CREATE TABLE \"{table}\" ({columns}, created_at TEXT NOT NULL DEFAULT ({now}), \
             updated_at TEXT NOT NULL DEFAULT ({now}))"
        ),
        format!(
            "CREATE TRIGGER \"{table}_changed\" AFTER UPDATE ON \"{table}\" \
             BEGIN UPDATE \"{table}\" SET updated_at = {now} WHERE id = NEW.id; END"
        ),
    ]
}

/// The notification carries nothing: whoever hears it looks.
fn postgres(table: &str, columns: &str) -> Vec<String> {
    let trigger = format!("\"{table}_changed\"");
    vec![
        format!(
            "CREATE TABLE \"{table}\" ({columns}, created_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(), \
             updated_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp())"
        ),
        format!(
            "CREATE OR REPLACE FUNCTION {trigger}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             PERFORM pg_notify('{table}', ''); \
             IF TG_OP = 'DELETE' THEN RETURN OLD; END IF; \
             NEW.updated_at := clock_timestamp(); RETURN NEW; END $$"
        ),
        format!(
            "CREATE TRIGGER {trigger} BEFORE INSERT OR UPDATE OR DELETE ON \"{table}\" \
             FOR EACH ROW EXECUTE FUNCTION {trigger}()"
        ),
    ]
}
