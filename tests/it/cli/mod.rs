//! The command line for any Pusher host, against this server.

mod bench;
mod credentials;
mod guide;
mod signatures;
mod subscribing;
mod talking;
mod terminal;

use crate::support::{
    process::{Finished, Process},
    server::TestServer,
};

/// Where the server is and the credentials of its first app, as variables of an environment.
fn environment(server: &TestServer) -> Vec<(&'static str, String)> {
    let app = server.app();
    vec![
        ("PUSHER_APP_ID", app.id.clone()),
        ("PUSHER_APP_KEY", app.key.clone()),
        ("PUSHER_APP_SECRET", app.secret.clone()),
        ("PUSHER_HOST", server.public.ip().to_string()),
        ("PUSHER_PORT", server.public.port().to_string()),
        ("PUSHER_SCHEME", "http".to_owned()),
    ]
}

fn borrowed<'a>(environment: &'a [(&'static str, String)]) -> Vec<(&'a str, &'a str)> {
    let variables = environment.iter();
    variables
        .map(|(name, value)| (*name, value.as_str()))
        .collect()
}

/// Runs a command against the server. Whatever it prints, the secret is not in it.
#[track_caller]
fn run(server: &TestServer, arguments: &[&str]) -> Finished {
    let finished = Process::run(arguments, &borrowed(&environment(server)));
    for printed in [&finished.stdout, &finished.stderr] {
        assert!(!printed.contains(&server.app().secret), "{printed}");
    }
    finished
}

/// Runs a command that must succeed, and gives what it printed.
#[track_caller]
fn succeed(server: &TestServer, arguments: &[&str]) -> String {
    let finished = run(server, arguments);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    finished.stdout
}

/// A `subscribe` that goes on until the test ends it.
fn tail(server: &TestServer, arguments: &[&str]) -> Process {
    let arguments = [&["subscribe"], arguments].concat();
    Process::start(&arguments, &borrowed(&environment(server)))
}

/// Waits for a line with all of these in it.
#[track_caller]
fn wait_line(process: &Process, parts: &[&str]) -> String {
    process.wait_stdout(&format!("line with {parts:?}"), |text| {
        let has_all = |line: &&str| parts.iter().all(|part| line.contains(part));
        text.lines().find(has_all).map(str::to_owned)
    })
}
