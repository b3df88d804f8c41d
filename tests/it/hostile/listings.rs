//! Requests about very many channels.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use super::{Probe, alone, one_worker, subscriptions::subscribe, unpaced};
use crate::support::server::TestServer;

const CHANNELS: usize = 30_000;

#[test]
fn a_listing_of_very_many_channels_holds_nobody_up() {
    let _alone = alone();
    let app = unpaced().set("max_channels_per_connection", CHANNELS);
    let server = TestServer::start(one_worker().app(app));
    let mut client = server.client();
    subscribe(&server, &mut client, 0..CHANNELS);
    let mut probe = Probe::of(&server);
    let over = Arc::new(AtomicBool::new(false));
    let (api, is_over) = (server.api(), Arc::clone(&over));
    let lister = thread::spawn(move || {
        for _ in 0..5 {
            let listing = api.get("/channels", &[]).json();
            let channels = listing["channels"].as_object().expect("an object");
            assert_eq!(channels.len(), CHANNELS);
        }
        is_over.store(true, Ordering::Relaxed);
    });
    let mut longest = Duration::ZERO;
    while !over.load(Ordering::Relaxed) {
        longest = longest.max(probe.round_trip());
    }
    lister.join().expect("every listing is whole");
    assert!(longest < Duration::from_millis(50), "{longest:?}");
}
