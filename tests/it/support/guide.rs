//! The examples of guides: blocks of `console` with commands and what they printed.

use std::fs;

/// A command, and what the guide says that it prints.
#[derive(Debug)]
pub(crate) struct Example {
    pub(crate) command: String,
    pub(crate) output: String,
}

/// The examples of a guide in `docs`, block by block.
pub(crate) fn blocks(guide: &str) -> Vec<Vec<Example>> {
    let path = format!("{}/docs/{guide}", env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let blocks = text.split("```console\n").skip(1);
    blocks
        .map(|block| {
            let (block, _) = block.split_once("```").expect("a block ends");
            examples(block)
        })
        .collect()
}

/// The commands of a block, each with what it printed.
pub(crate) fn examples(block: &str) -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    for line in block.lines() {
        match line.strip_prefix("$ ") {
            Some(command) => examples.push(Example {
                command: command.to_owned(),
                output: String::new(),
            }),
            None => {
                let example = examples.last_mut().expect("output follows a command");
                example.output += line;
                example.output += "\n";
            }
        }
    }
    examples
}

/// The text with `#` for each number, version, date and address: they differ from run to run.
pub(crate) fn without_numbers(text: &str) -> String {
    let mut plain = String::new();
    let mut in_number = false;
    for character in text.chars() {
        let goes_on = character.is_ascii_digit() || (in_number && character == '.');
        if goes_on && !in_number {
            plain.push('#');
        }
        if !goes_on {
            plain.push(character);
        }
        in_number = goes_on;
    }
    plain
}
