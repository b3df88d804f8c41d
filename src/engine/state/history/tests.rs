use std::time::Duration;

use super::*;

const RULE: Replay = Replay {
    events: 5,
    age: Duration::from_secs(60),
};

fn past(text: &str, id: Option<EventId>) -> Past {
    Past {
        frame: Frame::text(text),
        except: None,
        at: Instant::now(),
        id,
        standing: Standing::Settled,
        number: 0,
    }
}

fn history() -> History {
    History::new(RULE, &Arc::new(Budget::default()))
}

/// Adds events that other nodes sent: `a1` is the first of node a.
fn hear(history: &mut History, names: &[&str]) {
    for name in names {
        history.add(past(name, Some(id(name))), RULE);
    }
}

fn id(name: &str) -> EventId {
    let (sender, number) = name.split_at(1);
    let sender = sender.bytes().next().expect("a letter");
    (sender.into(), number.parse().expect("a number"))
}

fn listed(names: &[&str]) -> Vec<Past> {
    let listed = names.iter().map(|name| Past {
        standing: Standing::Listed,
        ..past(name, Some(id(name)))
    });
    listed.collect()
}

fn own(history: &mut History, name: &str) {
    let past = Past {
        standing: Standing::UnderWay,
        ..past(name, Some(id(name)))
    };
    history.add(past, RULE);
}

#[track_caller]
fn shows(history: &History, names: &[&str]) {
    let shown = history.shown_to(SocketId::random(), Instant::now());
    let expected: Vec<Frame> = names.iter().map(|name| Frame::text(name)).collect();
    assert_eq!(shown, expected);
}

#[test]
fn the_oldest_go_that_are_too_many_or_too_large() {
    let mut history = history();
    hear(&mut history, &["a1", "a2", "a3", "a4", "a5", "a6"]);
    shows(&history, &["a2", "a3", "a4", "a5", "a6"]);
    let large = "x".repeat(CHANNEL_BYTES_MAX / 2);
    for number in 1..4 {
        history.add(past(&large, Some((7, number))), RULE);
    }
    assert_eq!(history.events.len(), 1);
    let larger = "x".repeat(CHANNEL_BYTES_MAX);
    history.add(past(&larger, Some((7, 4))), RULE);
    assert_eq!((history.events.len(), history.bytes), (0, 0));
}

#[test]
fn the_old_are_forgotten() {
    let mut history = history();
    hear(&mut history, &["a1"]);
    let later = Instant::now() + RULE.age + Duration::from_secs(1);
    assert!(history.shown_to(SocketId::random(), later).is_empty());
    assert!(history.expire(later));
}

#[test]
fn who_was_left_out_is_left_out_again() {
    let mut history = history();
    let socket = SocketId::random();
    let excluding = Past {
        except: Some(socket),
        ..past("a1", None)
    };
    history.add(excluding, RULE);
    assert!(history.shown_to(socket, Instant::now()).is_empty());
    shows(&history, &["a1"]);
}

#[test]
fn what_was_heard_while_redis_was_asked_comes_once_and_last() {
    let mut history = history();
    hear(&mut history, &["b2", "a3"]);
    history.merge(listed(&["a1", "a2", "b2"]));
    shows(&history, &["a1", "a2", "b2", "a3"]);
}

#[test]
fn what_redis_has_forgotten_does_not_come_back_behind_the_others() {
    let mut history = history();
    hear(&mut history, &["a1", "a2", "a3"]);
    history.merge(listed(&["a2", "a3", "a4"]));
    shows(&history, &["a2", "a3", "a4"]);
}

#[test]
fn after_a_gap_only_what_was_heard_since_is_believed() {
    let mut history = history();
    hear(&mut history, &["a1", "a2"]);
    history.doubt();
    hear(&mut history, &["a9"]);
    history.merge(listed(&["a7", "a8"]));
    shows(&history, &["a7", "a8", "a9"]);
}

#[test]
fn own_events_stay_until_redis_has_them() {
    let mut history = history();
    own(&mut history, "s1");
    own(&mut history, "s2");
    history.doubt();
    history.merge(listed(&["a1", "s1"]));
    shows(&history, &["a1", "s1", "s2"]);
    assert!(!history.keep_under_way());
    shows(&history, &["s2"]);
    history.settle(id("s2"));
    assert!(history.keep_under_way());
}

#[test]
fn an_own_event_that_redis_has_forgotten_does_not_come_back() {
    let mut history = history();
    own(&mut history, "s1");
    history.settle(id("s1"));
    own(&mut history, "s2");
    hear(&mut history, &["b4"]);
    history.merge(listed(&["b2", "b3", "b4"]));
    shows(&history, &["b2", "b3", "b4", "s2"]);
}

#[test]
fn a_late_event_keeps_its_place() {
    let mut history = history();
    let first = Past {
        number: 7,
        ..past("a1", Some(id("a1")))
    };
    history.add(first, RULE);
    let mut listed = listed(&["a1", "a2"]);
    listed[1].number = 9;
    history.merge(listed);
    assert_eq!(history.hear_again(id("a1")), Some(7));
    assert_eq!(history.hear_again(id("a2")), Some(9));
}

#[test]
fn an_event_that_is_no_longer_shown_still_has_its_place_until_it_is_heard() {
    let mut history = history();
    let mut listed = listed(&["a1", "b1"]);
    listed[0].number = 7;
    history.merge(listed);
    hear(&mut history, &["b2", "b3", "b4", "b5"]);
    shows(&history, &["b1", "b2", "b3", "b4", "b5"]);
    assert_eq!(history.hear_again(id("a1")), Some(7));
    assert_eq!(history.hear_again(id("a1")), None);
    hear(&mut history, &["b6", "b7"]);
    assert_eq!(history.hear_again(id("b2")), None, "it was heard before");
}

#[test]
fn the_budget_is_what_the_histories_take() {
    let budget = Arc::new(Budget::of(1, 1 << 20));
    let mut first = History::new(RULE, &budget);
    hear(&mut first, &["a1", "a2", "a3", "a4", "a5", "a6"]);
    assert!(!budget.is_exceeded());
    let second = History::new(RULE, &budget);
    assert!(budget.is_exceeded());
    drop((first, second));
    let taken = [&budget.channels, &budget.bytes].map(|count| count.load(Ordering::Relaxed));
    assert_eq!(taken, [0, 0]);
}
