//! The shape of the source: the layers (docs/architecture.md), what is pure, module docs, sizes, and one place for Pusher's numbers; the
//! tests that documents name.

mod source;

use std::{collections::BTreeMap, fs, path::Path};

use self::source::{Source, literal_length, sources, sources_below, words};

/// Each module's layer; a module imports only from layers with a smaller number, and from itself.
const LAYERS: &[(&str, u8)] = &[
    ("protocol", 0),
    ("address", 1),
    ("dotenv", 1),
    ("feed", 1),
    ("metrics", 1),
    ("settings", 1),
    ("tls", 1),
    ("watch", 1),
    ("app", 2),
    ("config", 2),
    ("http_body", 2),
    ("engine", 3),
    ("hub", 3),
    ("presence", 3),
    ("store", 3),
    ("webhook", 3),
    ("node", 4),
    ("connection", 5),
    ("admin", 6),
    ("api", 6),
    ("transport", 6),
    ("acme", 7),
    ("banner", 7),
    ("certificates", 7),
    ("cli", 7),
    ("commands", 7),
    ("door", 7),
    ("drain", 7),
    ("keeper", 7),
    ("memory", 7),
    ("server", 7),
];

/// Imports between siblings that were decided on: (from, to).
const ALLOWED: &[(&str, &str)] = &[
    ("admin", "api"),
    ("commands", "acme"),
    ("commands", "banner"),
    ("commands", "door"),
    ("commands", "server"),
    ("config", "app"),
    ("hub", "presence"),
    ("tls", "metrics"),
    ("engine", "hub"),
    ("engine", "presence"),
    ("banner", "door"),
    ("drain", "door"),
    ("server", "acme"),
    ("server", "banner"),
    ("server", "certificates"),
    ("server", "door"),
    ("server", "drain"),
    ("server", "keeper"),
    ("server", "memory"),
];

/// The order within the engine: a module imports only from rows with a smaller number, and from itself. What `engine/mod.rs` defines is
/// everyone's vocabulary, but for the engine itself.
const ENGINE: &[(&str, u8)] = &[
    ("engine::answers", 0),
    ("engine::edge", 0),
    ("engine::key", 0),
    ("engine::shared", 0),
    ("engine::cacheable", 1),
    ("engine::cluster::core", 2),
    ("engine::state", 2),
    ("engine::cluster::apps", 3),
    ("engine::cluster::envelope", 3),
    ("engine::cluster::mailbox", 3),
    ("engine::cluster::mirror", 3),
    ("engine::cluster::reply", 3),
    ("engine::cluster::redis", 4),
    ("engine::cluster", 5),
    ("engine::Engine", 6),
];

/// Rows of the engine that name each other: together they are one pure layer. The core encodes marks, and envelopes carry its types.
const ENGINE_PAIR: [&str; 2] = ["engine::cluster::core", "engine::cluster::envelope"];

/// The only file outside the engine that may look into the cluster.
const PEERS: &str = "node/peers.rs";

/// Words that no pure module uses.
const IMPURE: &[&str] = &[
    "tokio",
    "redis",
    "rand",
    "SystemTime",
    "async",
    "await",
    "thread",
    "net",
];
/// Words that no module uses that belongs to one owner.
const SHARED: &[&str] = &["Mutex", "RwLock", "Cell", "RefCell"];

/// Modules that are pure, and further words that none of their files may use.
const PURE: &[(&str, &[&str])] = &[
    ("engine/cluster/core/", SHARED),
    ("engine/cluster/envelope.rs", &[]),
    ("engine/state/", &[]),
    ("presence.rs", &[]),
];

/// Fields of a struct in `engine/`.
const ENGINE_FIELDS_MAX: usize = 12;
/// Lines of a function in `engine/`.
const ENGINE_LINES_MAX: usize = 50;

/// The only file that may hold close and error codes.
const CODES: &str = "protocol/code.rs";

const PUSHER_CODES: &[u32] = &[
    4000, 4001, 4002, 4003, 4004, 4005, 4006, 4007, 4008, 4009, 4100, 4200, 4201, 4202, 4300, 4301,
    4302,
];

fn layer(module: &str) -> Option<u8> {
    LAYERS
        .iter()
        .find(|(name, _)| *name == module)
        .map(|(_, layer)| *layer)
}

/// Paths of the crate as they were written to, not as they are shown elsewhere.
struct Originals(BTreeMap<Vec<String>, Vec<String>>);

impl Originals {
    fn of(sources: &[Source]) -> Self {
        Self(sources.iter().flat_map(Source::reexports).collect())
    }

    fn find(&self, path: &[String]) -> Vec<String> {
        for length in (1..=path.len()).rev() {
            if let Some(original) = self.0.get(&path[..length]) {
                let whole = [original, &path[length..]].concat();
                // A function that is called as its module leads nowhere else.
                let is_found = original.starts_with(&path[..length]);
                return if is_found { whole } else { self.find(&whole) };
            }
        }
        path.to_vec()
    }
}

/// The row of the engine's order that a path belongs to: the longest.
fn engine_row(path: &[String]) -> Option<&'static (&'static str, u8)> {
    let belongs = |row: &str| {
        let names: Vec<&str> = row.split("::").collect();
        path.len() >= names.len() && path.iter().zip(&names).all(|(one, other)| one == other)
    };
    let rows = ENGINE.iter().filter(|(row, _)| belongs(row));
    rows.max_by_key(|(row, _)| row.len())
}

#[test]
fn each_layer_imports_only_from_layers_above_it() {
    let mut wrong = Vec::new();
    let all = sources();
    for source in &all {
        let module = source.module();
        let Some(module) = module.first().copied() else {
            continue;
        };
        let own =
            layer(module).unwrap_or_else(|| panic!("{module} has no layer: name it in LAYERS"));
        for import in source.paths().iter().filter_map(|path| path.first()) {
            let allowed = import == module || ALLOWED.contains(&(module, import));
            if !allowed && layer(import).is_some_and(|other| other >= own) {
                wrong.push(format!(
                    "{} ({module}, layer {own}) imports {import}",
                    source.path
                ));
            }
        }
    }
    for (module, _) in LAYERS {
        if !all.iter().any(|source| source.module() == [*module]) {
            wrong.push(format!("LAYERS names {module}, which is no module"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn within_the_engine_state_and_core_know_nothing_of_what_is_built_on_them() {
    let all = sources();
    let originals = Originals::of(&all);
    let mut wrong = Vec::new();
    for source in &all {
        let module: Vec<String> = source.module().into_iter().map(str::to_owned).collect();
        let Some((own, place)) = engine_row(&module) else {
            continue;
        };
        for path in source.paths() {
            let original = originals.find(&path);
            if let Some((row, other)) = engine_row(&original)
                && row != own
                && other >= place
                && ![*row, *own].iter().all(|one| ENGINE_PAIR.contains(one))
            {
                let (path, original) = (path.join("::"), original.join("::"));
                wrong.push(format!(
                    "{} imports {path}, which is {original}",
                    source.path
                ));
            }
        }
    }
    for (row, _) in ENGINE.iter().filter(|(row, _)| *row != "engine::Engine") {
        if !all.iter().any(|source| source.module().join("::") == *row) {
            wrong.push(format!("ENGINE names {row}, which is no module"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn only_the_requests_between_nodes_look_into_the_cluster() {
    let outside = |source: &Source| !source.path.starts_with("engine/") && source.path != PEERS;
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| outside(source)) {
        for path in source.paths() {
            if path.starts_with(&["engine".to_owned(), "cluster".to_owned()]) {
                wrong.push(format!("{} imports {}", source.path, path.join("::")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_pure_has_no_clock_no_chance_and_waits_for_nothing() {
    let mut wrong = Vec::new();
    for (folder, forbidden) in PURE {
        let theirs: Vec<Source> = sources()
            .into_iter()
            .filter(|source| source.path.starts_with(folder) && !source.is_test())
            .collect();
        assert!(
            !theirs.is_empty(),
            "PURE names {folder}, which is not there"
        );
        for source in theirs {
            let used = words(&source.code).map(|(_, word)| word);
            wrong.extend(
                used.filter(|word| IMPURE.contains(word) || forbidden.contains(word))
                    .map(|word| format!("{} says {word}", source.path)),
            );
            for clock in ["Instant::now", ".elapsed()", "random("] {
                if source.code.contains(clock) {
                    wrong.push(format!("{} says {clock}", source.path));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn nothing_in_the_engine_is_too_large_to_be_read_at_once() {
    let mut wrong = Vec::new();
    let (mut structs, mut functions) = (0, 0);
    let engine = |source: &Source| source.path.starts_with("engine/") && !source.is_test();
    for source in sources().into_iter().filter(engine) {
        for one in source.structs() {
            structs += 1;
            if one.size > ENGINE_FIELDS_MAX {
                wrong.push(format!(
                    "{}: {} has {} fields",
                    source.path, one.name, one.size
                ));
            }
        }
        for one in source.functions() {
            functions += 1;
            if one.size > ENGINE_LINES_MAX {
                wrong.push(format!(
                    "{}: {} has {} lines",
                    source.path, one.name, one.size
                ));
            }
        }
    }
    assert!(structs > 20 && functions > 100, "the engine was read");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_module_says_what_it_is() {
    let silent: Vec<_> = sources()
        .into_iter()
        .filter(|source| !source.is_test() && !source.text.trim_start().starts_with("//!"))
        .map(|source| source.path)
        .collect();
    assert!(silent.is_empty(), "without a module doc: {silent:?}");
}

#[test]
fn only_one_file_knows_pushers_numbers() {
    let mut found = Vec::new();
    for source in sources()
        .iter()
        .filter(|source| source.path != CODES && !source.is_test())
    {
        for (number, line) in source.code.lines().enumerate() {
            if numbers(line).any(|number| PUSHER_CODES.contains(&number)) {
                found.push(format!("{}:{}: {}", source.path, number + 1, line.trim()));
            }
        }
    }
    assert!(
        found.is_empty(),
        "close codes belong to {CODES}:\n{}",
        found.join("\n")
    );
}

/// Log lines whose message holds a variable that no client can choose.
const OWN_WORDS: &[&str] = &["this node takes a new name: {reason}"];

#[test]
fn no_log_message_holds_what_somebody_else_said() {
    let mut found = Vec::new();
    for source in sources().iter().filter(|source| !source.is_test()) {
        for message in log_messages(&source.text) {
            if message.contains('{') && !OWN_WORDS.contains(&message) {
                found.push(format!("{}: {message}", source.path));
            }
        }
    }
    assert!(
        found.is_empty(),
        "what clients say belongs into fields, which are escaped:\n{}",
        found.join("\n")
    );
}

/// The last string of each call of a log macro.
fn log_messages(text: &str) -> Vec<&str> {
    let mut messages = Vec::new();
    for name in ["trace!(", "debug!(", "info!(", "warn!(", "error!("] {
        for (at, _) in text.match_indices(name) {
            let (mut rest, mut depth, mut last) = (&text[at + name.len()..], 1, None);
            while depth > 0 && !rest.is_empty() {
                let length = literal_length(rest);
                if length > 0 {
                    last = Some(&rest[..length])
                        .filter(|literal| literal.starts_with('"'))
                        .or(last);
                    rest = &rest[length..];
                    continue;
                }
                depth += i32::from(rest.starts_with('(')) - i32::from(rest.starts_with(')'));
                rest = &rest[rest.chars().next().map_or(0, char::len_utf8)..];
            }
            messages.extend(last.map(|literal| literal.trim_matches('"')));
        }
    }
    messages
}

/// The integer literals of a line.
fn numbers(line: &str) -> impl Iterator<Item = u32> {
    let words = line.split(|character: char| !character.is_alphanumeric() && character != '_');
    words.filter_map(|word| {
        let digits: String = word.chars().filter(|character| *character != '_').collect();
        let digits = ["u16", "u32", "u64", "i32", "usize"]
            .iter()
            .find_map(|suffix| digits.strip_suffix(suffix))
            .unwrap_or(&digits);
        digits.parse().ok()
    })
}

#[test]
fn every_test_that_the_threat_model_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let model = fs::read_to_string(root.join("docs/security.md")).expect("the threat model");
    let code: String = [sources(), sources_below("tests/it")]
        .into_iter()
        .flatten()
        .map(|source| source.text)
        .collect();
    let mut named = 0;
    for row in model.lines().filter(|line| line.starts_with("| ")) {
        let last = row.trim_end_matches(" |").rsplit(" | ").next();
        for name in last.unwrap_or_default().split('`').skip(1).step_by(2) {
            let module = root.join("tests/it").join(name.replace("::", "/"));
            let is_module = module.is_dir() || module.with_extension("rs").is_file();
            let is_test = code.contains(&format!("fn {name}("));
            assert!(is_module || is_test, "{name}, in: {row}");
            named += 1;
        }
    }
    assert!(named > 50, "only {named} tests were found");
}

#[test]
fn numbers_are_read_in_every_form() {
    assert_eq!(
        numbers("close(4_009u16, 4100) + x4200").collect::<Vec<_>>(),
        [4009, 4100]
    );
}
