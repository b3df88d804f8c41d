//! What `/proc` knows: CPU time and memory of the processes under test, and the facts of this machine.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::Failure;

/// CPU time spent so far.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Cpu {
    /// All threads that still live, from `/proc/PID/task/*/schedstat`.
    pub(crate) total_ns: u64,
    /// The kernel's own split, in clock ticks of 10 ms.
    pub(crate) user_ticks: u64,
    pub(crate) system_ticks: u64,
}

impl Cpu {
    /// The CPU time of these processes together.
    pub(crate) fn of(pids: &[u32]) -> Result<Self, Failure> {
        let mut sum = Self::default();
        for pid in pids {
            sum.total_ns += threads_ns(*pid)?;
            let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
            let (_, after_name) = stat.rsplit_once(')').ok_or("no name in /proc/PID/stat")?;
            let mut fields = after_name.split_ascii_whitespace().skip(11);
            sum.user_ticks += fields.next().ok_or("no utime")?.parse::<u64>()?;
            sum.system_ticks += fields.next().ok_or("no stime")?.parse::<u64>()?;
        }
        Ok(sum)
    }

    /// The CPU time of this very process; as everywhere, threads that have ended are not in it.
    pub(crate) fn of_this_process() -> Result<Self, Failure> {
        Self::of(&[std::process::id()])
    }

    /// What was spent since `earlier`.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            total_ns: self.total_ns.saturating_sub(earlier.total_ns),
            user_ticks: self.user_ticks.saturating_sub(earlier.user_ticks),
            system_ticks: self.system_ticks.saturating_sub(earlier.system_ticks),
        }
    }
}

fn threads_ns(pid: u32) -> Result<u64, Failure> {
    some_threads_ns(pid, |_| true)
}

/// The CPU time of those threads whose name begins so, in nanoseconds.
pub(crate) fn named_threads_ns(pids: &[u32], name: &str) -> Result<u64, Failure> {
    let is_meant = |thread: &Path| {
        let found = fs::read_to_string(thread.join("comm"));
        found.is_ok_and(|found| found.starts_with(name))
    };
    pids.iter().map(|pid| some_threads_ns(*pid, is_meant)).sum()
}

fn some_threads_ns(pid: u32, is_meant: impl Fn(&Path) -> bool) -> Result<u64, Failure> {
    let mut sum = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let thread = thread?.path();
        // A thread may end between the listing and the reading.
        if is_meant(&thread)
            && let Ok(schedstat) = fs::read_to_string(thread.join("schedstat"))
        {
            let run_ns = schedstat
                .split_ascii_whitespace()
                .next()
                .ok_or("empty schedstat")?;
            sum += run_ns.parse::<u64>()?;
        }
    }
    Ok(sum)
}

/// Resident memory of these processes together, in bytes. `smaps_rollup` counts pages; `status` is only close.
pub(crate) fn rss_bytes(pids: &[u32]) -> Result<u64, Failure> {
    let mut sum = 0;
    for pid in pids {
        let exact = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"));
        let kilobytes = match exact.as_deref().map(|text| line_value(text, "Rss:")) {
            Ok(Some(value)) => value,
            _ => line_value(
                &fs::read_to_string(format!("/proc/{pid}/status"))?,
                "VmRSS:",
            )
            .ok_or("no VmRSS")?,
        };
        sum += kilobytes * 1024;
    }
    Ok(sum)
}

/// Resident memory once it has stopped moving: the same to 64 KB in four readings 250 ms apart, or after 10 s.
pub(crate) fn settled_rss_bytes(pids: &[u32]) -> Result<u64, Failure> {
    let deadline = Instant::now() + Duration::from_secs(10);
    let (mut last, mut same) = (rss_bytes(pids)?, 0);
    while same < 3 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(250));
        let now = rss_bytes(pids)?;
        same = if now.abs_diff(last) <= 64 * 1024 {
            same + 1
        } else {
            0
        };
        last = now;
    }
    Ok(last)
}

fn line_value(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// The machine a run was made on.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) memory_bytes: u64,
    pub(crate) kernel: String,
    /// Runnable tasks over the last minute before the start: what else the machine was busy with.
    pub(crate) load_average: f64,
}

impl Machine {
    /// The facts of this machine.
    pub(crate) fn this() -> Result<Self, Failure> {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo")?;
        let model = cpuinfo.lines().find(|line| line.starts_with("model name"));
        let memory =
            line_value(&fs::read_to_string("/proc/meminfo")?, "MemTotal:").ok_or("no MemTotal")?;
        Ok(Self {
            cpu: model
                .and_then(|line| line.split_once(": "))
                .map_or("unknown", |(_, name)| name)
                .to_owned(),
            cores: std::thread::available_parallelism()?.get(),
            memory_bytes: memory * 1024,
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?
                .trim()
                .to_owned(),
            load_average: fs::read_to_string("/proc/loadavg")?
                .split(' ')
                .next()
                .unwrap_or_default()
                .parse()?,
        })
    }
}
