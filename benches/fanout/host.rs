//! The processes under test: the floor, the bare handler, the release server, or any Pusher host that already runs.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use crate::Failure;
use crate::arguments::Arguments;
use crate::nginx::Nginx;
use crate::wire;

/// The server's stderr, in its scratch directory.
const LOG: &str = "loudhailer.log";
/// Servers started so far: two of one name may run at a time.
static STARTED: AtomicUsize = AtomicUsize::new(0);

/// How the credentials of the app are called on the host.
#[derive(Debug, Clone)]
pub(crate) struct App {
    pub(crate) id: String,
    pub(crate) key: String,
    pub(crate) secret: String,
}

/// A host under test. One that was started here ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) name: &'static str,
    pub(crate) address: SocketAddr,
    /// Where sockets have TLS, if they are to have it.
    pub(crate) tls: Option<SocketAddr>,
    /// What stands in `Host:` headers.
    pub(crate) authority: String,
    pub(crate) path_prefix: String,
    pub(crate) app: App,
    /// Whose CPU time and memory are counted; none for a host on another machine.
    pub(crate) pids: Vec<u32>,
    /// Where each thread of the floor takes its orders. None: events are published over HTTP.
    pub(crate) control: Vec<SocketAddr>,
    /// Where events are published, if not where the sockets are.
    api: Option<Place>,
    child: Option<Child>,
    scratch: Option<PathBuf>,
    /// Whether its clients offer compression.
    pub(crate) compresses: bool,
    /// Where valgrind writes what it counted.
    counts: Option<PathBuf>,
    /// What ends TLS before it.
    nginx: Option<Nginx>,
}

/// What to start, once per measurement, so that no run inherits the memory of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Candidate {
    /// `floor`: sends and nothing else, on one thread.
    Floor,
    /// The same on as many threads as the server has workers.
    Floors,
    /// An actix-web handler that reads the body of a POST and answers `{}`.
    Bare,
    /// The same runtime as the server's: accepts, answers the handshake and the subscription with ready bytes.
    Handshake,
    /// The server: the one built here, or the one that `--url` names.
    Server,
    /// The server, with TLS on its sockets.
    Sealed,
    /// The floor on as many threads as the server has workers, with TLS on its sockets.
    SealedFloor,
    /// nginx with TLS before the server.
    BehindNginx,
    /// nginx with TLS before the host that `--url` names.
    OtherBehindNginx,
    /// The server with one worker.
    Single,
    /// The build of the server that `--against` names.
    Other,
    /// The server with compression, for clients that offer it.
    Compressing,
}

impl Candidate {
    /// Starts it, or connects to the one that runs already.
    pub(crate) fn start(self, arguments: &Arguments) -> Result<Host, Failure> {
        match self {
            Self::Floor => start_self("floor", "floor", 1, arguments),
            Self::Floors => start_self("floors", "floor", arguments.workers, arguments),
            Self::Bare => start_self("bare", "bare", arguments.workers, arguments),
            Self::Handshake => start_self("handshake", "handshake", arguments.workers, arguments),
            Self::Compressing => start_compressing(arguments),
            Self::Sealed => start_sealed(arguments),
            Self::BehindNginx => behind_nginx("nginx", start_loudhailer(arguments)?, arguments),
            Self::OtherBehindNginx => {
                let url = arguments.url.as_ref().ok_or("--url names no other host")?;
                behind_nginx("nginx, other", running_host(url, arguments)?, arguments)
            }
            Self::SealedFloor => start_self("tls floor", "floor", arguments.workers, arguments),
            Self::Single => start_single(arguments),
            Self::Other => start_other(arguments),
            Self::Server => match &arguments.url {
                Some(url) => running_host(url, arguments),
                None => start_loudhailer(arguments),
            },
        }
    }
}

fn start_self(
    name: &'static str,
    role: &str,
    threads: usize,
    arguments: &Arguments,
) -> Result<Host, Failure> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(role);
    command
        .arg("--data-bytes")
        .arg(arguments.data_bytes.to_string());
    command.arg("--workers").arg(threads.to_string());
    if wants_tls(name) {
        command.arg("--tls");
    }
    start(name, &mut command, None, arguments)
}

fn start_loudhailer(arguments: &Arguments) -> Result<Host, Failure> {
    start_node("loudhailer", &server_config(arguments), arguments)
}

fn start_sealed(arguments: &Arguments) -> Result<Host, Failure> {
    let (cert, key) = (wire::file("endpoint.pem"), wire::file("endpoint.key"));
    let tls = format!("[server.tls]\nport = 0\ncert = {cert:?}\nkey = {key:?}\n\n");
    start_node("tls", &(tls + &server_config(arguments)), arguments)
}

fn behind_nginx(
    name: &'static str,
    mut host: Host,
    arguments: &Arguments,
) -> Result<Host, Failure> {
    let nginx = Nginx::before(host.address, arguments.workers)?;
    host.name = name;
    host.tls = Some(nginx.address);
    host.pids.extend(nginx.pids()?);
    host.nginx = Some(nginx);
    Ok(host)
}

fn start_single(arguments: &Arguments) -> Result<Host, Failure> {
    let arguments = Arguments {
        workers: 1,
        ..arguments.clone()
    };
    start_node("single", &server_config(&arguments), &arguments)
}

fn start_other(arguments: &Arguments) -> Result<Host, Failure> {
    let binary = arguments.against.as_ref();
    let binary = binary.ok_or("--against names no other build")?;
    start_binary("other", binary, &server_config(arguments), arguments)
}

fn start_compressing(arguments: &Arguments) -> Result<Host, Failure> {
    let config = format!("{}compression = true\n", server_config(arguments));
    let mut host = start_node("compressing", &config, arguments)?;
    host.compresses = true;
    Ok(host)
}

/// Starts a server with this configuration.
pub(crate) fn start_node(
    name: &'static str,
    config_text: &str,
    arguments: &Arguments,
) -> Result<Host, Failure> {
    let built_here = option_env!("CARGO_BIN_EXE_loudhailer").map(PathBuf::from);
    let named = std::env::var_os("LOUDHAILER_BIN").map(PathBuf::from);
    let binary = named
        .or(built_here)
        .ok_or("set LOUDHAILER_BIN to the server's binary")?;
    start_binary(name, &binary, config_text, arguments)
}

fn start_binary(
    name: &'static str,
    binary: &Path,
    config_text: &str,
    arguments: &Arguments,
) -> Result<Host, Failure> {
    let (process, number) = (std::process::id(), STARTED.fetch_add(1, Ordering::Relaxed));
    let scratch = std::env::temp_dir().join(format!("loudhailer-fanout-{process}-{name}-{number}"));
    fs::create_dir_all(&scratch)?;
    let config = scratch.join("loudhailer.toml");
    fs::write(&config, config_text)?;
    let mut command = Command::new(binary);
    command.arg("--config").arg(&config);
    // No setting of whoever runs this may reach the server, this tool's own LOUDHAILER_BIN included.
    command.env_clear();
    command.stderr(File::create(scratch.join(LOG))?);
    start(name, &mut command, Some(scratch), arguments)
}

/// Defaults but for the ports, the workers and the size of an event.
pub(crate) fn server_config(arguments: &Arguments) -> String {
    let Arguments {
        workers,
        app_id,
        key,
        secret,
        data_bytes,
        batch,
        app_config,
        ..
    } = arguments;
    let (data_bytes, batch) = ((*data_bytes).max(10_240), batch.unwrap_or(1).max(10));
    format!(
        "[server]\nport = 0\nworkers = {workers}\n\n[admin]\nport = 0\n\n[[apps]]\nid = \"{app_id}\"\nkey = \"{key}\"\n\
         secret = \"{secret}\"\nmax_event_data_bytes = {data_bytes}\nmax_batch_events = {batch}\n{app_config}"
    )
}

fn start(
    name: &'static str,
    command: &mut Command,
    scratch: Option<PathBuf>,
    arguments: &Arguments,
) -> Result<Host, Failure> {
    let number = STARTED.fetch_add(1, Ordering::Relaxed);
    let counts = arguments.counting.then(|| {
        let process = std::process::id();
        std::env::temp_dir().join(format!("loudhailer-callgrind-{process}-{number}"))
    });
    let mut counted;
    let command = match &counts {
        None => command,
        Some(counts) => {
            counted = under_callgrind(command, counts);
            &mut counted
        }
    };
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let stdout = child.stdout.take().expect("stdout is piped");
    let pids = vec![child.id()];
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
    // Made before the wait, so that a child that never gets ready is ended too.
    let mut host = Host {
        name,
        address: nowhere,
        tls: None,
        authority: String::new(),
        path_prefix: String::new(),
        app: arguments.app(),
        pids,
        control: Vec::new(),
        api: None,
        child: Some(child),
        scratch,
        compresses: false,
        counts,
        nginx: None,
    };
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        // Read to the end even when nobody listens: a full pipe would stop the server.
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            sender.send(line).ok();
        }
    });
    loop {
        let line = lines
            .recv_timeout(Duration::from_secs(20))
            .map_err(|_| host.not_ready())?;
        if let Some(control) = line.strip_prefix("Control on ") {
            host.control.push(control.parse()?);
        } else if let Some(authority) = line.strip_prefix("Listening on http://") {
            host.address = authority.parse()?;
            host.authority = authority.to_owned();
            if !wants_tls(name) {
                return Ok(host);
            }
        } else if let Some(authority) = line.strip_prefix("Listening on https://") {
            host.tls = Some(authority.parse()?);
            return Ok(host);
        }
    }
}

/// The candidates whose sockets have TLS.
fn wants_tls(name: &str) -> bool {
    matches!(name, "tls" | "tls floor")
}

fn running_host(url: &str, arguments: &Arguments) -> Result<Host, Failure> {
    let place = Place::of(url)?;
    let api = arguments.api_url.as_deref().map(Place::of).transpose()?;
    Ok(Host {
        name: "server",
        address: place.address,
        tls: None,
        authority: place.authority,
        path_prefix: place.path_prefix,
        app: arguments.app(),
        pids: arguments.pid.clone(),
        control: Vec::new(),
        api,
        child: None,
        scratch: None,
        compresses: false,
        counts: None,
        nginx: None,
    })
}

/// What a URL names.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) address: SocketAddr,
    pub(crate) authority: String,
    pub(crate) path_prefix: String,
}

impl Place {
    fn of(url: &str) -> Result<Self, Failure> {
        let rest = url
            .strip_prefix("ws://")
            .or_else(|| url.strip_prefix("http://"));
        let rest = rest.ok_or("a URL starts with ws:// or http:// here")?;
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let with_port = if authority.contains(':') {
            authority.to_owned()
        } else {
            format!("{authority}:80")
        };
        let mut addresses = with_port.to_socket_addrs()?;
        let path = path.trim_end_matches('/');
        Ok(Self {
            address: addresses.next().ok_or("the name has no address")?,
            authority: authority.to_owned(),
            path_prefix: if path.is_empty() {
                String::new()
            } else {
                format!("/{path}")
            },
        })
    }
}

/// The same command with its instructions counted, and nothing of this process's environment.
fn under_callgrind(command: &Command, counts: &Path) -> Command {
    let mut counted = Command::new("valgrind");
    counted.args(["--quiet", "--tool=callgrind"]);
    counted.arg(format!("--callgrind-out-file={}", counts.display()));
    counted.arg(command.get_program()).args(command.get_args());
    counted.env_clear().stderr(Stdio::null());
    counted
}

impl Host {
    /// Ends a process that was started with its instructions counted, in good order, and says how many it took.
    pub(crate) fn end_and_count(mut self) -> Result<u64, Failure> {
        let (Some(child), Some(counts)) = (&mut self.child, &self.counts) else {
            return Err("nothing was counted".into());
        };
        let pid = child.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status()?;
        child.wait()?;
        let text = fs::read_to_string(counts)?;
        fs::remove_file(counts)?;
        let total = text.lines().find_map(|line| line.strip_prefix("totals: "));
        Ok(total.ok_or("callgrind wrote no total")?.trim().parse()?)
    }

    /// Puts another configuration in the place of the one that the server was started with.
    pub(crate) fn replace_config(&self, text: &str) -> Result<(), Failure> {
        let scratch = self.scratch.as_ref().ok_or("it was not started here")?;
        let new = scratch.join("new.toml");
        fs::write(&new, text)?;
        fs::rename(new, scratch.join("loudhailer.toml"))?;
        Ok(())
    }

    /// Ends a process that was started here; nothing else.
    fn end(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().ok();
            child.wait().ok();
        }
    }

    fn not_ready(&self) -> Failure {
        format!(
            "{} did not say `Listening on` within 20 s{}",
            self.name,
            self.log_tail()
        )
        .into()
    }

    /// How many lines of the log of a server that was started here tell of an error.
    pub(crate) fn logged_errors(&self) -> usize {
        let log = self
            .scratch
            .as_ref()
            .and_then(|scratch| fs::read_to_string(scratch.join(LOG)).ok());
        log.map_or(0, |log| {
            log.lines().filter(|line| line.contains("ERROR")).count()
        })
    }

    /// How many lines of the log of a server that was started here have this text.
    pub(crate) fn logged(&self, text: &str) -> usize {
        let scratch = self.scratch.as_ref();
        let log = scratch.and_then(|scratch| fs::read_to_string(scratch.join(LOG)).ok());
        log.map_or(0, |log| {
            log.lines().filter(|line| line.contains(text)).count()
        })
    }

    /// Where events are published.
    pub(crate) fn api(&self) -> Place {
        let same = || Place {
            address: self.address,
            authority: self.authority.clone(),
            path_prefix: self.path_prefix.clone(),
        };
        self.api.clone().unwrap_or_else(same)
    }

    /// The same host once more, for another load. It ends with the first.
    pub(crate) fn again(&self) -> Self {
        Self {
            address: self.address,
            tls: self.tls,
            authority: self.authority.clone(),
            path_prefix: self.path_prefix.clone(),
            app: self.app.clone(),
            pids: self.pids.clone(),
            control: self.control.clone(),
            api: self.api.clone(),
            child: None,
            scratch: None,
            compresses: self.compresses,
            counts: None,
            nginx: None,
            name: self.name,
        }
    }

    /// The last lines of the log of a server that was started here, on lines of their own.
    pub(crate) fn log_tail(&self) -> String {
        let log = self
            .scratch
            .as_ref()
            .and_then(|scratch| fs::read_to_string(scratch.join(LOG)).ok());
        let lines: Vec<_> = log
            .iter()
            .flat_map(|log| log.lines().rev().take(20))
            .collect();
        lines
            .iter()
            .rev()
            .flat_map(|line| ["\n  log: ", line])
            .collect()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.end();
        if let Some(scratch) = &self.scratch {
            fs::remove_dir_all(scratch).ok();
        }
    }
}
