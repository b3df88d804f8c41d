//! A real redis-server on a Unix socket, and connections to it that speak RESP3.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    os::unix::net::UnixStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;

use crate::redis::{ErrorReply, Reply};

/// How long the server may take for anything.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs a server until standard input ends: with the test, however that ends.
const RUN: &str =
    "redis-server \"$@\" & server=$!; read -r line; kill -KILL $server 2>/dev/null; wait";

/// A server without data, ended with the test.
pub(super) struct Server {
    process: Child,
    folder: PathBuf,
}

impl Server {
    pub(super) fn start() -> Self {
        Self::start_with(&[])
    }

    /// Leaves it to commands to find what has expired.
    fn stop_expiring(&self) {
        self.connect().ask(&["DEBUG", "SET-ACTIVE-EXPIRE", "0"]);
    }

    /// A cluster of one node that has all slots.
    pub(super) fn start_cluster() -> Self {
        // Nobody connects to the bus; it needs a port nevertheless.
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = listener.local_addr().expect("a bound port").port();
        drop(listener);
        let port = port.to_string();
        let server = Self::start_with(&["--cluster-enabled", "yes", "--cluster-port", &port]);
        let mut connection = server.connect();
        connection.ask(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]);
        let deadline = Instant::now() + PATIENCE;
        while !is_cluster_up(&mut connection) {
            assert!(Instant::now() < deadline, "the cluster comes up");
            thread::park_timeout(Duration::from_millis(5));
        }
        server
    }

    fn start_with(arguments: &[&str]) -> Self {
        static FOLDERS: AtomicU32 = AtomicU32::new(0);
        let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("sim-{}-{number}", std::process::id()));
        fs::create_dir_all(&folder).expect("the folder is made");
        assert_installed();
        let process = Command::new("sh")
            .args(["-c", RUN, "sh"])
            .args([
                "--port",
                "0",
                "--unixsocket",
                "redis.sock",
                "--logfile",
                "redis.log",
            ])
            .args(["--save", "", "--appendonly", "no", "--daemonize", "no"])
            .args(["--enable-debug-command", "yes"])
            .args(arguments)
            .current_dir(&folder)
            .stdin(Stdio::piped())
            .spawn()
            .expect("sh starts");
        let server = Self { process, folder };
        server.stop_expiring();
        server
    }

    pub(super) fn connect(&self) -> Connection {
        let deadline = Instant::now() + PATIENCE;
        let stream = loop {
            match UnixStream::connect(self.folder.join("redis.sock")) {
                Ok(stream) => break stream,
                Err(error) if Instant::now() > deadline => {
                    let log = fs::read_to_string(self.folder.join("redis.log"));
                    panic!("redis-server does not answer: {error}\n{log:?}");
                }
                Err(_) => thread::park_timeout(Duration::from_millis(5)),
            }
        };
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("a time above 0");
        let mut connection = Connection {
            reader: BufReader::new(stream.try_clone().expect("a second descriptor")),
            writer: stream,
        };
        connection.ask(&["HELLO", "3"]);
        connection
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn assert_installed() {
    let started = Command::new("redis-server").arg("--version").output();
    assert!(
        started.is_ok(),
        "redis-server is not installed. These tests compare the simulated Redis with a real one: install Debian's package \
         redis-server, as `tests/run.sh test` does."
    );
}

fn is_cluster_up(connection: &mut Connection) -> bool {
    match connection.ask(&["CLUSTER", "INFO"]) {
        Reply::Bulk(text) => text.starts_with(b"cluster_state:ok"),
        other => panic!("CLUSTER INFO: {other:?}"),
    }
}

pub(super) struct Connection {
    reader: BufReader<UnixStream>,
    writer: UnixStream,
}

/// What a server sends.
#[derive(Debug)]
pub(super) enum Frame {
    Reply(Reply),
    Push(Vec<Reply>),
}

impl Connection {
    /// Ends the connection's subscriptions.
    pub(super) fn reset(&mut self) {
        self.send(&[&[Bytes::from_static(b"RESET")]]);
        while !matches!(self.receive(), Frame::Reply(Reply::Status(status)) if status == "RESET") {}
        self.ask(&["HELLO", "3"]);
    }

    /// Runs one command that has one reply, and must not fail.
    pub(super) fn ask(&mut self, words: &[&str]) -> Reply {
        let words: Vec<_> = words
            .iter()
            .map(|word| Bytes::copy_from_slice(word.as_bytes()))
            .collect();
        self.send(&[&words]);
        match self.receive() {
            Frame::Reply(Reply::Error(error)) => panic!("{words:?}: {error:?}"),
            Frame::Reply(reply) => reply,
            Frame::Push(push) => panic!("{words:?} before its reply: {push:?}"),
        }
    }

    /// Sends commands in one write.
    pub(super) fn send(&mut self, commands: &[&[Bytes]]) {
        let mut request = Vec::new();
        for words in commands {
            request.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
            for word in *words {
                request.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
                request.extend_from_slice(word);
                request.extend_from_slice(b"\r\n");
            }
        }
        self.writer.write_all(&request).expect("the server reads");
    }

    pub(super) fn receive(&mut self) -> Frame {
        let line = self.line();
        if let Some(length) = line.strip_prefix('>') {
            return Frame::Push(self.replies(count(length)));
        }
        Frame::Reply(self.reply(&line))
    }

    fn line(&mut self) -> String {
        let mut line = Vec::new();
        let read = self.reader.read_until(b'\n', &mut line);
        read.expect("the server answers in time");
        let text = String::from_utf8_lossy(&line);
        text.strip_suffix("\r\n")
            .unwrap_or_else(|| panic!("the server hung up after {text:?}"))
            .to_owned()
    }

    fn reply(&mut self, line: &str) -> Reply {
        let (kind, rest) = line.split_at(1);
        match kind {
            "_" => Reply::Nil,
            "#" => Reply::Bool(rest == "t"),
            ":" => Reply::Int(rest.parse().expect("an integer")),
            "," => Reply::Double(rest.parse().expect("a double")),
            "+" => Reply::Status(rest.to_owned()),
            "-" => Reply::Error(ErrorReply::from_line(rest)),
            "$" => Reply::Bulk(self.bulk(count(rest))),
            "=" => Reply::Bulk(self.bulk(count(rest)).slice(4..)),
            "*" => Reply::Array(self.replies(count(rest))),
            "~" => Reply::Set(self.replies(count(rest))),
            "%" => {
                let items = self.replies(2 * count(rest));
                let pairs = items.chunks_exact(2);
                Reply::Map(
                    pairs
                        .map(|pair| (pair[0].clone(), pair[1].clone()))
                        .collect(),
                )
            }
            _ => panic!("the server says {line:?}"),
        }
    }

    fn replies(&mut self, count: usize) -> Vec<Reply> {
        (0..count)
            .map(|_| {
                let line = self.line();
                self.reply(&line)
            })
            .collect()
    }

    fn bulk(&mut self, length: usize) -> Bytes {
        let mut bytes = vec![0; length + 2];
        let read = self.reader.read_exact(&mut bytes);
        read.expect("the server answers in time");
        bytes.truncate(length);
        bytes.into()
    }
}

fn count(text: &str) -> usize {
    text.parse().expect("a length")
}
