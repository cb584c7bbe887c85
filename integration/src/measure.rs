//! What a process takes: wall time, CPU time of all its threads, and peak memory, by the system's own accounting.
//!
//! Invariant: a process that has ended is accounted to its last nanosecond, since it is looked at before it is reaped.
//! Leaves to [`crate::bench`] what is run and what it is compared with.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::time::{clock_getcpuclockid, clock_gettime};
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use serde::{Deserialize, Serialize};

/// What a process took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// From start to end.
    pub wall_seconds: f64,
    /// User and system time of all its threads.
    pub cpu_seconds: f64,
    /// The same of the server that it read from, and of all the server's processes, meanwhile.
    pub server_cpu_seconds: f64,
    /// Peak of the resident memory.
    pub peak_bytes: u64,
}

/// Ticks per second of `/proc/PID/stat`, where children that are gone are counted; Linux reports 100 to every program.
const TICKS: f64 = 100.0;

impl Cost {
    /// What a running process has cost so far, or one that has ended and is not reaped yet; its `wall_seconds` stays
    /// zero. `None` once it is reaped.
    #[must_use]
    pub fn of(pid: u32) -> Option<Self> {
        Some(Self {
            cpu_seconds: stat(pid)?.own_seconds,
            peak_bytes: peak_bytes(pid).unwrap_or_default(),
            ..Self::default()
        })
    }

    /// Microseconds of CPU for each of so many rows.
    #[must_use]
    pub fn micros_per_row(&self, rows: u64) -> f64 {
        self.cpu_seconds * 1e6 / rows.max(1) as f64
    }
}

/// CPU time of a process, of its children, and of those of them that are gone: a server with all its sessions.
#[must_use]
pub fn tree_cpu_seconds(pid: u32) -> f64 {
    let Some(root) = stat(pid) else { return 0.0 };
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let children = pids.filter_map(stat).filter(|of| of.parent == pid);
    root.own_seconds + root.reaped_seconds + children.map(|of| of.own_seconds).sum::<f64>()
}

/// Runs a command to its end. Its output is thrown away; what it says on standard error is in the error.
///
/// # Errors
///
/// When it cannot be started or fails.
pub fn run(mut command: Command) -> Result<Cost, String> {
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let log = tempfile::NamedTempFile::new().map_err(|e| e.to_string())?;
    command.stderr(log.reopen().map_err(|e| e.to_string())?);
    let start = Instant::now();
    let mut child = command.spawn().map_err(|e| format!("{command:?}: {e}"))?;
    let mut cost = Cost::default();
    // Its memory is gone with its last thread, so the peak is the last one that was seen.
    while !ended(&child)? {
        let peak = peak_bytes(child.id()).unwrap_or_default();
        cost.peak_bytes = cost.peak_bytes.max(peak);
        std::thread::sleep(Duration::from_millis(2));
    }
    cost.wall_seconds = start.elapsed().as_secs_f64();
    cost.cpu_seconds = Cost::of(child.id()).unwrap_or_default().cpu_seconds;
    let status = child.wait().map_err(|e| e.to_string())?;
    if status.success() {
        return Ok(cost);
    }
    let said = std::fs::read_to_string(log.path()).unwrap_or_default();
    Err(format!("{command:?}: {status}\n{said}"))
}

/// Whether a child has ended; it is not reaped.
fn ended(child: &Child) -> Result<bool, String> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    let status = waitid(WaitId::Pid(Pid::from_child(child)), options);
    status.map(|seen| seen.is_some()).map_err(|e| e.to_string())
}

struct Stat {
    parent: u32,
    own_seconds: f64,
    reaped_seconds: f64,
}

fn stat(pid: u32) -> Option<Stat> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold blanks; what follows its bracket does not.
    let fields: Vec<_> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |index: usize| Some(fields.get(index)?.parse::<u64>().ok()? as f64 / TICKS);
    Some(Stat {
        parent: fields.get(1)?.parse().ok()?,
        own_seconds: own_seconds(pid)?,
        reaped_seconds: ticks(13)? + ticks(14)?,
    })
}

/// By the process's own clock, since a tick of its `stat` is longer than a short run.
fn own_seconds(pid: u32) -> Option<f64> {
    let pid = nix::unistd::Pid::from_raw(pid.try_into().ok()?);
    let spent = clock_getcpuclockid(pid).and_then(clock_gettime).ok()?;
    Some(Duration::from(spent).as_secs_f64())
}

fn peak_bytes(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = peak.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes << 10)
}

/// The middle one, by size.
#[must_use]
pub fn median(figures: impl IntoIterator<Item = f64>) -> f64 {
    let mut figures: Vec<_> = figures.into_iter().collect();
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or_default()
}
