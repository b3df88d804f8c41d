//! docs/doctor.md: what its runs print.

use std::process::Command;

use super::{
    NAME,
    certificates::certificates,
    proxies::{FORWARD, Proxy},
    server,
};
use crate::support::{
    guide::{blocks, without_numbers},
    process::Process,
    server::TestServer,
    stream::PATIENCE,
};

/// What a run for people prints, on both outputs.
fn printed(server: &TestServer, url: &str) -> String {
    let app = server.app();
    let mut command = Command::new(env!("CARGO_BIN_EXE_loudhailer"));
    command
        .args(["doctor", url, "--resolve", &format!("{NAME}:127.0.0.1")])
        .args(["--ca-file", &certificates().authority()])
        .env_clear()
        .env("PUSHER_APP_ID", &app.id)
        .env("PUSHER_APP_KEY", &app.key)
        .env("PUSHER_APP_SECRET", &app.secret);
    let mut process = Process::spawn(command);
    process.wait_exit(PATIENCE).expect("it ends");
    process.stdout() + &process.stderr()
}

#[test]
fn the_guide_s_runs_print_what_it_says() {
    let server = server();
    let healthy = Proxy::nginx_with(&server, "good");
    let to = server.public;
    let certificate = certificates().nginx("incomplete");
    let faulty = Proxy::nginx(&format!(
        "server {{ listen 127.0.0.1:PORT ssl; {certificate} client_max_body_size 1k; location / {{ {FORWARD} proxy_pass http://{to}; }} }}"
    ));
    let runs = blocks("doctor.md");
    assert_eq!(runs.len(), 2);
    for (proxy, run) in [healthy, faulty].iter().zip(&runs) {
        let printed = printed(&server, &proxy.secure());
        // Its app is the demo app.
        let printed = printed.replace(&server.app().key, "app-key");
        assert_eq!(
            without_numbers(&printed),
            without_numbers(&run[0].output),
            "{printed}"
        );
    }
}
