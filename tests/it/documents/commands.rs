//! Commands of pages: run beside what they need, or listed with the reason why they are not.

use std::{fs, path::Path, process::Command};

use super::{
    Block, blocks, in_tree,
    pattern::{Made, Numbers, matches},
};
use crate::support::{
    app::App, client::TestClient, guide::examples, process::Process, redis::Folder,
    server::TestServer, stream::PATIENCE,
};

/// What is done with a block of commands.
#[derive(Clone, Copy, Debug)]
enum How {
    /// It is run in a folder of its own, and prints its lines in their order.
    Run(Numbers),
    /// The same, with the form that it has on a terminal.
    Text,
    /// The same beside the demo server, whose ports take the place of 6001 and 9601, with a client on `orders`.
    BesideDemo,
    /// The same beside a server whose apps are in a database; only where there is one.
    WithDatabase,
    /// Another test runs it: which.
    By(&'static str),
    /// It can't be run here: why.
    Not(&'static str),
}
use How::{BesideDemo, By, Not, Run, Text, WithDatabase};
use Numbers::{Any, AsWritten};

const SYSTEMD: &str = "it installs units for the machine's own systemd";
const DOCKER: &str = "there is no container engine on the machines that run the tests";
const COMPOSER: &str = "Composer, PHP and a Laravel application are not on these machines";
const BENCHES: &str = "minutes of load; CI runs its smoke test and its count of instructions";
const CARGO: &str = "a test within cargo test; CI runs these tests, the larger numbers by hand";

/// Page, how its first line begins, what is done. One row for each block of `console`, `sh` and `bash`.
const COMMANDS: &[(&str, &str, How)] = &[
    (
        "README.md",
        "cargo run --release ",
        Not("it builds; the run is the next block"),
    ),
    ("README.md", "$ cargo run --release", Run(Any)),
    (
        "README.md",
        "$ node listen.mjs",
        By("tests/clients/readme.test.mjs"),
    ),
    (
        "README.md",
        "$ node publish.mjs",
        By("tests/clients/readme.test.mjs"),
    ),
    ("README.md", "body=", BesideDemo),
    (
        "README.md",
        "$ node --experimental-websocket",
        Not("it prints what the commands before it made; admin::feed has every line"),
    ),
    ("README.md", "docker", Not(DOCKER)),
    (
        "docs/apps.md",
        "$ curl -s -X POST -H 'Content-Type: application/json' http://127.0.0.1:9601/api/reload",
        Not(
            "the file is watched too: which of both reads it first is chance; apps::reload has the answer",
        ),
    ),
    (
        "docs/apps.md",
        "$ loudhailer --config loudhailer.toml apps add",
        Run(Any),
    ),
    (
        "docs/apps.md",
        "$ loudhailer --config loudhailer.toml apps import",
        WithDatabase,
    ),
    ("docs/apps.md", "$ curl -s -X POST", WithDatabase),
    ("docs/benchmarks.md", "cargo bench", Not(BENCHES)),
    ("docs/cli.md", "$ loudhailer", By("cli::guide")),
    (
        "docs/cli.md",
        "loudhailer completions",
        Not("it writes into folders of the system; cli::talking runs both"),
    ),
    ("docs/configuration.md", "$ printf", Run(AsWritten)),
    (
        "docs/configuration.md",
        "$ loudhailer check-config --config shop.toml",
        Run(Any),
    ),
    ("docs/configuration.md", "$ SOKETI_HOST", Run(AsWritten)),
    ("docs/configuration.md", "$ PUSHER_PORT", Run(AsWritten)),
    ("docs/dashboard.md", "$ loudhailer", Run(Any)),
    ("docs/dashboard.md", "$ curl", BesideDemo),
    ("docs/doctor.md", "$ loudhailer doctor", By("doctor::guide")),
    (
        "docs/doctor.md",
        "loudhailer doctor",
        Not("files, profiles and hosts of the reader's; doctor::healthy runs these options"),
    ),
    ("docs/laravel.md", "composer", Not(COMPOSER)),
    (
        "docs/migrate/reverb.md",
        "loudhailer check-config",
        Run(Any),
    ),
    (
        "docs/migrate/soketi.md",
        "$ SOKETI_DEFAULT_APP_ID",
        Run(AsWritten),
    ),
    (
        "docs/operations.md",
        "$ LOUDHAILER_ADMIN__HOST",
        Run(AsWritten),
    ),
    ("docs/scaling.md", "$ LOUDHAILER_REDIS__URL", Run(AsWritten)),
    (
        "docs/scaling.md",
        "$ loudhailer --config",
        By("cluster::tls"),
    ),
    (
        "docs/scaling.md",
        "# a single server",
        Not("it empties the Redis on the usual port"),
    ),
    ("docs/scaling.md", "install", Not(SYSTEMD)),
    ("docs/single-login.md", "composer", Not(COMPOSER)),
    ("docs/sizing.md", "$ loudhailer size", Text),
    ("docs/testing.md", "cargo test", Not(CARGO)),
    ("docs/webhooks.md", "$ printf", Run(AsWritten)),
];

fn row_of(block: &Block) -> Option<usize> {
    COMMANDS
        .iter()
        .position(|(page, start, _)| *page == block.page && block.first_line().starts_with(start))
}

fn all() -> Vec<Block> {
    blocks(&["console", "sh", "bash"])
}

#[test]
fn every_block_of_commands_is_run_or_listed_with_the_reason() {
    let mut used = vec![false; COMMANDS.len()];
    for block in all() {
        let row = row_of(&block);
        let row = row.unwrap_or_else(|| panic!("{} is in no row of COMMANDS", block.place()));
        used[row] = true;
    }
    for ((page, start, _), used) in COMMANDS.iter().zip(used) {
        assert!(used, "no block of {page} begins with {start:?}");
    }
    for (page, _, how) in COMMANDS {
        if let By(test) = how {
            let path = test.replace("::", "/");
            let names = [format!("tests/it/{path}.rs"), path];
            let is_there = names.iter().any(|name| Path::new(&in_tree(name)).exists());
            assert!(is_there, "{page}: there is no {test}");
        } else if let Not(reason) = how {
            assert!(!reason.is_empty(), "{page}");
        }
    }
}

#[test]
fn commands_of_the_pages_print_what_the_pages_say() {
    let mut ran = 0;
    for block in all() {
        let (_, _, how) = COMMANDS[row_of(&block).expect("the test above says which is missing")];
        let desk = match how {
            Run(numbers) => Desk::alone(numbers, ""),
            Text => Desk::alone(AsWritten, " --text"),
            BesideDemo => Desk::beside_demo(),
            WithDatabase if cfg!(feature = "sql") => Desk::with_database(),
            WithDatabase | By(_) | Not(_) => continue,
        };
        desk.follow(&block);
        ran += 1;
    }
    assert!(ran >= 12, "only {ran} blocks were run");
}

/// The configuration file that pages call `loudhailer.toml`.
const BLOG: &str =
    "[[apps]]\nid = \"7\"\nname = \"Blog\"\nkey = \"blog\"\nsecret = \"blog-secret\"\n";
const SHOP_APP: &str = "[[apps]]\nid = \"9\"\nkey = \"shop\"\nsecret = \"shop-secret\"\n";
const DOTENV: &str = "REVERB_APP_ID=7\nREVERB_APP_KEY=k\nREVERB_APP_SECRET=s\n";

/// A folder with the files that pages name, and a server where a page needs one.
struct Desk {
    /// The client goes first, then the server, then the folder.
    server: Option<(TestClient, TestServer)>,
    folder: Folder,
    numbers: Numbers,
    /// What is added to each command.
    form: &'static str,
}

impl Desk {
    fn alone(numbers: Numbers, form: &'static str) -> Self {
        let folder = Folder::new();
        for (name, text) in [("loudhailer.toml", BLOG), (".env", DOTENV)] {
            fs::write(folder.file(name), text).expect("it is written");
        }
        let shop = blocks(&["toml"]);
        let shop = shop.iter().find(|it| it.page == "docs/configuration.md");
        fs::write(folder.file("shop.toml"), &shop.expect("a file").text).expect("it is written");
        Self {
            folder,
            numbers,
            form,
            server: None,
        }
    }

    fn beside(server: TestServer, app: &App, folder: Folder, numbers: Numbers) -> Self {
        let mut client = server.client_of(app);
        client.subscribe("orders");
        Self {
            folder,
            numbers,
            form: "",
            server: Some((client, server)),
        }
    }

    fn beside_demo() -> Self {
        let ports = [
            ("LOUDHAILER_SERVER__PORT", "0"),
            ("LOUDHAILER_ADMIN__PORT", "0"),
        ];
        let demo = App::with_secret("1001", "app-key", "app-secret");
        Self::beside(
            TestServer::launch(&[], &ports),
            &demo,
            Folder::new(),
            AsWritten,
        )
    }

    /// A server on a database with one app, and beside it a file that names the database and has two more.
    fn with_database() -> Self {
        let folder = Folder::new();
        let url = |name| format!("[database]\nurl = \"sqlite://{}\"\n", folder.file(name));
        let own = format!(
            "{}[server]\nport = 0\n[admin]\nport = 0\n",
            url("served.db")
        );
        fs::write(folder.file("served.toml"), own).expect("it is written");
        let both = format!("{}{BLOG}{SHOP_APP}", url("imported.db"));
        fs::write(folder.file("loudhailer.toml"), both).expect("it is written");
        let served = folder.file("served.toml");
        let added = Process::run(
            &[
                "--config", &served, "apps", "add", "id=1001", "key=k", "secret=s",
            ],
            &[],
        );
        assert_eq!(added.code, Some(0), "{added:?}");
        let server = TestServer::launch(&["--config", &served], &[]);
        Self::beside(server, &App::with_secret("1001", "k", "s"), folder, Any)
    }

    #[track_caller]
    fn follow(&self, block: &Block) {
        let mut made = Made::new();
        let is_script = block.language != "console" && block.page != "docs/migrate/reverb.md";
        if is_script {
            let printed = self.ended(&format!("set -e\n{}", block.text), &block.place());
            assert!(printed.contains("{}"), "{}: {printed}", block.place());
            return;
        }
        let examples = match block.language.as_str() {
            "console" => examples(&block.text),
            _ => examples(&block.text.replace("loudhailer ", "$ loudhailer ")),
        };
        for example in examples {
            let mut command = example.command.replace("cargo run --release", "loudhailer");
            let mut output = example.output;
            for (written, new) in &made {
                command = command.replace(written, new);
                output = output.replace(written, new);
            }
            let at = format!("{}: {command}", block.place());
            let process = self.start(&command);
            let written: Vec<_> = output.lines().filter(|line| !line.is_empty()).collect();
            let is_server = serves(&command);
            let printed = process.wait_stdout_or_end(|text| {
                let is_all = !is_server || text.contains("Admin on ");
                let is_there = in_order(&written, text, self.numbers, &mut made.clone());
                (is_all && is_there.is_ok() && is_server).then_some(())
            });
            if let Err(line) = in_order(&written, &printed, self.numbers, &mut made) {
                panic!("{at} does not print {line:?} there:\n{printed}");
            }
        }
    }

    /// What a command prints that ends well.
    #[track_caller]
    fn ended(&self, command: &str, place: &str) -> String {
        let mut process = self.start(command);
        let status = process.wait_exit(PATIENCE).expect("it ends");
        let printed = process.stdout();
        assert!(status.success(), "{place}: {printed}");
        printed
    }

    fn start(&self, command: &str) -> Process {
        let program = Path::new(env!("CARGO_BIN_EXE_loudhailer"));
        let folder = program.parent().expect("a folder");
        let path = std::env::var("PATH").expect("a path");
        let mut command = format!("{command}{}", self.form);
        if let Some((_, server)) = &self.server {
            for (port, address) in [("6001", server.public), ("9601", server.admin)] {
                let port = format!("127.0.0.1:{port}");
                command = command.replace(&port, &address.to_string());
            }
        }
        // Where numbers may differ, a server's ports are any that are free.
        let ports: &[&str] = match self.numbers {
            Any if serves(&command) => &["LOUDHAILER_SERVER__PORT", "LOUDHAILER_ADMIN__PORT"],
            _ => &[],
        };
        if serves(&command) {
            // Ended with the test: no shell stands between.
            command = format!("exec env {command}");
        }
        let mut shell = Command::new("sh");
        shell
            .args(["-c", &format!("exec 2>&1\n{command}")])
            .current_dir(self.folder.file("."))
            .env_clear()
            .env("PATH", format!("{}:{path}", folder.display()))
            .envs(ports.iter().map(|name| (name, "0")));
        Process::spawn(shell)
    }
}

/// Whether a command is a server's start, which does not end unless it fails.
fn serves(command: &str) -> bool {
    let words = command.split(' ').skip_while(|word| word.contains('='));
    let words: Vec<_> = words.collect();
    match words.as_slice() {
        ["loudhailer"] => true,
        ["loudhailer", option, _] => option.starts_with("--"),
        _ => false,
    }
}

/// Whether the lines of a page are printed in their order; the first that is not.
fn in_order<'a>(
    written: &[&'a str],
    printed: &str,
    numbers: Numbers,
    made: &mut Made,
) -> Result<(), &'a str> {
    let mut lines = printed.lines();
    for line in written {
        if *line != "…" && !lines.any(|printed| matches(line, printed, numbers, made)) {
            return Err(line);
        }
    }
    Ok(())
}
