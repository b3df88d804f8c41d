use std::time::Duration;

use super::*;
use crate::{app::Replay, engine::CacheableEvent, protocol::ChannelName};

const RULE: Replay = Replay {
    events: 3,
    age: Duration::from_secs(60),
};

fn publish(state: &State, name: &str, now: Instant) {
    let event = CacheableEvent {
        app: &state.hub.app("1"),
        name: ChannelName::of_checked(name),
        frame: Frame::text("{}"),
        except: None,
        receipt: None,
        published: None,
        at: now,
    };
    state.record(event, RULE);
}

#[test]
fn of_too_many_histories_those_silent_for_longest_go() {
    let mut state = State::new(Arc::new(Hub::new(1)), Feed::default(), None);
    state.budget = Arc::new(Budget::of(10, 1 << 20));
    let began = Instant::now();
    for number in 0..100 {
        let now = began + Duration::from_millis(number);
        publish(&state, &format!("c{number}"), now);
        publish(&state, "busy", now);
    }
    assert!((9..=10).contains(&state.channels.len()));
    for name in ["busy", "c99", "c98", "c95"] {
        assert!(
            state
                .channels
                .contains_key(&ChannelKey::new(&"1".into(), name)),
            "{name}"
        );
    }
    state.sweep(began + RULE.age * 2);
    assert!(state.channels.is_empty());
}
