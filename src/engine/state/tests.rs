use std::time::Duration;

use super::*;
use crate::{app::Replay, engine::CacheableEvent, hub::AppChannels, protocol::ChannelName};

const RULE: Replay = Replay {
    events: 3,
    age: Duration::from_secs(60),
};

fn publish(state: &State, name: &str, now: Instant) {
    let app = state.hub.app("1");
    state.record(event(&app, name, now), RULE);
}

fn event<'a>(app: &'a Arc<AppChannels>, name: &'a str, now: Instant) -> CacheableEvent<'a> {
    CacheableEvent {
        app,
        name: ChannelName::of_checked(name),
        frame: Frame::text("{}"),
        except: None,
        receipt: None,
        published: None,
        at: now,
    }
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

#[test]
fn an_app_that_caches_too_much_loses_its_own_oldest_events() {
    const ROOM: usize = 20;
    let mut state = State::new(Arc::new(Hub::new(1)), Feed::default(), None);
    state.cached_budget = Some(Arc::new(CachedBudget::of(ROOM * 600)));
    let now = Instant::now();
    let (modest, greedy) = (state.hub.app("modest"), state.hub.app("greedy"));
    let ttl = Duration::from_secs(60);
    state.remember(event(&modest, "cache-m", now), ttl);
    for number in 0..3 * ROOM {
        let name = format!("cache-{number}");
        state.remember(event(&greedy, &name, now), ttl);
        // The last of a channel takes the place of the one before.
        state.remember(event(&greedy, &name, now), ttl);
    }
    let has = |app: &Arc<AppChannels>, name: &str| {
        let key = event(app, name, now).key();
        state.cached(&key, now).is_some()
    };
    assert!(has(&modest, "cache-m"));
    let kept = (0..3 * ROOM).filter(|number| has(&greedy, &format!("cache-{number}")));
    let kept: Vec<usize> = kept.collect();
    assert!((ROOM - 2..=ROOM + 4).contains(&kept.len()), "{kept:?}");
    assert_eq!(kept.last(), Some(&(3 * ROOM - 1)));
    assert_eq!(kept[kept.len() - 1] - kept[0], kept.len() - 1, "{kept:?}");
    assert_eq!(state.channels.len(), kept.len() + 1);
}
