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
    cli::{self, Failure, HostCommand},
    commands::{
        apps::{self, AppsCommand, AppsError},
        check, import,
    },
    config::{self, Config, Loaded, LogFormat},
    dotenv, server,
};
use tracing_subscriber::EnvFilter;

/// Bad arguments or a bad configuration; nothing was started.
const MISCONFIGURED: u8 = 2;
/// Below this, a warning: every client is an open file.
const OPEN_FILES_MIN: u64 = 4096;

/// What the libraries say of a peer's mistakes and of their own start is not for the operator's log, unless asked for by name.
const QUIET_LIBRARIES: &str =
    "actix_http=off,actix_server=warn,actix_web=warn,redis=error,sqlx=error";

/// Where Laravel keeps an app's settings.
const DOTENV: &str = ".env";

/// The environment.
type Variables = BTreeMap<String, String>;

/// A broadcast server that speaks the Pusher protocol. Without a command it serves.
#[derive(Parser)]
#[command(name = "loudhailer", version, about)]
struct Arguments {
    /// Read the configuration from this TOML file [env: LOUDHAILER_CONFIG].
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Read variables from this .env file, as Laravel does; those of the environment win.
    #[arg(long, value_name = "FILE")]
    env_file: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Check the configuration, say what was understood, and stop.
    CheckConfig {
        /// As without a command: read variables from this .env file.
        #[arg(long, value_name = "FILE")]
        env_file: Option<PathBuf>,
        /// Also try what a start does: listen on both ports, reach Redis and the database.
        #[arg(long)]
        bind: bool,
    },
    /// Print the default configuration, with comments.
    DefaultConfig,
    /// Print another server's configuration as a file for this one, with a comment for all that differs.
    Import {
        /// A .env file, soketi's JSON, config/websockets.php or config/reverb.php.
        file: PathBuf,
        /// Where env('NAME') in PHP has its values from, besides the environment: the app's .env file.
        #[arg(long, value_name = "FILE")]
        env_file: Option<PathBuf>,
    },
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
    let sources = Sources {
        file: arguments.config,
        env_file: arguments.env_file,
    };
    match arguments.command {
        Some(Command::DefaultConfig) => finish(print(&config::sample()), ExitCode::SUCCESS),
        Some(Command::CheckConfig { env_file, bind }) => {
            let env_file = env_file.or(sources.env_file);
            let sources = Sources {
                env_file,
                ..sources
            };
            let check = if bind { try_out } else { check };
            with_config(&sources, check)
        }
        Some(Command::Import { file, env_file }) => {
            let env_file = env_file.or(sources.env_file);
            let sources = Sources {
                env_file,
                ..sources
            };
            let variables = sources.variables();
            match variables.and_then(|variables| import::run(&file, &variables)) {
                Ok(text) => finish(print(&text), ExitCode::SUCCESS),
                Err(reason) => fail(&reason, ExitCode::from(MISCONFIGURED)),
            }
        }
        Some(Command::Apps(command)) => change_apps(command, &sources),
        Some(Command::Host(_)) if sources.env_file.is_some() => fail(
            "this command has an --env-file of its own: write it behind the command",
            ExitCode::from(MISCONFIGURED),
        ),
        Some(Command::Host(command)) => speak(*command),
        Some(Command::Completions { shell }) => finish(complete(shell), ExitCode::SUCCESS),
        Some(Command::Man { folder }) => write_manual(&folder),
        None => with_config(&sources, serve),
    }
}

/// Where the configuration comes from, besides the environment.
struct Sources {
    file: Option<PathBuf>,
    env_file: Option<PathBuf>,
}

impl Sources {
    /// The environment, and below it the variables of the `.env` file. The error names file and line.
    fn variables(&self) -> Result<Variables, String> {
        let mut variables = environment();
        let Some(file) = &self.env_file else {
            return Ok(variables);
        };
        let name = file.display();
        let text =
            fs::read_to_string(file).map_err(|error| format!("cannot read {name}: {error}"))?;
        let read = dotenv::parse(&text, &variables);
        let read =
            read.map_err(|mistake| format!("{name}:{}: {}", mistake.line, mistake.reason))?;
        for (name, value) in read {
            variables.entry(name).or_insert(value);
        }
        Ok(variables)
    }

    /// What a reader of the start should know of the sources.
    fn note(&self, loaded: &Loaded) -> Option<String> {
        match &self.env_file {
            Some(file) => Some(format!("Variables from {}", file.display())),
            None if loaded.understood.is_demo => beside_laravel(),
            None => None,
        }
    }
}

/// Said of a start beside a Laravel app's `.env` that serves the demo app nevertheless.
fn beside_laravel() -> Option<String> {
    let variables = dotenv::parse(&fs::read_to_string(DOTENV).ok()?, &Variables::new()).ok()?;
    let is_laravel = |name: &String| {
        let prefixes = ["PUSHER_APP_", "REVERB_APP_", "SOKETI_DEFAULT_APP_"];
        prefixes.iter().any(|prefix| name.starts_with(prefix))
    };
    variables.keys().any(is_laravel).then(|| {
        format!(
            "There is a {DOTENV} here with an app's settings, but it was not read: `loudhailer --env-file {DOTENV}` serves that app instead of the demo app"
        )
    })
}

fn with_config(sources: &Sources, run: fn(Loaded, Variables) -> ExitCode) -> ExitCode {
    let variables = match sources.variables() {
        Ok(variables) => variables,
        Err(reason) => return fail(&reason, ExitCode::from(MISCONFIGURED)),
    };
    match Config::load(sources.file.as_deref(), &variables) {
        Ok(mut loaded) => {
            let note = sources.note(&loaded);
            loaded.understood.notes.extend(note);
            run(loaded, variables)
        }
        Err(error) => fail(&error.to_string(), ExitCode::from(MISCONFIGURED)),
    }
}

fn change_apps(command: AppsCommand, sources: &Sources) -> ExitCode {
    let ran = sources
        .variables()
        .map_err(|reason| (reason, ExitCode::from(MISCONFIGURED)))
        .and_then(|variables| {
            apps::run(command, sources.file.as_deref(), &variables).map_err(|error| match error {
                AppsError::Misconfigured(_) => (error.to_string(), ExitCode::from(MISCONFIGURED)),
                AppsError::Failed(_) => (error.to_string(), ExitCode::FAILURE),
            })
        });
    match ran {
        Ok(text) => finish(print(&text), ExitCode::SUCCESS),
        Err((reason, status)) => fail(&reason, status),
    }
}

fn speak(command: HostCommand) -> ExitCode {
    match cli::run(command, &environment()) {
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
    let text = check::summary(&loaded);
    finish(
        print(&format!("{text}The configuration is valid.\n")),
        ExitCode::SUCCESS,
    )
}

fn try_out(loaded: Loaded, _: Variables) -> ExitCode {
    let text = check::summary(&loaded);
    let tried = check::try_out(&loaded);
    let passed: Vec<_> = tried.iter().filter_map(|it| it.as_ref().ok()).collect();
    let passed = passed.iter().map(|line| format!("{line}\n"));
    let text = text + &passed.collect::<String>();
    let failures: Vec<_> = tried.iter().filter_map(|it| it.as_ref().err()).collect();
    if failures.is_empty() {
        let text = format!("{text}The configuration is valid and would start.\n");
        return finish(print(&text), ExitCode::SUCCESS);
    }
    let failures: Vec<_> = failures.iter().map(|reason| reason.as_str()).collect();
    let status = fail(&failures.join("\n"), ExitCode::FAILURE);
    finish(print(&text), status)
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
fn environment() -> Variables {
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
        LogFormat::Text => lines.with_ansi(has_colours()).init(),
        LogFormat::Json => lines.json().init(),
    }
}

/// Whether the log is coloured: on a terminal, unless NO_COLOR asks for none (<https://no-color.org>).
fn has_colours() -> bool {
    let is_refused = env::var_os("NO_COLOR").is_some_and(|text| !text.is_empty());
    io::stderr().is_terminal() && !is_refused
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
