use std::time::Duration;

use super::*;
use crate::{app::Replay, feed::Feed};

const RULE: Replay = Replay {
    events: 3,
    age: Duration::from_secs(60),
};

fn publish(states: &ChannelStates, name: &str, now: Instant) {
    let frame = Frame::text("{}");
    let event = CacheableEvent {
        frame: frame.clone(),
        except: None,
        delivery: Box::new(move |channel, change| Delivery {
            channel,
            frame,
            except: None,
            change,
            receipt: None,
            published: None,
        }),
    };
    let app = states.hub.app("1");
    states.record(&app, ChannelName::of_checked(name), event, RULE, now);
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
