//! The scenarios: which candidates carry which load, and what the figures say.

mod cluster;
mod compression;
mod curves;
mod fairness;
mod hostile;
mod hostile_webhooks;
mod idle;
mod ingest;
mod instructions;
mod load;
mod many_apps;
mod mixed;
mod one_channel;
mod per_user;
mod slow;
mod smoke;
mod storms;
mod strain;
mod swarm;
mod tls;

use std::time::Duration;

use crate::Failure;
use crate::arguments::{Arguments, Scenario};
use crate::report::{Finding, Report, Run, Section, say_finding};

/// Measures what the arguments ask for.
pub(crate) fn run(arguments: &Arguments, report: &mut Report) -> Result<(), Failure> {
    let sections = &mut report.sections;
    match arguments.scenario {
        Scenario::Smoke => smoke::run(arguments, sections)?,
        Scenario::Steady => sections.push(one_channel::steady(arguments)?),
        Scenario::Full => sections.push(one_channel::full(arguments)?),
        Scenario::Idle => sections.push(idle::run(arguments)?),
        Scenario::PerUser => sections.push(per_user::run(arguments)?),
        Scenario::Ingest => sections.push(ingest::run(arguments)?),
        Scenario::Slow => sections.push(slow::run(arguments)?),
        Scenario::Cluster => sections.push(cluster::run(arguments)?),
        Scenario::Strain
        | Scenario::MassJoin
        | Scenario::MassLeave
        | Scenario::Relink
        | Scenario::Listing
        | Scenario::CrossNode
        | Scenario::ClusterChurn => sections.extend(strain::run(arguments)?),
        Scenario::Instructions => sections.push(instructions::run(arguments)?),
        Scenario::Storms => sections.push(storms::run(arguments)?),
        Scenario::Fairness => sections.push(fairness::run(arguments)?),
        Scenario::HostileTogether => sections.push(hostile::together::run(arguments)?),
        Scenario::HostileWebhooks => sections.push(hostile_webhooks::run(arguments)?),
        Scenario::ManyApps => sections.push(many_apps::run(arguments)?),
        Scenario::Compression => sections.push(compression::run(arguments)?),
        Scenario::Tls | Scenario::TlsHandshakes | Scenario::TlsHalfOpen | Scenario::TlsProxied => {
            sections.extend(tls::run(arguments)?)
        }
        Scenario::Hostile => sections.push(hostile::run(arguments)?),
        Scenario::Mixed => sections.push(mixed::run(arguments)?),
        Scenario::Curves => curves::run(arguments, sections)?,
        Scenario::Load => sections.push(load::run(arguments)?),
        Scenario::All => {
            sections.push(one_channel::steady(arguments)?);
            sections.push(one_channel::full(arguments)?);
            sections.push(per_user::run(arguments)?);
            sections.push(ingest::run(arguments)?);
            sections.push(slow::run(arguments)?);
            sections.push(idle::run(arguments)?);
            sections.push(storms::run(arguments)?);
            sections.push(fairness::run(arguments)?);
            sections.push(compression::run(arguments)?);
            sections.push(mixed::for_a_minute(arguments)?);
        }
        Scenario::Floor | Scenario::Bare | Scenario::Handshake => {
            return Err("what is compared with is no measurement".into());
        }
    }
    Ok(())
}

fn seconds(arguments: &Arguments, default: f64) -> Duration {
    Duration::from_secs_f64(arguments.seconds.unwrap_or(default))
}

/// Prints the findings and puts the section together.
fn section(
    name: &str,
    runs: Vec<Run>,
    mut findings: Vec<Finding>,
    arguments: &Arguments,
) -> Result<Section, Failure> {
    // A host whose process is not known has no figures for CPU and memory.
    findings.retain(|finding| !finding.each_round.is_empty());
    for finding in &mut findings {
        // Runs this short say nothing about speed.
        if arguments.scenario == Scenario::Smoke {
            finding.target = None;
        }
        say_finding(finding)?;
    }
    Ok(Section {
        scenario: name.to_owned(),
        runs,
        findings,
        failures: Vec::new(),
    })
}

/// One figure of each round's runs, for the rounds that have it.
fn per_round(rounds: &[Vec<Run>], figure: impl Fn(&[Run]) -> Option<f64>) -> Vec<f64> {
    rounds.iter().filter_map(|runs| figure(runs)).collect()
}
