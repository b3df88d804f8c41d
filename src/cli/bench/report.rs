//! What a run came to: for people, for programs, and whether it is a success.

use std::{fmt::Write as _, time::Duration};

use serde_json::{Value, json};

use super::{
    Load,
    board::{Counts, Reasons, Times},
    plan::Way,
};
use crate::cli::{Failure, output::table};

/// From this delay on, this program is too slow to blame the host for times.
const DELAY_MAX_MS: f64 = 20.0;

/// How a run went, besides its counts.
pub(super) struct Ending {
    pub(super) connecting: Duration,
    pub(super) publishing: Duration,
    pub(super) was_interrupted: bool,
}

/// Times in milliseconds.
struct Percentiles {
    p50: f64,
    p90: f64,
    p99: f64,
    max: f64,
}

impl Percentiles {
    /// `None` of no times.
    fn of(times: &Times) -> Option<Self> {
        let ms = |us: u64| us as f64 / 1000.0;
        let at = |percent| ms(times.value_at_percentile(percent));
        (!times.is_empty()).then(|| Self {
            p50: at(50.0),
            p90: at(90.0),
            p99: at(99.0),
            max: ms(times.max()),
        })
    }

    fn json(&self) -> Value {
        json!({"p50": self.p50, "p90": self.p90, "p99": self.p99, "max": self.max})
    }

    fn cells(&self) -> impl Iterator<Item = String> {
        let times = [self.p50, self.p90, self.p99, self.max].into_iter();
        let names = ["p50", "p90", "p99", "max"];
        names
            .into_iter()
            .zip(times)
            .map(|(name, ms)| format!("{name} {ms:.1} ms"))
    }
}

/// The result of a run.
pub(super) struct Report {
    host: String,
    way: Way,
    subscribers: u64,
    connected: u64,
    connected_per_second: f64,
    failed: Reasons,
    ended: Reasons,
    planned: u64,
    sent: u64,
    refused: u64,
    sent_per_second: f64,
    answers: Reasons,
    answer_times: Option<Percentiles>,
    expected: u64,
    delivered: u64,
    lost: u64,
    out_of_order: u64,
    repeated: u64,
    delivered_per_second: f64,
    delivery_times: Option<Percentiles>,
    bytes: u64,
    delays: Option<Percentiles>,
    was_interrupted: bool,
}

impl Report {
    pub(super) fn new(load: &Load, ending: &Ending) -> Self {
        let plan = &load.plan;
        let counts = load.board.counts();
        let expected = counts.expected();
        let is_whole = !ending.was_interrupted && !ending.publishing.is_zero();
        let planned = match is_whole {
            true => (0..plan.publishers).map(|it| plan.events_of(it)).sum(),
            false => counts.sent,
        };
        Self {
            host: load.host.target.socket.to_string(),
            way: plan.way,
            subscribers: plan.subscribers.into(),
            connected: counts.connected,
            connected_per_second: rate(counts.connected, ending.connecting),
            failed: counts.failed.clone(),
            ended: counts.ended.clone(),
            planned,
            sent: counts.sent,
            refused: counts.refused,
            sent_per_second: rate(counts.sent, ending.publishing),
            answers: counts.answers.clone(),
            answer_times: Percentiles::of(&counts.answer_times),
            expected,
            delivered: counts.delivered,
            lost: expected.saturating_sub(counts.delivered),
            out_of_order: counts.out_of_order,
            repeated: counts.repeated,
            delivered_per_second: rate(counts.delivered, ending.publishing),
            delivery_times: Percentiles::of(&counts.delivery_times),
            bytes: counts.bytes,
            delays: Percentiles::of(&counts.delays),
            was_interrupted: ending.was_interrupted,
        }
    }

    pub(super) fn json(&self) -> Value {
        let times = |times: &Option<Percentiles>| times.as_ref().map(Percentiles::json);
        json!({
            "event": "report",
            "host": self.host,
            "ok": self.faults().is_empty(),
            "interrupted": self.was_interrupted,
            "connections": {
                "wanted": self.subscribers,
                "connected": self.connected,
                "per_second": rounded(self.connected_per_second),
                "failed": self.failed,
                "ended": self.ended,
            },
            "publishes": {
                "planned": self.planned,
                "sent": self.sent,
                "refused": self.refused,
                "per_second": rounded(self.sent_per_second),
                "answers": self.answers,
                "time_ms": times(&self.answer_times),
            },
            "deliveries": {
                "expected": self.expected,
                "delivered": self.delivered,
                "lost": self.lost,
                "out_of_order": self.out_of_order,
                "repeated": self.repeated,
                "per_second": rounded(self.delivered_per_second),
                "time_ms": times(&self.delivery_times),
                "bytes": self.bytes,
            },
            "generator_delay_ms": times(&self.delays),
        })
    }

    pub(super) fn text(&self) -> String {
        let mut text = table(&self.rows());
        for (what, reasons) in [
            ("not connected", &self.failed),
            ("connection ended early", &self.ended),
        ] {
            for (reason, count) in reasons {
                let _ = write!(text, "\n{what}, {count} times: {reason}");
            }
        }
        if self.is_slow() {
            text.push_str("\nThis program was slower than the load wants: some of these times are its own. Use several machines.");
        }
        text
    }

    /// Facts, and times where there are some.
    fn rows(&self) -> Vec<Vec<String>> {
        let fact = |name: &str, fact: String| vec![name.to_owned(), fact];
        let timed = |name: &str, times: &Option<Percentiles>| {
            let times = times.as_ref()?;
            Some(fact(name, times.cells().collect::<Vec<_>>().join("  ")))
        };
        let answers = self.answers.iter();
        let answers = answers.map(|(answer, count)| format!("; {count} × {answer}"));
        let mut rows = vec![
            fact(
                "connected",
                format!(
                    "{} of {}, {:.0} a second",
                    self.connected, self.subscribers, self.connected_per_second
                ),
            ),
            fact(
                "published",
                format!(
                    "{} of {}, {:.1} a second{}",
                    self.sent,
                    self.planned,
                    self.sent_per_second,
                    answers.collect::<String>()
                ),
            ),
            fact(
                "delivered",
                format!(
                    "{} of {}, {:.0} a second, {} bytes; {} lost, {} out of order, {} repeated",
                    self.delivered,
                    self.expected,
                    self.delivered_per_second,
                    self.bytes,
                    self.lost,
                    self.out_of_order,
                    self.repeated
                ),
            ),
        ];
        rows.extend(timed("answer time", &self.answer_times));
        rows.extend(timed("delivery time", &self.delivery_times));
        rows
    }

    fn is_slow(&self) -> bool {
        let delays = self.delays.as_ref();
        delays.is_some_and(|delays| delays.p99 > DELAY_MAX_MS)
    }

    /// What is not as it should be.
    fn faults(&self) -> Vec<String> {
        let counted = [
            (
                self.failed.values().sum(),
                "connections of the subscribers failed",
            ),
            (self.ended.values().sum(), "connections ended early"),
            (
                self.refused,
                match self.way {
                    Way::Api => "publishes were not answered with 200",
                    Way::ClientEvents => "client events were refused",
                },
            ),
            (
                self.planned.saturating_sub(self.sent),
                "events were not sent in time: the host answers too slowly for --rate with these --publishers",
            ),
            (self.lost, "deliveries were lost"),
            (self.out_of_order, "deliveries were out of order"),
            (self.repeated, "deliveries were repeated"),
        ];
        let counted = counted.into_iter().filter(|(count, _)| *count > 0u64);
        counted
            .map(|(count, what)| format!("{count} {what}"))
            .collect()
    }

    /// # Errors
    /// When something was lost or failed.
    pub(super) fn verdict(&self) -> Result<(), Failure> {
        match self.faults() {
            faults if faults.is_empty() => Ok(()),
            faults => Err(Failure::Failed(faults.join("\n"))),
        }
    }
}

/// How far a run has got, on one line.
pub(super) fn progress_text(load: &Load) -> String {
    let counts = load.board.counts();
    let Counts {
        open,
        sent,
        delivered,
        ..
    } = *counts;
    format!(
        "{open} of {} connected, {sent} published, {delivered} of {} delivered",
        load.plan.subscribers,
        counts.expected()
    )
}

pub(super) fn progress_json(load: &Load) -> Value {
    let counts = load.board.counts();
    json!({
        "event": "progress",
        "connected": counts.open,
        "sent": counts.sent,
        "expected": counts.expected(),
        "delivered": counts.delivered,
    })
}

fn rate(count: u64, time: Duration) -> f64 {
    let count = count as f64;
    if time.is_zero() {
        return 0.0;
    }
    count / time.as_secs_f64()
}

fn rounded(rate: f64) -> f64 {
    (rate * 10.0).round() / 10.0
}
