//! All attacks at once, beside 1,000 clients of two apps who only want their events.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{Figure, Ground, config, floods, members, requests};
use crate::Failure;
use crate::arguments::Arguments;
use crate::contender::Contender;
use crate::host::{App, Host, start_node};
use crate::load::{Load, Subscriptions};
use crate::measure::{Bench, Shape};
use crate::report::{Finding, Section, say, say_run, say_title};
use crate::scenario::mixed::{growth, read_memory};
use crate::scenario::{seconds, section};
use crate::schedule::Pace;

/// Of each app.
const CLIENTS: usize = 500;
/// Of each app; each has ten of the clients.
const CHANNELS: usize = 50;
const EVENTS_PER_SECOND: f64 = 50.0;
/// How long an attack goes on before its sockets are made anew: the server closes those that keep at it.
const SPELL: Duration = Duration::from_secs(20);
/// What an event may take, at the 99th percentile.
const P99_MS: f64 = 50.0;

type Attack = fn(&Ground<'_>) -> Result<Vec<Figure>, Failure>;

const ATTACKS: [Attack; 13] = [
    floods::pings,
    floods::nonsense,
    floods::text_pings,
    floods::wrong_subscribes,
    floods::pairs,
    floods::deflated,
    floods::pipelined,
    members::count,
    members::come_and_go,
    members::watch,
    requests::endless_bodies,
    requests::strangers,
    requests::sessions,
];

/// Five minutes, or what `--seconds` says.
pub(in crate::scenario) fn run(arguments: &Arguments) -> Result<Section, Failure> {
    let duration = seconds(arguments, 300.0);
    say_title(&format!(
        "hostile-together, for {} s: {} attacks at once, beside {CLIENTS} clients of each of two apps",
        duration.as_secs(),
        ATTACKS.len()
    ))?;
    let other = App {
        id: "other".to_owned(),
        key: "other-key".to_owned(),
        secret: "other-secret".to_owned(),
    };
    let attacked = "subscription_counts = true\nwatchlists = true\n";
    let text = format!(
        "{}\n[[apps]]\nid = \"{}\"\nkey = \"{}\"\nsecret = \"{}\"\n",
        config(arguments, None, attacked),
        other.id,
        other.key,
        other.secret
    );
    let host = start_node("attacked", &text, arguments)?;
    let mut neighbour = host.again();
    (neighbour.name, neighbour.app) = ("other app", other);
    let mut same_app = host.again();
    same_app.name = "same app";
    let shape = Shape {
        sockets: CLIENTS,
        channels: CHANNELS,
        first_channel: 0,
        pace: Pace::Every(Duration::from_secs_f64(1.0 / EVENTS_PER_SECOND)),
        duration,
        publishers: 1,
        batch: 1,
    };
    let (mut same_app, mut neighbour) = (bench(same_app, shape)?, bench(neighbour, shape)?);
    let mut loads = [
        Contender::warm_up(&mut same_app, shape, u64::MAX, arguments)?,
        Contender::warm_up(&mut neighbour, shape, u64::MAX, arguments)?,
    ];
    let (over, spells) = (AtomicBool::new(false), AtomicUsize::new(0));
    let memory = thread::scope(|scope| {
        let memory = scope.spawn(|| read_memory(&host, &over));
        for attack in ATTACKS {
            let (host, over, spells) = (&host, &over, &spells);
            scope.spawn(move || keep_at_it(attack, host, over, spells));
        }
        let [same_app, neighbour] = &mut loads;
        let neighbour = scope.spawn(|| neighbour.measure(duration));
        let same_app = same_app.measure(duration);
        let neighbour = neighbour.join();
        over.store(true, Ordering::Relaxed);
        let memory = memory.join();
        same_app?;
        neighbour.map_err(|_| "a thread of the load panicked")??;
        memory.map_err(|_| "a thread of the load panicked")?
    })?;
    let (mut runs, mut findings) = (Vec::new(), Vec::new());
    for load in loads {
        let run = load.run(1, arguments)?;
        say_run(&run)?;
        let p99_ms = vec![run.latency.p99_us / 1e3];
        let what = format!("{}: p99 of an event, ms", run.candidate);
        findings.push(Finding::new(&what, p99_ms, Some(P99_MS)));
        runs.push(run);
    }
    let spells = spells.load(Ordering::Relaxed);
    say(&format!("   {spells} spells of an attack"))?;
    findings.push(Finding::new(
        "memory in the last quarter, × at the end of the first minute",
        growth(&memory).into_iter().collect(),
        Some(1.1),
    ));
    let mut section = section("hostile-together", runs, findings, arguments)?;
    if host.logged_errors() > 0 {
        section.failures.push(host.log_tail());
    }
    Ok(section)
}

/// One attack after the other, whatever becomes of each.
fn keep_at_it(attack: Attack, host: &Host, over: &AtomicBool, spells: &AtomicUsize) {
    let ground = Ground {
        host,
        time: SPELL,
        probes: 0,
    };
    while !over.load(Ordering::Relaxed) {
        let began = Instant::now();
        // Attackers are refused and thrown out; that is what is expected.
        let _ = attack(&ground);
        spells.fetch_add(1, Ordering::Relaxed);
        // Who is refused at once does not come again at once.
        thread::sleep(Duration::from_secs(1).saturating_sub(began.elapsed()));
    }
}

fn bench(host: Host, shape: Shape) -> Result<Bench, Failure> {
    let subscriptions = Subscriptions::spread(shape.sockets, shape.channels)?;
    Ok(Bench {
        load: Load::connect(&host, subscriptions)?,
        host,
        rss_empty: None,
        rss_subscribed: None,
    })
}
