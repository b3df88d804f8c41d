use rand::RngExt;

use super::{health::UNDER_WAY_MAX, *};
use crate::app::WebhookKind::{
    self, CacheMiss, ChannelOccupied, ChannelVacated, ClientEvent, MemberAdded, MemberRemoved,
    SubscriptionCount,
};

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

/// An event that no other supersedes.
fn event(channel: &str, json: &str, created: Instant) -> Event {
    of_kind(ClientEvent, channel, json, created)
}

fn of_kind(kind: WebhookKind, channel: &str, json: &str, created: Instant) -> Event {
    Event {
        kind,
        class: Class::of(kind, channel),
        channel: channel.into(),
        json: json.into(),
        created,
        time_ms: 0,
    }
}

fn push(queue: &mut Queue, event: Event) {
    let now = event.created;
    queue.push(event, now);
}

/// Adds an edge of a channel; its text is its kind.
fn edge(queue: &mut Queue, kind: WebhookKind, channel: &str, now: Instant) {
    push(queue, of_kind(kind, channel, kind.name(), now));
}

fn len(queue: &Queue) -> u64 {
    queue.waiting().total()
}

#[track_caller]
fn assert_is_clean(queue: &Queue) {
    assert!(
        queue.is_empty() && queue.lanes.is_empty(),
        "{:?}",
        queue.waiting()
    );
    assert!(queue.turns.iter().all(BTreeMap::is_empty));
    assert!(queue.retries.is_empty());
    assert_eq!((queue.ready_events, queue.patient), (0, 0));
    assert_eq!((queue.held, queue.under_way), Default::default());
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
        push(&mut queue, event(channel, json, now));
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
    assert_is_clean(&queue);
}

#[test]
fn a_refused_event_holds_back_its_channel_and_no_other() {
    let (mut queue, start) = (single(), Instant::now());
    push(&mut queue, event("a", "a1", start));
    push(&mut queue, event("a", "a2", start));
    let a1 = take(&mut queue, start);
    queue.done(a1, Outcome::Refused, start);
    push(&mut queue, event("b", "b1", start));
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

/// Sends whatever may go until nothing can, each parcel with the outcome that `answer` gives, time passing only where it must.
fn run(queue: &mut Queue, now: &mut Instant, mut answer: impl FnMut(&Parcel, Instant) -> Outcome) {
    while !queue.is_empty() {
        match queue.next(*now) {
            Next::Send(parcel) => {
                let outcome = answer(&parcel, *now);
                queue.done(parcel, outcome, *now);
            }
            // It may just have dropped what was left.
            Next::Wait(until) => *now = until.unwrap_or(*now),
        }
    }
}

#[test]
fn the_last_try_of_a_refused_event_is_within_four_minutes_and_the_next_goes() {
    for seed in 0..50 {
        let (mut queue, start) = (Queue::new(false, seed), Instant::now());
        push(&mut queue, event("a", "a1", start));
        let (mut now, mut tries) = (start, Vec::new());
        run(&mut queue, &mut now, |_, now| {
            tries.push((now - start).as_secs_f64());
            Outcome::Refused
        });
        // 0, 1, 3, 7, 15, 31, 61, 91, 121, 151, 181, 211 s without jitter.
        assert!((11..=14).contains(&tries.len()), "{tries:?}");
        let last = tries.last().expect("a try");
        assert!((200.0..240.0).contains(last), "{tries:?}");
        let lost = queue.take_lost();
        assert_eq!((lost.overflow.total(), lost.expired.total()), (0, 1));
        assert_is_clean(&queue);
        push(&mut queue, event("a", "a2", now));
        assert_eq!(texts(&take(&mut queue, now)), ["a2"]);
    }
}

#[test]
fn an_absent_endpoint_is_asked_by_one_parcel_at_a_time_and_every_few_seconds() {
    let (mut queue, start) = (single(), Instant::now());
    for number in 0..100 {
        push(&mut queue, event(&number.to_string(), "x", start));
    }
    for parcel in take_all(&mut queue, start) {
        queue.done(parcel, Outcome::Absent, start);
    }
    let mut now = start;
    for seconds in [1, 2, 4, 5, 5, 5, 5, 5] {
        let until = wait(&mut queue, now).expect("another try");
        let pause = (until - now).as_secs_f64() / f64::from(seconds);
        assert!((0.8..1.2).contains(&pause), "{seconds} s: {pause}");
        now = until;
        let probe = take(&mut queue, now);
        assert_eq!(wait(&mut queue, now), None, "one at a time");
        queue.done(probe, Outcome::Absent, now);
    }
}

#[test]
fn the_first_success_after_an_absence_frees_everything_that_waits() {
    let (mut queue, start) = (single(), Instant::now());
    for number in 0..100 {
        push(&mut queue, event(&number.to_string(), "x", start));
    }
    let (mut now, back) = (start, start + 90 * SECOND);
    let mut came_back = None;
    run(&mut queue, &mut now, |_, now| {
        if now < back {
            return Outcome::Absent;
        }
        came_back.get_or_insert(now);
        Outcome::Taken
    });
    assert_eq!(
        came_back,
        Some(now),
        "no time passed after the first success"
    );
    assert!(now - back < 6 * SECOND, "{:?}", now - back);
    assert_eq!(queue.take_lost(), Lost::default());
    assert_is_clean(&queue);
}

#[test]
fn an_endpoint_that_is_back_gets_more_and_more_requests_at_a_time() {
    let (mut queue, start) = (single(), Instant::now());
    for number in 0..200 {
        push(&mut queue, event(&number.to_string(), "x", start));
    }
    for parcel in take_all(&mut queue, start) {
        queue.done(parcel, Outcome::Absent, start);
    }
    let now = wait(&mut queue, start).expect("another try");
    let mut sizes = Vec::new();
    for _ in 0..6 {
        let under_way = take_all(&mut queue, now);
        sizes.push(under_way.len());
        for parcel in under_way {
            queue.done(parcel, Outcome::Taken, now);
        }
    }
    // Three quarters of the window, because all of it is of one class.
    assert_eq!(sizes, [1, 3, 6, 10, 12, 12]);
}

#[test]
fn every_channel_gets_its_turn_while_an_endpoint_is_absent() {
    let (mut queue, start) = (single(), Instant::now());
    push(&mut queue, event("slow", "slow", start));
    push(&mut queue, event("b", "b", start));
    let (mut now, mut asked) = (start, Vec::new());
    for _ in 0..4 {
        let probe = take(&mut queue, now);
        asked.push(texts(&probe)[0].to_owned());
        queue.done(probe, Outcome::Absent, now);
        now = wait(&mut queue, now).expect("another try");
    }
    assert_eq!(asked, ["slow", "b", "slow", "b"]);
}

#[test]
fn a_request_without_answer_does_not_pause_an_endpoint_that_answers_others() {
    let (mut queue, start) = (single(), Instant::now());
    push(&mut queue, event("slow", "slow", start));
    push(&mut queue, event("b", "b1", start));
    let (slow, quick) = (take(&mut queue, start), take(&mut queue, start));
    queue.done(quick, Outcome::Taken, start + SECOND);
    let now = start + 10 * SECOND;
    queue.done(slow, Outcome::Absent, now);
    push(&mut queue, event("b", "b2", now));
    assert_eq!(texts(&take(&mut queue, now)), ["b2"]);
    let again = wait(&mut queue, now).expect("another try");
    assert!((800 * MS..1200 * MS).contains(&(again - now)));
}

#[test]
fn once_a_refused_event_is_taken_others_are_tried_again_at_once_but_only_once() {
    let (mut queue, start) = (single(), Instant::now());
    for channel in ["a", "b", "c"] {
        push(&mut queue, event(channel, channel, start));
    }
    let mut now = start;
    while now - start < 60 * SECOND {
        for parcel in take_all(&mut queue, now) {
            queue.done(parcel, Outcome::Refused, now);
        }
        now = wait(&mut queue, now).expect("another try");
    }
    let first = take(&mut queue, now);
    let taken = texts(&first)[0].to_owned();
    queue.done(first, Outcome::Taken, now);
    let hurried = [take(&mut queue, now), take(&mut queue, now)];
    for parcel in hurried {
        assert_ne!(texts(&parcel)[0], taken);
        queue.done(parcel, Outcome::Refused, now);
    }
    // A success of what was never refused hurries nobody, and nobody is hurried twice.
    push(&mut queue, event("d", "d", now));
    let fresh = take(&mut queue, now);
    queue.done(fresh, Outcome::Taken, now);
    let until = wait(&mut queue, now).expect("another try");
    assert!(until - now > 20 * SECOND, "{:?}", until - now);
}

/// Everything that may go now.
fn take_all(queue: &mut Queue, now: Instant) -> Vec<Parcel> {
    let next = || match queue.next(now) {
        Next::Send(parcel) => Some(parcel),
        Next::Wait(_) => None,
    };
    std::iter::from_fn(next).collect()
}

#[test]
fn a_batch_is_what_came_within_the_window() {
    let (mut queue, start) = (batching(), Instant::now());
    push(&mut queue, event("a", "a1", start));
    push(&mut queue, event("b", "b1", start + 10 * MS));
    push(&mut queue, event("a", "a2", start + 20 * MS));
    assert_eq!(
        wait(&mut queue, start + 20 * MS),
        Some(start + BATCH_WINDOW)
    );
    let batch = take(&mut queue, start + BATCH_WINDOW);
    assert_eq!(texts(&batch), ["a1", "a2", "b1"]);
    push(&mut queue, event("a", "a3", start + 60 * MS));
    push(&mut queue, event("c", "c1", start + 60 * MS));
    let next = take(&mut queue, start + 120 * MS);
    assert_eq!(texts(&next), ["c1"], "a is under way");
    queue.done(batch, Outcome::Taken, start + 130 * MS);
    assert_eq!(texts(&take(&mut queue, start + 130 * MS)), ["a3"]);
}

#[test]
fn a_full_batch_does_not_wait() {
    let (mut queue, now) = (batching(), Instant::now());
    for number in 0..250 {
        push(&mut queue, event(&(number % 7).to_string(), "x", now));
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
        push(&mut queue, event(channel, json, now));
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

/// Adds events of this kind on channels that differ until one finds no room; how many found it.
fn flood(queue: &mut Queue, kind: WebhookKind, prefix: &str, now: Instant) -> usize {
    (0..)
        .take_while(|number| {
            push(queue, of_kind(kind, &format!("{prefix}{number}"), "x", now));
            queue.take_lost() == Lost::default()
        })
        .count()
}

#[test]
fn no_class_takes_the_room_of_another() {
    let (mut queue, now) = (single(), Instant::now());
    let size = event("orders-1234", "x", now).size();
    let channels = flood(&mut queue, ChannelOccupied, "orders-", now);
    assert!(channels > 9 * Class::PublicChannels.room_bytes() / size / 10);
    let before = len(&queue);
    for (kind, channel) in [
        (ChannelOccupied, "private-a"),
        (MemberAdded, "presence-a"),
        (ClientEvent, "private-a"),
        (CacheMiss, "cache-a"),
        (CacheMiss, "private-cache-a"),
        (SubscriptionCount, "a"),
        (SubscriptionCount, "private-a"),
        (WebhookKind::SessionRefused, "#server-to-user-7"),
    ] {
        push(&mut queue, of_kind(kind, channel, "x", now));
    }
    assert_eq!(len(&queue), before + 8);
    push(&mut queue, of_kind(ChannelOccupied, "one-more", "x", now));
    let lost = queue.take_lost();
    assert_eq!(lost.overflow.to_string(), "channel_occupied 1");
    assert_eq!(lost.expired.total(), 0);
}

#[test]
fn one_channel_takes_no_more_than_half_of_the_room() {
    let (mut queue, now) = (single(), Instant::now());
    let room = Class::ClientEvents.room_bytes();
    for number in 0..2 * room / event("a", "1", now).size() {
        push(&mut queue, event("a", &number.to_string(), now));
    }
    let half = len(&queue);
    assert!(queue.held[Class::ClientEvents as usize].abs_diff(room / 2) < 1000);
    assert!(queue.take_lost().overflow.total() > half);
    for number in 0..half / 3 {
        push(&mut queue, event("b", &number.to_string(), now));
    }
    assert_eq!(queue.take_lost(), Lost::default());
    assert_eq!(
        texts(&take(&mut queue, now)),
        ["0"],
        "the newest were dropped"
    );
}

#[test]
fn a_flood_leaves_requests_free_for_other_classes() {
    let (mut queue, now) = (single(), Instant::now());
    flood(&mut queue, ChannelOccupied, "orders-", now);
    let under_way = take_all(&mut queue, now);
    assert_eq!(under_way.len(), UNDER_WAY_MAX * 3 / 4);
    edge(&mut queue, MemberAdded, "presence-a", now);
    assert_eq!(texts(&take(&mut queue, now)), ["member_added"]);
}

#[test]
fn classes_take_turns() {
    let (mut queue, now) = (single(), Instant::now());
    flood(&mut queue, ChannelOccupied, "orders-", now);
    flood(&mut queue, ChannelOccupied, "private-", now);
    edge(&mut queue, MemberAdded, "presence-a", now);
    let kinds: Vec<_> = (0..3)
        .map(|_| take(&mut queue, now).events()[0].class)
        .collect();
    for class in [Class::PublicChannels, Class::Channels, Class::Members] {
        assert!(kinds.contains(&class), "{kinds:?}");
    }
}

#[test]
fn a_batch_has_events_of_every_class() {
    let (mut queue, now) = (batching(), Instant::now());
    flood(&mut queue, ChannelOccupied, "orders-", now);
    flood(&mut queue, ChannelOccupied, "private-", now);
    edge(&mut queue, MemberAdded, "presence-a", now);
    let batch = take(&mut queue, now);
    let of = |class| {
        batch
            .events()
            .iter()
            .filter(|event| event.class == class)
            .count()
    };
    assert_eq!(of(Class::Members), 1);
    assert_eq!(of(Class::PublicChannels).abs_diff(of(Class::Channels)), 1);
    assert_eq!(batch.events().len(), 100);
}

#[test]
fn a_channel_that_is_vacated_before_its_occupation_was_sent_is_not_mentioned() {
    let (mut queue, now) = (single(), Instant::now());
    for _ in 0..1000 {
        edge(&mut queue, ChannelOccupied, "a", now);
        edge(&mut queue, ChannelVacated, "a", now);
    }
    assert_is_clean(&queue);
    assert_eq!(
        (queue.take_superseded(), queue.take_lost()),
        (2000, Lost::default())
    );
    edge(&mut queue, ChannelOccupied, "a", now);
    let occupied = take(&mut queue, now);
    for kind in [ChannelVacated, ChannelOccupied, ChannelVacated] {
        edge(&mut queue, kind, "a", now);
    }
    queue.done(occupied, Outcome::Taken, now);
    assert_eq!(texts(&take(&mut queue, now)), ["channel_vacated"]);
}

#[test]
fn members_are_mentioned_though_they_left_before_it_could_be_sent() {
    let (mut queue, now) = (batching(), Instant::now());
    let visit = [ChannelOccupied, MemberAdded, MemberRemoved, ChannelVacated];
    for kind in visit {
        edge(&mut queue, kind, "presence-a", now);
    }
    let batch = take(&mut queue, now + BATCH_WINDOW);
    assert_eq!(texts(&batch), visit.map(WebhookKind::name));
}

#[test]
fn only_the_newest_subscription_count_of_a_channel_is_sent() {
    let (mut queue, now) = (single(), Instant::now());
    for number in 0..1000 {
        for channel in ["a", "b"] {
            let count = of_kind(SubscriptionCount, channel, &number.to_string(), now);
            push(&mut queue, count);
        }
    }
    let counts = [take(&mut queue, now), take(&mut queue, now)];
    assert_eq!(
        counts.each_ref().map(|parcel| texts(parcel)),
        [["999"], ["999"]]
    );
    for parcel in counts {
        queue.done(parcel, Outcome::Taken, now);
    }
    assert_is_clean(&queue);
    assert_eq!(queue.take_superseded(), 2 * 999);
}

#[test]
fn an_empty_cache_channel_is_reported_once_while_that_waits() {
    let (mut queue, now) = (single(), Instant::now());
    for _ in 0..10 {
        push(&mut queue, of_kind(CacheMiss, "cache-a", "x", now));
    }
    assert_eq!((len(&queue), queue.take_superseded()), (1, 9));
}

#[test]
fn edges_of_a_channel_do_not_wait_for_its_client_events() {
    let (mut queue, now) = (single(), Instant::now());
    let (room, mut sent) = ("presence-a", Vec::new());
    for number in 0..100 {
        push(&mut queue, event(room, &number.to_string(), now));
    }
    edge(&mut queue, MemberAdded, room, now);
    edge(&mut queue, MemberRemoved, room, now);
    run(&mut queue, &mut { now }, |parcel, _| {
        sent.push(texts(parcel)[0].to_owned());
        Outcome::Taken
    });
    assert_eq!(sent[..3], ["member_added", "member_removed", "0"]);
    assert_eq!(sent.len(), 102);
}

#[test]
fn a_client_event_that_is_refused_does_not_hold_up_edges_of_its_channel() {
    let (mut queue, now) = (single(), Instant::now());
    let room = "presence-a";
    push(&mut queue, event(room, "poison", now));
    let poison = take(&mut queue, now);
    queue.done(poison, Outcome::Refused, now);
    edge(&mut queue, MemberAdded, room, now);
    push(&mut queue, event(room, "later", now));
    let added = take(&mut queue, now);
    assert_eq!(texts(&added), ["member_added"]);
    queue.done(added, Outcome::Taken, now);
    let again = wait(&mut queue, now).expect("another try");
    let poison = take(&mut queue, again);
    assert_eq!(texts(&poison), ["poison"], "client events keep their order");
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
        push(&mut queue, event(channel, json, start + age * SECOND));
    }
    let now = start + AGE_MAX + 5 * SECOND;
    assert_eq!(texts(&take(&mut queue, now)), ["a2"]);
    assert_eq!(texts(&take(&mut queue, now)), ["c1"]);
    assert_eq!(queue.take_lost().expired.total(), 2);
    assert_eq!((len(&queue), queue.ready_events), (2, 0));
}

#[test]
fn what_became_too_old_makes_room() {
    let (mut queue, start) = (single(), Instant::now());
    let held = flood(&mut queue, ChannelOccupied, "orders-", start);
    let under_way = take_all(&mut queue, start).len();
    let now = start + AGE_MAX;
    edge(&mut queue, ChannelOccupied, "new", now);
    let lost = queue.take_lost();
    assert_eq!(lost.overflow.total(), 0);
    assert_eq!(lost.expired.total(), (held - under_way) as u64);
    assert_eq!(len(&queue), under_way as u64 + 1);
}

#[test]
fn an_endpoint_that_stays_away_costs_the_events_that_became_too_old() {
    let (mut queue, start) = (batching(), Instant::now());
    for number in 0..100 {
        edge(
            &mut queue,
            MemberAdded,
            &format!("presence-{number}"),
            start,
        );
    }
    let mut now = start;
    run(&mut queue, &mut now, |_, _| Outcome::Absent);
    assert!(
        (now - start).abs_diff(AGE_MAX) < 12 * SECOND,
        "{:?}",
        now - start
    );
    assert_eq!(queue.take_lost().expired.to_string(), "member_added 100");
    assert_is_clean(&queue);
}

#[test]
fn a_closing_queue_tries_everything_now() {
    let (mut queue, start) = (batching(), Instant::now());
    push(&mut queue, event("a", "a1", start));
    let batch = take(&mut queue, start + BATCH_WINDOW);
    queue.done(batch, Outcome::Absent, start + BATCH_WINDOW);
    push(&mut queue, event("b", "b1", start + BATCH_WINDOW));
    queue.close(start + BATCH_WINDOW);
    let first = take(&mut queue, start + BATCH_WINDOW);
    queue.done(first, Outcome::Taken, start + BATCH_WINDOW);
    let second = take(&mut queue, start + BATCH_WINDOW);
    queue.done(second, Outcome::Taken, start + BATCH_WINDOW);
    assert_is_clean(&queue);
    assert!(queue.is_closing());
}

/// Whatever comes, goes wrong and goes well: each event arrives once, edges and client events each in their order, a client event
/// after earlier edges of its channel, and nothing stays behind.
#[test]
fn any_order_of_pushes_and_outcomes_keeps_the_order_of_each_channel() {
    for seed in 0..60 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut queue = Queue::new(seed % 2 == 0, seed);
        let mut now = Instant::now();
        let mut pushed: [Vec<(WebhookKind, usize)>; 6] = Default::default();
        let mut arrived: [Vec<(WebhookKind, usize)>; 6] = Default::default();
        let mut under_way: Vec<Parcel> = Vec::new();
        for step in 0..3000 {
            let is_ending = step > 1000;
            if !is_ending && rng.random_bool(0.5) {
                let (channel, is_edge) = (rng.random_range(0..6_usize), rng.random_bool(0.3));
                let kind = if is_edge { MemberAdded } else { ClientEvent };
                let number = pushed[channel].len();
                let text = number.to_string();
                push(&mut queue, of_kind(kind, &channel.to_string(), &text, now));
                pushed[channel].push((kind, number));
            }
            match queue.next(now) {
                Next::Send(parcel) => under_way.push(parcel),
                Next::Wait(until) if under_way.is_empty() => now = until.unwrap_or(now),
                Next::Wait(_) => {}
            }
            if !under_way.is_empty() && rng.random_bool(0.5) {
                let parcel = under_way.swap_remove(rng.random_range(0..under_way.len()));
                let outcome = match rng.random_range(0..10_u8) {
                    0 if !is_ending => Outcome::Absent,
                    1 if !is_ending => Outcome::Refused,
                    _ => Outcome::Taken,
                };
                if outcome == Outcome::Taken {
                    for event in parcel.events() {
                        let channel: usize = event.channel.parse().expect("a number");
                        let number = event.json.parse().expect("a number");
                        arrived[channel].push((event.kind, number));
                    }
                }
                queue.done(parcel, outcome, now);
            }
        }
        assert_is_clean(&queue);
        for (pushed, arrived) in pushed.iter().zip(&arrived) {
            for kind in [MemberAdded, ClientEvent] {
                let of_kind = |events: &[(WebhookKind, usize)]| {
                    let events = events.iter().filter(|event| event.0 == kind);
                    events.copied().collect::<Vec<_>>()
                };
                assert_eq!(of_kind(pushed), of_kind(arrived), "seed {seed}");
            }
            let mut first_later_edge = usize::MAX;
            for (kind, number) in arrived.iter().rev() {
                match kind {
                    MemberAdded => first_later_edge = first_later_edge.min(*number),
                    _ => assert!(*number < first_later_edge, "seed {seed}: {arrived:?}"),
                }
            }
        }
    }
}

/// Whatever happens, an endpoint hears of a channel in turns, and in the end what it has become.
#[test]
fn any_order_of_edges_and_outcomes_ends_in_the_state_of_the_channel() {
    for seed in 0..40 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut queue = Queue::new(seed % 2 == 0, seed);
        let mut now = Instant::now();
        let (mut is_occupied, mut told) = ([false; 4], [false; 4]);
        let mut under_way: Vec<Parcel> = Vec::new();
        for step in 0..2000 {
            let channel = rng.random_range(0..4_usize);
            if step < 1000 && rng.random_bool(0.6) {
                is_occupied[channel] = !is_occupied[channel];
                let kind = if is_occupied[channel] {
                    ChannelOccupied
                } else {
                    ChannelVacated
                };
                push(
                    &mut queue,
                    of_kind(kind, &channel.to_string(), kind.name(), now),
                );
            }
            match queue.next(now) {
                Next::Send(parcel) => under_way.push(parcel),
                Next::Wait(until) if under_way.is_empty() => now = until.unwrap_or(now),
                Next::Wait(_) => {}
            }
            if !under_way.is_empty() && rng.random_bool(0.3) {
                let parcel = under_way.swap_remove(rng.random_range(0..under_way.len()));
                let outcome = match rng.random_range(0..4_u8) {
                    0 if step < 1000 => Outcome::Absent,
                    1 if step < 1000 => Outcome::Refused,
                    _ => Outcome::Taken,
                };
                if outcome == Outcome::Taken {
                    for event in parcel.events() {
                        let channel: usize = event.channel.parse().expect("a number");
                        assert_ne!(told[channel], event.kind == ChannelOccupied, "in turns");
                        told[channel] = event.kind == ChannelOccupied;
                    }
                }
                queue.done(parcel, outcome, now);
            }
        }
        assert_is_clean(&queue);
        assert_eq!(told, is_occupied, "seed {seed}");
    }
}
