//! The daemon as a child process: run, killed, stopped, waited for.
//!
//! Each daemon has a folder of its own with configuration, data directory and sinks, and dies with the thread
//! that started it. Its whole output is kept, and [`Daemon::assert_log_clean`] reads it for what must not be in it.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::commands::{Commands, Status};
use crate::eventually;

/// A mark that workloads put into every text value. It is user data: no log line may show it.
pub const USER_DATA: &str = "Zaphod";

/// A password for tests. No log line may show it either.
pub const PASSWORD: &str = "slartibartfast-42";

/// One daemon with its folder, running or not.
#[derive(Debug)]
pub struct Daemon {
    folder: tempfile::TempDir,
    child: Option<Child>,
    commands: Commands,
}

impl std::ops::Deref for Daemon {
    type Target = Commands;

    fn deref(&self) -> &Commands {
        &self.commands
    }
}

impl Daemon {
    /// Writes a configuration that replicates `tables` (YAML list items) from `url` into DuckDB and Parquet.
    #[must_use]
    pub fn new(url: &str, tables: &str) -> Self {
        Self::with_config(&standard_config(url, tables))
    }

    /// Writes a configuration; paths in it are relative to the daemon's folder, which is its working directory.
    #[must_use]
    pub fn with_config(yaml: &str) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("cdc-daemon-")
            .tempdir()
            .expect("a temporary folder");
        let commands = Commands {
            folder: folder.path().to_owned(),
            environment: Vec::new(),
            file_size: None,
        };
        let daemon = Self {
            folder,
            child: None,
            commands,
        };
        daemon.configure(yaml);
        daemon
    }

    /// Lets every file written by processes started from now on grow to so many bytes only; writes beyond fail.
    pub fn limit_file_size(&mut self, bytes: u64) {
        self.commands.file_size = (bytes < u64::MAX).then_some(bytes);
    }

    /// Replaces the configuration.
    pub fn configure(&self, yaml: &str) {
        std::fs::write(self.path("cdc.yaml"), yaml).expect("the configuration can be written");
    }

    /// Sets an environment variable for every process started from now on.
    pub fn environment(&mut self, name: &str, value: &str) {
        self.commands.environment.push((name.into(), value.into()));
    }

    /// Keeps the folder after the end, for a post-mortem, and says where it is.
    pub fn keep(&mut self) -> PathBuf {
        self.folder.disable_cleanup(true);
        self.folder.path().to_owned()
    }

    /// The commands alone, to be used while the daemon is started and stopped elsewhere.
    #[must_use]
    pub fn commands(&self) -> Commands {
        self.commands.clone()
    }

    /// Starts `cdc run`. Does not wait for anything.
    pub fn start(&mut self) {
        assert!(self.child.is_none(), "the daemon is running already");
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.path("log"))
            .expect("a log file");
        let mut command = self.command(&["run"]);
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log);
        self.child = Some(command.spawn().expect("the daemon starts"));
    }

    /// Starts the daemon and waits until every table of every sink is streaming.
    pub async fn start_streaming(&mut self) {
        self.start();
        self.streaming().await;
    }

    /// Waits until every sink has tables and all of them are streaming.
    pub async fn streaming(&mut self) {
        self.until("every table streams", Duration::from_secs(120), |status| {
            let slow = status
                .sinks
                .iter()
                .flat_map(|s| &s.tables)
                .find(|t| t.state != "streaming");
            match slow {
                Some(table) => Err(format!(
                    "{}.{} is {}: {}",
                    table.schema, table.table, table.state, table.error
                )),
                None if status.sinks.iter().any(|s| s.tables.is_empty()) => {
                    Err("a sink has no tables yet".into())
                }
                None => Ok(()),
            }
        })
        .await;
    }

    /// Waits until every sink streams this table, whatever the others do.
    pub async fn streams(&mut self, table: &str) {
        let limit = Duration::from_secs(120);
        self.until(&format!("{table} streams"), limit, |status| {
            let streams = status.sinks.iter().all(|sink| {
                let mut tables = sink.tables.iter();
                tables.any(|t| t.table == table && t.state == "streaming")
            });
            match streams {
                true => Ok(()),
                false => Err(format!("{status:?}")),
            }
        })
        .await;
    }

    /// Waits until a table's copy is under way, or over.
    pub async fn copying(&mut self) {
        let limit = Duration::from_secs(120);
        self.until("a copy began", limit, |status| {
            let mut tables = status.sinks.iter().flat_map(|sink| &sink.tables);
            match tables.any(|t| t.state != "pending") {
                true => Ok(()),
                false => Err("pending".into()),
            }
        })
        .await;
    }

    /// Waits until every sink has tables and each of them streams or has failed.
    pub async fn settled(&mut self) {
        let limit = Duration::from_secs(120);
        self.until("every table streams or has failed", limit, |status| {
            let open = status
                .sinks
                .iter()
                .flat_map(|s| &s.tables)
                .find(|t| t.state != "streaming" && t.state != "failed");
            match open {
                Some(table) => Err(format!("{} is {}", table.table, table.state)),
                None if status.sinks.iter().any(|s| s.tables.is_empty()) => {
                    Err("no tables yet".into())
                }
                None => Ok(()),
            }
        })
        .await;
    }

    /// Waits until a condition on the status holds.
    ///
    /// # Panics
    ///
    /// When it does not within `limit`, or when the daemon has ended.
    pub async fn until(
        &mut self,
        what: &str,
        limit: Duration,
        mut holds: impl FnMut(&Status) -> Result<(), String>,
    ) {
        let start = Instant::now();
        loop {
            let seen = match self.status() {
                Ok(status) => holds(&status),
                Err(error) => Err(error),
            };
            let Err(refusal) = seen else { return };
            if let Some(status) = self.ended() {
                panic!("{what}: the daemon ended, {status}\n{}", self.log_end());
            }
            assert!(
                start.elapsed() < limit,
                "{what}: not within {limit:?}: {refusal}\n{}",
                self.log_end()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until the daemon's process has ended by itself.
    pub async fn end(&mut self, limit: Duration) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.ended() {
                return status;
            }
            assert!(
                start.elapsed() < limit,
                "the daemon has not ended within {limit:?}\n{}",
                self.log_end()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until the daemon refuses to go on: it ends with a failure, or its status shows an error of source, sink
    /// or table. Returns all that it says about it.
    ///
    /// # Panics
    ///
    /// When it does neither within `limit`.
    pub async fn refusal(&mut self, limit: Duration) -> String {
        let start = Instant::now();
        let before = self.log().len();
        loop {
            if let Some(status) = self.ended() {
                let log = self.log();
                let said = log.get(before.min(log.len())..).unwrap_or_default();
                assert!(
                    !status.success(),
                    "the daemon ended as if all were well\n{said}"
                );
                return if said.is_empty() {
                    log
                } else {
                    said.to_owned()
                };
            }
            if let Ok(status) = self.status() {
                let tables = status
                    .sinks
                    .iter()
                    .flat_map(|s| s.tables.iter().map(|t| &t.error));
                let sinks = status.sinks.iter().map(|s| &s.error);
                let all = std::iter::once(&status.source.error)
                    .chain(sinks)
                    .chain(tables);
                let said: Vec<_> = all
                    .filter(|e| !e.is_null())
                    .map(ToString::to_string)
                    .collect();
                if !said.is_empty() {
                    return said.join("\n");
                }
            }
            assert!(
                start.elapsed() < limit,
                "no refusal within {limit:?}\n{}",
                self.log_end()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The exit status, if the process has ended by itself since the last start.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        let status = self
            .child
            .as_mut()?
            .try_wait()
            .expect("the child can be asked")?;
        self.child = None;
        Some(status)
    }

    /// `kill -9`, and waits for the end of the process.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself already.
            let _ = child.kill();
            child.wait().expect("the child can be awaited");
        }
    }

    /// SIGTERM; returns how the process ended. Sent as soon as it listens to signals: a program that has only just
    /// been started dies by them, whatever it is.
    pub async fn terminate(&mut self) -> ExitStatus {
        let pid = self.pid().expect("the daemon runs");
        eventually(
            "the daemon hears signals",
            Duration::from_secs(60),
            async || {
                // It may have ended by itself: `end` tells.
                let status =
                    std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
                let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
                let Some(caught) =
                    caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
                else {
                    return Ok(());
                };
                let ended = status.contains("State:\tZ");
                match ended || caught & (1 << (Signal::TERM.as_raw() - 1)) != 0 {
                    true => Ok(()),
                    false => Err(format!("it catches {caught:x}")),
                }
            },
        )
        .await;
        self.signal(Signal::TERM);
        self.end(Duration::from_secs(60)).await
    }

    /// Sends a signal to the running daemon.
    pub fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("the daemon runs");
        let _ = kill_process(Pid::from_child(child), signal);
    }

    /// Peak of the resident memory of the running daemon, in bytes.
    #[must_use]
    pub fn peak_memory(&self) -> u64 {
        let pid = self.pid().expect("the daemon runs");
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line
            .and_then(|l| l.split_whitespace().next())
            .and_then(|n| n.parse::<u64>().ok());
        kilobytes.expect("the kernel tells the peak") << 10
    }

    /// The process id of the running daemon.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// `cdc wait`: every sink holds all that the source had committed.
    ///
    /// # Panics
    ///
    /// When it does not within `limit`.
    pub async fn caught_up(&mut self, limit: Duration) {
        eventually("every sink has caught up", limit, || {
            let result = self.succeed(&["wait", "--timeout", &format!("{}s", limit.as_secs())]);
            let log = self.log_end();
            async move { result.map(drop).map_err(|error| format!("{error}\n{log}")) }
        })
        .await;
    }

    /// All that the daemon has written so far, over all its runs.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read(self.path("log"))
            .map(|b| String::from_utf8_lossy(&b).into_owned())
            .unwrap_or_default()
    }

    /// The last lines of the log.
    #[must_use]
    pub fn log_end(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        let mut text = String::from("--- last lines of the daemon's log\n");
        for line in &lines[lines.len().saturating_sub(30)..] {
            let _ = writeln!(text, "{line}");
        }
        text
    }

    /// # Panics
    ///
    /// When the log shows user data, a password or a panic.
    pub fn assert_log_clean(&self) {
        let log = self.log();
        for line in log.lines() {
            assert!(!line.contains(USER_DATA), "user data in the log: {line}");
            assert!(!line.contains(PASSWORD), "a password in the log: {line}");
            assert!(!line.contains("panicked at"), "the daemon panicked: {line}");
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The configuration most tests use: a warehouse in DuckDB and a lake of Parquet, short limits. The URL's scheme names
/// the connector.
#[must_use]
pub fn standard_config(url: &str, tables: &str) -> String {
    let kind = url.split(':').next().unwrap_or_default();
    format!(
        "name: shop\n\
         data_dir: ./data\n\
         source:\n  type: {kind}\n  url: {url}\n  tables: {tables}\n\
         sinks:\n  warehouse:\n    type: duckdb\n    path: warehouse.duckdb\n    mode: upsert\n  \
         lake:\n    type: parquet\n    url: ./lake\n\
         snapshot:\n  chunk_bytes: 1MiB\n\
         discover_interval: 1s\n\
         admin:\n  listen: 127.0.0.1:{}\n",
        crate::free_port()
    )
}
