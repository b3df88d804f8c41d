//! Every scenario in small: shows that nothing is lost, says nothing about speed.

use crate::Failure;
use crate::arguments::Arguments;
use crate::report::Section;
use crate::report::say;
use crate::scenario::{
    cluster, compression, fairness, idle, ingest, load, mixed, one_channel, per_user, storms,
};

/// A few seconds in all.
pub(super) fn run(arguments: &Arguments, sections: &mut Vec<Section>) -> Result<(), Failure> {
    let small = Arguments {
        sockets: Some(arguments.sockets.unwrap_or(50)),
        seconds: Some(arguments.seconds.unwrap_or(0.4)),
        channels: Some(50),
        pairs: 1,
        ..arguments.clone()
    };
    sections.push(one_channel::steady(&small)?);
    sections.push(one_channel::full(&small)?);
    sections.push(per_user::run(&small)?);
    sections.push(ingest::run(&small)?);
    sections.push(idle::run(&small)?);
    sections.push(storms::run(&small)?);
    sections.push(fairness::run(&small)?);
    sections.push(compression::run(&small)?);
    sections.push(mixed::run(&small)?);
    sections.push(load::run(&small)?);
    if cluster::is_possible() {
        sections.push(cluster::run(&small)?);
    } else {
        say("\ncluster: left out, there is no redis-server here")?;
    }
    Ok(())
}
