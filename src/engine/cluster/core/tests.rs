//! What needs no other node and no Redis; the rest is in `tests/sim`.

use super::*;

const OWN: u64 = 1;

fn core(now: Instant) -> Core<()> {
    let settings = Settings {
        node: OWN,
        mode: RedisMode::Single,
        flow: FlowLimits::default(),
    };
    Core::new(settings, Box::new(|_, _| Hears::default()), now)
}

/// What the input says of the apps.
fn apps(input: Input<'_, ()>) -> Vec<Apps> {
    let (now, mut effects) = (Instant::now(), Vec::new());
    core(now).handle(input, now, &mut effects);
    let apps = effects.into_iter().filter_map(|effect| match effect {
        Effect::Apps(apps) => Some(apps),
        _ => None,
    });
    apps.collect()
}

fn announced_by(node: u64, topic: Topic<'_>) -> Input<'_, ()> {
    Input::Heard(Heard {
        topic,
        message: PeerMessage::AppsChanged(node),
    })
}

#[test]
fn a_node_looks_at_the_apps_when_another_one_has_changed_them_or_may_have() {
    let news = Topic::Channel {
        app_id: "1",
        bucket: 0,
        name: "news",
    };
    assert_eq!(apps(announced_by(OWN + 1, Topic::Nodes)), [Apps::Changed]);
    assert_eq!(apps(announced_by(OWN, Topic::Nodes)), [], "it has looked");
    assert_eq!(apps(announced_by(OWN + 1, news)), []);
    let dropped = apps(Input::HeardTooMuch);
    assert_eq!(
        dropped,
        [Apps::Doubted],
        "an announcement may be among them"
    );
}

#[test]
fn a_node_looks_at_the_apps_with_each_new_link() {
    let (now, mut effects) = (Instant::now(), Vec::new());
    let mut core = core(now);
    core.on_listening_as_node(&Ok(Answer::Done), now, &mut effects);
    let is_doubt = matches!(effects[..], [Effect::Apps(Apps::Doubted)]);
    assert!(is_doubt, "{effects:?}");
}

/// A core with a connection, whose calls nobody answers.
fn connected(now: Instant) -> Core<()> {
    let mut core = core(now);
    core.handle(Input::Connected, now, &mut Vec::new());
    core.proceed(now, &mut Vec::new());
    core
}

/// The apps of the calls that the core makes, in their order.
fn apps_called(core: &mut Core<()>, now: Instant) -> Vec<String> {
    let mut effects = Vec::new();
    core.proceed(now, &mut effects);
    let apps = effects.into_iter().filter_map(|effect| match effect {
        Effect::Call(_, Call::Listen(bucket, _)) => Some(bucket.app_id.to_string()),
        Effect::Call(_, Call::Query(Query::Occupied(app_id, ..), _)) => Some(app_id.to_string()),
        _ => None,
    });
    apps.collect()
}

fn enter(app_id: &str, name: &str) -> Input<'static, ()> {
    Input::Enter(Enter {
        key: ChannelKey {
            app_id: app_id.into(),
            name: name.into(),
            kind: ChannelKind::of(name),
        },
        tells_count: false,
        replay: None,
        max_members: 0,
        socket: SocketId::random(),
        member: None,
        reply: (),
    })
}

#[test]
fn an_app_that_joins_very_many_channels_does_not_hold_up_another() {
    let now = Instant::now();
    let mut core = connected(now);
    for channel in 0..20_000 {
        core.handle(enter("greedy", &channel.to_string()), now, &mut Vec::new());
    }
    core.handle(enter("modest", "news"), now, &mut Vec::new());
    let apps = apps_called(&mut core, now);
    assert_eq!(apps[..2], ["greedy", "modest"]);
    assert!(core.load().in_flight <= 512, "{:?}", core.load());
}

#[test]
fn an_app_that_lists_its_channels_again_and_again_does_not_hold_up_another() {
    let now = Instant::now();
    let mut core = connected(now);
    let list = |app_id: &str| Input::Ask(Query::Occupied(app_id.into(), "".into(), true), ());
    for _ in 0..100 {
        core.handle(list("greedy"), now, &mut Vec::new());
    }
    core.handle(list("modest"), now, &mut Vec::new());
    assert_eq!(apps_called(&mut core, now), ["greedy", "modest"]);
    assert!(core.load().in_flight >= 256, "{:?}", core.load());
}

#[test]
fn a_subscription_that_redis_ends_before_its_answer_is_asked_for_again() {
    let now = Instant::now();
    let mut core = connected(now);
    core.handle(enter("1", "news"), now, &mut Vec::new());
    let listen = |core: &mut Core<()>| {
        let mut effects = Vec::new();
        core.proceed(now, &mut effects);
        effects.into_iter().find_map(|effect| match effect {
            Effect::Call(id, Call::Listen(..)) => Some(id),
            _ => None,
        })
    };
    let first = listen(&mut core).expect("it is asked for");
    let topic = Topic::Channel {
        app_id: "1",
        bucket: bucket_of("news"),
        name: "news",
    };
    core.handle(Input::Silenced(topic), now, &mut Vec::new());
    let answered = |id| Input::Answered(id, Ok(Answer::Done));
    core.handle(answered(first), now, &mut Vec::new());
    let second = listen(&mut core).expect("it is asked for again");
    core.handle(answered(second), now, &mut Vec::new());
    assert_eq!(listen(&mut core), None);
}

#[test]
fn a_node_that_stops_leaves_dead_nodes_to_the_others() {
    let now = Instant::now();
    let mut core = core(now);
    let mut effects = Vec::new();
    core.handle(Input::Connected, now, &mut effects);
    core.proceed(now, &mut effects);
    answer_lease(&mut core, &effects, Vec::new(), now);
    let later = now + Duration::from_secs(3);
    effects.clear();
    core.proceed(later, &mut effects);
    core.handle(Input::Close(()), later, &mut Vec::new());
    let dead = vec![Epoch::from("dead.1")];
    let effects = answer_lease(&mut core, &effects, dead, later);
    let mut calls = effects.iter().filter_map(|effect| match effect {
        Effect::Call(_, call) => Some(call),
        _ => None,
    });
    assert!(
        !calls.any(|call| matches!(call, Call::Buckets(_))),
        "{effects:?}"
    );
}

/// Answers whatever the core asks after this input until it asks nothing more; what it has asked. `has_lease`: whether Redis knows the
/// node's lease.
fn answer_all(
    core: &mut Core<()>,
    input: Input<'_, ()>,
    has_lease: bool,
    now: Instant,
) -> Vec<Call> {
    let (mut asked, mut effects) = (Vec::new(), Vec::new());
    core.handle(input, now, &mut effects);
    core.proceed(now, &mut effects);
    while !effects.is_empty() {
        assert!(core.load().in_flight <= 512, "{:?}", core.load());
        for effect in std::mem::take(&mut effects) {
            if let Effect::Call(id, call) = effect {
                let answered = Input::Answered(id, Ok(answer_to(&call, has_lease)));
                asked.push(call);
                core.handle(answered, now, &mut effects);
            }
        }
        core.proceed(now, &mut effects);
    }
    asked
}

fn answer_to(call: &Call, has_lease: bool) -> Answer {
    match call {
        Call::Lease(_) => Answer::Lease(Lease {
            was_held: has_lease,
            taken: Vec::new(),
            nodes: 1,
            listening: 1,
        }),
        Call::Register(..) => Answer::Registered(true),
        Call::Write(batch) => {
            let results = batch.channels.iter().map(|_| EntryResult::Plain);
            Answer::Written(Written::Settled(Box::new(Settled {
                results: results.collect(),
                ..Settled::default()
            })))
        }
        _ => Answer::Done,
    }
}

#[test]
fn a_node_that_lost_its_lease_registers_its_former_rows_again() {
    let now = Instant::now();
    let mut core = core(now);
    core.handle(enter("1", "news"), now, &mut Vec::new());
    answer_all(&mut core, Input::Connected, true, now);
    let former = core.epoch().to_string();
    let bucket = BucketName {
        app_id: "1".into(),
        number: bucket_of("news"),
    };
    let later = now + Duration::from_secs(3);
    let asked = answer_all(&mut core, Input::Tick, false, later);
    let mut registered = asked.iter().filter_map(|call| match call {
        Call::Register(epoch, buckets) => Some((epoch.to_string(), buckets.clone())),
        _ => None,
    });
    assert_ne!(core.epoch().to_string(), former);
    let again = registered.find(|(epoch, _)| *epoch == former);
    let (_, buckets) = again.expect("others must find the rows if this node ends");
    assert_eq!(buckets, [(bucket, 0)], "they were written before");
}

#[test]
fn a_node_with_very_many_apps_registers_them_within_the_bound_of_commands() {
    let now = Instant::now();
    let mut core = core(now);
    for app in 0..2_000 {
        let app_id = app.to_string();
        core.handle(enter(&app_id, "news"), now, &mut Vec::new());
    }
    let asked = answer_all(&mut core, Input::Connected, true, now);
    let registered = asked.iter().map(|call| match call {
        Call::Register(_, buckets) => buckets.len(),
        _ => 0,
    });
    assert_eq!(registered.sum::<usize>(), 2_000);
}

/// Answers the renewal of the lease that is among these effects; what comes of it.
fn answer_lease(
    core: &mut Core<()>,
    asked: &[Effect<()>],
    taken: Vec<Epoch>,
    now: Instant,
) -> Vec<Effect<()>> {
    let id = asked.iter().find_map(|effect| match effect {
        Effect::Call(id, Call::Lease(_)) => Some(*id),
        _ => None,
    });
    let lease = Lease {
        was_held: true,
        taken,
        nodes: 2,
        listening: 2,
    };
    let answered = Input::Answered(id.expect("it renews its lease"), Ok(Answer::Lease(lease)));
    let mut effects = Vec::new();
    core.handle(answered, now, &mut effects);
    core.proceed(now, &mut effects);
    effects
}
