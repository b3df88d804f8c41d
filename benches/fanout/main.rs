//! `cargo bench --bench fanout -- SCENARIO`: what a Pusher host costs per delivery and per socket, against a floor that
//! is measured in the same run. `docs/benchmarks.md` says how and why.

mod arguments;
mod bare;
mod contender;
mod floor;
mod handshake;
mod host;
mod http;
mod load;
mod measure;
mod nginx;
mod orders;
mod payload;
mod proc;
mod progress;
mod publisher;
mod report;
mod requests;
mod scenario;
mod schedule;
mod websocket;
mod wire;

use std::process::ExitCode;

use arguments::{Arguments, Scenario};
use report::{Report, say};

/// Anything that ends a run; it is printed, never matched on.
type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let arguments = Arguments::read();
    let outcome = match arguments.scenario {
        Scenario::Floor => {
            floor::run(arguments.data_bytes, arguments.workers, arguments.tls).map(|()| true)
        }
        Scenario::Bare => bare::run(arguments.workers).map(|()| true),
        Scenario::Handshake => handshake::run(arguments.workers).map(|()| true),
        _ => measure_all(&arguments),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => fail("something was lost, out of order or not as it must be"),
        Err(failure) => fail(&failure.to_string()),
    }
}

/// Whether nothing was lost.
fn measure_all(arguments: &Arguments) -> Result<bool, Failure> {
    rlimit::increase_nofile_limit(u64::MAX)?;
    let mut report = Report::start(arguments)?;
    scenario::run(arguments, &mut report)?;
    if let Some(file) = &arguments.json {
        std::fs::write(file, serde_json::to_string_pretty(&report)? + "\n")?;
        say(&format!("\nraw results: {}", file.display()))?;
    }
    Ok(report.is_whole())
}

#[expect(
    clippy::print_stderr,
    reason = "this is where the tool tells why it failed"
)]
fn fail(why: &str) -> ExitCode {
    eprintln!("error: {why}");
    ExitCode::FAILURE
}
