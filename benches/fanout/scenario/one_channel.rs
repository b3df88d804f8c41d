//! All sockets on one channel: at a fixed rate, and as fast as it goes.

use std::time::Duration;

use crate::Failure;
use crate::arguments::Arguments;
use crate::host::Candidate::{self, Floor, Floors, Other, Server, Single};
use crate::measure::{Shape, measure};
use crate::report::{Finding, Run, Section, say_title};
use crate::scenario::{per_round, seconds, section};
use crate::schedule::Pace;

/// Events at a fixed rate.
pub(super) fn steady(arguments: &Arguments) -> Result<Section, Failure> {
    let rate = arguments.rate.unwrap_or(30.0);
    let shape = Shape {
        sockets: arguments.sockets.unwrap_or(1000),
        channels: 1,
        first_channel: 0,
        pace: Pace::Every(Duration::from_secs_f64(1.0 / rate)),
        duration: seconds(arguments, 10.0),
        publishers: arguments.publishers.unwrap_or(4),
        batch: 1,
    };
    say_title(&format!(
        "steady: {} sockets on one channel, {rate} events/s",
        shape.sockets
    ))?;
    let single = arguments.url.is_none().then_some(Single);
    let candidates = [Server, Floor, Floors].into_iter().chain(single);
    let rounds = Rounds::measure(candidates, shape, arguments)?;
    let cpu = |of, base| rounds.ratio(of, base, Run::cpu_us_each);
    let p99 = |of, base| rounds.ratio(of, base, |run| Some(run.latency.p99_us));
    // The targets are for equals; two threads against one are shown beside (docs/adr/0005).
    let findings = vec![
        Finding::new(
            "CPU per delivery, × floor on as many threads",
            cpu(Server, Floors),
            Some(1.12),
        ),
        Finding::new(
            "p99, × floor on as many threads",
            p99(Server, Floors),
            Some(1.3),
        ),
        Finding::new(
            "CPU per delivery with one worker, × floor on one thread",
            cpu(Single, Floor),
            Some(1.12),
        ),
        Finding::new(
            "p99 with one worker, × floor on one thread",
            p99(Single, Floor),
            Some(1.3),
        ),
        Finding::new(
            "CPU per delivery, × floor on one thread",
            cpu(Server, Floor),
            None,
        ),
        Finding::new("p99, × floor on one thread", p99(Server, Floor), None),
        Finding::new(
            "CPU per delivery, × the other build",
            cpu(Server, Other),
            None,
        ),
    ];
    section("steady", rounds.runs.concat(), findings, arguments)
}

/// Each publisher sends its next event as soon as the last one was answered.
pub(super) fn full(arguments: &Arguments) -> Result<Section, Failure> {
    let shape = Shape {
        sockets: arguments.sockets.unwrap_or(1000),
        channels: 1,
        first_channel: 0,
        pace: Pace::Unpaced,
        duration: seconds(arguments, 5.0),
        publishers: arguments.publishers.unwrap_or(4),
        batch: 1,
    };
    say_title(&format!(
        "full: {} sockets on one channel, {} publishers, unpaced",
        shape.sockets, shape.publishers
    ))?;
    let rounds = Rounds::measure([Server, Floor], shape, arguments)?;
    let cpu = |of, base| rounds.ratio(of, base, Run::cpu_us_each);
    let findings = vec![
        Finding::new("CPU per delivery, × floor", cpu(Server, Floor), Some(0.2)),
        Finding::new(
            "CPU per delivery, × the other build",
            cpu(Server, Other),
            None,
        ),
    ];
    section("full", rounds.runs.concat(), findings, arguments)
}

/// What each candidate needed in each round.
struct Rounds {
    candidates: Vec<Candidate>,
    runs: Vec<Vec<Run>>,
}

impl Rounds {
    /// The candidates in turn, and another build of the server if one is named.
    fn measure(
        candidates: impl IntoIterator<Item = Candidate>,
        shape: Shape,
        arguments: &Arguments,
    ) -> Result<Self, Failure> {
        let other = arguments.against.as_ref().map(|_| Other);
        let candidates: Vec<_> = candidates.into_iter().chain(other).collect();
        let shapes: Vec<_> = candidates.iter().map(|it| (*it, shape)).collect();
        let runs = (1..=arguments.pairs).map(|round| measure(&shapes, round, arguments));
        let runs = runs.collect::<Result<_, _>>()?;
        Ok(Self { candidates, runs })
    }

    /// A figure of one candidate by that of another; no rounds if one of them did not take part.
    fn ratio(
        &self,
        of: Candidate,
        base: Candidate,
        figure: impl Fn(&Run) -> Option<f64>,
    ) -> Vec<f64> {
        let figure = |runs: &[Run], candidate| {
            let place = self.candidates.iter().position(|it| *it == candidate)?;
            figure(&runs[place])
        };
        per_round(&self.runs, |runs| {
            Some(figure(runs, of)? / figure(runs, base)?)
        })
    }
}
