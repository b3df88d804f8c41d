//! Instructions of the hot path, counted by valgrind: unlike times they are the same on a busy machine, so a check can hold them.
//!
//! Each load runs twice, once with more of it; what the larger one adds, divided by what it did more, is the cost of one. That is compared
//! with the floor's under the same load and the same valgrind, and the ratio with the one that is committed.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Failure;
use crate::arguments::Arguments;
use crate::host::Candidate::{self, Bare, Floor, Handshake, Server};
use crate::load::Subscriptions;
use crate::measure::{Bench, Shape, measure_on};
use crate::report::{Finding, Section, float, say};
use crate::scenario::section;
use crate::schedule::Pace;

/// The ratios that are held, in the root of the repository.
const BASELINE: &str = "benches/instructions.json";
/// More than this above the baseline fails. Runs differ by one or two hundredths.
const TOLERANCE: f64 = 1.05;

/// What is held, by the profile that both were built with.
type Baselines = BTreeMap<String, Baseline>;

/// Instructions by those of the floor, under the name of each load.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Baseline {
    rustc: String,
    ratios: BTreeMap<String, f64>,
}

/// A load of two sizes.
#[derive(Clone, Copy)]
struct Sizes {
    sockets: [usize; 2],
    channels: usize,
    batch: usize,
    requests: [u64; 2],
}

const INGEST: Sizes = Sizes {
    sockets: [0, 0],
    channels: 1,
    batch: 1,
    requests: [200, 800],
};
const PER_USER: Sizes = Sizes {
    sockets: [50, 50],
    channels: 50,
    batch: 1,
    requests: [200, 600],
};
const FAN_OUT: Sizes = Sizes {
    sockets: [100, 100],
    channels: 1,
    batch: 1,
    requests: [50, 650],
};
const MERGED: Sizes = Sizes {
    batch: 10,
    requests: [20, 140],
    ..FAN_OUT
};
const CONNECTS: Sizes = Sizes {
    sockets: [50, 650],
    requests: [0, 0],
    ..FAN_OUT
};

impl Sizes {
    /// The server's operations in the larger run that are not in the smaller: deliveries, requests or connects.
    fn difference(self) -> u64 {
        let [fewer, more] = self
            .sockets
            .map(|sockets| u64::try_from(sockets).unwrap_or(0));
        let requests = self.requests[1] - self.requests[0];
        match more - fewer {
            0 if self.channels > 1 || more == 0 => requests,
            0 => requests * u64::try_from(self.batch).unwrap_or(1) * more,
            connects => connects,
        }
    }
}

/// Counts, compares with the baseline, or with `--update` writes a new one.
pub(super) fn run(arguments: &Arguments) -> Result<Section, Failure> {
    let arguments = Arguments {
        counting: true,
        workers: 1,
        ..arguments.clone()
    };
    say("\ninstructions: of the server / of the floor, for each")?;
    let count = |candidate, sizes| cost(candidate, sizes, &arguments);
    let (bare, send) = (count(Bare, INGEST)?, count(Floor, FAN_OUT)?);
    let counts = [
        (
            "publish that reaches nobody, × bare handler",
            count(Server, INGEST)?,
            bare,
        ),
        (
            "publish to one subscriber, × (bare handler + floor send)",
            count(Server, PER_USER)?,
            bare + count(Floor, PER_USER)?,
        ),
        ("delivery, × floor send", count(Server, FAN_OUT)?, send),
        (
            "delivery of ten merged, × floor send",
            count(Server, MERGED)?,
            send,
        ),
        (
            "connect and subscribe, × bare handshake",
            count(Server, CONNECTS)?,
            count(Handshake, CONNECTS)?,
        ),
    ];
    let mut ratios = BTreeMap::new();
    for (name, ours, floor) in counts {
        say(&format!("   {name}: {ours:.0} / {floor:.0}"))?;
        ratios.insert(name.to_owned(), rounded(ours / floor));
    }
    let measured = Baseline {
        rustc: rustc_version(),
        ratios,
    };
    compare(measured, &arguments)
}

fn compare(measured: Baseline, arguments: &Arguments) -> Result<Section, Failure> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(BASELINE);
    let mut baselines: Baselines = serde_json::from_str(&std::fs::read_to_string(&file)?)?;
    let profile = profile();
    if arguments.update {
        baselines.insert(profile.to_owned(), measured.clone());
        std::fs::write(&file, serde_json::to_string_pretty(&baselines)? + "\n")?;
        say(&format!("   {BASELINE} was written"))?;
    }
    let Some(baseline) = baselines.remove(profile) else {
        say(&format!(
            "   NOTHING IS HELD: there is no baseline for the profile {profile} yet; --update makes one"
        ))?;
        return section("instructions", Vec::new(), Vec::new(), arguments);
    };
    if baseline.rustc != measured.rustc {
        say(&format!(
            "   note: the baseline was made by {}, this is {}",
            baseline.rustc, measured.rustc
        ))?;
    }
    hold(&baseline, &measured, arguments)
}

fn hold(
    baseline: &Baseline,
    measured: &Baseline,
    arguments: &Arguments,
) -> Result<Section, Failure> {
    let (mut findings, mut failures) = (Vec::new(), Vec::new());
    for (name, ratio) in &measured.ratios {
        let held = baseline.ratios.get(name);
        let held = held.ok_or_else(|| format!("the baseline lacks «{name}»"))?;
        let limit = rounded(held * TOLERANCE);
        if *ratio > limit {
            failures.push(format!("{name}: {ratio}, the baseline is {held}"));
        }
        let what = format!("instructions per {name}");
        findings.push(Finding::new(&what, vec![*ratio], Some(limit)));
    }
    let mut section = section("instructions", Vec::new(), findings, arguments)?;
    if !failures.is_empty() {
        say(
            "   what is meant to cost more gets a new baseline: cargo bench --bench fanout -- instructions --update",
        )?;
    }
    section.failures = failures;
    Ok(section)
}

/// The folder of the build, `release` or another profile's name: other optimisations, other counts.
fn profile() -> &'static str {
    let binary = option_env!("CARGO_BIN_EXE_loudhailer").map(Path::new);
    let folder = binary.and_then(Path::parent).and_then(Path::file_name);
    folder.and_then(|name| name.to_str()).unwrap_or("unknown")
}

fn rounded(ratio: f64) -> f64 {
    (ratio * 1e4).round() / 1e4
}

/// Instructions of one operation.
fn cost(candidate: Candidate, sizes: Sizes, arguments: &Arguments) -> Result<f64, Failure> {
    let fewer = instructions(candidate, sizes, 0, arguments)?;
    let more = instructions(candidate, sizes, 1, arguments)?;
    Ok(float(more.saturating_sub(fewer)) / float(sizes.difference()))
}

/// Instructions of a whole process with one of the two sizes, each request only after all of the last one was delivered.
fn instructions(
    candidate: Candidate,
    sizes: Sizes,
    size: usize,
    arguments: &Arguments,
) -> Result<u64, Failure> {
    let shape = Shape {
        sockets: sizes.sockets[size],
        channels: sizes.channels,
        first_channel: 0,
        pace: Pace::LockStep(sizes.requests[size]),
        duration: Duration::ZERO,
        publishers: 1,
        batch: sizes.batch,
    };
    let subscriptions = Subscriptions {
        at_once: 1,
        ..Subscriptions::spread(shape.sockets, shape.channels)?
    };
    let mut bench = Bench::start(candidate, subscriptions, arguments)?;
    let run = measure_on(&mut bench, shape, u64::MAX, arguments)?;
    if !run.is_whole() {
        return Err(format!("{} lost something", run.candidate).into());
    }
    let Bench { host, load, .. } = bench;
    drop(load);
    host.end_and_count()
}

fn rustc_version() -> String {
    let output = Command::new("rustc").arg("--version").output();
    output.map_or_else(
        |_| "an unknown rustc".to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}
