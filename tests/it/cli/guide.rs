//! docs/cli.md: every command in it is run, and prints what the guide says.

use std::{fs, path::Path, process::Command};

use crate::support::{
    guide::{Example, blocks, without_numbers},
    process::Process,
    redis::Folder,
    server::TestServer,
    stream::PATIENCE,
};

/// The body that docs/cli.md verifies.
const WEBHOOK: &str =
    r#"{"time_ms":1700000000123,"events":[{"name":"channel_occupied","channel":"orders"}]}"#;

/// A shell beside a server with the demo app, with the program in its path.
struct Terminal {
    server: TestServer,
    folder: Folder,
}

impl Terminal {
    fn new() -> Self {
        let folder = Folder::new();
        fs::write(folder.file("body.json"), WEBHOOK).unwrap();
        Self {
            server: TestServer::launch(
                &[],
                &[
                    ("LOUDHAILER_SERVER__PORT", "0"),
                    ("LOUDHAILER_ADMIN__PORT", "0"),
                ],
            ),
            folder,
        }
    }

    /// Starts an example. It prints lines, as on a terminal, unless it goes into a pipe.
    fn start(&self, example: &Example) -> Process {
        let text = match example.command.ends_with("| cat") {
            true => "",
            false => "--text",
        };
        let program = Path::new(env!("CARGO_BIN_EXE_loudhailer"));
        let path = std::env::var("PATH").unwrap();
        let path = format!("{}:{path}", program.parent().unwrap().display());
        let mut command = Command::new("sh");
        command
            .args(["-c", &format!("exec 2>&1; {} {text}", example.command)])
            .current_dir(self.folder.file("."))
            .env_clear()
            .env("PATH", path)
            .env(
                "PUSHER_ENCRYPTION_MASTER_KEY_BASE64",
                "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
            )
            .env("LOUDHAILER_APPS__0__ID", "1001")
            .env("LOUDHAILER_APPS__0__KEY", "app-key")
            .env("LOUDHAILER_APPS__0__SECRET", "app-secret")
            .env(
                "LOUDHAILER_SERVER__PORT",
                self.server.public.port().to_string(),
            );
        Process::spawn(command)
    }

    #[track_caller]
    fn run(&self, example: &Example) {
        Self::ends_as_written(self.start(example), example);
    }

    #[track_caller]
    fn ends_as_written(mut process: Process, example: &Example) {
        process.wait_exit(PATIENCE).expect("it ends");
        let (printed, written) = (process.stdout(), &example.output);
        assert_eq!(
            without_numbers(&printed),
            without_numbers(written),
            "{example:?}"
        );
    }
}

/// Waits until a subscription has printed as many confirmations.
#[track_caller]
fn confirmed(process: &Process, count: usize) {
    process.wait_stdout("confirmations", |text| {
        (text.matches("subscription_succeeded").count() == count).then_some(())
    });
}

#[test]
fn every_command_of_the_guide_prints_what_it_says() {
    let blocks = blocks("cli.md");
    let [subscribe, piped, trigger, channels, auth, webhook, bench] = &blocks[..] else {
        panic!("{} blocks", blocks.len());
    };
    let terminal = Terminal::new();
    let subscribed = terminal.start(&subscribe[0]);
    confirmed(&subscribed, 3);
    trigger.iter().for_each(|example| terminal.run(example));
    channels.iter().for_each(|example| terminal.run(example));
    // The last of them closed it.
    Terminal::ends_as_written(subscribed, &subscribe[0]);
    let subscribed = terminal.start(&piped[0]);
    confirmed(&subscribed, 1);
    terminal.run(&trigger[0]);
    Terminal::ends_as_written(subscribed, &piped[0]);
    auth.iter()
        .chain(webhook)
        .chain(bench)
        .for_each(|example| terminal.run(example));
}
