//! Documents as tests: every block of every page is run, checked by the program that it is for, or listed with the reason why not.

mod commands;
mod pattern;
mod snippets;

use std::fs;

/// A fenced block of a page.
#[derive(Debug)]
struct Block {
    /// Relative to the repository.
    page: String,
    line: usize,
    language: String,
    text: String,
}

impl Block {
    /// Where it is, for whoever mends it.
    fn place(&self) -> String {
        format!("{}:{}", self.page, self.line)
    }

    fn first_line(&self) -> &str {
        self.text.lines().next().unwrap_or_default()
    }
}

fn in_tree(name: &str) -> String {
    format!("{}/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Every page for users.
fn pages() -> Vec<String> {
    let mut pages = vec!["README.md".to_owned(), "SECURITY.md".to_owned()];
    for folder in ["docs", "docs/migrate"] {
        let entries = fs::read_dir(in_tree(folder)).expect("the folder is there");
        let names = entries.map(|entry| entry.expect("it can be read").file_name());
        let names = names.map(|name| format!("{folder}/{}", name.display()));
        pages.extend(names.filter(|name| name.ends_with(".md")));
    }
    pages.sort();
    pages
}

/// The blocks of all pages, of one of these languages.
fn blocks(languages: &[&str]) -> Vec<Block> {
    let blocks = pages().into_iter().flat_map(|page| blocks_of(&page));
    let wanted = blocks.filter(|block| languages.contains(&block.language.as_str()));
    wanted.collect()
}

fn blocks_of(page: &str) -> Vec<Block> {
    let text = fs::read_to_string(in_tree(page)).expect("the page is there");
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (index, line) in text.lines().enumerate() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(language)) => {
                open = Some(Block {
                    page: page.to_owned(),
                    line: index + 1,
                    language: language.to_owned(),
                    text: String::new(),
                });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(block), None) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "{page} ends within a block");
    blocks
}

/// What blocks of each language are for. A language that is not here is a block that nobody checks.
const LANGUAGES: [(&str, &str); 16] = [
    (
        "",
        "lines that a server, a log or an address bar shows: nothing to run",
    ),
    ("console", "commands"),
    ("sh", "commands"),
    ("bash", "commands"),
    ("toml", "snippets: check-config"),
    ("ini", "snippets: a Laravel .env, check-config --env-file"),
    ("nginx", "snippets: nginx -t"),
    ("haproxy", "snippets: haproxy -c"),
    ("cfg", "snippets: Python's configparser"),
    ("json", "snippets: a JSON parser"),
    ("yaml", "snippets: a YAML parser"),
    ("systemd", "snippets: systemd-analyze verify"),
    ("js", "snippets: node --check"),
    ("python", "snippets: Python's parser"),
    ("php", "snippets: php -l"),
    (
        "sql",
        "none: a statement for a database server, whose columns apps::sql has",
    ),
];

#[test]
fn every_block_has_a_language_that_is_checked() {
    for page in pages() {
        for block in blocks_of(&page) {
            let language = block.language.as_str();
            let is_known = LANGUAGES.iter().any(|(known, _)| *known == language);
            assert!(is_known, "{}: {language}", block.place());
        }
    }
}
