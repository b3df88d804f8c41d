use rand::RngExt;

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

fn event(channel: &str, json: &str, created: Instant) -> Event {
    Event {
        channel: channel.into(),
        json: json.into(),
        is_of_client: false,
        created,
        time_ms: 0,
    }
}

/// One event per request.
fn single() -> Queue {
    Queue::new(false, 1)
}

fn batching() -> Queue {
    Queue::new(true, 1)
}

#[track_caller]
fn take(queue: &mut Queue, now: Instant) -> Parcel {
    match queue.next(now) {
        Next::Send(parcel) => parcel,
        Next::Wait(until) => panic!("nothing to send before {until:?}"),
    }
}

#[track_caller]
fn wait(queue: &mut Queue, now: Instant) -> Option<Instant> {
    match queue.next(now) {
        Next::Send(parcel) => panic!("nothing should be sent: {parcel:?}"),
        Next::Wait(until) => until,
    }
}

fn texts(parcel: &Parcel) -> Vec<&str> {
    let events = parcel.events().iter();
    events.map(|event| &*event.json).collect()
}

#[test]
fn a_channel_has_one_parcel_under_way_and_others_go_beside_it() {
    let (mut queue, now) = (single(), Instant::now());
    for (channel, json) in [("a", "a1"), ("a", "a2"), ("b", "b1")] {
        queue.push(event(channel, json, now));
    }
    let a1 = take(&mut queue, now);
    let b1 = take(&mut queue, now);
    assert_eq!((texts(&a1), texts(&b1)), (vec!["a1"], vec!["b1"]));
    assert_eq!(wait(&mut queue, now), None);
    queue.done(a1, Outcome::Taken, now);
    let a2 = take(&mut queue, now);
    assert_eq!(texts(&a2), ["a2"]);
    queue.done(a2, Outcome::Taken, now);
    queue.done(b1, Outcome::Taken, now);
    assert!(queue.is_empty() && queue.lanes.is_empty() && queue.ready.is_empty());
    assert_eq!((queue.ready_events, queue.held.bytes), (0, 0));
}

#[test]
fn a_refused_event_holds_back_its_channel_and_no_other() {
    let (mut queue, start) = (single(), Instant::now());
    queue.push(event("a", "a1", start));
    queue.push(event("a", "a2", start));
    let a1 = take(&mut queue, start);
    queue.done(a1, Outcome::Refused, start);
    queue.push(event("b", "b1", start));
    let b1 = take(&mut queue, start);
    assert_eq!(texts(&b1), ["b1"]);
    queue.done(b1, Outcome::Taken, start);
    let again = wait(&mut queue, start).expect("another try");
    assert!((800 * MS..1200 * MS).contains(&(again - start)));
    let a1 = take(&mut queue, again);
    assert_eq!(texts(&a1), ["a1"], "not the next of its channel");
    queue.done(a1, Outcome::Refused, again);
    let third = wait(&mut queue, again).expect("another try");
    assert!((1600 * MS..2400 * MS).contains(&(third - again)));
    let a1 = take(&mut queue, third);
    queue.done(a1, Outcome::Taken, third);
    assert_eq!(texts(&take(&mut queue, third)), ["a2"]);
}

#[test]
fn what_is_refused_for_five_minutes_is_dropped_and_the_next_goes() {
    let (mut queue, start) = (single(), Instant::now());
    queue.push(event("a", "a1", start));
    let mut now = start;
    let mut tries = Vec::new();
    while !queue.is_empty() {
        match queue.next(now) {
            Next::Send(parcel) => {
                tries.push((now - start).as_secs_f64());
                queue.done(parcel, Outcome::Refused, now);
            }
            Next::Wait(until) => now = until.expect("another try"),
        }
    }
    // 0, 1, 3, 7, 15, 31, 63, 123, 183, 243 s without jitter.
    assert!((9..=11).contains(&tries.len()), "{tries:?}");
    assert!(tries.last().is_some_and(|last| *last < 300.0), "{tries:?}");
    assert_eq!(
        queue.take_lost(),
        Lost {
            overflow: 0,
            expired: 1
        }
    );
    queue.push(event("a", "a2", now));
    assert_eq!(texts(&take(&mut queue, now)), ["a2"]);
}

#[test]
fn a_silent_endpoint_is_asked_by_one_parcel_at_a_time() {
    let (mut queue, start) = (single(), Instant::now());
    for number in 0..100 {
        queue.push(event(&number.to_string(), "x", start));
    }
    let under_way: Vec<_> = (0..UNDER_WAY_MAX)
        .map(|_| take(&mut queue, start))
        .collect();
    assert_eq!(wait(&mut queue, start), None);
    for parcel in under_way {
        queue.done(parcel, Outcome::Silence, start);
    }
    let mut now = start;
    for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
        let until = wait(&mut queue, now).expect("another try");
        let pause = (until - now).as_secs_f64() / f64::from(seconds);
        assert!((0.8..1.2).contains(&pause), "{seconds} s: {pause}");
        now = until;
        let probe = take(&mut queue, now);
        assert_eq!(wait(&mut queue, now), None, "one at a time");
        queue.done(probe, Outcome::Silence, now);
    }
    now = wait(&mut queue, now).expect("another try");
    let probe = take(&mut queue, now);
    queue.done(probe, Outcome::Taken, now);
    for _ in 0..UNDER_WAY_MAX {
        take(&mut queue, now);
    }
    assert_eq!(wait(&mut queue, now), None);
}

#[test]
fn a_parcel_that_meets_silence_does_not_keep_new_ones_waiting() {
    let (mut queue, start) = (single(), Instant::now());
    queue.push(event("slow", "slow", start));
    let slow = take(&mut queue, start);
    queue.done(slow, Outcome::Silence, start);
    queue.push(event("b", "b", start + MS));
    let now = wait(&mut queue, start).expect("a probe");
    assert_eq!(texts(&take(&mut queue, now)), ["b"]);
}

#[test]
fn a_batch_is_what_came_within_the_window() {
    let (mut queue, start) = (batching(), Instant::now());
    queue.push(event("a", "a1", start));
    queue.push(event("b", "b1", start + 10 * MS));
    queue.push(event("a", "a2", start + 20 * MS));
    assert_eq!(
        wait(&mut queue, start + 20 * MS),
        Some(start + BATCH_WINDOW)
    );
    let batch = take(&mut queue, start + BATCH_WINDOW);
    assert_eq!(texts(&batch), ["a1", "a2", "b1"]);
    queue.push(event("a", "a3", start + 60 * MS));
    queue.push(event("c", "c1", start + 60 * MS));
    let next = take(&mut queue, start + 120 * MS);
    assert_eq!(texts(&next), ["c1"], "a is under way");
    queue.done(batch, Outcome::Taken, start + 130 * MS);
    assert_eq!(texts(&take(&mut queue, start + 130 * MS)), ["a3"]);
}

#[test]
fn a_full_batch_does_not_wait() {
    let (mut queue, now) = (batching(), Instant::now());
    for number in 0..250 {
        queue.push(event(&(number % 7).to_string(), "x", now));
    }
    let batches = [take(&mut queue, now), take(&mut queue, now)];
    assert!(
        batches.iter().all(|batch| batch.events().len() == 100),
        "{batches:?}"
    );
    for batch in batches {
        queue.done(batch, Outcome::Taken, now);
    }
    // Whatever lane was cut in two goes on.
    let rest = take(&mut queue, now + BATCH_WINDOW);
    assert_eq!(rest.events().len(), 50);
    queue.done(rest, Outcome::Taken, now);
    assert!(queue.is_empty());
    assert_eq!(queue.ready_events, 0);
}

#[test]
fn a_batch_has_room_for_a_quarter_mebibyte_or_one_event() {
    let (mut queue, now) = (batching(), Instant::now());
    let large = "x".repeat(BATCH_BYTES_MAX * 2 / 3);
    let huge = "y".repeat(BATCH_BYTES_MAX * 2);
    for (channel, json) in [("a", &large), ("a", &large), ("b", &large), ("c", &huge)] {
        queue.push(event(channel, json, now));
    }
    let now = now + BATCH_WINDOW;
    let mut sizes = Vec::new();
    while !queue.is_empty() {
        let batch = take(&mut queue, now);
        sizes.push(batch.events().len());
        queue.done(batch, Outcome::Taken, now);
    }
    assert_eq!(sizes, [1, 1, 1, 1]);
    assert_eq!(queue.ready_events, 0);
}

#[test]
fn over_the_bound_the_newest_is_dropped() {
    let (mut queue, now) = (single(), Instant::now());
    for number in 0..EVENTS_MAX + 3 {
        queue.push(event("a", &number.to_string(), now));
    }
    assert_eq!(queue.len(), EVENTS_MAX);
    assert_eq!(queue.take_lost().overflow, 3);
    assert_eq!(texts(&take(&mut queue, now)), ["0"]);
    let (mut queue, large) = (single(), "x".repeat(BYTES_MAX / 4));
    for number in 0..5 {
        queue.push(event(&number.to_string(), &large, now));
    }
    assert_eq!((queue.len(), queue.take_lost().overflow), (3, 2));
}

#[test]
fn client_events_take_half_of_the_room() {
    let (mut queue, now) = (single(), Instant::now());
    for number in 0..EVENTS_MAX {
        let mut event = event("a", &number.to_string(), now);
        event.is_of_client = true;
        queue.push(event);
    }
    assert_eq!(queue.len(), EVENTS_MAX / 2);
    for number in 0..EVENTS_MAX {
        queue.push(event("b", &number.to_string(), now));
    }
    assert_eq!(queue.len(), EVENTS_MAX);
    assert_eq!(queue.take_lost().overflow, EVENTS_MAX as u64);
}

#[test]
fn what_became_too_old_while_it_waited_is_dropped_unsent() {
    let (mut queue, start) = (single(), Instant::now());
    for (channel, json, age) in [
        ("a", "a1", 0),
        ("a", "a2", 10),
        ("b", "b1", 0),
        ("c", "c1", 20),
    ] {
        queue.push(event(channel, json, start + age * SECOND));
    }
    let now = start + AGE_MAX + 5 * SECOND;
    assert_eq!(texts(&take(&mut queue, now)), ["a2"]);
    assert_eq!(texts(&take(&mut queue, now)), ["c1"]);
    assert_eq!(queue.take_lost().expired, 2);
    assert_eq!((queue.len(), queue.ready_events), (2, 0));
}

#[test]
fn a_closing_queue_tries_everything_now() {
    let (mut queue, start) = (batching(), Instant::now());
    queue.push(event("a", "a1", start));
    let batch = take(&mut queue, start + BATCH_WINDOW);
    queue.done(batch, Outcome::Silence, start + BATCH_WINDOW);
    queue.push(event("b", "b1", start + BATCH_WINDOW));
    queue.close(start + BATCH_WINDOW);
    let first = take(&mut queue, start + BATCH_WINDOW);
    queue.done(first, Outcome::Taken, start + BATCH_WINDOW);
    let second = take(&mut queue, start + BATCH_WINDOW);
    queue.done(second, Outcome::Taken, start + BATCH_WINDOW);
    assert!(queue.is_empty() && queue.is_closing());
}

/// Whatever comes, goes wrong and goes well: each event arrives once, in its channel's order, and nothing stays behind.
#[test]
fn any_order_of_pushes_and_outcomes_keeps_the_order_of_each_channel() {
    for (seed, is_batching) in (0..40).map(|seed| (seed, seed % 2 == 0)) {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut queue = Queue::new(is_batching, seed);
        let mut now = Instant::now();
        let mut pushed = [0_u32; 6];
        let mut arrived: [Vec<u32>; 6] = Default::default();
        let mut under_way: Vec<Parcel> = Vec::new();
        for step in 0..2000 {
            let is_ending = step > 1000;
            if !is_ending && rng.random_bool(0.5) {
                let channel = rng.random_range(0..6_usize);
                queue.push(event(
                    &channel.to_string(),
                    &pushed[channel].to_string(),
                    now,
                ));
                pushed[channel] += 1;
            }
            match queue.next(now) {
                Next::Send(parcel) => under_way.push(parcel),
                Next::Wait(until) if under_way.is_empty() => now = until.unwrap_or(now),
                Next::Wait(_) => {}
            }
            if !under_way.is_empty() && rng.random_bool(0.5) {
                let parcel = under_way.swap_remove(rng.random_range(0..under_way.len()));
                let outcome = match rng.random_range(0..10_u8) {
                    0 if !is_ending => Outcome::Silence,
                    1 if !is_ending => Outcome::Refused,
                    _ => Outcome::Taken,
                };
                if outcome == Outcome::Taken {
                    for event in parcel.events() {
                        let channel: usize = event.channel.parse().expect("a number");
                        arrived[channel].push(event.json.parse().expect("a number"));
                    }
                }
                queue.done(parcel, outcome, now);
            }
        }
        assert!(queue.is_empty() && queue.lanes.is_empty(), "seed {seed}");
        assert_eq!(queue.ready_events, 0, "seed {seed}");
        for (pushed, arrived) in pushed.iter().zip(&arrived) {
            assert!(
                arrived.iter().copied().eq(0..*pushed),
                "seed {seed}: {arrived:?}"
            );
        }
    }
}
