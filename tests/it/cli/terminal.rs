//! What commands print on a terminal and elsewhere. Python's `pty` plays the terminal.

use std::process::Command;

use serde_json::Value;

use super::{borrowed, environment, run};
use crate::support::{process::Process, server::TestServer, stream::PATIENCE};

/// Runs a command with standard error, and standard output too unless it goes into a pipe, on a narrow terminal, and passes on
/// what the terminal gets.
const TERMINAL: &str = "\
import ctypes, fcntl, os, signal, struct, subprocess, sys, termios
master, slave = os.openpty()
fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack('HHHH', 24, int(sys.argv[1]), 0, 0))
to_terminal = sys.argv[2] == 'terminal'
# A server ends with the terminal.
end_with_parent = lambda: ctypes.CDLL(None).prctl(1, signal.SIGKILL)
child = subprocess.Popen(sys.argv[3:], stdin=slave, stdout=slave if to_terminal else None, stderr=slave, preexec_fn=end_with_parent)
os.close(slave)
out = sys.stdout.buffer if to_terminal else sys.stderr.buffer
while True:
    try:
        piece = os.read(master, 65536)
    except OSError:
        break
    if not piece:
        break
    out.write(piece)
    out.flush()
sys.exit(child.wait())
";

const COLUMNS: &str = "40";

#[derive(Clone, Copy)]
enum Stdout {
    Terminal,
    Pipe,
}

/// A command on a terminal; its lines end as terminals have them.
fn on_terminal(stdout: Stdout, arguments: &[&str], variables: &[(&str, &str)]) -> Process {
    let stdout = match stdout {
        Stdout::Terminal => "terminal",
        Stdout::Pipe => "pipe",
    };
    let mut command = Command::new("python3");
    command
        .args(["-c", TERMINAL, COLUMNS, stdout])
        .arg(env!("CARGO_BIN_EXE_loudhailer"))
        .args(arguments)
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .env("TERM", "xterm-256color")
        .envs(variables.iter().copied());
    Process::spawn(command)
}

#[track_caller]
fn shown(server: &TestServer, arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let environment = environment(server);
    let all = [&borrowed(&environment), variables].concat();
    let mut process = on_terminal(Stdout::Terminal, arguments, &all);
    let status = process.wait_exit(PATIENCE).expect("it ends");
    assert!(status.success(), "{}{}", process.stdout(), process.stderr());
    process.stdout().replace("\r\n", "\n")
}

const BENCH: [&str; 7] = [
    "bench",
    "--subscribers",
    "10",
    "--duration",
    "1",
    "--connect-rate",
    "100",
];
/// How a line of progress begins and ends: the line is emptied, and not continued in the next one.
const PROGRESS: (&str, &str) = ("\r\u{1b}[?7l\u{1b}[K", "\u{1b}[?7h");

#[test]
fn people_at_a_terminal_get_lines_and_a_pipe_gets_json() {
    let server = TestServer::usual();
    let mut client = server.client();
    client.subscribe("orders");
    client.subscribe("a-longer-name");
    assert_eq!(
        shown(&server, &["channels"], &[]),
        "a-longer-name\norders\n"
    );
    let piped = run(&server, &["channels"]).stdout;
    assert_eq!(
        piped,
        "{\"channel\":\"a-longer-name\"}\n{\"channel\":\"orders\"}\n"
    );
    // A choice holds in both places.
    assert_eq!(shown(&server, &["channels", "--json"], &[]), piped);
    let text = run(&server, &["channels", "--text"]).stdout;
    assert_eq!(text, "a-longer-name\norders\n");
}

#[test]
fn progress_stays_in_one_line_of_a_narrow_terminal_and_is_gone_at_the_end() {
    let server = TestServer::usual();
    let printed = shown(&server, &BENCH, &[]);
    let mut pieces = printed.split(PROGRESS.0);
    let first = pieces.next().expect("a beginning");
    assert!(first.ends_with("for 1 s\n"), "{printed:?}");
    let pieces: Vec<_> = pieces.collect();
    let (last, progress) = pieces.split_last().expect("progress");
    assert!(!progress.is_empty(), "{printed:?}");
    for piece in progress {
        let text = piece.strip_suffix(PROGRESS.1).expect("it ends");
        assert!(text.contains("of 10 connected"), "{text:?}");
        assert!(!text.contains('\n'), "{text:?}");
    }
    let report = last
        .strip_prefix(PROGRESS.1)
        .expect("an empty line at the end");
    assert!(report.starts_with("connected "), "{report:?}");
    assert!(!report.contains('\u{1b}'), "{report:?}");
}

#[test]
fn a_terminal_that_knows_no_sequences_gets_none() {
    let server = TestServer::usual();
    let printed = shown(&server, &BENCH, &[("TERM", "dumb")]);
    assert!(!printed.contains('\u{1b}'), "{printed:?}");
    assert!(printed.contains("delivered "), "{printed:?}");
}

#[test]
fn progress_is_seen_while_the_result_goes_into_a_pipe() {
    let server = TestServer::usual();
    let environment = environment(&server);
    let mut process = on_terminal(Stdout::Pipe, &BENCH, &borrowed(&environment));
    let status = process.wait_exit(PATIENCE).expect("it ends");
    assert!(status.success(), "{}", process.stderr());
    let lines = process.stdout();
    assert!(!lines.contains('\u{1b}'), "{lines:?}");
    for line in lines.lines() {
        let line: Value = serde_json::from_str(line).expect("JSON");
        assert!(line["event"].is_string(), "{line}");
    }
}

/// #16: the log was coloured on a terminal whatever NO_COLOR said.
#[test]
fn no_color_turns_colours_off_in_the_log_and_the_help() {
    let ports = [
        ("LOUDHAILER_SERVER__PORT", "0"),
        ("LOUDHAILER_ADMIN__PORT", "0"),
    ];
    for (no_color, expected) in [(None, true), (Some("1"), false), (Some(""), true)] {
        let variables = [&ports[..], no_color.map(|it| ("NO_COLOR", it)).as_slice()].concat();
        let process = on_terminal(Stdout::Terminal, &[], &variables);
        let has_colours = process.wait_stdout("a line of the log", |text| {
            let (before, _) = text.split_once("started")?;
            Some(before.contains("\u{1b}[32m"))
        });
        assert_eq!(has_colours, expected, "{no_color:?}");
    }
    for (variables, expected) in [(&[][..], true), (&[("NO_COLOR", "1")], false)] {
        let mut help = on_terminal(Stdout::Terminal, &["--help"], variables);
        help.wait_exit(PATIENCE).expect("it ends");
        assert_eq!(help.stdout().contains('\u{1b}'), expected, "{variables:?}");
    }
}
