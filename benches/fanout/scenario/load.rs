//! A load of the user's own description on any Pusher host, with a line each second.

use std::time::Duration;

use crate::Failure;
use crate::arguments::Arguments;
use crate::contender::Contender;
use crate::host::Candidate::Server;
use crate::load::Subscriptions;
use crate::measure::{Bench, Shape};
use crate::report::{Section, say, say_run, say_title};
use crate::scenario::{seconds, section};
use crate::schedule::Pace;

const SECOND: Duration = Duration::from_secs(1);

/// One run; what is lost or out of order fails it.
pub(super) fn run(arguments: &Arguments) -> Result<Section, Failure> {
    let rate = arguments.rate.unwrap_or(30.0);
    let shape = Shape {
        sockets: arguments.sockets.unwrap_or(1000),
        channels: arguments.channels.unwrap_or(1),
        first_channel: 0,
        pace: if rate > 0.0 {
            Pace::Every(Duration::from_secs_f64(1.0 / rate))
        } else {
            Pace::Unpaced
        },
        duration: seconds(arguments, 10.0),
        publishers: arguments.publishers.unwrap_or(4),
        batch: arguments.batch.unwrap_or(1),
    };
    say(&format!(
        "\nconnecting {} sockets to {} channels",
        shape.sockets, shape.channels
    ))?;
    let subscriptions = Subscriptions::spread(shape.sockets, shape.channels)?;
    let mut bench = Bench::start(Server, subscriptions, arguments)?;
    say("subscribed; the first half second is not counted")?;
    let window = match shape.pace {
        Pace::Unpaced => arguments.window,
        _ => u64::MAX,
    };
    let mut contender = Contender::warm_up(&mut bench, shape, window, arguments)?;
    for second in 1..=shape.duration.as_secs().max(1) {
        contender.measure(SECOND.min(shape.duration))?;
        say(&format!("{second:>5} s  {}", contender.last_slice()))?;
    }
    let run = contender.run(1, arguments)?;
    say_title("all together")?;
    say_run(&run)?;
    section("load", vec![run], Vec::new(), arguments)
}
