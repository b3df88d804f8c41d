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
    fn of(per_second: Count) -> Option<Self> {
        let per_second = per_second.as_u32();
        let quota = Quota::per_second(NonZeroU32::new(per_second)?);
        Some(Self {
            per_second,
            limiter: RateLimiter::direct(quota),
        })
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

/// The budgets of one app. A new limit begins a new budget.
#[derive(Default)]
struct Budgets {
    events: Option<Budget>,
    reads: Option<Budget>,
}

/// All apps' budgets on this node. An app without limits has no entry.
#[derive(Default)]
pub struct Rates {
    apps: DashMap<Name, Arc<Budgets>, ahash::RandomState>,
}

impl Rates {
    /// Counts events that the app's backend publishes.
    ///
    /// # Errors
    /// [`TooFast`]; nothing was counted.
    pub fn take_events(&self, app: &App, events: usize) -> Result<(), TooFast> {
        if app.limits.max_backend_events_per_second.is_none() {
            return Ok(());
        }
        let count = u32::try_from(events).unwrap_or(u32::MAX);
        self.of(app)
            .events
            .as_ref()
            .map_or(Ok(()), |budget| budget.take(count))
    }

    /// Counts another request of the app.
    ///
    /// # Errors
    /// As [`Rates::take_events`].
    pub fn take_read(&self, app: &App) -> Result<(), TooFast> {
        if app.limits.max_read_requests_per_second.is_none() {
            return Ok(());
        }
        self.of(app)
            .reads
            .as_ref()
            .map_or(Ok(()), |budget| budget.take(1))
    }

    fn of(&self, app: &App) -> Arc<Budgets> {
        let limits = &app.limits;
        let fits = |budget: &Option<Budget>, limit: Option<Count>| {
            budget.as_ref().map(|budget| budget.per_second) == limit.map(Count::as_u32)
        };
        if let Some(budgets) = self.apps.get(&*app.id)
            && fits(&budgets.events, limits.max_backend_events_per_second)
            && fits(&budgets.reads, limits.max_read_requests_per_second)
        {
            return Arc::clone(&budgets);
        }
        let budgets = Arc::new(Budgets {
            events: limits.max_backend_events_per_second.and_then(Budget::of),
            reads: limits.max_read_requests_per_second.and_then(Budget::of),
        });
        self.apps.insert(app.id.clone(), Arc::clone(&budgets));
        budgets
    }
}
