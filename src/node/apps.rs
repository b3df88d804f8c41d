//! What a change of the apps means for the node: for new work at once, for open connections where it must.

use std::{sync::Arc, time::Duration};

use tracing::{error, info};

use super::{Node, subscribe::settings_of};
use crate::{
    app::{App, AppChange, AppChanges, Moment, Name, differences},
    feed::Line,
    hub::{Closing, Profile},
    protocol::CloseCode,
    webhook::Departures,
};

/// Apps that the log and the feed name; of more only the number is told.
const NAMED_MAX: usize = 100;

/// Which open connections end although their app goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revoked {
    /// Those that were made with keys that are not valid any more.
    Keys,
    /// Those of pages whose origin is not allowed any more.
    Origins,
}

impl Node {
    /// Puts these apps in the place of all others. Connections of apps that were disabled or removed are closed over `window`.
    pub fn change_apps(self: &Arc<Self>, apps: Vec<Arc<App>>, window: Duration) -> AppChanges {
        let old = self.apps.replace(apps);
        let new = self.apps.all();
        if let Err(error) = self.webhooks.start(&new, self.departures()) {
            error!(%error, "webhooks can't be sent");
        }
        let mut changes = AppChanges::default();
        for change in differences(&old, &new) {
            match &change {
                AppChange::Added(_) => {}
                AppChange::Changed(old, new) => self.change_app(old, new, window),
                AppChange::Removed(app) => {
                    self.rates.forget(&app.id);
                    self.close_ended(app, CloseCode::AppNotFound, "This app was removed.", window);
                }
            }
            changes.note(&change);
        }
        if !changes.is_empty() {
            self.tell(&changes);
        }
        changes
    }

    fn change_app(self: &Arc<Self>, old: &App, new: &App, window: Duration) {
        if old.enabled && !new.enabled {
            self.close_ended(new, CloseCode::AppDisabled, "This app is disabled.", window);
        }
        let channels = self.hub.app(&new.id);
        channels.recompress_from(new.compression_from_bytes());
        if (&old.channels, old.subscription_counts) != (&new.channels, new.subscription_counts) {
            channels.configure(|channel| settings_of(new, channel.kind, &channel.name));
        }
    }

    /// Closes the connections of an app that is disabled or gone, unless it comes back meanwhile.
    fn close_ended(
        self: &Arc<Self>,
        app: &App,
        code: CloseCode,
        reason: &'static str,
        window: Duration,
    ) {
        let (apps, id) = (Arc::clone(&self.apps), app.id.clone());
        self.hub.close(&Closing {
            app_id: (*app.id).into(),
            concerns: Arc::new(move |_| apps.by_id(&id).is_none_or(|app| !app.enabled)),
            code,
            reason,
            window,
        });
    }

    /// Closes the open connections of an app that could not be made any more.
    pub fn close_revoked(&self, app_id: &str, revoked: Revoked, window: Duration) {
        let (apps, id) = (Arc::clone(&self.apps), app_id.to_owned());
        let concerns = move |profile: &Profile| {
            let app = apps.by_id(&id);
            app.is_some_and(|app| match revoked {
                Revoked::Keys => app
                    .secret_of(profile.key.as_bytes(), Moment::now())
                    .is_none(),
                Revoked::Origins => !app.allows_origin(profile.origin.as_deref()),
            })
        };
        self.hub.close(&Closing {
            app_id: app_id.into(),
            concerns: Arc::new(concerns),
            code: CloseCode::Unauthorized,
            reason: "This connection is not allowed any more.",
            window,
        });
    }

    fn departures(&self) -> Departures {
        match self.engine.spans_nodes() {
            true => Departures::Settled,
            false => Departures::Fresh,
        }
    }

    fn tell(&self, changes: &AppChanges) {
        let AppChanges {
            added,
            changed,
            removed,
        } = changes;
        let named = |names: &[Name]| {
            let names = names.iter().take(NAMED_MAX).map(ToString::to_string);
            names.collect::<Vec<_>>()
        };
        info!(
            added = added.len(),
            changed = changed.len(),
            removed = removed.len(),
            apps = named(&[&added[..], changed, removed].concat()).join(", "),
            "apps changed"
        );
        self.feed.emit(|| Line::AppsChanged {
            added: named(added),
            changed: named(changed),
            removed: named(removed),
        });
    }
}
