//! The simulated Redis against a real one: the same random commands and scripts on both, every reply and message compared, and at the
//! end of each sequence all keys. Each test has a redis-server of its own. A failure names the seed of its sequence; the same seed makes the
//! same sequence.

mod compare;
mod generate;
mod pair;
mod project;
mod script;
mod server;

use std::thread;

use bytes::Bytes;

use self::{generate::word, pair::Pair, script::Script, server::Server};
use crate::{
    random::Random,
    redis::{Flag, Keys, Mode, Redis, Reply, Topology, commands},
};

/// Random steps on both. After a stall it may go on or end.
type Sequence = fn(&mut Pair, &mut Random) -> Result<(), String>;

/// What nested JSON needs where the code is not optimised.
const STACK_BYTES: usize = 64 << 20;

/// How often a sequence is tried while the machine stalls.
const TRIES: usize = 5;

/// Runs sequences from seeds 0 on; those in which the machine stalled each time do not count, and must be few.
fn sequences(count: u64, server: fn() -> Server, run: Sequence) {
    let thread = thread::Builder::new().stack_size(STACK_BYTES);
    let all = move || {
        let mut pair = Pair::new(server(), Redis::new(0));
        let counts = |seed: &u64| (0..TRIES).any(|_| is_equal(&mut pair, *seed, run));
        let stalled = count - (0..count).filter(counts).count() as u64;
        assert!(
            stalled <= count / 4,
            "the machine stalled in {stalled} of {count} sequences"
        );
    };
    let thread = thread.spawn(all).expect("a thread starts");
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Runs one sequence. Returns whether it counts.
fn is_equal(pair: &mut Pair, seed: u64, run: Sequence) -> bool {
    let mut random = Random::seeded(seed);
    pair.reset(Redis::new(random.next()));
    let result = run(pair, &mut random).and_then(|()| same_keys(pair));
    match result {
        Err(difference) if !pair.has_stalled() => panic!("seed {seed}: {difference}"),
        _ => !pair.has_stalled(),
    }
}

/// Runs a command on both; a difference names the command.
fn step(pair: &mut Pair, connection: usize, words: &[Bytes]) -> Result<Reply, String> {
    pair.run(connection, words).map_err(|difference| {
        let shown = words.iter().map(|word| word.slice(..word.len().min(100)));
        let shown: Vec<_> = shown.collect();
        format!("{shown:?} of connection {connection} {difference}")
    })
}

/// Compares all keys, their values and their times to live.
fn same_keys(pair: &mut Pair) -> Result<(), String> {
    let words = |line: &str| line.split(' ').map(word).collect::<Vec<_>>();
    let Reply::Array(found) = step(pair, 0, &words("scan 0 count 1000"))? else {
        panic!("SCAN answers an array");
    };
    step(pair, 0, &words("dbsize"))?;
    for key in compare::bulks(&found[1]) {
        let Reply::Status(kind) = step(pair, 0, &[word("type"), key.clone()])? else {
            panic!("TYPE answers a status");
        };
        let mut read = words(match &kind[..] {
            "string" => "get K",
            "hash" => "hgetall K",
            "set" => "smembers K",
            "zset" => "zrange K 0 -1 withscores",
            "list" => "lrange K 0 -1",
            _ => "exists K",
        });
        read[1] = key.clone();
        step(pair, 0, &read)?;
        step(pair, 0, &[word("pttl"), key])?;
    }
    Ok(())
}

#[test]
fn commands_answer_as_a_real_server_does() {
    sequences(200, Server::start, |pair, random| {
        for _ in 0..100 {
            let connection = random.below(pair::CONNECTIONS);
            let words = generate::command(random);
            step(pair, connection, &words)?;
        }
        Ok(())
    });
}

#[test]
fn scripts_do_what_a_real_server_makes_them_do() {
    sequences(100, Server::start, |pair, random| {
        for _ in 0..30 {
            let words = generate::command(random);
            step(pair, 0, &words)?;
            run_script(pair, &script::any(random), random)?;
        }
        Ok(())
    });
}

#[test]
fn json_is_read_and_written_as_by_a_real_server() {
    sequences(1, Server::start, |pair, random| {
        (0..2000).try_for_each(|_| run_script(pair, &script::json(random), random))
    });
}

#[test]
fn what_a_server_refuses_is_refused() {
    sequences(20, Server::start, |pair, random| {
        for mode in [
            Mode::Serving,
            Mode::OutOfMemory,
            Mode::Serving,
            Mode::Replica,
        ] {
            pair.set_mode(mode);
            for _ in 0..50 {
                let words = generate::data_command(random);
                // What is popped by chance could not be given back.
                if !words[0].eq_ignore_ascii_case(b"spop") {
                    step(pair, 0, &words)?;
                }
                run_script(pair, &script::any(random), random)?;
            }
        }
        pair.set_mode(Mode::Serving);
        Ok(())
    });
}

#[test]
fn a_cluster_keeps_commands_to_one_slot() {
    sequences(20, Server::start_cluster, |pair, random| {
        pair.redis.set_topology(Topology::Cluster);
        for _ in 0..100 {
            let words = match random.below(2) {
                0 => generate::command(random),
                _ => generate::tagged_command(random),
            };
            step(pair, random.below(pair::CONNECTIONS), &words)?;
            run_script(pair, &script::clustered(random), random)?;
        }
        Ok(())
    });
}

#[test]
fn the_projects_scripts_do_what_a_real_server_makes_them_do() {
    sequences(50, Server::start, |pair, random| {
        pair.view = project::view;
        let mut calls = project::Calls::default();
        for _ in 0..200 {
            for words in calls.next(pair, random) {
                let connection = random.below(pair::CONNECTIONS);
                step(pair, connection, &words)?;
            }
        }
        Ok(())
    });
}

#[test]
fn commands_have_the_arity_the_keys_and_the_flags_of_real_ones() {
    let server = Server::start();
    let mut connection = server.connect();
    for spec in commands() {
        let Reply::Array(found) = connection.ask(&["COMMAND", "INFO", spec.name]) else {
            panic!("COMMAND INFO answers an array");
        };
        let Reply::Array(info) = &found[0] else {
            panic!("{} is no command", spec.name);
        };
        let Reply::Set(flags) = &info[2] else {
            panic!("flags are a set: {info:?}");
        };
        let has = |flag: &str| flags.contains(&Reply::Status(flag.to_owned()));
        let expected_keys = match (&info[3..6], has("movablekeys")) {
            ([Reply::Int(1), Reply::Int(1), Reply::Int(1)], false) => Keys::First,
            ([Reply::Int(1), Reply::Int(-1), Reply::Int(1)], false) => Keys::All,
            ([Reply::Int(0), ..], true) => Keys::Counted,
            ([Reply::Int(0), ..], false) => Keys::None,
            other => panic!("{} has keys at {other:?}", spec.name),
        };
        let name = spec.name;
        assert_eq!(Reply::Int(spec.arity), info[1], "the arity of {name}");
        assert_eq!(spec.keys, expected_keys, "the keys of {name}");
        for (flag, text) in [
            (Flag::Write, "write"),
            (Flag::DenyOom, "denyoom"),
            (Flag::Loading, "loading"),
            (Flag::NoScript, "noscript"),
        ] {
            assert_eq!(
                spec.flags.contains(&flag),
                has(text),
                "whether {name} is {text}"
            );
        }
    }
}

#[test]
fn every_command_is_compared() {
    // These run or load the scripts.
    let is_for_scripts = |name: &str| name.starts_with("eval") || name.starts_with("script|");
    let left_out: Vec<_> = commands()
        .map(|spec| spec.name)
        .filter(|name| !generate::makes(name) && !is_for_scripts(name))
        .collect();
    assert!(left_out.is_empty(), "{left_out:?}");
}

/// Runs a script by its text or, whether it is loaded or not, by its hash.
fn run_script(pair: &mut Pair, script: &Script, random: &mut Random) -> Result<(), String> {
    let sha = word(&sha1_smol::Sha1::from(&script.text).digest().to_string());
    let (name, script_word) = match random.below(4) {
        0 => ("evalsha", sha.clone()),
        1 => {
            let load = [word("script"), word("load"), script.text.clone()];
            step(pair, 0, &load)?;
            ("EVALSHA", sha.to_ascii_uppercase().into())
        }
        _ => ("eval", script.text.clone()),
    };
    if random.below(20) == 0 {
        step(pair, 0, &[word("script"), word("flush")])?;
    }
    let mut words = vec![
        word(name),
        script_word,
        word(&script.keys.len().to_string()),
    ];
    words.extend(script.keys.iter().chain(&script.argv).cloned());
    let result = pair.run(1, &words);
    result.map_err(|difference| format!("{name} {difference}\n{}", script.describe()))?;
    step(pair, 0, &[word("script"), word("exists"), sha]).map(|_| ())
}
