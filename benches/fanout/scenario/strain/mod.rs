//! What a cluster of three nodes on one Redis does when very many channels move at once: joins, leaves, a link that is cut, a listing,
//! publishers faster than another node's subscribers, and crowds that come and go. Beside each, probes measure what others notice.

mod churn;
mod cross_node;
mod listing;
mod mass;
mod probe;
mod world;

use crate::Failure;
use crate::arguments::{Arguments, Scenario};
use crate::report::{Finding, Section, say};
use crate::scenario::section;

/// What has to hold while channels move.
const JOIN_P99_MS: f64 = 250.0;
const EVENT_P99_MS: f64 = 100.0;
const SECONDS_MAX: f64 = 5.0;
const RSS_FACTOR_MAX: f64 = 1.2;

/// The scenarios of this module, each in rounds of its own.
pub(super) fn run(arguments: &Arguments) -> Result<Vec<Section>, Failure> {
    if arguments.url.is_some() {
        return Err("these scenarios start their own nodes; --url does not go with them".into());
    }
    let all = [
        Scenario::MassJoin,
        Scenario::Relink,
        Scenario::MassLeave,
        Scenario::Listing,
        Scenario::CrossNode,
        Scenario::ClusterChurn,
    ];
    let wanted: Vec<Scenario> = match arguments.scenario {
        Scenario::Strain => all.to_vec(),
        one => vec![one],
    };
    wanted
        .into_iter()
        .map(|scenario| rounds(scenario, arguments))
        .collect()
}

/// One figure of a round: what, how much, and at most how much.
struct Figure {
    what: String,
    value: f64,
    target: Option<f64>,
}

impl Figure {
    fn new(what: &str, value: f64) -> Self {
        Self {
            what: what.to_owned(),
            value,
            target: None,
        }
    }

    fn at_most(what: &str, value: f64, target: f64) -> Self {
        Self {
            target: Some(target),
            ..Self::new(what, value)
        }
    }
}

fn rounds(scenario: Scenario, arguments: &Arguments) -> Result<Section, Failure> {
    let mut rounds: Vec<Vec<Figure>> = Vec::new();
    for round in 1..=arguments.pairs {
        let (name, figures) = match scenario {
            Scenario::MassJoin => ("mass-join", mass::join(arguments)?),
            Scenario::Relink => ("relink", mass::relink(arguments)?),
            Scenario::MassLeave => ("mass-leave", mass::leave(arguments)?),
            Scenario::Listing => ("listing", listing::run(arguments)?),
            Scenario::CrossNode => ("cross-node", cross_node::run(arguments)?),
            _ => ("cluster-churn", churn::run(arguments)?),
        };
        say(&format!("\n{name}, round {round}"))?;
        for figure in &figures {
            say(&format!("   {}: {:.2}", figure.what, figure.value))?;
        }
        rounds.push(figures);
    }
    let names = rounds.first().map_or(0, Vec::len);
    let findings = (0..names).map(|at| {
        let each = rounds.iter().map(|figures| figures[at].value).collect();
        Finding::new(&rounds[0][at].what, each, rounds[0][at].target)
    });
    let name = format!("{scenario:?}").to_lowercase();
    say(&format!("\n{name}"))?;
    section(&name, Vec::new(), findings.collect(), arguments)
}
