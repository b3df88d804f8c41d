//! How fast an app may ask: each app has its own budget on each node, and one that exceeds it waits alone.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use dashmap::DashMap;
use governor::{
    DefaultDirectRateLimiter, Quota, RateLimiter,
    clock::{Clock, DefaultClock},
};

use crate::{
    app::{App, Name},
    settings::Count,
};

/// Why a budget does not let something through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TooFast {
    /// Not now.
    Later {
        /// What the budget is, per second.
        per_second: u32,
        /// Until there is room again.
        retry_after: Duration,
    },
    /// Never: so many at once are more than the budget of a second.
    Never {
        /// What the budget is, per second.
        per_second: u32,
        /// How many were to come.
        count: u32,
    },
}

/// A budget of so many per second; as many may come at once.
struct Budget {
    per_second: u32,
    limiter: DefaultDirectRateLimiter,
}

impl Budget {
    fn of(limit: Count) -> Self {
        let per_second = limit.as_u32();
        let quota = NonZeroU32::new(per_second).expect("a count is at least 1");
        Self {
            per_second,
            limiter: RateLimiter::direct(Quota::per_second(quota)),
        }
    }

    fn take(&self, count: u32) -> Result<(), TooFast> {
        let per_second = self.per_second;
        let Some(count) = NonZeroU32::new(count) else {
            return Ok(());
        };
        match self.limiter.check_n(count) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(not_until)) => Err(TooFast::Later {
                per_second,
                retry_after: not_until.wait_time_from(DefaultClock::default().now()),
            }),
            Err(_) => Err(TooFast::Never {
                per_second,
                count: count.get(),
            }),
        }
    }
}

/// The budgets of one app. A new limit begins a new budget; the other one goes on.
type Budgets = [Option<Arc<Budget>>; 2];

/// The places of the two budgets.
const EVENTS: usize = 0;
const READS: usize = 1;

/// All apps' budgets on this node. An app without limits has no entry.
#[derive(Default)]
pub struct Rates {
    apps: DashMap<Name, Budgets, ahash::RandomState>,
}

impl Rates {
    /// Counts events that the app's backend publishes.
    ///
    /// # Errors
    /// [`TooFast`]; nothing was counted.
    pub fn take_events(&self, app: &App, events: usize) -> Result<(), TooFast> {
        let Some(limit) = app.limits.max_backend_events_per_second else {
            return Ok(());
        };
        let count = u32::try_from(events).unwrap_or(u32::MAX);
        self.budget(app, limit, EVENTS).take(count)
    }

    /// Counts another request of the app.
    ///
    /// # Errors
    /// As [`Rates::take_events`].
    pub fn take_read(&self, app: &App) -> Result<(), TooFast> {
        let Some(limit) = app.limits.max_read_requests_per_second else {
            return Ok(());
        };
        self.budget(app, limit, READS).take(1)
    }

    /// Drops the budgets of an app that is gone.
    pub fn forget(&self, app_id: &str) {
        self.apps.remove(app_id);
    }

    fn budget(&self, app: &App, limit: Count, place: usize) -> Arc<Budget> {
        let of_now = |budgets: &Budgets| {
            let budget = budgets[place].as_ref();
            budget.filter(|it| it.per_second == limit.as_u32()).cloned()
        };
        if let Some(budget) = self.apps.get(&*app.id).and_then(|it| of_now(&it)) {
            return budget;
        }
        let mut budgets = self.apps.entry(app.id.clone()).or_default();
        let budget = of_now(&budgets).unwrap_or_else(|| Arc::new(Budget::of(limit)));
        budgets[place] = Some(Arc::clone(&budget));
        budget
    }
}
