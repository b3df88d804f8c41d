//! The built binary as a child process, with a clean environment and everything it prints kept; other programs too.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicU32, Ordering},
        mpsc::{Receiver, RecvTimeoutError, channel},
    },
    thread,
    time::{Duration, Instant},
};

use super::stream::PATIENCE;

static FILES: AtomicU32 = AtomicU32::new(0);

/// A file of one test, removed with it.
pub(crate) struct ConfigFile {
    path: PathBuf,
}

impl ConfigFile {
    pub(crate) fn new(text: &str) -> Self {
        let number = FILES.fetch_add(1, Ordering::Relaxed);
        let name = format!("it-{}-{number}.toml", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::write(&path, text).expect("the configuration file is written");
        Self { path }
    }

    pub(crate) fn path(&self) -> &str {
        self.path.to_str().expect("a plain path")
    }

    /// Puts this text in its place, as an editor does that writes a new file and renames it.
    pub(crate) fn replace(&self, text: &str) {
        let new = self.path.with_extension("new");
        fs::write(&new, text).expect("the new file is written");
        fs::rename(new, &self.path).expect("the new file takes its place");
    }

    /// Puts this text in it, as an editor does that truncates the file first.
    pub(crate) fn overwrite(&self, text: &str) {
        fs::write(&self.path, text).expect("the file is written");
    }
}

impl Drop for ConfigFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// What one output stream of the child has said so far.
#[derive(Clone, Default)]
struct Output(Arc<(Mutex<Collected>, Condvar)>);

#[derive(Default)]
struct Collected {
    bytes: Vec<u8>,
    ended: bool,
}

impl Output {
    fn collect(&self, mut from: impl Read + Send + 'static) {
        let output = self.clone();
        thread::spawn(move || {
            let mut chunk = [0; 8192];
            loop {
                let read = from.read(&mut chunk).unwrap_or(0);
                let mut collected = output.0.0.lock().expect("no reader panics");
                collected.bytes.extend_from_slice(&chunk[..read]);
                collected.ended = read == 0;
                output.0.1.notify_all();
                if collected.ended {
                    return;
                }
            }
        });
    }

    /// Waits until `found` finds something in the text, or the stream has ended.
    fn wait<T>(&self, mut found: impl FnMut(&str) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + PATIENCE;
        let mut collected = self.0.0.lock().expect("no reader panics");
        loop {
            let text = String::from_utf8_lossy(&collected.bytes);
            if let Some(answer) = found(&text) {
                return Some(answer);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if collected.ended || left.is_zero() {
                return None;
            }
            collected = self
                .0
                .1
                .wait_timeout(collected, left)
                .expect("no reader panics")
                .0;
        }
    }

    fn text(&self) -> String {
        let collected = self.0.0.lock().expect("no reader panics");
        String::from_utf8_lossy(&collected.bytes).into_owned()
    }
}

/// A command that has ended.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A running child.
pub(crate) struct Process {
    pub(crate) pid: u32,
    stdout: Output,
    stderr: Output,
    exit: Receiver<ExitStatus>,
    exited: Option<ExitStatus>,
}

impl Process {
    /// Starts the binary with nothing of this process' environment but PATH.
    pub(crate) fn start(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        Self::start_in(
            Path::new(env!("CARGO_TARGET_TMPDIR")),
            arguments,
            environment,
        )
    }

    /// As [`Process::start`], in this folder.
    pub(crate) fn start_in(
        folder: &Path,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_loudhailer"));
        command
            .args(arguments)
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .envs(environment.iter().copied())
            .current_dir(folder);
        Self::spawn(command)
    }

    /// Starts any program.
    #[track_caller]
    pub(crate) fn spawn(command: Command) -> Self {
        Self::spawn_with(command, Stdio::null())
    }

    /// Starts any program with this for its standard input.
    #[track_caller]
    pub(crate) fn spawn_with(mut command: Command, stdin: Stdio) -> Self {
        let spawned = command
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = spawned.unwrap_or_else(|error| panic!("{command:?} starts: {error}"));
        let (stdout, stderr) = (Output::default(), Output::default());
        stdout.collect(child.stdout.take().expect("piped"));
        stderr.collect(child.stderr.take().expect("piped"));
        Self {
            pid: child.id(),
            stdout,
            stderr,
            exit: watch(child),
            exited: None,
        }
    }

    /// Runs a command that ends by itself.
    #[track_caller]
    pub(crate) fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Finished {
        Self::start(arguments, environment).finished(arguments)
    }

    /// As [`Process::run`], in this folder.
    #[track_caller]
    pub(crate) fn run_in(folder: &Path, arguments: &[&str]) -> Finished {
        Self::start_in(folder, arguments, &[]).finished(arguments)
    }

    #[track_caller]
    fn finished(self, arguments: &[&str]) -> Finished {
        let mut process = self;
        let status = process.wait_exit(PATIENCE);
        let status =
            status.unwrap_or_else(|| panic!("{arguments:?} did not end: {}", process.stdout()));
        Finished {
            code: status.code(),
            stdout: process.stdout(),
            stderr: process.stderr(),
        }
    }

    /// Waits for what `found` looks for on standard output.
    #[track_caller]
    pub(crate) fn wait_stdout<T>(&self, what: &str, found: impl FnMut(&str) -> Option<T>) -> T {
        let answer = self.stdout.wait(found);
        answer.unwrap_or_else(|| panic!("no {what}:\n{}\n{}", self.stdout(), self.stderr()))
    }

    /// Waits for what `found` looks for on standard output, or for its end, and gives all that was printed there.
    pub(crate) fn wait_stdout_or_end(&self, found: impl FnMut(&str) -> Option<()>) -> String {
        self.stdout.wait(found);
        self.stdout()
    }

    /// Waits for what `found` looks for in the log.
    #[track_caller]
    pub(crate) fn wait_stderr<T>(&self, what: &str, found: impl FnMut(&str) -> Option<T>) -> T {
        let answer = self.stderr.wait(found);
        answer.unwrap_or_else(|| panic!("no {what}:\n{}", self.stderr()))
    }

    pub(crate) fn stdout(&self) -> String {
        self.stdout.text()
    }

    pub(crate) fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Sends a signal by name, unless the child has ended.
    pub(crate) fn signal(&mut self, name: &str) {
        if self.wait_exit(Duration::ZERO).is_none() {
            let kill = format!("kill -{name} {}", self.pid);
            // It may fail: the child may end by itself just now.
            let _ = Command::new("sh")
                .args(["-c", &kill])
                .stderr(Stdio::null())
                .status();
        }
    }

    /// The exit status, and with it everything that was printed.
    pub(crate) fn wait_exit(&mut self, patience: Duration) -> Option<ExitStatus> {
        if self.exited.is_none() {
            self.exited = match self.exit.recv_timeout(patience) {
                Ok(status) => Some(status),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => panic!("the child's exit was not seen"),
            };
            if self.exited.is_some() {
                self.stdout.wait(|_| None::<()>);
                self.stderr.wait(|_| None::<()>);
            }
        }
        self.exited
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.exited.is_none() {
            self.signal("KILL");
        }
    }
}

fn watch(mut child: Child) -> Receiver<ExitStatus> {
    let (exit, watched) = channel();
    thread::spawn(move || {
        let status = child.wait().expect("a child can be waited for");
        // Nobody may be waiting any more.
        let _ = exit.send(status);
    });
    watched
}
