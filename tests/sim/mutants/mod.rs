//! Small mistakes, put into the core and into the scripts one at a time: do the simulations find them?
//!
//! ```sh
//! cargo test --test sim mutants:: -- --ignored --nocapture --test-threads 1
//! ```
//!
//! plays, for each mutant, seeds until one fails. A script's is played at once. The core's are all put into a copy of the source, each behind a
//! condition, and that copy is built; it stays in the folder for temporary files. `LOUDHAILER_MUTANT` chooses mutants by a part of their names.
//! `docs/testing.md` has the outcome.

mod core;
mod scripts;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Instant,
};

use loudhailer::engine::cluster::redis::Script;

use crate::{plan::Plan, world::World};

/// Within so many seeds each mutant must be found.
const SEEDS: u64 = 2000;
/// What is printed before the outcome.
const OUTCOME: &str = "outcome: ";
/// Names the mistake that a copy makes.
const MISTAKE: &str = "LOUDHAILER_MISTAKE";
/// Whether a copy makes a mistake.
const SWITCH: &str = "
pub(crate) fn is_made(mistake: &str) -> bool {
    static MADE: std::sync::LazyLock<Option<String>> =
        std::sync::LazyLock::new(|| std::env::var(\"LOUDHAILER_MISTAKE\").ok());
    MADE.as_deref() == Some(mistake)
}
";

/// A mistake.
pub(crate) struct Mutant {
    /// What is wrong with it.
    pub(crate) name: &'static str,
    /// Where.
    pub(crate) file: &'static str,
    /// What stands there once.
    pub(crate) original: &'static str,
    pub(crate) replacement: &'static str,
}

/// A script with a mistake in it.
pub(crate) struct AlteredScript {
    pub(crate) name: String,
    pub(crate) text: String,
    pub(crate) sha1: String,
}

impl Mutant {
    fn apply(&self, text: &str) -> String {
        let (name, file) = (self.name, self.file);
        let found = text.matches(self.original).count();
        assert_eq!(found, 1, "{name}: how often its original is in {file}");
        text.replacen(self.original, self.replacement, 1)
    }

    fn altered_script(&self) -> AlteredScript {
        let text = self.apply(&read(&root().join(self.file)));
        let sha1 = sha1_smol::Sha1::from(&text).digest().to_string();
        let name = Path::new(self.file).file_stem();
        let name = name.and_then(|name| name.to_str()).expect("a script");
        AlteredScript {
            name: name.to_owned(),
            text,
            sha1,
        }
    }
}

impl AlteredScript {
    pub(crate) fn replaces(&self, script: &Script) -> bool {
        self.name == script.name
    }
}

fn root() -> PathBuf {
    env!("CARGO_MANIFEST_DIR").into()
}

fn read(file: &Path) -> String {
    let text = fs::read_to_string(file);
    text.unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// The first seed that fails, and how.
fn first_failure(altered: Option<&Arc<AlteredScript>>) -> Option<(u64, String)> {
    let (next, failed) = (AtomicU64::new(0), AtomicU64::new(u64::MAX));
    let play = |seed| World::new(Plan::of(seed), altered.cloned(), false).run();
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                while failed.load(Ordering::Relaxed) == u64::MAX {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= SEEDS {
                        return;
                    }
                    if play(seed).is_err() {
                        failed.fetch_min(seed, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let seed = failed.into_inner();
    let failure = (seed != u64::MAX).then(|| play(seed).err());
    failure.flatten().map(|failure| (seed, failure.what))
}

fn shown(failure: Option<(u64, String)>) -> String {
    failure.map_or_else(
        || "not found".to_owned(),
        |(seed, what)| format!("seed {seed}: {}", what.replace('\n', " ")),
    )
}

/// Plays chosen mutants, prints what came of each, and fails if one was not found.
fn hunt(mutants: &[Mutant], play: impl Fn(&Mutant) -> String) {
    let part = env::var("LOUDHAILER_MUTANT").unwrap_or_default();
    let chosen = mutants.iter().filter(|mutant| mutant.name.contains(&part));
    let mut survivors = Vec::new();
    for mutant in chosen {
        let begun = Instant::now();
        let outcome = play(mutant);
        if !outcome.starts_with("seed ") {
            survivors.push(mutant.name);
        }
        let took = begun.elapsed().as_secs_f64();
        eprintln!("{} | {outcome} | {took:.0} s", mutant.name);
    }
    assert!(survivors.is_empty(), "not found: {survivors:?}");
}

/// Copies what the simulator is built from, with mistakes.
fn copy_source(to: &Path) {
    for part in [
        "Cargo.toml",
        "Cargo.lock",
        "benches",
        "config",
        "src",
        "tests/it/support",
        "tests/sim",
    ] {
        copy(&root().join(part), &to.join(part));
    }
}

/// Leaves a file alone that is equal, so that it is not compiled again.
fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        fs::create_dir_all(to).expect("a folder for the copy");
        for entry in fs::read_dir(from).expect("a folder") {
            let name = entry.expect("an entry").file_name();
            copy(&from.join(&name), &to.join(&name));
        }
    } else {
        let text = fs::read(from).expect("a source file");
        write(to, &with_mistakes(from, text));
    }
}

fn write(to: &Path, bytes: &[u8]) {
    if fs::read(to).ok().as_deref() != Some(bytes) {
        fs::create_dir_all(to.parent().expect("below the copy")).expect("a folder for the copy");
        fs::write(to, bytes).expect("room for the copy");
    }
}

/// Adds the core's mistakes to a file; each is made when the environment has its name.
fn with_mistakes(file: &Path, bytes: Vec<u8>) -> Vec<u8> {
    let is_here = |mutant: &&Mutant| root().join(mutant.file) == file;
    let mutants: Vec<&Mutant> = core::MUTANTS.iter().filter(is_here).collect();
    if file == root().join("src/lib.rs") {
        return [&bytes, SWITCH.as_bytes()].concat();
    }
    if mutants.is_empty() {
        return bytes;
    }
    let text = String::from_utf8(bytes).expect("source is text");
    let place = |mutant: &Mutant| text.find(mutant.original).expect("it fits");
    let mut places: Vec<_> = mutants.into_iter().map(|one| (place(one), one)).collect();
    places.sort_by_key(|(at, _)| *at);
    let (mut altered, mut done) = (String::new(), 0);
    for (at, mutant) in places {
        let Mutant {
            name,
            original,
            replacement,
            ..
        } = mutant;
        altered += &text[done..at];
        altered +=
            &format!("if crate::is_made({name:?}) {{ {replacement} }} else {{ {original} }}");
        done = at + original.len();
    }
    (altered + &text[done..]).into_bytes()
}

/// Builds the copy, unless it was built, and plays it with one of its mistakes.
fn play_copy(copy: &Path, mutant: &Mutant) -> String {
    let mut command = Command::new(env!("CARGO"));
    let command = command
        .args(["test", "--offline", "--quiet", "--test", "sim"])
        .args(["mutants::the_first_failing_seed_of_this_source"])
        .args(["--", "--exact", "--ignored", "--nocapture"])
        .current_dir(copy)
        .env(MISTAKE, mutant.name)
        .env("CARGO_TARGET_DIR", copy.join("target"))
        .stderr(Stdio::piped());
    let output = command.output().expect("cargo runs");
    let text = String::from_utf8_lossy(&output.stderr);
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(OUTCOME));
    let outcome = lines.next().map(str::to_owned);
    outcome.unwrap_or_else(|| panic!("no outcome: {text}"))
}

#[test]
fn mutants_fit_the_source() {
    for mutant in core::MUTANTS.iter().chain(scripts::MUTANTS) {
        mutant.apply(&read(&root().join(mutant.file)));
    }
}

#[test]
#[ignore = "takes minutes"]
fn mistakes_in_the_scripts_are_found() {
    hunt(scripts::MUTANTS, |mutant| {
        shown(first_failure(Some(&Arc::new(mutant.altered_script()))))
    });
}

#[test]
#[ignore = "takes minutes, and builds the server"]
fn mistakes_in_the_core_are_found() {
    let copy = env::temp_dir().join("loudhailer-mutants");
    copy_source(&copy);
    hunt(core::MUTANTS, |mutant| play_copy(&copy, mutant));
}

/// What the copy is played by.
#[test]
#[ignore = "a part of `mistakes_in_the_core_are_found`"]
fn the_first_failing_seed_of_this_source() {
    eprintln!("{OUTCOME}{}", shown(first_failure(None)));
}
