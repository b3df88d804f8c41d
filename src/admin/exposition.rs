//! Families of metrics in Prometheus' text format.

use prometheus::{
    Encoder, TextEncoder,
    core::Collector,
    process_collector::ProcessCollector,
    proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType},
};

use crate::metrics::{LATENCY_BOUNDS_US, Latency};

pub(super) type Labels = Vec<(&'static str, String)>;

/// Labels and a value.
pub(super) type Row = (Labels, f64);

/// The families of one answer.
pub(super) struct Exposition {
    prefix: String,
    families: Vec<MetricFamily>,
}

/// In what a time is told.
#[derive(Clone, Copy)]
pub(super) enum Unit {
    Seconds,
    /// As soketi does.
    Milliseconds,
}

impl Unit {
    fn of_us(self, us: f64) -> f64 {
        match self {
            Self::Seconds => us / 1_000_000.0,
            Self::Milliseconds => us / 1_000.0,
        }
    }
}

impl Exposition {
    pub(super) fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
            families: Vec::new(),
        }
    }

    /// What is true now.
    pub(super) fn gauge(&mut self, name: &str, help: &str, rows: impl IntoIterator<Item = Row>) {
        let metrics = rows.into_iter().map(|(labels, value)| {
            let (mut metric, mut gauge) = (labelled(labels), Gauge::default());
            gauge.set_value(value);
            metric.set_gauge(gauge);
            metric
        });
        self.add(name, help, MetricType::GAUGE, metrics.collect());
    }

    /// What only rises.
    pub(super) fn counter(&mut self, name: &str, help: &str, rows: impl IntoIterator<Item = Row>) {
        let metrics = rows.into_iter().map(|(labels, value)| {
            let (mut metric, mut counter) = (labelled(labels), Counter::default());
            counter.set_value(value);
            metric.set_counter(counter);
            metric
        });
        self.add(name, help, MetricType::COUNTER, metrics.collect());
    }

    /// How long things took.
    pub(super) fn times<'a>(
        &mut self,
        name: &str,
        help: &str,
        unit: Unit,
        rows: impl IntoIterator<Item = (Labels, &'a Latency)>,
    ) {
        let metrics = rows.into_iter().map(|(labels, latency)| {
            let mut metric = labelled(labels);
            metric.set_histogram(histogram(latency, unit));
            metric
        });
        self.add(name, help, MetricType::HISTOGRAM, metrics.collect());
    }

    fn add(&mut self, name: &str, help: &str, kind: MetricType, metrics: Vec<Metric>) {
        if metrics.is_empty() {
            return;
        }
        let mut family = MetricFamily::default();
        family.set_name(format!("{}_{name}", self.prefix));
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        family.set_metric(metrics);
        self.families.push(family);
    }

    /// All of it as text, and what the process itself uses.
    pub(super) fn into_text(mut self) -> String {
        self.families.extend(ProcessCollector::for_self().collect());
        let mut text = Vec::new();
        let encoded = TextEncoder::new().encode(&self.families, &mut text);
        encoded.expect("no family is empty, and a vector takes all");
        String::from_utf8(text).expect("the text format is UTF-8")
    }
}

fn labelled(labels: Labels) -> Metric {
    let pair = |(name, value): (&str, String)| {
        let mut pair = LabelPair::default();
        pair.set_name(name.to_owned());
        pair.set_value(value);
        pair
    };
    Metric::from_label(labels.into_iter().map(pair).collect())
}

fn histogram(latency: &Latency, unit: Unit) -> Histogram {
    let counts = latency.counts();
    let mut cumulated = 0;
    let buckets = LATENCY_BOUNDS_US.iter().zip(counts).map(|(bound, count)| {
        cumulated += count;
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(unit.of_us(*bound as f64));
        bucket.set_cumulative_count(cumulated);
        bucket
    });
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(counts.iter().sum());
    histogram.set_sample_sum(unit.of_us(latency.sum().as_micros() as f64));
    histogram
}
