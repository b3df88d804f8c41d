use std::time::Duration;

use super::*;
use crate::{app::Replay, engine::CacheableEvent, protocol::ChannelName};

const RULE: Replay = Replay {
    events: 3,
    age: Duration::from_secs(60),
};

fn publish(states: &ChannelStates, name: &str, now: Instant) {
    let event = CacheableEvent {
        app: &states.hub.app("1"),
        name: ChannelName::of_checked(name),
        frame: Frame::text("{}"),
        except: None,
        receipt: None,
        published: None,
        at: now,
    };
    states.record(event, RULE);
}

#[test]
fn of_too_many_histories_those_silent_for_longest_go() {
    let mut states = ChannelStates::new(Arc::new(Hub::new(1)), Feed::default());
    states.budget = Arc::new(Budget::of(10, 1 << 20));
    let began = Instant::now();
    for number in 0..100 {
        let now = began + Duration::from_millis(number);
        publish(&states, &format!("c{number}"), now);
        publish(&states, "busy", now);
    }
    assert!((9..=10).contains(&states.channels.len()));
    for name in ["busy", "c99", "c98", "c95"] {
        assert!(states.channels.contains_key(&key_of("1", name)), "{name}");
    }
    states.sweep(began + RULE.age * 2);
    assert!(states.channels.is_empty());
}
