//! Database servers of Debian's packages, on free ports and in folders of their own; they end with the tests.

use std::{
    fs,
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use sqlx::{AnyConnection, Connection, Executor};
use tokio::runtime::Runtime;

/// How long a server may take to start on a busy machine.
const START: Duration = Duration::from_secs(60);

static NUMBERS: AtomicU32 = AtomicU32::new(0);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Sqlite,
    Postgres,
    MariaDb,
}

/// A database of one test.
pub(crate) struct Database {
    pub(crate) kind: Kind,
    pub(crate) url: String,
    /// SQLite's file.
    pub(crate) file: Option<PathBuf>,
}

impl Database {
    /// An empty database, on a server that all tests share.
    pub(crate) fn new(kind: Kind) -> Self {
        static POSTGRES: OnceLock<Server> = OnceLock::new();
        static MARIADB: OnceLock<Server> = OnceLock::new();
        match kind {
            Kind::Sqlite => {
                let file = temporary("db");
                Self {
                    kind,
                    url: format!("sqlite://{}", file.display()),
                    file: Some(file),
                }
            }
            Kind::Postgres => POSTGRES
                .get_or_init(|| Server::start_shared(kind))
                .database(),
            Kind::MariaDb => MARIADB
                .get_or_init(|| Server::start_shared(kind))
                .database(),
        }
    }

    /// Runs statements, all or none.
    #[track_caller]
    pub(crate) fn execute(&self, statements: &[String]) {
        let done = block_on(async {
            let mut connection = connect(&self.url, self.kind).await?;
            let mut transaction = connection.begin().await?;
            for statement in statements {
                transaction.execute(statement.as_str()).await?;
            }
            transaction.commit().await
        });
        done.unwrap_or_else(|error| panic!("{error}: {statements:?}"));
    }

    /// Keeps others from reading and writing an SQLite file until the lock is dropped.
    pub(crate) fn lock(&self) -> Lock {
        let runtime = runtime();
        let locked = runtime.block_on(async {
            let mut connection = connect(&self.url, self.kind).await?;
            connection.execute("BEGIN EXCLUSIVE").await?;
            Ok::<_, sqlx::Error>(connection)
        });
        let _connection = locked.expect("nobody else has locked it");
        Lock {
            _connection,
            _runtime: runtime,
        }
    }

    /// The port of its server.
    pub(crate) fn port(&self) -> u16 {
        let mut parts = self.url.split([':', '/']);
        parts.find_map(|it| it.parse().ok()).expect("a server")
    }

    /// Its URL by way of another port.
    pub(crate) fn through(&self, port: u16) -> String {
        let own = format!(":{}/", self.port());
        self.url.replace(&own, &format!(":{port}/"))
    }

    /// A name in quotes.
    pub(crate) fn quoted(&self, name: &str) -> String {
        match self.kind {
            Kind::MariaDb => format!("`{name}`"),
            _ => format!("\"{name}\""),
        }
    }
}

/// A transaction that nobody else can read beside.
pub(crate) struct Lock {
    _connection: AnyConnection,
    _runtime: Runtime,
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Some(file) = &self.file {
            let _ = fs::remove_file(file);
        }
    }
}

/// A server of its own, for tests that stop it.
pub(crate) struct Server {
    kind: Kind,
    pub(crate) port: u16,
    folder: PathBuf,
    /// A shell that ends the server when this process ends.
    running: Option<Child>,
    /// Whether the folder goes with the server.
    is_shared: bool,
}

impl Server {
    pub(crate) fn start(kind: Kind) -> Self {
        let mut server = Self::prepared(kind);
        server.run();
        server
    }

    /// A server that is never dropped: its shell removes its folder.
    fn start_shared(kind: Kind) -> Self {
        let mut server = Self::prepared(kind);
        server.is_shared = true;
        server.run();
        server
    }

    fn prepared(kind: Kind) -> Self {
        let folder = temporary("server");
        fs::create_dir(&folder).expect("a folder");
        let port = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr());
        let server = Self {
            kind,
            port: port.expect("a free port").port(),
            folder,
            running: None,
            is_shared: false,
        };
        server.prepare();
        server
    }

    /// An empty database.
    pub(crate) fn database(&self) -> Database {
        let name = format!("it_{}", NUMBERS.fetch_add(1, Ordering::Relaxed));
        let url = |name: &str| match self.kind {
            Kind::MariaDb => format!("mysql://root@127.0.0.1:{}/{name}", self.port),
            _ => format!("postgres://tests@127.0.0.1:{}/{name}", self.port),
        };
        let system = match self.kind {
            Kind::MariaDb => "mysql",
            _ => "postgres",
        };
        let made = block_on(async {
            let mut connection = connect(&url(system), self.kind).await?;
            let statement = format!("CREATE DATABASE {name}");
            connection.execute(statement.as_str()).await
        });
        made.expect("a database is made");
        Database {
            kind: self.kind,
            url: url(&name),
            file: None,
        }
    }

    /// Stops it at once, as a crash would.
    pub(crate) fn kill(&mut self) {
        let mut shell = self.running.take().expect("it runs");
        drop(shell.stdin.take());
        shell.wait().expect("it ends");
    }

    /// Starts it where it was.
    pub(crate) fn run(&mut self) {
        let folder = self.folder.display();
        let port = self.port;
        let program = match self.kind {
            Kind::MariaDb => format!(
                "mariadbd --no-defaults --datadir={folder}/data --port={port} --bind-address=127.0.0.1 \
                 --socket={folder}/socket --innodb-flush-log-at-trx-commit=0 --innodb-buffer-pool-size=16M"
            ),
            _ => format!(
                "{} -D {folder}/data -p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off",
                postgres("postgres")
            ),
        };
        let signal = match self.kind {
            Kind::MariaDb => "KILL",
            // Its processes end with it.
            _ => "QUIT",
        };
        let after = match self.is_shared {
            true => format!("; rm -rf {folder}"),
            false => String::new(),
        };
        let until_the_tests_end =
            format!("{program} & server=$!; cat; kill -{signal} $server; wait{after}");
        let mut shell = as_nobody(&until_the_tests_end);
        let log = fs::File::create(self.folder.join("log")).expect("a log");
        shell
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log);
        self.running = Some(shell.spawn().expect("a shell"));
        let url = match self.kind {
            Kind::MariaDb => format!("mysql://root@127.0.0.1:{port}/mysql"),
            _ => format!("postgres://tests@127.0.0.1:{port}/postgres"),
        };
        let deadline = Instant::now() + START;
        while let Err(error) = block_on(connect(&url, self.kind)) {
            let log = || fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "{error}\n{}", log());
            std::thread::park_timeout(Duration::from_millis(50));
        }
    }

    fn prepare(&self) {
        let folder = self.folder.display();
        let program = match self.kind {
            Kind::MariaDb => format!(
                "mariadb-install-db --no-defaults --datadir={folder}/data --skip-test-db \
                 --auth-root-authentication-method=normal"
            ),
            _ => format!(
                "{} -D {folder}/data -A trust -U tests --no-sync",
                postgres("initdb")
            ),
        };
        if is_root() {
            let owned = Command::new("chown")
                .arg("nobody")
                .arg(&self.folder)
                .status();
            assert!(owned.is_ok_and(|it| it.success()), "the folder is nobody's");
        }
        let done = as_nobody(&program).output().expect("a shell");
        assert!(done.status.success(), "{program}: {done:?}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.running.is_some() {
            self.kill();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// PostgreSQL's programs, which are not on the path.
fn postgres(program: &str) -> String {
    let versions = fs::read_dir("/usr/lib/postgresql").expect("Debian's postgresql is installed");
    let mut versions: Vec<_> = versions.flatten().map(|version| version.path()).collect();
    versions.sort();
    let newest = versions.last().expect("a version");
    newest.join("bin").join(program).display().to_string()
}

/// PostgreSQL refuses to run as root.
fn as_nobody(script: &str) -> Command {
    let mut command = match is_root() {
        true => {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups", "sh"]);
            command
        }
        false => Command::new("sh"),
    };
    command.arg("-c").arg(script).current_dir("/");
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|it| std::os::unix::fs::MetadataExt::uid(&it) == 0)
}

/// A path for one test.
fn temporary(what: &str) -> PathBuf {
    let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
    let name = format!("loudhailer-it-{}-{number}-{what}", std::process::id());
    std::env::temp_dir().join(name)
}

async fn connect(url: &str, kind: Kind) -> Result<AnyConnection, sqlx::Error> {
    sqlx::any::install_default_drivers();
    match kind {
        Kind::Sqlite => AnyConnection::connect(&format!("{url}?mode=rwc")).await,
        _ => AnyConnection::connect(url).await,
    }
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    runtime().block_on(work)
}

fn runtime() -> Runtime {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().expect("a runtime")
}

/// Runs each of these functions as a test on every database.
macro_rules! on_every_database {
    ($($name:ident)*) => {
        $(
            mod $name {
                use crate::support::database::Kind;

                #[test]
                fn sqlite() {
                    super::$name(Kind::Sqlite);
                }

                #[test]
                fn postgres() {
                    super::$name(Kind::Postgres);
                }

                #[test]
                fn mariadb() {
                    super::$name(Kind::MariaDb);
                }
            }
        )*
    };
}
pub(crate) use on_every_database;
