//! What the simulated Redis promises beyond what a real one does: see `differential.rs` for the rest.

use std::{collections::BTreeSet, time::Instant};

use bytes::Bytes;

use crate::{
    random::Random,
    redis::{Audience, Mode, Push, Redis, Reply, Topology},
};

/// 2023-11-14, in µs.
const NOW_US: i64 = 1_700_000_000_000_000;

fn redis(seed: u64) -> Redis {
    let mut redis = Redis::new(seed);
    redis.set_time(NOW_US);
    redis
}

fn words(line: &str) -> Vec<Bytes> {
    let words = line.split(' ');
    words
        .map(|word| Bytes::copy_from_slice(word.as_bytes()))
        .collect()
}

fn run(redis: &mut Redis, line: &str) -> Reply {
    redis.command(1, &words(line))
}

/// Runs a script with these keys.
fn eval(redis: &mut Redis, script: &str, keys: &[&str]) -> Reply {
    let mut command = words("EVAL");
    command.push(Bytes::copy_from_slice(script.as_bytes()));
    command.push(Bytes::from(keys.len().to_string()));
    command.extend(
        keys.iter()
            .map(|key| Bytes::copy_from_slice(key.as_bytes())),
    );
    redis.command(1, &command)
}

#[track_caller]
fn assert_refused(reply: &Reply, code: &str) {
    match reply {
        Reply::Error(error) => assert_eq!(error.code, code, "{error:?}"),
        other => panic!("{code} was expected, not {other:?}"),
    }
}

fn text(text: &str) -> Reply {
    Reply::Bulk(Bytes::copy_from_slice(text.as_bytes()))
}

#[test]
fn the_order_of_a_hash_depends_on_the_seed_and_on_nothing_else() {
    let order = |seed, fields: &[&str]| {
        let mut redis = redis(seed);
        for field in fields {
            run(&mut redis, &format!("HSET h {field} 1"));
        }
        run(&mut redis, "HDEL h x");
        format!("{:?}", run(&mut redis, "HKEYS h"))
    };
    let orders: BTreeSet<_> = (0..50).map(|seed| order(seed, &["a", "b", "c"])).collect();
    assert_eq!(orders.len(), 6, "every order comes up");
    for seed in 0..50 {
        assert_eq!(
            order(seed, &["a", "b", "c"]),
            order(seed, &["c", "x", "b", "a"])
        );
    }
}

#[test]
fn a_scan_finds_once_what_stays_while_other_things_come_and_go() {
    let mut random = Random::seeded(7);
    let mut redis = redis(1);
    let staying: BTreeSet<_> = (0..100).map(|_| Bytes::from(random.bytes(3))).collect();
    for member in &staying {
        redis.command(
            1,
            &[
                words("SADD s")[0].clone(),
                words("s")[0].clone(),
                member.clone(),
            ],
        );
    }
    let mut found = Vec::new();
    let mut cursor = text("0");
    loop {
        let Reply::Bulk(from) = &cursor else {
            panic!("a cursor is a string");
        };
        let from = String::from_utf8_lossy(from).into_owned();
        let Reply::Array(step) = run(&mut redis, &format!("SSCAN s {from} COUNT 7")) else {
            panic!("SSCAN answers an array");
        };
        let Reply::Array(members) = &step[1] else {
            panic!("members are an array");
        };
        found.extend(members.iter().cloned());
        run(&mut redis, &format!("SADD s passing-{from}"));
        run(&mut redis, &format!("SREM s passing-{from}"));
        cursor = step[0].clone();
        if cursor == text("0") {
            break;
        }
    }
    let expected: BTreeSet<_> = staying.iter().map(|member| format!("{member:?}")).collect();
    let distinct: BTreeSet<_> = found
        .iter()
        .map(|member| match member {
            Reply::Bulk(member) => format!("{member:?}"),
            other => panic!("a member is a string, not {other:?}"),
        })
        .collect();
    assert_eq!((found.len(), distinct), (expected.len(), expected));
}

#[test]
fn subscribers_get_what_is_published_in_order_until_they_go() {
    let mut redis = redis(1);
    redis.command(1, &words("SUBSCRIBE t"));
    redis.command(2, &words("SUBSCRIBE t u"));
    redis.command(3, &words("SSUBSCRIBE t"));
    assert_eq!(redis.command(9, &words("PUBLISH t a")), Reply::Int(2));
    assert_eq!(redis.command(9, &words("SPUBLISH t b")), Reply::Int(1));
    redis.close(2);
    assert_eq!(redis.command(9, &words("PUBLISH u c")), Reply::Int(0));
    assert_eq!(redis.command(9, &words("PUBLISH t d")), Reply::Int(1));
    let push = |connection, audience, payload: &'static str| Push {
        connection,
        audience,
        topic: Bytes::from_static(b"t"),
        payload: Bytes::from_static(payload.as_bytes()),
    };
    let expected = [
        push(1, Audience::Everyone, "a"),
        push(2, Audience::Everyone, "a"),
        push(3, Audience::Shard, "b"),
        push(1, Audience::Everyone, "d"),
    ];
    assert_eq!(redis.take_pushes(), expected);
    assert_eq!(redis.take_pushes(), []);
}

#[test]
fn a_restored_server_has_the_data_of_the_snapshot_and_no_subscribers_or_scripts() {
    let mut redis = redis(1);
    run(&mut redis, "RPUSH l a");
    let snapshot = redis.snapshot();
    run(&mut redis, "RPUSH l b");
    run(&mut redis, "SUBSCRIBE t");
    run(&mut redis, "PUBLISH t lost");
    let Reply::Bulk(sha) = redis.command(1, &words("SCRIPT LOAD return")) else {
        panic!("SCRIPT LOAD answers a hash");
    };
    let evalsha = format!("EVALSHA {} 0", String::from_utf8_lossy(&sha));
    assert_eq!(run(&mut redis, &evalsha), Reply::Nil);
    redis.restore(&snapshot);
    assert_eq!(
        run(&mut redis, "LRANGE l 0 -1"),
        Reply::Array(vec![text("a")])
    );
    assert_eq!(run(&mut redis, "PUBLISH t x"), Reply::Int(0));
    assert_eq!(redis.take_pushes(), []);
    assert_refused(&run(&mut redis, &evalsha), "NOSCRIPT");
}

#[test]
fn a_restarted_server_is_empty() {
    let mut redis = redis(1);
    run(&mut redis, "SET a 1");
    redis.restart();
    assert_eq!(run(&mut redis, "DBSIZE"), Reply::Int(0));
}

#[test]
fn a_loading_server_only_publishes_and_tells_the_time() {
    let mut redis = redis(1);
    redis.set_mode(Mode::Loading);
    for refused in [
        "GET a",
        "SET a 1",
        "PING",
        "EVAL return 0",
        "SCRIPT FLUSH",
        "SCAN 0",
    ] {
        assert_refused(&run(&mut redis, refused), "LOADING");
    }
    for allowed in ["TIME", "SUBSCRIBE t", "PUBLISH t x"] {
        let reply = run(&mut redis, allowed);
        assert!(!matches!(reply, Reply::Error(_)), "{allowed}: {reply:?}");
    }
    redis.set_mode(Mode::Serving);
    assert_eq!(run(&mut redis, "GET a"), Reply::Nil);
}

#[test]
fn a_key_is_there_until_the_clock_has_passed_its_expiry() {
    let mut redis = redis(1);
    run(&mut redis, "SET a 1 PX 5");
    assert_eq!(redis.next_expiry(), Some(NOW_US / 1000 + 5));
    redis.set_time(NOW_US + 5_999);
    assert_eq!(run(&mut redis, "PTTL a"), Reply::Int(0));
    redis.set_time(NOW_US + 6_000);
    assert_eq!(run(&mut redis, "DBSIZE"), Reply::Int(1));
    assert_eq!(redis.next_expiry(), None);
    redis.expire_due();
    assert_eq!(run(&mut redis, "DBSIZE"), Reply::Int(0));
}

#[test]
fn a_script_in_a_cluster_keeps_to_the_slot_of_its_keys() {
    let mut redis = redis(1);
    redis.set_topology(Topology::Cluster);
    let set = "return redis.call('SET', '{x}b', 1)";
    assert_eq!(
        eval(&mut redis, set, &["{x}a"]),
        Reply::Status("OK".to_owned())
    );
    assert_refused(&eval(&mut redis, set, &["{y}a"]), "ERR");
    assert_refused(&eval(&mut redis, set, &[]), "ERR");
    assert_refused(&eval(&mut redis, set, &["{x}a", "{y}a"]), "CROSSSLOT");
}

#[test]
fn servers_of_one_thread_share_nothing_but_the_interpreter() {
    let (mut one, mut other) = (redis(1), redis(2));
    let keep = "local seen = KEYS[1]; KEYS[1] = 'changed'; return {seen, redis.call('INCR', seen)}";
    for count in 1..=3 {
        let expected = Reply::Array(vec![text("a"), Reply::Int(count)]);
        assert_eq!(eval(&mut one, keep, &["a"]), expected);
    }
    let sha = sha1_smol::Sha1::from(keep).digest().to_string();
    assert_refused(&run(&mut other, &format!("EVALSHA {sha} 1 a")), "NOSCRIPT");
    assert_eq!(run(&mut other, "EXISTS a"), Reply::Int(0));
}

#[test]
fn commands_are_counted_within_scripts_too() {
    let mut redis = redis(1);
    run(&mut redis, "SET a 1");
    eval(
        &mut redis,
        "redis.call('GET', 'a') redis.call('GET', 'a')",
        &["a"],
    );
    assert_eq!(redis.calls(), 4);
}

/// Prints what things cost; `docs/testing.md` has the figures.
#[test]
#[ignore = "a measurement"]
fn costs() {
    const HANDLER: &str = "
        local given = cjson.decode(ARGV[1])
        local count = redis.call('HINCRBY', KEYS[1], given.user, 1)
        if count == 1 then redis.call('PUBLISH', KEYS[2], cjson.encode({given.user, given.info})) end
        redis.call('EXPIRE', KEYS[1], 60)
        return {count, redis.call('HGETALL', KEYS[1])}";
    let mut redis = redis(1);
    let load = |script: &str| {
        let mut words = words("SCRIPT LOAD");
        words.push(Bytes::copy_from_slice(script.as_bytes()));
        words
    };
    let sha = |reply: Reply| match reply {
        Reply::Bulk(sha) => sha,
        other => panic!("SCRIPT LOAD answers a hash, not {other:?}"),
    };
    let simple = sha(redis.command(1, &load("return redis.call('GET', KEYS[1])")));
    let handler = sha(redis.command(1, &load(HANDLER)));
    let call = |sha: &Bytes, rest: &str| {
        let mut words = words(&format!("EVALSHA x {rest}"));
        words[1] = sha.clone();
        words
    };
    let simple = call(&simple, "1 a");
    let handler = call(
        &handler,
        r#"2 h t {"user":"4","info":{"name":"Zoe","tags":[1,2,3]}}"#,
    );
    let get = words("GET a");
    time("a new server", || drop(Redis::new(1)));
    time("GET", || drop(redis.command(1, &get)));
    time("a script with one command", || {
        drop(redis.command(1, &simple))
    });
    time("a script with five commands and JSON", || {
        redis.command(1, &handler);
        redis.take_pushes();
    });
    for number in 0..1000 {
        run(&mut redis, &format!("HSET key-{number} f v"));
    }
    time("a snapshot of 1,000 keys", || drop(redis.snapshot()));
}

/// The fastest of many rounds: others use the machine, too.
fn time(what: &str, mut act: impl FnMut()) {
    const RUNS: u32 = 50;
    let rounds = (0..400).map(|_| {
        let start = Instant::now();
        (0..RUNS).for_each(|_| act());
        start.elapsed() / RUNS
    });
    let fastest = rounds.min().expect("rounds were run");
    eprintln!("{what}: {fastest:?}");
}
