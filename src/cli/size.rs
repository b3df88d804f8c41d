//! `size`: what a load takes, from the figures of the benchmarks. Arithmetic, no measurement: `bench` measures.

use clap::Args;
use serde_json::json;

use super::{
    Failure,
    output::{Output, table},
};

/// A measured cost, and where it is written down.
struct Figure {
    what: &'static str,
    value: f64,
    /// As the page has it.
    #[cfg(test)]
    shown: &'static str,
    #[cfg(test)]
    page: &'static str,
    /// Words of the line of the page.
    #[cfg(test)]
    line: &'static str,
}

macro_rules! figures {
    ($($name:ident = $value:literal, $shown:literal, $what:literal, $page:literal: $line:literal;)*) => {
        $(const $name: Figure = Figure {
            what: $what,
            value: $value,
            #[cfg(test)]
            shown: $shown,
            #[cfg(test)]
            page: $page,
            #[cfg(test)]
            line: $line,
        };)*
        /// All figures, in the order of the worksheet.
        #[cfg(test)]
        const FIGURES: &[Figure] = &[$($name),*];
    };
}

figures! {
    DELIVERY_US = 8.1, "8.1 µs", "a delivery that is a write of its own", "docs/benchmarks.md": "steady: CPU per delivery, two workers";
    MERGED_US = 0.33, "0.33 µs", "a delivery at full speed, where events share writes", "docs/benchmarks.md": "full: CPU per delivery";
    PUBLISH_US = 11.3, "11.3 µs", "a request that publishes an event", "docs/benchmarks.md": "ingest: CPU per request";
    BATCHED_US = 1.7, "1.7 µs", "an event in a batch of 10", "docs/benchmarks.md": "ingest: CPU per event in a batch of 10";
    CONNECT_US = 45.0, "45 µs", "a connect and its subscription", "docs/benchmarks.md": "All come back at once";
    PROCESS_MB = 6.7, "6.7 MB", "the empty process", "docs/benchmarks.md": "idle: empty process";
    SOCKET_KB = 1.29, "1.29 KB", "an idle subscribed socket", "docs/benchmarks.md": "idle: per subscribed socket";
    TLS_SOCKET_KB = 4.7, "4.7 KB", "the same with TLS in the process", "docs/benchmarks.md": "tls-idle: 15,000 sockets";
    KERNEL_KB = 4.0, "4 KB", "a socket in the kernel", "docs/benchmarks.md": "Memory of the kernel, some";
    CLUSTER_DELIVERY = 1.29, "1.29", "× a delivery, on a node of a cluster", "docs/scaling.md": "CPU per delivery on the publishing node";
    CLUSTER_PUBLISH = 1.80, "1.80", "× a publish, on the node that gets it", "docs/scaling.md": "one subscriber there, on the publishing node";
    CLUSTER_RECEIVE = 0.81, "0.81", "× a publish, on each other node with subscribers", "docs/scaling.md": "one subscriber there, on another node";
    REDIS_SLOW_US = 59.0, "59 µs at 500/s", "a publish in Redis, up to 500 a second", "docs/scaling.md": "CPU of Redis per publish";
    REDIS_US = 25.0, "25 µs at 2,000/s", "the same, up to 2,000 a second", "docs/scaling.md": "CPU of Redis per publish";
    REDIS_FAST_US = 21.0, "21 µs at 5,000/s", "the same above", "docs/scaling.md": "CPU of Redis per publish";
}

/// Bytes of a frame besides the event's data: header, names of event and channel, quotes.
const FRAME_BYTES: f64 = 70.0;
/// Open files besides the connections.
const OTHER_FILES: f64 = 100.0;
/// What of the processors is planned with: the rest is for storms of reconnects and for a node that is down.
const PLANNED: f64 = 0.5;
const NODES_MAX: u32 = 1000;

/// `loudhailer size`
#[derive(Args)]
pub struct Size {
    /// Connections at the busiest time.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    sockets: u32,
    /// Channels that are occupied then.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    channels: u32,
    /// Channels that each connection subscribes to.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    subscriptions: u32,
    /// Events a second, over all channels.
    #[arg(long, value_name = "EVENTS")]
    rate: u32,
    /// Bytes of an event's data.
    #[arg(long, value_name = "BYTES", default_value_t = 500)]
    size: u32,
    /// Processor cores of a node.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    cores: u32,
    /// Events are published in batches of 10.
    #[arg(long)]
    batches: bool,
    /// TLS is served by the process.
    #[arg(long)]
    tls: bool,
    #[command(flatten)]
    output: Output,
}

/// What a load takes.
struct Needs {
    nodes: u32,
    receivers: f64,
    deliveries: f64,
    delivery_cores: f64,
    merged_cores: f64,
    publish_cores: f64,
    process_mb: f64,
    kernel_mb: f64,
    bandwidth_bytes: f64,
    open_files: f64,
    return_s: f64,
    redis_cores: f64,
}

impl Size {
    pub(super) fn run(self) -> Result<(), Failure> {
        let nodes = (1..=NODES_MAX).find(|nodes| self.fits(*nodes));
        let nodes = nodes.ok_or_else(|| {
            Failure::Failed(format!(
                "more than {NODES_MAX} nodes of {} cores would not do: share the channels among clusters",
                self.cores
            ))
        })?;
        let needs = self.on(nodes);
        let text = table(&needs.rows(&self));
        self.output.printer().show(&needs.json(), &text)
    }

    fn fits(&self, nodes: u32) -> bool {
        let needs = self.on(nodes);
        needs.delivery_cores + needs.publish_cores
            <= PLANNED * f64::from(nodes) * f64::from(self.cores)
    }

    /// The same load on so many nodes. Processor time is that of all together, memory and files those of one.
    fn on(&self, nodes: u32) -> Needs {
        let [sockets, channels, subscriptions, rate] =
            [self.sockets, self.channels, self.subscriptions, self.rate].map(f64::from);
        let receivers = sockets * subscriptions / channels;
        let deliveries = rate * receivers;
        let publish_us = if self.batches { BATCHED_US } else { PUBLISH_US };
        let (delivery_times, publish_times) = match nodes {
            1 => (1.0, 1.0),
            nodes => (
                CLUSTER_DELIVERY.value,
                CLUSTER_PUBLISH.value + CLUSTER_RECEIVE.value * f64::from(nodes - 1),
            ),
        };
        let cores = |count: f64, us: f64| count * us / 1e6;
        // One node may be down.
        let on_one = sockets / f64::from((nodes - 1).max(1));
        let socket_kb = if self.tls { TLS_SOCKET_KB } else { SOCKET_KB };
        Needs {
            nodes,
            receivers,
            deliveries,
            delivery_cores: cores(deliveries, DELIVERY_US.value) * delivery_times,
            merged_cores: cores(deliveries, MERGED_US.value) * delivery_times,
            publish_cores: cores(rate, publish_us.value) * publish_times,
            process_mb: PROCESS_MB.value + on_one * socket_kb.value / 1000.0,
            kernel_mb: on_one * KERNEL_KB.value / 1000.0,
            bandwidth_bytes: deliveries * (f64::from(self.size) + FRAME_BYTES),
            open_files: on_one + OTHER_FILES,
            return_s: cores(sockets, CONNECT_US.value)
                / (PLANNED * f64::from(nodes) * f64::from(self.cores)),
            redis_cores: match nodes {
                1 => 0.0,
                _ => cores(rate, redis_us(rate).value),
            },
        }
    }
}

fn redis_us(rate: f64) -> Figure {
    match rate {
        rate if rate <= 500.0 => REDIS_SLOW_US,
        rate if rate <= 2000.0 => REDIS_US,
        _ => REDIS_FAST_US,
    }
}

impl Needs {
    fn rows(&self, size: &Size) -> Vec<Vec<String>> {
        let rows = self.work(size).into_iter().chain(self.machines(size));
        rows.map(|(name, value)| vec![name.to_owned(), value])
            .collect()
    }

    /// What is to be done.
    fn work(&self, size: &Size) -> [(&'static str, String); 3] {
        let publish = if size.batches { BATCHED_US } else { PUBLISH_US };
        [
            (
                "deliveries",
                format!(
                    "{} a second: {} events for {} receivers each",
                    grouped(self.deliveries),
                    grouped(f64::from(size.rate)),
                    grouped(self.receivers)
                ),
            ),
            (
                "CPU, deliveries",
                format!(
                    "{:.2} cores at most, {:.2} where events share writes",
                    self.delivery_cores, self.merged_cores
                ),
            ),
            (
                "CPU, publishes",
                format!("{:.3} cores ({})", self.publish_cores, publish.what),
            ),
        ]
    }

    /// What does it.
    fn machines(&self, size: &Size) -> [(&'static str, String); 6] {
        let (spare, redis) = match self.nodes {
            1 => ("2 for", "none for one node".to_owned()),
            _ => ("one more for", format!("{:.2} cores", self.redis_cores)),
        };
        let nodes = format!(
            "{} with {} cores, half of them planned with; {spare} a deploy without an outage",
            self.nodes, size.cores
        );
        let (process, kernel) = (grouped(self.process_mb), grouped(self.kernel_mb));
        let bits = grouped(self.bandwidth_bytes * 8.0 / 1e6);
        let bandwidth = format!("{:.1} MB/s, {bits} Mbit/s", self.bandwidth_bytes / 1e6);
        let returning = format!("{:.1} s on the other half of the cores", self.return_s);
        [
            ("nodes", nodes),
            (
                "memory of each",
                format!("{process} MB, and {kernel} MB of the kernel"),
            ),
            ("open files of each", grouped(self.open_files)),
            ("bandwidth out", bandwidth),
            ("return of all clients", returning),
            ("Redis", redis),
        ]
    }

    fn json(&self) -> serde_json::Value {
        json!({
            "nodes": self.nodes,
            "deliveries_per_second": self.deliveries,
            "delivery_cores": self.delivery_cores,
            "delivery_cores_merged": self.merged_cores,
            "publish_cores": self.publish_cores,
            "process_mb_per_node": self.process_mb,
            "kernel_mb_per_node": self.kernel_mb,
            "open_files_per_node": self.open_files,
            "bandwidth_bytes_per_second": self.bandwidth_bytes,
            "return_s": self.return_s,
            "redis_cores": self.redis_cores,
        })
    }
}

/// A whole number with a comma after each three digits.
fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn in_tree(page: &str) -> String {
        let path = format!("{}/{page}", env!("CARGO_MANIFEST_DIR"));
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    #[test]
    fn each_figure_is_the_one_of_its_page() {
        for figure in FIGURES {
            let number = figure.shown.split(' ').next().unwrap_or_default();
            assert_eq!(number.parse(), Ok(figure.value), "{}", figure.what);
            let page = in_tree(figure.page);
            let mut lines = page.lines().filter(|line| line.contains(figure.line));
            assert!(
                lines.any(|line| line.contains(figure.shown)),
                "{} does not say {} of {:?}: what was measured is elsewhere by now",
                figure.page,
                figure.shown,
                figure.line
            );
        }
    }

    /// `UPDATE=1 cargo test --lib worksheet` writes the table.
    #[test]
    fn the_worksheet_has_the_figures() {
        const MARKS: (&str, &str) = ("<!-- figures -->\n", "<!-- end of figures -->");
        let page = in_tree("docs/sizing.md");
        let (before, rest) = page.split_once(MARKS.0).expect("the table begins");
        let (_, after) = rest.split_once(MARKS.1).expect("the table ends");
        let mut table = "| What it costs | Figure | From |\n|---|---|---|\n".to_owned();
        for figure in FIGURES {
            let Figure {
                what,
                shown,
                page,
                line,
                ..
            } = figure;
            let link = page.trim_start_matches("docs/");
            table.push_str(&format!(
                "| {what} | {shown} | [{link}]({link}): {line} |\n"
            ));
        }
        let text = format!("{before}{}{table}{}{after}", MARKS.0, MARKS.1);
        if std::env::var_os("UPDATE").is_some() {
            let path = format!("{}/docs/sizing.md", env!("CARGO_MANIFEST_DIR"));
            fs::write(path, text).expect("the tree is writable");
        } else {
            assert!(
                text == page,
                "docs/sizing.md: UPDATE=1 cargo test --lib worksheet"
            );
        }
    }

    #[test]
    fn more_load_takes_more_nodes() {
        let size = |sockets, rate| Size {
            sockets,
            channels: 100,
            subscriptions: 1,
            rate,
            size: 500,
            cores: 2,
            batches: false,
            tls: false,
            output: Output::default(),
        };
        for (sockets, rate, nodes) in [(10_000, 500, 1), (100_000, 150, 2), (100_000, 1000, 11)] {
            let size = size(sockets, rate);
            let found = (1..=NODES_MAX).find(|nodes| size.fits(*nodes));
            assert_eq!(found, Some(nodes), "{sockets}, {rate}");
        }
    }

    #[test]
    fn numbers_are_grouped() {
        for (number, text) in [(7.0, "7"), (1000.4, "1,000"), (1_234_567.0, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }
}
