//! Handshakes beside a bare acceptor, and what others notice of them.
//!
//! The acceptor is the floor: each of its threads has an epoll loop that accepts, switches Nagle's algorithm off, registers the socket,
//! goes through the handshake with a rustls session that issues tickets, and closes. So it makes the system calls that the server can't do
//! without, and none between threads. The server's runtime accepts on a thread of its own and hands each socket to a worker; the CPU time of that
//! thread is a figure of its own.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, SupportedProtocolVersion};
use socket2::{Domain, Socket, Type};

use crate::Failure;
use crate::arguments::Arguments;
use crate::host::Candidate::{Sealed, SealedFloor};
use crate::host::Host;
use crate::load::Subscriptions;
use crate::measure::{Bench, measure_on, of_known};
use crate::proc::{Cpu, named_threads_ns};
use crate::report::{Finding, Section, float, say, say_run, say_title};
use crate::scenario::{seconds, section};
use crate::wire;

/// Clients that connect at a time.
const CLIENTS: usize = 8;
/// Handshakes per second beside deliveries.
const BESIDE_PER_SECOND: u32 = 500;
/// How the name of actix-server's accepting thread begins.
const ACCEPTING: &str = "actix-server ac";
/// A client gives up after this.
const PATIENCE: Duration = Duration::from_secs(10);

/// How a client begins its sessions.
#[derive(Clone, Copy)]
struct Kind {
    name: &'static str,
    version: &'static SupportedProtocolVersion,
    expected: HandshakeKind,
}

const KINDS: [Kind; 4] = [
    Kind {
        name: "full, TLS 1.3",
        version: &TLS13,
        expected: HandshakeKind::Full,
    },
    Kind {
        name: "full, TLS 1.2",
        version: &TLS12,
        expected: HandshakeKind::Full,
    },
    Kind {
        name: "resumed, TLS 1.3",
        version: &TLS13,
        expected: HandshakeKind::Resumed,
    },
    Kind {
        name: "resumed, TLS 1.2",
        version: &TLS12,
        expected: HandshakeKind::Resumed,
    },
];

/// CPU per handshake of each kind, against the acceptor. The two take turns of a second.
pub(super) fn run(arguments: &Arguments) -> Result<Section, Failure> {
    say_title("tls-handshakes: clients connect, say hello and leave")?;
    let (ours, floor) = (Sealed.start(arguments)?, SealedFloor.start(arguments)?);
    let time = seconds(arguments, 4.0);
    let mut findings = Vec::new();
    for kind in KINDS {
        let (mut ratios, mut shares) = (Vec::new(), Vec::new());
        for _ in 0..arguments.pairs {
            let (mut server, mut acceptor) = (Spent::default(), Spent::default());
            let began = Instant::now();
            while began.elapsed() < time {
                server.add(spend(&ours, kind, time.min(Duration::from_secs(1)))?);
                acceptor.add(spend(&floor, kind, time.min(Duration::from_secs(1)))?);
            }
            let (one, other) = (server.us_each(), acceptor.us_each());
            say(&format!(
                "   {:<18} {one:>6.0} µs of CPU each, {:.0} a second and core; acceptor {other:>6.0} µs, {:.0}",
                kind.name,
                1e6 / one,
                1e6 / other,
            ))?;
            ratios.push(one / other);
            shares.push(float(server.accepting_ns) / 1e3 / float(server.handshakes.max(1)));
        }
        let what = format!("CPU per handshake, {}, × bare acceptor", kind.name);
        findings.push(Finding::new(&what, ratios, Some(1.11)));
        let what = format!("µs of it in the thread that accepts, {}", kind.name);
        findings.push(Finding::new(&what, shares, None));
    }
    section("tls-handshakes", Vec::new(), findings, arguments)
}

/// Handshakes and what they took.
#[derive(Default)]
struct Spent {
    handshakes: u64,
    cpu_ns: u64,
    /// Of it what the thread took that hands sockets to the workers.
    accepting_ns: u64,
}

impl Spent {
    fn add(&mut self, other: Self) {
        self.handshakes += other.handshakes;
        self.cpu_ns += other.cpu_ns;
        self.accepting_ns += other.accepting_ns;
    }

    fn us_each(&self) -> f64 {
        float(self.cpu_ns) / 1e3 / float(self.handshakes.max(1))
    }
}

fn spend(host: &Host, kind: Kind, time: Duration) -> Result<Spent, Failure> {
    let address = host.tls.ok_or("it has no TLS")?;
    let counted = AtomicU64::new(0);
    let deadline = Instant::now() + time;
    let before = of_known(host, Cpu::of)?.ok_or("its process is not known")?;
    let accepting = named_threads_ns(&host.pids, ACCEPTING)?;
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| scope.spawn(|| connect_until(address, kind, deadline, &counted)))
            .collect();
        let ended = clients.into_iter().map(|client| client.join());
        ended
            .map(|ended| ended.map_err(|_| "a client panicked")?)
            .collect::<Result<Vec<()>, Failure>>()
    })?;
    let after = of_known(host, Cpu::of)?.ok_or("its process is not known")?;
    Ok(Spent {
        handshakes: counted.load(Ordering::Relaxed),
        cpu_ns: after.since(before).total_ns,
        accepting_ns: named_threads_ns(&host.pids, ACCEPTING)? - accepting,
    })
}

fn connect_until(
    address: SocketAddr,
    kind: Kind,
    deadline: Instant,
    counted: &AtomicU64,
) -> Result<(), Failure> {
    let config = client(kind)?;
    if kind.expected == HandshakeKind::Resumed {
        // The first has no ticket yet.
        begin(address, &config)?;
    }
    while Instant::now() < deadline {
        let found = begin(address, &config)?;
        if found != kind.expected {
            return Err(format!("a handshake was {found:?}").into());
        }
        counted.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

fn client(kind: Kind) -> Result<Arc<ClientConfig>, Failure> {
    let mut config = wire::client_of(&[kind.version])?;
    if kind.expected == HandshakeKind::Full {
        config.resumption = Resumption::disabled();
    }
    Ok(Arc::new(config))
}

/// One session from the connect until the client has all that a handshake brings, its tickets included.
fn begin(address: SocketAddr, config: &Arc<ClientConfig>) -> Result<HandshakeKind, Failure> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // Ends at once, so that its port is free again.
    socket.set_linger(Some(Duration::ZERO))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_tcp_nodelay(true)?;
    socket.connect(&address.into())?;
    let mut tcp = TcpStream::from(socket);
    let name = ServerName::try_from("localhost")?;
    let mut session = ClientConnection::new(Arc::clone(config), name)?;
    while session.is_handshaking() {
        session.complete_io(&mut tcp)?;
    }
    let is_new = session.protocol_version() == Some(rustls::ProtocolVersion::TLSv1_3);
    while is_new && session.tls13_tickets_received() == 0 {
        session.read_tls(&mut tcp)?;
        session.process_new_packets()?;
    }
    session.handshake_kind().ok_or("no handshake".into())
}

/// Deliveries to others, alone and beside full handshakes.
pub(super) fn beside(arguments: &Arguments) -> Result<Section, Failure> {
    let shape = super::thirty_a_second(arguments);
    let sockets = shape.sockets;
    say_title(&format!(
        "tls-beside: {sockets} sockets, alone and beside {BESIDE_PER_SECOND} full handshakes a second"
    ))?;
    let (mut alone, mut beside, mut runs) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..arguments.pairs {
        let start = || Bench::start(Sealed, Subscriptions::spread(sockets, 1)?, arguments);
        let run = measure_on(&mut start()?, shape, u64::MAX, arguments)?;
        say_run(&run)?;
        alone.push(run.latency.p99_us / 1e3);
        let mut bench = start()?;
        let address = bench.host.tls.ok_or("it has no TLS")?;
        let (is_over, counted) = (AtomicBool::new(false), AtomicU64::new(0));
        let began = Instant::now();
        let run = std::thread::scope(|scope| {
            let clients = scope.spawn(|| paced(address, &is_over, &counted));
            let run = measure_on(&mut bench, shape, u64::MAX, arguments);
            is_over.store(true, Ordering::Relaxed);
            clients.join().map_err(|_| "a client panicked")??;
            run
        })?;
        say_run(&run)?;
        let rate = float(counted.load(Ordering::Relaxed)) / began.elapsed().as_secs_f64();
        say(&format!("   {rate:.0} handshakes a second"))?;
        beside.push(run.latency.p99_us / 1e3);
        runs.push(run);
    }
    let what = format!("p99 in ms beside {BESIDE_PER_SECOND} handshakes a second");
    let findings = vec![
        Finding::new(&what, beside, Some(20.0)),
        Finding::new("p99 in ms alone", alone, None),
    ];
    section("tls-beside", runs, findings, arguments)
}

fn paced(address: SocketAddr, is_over: &AtomicBool, counted: &AtomicU64) -> Result<(), Failure> {
    let config = client(KINDS[0])?;
    let mut due = Instant::now();
    while !is_over.load(Ordering::Relaxed) {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        due += Duration::from_secs(1) / BESIDE_PER_SECOND;
        begin(address, &config)?;
        counted.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}
