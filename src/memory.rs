//! Gives memory back to the system after a crowd has gone.
//!
//! glibc keeps what a process has freed, as far as something that is still used lies behind it: after 10,000 clients that
//! came and went, 35 MB of which 2 MB were used.

use std::time::{Duration, Instant};

/// Fewer clients than these leave nothing behind that is worth the work.
const CROWD: usize = 500;
/// For so long the number must not have fallen or risen before memory is given back: giving back takes locks that whoever
/// allocates meanwhile waits for.
const QUIET: Duration = Duration::from_secs(2);

/// How many clients there were and are.
pub(crate) struct Ebb {
    most: usize,
    last: usize,
    changed: Instant,
}

impl Ebb {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            most: 0,
            last: 0,
            changed: now,
        }
    }

    /// Notes how many clients there are. Says whether half of a crowd has gone and it is quiet.
    pub(crate) fn note(&mut self, connections: usize, now: Instant) -> bool {
        if connections.abs_diff(self.last) > CROWD / 10 {
            (self.last, self.changed) = (connections, now);
        }
        self.most = self.most.max(connections);
        let gone = self.most - connections;
        let is_due = gone >= CROWD
            && gone >= connections
            && now.saturating_duration_since(self.changed) >= QUIET;
        if is_due {
            self.most = connections;
        }
        is_due
    }
}

/// Gives back what is free. Takes some milliseconds; blocks who allocates meanwhile.
#[cfg(target_env = "gnu")]
pub(crate) fn give_back() {
    #[expect(
        unsafe_code,
        reason = "no crate wraps it; it takes no pointer and locks what it works on"
    )]
    // SAFETY: any thread may call malloc_trim at any time (man 3 malloc_trim).
    let _ = unsafe { libc::malloc_trim(0) };
}

/// Other allocators give back by themselves.
#[cfg(not(target_env = "gnu"))]
pub(crate) fn give_back() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_given_back_once_after_a_crowd_has_gone() {
        let began = Instant::now();
        let at = |second| began + Duration::from_secs(second);
        let mut ebb = Ebb::new(began);
        let noted = [0, 5000, 10_000, 4000, 100, 90, 90, 90, 90, 80];
        let due = (0..)
            .zip(noted)
            .map(|(second, count)| ebb.note(count, at(second)));
        let due: Vec<bool> = due.collect();
        assert_eq!(due.iter().position(|due| *due), Some(6));
        assert_eq!(due.iter().filter(|due| **due).count(), 1);
    }

    #[test]
    fn who_goes_while_most_stay_is_no_crowd() {
        let began = Instant::now();
        let mut ebb = Ebb::new(began);
        let counts = [0, 400, 0, 0, 0, 0, 10_000, 9000, 9000, 9000, 9000];
        for (second, count) in (0..).zip(counts) {
            assert!(!ebb.note(count, began + Duration::from_secs(second)));
        }
    }
}
