//! The order of runs, and one run of a tool or of the daemon, with what its server spends meanwhile.

use std::process::Command;
use std::time::{Duration, Instant};

use super::report::{Figure, Line};
use crate::daemon::Daemon;
use crate::measure::{Cost, run, tree_cpu_seconds};

/// How long a run may take on a busy machine.
pub(super) const LIMIT: Duration = Duration::from_secs(1800);

impl Figure {
    /// No tool has run yet.
    pub(super) fn new(work: String, rows: u64) -> Self {
        Self {
            work,
            rows,
            lines: Vec::new(),
        }
    }

    /// Adds a tool's next round.
    pub(super) fn ran(&mut self, tool: &str, cost: Cost) {
        match self.lines.iter_mut().find(|line| line.tool == tool) {
            Some(line) => line.costs.push(cost),
            None => self.lines.push(Line {
                tool: tool.to_owned(),
                costs: vec![cost],
            }),
        }
    }
}

/// Runs a program that reads from the server with this process id.
///
/// # Errors
///
/// As [`run`].
pub(super) fn tool(command: Command, server: u32) -> Result<Cost, String> {
    let before = tree_cpu_seconds(server);
    let mut cost = run(command)?;
    cost.server_cpu_seconds = tree_cpu_seconds(server) - before;
    Ok(cost)
}

/// Starts the daemon over a log that waits for it, until its sinks hold everything; then stops it.
///
/// # Errors
///
/// When the daemon ends by itself.
pub(super) async fn drained(daemon: &mut Daemon, server: u32) -> Result<Cost, String> {
    let before = tree_cpu_seconds(server);
    let start = Instant::now();
    daemon.start();
    let mut cost = reached(daemon).await?;
    cost.wall_seconds = start.elapsed().as_secs_f64();
    daemon.terminate().await;
    cost.server_cpu_seconds = tree_cpu_seconds(server) - before;
    Ok(cost)
}

/// Waits until the running daemon's sinks hold everything, and tells what it has cost since its start.
///
/// # Errors
///
/// When the daemon has ended.
pub(super) async fn reached(daemon: &mut Daemon) -> Result<Cost, String> {
    daemon.caught_up(LIMIT).await;
    let cost = daemon.pid().and_then(Cost::of);
    cost.ok_or_else(|| format!("the daemon has ended\n{}", daemon.log_end()))
}

/// Lets the daemon copy what is there, which is nothing yet, so that it starts from here later.
pub(super) async fn positioned(daemon: &mut Daemon) -> Result<(), String> {
    daemon.start();
    daemon.caught_up(LIMIT).await;
    if daemon.terminate().await.success() {
        Ok(())
    } else {
        Err(daemon.log_end())
    }
}
