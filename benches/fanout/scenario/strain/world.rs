//! Three nodes on one Redis, and what is seen of them from outside.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::Failure;
use crate::arguments::Arguments;
use crate::host::Host;
use crate::proc::{Cpu, rss_bytes};
use crate::report::float;
use crate::scenario::cluster::nodes::{Redis, start};

const NAMES: [&str; 3] = ["node1", "node2", "node3"];

/// The nodes and their Redis.
pub(super) struct World {
    pub(super) nodes: Vec<Host>,
    pub(super) redis: Redis,
}

impl World {
    pub(super) fn start(arguments: &Arguments) -> Result<Self, Failure> {
        let arguments = Arguments {
            app_config: "max_channels_per_connection = 1000000\n",
            ..arguments.clone()
        };
        let redis = Redis::start()?;
        let nodes = NAMES
            .iter()
            .map(|name| start(name, Some(&redis), 10_000, &arguments));
        let nodes = nodes.collect::<Result<_, _>>()?;
        Ok(Self { nodes, redis })
    }

    /// How often a node has said that it lost its link.
    pub(super) fn links_lost(&self) -> usize {
        let nodes = self.nodes.iter();
        nodes
            .map(|node| node.logged("link down") + node.logged("out of reach"))
            .sum()
    }

    pub(super) fn pids(&self) -> Vec<u32> {
        self.nodes
            .iter()
            .flat_map(|node| node.pids.clone())
            .collect()
    }

    /// One command to Redis, and its reply as text.
    pub(super) fn ask_redis(&self, words: &[&str]) -> Result<String, Failure> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.redis.port()))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        stream.write_all(request.as_bytes())?;
        let mut reply = Vec::new();
        let mut buffer = [0; 65_536];
        loop {
            let count = stream.read(&mut buffer)?;
            reply.extend_from_slice(&buffer[..count]);
            if count == 0 || is_whole(&reply) {
                return Ok(String::from_utf8_lossy(&reply).into_owned());
            }
        }
    }

    /// Commands that Redis has executed, those of scripts included.
    pub(super) fn redis_commands(&self) -> Result<u64, Failure> {
        let text = self.ask_redis(&["INFO", "commandstats"])?;
        let calls = text.lines().filter_map(|line| {
            let (_, rest) = line.split_once("calls=")?;
            rest.split(',').next()?.parse::<u64>().ok()
        });
        Ok(calls.sum())
    }

    pub(super) fn redis_cpu_ns(&self) -> Result<u64, Failure> {
        Ok(Cpu::of(&[self.redis.pid()])?.total_ns)
    }

    /// Keys in Redis.
    pub(super) fn keys(&self) -> Result<u64, Failure> {
        let reply = self.ask_redis(&["DBSIZE"])?;
        Ok(reply.trim_start_matches(':').trim().parse()?)
    }
}

/// Whether a reply of RESP2 is all there: enough of it for what is asked here.
fn is_whole(reply: &[u8]) -> bool {
    let Some(end) = reply.windows(2).position(|two| two == b"\r\n") else {
        return false;
    };
    match reply[0] {
        b'$' => {
            let length = std::str::from_utf8(&reply[1..end]).ok();
            let length = length.and_then(|text| text.parse::<usize>().ok());
            length.is_none_or(|length| reply.len() >= end + 2 + length + 2)
        }
        _ => true,
    }
}

/// The largest memory of some processes while this lives.
pub(super) struct Peak {
    largest: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    watcher: Option<JoinHandle<()>>,
}

impl Peak {
    pub(super) fn of(pids: Vec<u32>) -> Self {
        let (largest, over) = (
            Arc::new(AtomicU64::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let watcher = thread::spawn({
            let (largest, over) = (Arc::clone(&largest), Arc::clone(&over));
            move || {
                while !over.load(Ordering::Relaxed) {
                    let now = pids.iter().map(|pid| rss_bytes(&[*pid]).unwrap_or(0)).max();
                    largest.fetch_max(now.unwrap_or(0), Ordering::Relaxed);
                    thread::sleep(Duration::from_millis(50));
                }
            }
        });
        Self {
            largest,
            over,
            watcher: Some(watcher),
        }
    }

    /// Bytes of the largest process.
    pub(super) fn end(mut self) -> f64 {
        self.over.store(true, Ordering::Relaxed);
        if let Some(watcher) = self.watcher.take() {
            watcher.join().ok();
        }
        float(self.largest.load(Ordering::Relaxed))
    }
}

/// Waits until something is so; how long that took.
pub(super) fn until(
    patience: Duration,
    mut is_so: impl FnMut() -> Result<bool, Failure>,
) -> Result<Duration, Failure> {
    let begun = Instant::now();
    while !is_so()? {
        if begun.elapsed() > patience {
            return Err(format!("waited {patience:?} in vain").into());
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(begun.elapsed())
}
