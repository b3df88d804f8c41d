//! Real redis-server processes, each on a free port with a folder of its own, ended with the test.

use std::{
    collections::BTreeSet,
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use redis::{Client, FromRedisValue, RedisResult};

use super::{process::Process, random::Random, stream::PATIENCE, within};

static FOLDERS: AtomicU32 = AtomicU32::new(0);

/// Below the ports that the system gives to clients, so that a port stays free while its Redis is down; the cluster bus is
/// 10,000 above.
const PORTS: std::ops::Range<u16> = 12_000..22_000;

/// A folder of one test, removed with it.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
        let name = format!("it-{}-{number}", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&path).expect("the folder is made");
        Self(path)
    }

    /// The path of a file in it.
    pub(crate) fn file(&self, name: &str) -> String {
        let path = self.0.join(name);
        path.to_str().expect("a plain path").to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A port that nobody listens to, nor to the one of its cluster bus; another one each time.
pub(crate) fn free_port() -> u16 {
    static TRIED: AtomicU32 = AtomicU32::new(0);
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    loop {
        let number = u64::from(TRIED.fetch_add(1, Ordering::Relaxed));
        let mut random = Random::seeded((u64::from(std::process::id()) << 32) + number);
        let offset = random.below(usize::from(PORTS.end - PORTS.start));
        let port = PORTS.start + u16::try_from(offset).expect("a small offset");
        let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
        let is_new = || GIVEN.lock().expect("no test panics here").insert(port);
        if is_free(port) && is_free(port + 10_000) && is_new() {
            return port;
        }
    }
}

/// A redis-server, empty at every start.
pub(crate) struct RedisServer {
    pub(crate) port: u16,
    /// For the test's own commands.
    pub(crate) admin_url: String,
    arguments: Vec<String>,
    process: Process,
    pub(crate) folder: Folder,
}

impl RedisServer {
    #[track_caller]
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    #[track_caller]
    pub(crate) fn start_with(arguments: &[&str]) -> Self {
        let mut redis = Self::launch(free_port(), Folder::new(), arguments);
        redis.wait_until_it_answers();
        redis
    }

    /// Starts one that wants a password, without waiting for an answer.
    #[track_caller]
    pub(crate) fn launch_with_password(password: &str) -> Self {
        let mut redis = Self::launch(free_port(), Folder::new(), &["--requirepass", password]);
        redis.admin_url = format!("redis://:{password}@127.0.0.1:{}", redis.port);
        redis
    }

    /// Starts without waiting for an answer.
    #[track_caller]
    pub(crate) fn launch(port: u16, folder: Folder, arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|text| (*text).to_owned()).collect();
        Self {
            port,
            admin_url: format!("redis://127.0.0.1:{port}"),
            process: run(port, &folder, &arguments),
            arguments,
            folder,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn try_ask<T: FromRedisValue>(&self, words: &[&str]) -> RedisResult<T> {
        let client = Client::open(self.admin_url.as_str())?;
        let mut connection = client.get_connection_with_timeout(Duration::from_secs(5))?;
        connection.set_read_timeout(Some(PATIENCE))?;
        let mut command = redis::cmd(words[0]);
        words[1..].iter().for_each(|word| {
            command.arg(*word);
        });
        command.query(&mut connection)
    }

    #[track_caller]
    pub(crate) fn ask<T: FromRedisValue>(&self, words: &[&str]) -> T {
        match self.try_ask(words) {
            Ok(answer) => answer,
            Err(error) => panic!("{words:?}: {error}"),
        }
    }

    /// Publishes a message so many times.
    #[cfg(feature = "sql")]
    #[track_caller]
    pub(crate) fn publish_many(&self, topic: &str, message: &str, times: usize) {
        let client = Client::open(self.admin_url.as_str()).expect("a URL");
        let mut connection = client.get_connection().expect("Redis answers");
        let mut pipe = redis::pipe();
        for _ in 0..times {
            pipe.publish(topic, message).ignore();
        }
        pipe.exec(&mut connection).expect("Redis answers");
    }

    /// A number out of `INFO`.
    #[track_caller]
    pub(crate) fn info(&self, section: &str, field: &str) -> u64 {
        let text: String = self.ask(&["INFO", section]);
        let start = format!("{field}:");
        let value = text.lines().find_map(|line| line.strip_prefix(&start));
        let value = value.unwrap_or_else(|| panic!("no {field} in {text}"));
        value.trim().parse().expect("a number")
    }

    #[track_caller]
    pub(crate) fn wait_until_it_answers(&mut self) {
        let port = self.port;
        within(PATIENCE, "redis-server answers", || {
            if self.process.wait_exit(Duration::ZERO).is_some() {
                panic!("redis-server on {port} ended: {}", self.process.stdout());
            }
            self.try_ask::<String>(&["PING"])
                .map_err(|error| error.to_string())
        });
    }

    /// Stops the process where it stands: connections stay open and nothing answers.
    pub(crate) fn freeze(&mut self) {
        self.process.signal("STOP");
    }

    pub(crate) fn thaw(&mut self) {
        self.process.signal("CONT");
    }

    pub(crate) fn kill(&mut self) {
        self.process.signal("KILL");
        self.process.wait_exit(PATIENCE).expect("redis ends");
    }

    /// Comes back on its port, after [`Self::kill`], without its data.
    #[track_caller]
    pub(crate) fn start_again(&mut self) {
        self.process = run(self.port, &self.folder, &self.arguments);
        self.wait_until_it_answers();
    }
}

#[track_caller]
fn run(port: u16, folder: &Folder, arguments: &Vec<String>) -> Process {
    let mut command = Command::new("redis-server");
    command
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
        .args(["--save", "", "--appendonly", "no", "--daemonize", "no"])
        .args(arguments)
        .current_dir(&folder.0);
    Process::spawn(command)
}

/// A program that runs to its end, which must be a good one.
#[track_caller]
pub(crate) fn run_to_end(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program} starts: {error}"));
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {output:?}"
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}
