//! The command line: arguments, logging, the open-files limit; then the server.

use std::{
    collections::BTreeMap,
    env, fs,
    io::{self, ErrorKind, IsTerminal, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use loudhailer::{
    banner,
    cli::{self, Failure, HostCommand},
    commands::apps::{self, AppsCommand, AppsError},
    config::{self, Config, Loaded, LogFormat},
    server,
};
use tracing_subscriber::EnvFilter;

/// Bad arguments or a bad configuration; nothing was started.
const MISCONFIGURED: u8 = 2;
/// Below this, a warning: every client is an open file.
const OPEN_FILES_MIN: u64 = 4096;

/// What the libraries say of a peer's mistakes and of their own start is not for the operator's log, unless asked for by name.
const QUIET_LIBRARIES: &str = "actix_http=off,actix_server=warn,actix_web=warn,sqlx=error";

/// The environment.
type Variables = BTreeMap<String, String>;

/// A broadcast server that speaks the Pusher protocol. Without a command it serves.
#[derive(Parser)]
#[command(name = "loudhailer", version, about)]
struct Arguments {
    /// Read the configuration from this TOML file [env: LOUDHAILER_CONFIG].
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Check the configuration, say what was understood, and stop.
    CheckConfig,
    /// Print the default configuration, with comments.
    DefaultConfig,
    /// List and change the apps, in the configuration file or in its database.
    #[command(subcommand)]
    Apps(AppsCommand),
    #[command(flatten)]
    Host(Box<HostCommand>),
    /// Print completions for a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Write the manual pages into a folder.
    Man {
        /// The folder.
        folder: PathBuf,
    },
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let status = u8::try_from(error.exit_code()).unwrap_or(MISCONFIGURED);
            return finish(error.print(), ExitCode::from(status));
        }
    };
    match arguments.command {
        Some(Command::DefaultConfig) => finish(print(&config::sample()), ExitCode::SUCCESS),
        Some(Command::CheckConfig) => with_config(arguments.config.as_deref(), check),
        Some(Command::Apps(command)) => change_apps(command, arguments.config.as_deref()),
        Some(Command::Host(command)) => speak(*command),
        Some(Command::Completions { shell }) => finish(complete(shell), ExitCode::SUCCESS),
        Some(Command::Man { folder }) => write_manual(&folder),
        None => with_config(arguments.config.as_deref(), serve),
    }
}

fn with_config(file: Option<&Path>, run: fn(Loaded, Variables) -> ExitCode) -> ExitCode {
    let variables = variables();
    match Config::load(file, &variables) {
        Ok(loaded) => run(loaded, variables),
        Err(error) => fail(&error.to_string(), ExitCode::from(MISCONFIGURED)),
    }
}

fn change_apps(command: AppsCommand, file: Option<&Path>) -> ExitCode {
    match apps::run(command, file, &variables()) {
        Ok(text) => finish(print(&text), ExitCode::SUCCESS),
        Err(error @ AppsError::Misconfigured(_)) => {
            fail(&error.to_string(), ExitCode::from(MISCONFIGURED))
        }
        Err(error @ AppsError::Failed(_)) => fail(&error.to_string(), ExitCode::FAILURE),
    }
}

fn speak(command: HostCommand) -> ExitCode {
    match cli::run(command, &variables()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Print(error)) => finish(Err(error), ExitCode::SUCCESS),
        Err(failure @ Failure::Usage(_)) => {
            fail(&failure.to_string(), ExitCode::from(MISCONFIGURED))
        }
        Err(failure @ Failure::Failed(_)) => fail(&failure.to_string(), ExitCode::FAILURE),
    }
}

fn complete(shell: Shell) -> io::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "loudhailer", &mut script);
    let mut out = io::stdout().lock();
    out.write_all(&script)?;
    out.flush()
}

fn write_manual(folder: &Path) -> ExitCode {
    let written = fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(Arguments::command(), folder));
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let reason = format!("cannot write into {}: {error}", folder.display());
            fail(&reason, ExitCode::FAILURE)
        }
    }
}

fn check(loaded: Loaded, _: Variables) -> ExitCode {
    let summary = banner::summary(&loaded.config.apps, &loaded.understood);
    finish(
        print(&format!("{summary}The configuration is valid.\n")),
        ExitCode::SUCCESS,
    )
}

fn serve(loaded: Loaded, variables: Variables) -> ExitCode {
    start_logging(&loaded.config.log);
    raise_open_files_limit();
    match server::run(loaded, variables) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error.to_string(), ExitCode::FAILURE),
    }
}

/// The environment as text. What is not text becomes visibly wrong text, which a check then names.
fn variables() -> Variables {
    let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    env::vars_os()
        .map(|(name, value)| (text(name), text(value)))
        .collect()
}

fn start_logging(log: &config::Log) {
    let directives = format!("{QUIET_LIBRARIES},{}", log.level.0);
    let filter = EnvFilter::try_new(directives).expect("the configuration was checked");
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr);
    match log.format {
        LogFormat::Text => lines.with_ansi(io::stderr().is_terminal()).init(),
        LogFormat::Json => lines.json().init(),
    }
}

fn raise_open_files_limit() {
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) if limit < OPEN_FILES_MIN => tracing::warn!(
            limit,
            "few open files are allowed, and every client is one: raise the hard limit (ulimit -Hn)"
        ),
        Ok(limit) => tracing::debug!(limit, "open-files limit"),
        Err(error) => tracing::warn!(%error, "the open-files limit could not be raised"),
    }
}

fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// A reader that went away (`| head`) is not a failure.
fn finish(printed: io::Result<()>, status: ExitCode) -> ExitCode {
    match printed {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            fail(&format!("cannot print: {error}"), ExitCode::FAILURE)
        }
        _ => status,
    }
}

fn fail(message: &str, status: ExitCode) -> ExitCode {
    let mut err = io::stderr().lock();
    for line in message.lines() {
        // If nobody reads standard error, the exit code still tells.
        let _ = writeln!(err, "error: {line}");
    }
    status
}
