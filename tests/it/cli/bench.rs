//! `bench`: what it reports of a healthy host, of one that loses events or refuses them, and when it does not run.

use std::process::Command;

use serde_json::{Value, json};

use super::{borrowed, environment, run};
use crate::support::{
    app::App,
    authority::Authority,
    process::{Finished, Process},
    proxy::Proxy,
    redis::Folder,
    server::{TestServer, printed_address},
    setup::Setup,
    stream::PATIENCE,
};

/// A short run.
const SHORT: [&str; 9] = [
    "bench",
    "--subscribers",
    "20",
    "--channels",
    "4",
    "--duration",
    "1",
    "--connect-rate",
    "200",
];

fn report(printed: &str) -> Value {
    let last = printed.lines().last().expect("a report");
    let report: Value = serde_json::from_str(last).expect("JSON");
    assert_eq!(report["event"], "report", "{report}");
    report
}

#[track_caller]
fn bench(server: &TestServer, arguments: &[&str]) -> (Finished, Value) {
    let finished = run(server, &[&SHORT[..], arguments].concat());
    let report = report(&finished.stdout);
    (finished, report)
}

fn start(server: &TestServer, arguments: &[&str]) -> Process {
    Process::start(
        &[&["bench"], arguments].concat(),
        &borrowed(&environment(server)),
    )
}

/// Whether a line of progress counts deliveries.
fn has_delivered(text: &str) -> Option<()> {
    let delivered = |line: &str| serde_json::from_str::<Value>(line).ok()?["delivered"].as_u64();
    text.lines()
        .any(|line| delivered(line) > Some(0))
        .then_some(())
}

fn is_timed(times: &Value) -> bool {
    let times = ["p50", "p90", "p99", "max"].map(|name| times[name].as_f64());
    times.is_sorted() && times[0] > Some(0.0)
}

#[test]
fn every_event_is_counted_and_timed_on_channels_of_each_kind() {
    let server = TestServer::usual();
    for kind in ["public", "private", "presence"] {
        let (finished, report) = bench(&server, &["--kind", kind, "--rate", "20"]);
        assert_eq!(finished.code, Some(0), "{kind}: {finished:?}");
        assert_eq!(report["connections"]["connected"], 20, "{kind}: {report}");
        assert_eq!(report["publishes"]["answers"], json!({"200": 20}));
        assert_eq!(report["deliveries"]["delivered"], 100, "{kind}: {report}");
        assert_eq!(report["deliveries"]["lost"], 0);
        assert!(is_timed(&report["deliveries"]["time_ms"]), "{report}");
        assert!(is_timed(&report["publishes"]["time_ms"]), "{report}");
        assert!(report["deliveries"]["bytes"].as_u64() > Some(12_800));
    }
}

#[test]
fn events_may_be_client_events() {
    let server = TestServer::start(Setup::new().usual_with("client_events", true));
    let clients = ["--kind", "private", "--client-events"];
    let (finished, report) = bench(&server, &clients);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert_eq!(report["deliveries"]["delivered"], 50, "{report}");
    let server = TestServer::start(Setup::new().usual_with("client_events", false));
    let (finished, report) = bench(&server, &clients);
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert_eq!(report["publishes"]["refused"], 10, "{report}");
    assert_eq!(report["deliveries"]["lost"], 50, "{report}");
    let finished = run(&server, &["bench", "--client-events"]);
    assert_eq!(finished.code, Some(2), "{finished:?}");
}

#[test]
fn a_host_that_loses_events_is_found_out() {
    let server = TestServer::usual();
    let proxy = Proxy::start(server.public.port());
    let clients = format!("http://{}", proxy.address);
    let backends = format!("http://{}", server.public);
    let addresses = ["--url", &clients, "--api-url", &backends];
    let run = [
        "--duration",
        "2",
        "--rate",
        "50",
        "--timeout",
        "1",
        "--connect-rate",
        "1000",
    ];
    let mut process = start(&server, &[&addresses[..], &run].concat());
    process.wait_stdout("a delivery", has_delivered);
    proxy.hold_existing();
    let status = process.wait_exit(PATIENCE).expect("it ends");
    assert_eq!(status.code(), Some(1));
    let report = report(&process.stdout());
    let [expected, delivered, lost] =
        ["expected", "delivered", "lost"].map(|name| report["deliveries"][name].as_u64());
    assert_eq!(expected, Some(1000), "{report}");
    assert!(lost > Some(0), "{report}");
    assert_eq!(delivered.zip(lost).map(|(a, b)| a + b), expected);
    assert!(process.stderr().contains("deliveries were lost"));
}

#[test]
fn publishes_and_connections_that_the_host_refuses_are_counted_by_reason() {
    let limits = App::usual().set("max_backend_events_per_second", 5);
    let server = TestServer::start(Setup::new().app(limits.set("max_connections", 15)));
    let (finished, report) = bench(&server, &["--rate", "40"]);
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert_eq!(report["connections"]["connected"], 15, "{report}");
    let failed = report["connections"]["failed"].as_object().unwrap();
    let over_quota = failed.iter().find(|(reason, _)| reason.contains("4004"));
    assert_eq!(over_quota.map(|(_, count)| count), Some(&json!(5)));
    assert!(report["publishes"]["answers"]["429"].as_u64() > Some(0));
    // What the host did not accept it did not lose.
    assert_eq!(report["deliveries"]["lost"], 0, "{report}");
    for reason in [
        "connections of the subscribers failed",
        "not answered with 200",
    ] {
        assert!(finished.stderr.contains(reason), "{finished:?}");
    }
}

#[test]
fn connections_that_the_host_closes_are_counted_by_reason() {
    let mut server = TestServer::usual();
    let mut process = start(&server, &["--duration", "60", "--connect-rate", "1000"]);
    process.wait_stdout("a delivery", has_delivered);
    server.kill();
    process.wait_stdout("an end of all connections", |text| {
        text.contains("\"connected\":0").then_some(())
    });
    process.signal("INT");
    let status = process.wait_exit(PATIENCE).expect("it ends");
    assert_eq!(status.code(), Some(1));
    let report = report(&process.stdout());
    let ended = report["connections"]["ended"].as_object().unwrap();
    let ended: u64 = ended.values().filter_map(Value::as_u64).sum();
    assert_eq!(ended, 100, "{report}");
    assert_eq!(report["ok"], false);
}

#[test]
fn ctrl_c_ends_a_run_with_its_report() {
    let server = TestServer::usual();
    let mut process = start(&server, &["--duration", "3600", "--connect-rate", "1000"]);
    process.wait_stdout("a delivery", has_delivered);
    process.signal("INT");
    let status = process.wait_exit(PATIENCE).expect("it ends");
    assert_eq!(status.code(), Some(0), "{}", process.stderr());
    let report = report(&process.stdout());
    assert_eq!(report["interrupted"], true);
    assert_eq!(report["deliveries"]["lost"], 0, "{report}");
    assert_eq!(report["connections"]["connected"], 100);
}

#[test]
fn only_this_machine_is_loaded_unless_the_caller_says_so() {
    let app = ["--id", "1", "--key", "k", "--secret", "s", "--timeout", "1"];
    let elsewhere = ["bench", "--url", "http://192.0.2.1"];
    let finished = Process::run(&[&elsewhere[..], &app].concat(), &[]);
    assert_eq!(finished.code, Some(2), "{finished:?}");
    assert!(finished.stderr.contains("--yes"), "{finished:?}");
    let pinned = [
        "bench",
        "--url",
        "http://h.test",
        "--resolve",
        "h.test:192.0.2.1",
    ];
    let finished = Process::run(&[&pinned[..], &app].concat(), &[]);
    assert_eq!(finished.code, Some(2), "{finished:?}");
    // The address that backends use counts as well.
    let both = [
        "bench",
        "--url",
        "http://127.0.0.1:1",
        "--api-url",
        "http://192.0.2.1",
    ];
    let finished = Process::run(&[&both[..], &app].concat(), &[]);
    assert_eq!(finished.code, Some(2), "{finished:?}");
    let one = ["--yes", "--subscribers", "1"];
    let finished = Process::run(&[&elsewhere[..], &app, &one].concat(), &[]);
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert_eq!(report(&finished.stdout)["connections"]["connected"], 0);
}

#[test]
fn more_subscribers_than_open_files_are_refused_with_the_limit_to_raise() {
    let mut command = Command::new("sh");
    command
        .args(["-c", "ulimit -n 100 && exec \"$0\" bench"])
        .arg(env!("CARGO_BIN_EXE_loudhailer"))
        .env_clear();
    let mut process = Process::spawn(command);
    let status = process.wait_exit(PATIENCE).expect("it ends");
    assert_eq!(status.code(), Some(2), "{}", process.stderr());
    let stderr = process.stderr();
    for part in ["allows 100", "LimitNOFILE", "--subscribers"] {
        assert!(stderr.contains(part), "{stderr}");
    }
}

#[test]
fn a_host_with_tls_is_loaded_over_wss_and_https() {
    let folder = Folder::new();
    let authority = Authority::new(&folder, "authority");
    let issued = authority.issue(&folder, "server");
    let setup = Setup::new()
        .usual_with("client_events", true)
        .set("server.tls.cert", issued.cert_file.as_str())
        .set("server.tls.key", issued.key_file.as_str())
        .set("server.tls.port", 0);
    let server = TestServer::start(setup);
    let tls = printed_address(&server.process.stdout(), "Listening on https");
    let url = format!("https://{}", tls.expect("a TLS port"));
    let (finished, report) = bench(&server, &["--url", &url, "--ca-file", &authority.file]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert_eq!(report["deliveries"]["delivered"], 50, "{report}");
    let (finished, report) = bench(&server, &["--url", &url]);
    assert_eq!(finished.code, Some(1), "{finished:?}");
    let failed = report["connections"]["failed"].to_string();
    assert!(failed.contains("TLS handshake failed"), "{report}");
}

#[test]
fn people_get_a_table_and_reasons() {
    let server = TestServer::start(Setup::new().usual_with("max_connections", 15));
    let finished = run(&server, &[&SHORT[..], &["--text"]].concat());
    assert_eq!(finished.code, Some(1), "{finished:?}");
    for part in [
        "20 subscribers on 4 public channels",
        "connected      15 of 20",
        "published      10 of 10",
        "0 lost, 0 out of order",
        "not connected, 5 times: ",
        "delivery time  p50 ",
    ] {
        assert!(finished.stdout.contains(part), "{part}: {finished:?}");
    }
}
