//! systemd's protocols, played by the test: sockets that are handed over, and what a service tells of itself.

use std::{
    env,
    net::{SocketAddr, TcpListener, TcpStream},
    os::{
        fd::OwnedFd,
        unix::net::{UnixDatagram, UnixListener},
    },
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use rustls::ALL_VERSIONS;

use crate::support::{
    app::App,
    authority::Authority,
    bridge::{Bridge, Target},
    client::TestClient,
    http::Http,
    process::{ConfigFile, Process},
    redis::Folder,
    setup::Setup,
    stream::PATIENCE,
    tunnel::Tunnel,
    websocket::Upgrade,
};

/// The server with this socket as its descriptor 3, as systemd starts it.
fn launch(config: &ConfigFile, socket: OwnedFd, variables: &str) -> Process {
    let mut command = Command::new("sh");
    let script = format!(
        "exec 3<&0 0</dev/null; export LISTEN_FDS=1 LISTEN_PID=$$ {variables}; exec \"$0\" \"$@\""
    );
    command
        .args(["-c", &script, env!("CARGO_BIN_EXE_loudhailer")])
        .args(["--config", config.path()])
        .env_clear()
        .envs(env::var_os("PATH").map(|path| ("PATH", path)))
        .current_dir(env!("CARGO_TARGET_TMPDIR"));
    Process::spawn_with(command, Stdio::from(socket))
}

fn started(process: &Process) -> String {
    process.wait_stdout("start-up lines", |text| {
        text.contains("Admin on ").then(|| text.to_owned())
    })
}

fn stop(mut process: Process) {
    process.signal("TERM");
    let status = process.wait_exit(PATIENCE).expect("it ends");
    assert_eq!(status.code(), Some(0), "{}", process.stderr());
}

fn config() -> (App, ConfigFile) {
    let app = App::usual();
    let config = ConfigFile::new(&Setup::new().app(app.clone()).toml());
    (app, config)
}

fn tcp_socket() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

fn duplicate(listener: &TcpListener) -> OwnedFd {
    listener.try_clone().expect("a second handle").into()
}

#[test]
fn a_restart_loses_no_attempt_to_connect() {
    let (app, config) = config();
    let (listener, address) = tcp_socket();
    let first = launch(&config, duplicate(&listener), "LISTEN_FDNAMES=public");
    let printed = started(&first);
    assert!(
        printed.contains(&format!("Listening on http://{address}\n")),
        "{printed}"
    );
    let mut client = TestClient::connect(address, &app);
    // Somebody asks all the time, by a new connection each.
    let is_over = Arc::new(AtomicBool::new(false));
    let asking = {
        let is_over = Arc::clone(&is_over);
        thread::spawn(move || {
            let mut asked = 0;
            while !is_over.load(Ordering::Relaxed) {
                let mut http = Http::connect(address);
                let request = "GET /up HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
                http.send(request);
                let response = http.try_response(PATIENCE);
                let status = response.map(|response| response.status);
                assert_eq!(status, Ok(200), "request {asked}");
                asked += 1;
            }
            asked
        })
    };
    let closing = thread::spawn(move || client.expect_closed(4200));
    stop(first);
    closing.join().expect("the client was told to come back");
    // Nobody accepts now.
    let waiting = TcpStream::connect(address).expect("systemd's socket takes it");
    let mut waiting = Http::over(waiting);
    waiting.send(Upgrade::new(&format!("/app/{}?protocol=7", app.key)).bytes());
    let second = launch(&config, duplicate(&listener), "LISTEN_FDNAMES=public");
    assert_eq!(waiting.head_response().status, 101);
    let mut client = TestClient::connect(address, &app);
    client.subscribe("news");
    is_over.store(true, Ordering::Relaxed);
    assert!(asking.join().expect("every request was answered") > 10);
    stop(second);
}

#[test]
fn a_unix_socket_that_was_handed_over_is_served_and_its_file_stays() {
    let (app, config) = config();
    let folder = Folder::new();
    let path = folder.file("public.sock");
    let listener = UnixListener::bind(&path).expect("the file is made");
    let process = launch(&config, listener.into(), "LISTEN_FDNAMES=public");
    let printed = started(&process);
    assert!(
        printed.contains(&format!("Listening on unix:{path}\n")),
        "{printed}"
    );
    assert!(!printed.contains("Listening on http"), "{printed}");
    let bridge = Bridge::to(Target::Unix(path.clone()));
    TestClient::connect(bridge.address, &app).close();
    stop(process);
    assert!(std::fs::exists(&path).expect("the folder can be read"));
}

#[test]
fn the_port_with_tls_may_be_handed_over_and_the_other_bound() {
    let folder = Folder::new();
    let authority = Authority::new(&folder, "authority");
    let issued = authority.issue(&folder, "server");
    let app = App::usual();
    let setup = Setup::new()
        .set("server.tls.cert", issued.cert_file.as_str())
        .set("server.tls.key", issued.key_file.as_str())
        .app(app.clone());
    let config = ConfigFile::new(&setup.toml());
    let (listener, address) = tcp_socket();
    let process = launch(&config, listener.into(), "LISTEN_FDNAMES=tls");
    let printed = started(&process);
    for line in [
        format!("Listening on https://{address}\n"),
        "Listening on http://".to_owned(),
    ] {
        assert!(printed.contains(&line), "{line} not in: {printed}");
    }
    let tunnel = Tunnel::to(address, authority.client(ALL_VERSIONS));
    TestClient::connect(tunnel.address, &app).close();
    stop(process);
}

#[test]
fn the_admin_socket_may_be_handed_over_and_the_public_one_bound() {
    let (_, config) = config();
    let (listener, address) = tcp_socket();
    let process = launch(&config, listener.into(), "LISTEN_FDNAMES=admin");
    let printed = started(&process);
    assert!(
        printed.contains(&format!("Admin on http://{address}\n")),
        "{printed}"
    );
    assert_eq!(Http::connect(address).get("/ready").status, 200);
    stop(process);
}

#[test]
fn a_socket_that_must_not_be_used_so_is_refused() {
    let (_, config) = config();
    let everywhere = || TcpListener::bind("0.0.0.0:0").expect("a port").into();
    let unix = || {
        let (one, _) = std::os::unix::net::UnixStream::pair().expect("a pair");
        OwnedFd::from(one)
    };
    let file = || {
        std::fs::File::open("/dev/null")
            .expect("it is there")
            .into()
    };
    for (socket, name, expected) in [
        (
            everywhere(),
            "public",
            "which other machines reach, but server.host is 127.0.0.1",
        ),
        (
            everywhere(),
            "admin",
            "which other machines reach, but admin.host is 127.0.0.1",
        ),
        (
            everywhere(),
            "loudhailer.socket",
            "is named \"loudhailer.socket\"",
        ),
        (
            tcp_socket().0.into(),
            "tls",
            "the socket named \"tls\" needs server.tls.cert or server.tls.acme",
        ),
        (unix(), "admin", "is named \"admin\" and no TCP socket"),
        (
            file(),
            "public",
            "listens neither on TCP nor on a Unix socket",
        ),
    ] {
        let mut process = launch(&config, socket, &format!("LISTEN_FDNAMES={name}"));
        let status = process.wait_exit(PATIENCE).expect("it ends");
        let printed = process.stderr();
        assert_eq!(status.code(), Some(1), "{printed}");
        assert!(printed.contains(expected), "{expected}\nnot in: {printed}");
    }
}

#[test]
fn sockets_for_another_process_are_left_alone() {
    let (_, config) = config();
    let (listener, address) = tcp_socket();
    let process = launch(&config, listener.into(), "LISTEN_PID=1");
    let printed = started(&process);
    assert!(
        !printed.contains(&format!("http://{address}\n")),
        "{printed}"
    );
    stop(process);
}

#[test]
fn systemd_is_told_of_the_start_a_reload_and_the_stop() {
    let (_, config) = config();
    let folder = Folder::new();
    let path = folder.file("notify.sock");
    let socket = UnixDatagram::bind(&path).expect("the file is made");
    socket
        .set_read_timeout(Some(PATIENCE))
        .expect("a timeout is set");
    let told = || {
        let mut bytes = [0; 512];
        let length = socket.recv(&mut bytes).expect("something is told");
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    };
    let mut process = Process::start(&["--config", config.path()], &[("NOTIFY_SOCKET", &path)]);
    assert_eq!(told(), "READY=1\n");
    // Ready means that it serves.
    let printed = started(&process);
    let line = printed
        .lines()
        .find_map(|line| line.strip_prefix("Listening on http://"));
    let address: SocketAddr = line.expect("a line").parse().expect("an address");
    assert_eq!(Http::connect(address).get("/up").status, 200);
    process.signal("HUP");
    let reloading = told();
    let time = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=");
    let time = time.unwrap_or_else(|| panic!("{reloading:?}")).trim_end();
    assert!(
        time.parse::<u64>().is_ok_and(|time| time > 0),
        "{reloading:?}"
    );
    assert_eq!(told(), "READY=1\n");
    process.signal("TERM");
    assert_eq!(told(), "STOPPING=1\n");
    let status = process.wait_exit(PATIENCE).expect("it ends");
    assert_eq!(status.code(), Some(0), "{}", process.stderr());
}
