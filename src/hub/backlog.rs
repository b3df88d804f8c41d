//! What each app has on its way to the sockets, or to other nodes, so that an app that floods the server waits while others go on.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// Deliveries that wait or are under way.
#[derive(Debug, Default)]
pub struct Backlog {
    deliveries: AtomicUsize,
    bytes: AtomicUsize,
}

/// Deliveries and bytes.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Deliveries.
    pub deliveries: usize,
    /// Bytes.
    pub bytes: usize,
}

/// One delivery's part of its app's backlog; given back when it is dropped.
#[derive(Debug)]
pub struct Ticket {
    backlog: Arc<Backlog>,
    bytes: usize,
}

impl Backlog {
    /// Counts a delivery of so many bytes.
    #[must_use]
    pub fn take(self: &Arc<Self>, bytes: usize) -> Ticket {
        self.deliveries.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ticket {
            backlog: Arc::clone(self),
            bytes,
        }
    }

    /// What is taken.
    #[must_use]
    pub fn used(&self) -> Room {
        Room {
            deliveries: self.deliveries.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }

    /// Whether the app may have more under way: it may never take more of each queue than is still free in the fullest. So an app
    /// alone gets half, two that flood a third each, and there is always room for one that does not.
    #[must_use]
    pub fn is_within(&self, free: Room, queues: usize) -> bool {
        self.deliveries.load(Ordering::Relaxed) < free.deliveries * queues
            && self.bytes.load(Ordering::Relaxed) < free.bytes * queues
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.backlog.deliveries.fetch_sub(1, Ordering::Relaxed);
        self.backlog.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 1000;

    /// Publishes one more of each app that still may, until none may; how much each got, and what is left.
    fn flood(apps: &[Arc<Backlog>]) -> (Vec<usize>, usize) {
        let mut tickets: Vec<Vec<Ticket>> = apps.iter().map(|_| Vec::new()).collect();
        loop {
            let mut is_over = true;
            for (app, theirs) in apps.iter().zip(&mut tickets) {
                let free = MAX - theirs_of(apps);
                let room = Room {
                    deliveries: free,
                    bytes: MAX,
                };
                if app.is_within(room, 1) {
                    theirs.push(app.take(0));
                    is_over = false;
                }
            }
            if is_over {
                return (
                    tickets.iter().map(Vec::len).collect(),
                    MAX - theirs_of(apps),
                );
            }
        }
    }

    fn theirs_of(apps: &[Arc<Backlog>]) -> usize {
        let counts = apps
            .iter()
            .map(|app| app.deliveries.load(Ordering::Relaxed));
        counts.sum()
    }

    #[test]
    fn one_app_gets_half_two_a_third_each_and_something_is_left() {
        assert_eq!(flood(&[Arc::default()]), (vec![500], 500));
        let (two, left) = flood(&[Arc::default(), Arc::default()]);
        assert!(
            two.iter().all(|count| (332..=334).contains(count)),
            "{two:?}"
        );
        assert!(left >= 332);
    }

    #[test]
    fn a_dropped_ticket_gives_its_part_back() {
        let app = Arc::<Backlog>::default();
        let full = Room {
            deliveries: 1,
            bytes: 10,
        };
        let ticket = app.take(9);
        assert!(!app.is_within(full, 1));
        assert!(app.is_within(full, 2));
        drop(ticket);
        assert!(app.is_within(full, 1));
        let _large = app.take(10);
        assert!(!app.is_within(
            Room {
                deliveries: 5,
                ..full
            },
            1
        ));
    }
}
