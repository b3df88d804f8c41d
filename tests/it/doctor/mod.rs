//! `loudhailer doctor` before real proxies: each seeded fault is found by name and no other, and a healthy set-up has none.

mod certificates;
mod faults;
mod guide;
mod healthy;
mod proxies;

use std::process::Command;

use serde_json::Value;

use self::certificates::{NAME, certificates};
use crate::support::{app::App, process::Process, server::TestServer, stream::PATIENCE};

/// What one run said.
#[derive(Debug)]
struct Examined {
    code: Option<i32>,
    wrong: Vec<String>,
    warnings: Vec<String>,
    steps: Vec<Value>,
    printed: String,
}

impl Examined {
    fn of(mut process: Process) -> Self {
        let status = process.wait_exit(4 * PATIENCE).expect("the doctor ends");
        let printed = process.stdout();
        let lines = printed.lines().map(serde_json::from_str);
        let mut steps: Vec<Value> = lines.map(|line| line.expect("JSON")).collect();
        let last = steps
            .pop()
            .unwrap_or_else(|| panic!("a last line: {}", process.stderr()));
        let names = |key: &str| {
            let names = last[key]
                .as_array()
                .unwrap_or_else(|| panic!("no {key}: {last}"));
            names
                .iter()
                .map(|name| name.as_str().expect("a name").to_owned())
                .collect()
        };
        Self {
            code: status.code(),
            wrong: names("wrong"),
            warnings: names("warnings"),
            steps,
            printed,
        }
    }

    /// What one step came to.
    fn result(&self, step: &str) -> &str {
        let found = self.steps.iter().find(|one| one["step"] == step);
        let found = found.unwrap_or_else(|| panic!("no step {step}: {}", self.printed));
        found["result"].as_str().expect("a result")
    }

    /// Only this fault was found, and it is said how it is mended.
    #[track_caller]
    fn finds(&self, fault: &str) {
        assert_eq!(self.wrong, [fault], "{}", self.printed);
        assert!(self.warnings.is_empty(), "{}", self.printed);
        assert_eq!(self.code, Some(1), "{}", self.printed);
        self.says_how_to_mend(fault);
    }

    #[track_caller]
    fn warns(&self, fault: &str) {
        assert_eq!(self.warnings, [fault], "{}", self.printed);
        assert!(self.wrong.is_empty(), "{}", self.printed);
        assert_eq!(self.code, Some(0), "{}", self.printed);
        self.says_how_to_mend(fault);
    }

    #[track_caller]
    fn says_how_to_mend(&self, fault: &str) {
        let all = self
            .steps
            .iter()
            .filter_map(|step| step["faults"].as_array());
        let found = all.flatten().find(|one| one["fault"] == fault);
        let found = found.expect("the fault has a step");
        assert!(
            found["mend"][0]
                .as_str()
                .is_some_and(|text| !text.is_empty())
        );
        assert!(found["seen"].as_str().is_some_and(|text| !text.is_empty()));
    }

    #[track_caller]
    fn finds_nothing(&self) {
        assert!(self.wrong.is_empty(), "{}", self.printed);
        assert!(self.warnings.is_empty(), "{}", self.printed);
        assert_eq!(self.code, Some(0), "{}", self.printed);
    }
}

/// A run against an address, with the credentials of an app.
struct Run<'a> {
    app: &'a App,
    url: String,
    arguments: Vec<&'a str>,
    /// The clock of the run, as `faketime` takes it.
    clock: Option<&'a str>,
}

impl<'a> Run<'a> {
    fn of(app: &'a App, url: impl Into<String>) -> Self {
        Self {
            app,
            url: url.into(),
            arguments: vec!["--timeout", "2"],
            clock: None,
        }
    }

    fn with(mut self, arguments: &[&'a str]) -> Self {
        self.arguments.extend(arguments);
        self
    }

    #[track_caller]
    fn examine(self) -> Examined {
        let resolve = format!("{NAME}:127.0.0.1");
        let authority = certificates().authority();
        let program = env!("CARGO_BIN_EXE_loudhailer");
        let mut command = match self.clock {
            Some(clock) => {
                let mut command = Command::new("faketime");
                command.args(["-f", clock, program]);
                command
            }
            None => Command::new(program),
        };
        command
            .args(["doctor", &self.url, "--json"])
            .args(["--resolve", &resolve, "--ca-file", &authority])
            .args(&self.arguments)
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .env("PUSHER_APP_ID", &self.app.id)
            .env("PUSHER_APP_KEY", &self.app.key)
            .env("PUSHER_APP_SECRET", &self.app.secret);
        let examined = Examined::of(Process::spawn(command));
        assert!(
            !examined.printed.contains(&self.app.secret),
            "{}",
            examined.printed
        );
        examined
    }
}

/// A server whose app allows client events.
fn server() -> TestServer {
    TestServer::start(crate::support::setup::Setup::new().usual_with("client_events", true))
}
