//! A server under test: started on free ports, stopped with the test, its log read at the end.

use std::{fs, net::SocketAddr, thread, time::Duration};

use serde_json::Value;

use super::{
    api::Api,
    app::App,
    client::TestClient,
    http::{Http, Response},
    process::{ConfigFile, Process},
    setup::Setup,
    stream::PATIENCE,
    websocket::{Socket, Upgrade},
};

/// The running server.
pub(crate) struct TestServer {
    pub(crate) public: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) apps: Vec<App>,
    pub(crate) process: Process,
    pub(crate) config: Option<ConfigFile>,
}

impl TestServer {
    /// A server with the usual app and no other setting.
    pub(crate) fn usual() -> Self {
        Self::start(Setup::new())
    }

    #[track_caller]
    pub(crate) fn start(setup: Setup) -> Self {
        Self::start_in(setup, &[])
    }

    /// A server with these variables in its environment.
    #[track_caller]
    pub(crate) fn start_in(mut setup: Setup, environment: &[(&str, &str)]) -> Self {
        if setup.apps.is_empty() {
            setup = setup.app(App::usual());
        }
        let config = ConfigFile::new(&setup.toml());
        let mut server = Self::launch(&["--config", config.path()], environment);
        server.apps = setup.apps;
        server.config = Some(config);
        server
    }

    /// Starts with these arguments and environment; the caller knows the apps.
    #[track_caller]
    pub(crate) fn launch(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let process = Process::start(arguments, environment);
        let (public, admin) = process.wait_stdout("start-up lines", |text| {
            Some((
                printed_address(text, "Listening on ")?,
                printed_address(text, "Admin on ")?,
            ))
        });
        Self {
            public,
            admin,
            apps: Vec::new(),
            process,
            config: None,
        }
    }

    pub(crate) fn app(&self) -> &App {
        &self.apps[0]
    }

    /// A signing HTTP client of the first app.
    pub(crate) fn api(&self) -> Api {
        self.api_of(self.app())
    }

    pub(crate) fn api_of(&self, app: &App) -> Api {
        Api::new(self.public, app)
    }

    /// A connected client of the first app.
    #[track_caller]
    pub(crate) fn client(&self) -> TestClient {
        self.client_of(self.app())
    }

    #[track_caller]
    pub(crate) fn client_of(&self, app: &App) -> TestClient {
        TestClient::connect(self.public, app)
    }

    /// A socket of the first app that has been greeted, for frames by hand.
    #[track_caller]
    pub(crate) fn socket(&self) -> Socket {
        let mut socket = self.upgrade("7").connect(self.public);
        let greeting = socket.expect_text();
        assert!(
            greeting.contains("pusher:connection_established"),
            "{greeting}"
        );
        socket
    }

    /// The upgrade request of the first app with this `protocol`.
    pub(crate) fn upgrade(&self, protocol: &str) -> Upgrade {
        let key = &self.app().key;
        Upgrade::new(&format!(
            "/app/{key}?protocol={protocol}&client=js&version=8.6.0&flash=false"
        ))
    }

    /// GET on the public listener, unsigned.
    pub(crate) fn get(&self, target: &str) -> Response {
        Http::connect(self.public).get(target)
    }

    /// GET on the admin listener.
    pub(crate) fn admin_get(&self, target: &str) -> Response {
        Http::connect(self.admin).get(target)
    }

    /// Any request to the admin listener; `headers` are whole lines.
    #[track_caller]
    pub(crate) fn admin_call(&self, request_line: &str, headers: &[&str], body: &str) -> Response {
        let mut request = format!(
            "{request_line} HTTP/1.1\r\nContent-Length: {}\r\n",
            body.len()
        );
        for header in headers {
            request += &format!("{header}\r\n");
        }
        let mut http = Http::connect(self.admin);
        http.send(format!("{request}\r\n{body}"));
        http.response()
    }

    /// What the admin listener answers to a GET, which must be JSON.
    #[track_caller]
    pub(crate) fn admin_json(&self, target: &str) -> Value {
        let response = self.admin_get(target);
        assert_eq!(response.status, 200, "{response:?}");
        response.json()
    }

    /// Resident memory in KiB.
    pub(crate) fn resident_kib(&self) -> usize {
        let status =
            fs::read_to_string(format!("/proc/{}/status", self.process.pid)).expect("it runs");
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .expect("VmRSS");
        let kib = line
            .split_whitespace()
            .nth(1)
            .and_then(|kib| kib.parse().ok());
        kib.expect("a number")
    }

    pub(crate) fn terminate(&mut self) {
        self.process.signal("TERM");
    }

    /// Waits for the end after [`Self::terminate`], which must be exit code 0.
    #[track_caller]
    pub(crate) fn expect_clean_exit(&mut self) {
        let status = self.process.wait_exit(PATIENCE).expect("the server ends");
        assert_eq!(status.code(), Some(0), "{}", self.process.stderr());
    }

    /// Ends the server at once, as a crash would.
    pub(crate) fn kill(&mut self) {
        self.process.signal("KILL");
        self.process.wait_exit(PATIENCE).expect("the server ends");
    }

    /// Stops the process where it stands; it notices nothing until [`Self::thaw`].
    pub(crate) fn freeze(&mut self) {
        self.process.signal("STOP");
    }

    pub(crate) fn thaw(&mut self) {
        self.process.signal("CONT");
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.admin_get("/ready").status == 200
    }

    /// Everything that was printed, on both streams.
    pub(crate) fn printed(&self) -> String {
        self.process.stdout() + &self.process.stderr()
    }

    fn check_log(&self) {
        let printed = self.printed();
        assert!(
            !printed.contains("panicked"),
            "the server panicked:\n{printed}"
        );
        for app in &self.apps {
            assert!(
                !printed.contains(&app.secret),
                "a secret was printed:\n{printed}"
            );
        }
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        let ended_before = self.process.wait_exit(Duration::ZERO).is_some();
        self.thaw();
        self.process.signal("TERM");
        let status = self.process.wait_exit(Duration::from_secs(20));
        if thread::panicking() {
            eprintln!("--- the server's log ---\n{}", self.process.stderr());
            return;
        }
        let status = status.expect("the server ends after SIGTERM");
        self.check_log();
        // A test that ended the server itself has judged the exit code.
        if !ended_before {
            assert_eq!(status.code(), Some(0), "{}", self.process.stderr());
        }
    }
}

pub(crate) fn printed_address(text: &str, label: &str) -> Option<SocketAddr> {
    let complete = &text[..=text.rfind('\n')?];
    let line = complete.lines().find_map(|line| line.strip_prefix(label))?;
    let (_, address) = line.split_once("://").expect("a URL");
    Some(address.trim().parse().expect("an address with a port"))
}
