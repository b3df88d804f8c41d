//! What a run found, as a table and as JSON.

use std::fmt::Write as _;
use std::io::{self, Write};

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::Failure;
use crate::arguments::Arguments;
use crate::proc::{Cpu, Machine};

/// One candidate measured once.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Run {
    pub(crate) candidate: String,
    pub(crate) round: usize,
    pub(crate) sockets: usize,
    pub(crate) channels: usize,
    pub(crate) data_bytes: usize,
    pub(crate) batch: usize,
    pub(crate) events: u64,
    pub(crate) expected: u64,
    pub(crate) deliveries: u64,
    /// From the first publish to the last delivery.
    pub(crate) seconds: f64,
    /// CPU time of the candidate in that time; absent without a process id.
    pub(crate) cpu: Option<Cpu>,
    /// CPU time of the generator's receiving thread in that time: near `seconds` it is itself the limit.
    pub(crate) generator_cpu_ns: u64,
    pub(crate) latency: Latency,
    /// Frames that one read of the load generator found, on average.
    pub(crate) frames_per_read: f64,
    pub(crate) bytes_per_delivery: f64,
    pub(crate) lost: u64,
    pub(crate) out_of_order: u64,
    /// Sockets that did not stay open, by close code (0: no code).
    pub(crate) closed: Vec<u16>,
    pub(crate) refused: u64,
    pub(crate) held: u64,
    pub(crate) rss_empty_bytes: Option<u64>,
    pub(crate) rss_subscribed_bytes: Option<u64>,
    pub(crate) rss_end_bytes: Option<u64>,
}

/// Publish sent → read at the socket, in microseconds.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Latency {
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
    pub(crate) max_us: f64,
}

impl Latency {
    pub(crate) fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| float(histogram.value_at_quantile(quantile)) / 1e3;
        Self {
            p50_us: at(0.5),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: float(histogram.max()) / 1e3,
        }
    }
}

impl Run {
    /// Microseconds of CPU per delivery, or per event where nobody listens.
    pub(crate) fn cpu_us_each(&self) -> Option<f64> {
        let times = if self.deliveries > 0 {
            self.deliveries
        } else {
            self.events
        };
        Some(float(self.cpu?.total_ns) / 1e3 / float(times.max(1)))
    }

    /// Growth of the resident memory per socket, in KB of 1024 bytes.
    pub(crate) fn kb_per_socket(&self) -> Option<f64> {
        let grown = self
            .rss_subscribed_bytes?
            .saturating_sub(self.rss_empty_bytes?);
        Some(float(grown) / 1024.0 / float(u64::try_from(self.sockets.max(1)).ok()?))
    }

    /// Whether every event reached every socket, in order, and all sockets stayed open.
    pub(crate) fn is_whole(&self) -> bool {
        self.lost == 0
            && self.out_of_order == 0
            && self.closed.is_empty()
            && self.deliveries == self.expected
    }
}

/// One scenario: its runs and what follows from them.
#[derive(Debug, Serialize)]
pub(crate) struct Section {
    pub(crate) scenario: String,
    pub(crate) runs: Vec<Run>,
    pub(crate) findings: Vec<Finding>,
    /// What must not have happened.
    pub(crate) failures: Vec<String>,
}

impl Section {
    fn is_whole(&self) -> bool {
        self.failures.is_empty() && self.runs.iter().all(Run::is_whole)
    }
}

/// A figure that the runs lead to.
#[derive(Debug, Serialize)]
pub(crate) struct Finding {
    pub(crate) what: String,
    /// The median over the rounds.
    pub(crate) median: f64,
    pub(crate) each_round: Vec<f64>,
    /// The figure must not be above this.
    pub(crate) target: Option<f64>,
}

impl Finding {
    /// The median of one figure per round.
    pub(crate) fn new(what: &str, each_round: Vec<f64>, target: Option<f64>) -> Self {
        Self {
            what: what.to_owned(),
            median: median(&each_round),
            each_round,
            target,
        }
    }
}

/// Everything one call measured.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) command: String,
    pub(crate) unix_seconds: u64,
    pub(crate) loudhailer_version: &'static str,
    pub(crate) sections: Vec<Section>,
}

impl Report {
    /// An empty report for this machine and command line.
    pub(crate) fn start(arguments: &Arguments) -> Result<Self, Failure> {
        let machine = Machine::this()?;
        let gigabytes = float(machine.memory_bytes) / 1024.0_f64.powi(3);
        say(&format!(
            "{} · {} cores · {gigabytes:.0} GB · Linux {} · {} bytes of data, {} workers",
            machine.cpu, machine.cores, machine.kernel, arguments.data_bytes, arguments.workers
        ))?;
        if machine.load_average > 0.5 {
            say(&format!(
                "note: the machine has other work to do (load average {})",
                machine.load_average
            ))?;
        }
        // Where the results go is nobody else's business.
        let given = std::env::args()
            .skip(1)
            .filter(|argument| argument != "--bench");
        let given: Vec<_> = given
            .take_while(|argument| !argument.starts_with("--json"))
            .collect();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Ok(Self {
            machine,
            command: format!("fanout {}", given.join(" ")),
            unix_seconds: now.map_or(0, |since| since.as_secs()),
            loudhailer_version: env!("CARGO_PKG_VERSION"),
            sections: Vec::new(),
        })
    }

    /// Whether nothing was lost or failed anywhere.
    pub(crate) fn is_whole(&self) -> bool {
        self.sections.iter().all(Section::is_whole)
    }
}

/// Prints a title and the names of the columns.
pub(crate) fn say_title(title: &str) -> io::Result<()> {
    say(&format!(
        "\n{title}\n{:>2} {:<16} {:>10} {:>11} {:>9} {:>8} {:>8} {:>8} {:>8} {:>8} {:>7} {:>6} {:>6} {:>7} {:>7} {:>7}",
        "#",
        "candidate",
        "events",
        "deliveries",
        "per s",
        "CPU µs",
        "p50 ms",
        "p99 ms",
        "p99.9",
        "max ms",
        "f/read",
        "lost",
        "order",
        "empty",
        "KB each",
        "end MB"
    ))
}

/// Prints one run.
pub(crate) fn say_run(run: &Run) -> io::Result<()> {
    let latency = run.latency;
    let mut line = format!(
        "{:>2} {:<16} {:>10} {:>11}",
        run.round, run.candidate, run.events, run.deliveries
    );
    let rate = float(if run.deliveries > 0 {
        run.deliveries
    } else {
        run.events
    }) / run.seconds;
    write!(line, " {rate:>9.0} {}", or_dash(run.cpu_us_each(), 8, 2)).ok();
    for microseconds in [
        latency.p50_us,
        latency.p99_us,
        latency.p999_us,
        latency.max_us,
    ] {
        let milliseconds = Some(microseconds / 1e3).filter(|_| run.deliveries > 0);
        write!(line, " {}", or_dash(milliseconds, 8, 2)).ok();
    }
    write!(
        line,
        " {:>7.1} {:>6} {:>6}",
        run.frames_per_read, run.lost, run.out_of_order
    )
    .ok();
    write!(
        line,
        " {}",
        or_dash(run.rss_empty_bytes.map(megabytes), 7, 1)
    )
    .ok();
    write!(
        line,
        " {}",
        or_dash(run.kb_per_socket().filter(|_| run.sockets > 0), 7, 2)
    )
    .ok();
    write!(line, " {}", or_dash(run.rss_end_bytes.map(megabytes), 7, 1)).ok();
    if run.refused + run.held > 0 {
        write!(line, "  (503: {}, held back: {})", run.refused, run.held).ok();
    }
    if !run.closed.is_empty() {
        write!(
            line,
            "  CLOSED: {} sockets, codes {:?}",
            run.closed.len(),
            codes(&run.closed)
        )
        .ok();
    }
    say(&line)
}

/// Prints a finding with its rounds and target.
pub(crate) fn say_finding(finding: &Finding) -> io::Result<()> {
    let rounds: Vec<_> = finding
        .each_round
        .iter()
        .map(|figure| format!("{figure:.2}"))
        .collect();
    let mut line = format!("   {}: {:.2}", finding.what, finding.median);
    if rounds.len() > 1 {
        write!(line, "  [{}]", rounds.join(", ")).ok();
    }
    if let Some(target) = finding.target {
        let verdict = if finding.median <= target {
            "met"
        } else {
            "MISSED"
        };
        write!(line, "  (target ≤ {target}: {verdict})").ok();
    }
    say(&line)
}

/// Prints a line at once.
pub(crate) fn say(line: &str) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{line}")
}

/// The middle of the figures; 0 when there are none.
pub(crate) fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => sorted[odd / 2],
        even => f64::midpoint(sorted[even / 2 - 1], sorted[even / 2]),
    }
}

/// A count as a figure.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts here stay far below 2^52"
)]
pub(crate) fn float(count: u64) -> f64 {
    count as f64
}

/// Bytes as MB of 1024 KB.
pub(crate) fn megabytes(bytes: u64) -> f64 {
    float(bytes) / 1024.0 / 1024.0
}

fn or_dash(figure: Option<f64>, width: usize, digits: usize) -> String {
    figure.map_or_else(
        || format!("{:>width$}", "–"),
        |figure| format!("{figure:>width$.digits$}"),
    )
}

fn codes(closed: &[u16]) -> Vec<u16> {
    let mut codes = closed.to_vec();
    codes.sort_unstable();
    codes.dedup();
    codes
}
