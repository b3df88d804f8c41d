//! Pairs of sessions that begin at the same moment: of each, one has to stay.

use std::time::{Duration, Instant};

use super::{
    client::TestClient,
    server::TestServer,
    stream::{PATIENCE, ReadError},
    websocket::{Frame, Incoming},
};

/// How many pairs, unless the environment says.
const PAIRS: usize = 24;
/// The variable that says.
const VARIABLE: &str = "SESSION_PAIRS";

/// What one side of a pair does: the pair, and whether it is the first or the second.
pub(crate) type Begin = fn(&mut TestClient, usize, usize);

/// Lets pairs begin, each on one node or on two, and counts who stays. `channel` names what both of a pair listen to.
#[track_caller]
pub(crate) fn leave_one_of_each(
    nodes: &[TestServer],
    begin: Begin,
    channel: impl Fn(usize) -> String,
) {
    let given = std::env::var(VARIABLE).ok();
    let pairs = given.map_or(PAIRS, |pairs| pairs.parse().expect("a number of pairs"));
    let mut all: Vec<[TestClient; 2]> = (0..pairs)
        .map(|pair| {
            let other = if pair % 2 == 0 { pair } else { pair + 1 };
            [pair, other].map(|at| nodes[at % nodes.len()].client())
        })
        .collect();
    for (pair, both) in all.iter_mut().enumerate() {
        for (side, client) in both.iter_mut().enumerate() {
            begin(client, pair, side);
        }
    }
    for (pair, both) in all.iter_mut().enumerate() {
        let closed = wait_for_one(both, pair);
        let stays = &mut both[1 - closed];
        // By way of a node that neither is on, so that what the other's end could still bring comes before this.
        let third = &nodes[(pair + 2) % nodes.len()];
        third.api().publish(&channel(pair), "marker", "");
        loop {
            let message = stays.next();
            assert_ne!(message.event(), "session.replaced", "pair {pair}");
            if message.event() == "marker" {
                break;
            }
        }
        stays.expect_silence();
    }
    eprintln!("{pairs} pairs left {pairs} sessions");
}

/// Waits until one of the two is closed, having been told why.
#[track_caller]
fn wait_for_one(both: &mut [TestClient; 2], pair: usize) -> usize {
    let deadline = Instant::now() + PATIENCE;
    let mut told = [false; 2];
    while Instant::now() < deadline {
        for (side, client) in both.iter_mut().enumerate() {
            match client.socket.read(Duration::from_millis(5)) {
                Ok(Incoming::Text(text)) if text.contains("session.replaced") => told[side] = true,
                Ok(Incoming::Close(code, _)) => {
                    assert_eq!((code, told[side]), (Some(4009), true), "pair {pair}");
                    client.socket.send(&Frame::close(4009, ""));
                    return side;
                }
                Ok(_) | Err(ReadError::Quiet) => {}
                Err(ReadError::Ended) => panic!("pair {pair} was cut off"),
            }
        }
    }
    panic!("pair {pair}: both stayed");
}
