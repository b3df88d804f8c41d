//! How two lists of apps differ.

use std::{collections::HashMap, sync::Arc};

use super::{App, Name};

/// Which apps differ from those before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppChanges {
    /// Those that are new.
    pub added: Vec<Name>,
    /// Those whose settings differ.
    pub changed: Vec<Name>,
    /// Those that are gone.
    pub removed: Vec<Name>,
}

/// One app, before and after.
pub enum AppChange<'a> {
    /// It is new.
    Added(&'a Arc<App>),
    /// Its settings differ.
    Changed(&'a Arc<App>, &'a Arc<App>),
    /// It is gone.
    Removed(&'a Arc<App>),
}

impl AppChanges {
    /// Whether nothing differs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty() && self.removed.is_empty()
    }

    /// Notes one of them.
    pub fn note(&mut self, change: &AppChange<'_>) {
        let (list, app) = match change {
            AppChange::Added(app) => (&mut self.added, app),
            AppChange::Changed(_, app) => (&mut self.changed, app),
            AppChange::Removed(app) => (&mut self.removed, app),
        };
        list.push(app.id.clone());
    }
}

/// Every app that differs. Apps that are the same `Arc` are not looked at.
#[must_use]
pub fn differences<'a>(old: &'a [Arc<App>], new: &'a [Arc<App>]) -> Vec<AppChange<'a>> {
    let mut before: HashMap<&str, &Arc<App>> = old.iter().map(|app| (&*app.id, app)).collect();
    let mut changes = Vec::new();
    for app in new {
        match before.remove(&*app.id) {
            None => changes.push(AppChange::Added(app)),
            Some(old) if Arc::ptr_eq(old, app) || **old == **app => {}
            Some(old) => changes.push(AppChange::Changed(old, app)),
        }
    }
    changes.extend(before.into_values().map(AppChange::Removed));
    changes
}
