//! PostgreSQL tells of changes at once; elsewhere, and while it does not, polling does.

#[cfg(feature = "postgres")]
mod postgres {
    use std::time::Duration;

    use sqlx::postgres::PgListener;
    use tokio::time::sleep;
    use tracing::debug;

    use crate::config::{Database, DatabaseUrl, Dialect, Layout};

    /// Between two attempts to listen.
    const RETRY: Duration = Duration::from_secs(5);

    /// Hears of changes of our own table.
    pub(in crate::store::sql) struct Listener {
        url: DatabaseUrl,
        table: String,
        listening: Option<PgListener>,
    }

    impl Listener {
        /// The listener of a table that has a trigger.
        pub(in crate::store::sql) fn of(url: &DatabaseUrl, settings: &Database) -> Option<Self> {
            let tells = url.dialect == Dialect::Postgres && settings.layout == Layout::Loudhailer;
            tells.then(|| Self {
                url: url.clone(),
                table: settings.table().to_owned(),
                listening: None,
            })
        }

        /// Ends when something may have changed.
        pub(in crate::store::sql) async fn heard(&mut self) {
            loop {
                match self.listen().await {
                    Ok(()) => return,
                    Err(error) => {
                        debug!(%error, "the database does not tell of changes; it is asked");
                        self.listening = None;
                        sleep(RETRY).await;
                    }
                }
            }
        }

        async fn listen(&mut self) -> Result<(), sqlx::Error> {
            if let Some(listener) = &mut self.listening {
                // Nothing was heard where the connection was lost, and changes with it.
                return listener.try_recv().await.map(drop);
            }
            let mut listener = PgListener::connect(self.url.url.expose_str()).await?;
            listener.listen(&self.table).await?;
            self.listening = Some(listener);
            // Changes before this moment were not heard.
            Ok(())
        }
    }
}

#[cfg(not(feature = "postgres"))]
mod postgres {
    use crate::config::{Database, DatabaseUrl};

    /// There is nothing to hear.
    pub(in crate::store::sql) enum Listener {}

    impl Listener {
        pub(in crate::store::sql) fn of(_: &DatabaseUrl, _: &Database) -> Option<Self> {
            None
        }

        pub(in crate::store::sql) async fn heard(&mut self) {
            match *self {}
        }
    }
}

pub(super) use postgres::Listener;
