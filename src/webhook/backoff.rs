//! How long to wait after a failure: 1 s, doubled each time, 60 s at most, and never exactly so, lest all come back at once.

use std::time::Duration;

use rand::{Rng, RngExt};

const FIRST: Duration = Duration::from_secs(1);
const MAX: Duration = Duration::from_secs(60);
/// The part of a delay by which it may be shorter or longer.
const JITTER: f64 = 0.2;

/// The delay after so many failures in a row.
pub(super) fn delay(failures: u32, rng: &mut impl Rng) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let exact = FIRST.saturating_mul(1 << doublings).min(MAX);
    exact.mul_f64(rng.random_range(1.0 - JITTER..1.0 + JITTER))
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::SmallRng};

    use super::*;

    #[test]
    fn delays_double_up_to_a_minute_and_differ() {
        let mut rng = SmallRng::seed_from_u64(1);
        for (failures, seconds) in [
            (1, 1.0),
            (2, 2.0),
            (3, 4.0),
            (6, 32.0),
            (7, 60.0),
            (8, 60.0),
            (u32::MAX, 60.0),
        ] {
            let delays: Vec<f64> = (0..100)
                .map(|_| delay(failures, &mut rng).as_secs_f64())
                .collect();
            assert!(
                delays
                    .iter()
                    .all(|delay| (0.8..1.2).contains(&(delay / seconds))),
                "{failures}: {delays:?}"
            );
            assert!(delays.iter().any(|delay| *delay < 0.9 * seconds));
            assert!(delays.iter().any(|delay| *delay > 1.1 * seconds));
        }
    }
}
