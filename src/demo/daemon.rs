//! The demo's daemon: this very binary as a child, and what it is asked through its own commands.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use cdc_api::{Error, Result};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::Say;
use super::server::{Server, failed, free_port};
use super::shop::{INVARIANT, TOTAL};

const CONFIG: &str = "demo.yaml";
const LOG: &str = "cdc.log";

/// The daemon, running or not. Dropped: killed.
pub(super) struct Daemon {
    folder: PathBuf,
    child: Option<Child>,
    reader: Reader,
}

impl Daemon {
    /// Writes the configuration; starts nothing yet.
    pub(super) fn new(folder: &Path, server: &Server) -> Result<Self> {
        let config = format!(
            "name: demo\ndata_dir: ./data\nsource:\n  type: {}\n  url: {}\n  tables: [shop.*]\nsinks:\n  warehouse:\n    \
             type: duckdb\n    path: warehouse.duckdb\n  lake:\n    type: parquet\n    url: ./lake\nadmin:\n  listen: 127.0.0.1:{}\n",
            server.kind().connector(),
            server.url(),
            free_port()?
        );
        std::fs::write(folder.join(CONFIG), config)
            .map_err(|error| failed("write the configuration", &error))?;
        Ok(Self {
            folder: folder.to_owned(),
            child: None,
            reader: Reader::start(folder),
        })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// `cdc run`, its log lines into a file.
    pub(super) fn start(&mut self) -> Result<()> {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.folder.join(LOG))
            .map_err(|error| failed("open a log", &error))?;
        let mut command = cdc(&self.folder, &["run"])?;
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        self.child = Some(
            command
                .spawn()
                .map_err(|error| failed("start the daemon", &error))?,
        );
        Ok(())
    }

    /// `kill -9`.
    pub(super) fn kill(&mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        child
            .kill()
            .and_then(|()| child.wait())
            .map_err(|error| failed("kill the daemon", &error))?;
        Ok(())
    }

    /// Shows the status now and then until every table of both sinks streams.
    pub(super) async fn streaming(&mut self, say: Say<'_>) -> Result<()> {
        let mut shown = Instant::now();
        loop {
            self.still_there()?;
            if let Ok(status) = self.ask(&["status", "--json"])
                && let Ok(status) = serde_json::from_str::<Value>(&status)
            {
                if all_streaming(&status) {
                    return self.show_status(say);
                }
                if shown.elapsed() > Duration::from_millis(1_500) {
                    shown = Instant::now();
                    self.show_status(say)?;
                }
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    fn still_there(&mut self) -> Result<()> {
        let ended = match &mut self.child {
            Some(child) => child
                .try_wait()
                .map_err(|error| failed("watch the daemon", &error))?,
            None => None,
        };
        match ended {
            Some(status) => Err(Error::internal(format!(
                "the daemon ended by itself, {status}"
            ))),
            None => Ok(()),
        }
    }

    /// `cdc status`, as it is.
    pub(super) fn show_status(&self, say: Say<'_>) -> Result<()> {
        say(&format!(
            "$ cdc status\n{}",
            self.ask(&["status"])?.trim_end()
        ));
        Ok(())
    }

    /// `cdc wait`.
    pub(super) async fn caught_up(&mut self) -> Result<()> {
        self.still_there()?;
        self.ask(&["wait", "--timeout", "60s"]).map(drop)
    }

    /// A command's standard output.
    pub(super) fn ask(&self, arguments: &[&str]) -> Result<String> {
        ask(&self.folder, arguments)
    }

    /// How often the invariant was read so far.
    pub(super) fn reads(&self) -> Result<u64> {
        match self.reader.torn.load(Ordering::Relaxed) {
            0 => Ok(self.reader.reads.load(Ordering::Relaxed)),
            torn => Err(Error::internal(format!(
                "{torn} reads saw half a transaction"
            ))),
        }
    }

    /// Ends it in order, or at once when that takes too long.
    pub(super) async fn end(mut self) {
        if let Some(child) = &mut self.child {
            // It may be gone already.
            let _ = kill_process(Pid::from_child(child), Signal::TERM);
            for _ in 0..200 {
                if !matches!(child.try_wait(), Ok(None)) {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.reader.end();
        if let Some(child) = &mut self.child {
            // It may be gone already, and waiting for it says so too.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn all_streaming(status: &Value) -> bool {
    let sinks = status["sinks"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let streams = |sink: &Value| {
        let tables = sink["tables"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        tables.len() == 4 && tables.iter().all(|table| table["state"] == "streaming")
    };
    !sinks.is_empty() && sinks.iter().all(streams)
}

/// The last lines that the daemon wrote, for a post-mortem.
pub(super) fn last_lines(folder: &Path) -> String {
    let log = std::fs::read_to_string(folder.join(LOG)).unwrap_or_default();
    let lines: Vec<_> = log.lines().collect();
    let last = lines
        .get(lines.len().saturating_sub(20)..)
        .unwrap_or_default();
    format!("the daemon's last lines:\n{}", last.join("\n"))
}

fn cdc(folder: &Path, arguments: &[&str]) -> Result<Command> {
    let own = std::env::current_exe().map_err(|error| failed("find this program", &error))?;
    let mut command = Command::new(own);
    command
        .args(arguments)
        .arg("-c")
        .arg(folder.join(CONFIG))
        .current_dir(folder);
    Ok(command)
}

fn ask(folder: &Path, arguments: &[&str]) -> Result<String> {
    let output = cdc(folder, arguments)?
        .stdin(Stdio::null())
        .output()
        .map_err(|error| failed("run cdc", &error))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Error::internal(format!(
        "cdc {} failed: {}",
        arguments.join(" "),
        said.trim()
    )))
}

/// Reads the shop's invariant again and again, on a thread of its own.
struct Reader {
    stop: Arc<AtomicBool>,
    reads: Arc<AtomicU64>,
    torn: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Reader {
    fn start(folder: &Path) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let reads = Arc::new(AtomicU64::new(0));
        let torn = Arc::new(AtomicU64::new(0));
        let folder = folder.to_owned();
        let (stopped, count, wrong) = (Arc::clone(&stop), Arc::clone(&reads), Arc::clone(&torn));
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                // An error means that nothing was read: no daemon, or tables that are not whole yet.
                if let Ok(answer) = ask(&folder, &["query", "--format", "csv", INVARIANT]) {
                    count.fetch_add(1, Ordering::Relaxed);
                    let sum = answer
                        .lines()
                        .nth(1)
                        .and_then(|line| line.parse::<i64>().ok());
                    if sum != Some(TOTAL) {
                        wrong.fetch_add(1, Ordering::Relaxed);
                    }
                }
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        Self {
            stop,
            reads,
            torn,
            thread: Some(thread),
        }
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A reader that panicked has read nothing wrong.
            let _ = thread.join();
        }
    }
}
