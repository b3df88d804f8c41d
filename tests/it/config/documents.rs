//! Documents as tests: each `console` block whose command ends by itself prints what the block says.

use std::{fs, path::Path};

use crate::support::process::Process;

const PAGES: [&str; 6] = [
    "docs/configuration.md",
    "docs/laravel.md",
    "docs/migrate/laravel-websockets.md",
    "docs/migrate/pusher.md",
    "docs/migrate/reverb.md",
    "docs/migrate/soketi.md",
];

/// A command of a page, and the lines that it prints.
struct Example<'a> {
    command: &'a str,
    output: Vec<&'a str>,
}

fn examples(page: &str) -> Vec<Example<'_>> {
    let blocks = page.split("```console\n").skip(1);
    let blocks = blocks.filter_map(|block| Some(block.split_once("```")?.0));
    let commands = blocks.flat_map(|block| block.split("$ ").skip(1));
    // What needs a file of the reader's is not run.
    let alone = commands.filter(|it| !it.contains("--config") && !it.starts_with("printf"));
    alone
        .map(|example| {
            let mut lines = example.lines();
            let command = lines.next().unwrap_or_default();
            let output = lines.filter(|line| !line.is_empty()).collect();
            Example { command, output }
        })
        .collect()
}

/// Runs a command of variables, `loudhailer` and arguments without spaces, and looks for the lines in their order.
#[track_caller]
fn holds(page: &str, Example { command, output }: &Example<'_>) {
    let words: Vec<_> = command.split(' ').collect();
    let program = words.iter().position(|word| *word == "loudhailer");
    let program = program.unwrap_or_else(|| panic!("{page}: {command} is not of this program"));
    let variables = words[..program].iter().map(|word| word.split_once('='));
    let variables: Vec<_> = variables.map(|it| it.expect("a variable")).collect();
    let finished = Process::run(&words[program + 1..], &variables);
    let printed = finished.stdout + &finished.stderr;
    let mut lines = printed.lines();
    for expected in output {
        assert!(
            lines.any(|line| line == *expected),
            "{page}: {command} does not print {expected:?} there:\n{printed}"
        );
    }
}

#[test]
fn commands_of_the_guides_print_what_the_guides_say() {
    let mut checked = 0;
    for page in PAGES {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
        let text = fs::read_to_string(path).expect("the page is there");
        for example in examples(&text) {
            holds(page, &example);
            checked += 1;
        }
    }
    assert!(checked >= 3, "only {checked} examples were found");
}
