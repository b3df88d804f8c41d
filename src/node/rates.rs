//! How fast an app may ask: each app has its own budget on each node, and one that exceeds it waits alone.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use dashmap::DashMap;
use governor::{
    DefaultDirectRateLimiter, Quota, RateLimiter,
    clock::{Clock, DefaultClock},
};

use crate::app::App;

/// Too fast: when to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooFast {
    /// What the budget is, per second.
    pub per_second: u32,
    /// Until there is room again.
    pub retry_after: Duration,
}

/// A budget of so many per second; as many may come at once.
struct Budget {
    per_second: u32,
    limiter: DefaultDirectRateLimiter,
}

impl Budget {
    fn of(per_second: u32) -> Option<Self> {
        let quota = Quota::per_second(NonZeroU32::new(per_second)?);
        Some(Self {
            per_second,
            limiter: RateLimiter::direct(quota),
        })
    }

    fn take(&self, count: u32) -> Result<(), TooFast> {
        let too_fast = |retry_after| TooFast {
            per_second: self.per_second,
            retry_after,
        };
        let Some(count) = NonZeroU32::new(count) else {
            return Ok(());
        };
        match self.limiter.check_n(count) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(not_until)) => Err(too_fast(
                not_until.wait_time_from(DefaultClock::default().now()),
            )),
            // A batch larger than the budget of a second never fits.
            Err(_) => Err(too_fast(Duration::from_secs(1))),
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
    apps: DashMap<String, Arc<Budgets>, ahash::RandomState>,
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
        let fits = |budget: &Option<Budget>, limit: Option<u32>| {
            budget.as_ref().map(|budget| budget.per_second) == limit
        };
        if let Some(budgets) = self.apps.get(&app.id)
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
