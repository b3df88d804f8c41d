//! The processes of the cluster scenario: a redis-server that keeps nothing on disk, and nodes with two apps.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::Failure;
use crate::arguments::Arguments;
use crate::host::{Candidate, Host, server_config, start_node};

const PROGRAM: &str = "redis-server";
const ELSEWHERE: &str = "elsewhere";

/// A Redis of our own, which ends when this is dropped.
#[derive(Debug)]
pub(in crate::scenario) struct Redis {
    child: Child,
    port: u16,
    scratch: PathBuf,
}

impl Redis {
    pub(super) fn is_installed() -> bool {
        Command::new(PROGRAM).arg("--version").output().is_ok()
    }

    pub(in crate::scenario) fn start() -> Result<Self, Failure> {
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let scratch = std::env::temp_dir().join(format!("loudhailer-redis-{}", std::process::id()));
        fs::create_dir_all(&scratch)?;
        let mut command = Command::new(PROGRAM);
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1"]);
        command.args(["--save", "", "--appendonly", "no", "--dir"]);
        command.arg(&scratch);
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut redis = Self {
            child,
            port,
            scratch,
        };
        let stdout = redis.child.stdout.take().expect("stdout is piped");
        let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
        if !lines.any(|line| line.contains("Ready to accept connections")) {
            return Err("redis-server did not start".into());
        }
        // Read to the end: a full pipe would stop it.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(redis)
    }

    pub(in crate::scenario) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(in crate::scenario) fn port(&self) -> u16 {
        self.port
    }

    /// Lines for the configuration of a node that uses it.
    pub(in crate::scenario) fn config(&self) -> String {
        format!("[redis]\nurl = \"redis://127.0.0.1:{}\"\n\n", self.port)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        fs::remove_dir_all(&self.scratch).ok();
    }
}

/// Starts a node, with others on `redis` or alone.
pub(in crate::scenario) fn start(
    name: &'static str,
    redis: Option<&Redis>,
    members: usize,
    arguments: &Arguments,
) -> Result<Host, Failure> {
    let redis = redis.map_or_else(String::new, Redis::config);
    let config = format!(
        "{redis}{}max_presence_members = {members}\n\n[[apps]]\nid = \"{ELSEWHERE}\"\nkey = \"{ELSEWHERE}\"\nsecret = \"{ELSEWHERE}\"\n",
        server_config(arguments)
    );
    start_node(name, &config, arguments)
}

/// The same node, seen by those who use its second app.
pub(super) fn second_app(host: &Host, arguments: &Arguments) -> Result<Host, Failure> {
    Candidate::Server.start(&Arguments {
        url: Some(format!("ws://{}", host.authority)),
        app_id: ELSEWHERE.to_owned(),
        key: ELSEWHERE.to_owned(),
        secret: ELSEWHERE.to_owned(),
        ..arguments.clone()
    })
}
