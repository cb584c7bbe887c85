//! How long a process takes, and what it costs: wall time, CPU time and peak memory from `/proc`.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What a process took.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cost {
    /// From start to end.
    pub wall: Duration,
    /// User and system time of all its threads.
    pub cpu: Duration,
    /// Peak of the resident memory, in bytes.
    pub peak: u64,
}

/// Ticks per second of `/proc/PID/stat`; Linux reports 100 to every program.
const TICKS: u64 = 100;

impl Cost {
    /// What a running process has cost so far; `None` once it has ended. `wall` stays zero.
    #[must_use]
    pub fn of(pid: u32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name may hold blanks; what follows its bracket does not.
        let fields: Vec<_> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let peak = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))?;
        let peak: u64 = peak.split_whitespace().next()?.parse().ok()?;
        Some(Self {
            wall: Duration::ZERO,
            cpu: Duration::from_millis(ticks * 1000 / TICKS),
            peak: peak << 10,
        })
    }

    /// Microseconds of CPU for each of so many rows.
    #[must_use]
    pub fn micros_per_row(&self, rows: u64) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / rows.max(1) as f64
    }
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
    let mut child: Child = command.spawn().map_err(|e| format!("{command:?}: {e}"))?;
    let mut cost = Cost::default();
    loop {
        if let Some(seen) = Cost::of(child.id()) {
            cost = seen;
        }
        if let Some(status) = child.try_wait().map_err(|e| e.to_string())? {
            cost.wall = start.elapsed();
            if status.success() {
                return Ok(cost);
            }
            let said = std::fs::read_to_string(log.path()).unwrap_or_default();
            return Err(format!("{command:?}: {status}\n{said}"));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The median by wall time.
#[must_use]
pub fn median(mut costs: Vec<Cost>) -> Cost {
    costs.sort_by_key(|cost| cost.wall);
    costs.get(costs.len() / 2).copied().unwrap_or_default()
}
