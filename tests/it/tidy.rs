//! The shape of the source: layers (design.md §4), module docs, and one place for Pusher's numbers; the tests that documents name.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Each module's layer; a module imports only from layers with a smaller number, and from itself.
const LAYERS: &[(&str, u8)] = &[
    ("protocol", 0),
    ("address", 1),
    ("feed", 1),
    ("metrics", 1),
    ("settings", 1),
    ("app", 2),
    ("config", 2),
    ("http_body", 2),
    ("engine", 3),
    ("hub", 3),
    ("presence", 3),
    ("store", 3),
    ("users", 3),
    ("webhook", 3),
    ("node", 4),
    ("connection", 5),
    ("admin", 6),
    ("api", 6),
    ("transport", 6),
    ("banner", 7),
    ("commands", 7),
    ("drain", 7),
    ("keeper", 7),
    ("server", 7),
];

/// Imports between siblings that were decided on: (from, to).
const ALLOWED: &[(&str, &str)] = &[
    ("admin", "api"),
    ("config", "app"),
    ("hub", "presence"),
    ("engine", "hub"),
    ("engine", "presence"),
    ("server", "banner"),
    ("server", "drain"),
    ("server", "keeper"),
];

/// The only file that may hold close and error codes.
const CODES: &str = "protocol/code.rs";

const PUSHER_CODES: &[u32] = &[
    4000, 4001, 4002, 4003, 4004, 4005, 4006, 4007, 4008, 4009, 4100, 4200, 4201, 4202, 4300, 4301,
    4302,
];

/// A source file, without comments, strings and tests.
struct Source {
    path: String,
    text: String,
    code: String,
}

impl Source {
    fn read(root: &Path, file: &Path) -> Self {
        let text = fs::read_to_string(file).expect("a source file is text");
        let path = file
            .strip_prefix(root)
            .expect("below src")
            .display()
            .to_string();
        let bare = without_comments_and_strings(&text);
        let code = match bare.find("#[cfg(test)]") {
            Some(tests) => bare[..tests].to_owned(),
            None => bare,
        };
        Self { path, text, code }
    }

    /// The top-level module that this file belongs to; none for the crate's roots.
    fn module(&self) -> Option<&str> {
        let module = self.path.split('/').next()?.trim_end_matches(".rs");
        (!["main", "lib"].contains(&module)).then_some(module)
    }

    /// How many `super::` lead from this file to the crate's root.
    fn depth(&self) -> usize {
        let parts = self.path.split('/').count();
        if self.path.ends_with("/mod.rs") {
            parts - 1
        } else {
            parts
        }
    }

    fn is_test(&self) -> bool {
        self.path
            .split('/')
            .any(|part| ["tests", "tests.rs"].contains(&part))
    }
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    assert!(files.len() > 10, "the source was found");
    files.sort();
    files.iter().map(|file| Source::read(&root, file)).collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// Blanks out comments, string literals and character literals; line breaks stay.
fn without_comments_and_strings(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let skipped = literal_length(rest);
        if skipped == 0 {
            code.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            code.push(' ');
            code.extend(
                rest[..skipped]
                    .chars()
                    .filter(|character| *character == '\n'),
            );
            rest = &rest[skipped..];
        }
    }
    code
}

/// The bytes of the comment or literal that starts here; 0 where none does.
fn literal_length(rest: &str) -> usize {
    let until = |start: usize, end: &str| {
        rest[start..]
            .find(end)
            .map_or(rest.len(), |at| start + at + end.len())
    };
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return until(2, "*/");
    }
    if rest.starts_with("r\"") {
        return until(2, "\"");
    }
    if rest.starts_with("r#\"") {
        return until(3, "\"#");
    }
    if rest.starts_with('"') {
        return quoted_length(rest, b'"');
    }
    // A character, and not a lifetime.
    let is_character = rest.starts_with("'\\") || rest.chars().nth(2) == Some('\'');
    if rest.starts_with('\'') && is_character {
        return quoted_length(rest, b'\'');
    }
    0
}

fn quoted_length(rest: &str, quote: u8) -> usize {
    let mut escaped = false;
    for (at, byte) in rest.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            byte if byte == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// The crate's top-level modules that this code names.
fn imports(source: &Source) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let to_root = "super::".repeat(source.depth());
    for start in ["crate::", to_root.as_str()] {
        for (at, _) in source.code.match_indices(start) {
            let before = source.code[..at].chars().next_back();
            if before
                .is_some_and(|before| before.is_alphanumeric() || before == '_' || before == ':')
            {
                continue;
            }
            found.extend(first_names(&source.code[at + start.len()..]));
        }
    }
    found
}

/// `hub::Hub` names `hub`; `{app::App, hub::{Hub, Shard}}` names `app` and `hub`.
fn first_names(path: &str) -> Vec<String> {
    let Some(group) = path.strip_prefix('{') else {
        return vec![identifier(path)];
    };
    let mut names = vec![identifier(group.trim_start())];
    let mut depth = 0;
    for (at, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(identifier(group[at + 1..].trim_start())),
            _ => {}
        }
    }
    names
}

fn identifier(text: &str) -> String {
    text.chars()
        .take_while(|character| character.is_alphanumeric() || *character == '_')
        .collect()
}

fn layer(module: &str) -> Option<u8> {
    LAYERS
        .iter()
        .find(|(name, _)| *name == module)
        .map(|(_, layer)| *layer)
}

#[test]
fn each_layer_imports_only_from_layers_above_it() {
    let mut wrong = Vec::new();
    for source in sources() {
        let Some(module) = source.module() else {
            continue;
        };
        let own =
            layer(module).unwrap_or_else(|| panic!("{module} has no layer: name it in LAYERS"));
        for import in imports(&source) {
            let allowed = import == module || ALLOWED.contains(&(module, &import));
            if !allowed && layer(&import).is_some_and(|other| other >= own) {
                wrong.push(format!(
                    "{} ({module}, layer {own}) imports {import}",
                    source.path
                ));
            }
        }
    }
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
    let mut files = Vec::new();
    for folder in ["src", "tests/it"] {
        collect(&root.join(folder), &mut files);
    }
    let texts = files.iter().map(fs::read_to_string);
    let code = texts.collect::<Result<String, _>>().expect("text");
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
fn this_test_reads_rust_well_enough() {
    let text = "use crate::{app::App, hub::{Hub, node}, feed}; // crate::server\nlet a = \"crate::api\"; crate::node::x();";
    let source = Source {
        path: "hub/shard.rs".to_owned(),
        text: String::new(),
        code: without_comments_and_strings(
            &(text.to_owned() + " super::super::admin::x; super::own; 'a'; &'a str"),
        ),
    };
    let names: Vec<_> = imports(&source).into_iter().collect();
    assert_eq!(names, ["admin", "app", "feed", "hub", "node"]);
    assert_eq!(
        numbers("close(4_009u16, 4100) + x4200").collect::<Vec<_>>(),
        [4009, 4100]
    );
}
