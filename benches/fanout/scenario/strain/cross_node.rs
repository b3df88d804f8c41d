//! Publishers on one node that are faster than the subscribers on another.

use std::time::{Duration, Instant};

use mio::{Poll, Token, Waker};

use super::Figure;
use super::world::World;
use crate::Failure;
use crate::arguments::Arguments;
use crate::load::{Load, Subscriptions};
use crate::payload::{Stamp, Template, now_ns};
use crate::progress::Progress;
use crate::report::float;
use crate::scenario::seconds;

const SUBSCRIBERS: usize = 1000;
const PUBLISHERS: usize = 4;

/// Each publisher sends as fast as it is answered.
pub(super) fn run(arguments: &Arguments) -> Result<Vec<Figure>, Failure> {
    let world = World::start(arguments)?;
    let sockets = arguments.sockets.unwrap_or(SUBSCRIBERS);
    let mut load = Load::connect(&world.nodes[2], Subscriptions::spread(sockets, 1)?)?;
    let duration = seconds(arguments, 5.0);
    // Nobody holds back, so nobody is woken.
    let poll = Poll::new()?;
    let progress = Progress::new(Waker::new(poll.registry(), Token(0))?);
    let begun = Instant::now();
    let (received, published) = std::thread::scope(|scope| {
        let publishers: Vec<_> = (0..PUBLISHERS)
            .map(|number| {
                let world = &world;
                scope.spawn(move || publish(world, number, duration, arguments))
            })
            .collect();
        let waiting = scope.spawn(|| {
            let counts: Result<Vec<Counts>, Failure> = publishers
                .into_iter()
                .map(|publisher| publisher.join().map_err(|_| "a publisher panicked")?)
                .collect();
            let counts = counts?;
            let taken: u64 = counts.iter().map(|counts| counts.taken).sum();
            progress.expect(taken * u64::try_from(sockets)?);
            Ok::<_, Failure>(counts)
        });
        let received = load.receive(&progress);
        let published = waiting.join().map_err(|_| "a publisher panicked")?;
        Ok::<_, Failure>((received?, published?))
    })?;
    let took = begun.elapsed().as_secs_f64();
    let taken: u64 = published.iter().map(|counts| counts.taken).sum();
    let refused: u64 = published.iter().map(|counts| counts.refused).sum();
    let expected = taken * u64::try_from(sockets)?;
    let closed = u64::try_from(load.closed().len())?;
    Ok(vec![
        Figure::at_most("subscribers closed", float(closed), 0.0),
        Figure::at_most(
            "deliveries lost",
            float(expected.saturating_sub(received.deliveries)),
            0.0,
        ),
        Figure::at_most("out of order", float(received.out_of_order), 0.0),
        Figure::new(
            "publishes taken per second",
            float(taken) / duration.as_secs_f64(),
        ),
        Figure::new("publishes refused (503)", float(refused)),
        Figure::new(
            "deliveries per second, millions",
            float(received.deliveries) / took / 1e6,
        ),
        Figure::new(
            "latency p99, ms",
            float(received.latency.value_at_quantile(0.99)) / 1e6,
        ),
    ])
}

struct Counts {
    taken: u64,
    refused: u64,
}

fn publish(
    world: &World,
    number: usize,
    duration: Duration,
    arguments: &Arguments,
) -> Result<Counts, Failure> {
    let mut publisher = super::probe::Publisher::connect(&world.nodes[0])?;
    let mut template = Template::event("name", arguments.data_bytes, false);
    let mut counts = Counts {
        taken: 0,
        refused: 0,
    };
    let begun = Instant::now();
    let mut sequence = 0;
    while begun.elapsed() < duration {
        let stamp = Stamp {
            publisher: u8::try_from(number)?,
            sequence,
            sent_ns: now_ns(),
        };
        match publisher.send(template.fill(0, stamp))? {
            200 => {
                counts.taken += 1;
                sequence += 1;
            }
            503 => {
                counts.refused += 1;
                std::thread::sleep(Duration::from_millis(5));
            }
            status => return Err(format!("a publish was answered {status}").into()),
        }
    }
    Ok(counts)
}
