//! Documents that are held to the code: the tables of other servers' names, and the page of errors.

use super::{super::aliases::names::NAMES, defaults::in_tree, *};

const PAGES: [&str; 4] = [
    "docs/migrate/pusher.md",
    "docs/migrate/soketi.md",
    "docs/migrate/reverb.md",
    "docs/migrate/laravel-websockets.md",
];
/// Between these a page has the table of the names that begin so: `<!-- names PUSHER_ REDIS_ -->`.
const FROM: &str = "<!-- names ";
const TO: &str = "<!-- end of names -->";

/// `UPDATE=1 cargo test --lib generated` writes them.
#[test]
fn generated_tables_of_names_are_up_to_date() {
    let mut shown = std::collections::BTreeSet::new();
    for page in PAGES {
        let written = fs::read_to_string(in_tree(page)).expect("the page is there");
        let text = with_table(&written, &mut shown);
        if std::env::var_os("UPDATE").is_some() {
            fs::write(in_tree(page), &text).expect("the tree is writable");
            continue;
        }
        assert!(
            written == text,
            "{page} is out of date: UPDATE=1 cargo test --lib generated"
        );
    }
    for (name, _) in NAMES {
        assert!(shown.contains(name), "{name} is on no page");
    }
}

fn with_table(page: &str, shown: &mut std::collections::BTreeSet<&'static str>) -> String {
    let (before, rest) = page.split_once(FROM).expect("the page has a table");
    let (prefixes, rest) = rest.split_once(" -->").expect("the mark ends");
    let (_, after) = rest.split_once(TO).expect("the table ends");
    let mut table = String::from("| Name | Here | |\n|---|---|---|\n");
    let mut names: Vec<_> = NAMES.iter().collect();
    names.sort_by_key(|(name, _)| *name);
    for (name, meaning) in names {
        if prefixes.split(' ').any(|prefix| name.starts_with(prefix)) {
            let (key, words) = meaning.described(name);
            table.push_str(&format!("| `{name}` | {key} | {words} |\n"));
            shown.insert(name);
        }
    }
    format!("{before}{FROM}{prefixes} -->\n{table}{TO}{after}")
}

/// Sources whose texts people see, and what of them is for the log alone.
const SOURCES: [&str; 7] = [
    "src/api/error.rs",
    "src/admin/error.rs",
    "src/http_body.rs",
    "src/connection/admission.rs",
    "src/connection/subscribe.rs",
    "src/connection/client_event.rs",
    "src/connection/signin.rs",
];
const FOR_THE_LOG: [&str; 1] = ["an API request failed"];
/// Shorter texts are parts of others.
const FRAGMENT_MIN: usize = 14;

#[test]
fn the_page_of_errors_has_every_message_and_code() {
    let page = fs::read_to_string(in_tree("docs/errors.md")).expect("the page is there");
    for source in SOURCES {
        let text = fs::read_to_string(in_tree(source)).expect("the source is there");
        for fragment in fragments(&text) {
            assert!(
                page.contains(&fragment) || FOR_THE_LOG.contains(&fragment.as_str()),
                "{source}: {fragment:?} is not in docs/errors.md"
            );
        }
    }
    let codes = fs::read_to_string(in_tree("src/protocol/code.rs")).expect("the source is there");
    let numbers = codes.lines().filter_map(|line| line.split_once("=> "));
    for (_, number) in numbers {
        let number = number.trim_end_matches(',');
        let is_code = number.parse::<u16>().is_ok();
        assert!(
            !is_code || page.contains(&format!("| {number} |")),
            "{number} is not in docs/errors.md"
        );
    }
}

/// The longest part without a placeholder of each text of a source, its tests and comments left out.
fn fragments(source: &str) -> Vec<String> {
    let code = source.split("#[cfg(test)]").next().unwrap_or_default();
    let code = code.replace("'\"'", "a quote");
    let lines = code
        .lines()
        .map(str::trim)
        .filter(|line| !line.starts_with("//"));
    let code = lines.collect::<Vec<_>>().join("\n");
    let mut fragments = Vec::new();
    let mut rest = code.as_str();
    while let Some((before, after)) = rest.split_once('"') {
        let mut escaped = false;
        let end = after.find(|c| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        let end = end.expect("a text ends");
        let text = after[..end].replace("\\\n", "").replace("\\\"", "\"");
        rest = &after[end + 1..];
        if before.trim_end().ends_with("expect(") {
            continue;
        }
        let parts = text
            .split('{')
            .map(|part| part.split_once('}').map_or(part, |it| it.1));
        let longest = parts.max_by_key(|part| part.len()).unwrap_or_default();
        let longest = longest.trim_matches([' ', ':', '.', ',', ';']);
        if longest.len() >= FRAGMENT_MIN {
            fragments.push(longest.to_owned());
        }
    }
    fragments
}
