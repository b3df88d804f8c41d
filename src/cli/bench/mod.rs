//! `bench`: puts load onto a host, and counts what arrives.
//!
//! `plan` says what to do, `subscriber` and `publisher` do it, `board` counts, `report` judges and prints.

mod board;
mod plan;
mod publisher;
mod report;
mod subscriber;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use clap::Args;
use tokio::{
    sync::watch,
    task::{AbortHandle, JoinSet},
    time::{MissedTickBehavior, interval, sleep, timeout},
};

use self::{
    board::Board,
    plan::{Kind, Plan, Way},
    report::{Ending, Report, progress_json, progress_text},
};
use super::{
    Common, Failure, Host, Variables,
    output::{Printer, progress},
    target::Endpoint,
};

/// Files that are open besides the connections: standard streams, the runtime, names that are looked up.
const OTHER_FILES: u64 = 32;
/// How often the load is looked at, and how late a look is: lateness is this program's own.
const LOOK: Duration = Duration::from_millis(10);
const PROGRESS_LOOKS: u32 = 100;
/// How long closing all connections may take.
const CLOSING: Duration = Duration::from_secs(2);

/// `loudhailer bench`
#[derive(Args)]
pub struct Bench {
    /// Connections that subscribe, each to one channel.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=500_000))]
    subscribers: u32,
    /// Channels, among which the subscribers are spread evenly.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    channels: u32,
    /// The kind of the channels. Private and presence channels are signed with the app's secret.
    #[arg(long, value_enum, default_value_t = Kind::Public)]
    kind: Kind,
    /// Events that are published a second, over all channels; 0 only connects.
    #[arg(long, value_name = "EVENTS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(..=100_000))]
    rate: u32,
    /// Bytes of an event's data.
    #[arg(long, value_name = "BYTES", default_value_t = 128, value_parser = clap::value_parser!(u32).range(i64::from(plan::SIZE_MIN)..=1 << 20))]
    size: u32,
    /// How long events are published.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    duration: u32,
    /// Connections that are opened a second.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connect_rate: u32,
    /// Connections that publish. Each sends its next event when the one before was answered.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=256))]
    publishers: u16,
    /// Publish as clients, over the sockets of the publishers, instead of over the HTTP API.
    #[arg(long)]
    client_events: bool,
    /// Put load onto a host that is not this machine.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    common: Common,
}

impl Bench {
    pub(super) async fn run(self, environment: &Variables) -> Result<(), Failure> {
        let mut host = self.common.open(environment)?;
        let plan = self.plan()?;
        allow_files(&plan)?;
        self.permit(&mut host).await?;
        let printer = host.printer;
        if printer.is_text() {
            printer.show(
                &serde_json::Value::Null,
                &plan.described(&host.target.socket),
            )?;
        }
        let load = Arc::new(Load {
            board: Board::new(&plan),
            plan,
            host,
        });
        let report = Bencher::new(load).run().await?;
        printer.show(&report.json(), &report.text())?;
        report.verdict()
    }

    fn plan(&self) -> Result<Plan, Failure> {
        if self.client_events && self.kind == Kind::Public {
            let reason = "client events need --kind private or --kind presence";
            return Err(Failure::Usage(reason.to_owned()));
        }
        let way = match self.client_events {
            true => Way::ClientEvents,
            false => Way::Api,
        };
        Ok(Plan {
            run: hex::encode(rand::random::<[u8; 4]>()),
            began: Instant::now(),
            kind: self.kind,
            way,
            subscribers: self.subscribers,
            channels: self.channels,
            // More than there are events would only wait.
            publishers: usize::from(self.publishers).min(usize::try_from(self.rate).unwrap_or(1)),
            rate: self.rate,
            size: usize::try_from(self.size).unwrap_or(usize::MAX),
            duration: Duration::from_secs(self.duration.into()),
            connect_rate: self.connect_rate,
        })
    }

    /// Load is put onto the machine of the caller alone, unless they say that it may be another. Names are looked up once, here.
    async fn permit(&self, host: &mut Host) -> Result<(), Failure> {
        let target = &host.target;
        for endpoint in [&target.socket, &target.api] {
            let found = host.dialler.pinned(endpoint).await;
            let dialler =
                found.map_err(|error| Failure::Failed(format!("{}: {error}", endpoint.host)))?;
            if !self.yes && !dialler.is_loopback(endpoint) {
                return Err(Failure::Usage(foreign(endpoint)));
            }
            host.dialler = dialler;
        }
        Ok(())
    }
}

fn foreign(endpoint: &Endpoint) -> String {
    format!(
        "{endpoint} is not this machine: a bench takes its capacity from others, and a hosted service counts every connection and message; if it is yours to load, say --yes"
    )
}

/// Raises the limit of open files as far as the system lets it, and refuses a plan beyond it.
fn allow_files(plan: &Plan) -> Result<(), Failure> {
    let limit = rlimit::increase_nofile_limit(u64::MAX)
        .map_err(|error| Failure::Failed(format!("the limit of open files: {error}")))?;
    let publishers = u64::try_from(plan.publishers).unwrap_or(u64::MAX);
    let needed = u64::from(plan.subscribers) + publishers + OTHER_FILES;
    if needed <= limit {
        return Ok(());
    }
    Err(Failure::Usage(format!(
        "{} subscribers need {needed} open files, and this shell allows {limit}: raise the hard limit (`ulimit -Hn`, in /etc/security/limits.conf or systemd's LimitNOFILE=), or use fewer --subscribers",
        plan.subscribers
    )))
}

/// What is done, where, and what came of it.
struct Load {
    plan: Plan,
    host: Host,
    board: Board,
}

/// How far a run has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
enum Phase {
    Connecting,
    Publishing,
    /// Nothing is published any more; what is under way still arrives.
    Draining,
    /// Connections close.
    Over,
}

/// What the person who started the run wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
enum Wish {
    GoOn,
    /// Ctrl-C: the run ends now, with its report.
    Finish,
    /// Ctrl-C again: what is under way is not waited for.
    Abandon,
}

/// One run, from the first connection to the report.
struct Bencher {
    load: Arc<Load>,
    phase: watch::Sender<Phase>,
    wish: watch::Receiver<Wish>,
    subscribers: JoinSet<()>,
    helpers: Vec<AbortHandle>,
}

impl Bencher {
    fn new(load: Arc<Load>) -> Self {
        let (wishes, wish) = watch::channel(Wish::GoOn);
        let interrupts = tokio::spawn(async move {
            for wish in [Wish::Finish, Wish::Abandon] {
                if tokio::signal::ctrl_c().await.is_err() {
                    break;
                }
                wishes.send_replace(wish);
            }
            wishes.closed().await;
        });
        let looks = tokio::spawn(look(Arc::clone(&load)));
        Self {
            load,
            phase: watch::Sender::new(Phase::Connecting),
            wish,
            subscribers: JoinSet::new(),
            helpers: vec![interrupts.abort_handle(), looks.abort_handle()],
        }
    }

    async fn run(mut self) -> Result<Report, Failure> {
        let connecting = self.connect().await;
        let publishing = match self.wants(Wish::GoOn) && self.load.board.is_heard() {
            true => self.publish().await,
            false => Duration::ZERO,
        };
        self.drain().await;
        self.close().await;
        let ending = Ending {
            connecting,
            publishing,
            was_interrupted: !self.wants(Wish::GoOn),
        };
        for helper in &self.helpers {
            helper.abort();
        }
        progress("");
        Ok(Report::new(&self.load, &ending))
    }

    fn wants(&self, wish: Wish) -> bool {
        *self.wish.borrow() == wish
    }

    /// Opens the connections at their pace, and waits until each is subscribed or has failed.
    async fn connect(&mut self) -> Duration {
        let plan = &self.load.plan;
        let began = Instant::now();
        let mut pace = interval(Duration::from_secs(1) / plan.connect_rate);
        let mut started = 0;
        while started < plan.subscribers && self.wants(Wish::GoOn) {
            tokio::select! {
                _ = pace.tick() => {}
                // The loop looks at it.
                _ = self.wish.changed() => continue,
            }
            let one = subscriber::run(Arc::clone(&self.load), started, self.phase.subscribe());
            self.subscribers.spawn(one);
            started += 1;
        }
        while self.load.board.settled() < u64::from(started) && self.wants(Wish::GoOn) {
            sleep(LOOK).await;
        }
        began.elapsed()
    }

    /// Publishes until the time is over, and every publisher has its last answer.
    async fn publish(&mut self) -> Duration {
        let began = Instant::now();
        self.phase.send_replace(Phase::Publishing);
        let mut publishers = JoinSet::new();
        for number in 0..self.load.plan.publishers {
            let load = Arc::clone(&self.load);
            publishers.spawn(publisher::run(load, number, self.phase.subscribe()));
        }
        loop {
            tokio::select! {
                ended = publishers.join_next() => match ended {
                    Some(_) => {}
                    None => break,
                },
                changed = self.wish.changed() => {
                    self.phase.send_replace(Phase::Draining);
                    if changed.is_err() || self.wants(Wish::Abandon) {
                        break;
                    }
                }
            }
        }
        began.elapsed()
    }

    /// Waits until all has arrived, or nothing has for as long as the host is given for an answer.
    async fn drain(&mut self) {
        self.phase.send_replace(Phase::Draining);
        let board = &self.load.board;
        let patience = self.load.host.dialler.patience;
        let (mut last, mut since) = (board.delivered(), Instant::now());
        while board.is_missing_some()
            && since.elapsed() < patience
            && *self.wish.borrow() < Wish::Abandon
        {
            sleep(LOOK).await;
            let delivered = board.delivered();
            if delivered != last {
                (last, since) = (delivered, Instant::now());
            }
        }
    }

    /// Closes the connections. What is not closed in time ends with the process.
    async fn close(&mut self) {
        self.phase.send_replace(Phase::Over);
        let closing = async { while self.subscribers.join_next().await.is_some() {} };
        let _ = timeout(CLOSING, closing).await;
    }
}

/// Shows progress, and measures how late this program itself is.
async fn look(load: Arc<Load>) {
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        match load.host.printer {
            Printer::Text => progress(&progress_text(&load)),
            // Whoever reads no more learns no more; the report says so.
            json => drop(json.show(&progress_json(&load), "")),
        }
        for _ in 0..PROGRESS_LOOKS {
            let due = Instant::now() + LOOK;
            looks.tick().await;
            load.board
                .looked(Instant::now().saturating_duration_since(due));
        }
    }
}
