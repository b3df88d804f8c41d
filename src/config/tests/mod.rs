//! Whole configurations in, checked ones or messages out. Nothing here reads the process environment.

mod aliases;
mod defaults;
mod docs;
mod file;
mod groups;
mod variables;

use std::{fs, net::IpAddr, time::Duration};

use super::*;
use crate::{app::Moment, settings::Count};

/// A file that is gone when the test is.
struct TempFile(PathBuf);

impl TempFile {
    fn new(text: &str) -> Self {
        let name = format!(
            "loudhailer-config-{}-{:016x}.toml",
            std::process::id(),
            rand::random::<u64>()
        );
        let path = std::env::temp_dir().join(name);
        fs::write(&path, text).expect("the temporary directory is writable");
        Self(path)
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        // A file that stays behind harms nobody.
        let _ = fs::remove_file(&self.0);
    }
}

fn variables(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn from_variables(pairs: &[(&str, &str)]) -> Result<Loaded, Problems> {
    Config::load(None, &variables(pairs))
}

/// Loads a file, which messages call `FILE`.
fn load(text: &str, pairs: &[(&str, &str)]) -> Result<Loaded, String> {
    let file = TempFile::new(text);
    let loaded = Config::load(Some(&file.0), &variables(pairs));
    loaded.map_err(|error| {
        error
            .to_string()
            .replace(&file.0.display().to_string(), "FILE")
    })
}

fn message(text: &str) -> String {
    load(text, &[]).expect_err(text)
}

/// An app that may listen anywhere.
const OWN_APP: &str = "[[apps]]\nid = \"1\"\nkey = \"k1\"\nsecret = \"hidden1\"\n";

fn key_of(app: &App) -> &str {
    app.shown_key(Moment::now()).expect("a key").key
}
