//! Requests about very many channels.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use super::{Probe, alone, one_worker, subscriptions::subscribe, unpaced};
use crate::support::server::TestServer;

const CHANNELS: usize = 30_000;
const LISTINGS: usize = 5;

#[test]
fn a_listing_of_very_many_channels_holds_nobody_up() {
    let _alone = alone();
    let app = unpaced().set("max_channels_per_connection", CHANNELS);
    let server = TestServer::start(one_worker().app(app));
    let mut client = server.client();
    subscribe(&server, &mut client, 0..CHANNELS);
    let mut probe = Probe::of(&server);
    let done = Arc::new(AtomicUsize::new(0));
    let (api, counter) = (server.api(), Arc::clone(&done));
    let lister = thread::spawn(move || {
        for _ in 0..LISTINGS {
            let listing = api.get("/channels", &[]).json();
            let channels = listing["channels"].as_object().expect("an object");
            assert_eq!(channels.len(), CHANNELS);
            counter.fetch_add(1, Ordering::Relaxed);
        }
    });
    let mut longest = [Duration::ZERO; LISTINGS];
    while !lister.is_finished() {
        let during = done.load(Ordering::Relaxed).min(LISTINGS - 1);
        longest[during] = longest[during].max(probe.round_trip());
    }
    lister.join().expect("every listing is whole");
    // A busy machine holds up some; a listing on the worker would hold up each.
    let least = longest.iter().min().expect("several");
    assert!(*least < Duration::from_millis(50), "{longest:?}");
}
