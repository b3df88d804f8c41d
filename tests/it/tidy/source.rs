//! Reads Rust just well enough to check its shape: files without comments, strings and tests; the paths that they name; their
//! structs and functions.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// A source file.
pub(super) struct Source {
    /// Below `src`.
    pub(super) path: String,
    /// As it is.
    pub(super) text: String,
    /// Without comments, strings and `mod tests { … }`; lines keep their numbers.
    pub(super) code: String,
}

/// Something with a name and a size.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Measured {
    pub(super) name: String,
    pub(super) size: usize,
}

impl Source {
    fn read(root: &Path, file: &Path) -> Self {
        let text = fs::read_to_string(file).expect("a source file is text");
        let path = file.strip_prefix(root).expect("below src");
        Self::of(path.display().to_string(), text)
    }

    pub(super) fn of(path: String, text: String) -> Self {
        let code = without_tests(without_comments_and_strings(&text));
        Self { path, text, code }
    }

    /// The names that lead to this module from the crate's root; none for the roots.
    pub(super) fn module(&self) -> Vec<&str> {
        let path = self.path.trim_end_matches(".rs");
        let mut names: Vec<&str> = path.split('/').collect();
        if matches!(names.last(), Some(&"mod" | &"main" | &"lib")) {
            names.pop();
        }
        names
    }

    pub(super) fn is_test(&self) -> bool {
        self.path
            .split('/')
            .any(|part| ["tests", "tests.rs"].contains(&part))
    }

    /// Whatever this file names of the crate, each as a path from its root.
    pub(super) fn paths(&self) -> BTreeSet<Vec<String>> {
        let mut found = BTreeSet::new();
        for start in ["crate::", "self::", "super::"] {
            for (at, _) in self.code.match_indices(start) {
                if !follows_name(&self.code[..at]) {
                    self.take_paths(&self.code[at..], &mut found);
                }
            }
        }
        found
    }

    /// What this module shows as its own: the name here, and the path of the original.
    pub(super) fn reexports(&self) -> Vec<(Vec<String>, Vec<String>)> {
        let own: Vec<String> = self.module().into_iter().map(str::to_owned).collect();
        let mut originals = BTreeSet::new();
        for start in ["pub use ", "pub(super) use ", "pub(crate) use "] {
            for (at, _) in self.code.match_indices(start) {
                let tree = &self.code[at + start.len()..];
                match tree.starts_with("crate::") {
                    true => self.take_paths(tree, &mut originals),
                    false => take_tree(&own, tree.trim_start_matches("self::"), &mut originals),
                }
            }
        }
        let named = originals.into_iter().filter_map(|original| {
            let shown = own.iter().chain(original.last()).cloned().collect();
            (shown != original).then_some((shown, original))
        });
        named.collect()
    }

    fn take_paths(&self, code: &str, found: &mut BTreeSet<Vec<String>>) {
        let mut base: Vec<String> = self.module().into_iter().map(str::to_owned).collect();
        let mut rest = code;
        loop {
            if let Some(after) = rest.strip_prefix("super::") {
                base.pop();
                rest = after;
            } else if let Some(after) = rest.strip_prefix("self::") {
                rest = after;
            } else if let Some(after) = rest.strip_prefix("crate::") {
                base.clear();
                rest = after;
            } else {
                break;
            }
        }
        take_tree(&base, rest, found);
    }

    /// The structs with their numbers of fields.
    pub(super) fn structs(&self) -> Vec<Measured> {
        let with_fields = self.after("struct").filter_map(|rest| {
            let name = identifier(rest);
            let before_end = &rest[..rest.find(';').unwrap_or(rest.len())];
            let open = body_of(rest).or_else(|| before_end.find('('))?;
            let size = parts(block(&rest[open..])?);
            Some(Measured { name, size })
        });
        with_fields.collect()
    }

    /// The functions with their lines, from the name to the closing brace.
    pub(super) fn functions(&self) -> Vec<Measured> {
        let with_bodies = self.after("fn").filter_map(|rest| {
            let name = identifier(rest);
            if name.is_empty() {
                // The type of a function.
                return None;
            }
            let open = body_of(rest)?;
            let body = block(&rest[open..])?;
            let size = rest[..open + body.len()].lines().count();
            Some(Measured { name, size })
        });
        with_bodies.collect()
    }

    /// What follows each such keyword.
    fn after<'a>(&'a self, keyword: &'a str) -> impl Iterator<Item = &'a str> {
        let found = words(&self.code).filter(move |(_, word)| *word == keyword);
        found.map(move |(at, _)| self.code[at + keyword.len()..].trim_start())
    }
}

/// All files below `src`.
pub(super) fn sources() -> Vec<Source> {
    sources_below("src")
}

/// All of a folder of the project.
pub(super) fn sources_below(folder: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
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

// --- Literals, comments, tests ---------------------------------------------------------------------------

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
            code.extend(rest[..skipped].matches('\n'));
            rest = &rest[skipped..];
        }
    }
    code
}

/// The bytes of the comment or literal that starts here; 0 where none does.
pub(super) fn literal_length(rest: &str) -> usize {
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

/// Blanks out `mod tests { … }`. Everything else that is for tests only is read like the rest.
fn without_tests(code: String) -> String {
    let Some(at) = code.find("mod tests {") else {
        return code;
    };
    let open = at + "mod tests ".len();
    let length = block(&code[open..]).map_or(code.len() - open, str::len);
    let lines: String = code[open..open + length].matches('\n').collect();
    [&code[..at], &lines, &code[open + length..]].concat()
}

// --- Structure -------------------------------------------------------------------------------------------

/// From the bracket that stands first to the one that closes it, both included; nothing when another character stands there.
fn block(code: &str) -> Option<&str> {
    let mut depth = 0_usize;
    for (at, character) in code.char_indices() {
        match character {
            '{' | '(' | '[' => depth += 1,
            '}' | ')' | ']' => depth = depth.checked_sub(1)?,
            _ => {}
        }
        if depth == 0 {
            return (at > 0).then(|| &code[..=at]);
        }
    }
    None
}

/// Where the body of a function begins, from its name on; nothing for one without a body.
fn body_of(code: &str) -> Option<usize> {
    let mut depth = 0;
    for (at, character) in code.char_indices() {
        match character {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            '{' if depth == 0 => return Some(at),
            ';' if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

/// How many parts a block has that commas separate.
fn parts(block: &str) -> usize {
    let (mut depth, mut count, mut is_empty, mut before) = (0, 0, true, ' ');
    for character in block[1..block.len() - 1].chars() {
        match character {
            '{' | '(' | '[' | '<' => depth += 1,
            '>' if before == '-' => {}
            '}' | ')' | ']' | '>' => depth -= 1,
            _ => {}
        }
        if character == ',' && depth == 0 {
            count += usize::from(!is_empty);
            is_empty = true;
        } else if !character.is_whitespace() {
            is_empty = false;
        }
        before = character;
    }
    count + usize::from(!is_empty)
}

/// The paths of a tree as `use` has it: `a::{b, c::D}` names `a::b` and `a::c::D`.
fn take_tree(base: &[String], code: &str, found: &mut BTreeSet<Vec<String>>) {
    let code = code.trim_start();
    if let Some(group) = code.strip_prefix('{') {
        let (mut depth, mut from) = (0, 0);
        for (at, character) in group.char_indices() {
            match character {
                '{' => depth += 1,
                ',' | '}' if depth == 0 => {
                    if !group[from..at].trim().is_empty() {
                        take_tree(base, &group[from..at], found);
                    }
                    from = at + 1;
                    if character == '}' {
                        return;
                    }
                }
                '}' => depth -= 1,
                _ => {}
            }
        }
        return;
    }
    let name = identifier(code);
    let mut path = base.to_vec();
    match &*name {
        "self" | "" => {}
        _ => path.push(name.clone()),
    }
    match code[name.len()..].strip_prefix("::") {
        Some(rest) if !name.is_empty() && !rest.starts_with('<') => take_tree(&path, rest, found),
        _ => drop(found.insert(path)),
    }
}

pub(super) fn identifier(text: &str) -> String {
    text.chars()
        .take_while(|character| is_of_name(*character))
        .collect()
}

fn is_of_name(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

fn follows_name(before: &str) -> bool {
    let last = before.chars().next_back();
    last.is_some_and(|last| is_of_name(last) || last == ':')
}

/// The identifiers and keywords of code, and where they stand.
pub(super) fn words(code: &str) -> impl Iterator<Item = (usize, &str)> {
    let pieces = code.split(|character: char| !is_of_name(character));
    let named = pieces.filter(|word| !word.is_empty());
    named.map(|word| (word.as_ptr() as usize - code.as_ptr() as usize, word))
}

#[test]
fn rust_is_read_well_enough() {
    let text = r##"
        use crate::{app::App, hub::{self, Hub, node}, feed}; // crate::server
        use super::super::admin::{x, self as y};
        struct One<T> where T: Fn() -> u8 { a: BTreeMap<u8, (T, T)>, #[serde(skip)] pub(super) b: fn(u8) -> u8 }
        struct Two(u8, u8,); struct Three;
        fn short(a: [u8; 2]) -> [u8; 2] { crate::node::x::<u8>(); }
        fn none();
        fn long() {
            let a = "crate::api } {"; let b = r#"crate::api"#; ('{', 'a': &'a str);
        }
        #[cfg(test)]
        mod tests {
            fn ignored() { crate::banner::x() }
        }
        fn last() { self::own::y(); super::Shard }
    "##;
    let source = Source::of("hub/shard/seat.rs".to_owned(), text.to_owned());
    let paths = source
        .paths()
        .iter()
        .map(|path| path.join("::"))
        .collect::<Vec<_>>();
    let expected = [
        "app::App",
        "feed",
        "hub",
        "hub::Hub",
        "hub::admin",
        "hub::admin::x",
        "hub::node",
        "hub::shard::Shard",
        "hub::shard::seat::own::y",
        "node::x",
    ];
    assert_eq!(paths, expected);
    let named = |name: &str, size| Measured {
        name: name.to_owned(),
        size,
    };
    assert_eq!(source.structs(), [named("One", 2), named("Two", 2)]);
    assert_eq!(
        source.functions(),
        [named("short", 1), named("long", 3), named("last", 1)]
    );
    assert_eq!(
        source.text.matches('\n').count(),
        source.code.matches('\n').count(),
        "lines keep their numbers"
    );
}
