//! Keeps a storm of equal troubles from becoming a storm of log lines.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Between two lines about the same trouble.
const INTERVAL: Duration = Duration::from_secs(10);

/// Troubles that were logged lately. Their names are the server's own, so there are few.
#[derive(Default)]
pub struct Storms(Mutex<BTreeMap<&'static str, Told>>);

struct Told {
    at: Instant,
    suppressed: u64,
}

impl Storms {
    /// Whether to log a trouble now: then how many like it were suppressed since the last time.
    pub fn tell(&self, trouble: &'static str, now: Instant) -> Option<u64> {
        let mut troubles = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(told) = troubles.get_mut(trouble) else {
            let told = Told {
                at: now,
                suppressed: 0,
            };
            troubles.insert(trouble, told);
            return Some(0);
        };
        if now.saturating_duration_since(told.at) < INTERVAL {
            told.suppressed += 1;
            return None;
        }
        told.at = now;
        Some(std::mem::take(&mut told.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_storm_the_first_is_told_and_later_how_many_there_were() {
        let (storms, start) = (Storms::default(), Instant::now());
        assert_eq!(storms.tell("a", start), Some(0));
        for _ in 0..1000 {
            assert_eq!(storms.tell("a", start), None);
        }
        assert_eq!(storms.tell("b", start), Some(0));
        assert_eq!(storms.tell("a", start + INTERVAL), Some(1000));
        assert_eq!(storms.tell("a", start + 2 * INTERVAL), Some(0));
    }
}
