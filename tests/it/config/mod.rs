//! The command line, the configuration file and the environment, as an operator meets them.

mod carried;
mod commands;
mod environment;
mod errors;
mod start;

use crate::support::process::{ConfigFile, Finished, Process};

/// Checks a configuration file and gives the result.
#[track_caller]
fn check(toml: &str, environment: &[(&str, &str)]) -> (Finished, String) {
    let config = ConfigFile::new(toml);
    let finished = Process::run(&["check-config", "--config", config.path()], environment);
    (finished, config.path().to_owned())
}

/// The start must fail as a configuration error that names each of `named`, with nothing started.
#[track_caller]
fn is_config_error(arguments: &[&str], environment: &[(&str, &str)], named: &[&str]) {
    let finished = Process::run(arguments, environment);
    assert_eq!(finished.code, Some(2), "{finished:?}");
    assert!(!finished.stdout.contains("Listening on"), "{finished:?}");
    assert!(finished.stderr.contains("error: "), "{finished:?}");
    for name in named {
        assert!(
            finished.stderr.contains(name),
            "{name} is not named: {}",
            finished.stderr
        );
    }
    assert!(!finished.stderr.contains("panicked"), "{finished:?}");
}
