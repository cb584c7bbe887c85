//! The crash oracle: a seeded workload under a seeded schedule of faults, and what must hold at the end of each round.
//!
//! While it runs: the sum that the workload keeps constant is constant in every read of the warehouse through
//! `cdc query`. At each quiesced point: every table of the source equals the warehouse, and the lake when its
//! change log is materialised, row by row. At the very end the daemon stops on SIGTERM with exit code 0 and the
//! warehouse's file, opened by DuckDB alone, is equal too.
//!
//! One seed decides the workload and the schedule; where a fault falls within the daemon's work is left to the
//! machine, so a seed that failed is run several times.

mod schedules;

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::compare;
use crate::daemon::{Daemon, standard_config};
use crate::kafka::{self, Kafka};
use crate::lake;
use crate::mysql::{self, Flavor, Mysql};
use crate::postgres::{self, Postgres};
use crate::proxy::{Path, Proxy};
use crate::server::{Server, Stop};
use crate::workload::{BY_NAME, Mix, PATTERNS, SCHEMAS, SUM, TOTAL, Workload};

pub use schedules::{run_all, schedules};

/// A kind of server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// PostgreSQL of a major version.
    Postgres(u32),
    /// MySQL or MariaDB.
    Mysql(Flavor),
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Postgres(version) => write!(f, "postgres-{version}"),
            Self::Mysql(flavor) => flavor.fmt(f),
        }
    }
}

/// How long a seed runs.
#[derive(Debug, Clone, Copy)]
pub struct Length {
    /// Quiesced points.
    pub rounds: u32,
    /// Faults before each of them.
    pub faults: u32,
    /// Whether Kafka is a third sink, and its broker one more thing that fails.
    pub kafka: bool,
}

/// What a seed did, for the line that is printed.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    kills: u32,
    stops: u32,
    cuts: u32,
    stalls: u32,
    restarts: u32,
    brokers: u32,
    snapshots: u32,
    reads: u64,
    committed: u64,
    seconds: f32,
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} kills, {} stops, {} cuts, {} stalls, {} server restarts, {} broker restarts, {} re-snapshots, {} transactions, {} reads of \
             the sum, equal in {:.1} s",
            self.kills,
            self.stops,
            self.cuts,
            self.stalls,
            self.restarts,
            self.brokers,
            self.snapshots,
            self.committed,
            self.reads,
            self.seconds
        )
    }
}

/// Runs one seed on a server of a kind.
///
/// # Errors
///
/// What was seen and where the daemon's folder was kept. What panics in it has said so already, with the ends of the
/// logs, and fails this seed alone.
pub async fn run(seed: u64, kind: Kind, length: Length) -> Result<Tally, String> {
    // On a thread of its own: a round waits for child processes, and the proxy's tasks must not wait with it.
    let runtime = tokio::runtime::Handle::current();
    let round = tokio::task::spawn_blocking(move || runtime.block_on(started(seed, kind, length)));
    let panicked = |error: tokio::task::JoinError| Err(format!("seed {seed} {kind}: {error}"));
    round.await.unwrap_or_else(panicked)
}

async fn started(seed: u64, kind: Kind, length: Length) -> Result<Tally, String> {
    match kind {
        Kind::Postgres(version) => {
            // Large transactions are streamed, or spilled, at once.
            let wanted = postgres::Wanted::version(version)
                .set("wal_sender_timeout", "10s")
                .set("logical_decoding_work_mem", "64kB");
            run_on::<Postgres>(wanted.start().await, seed, kind, length).await
        }
        Kind::Mysql(flavor) => {
            // Files of the log change often; some seeds have compressed transactions.
            let mut wanted = mysql::Wanted::flavor(flavor).set("max-binlog-size", "1048576");
            if seed.is_multiple_of(2) {
                wanted = match flavor {
                    Flavor::MySql => wanted.set("binlog-transaction-compression", "ON"),
                    Flavor::MariaDb => wanted.set("log-bin-compress", "ON"),
                };
            }
            // Of some, tables' shapes are not in the log.
            if seed % 4 >= 2 {
                wanted = wanted.unset("binlog-row-metadata");
            }
            run_on::<Mysql>(wanted.start().await, seed, kind, length).await
        }
    }
}

async fn run_on<S: Server + Sync>(
    server: S,
    seed: u64,
    kind: Kind,
    length: Length,
) -> Result<Tally, String> {
    let mut round = Round::new(server, seed, length.kafka).await;
    let outcome = round.all(length).await;
    outcome.map_err(|what| {
        let folder = round.daemon.keep();
        format!(
            "seed {seed} {kind}: {what}\nthe daemon's folder is kept: {}\n{}\n{}",
            folder.display(),
            round.daemon.log_end(),
            round.server.log_end()
        )
    })
}

struct Round<S: Server> {
    server: S,
    broker: Option<Kafka>,
    proxy: Proxy,
    daemon: Daemon,
    workload: Workload<S>,
    random: StdRng,
    tally: Tally,
    start: Instant,
}

impl<S: Server> Drop for Round<S> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let folder = self.daemon.keep();
            let _ = writeln!(
                std::io::stderr(),
                "the daemon's folder is kept: {}\n{}",
                folder.display(),
                self.daemon.log_end()
            );
        }
    }
}

impl<S: Server + Sync> Round<S> {
    async fn new(server: S, seed: u64, kafka: bool) -> Self {
        let start = Instant::now();
        let mut random = StdRng::seed_from_u64(seed ^ 0x0123_4567_89ab_cdef);
        let workload = Workload::create(server.address(), seed, Mix::default()).await;
        let proxy = Proxy::to(SocketAddr::from(([127, 0, 0, 1], server.port()))).await;
        let mut config = standard_config(&S::url_at(proxy.port()), PATTERNS);
        if random.random() {
            config.push_str("acknowledge: journal\n");
        }
        // Small enough that segments, and limits of a commit, are crossed often.
        config.push_str("journal:\n  segment_bytes: 1MiB\n");
        let batch = [1_000_u32, 1_000_000][random.random_range(0..2)];
        config = config.replace(
            "mode: upsert",
            &format!("mode: upsert\n    max_rows: {batch}"),
        );
        let broker = if kafka {
            Some(Kafka::start().await)
        } else {
            None
        };
        if let Some(broker) = &broker {
            let section = kafka::content::section(&broker.brokers());
            config = config.replace("snapshot:\n", &format!("{section}snapshot:\n"));
        }
        let daemon = Daemon::with_config(&config);
        Self {
            server,
            broker,
            proxy,
            daemon,
            workload,
            random,
            tally: Tally::default(),
            start,
        }
    }

    async fn all(&mut self, length: Length) -> Result<Tally, String> {
        let reader = SumReader::start(&self.daemon);
        self.daemon.start();
        for _ in 0..length.rounds {
            for _ in 0..length.faults {
                let pause = self.random.random_range(20..1_500);
                self.work_for(Duration::from_millis(pause)).await;
                reader.verdict()?;
                self.fault().await?;
            }
            self.proxy.set(Path::Open);
            self.workload.settle().await;
            self.quiesced().await?;
            reader.verdict()?;
        }
        self.tally.reads = reader.finish()?;
        if self.tally.reads == 0 {
            return Err("the sum was never read while the daemon ran".into());
        }
        let status = self.daemon.terminate().await;
        if !status.success() {
            return Err(format!("SIGTERM ended the daemon with {status}"));
        }
        let session = self.server.session().await;
        compare::warehouse_file_equal(&session, &self.daemon.path("warehouse.duckdb"), &SCHEMAS)
            .await?;
        self.daemon.assert_log_clean();
        self.tally.committed = self.workload.committed;
        self.tally.seconds = self.start.elapsed().as_secs_f32();
        Ok(self.tally.clone())
    }

    async fn work_for(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until {
            self.workload.step().await;
        }
    }

    async fn fault(&mut self) -> Result<(), String> {
        self.still_there()?;
        if let Some(broker) = self
            .broker
            .as_mut()
            .filter(|_| self.random.random_range(0..8) == 0)
        {
            broker.kill();
            self.tally.brokers += 1;
            self.work_for(Duration::from_millis(300)).await;
            if let Some(broker) = &mut self.broker {
                broker.boot().await;
            }
            return Ok(());
        }
        match self.random.random_range(0..20) {
            0..7 => {
                self.daemon.kill();
                self.tally.kills += 1;
                // Now and then the source goes on alone for a while.
                if self.random.random() {
                    self.work_for(Duration::from_millis(200)).await;
                }
                self.daemon.start();
            }
            7..9 => {
                // Killed again while it recovers.
                for _ in 0..3 {
                    self.daemon.kill();
                    self.tally.kills += 1;
                    self.daemon.start();
                    let pause = self.random.random_range(5..400);
                    self.work_for(Duration::from_millis(pause)).await;
                    self.still_there()?;
                }
            }
            9 => {
                let status = self.daemon.terminate().await;
                if !status.success() {
                    return Err(format!("SIGTERM ended the daemon with {status}"));
                }
                self.tally.stops += 1;
                self.work_for(Duration::from_millis(200)).await;
                self.daemon.start();
            }
            10..12 => {
                self.proxy.cut();
                self.tally.cuts += 1;
            }
            12 => {
                self.proxy.reset();
                self.tally.cuts += 1;
            }
            13 => {
                self.proxy.set(Path::Refused);
                self.proxy.cut();
                self.tally.cuts += 1;
                self.work_for(Duration::from_millis(700)).await;
                self.proxy.set(Path::Open);
            }
            14 => {
                self.tally.stalls += 1;
                self.proxy.set(Path::Stalled);
                self.work_for(Duration::from_millis(1_500)).await;
                self.proxy.set(Path::Open);
            }
            15 => {
                self.tally.stalls += 1;
                self.proxy.set(Path::Slow(200_000));
                self.work_for(Duration::from_millis(1_500)).await;
                self.proxy.set(Path::Open);
            }
            16 => {
                let how = if self.random.random() {
                    Stop::Immediate
                } else {
                    Stop::Fast
                };
                self.server.restart(how).await;
                self.tally.restarts += 1;
            }
            _ => {
                let tables = [
                    "shop.account",
                    "shop.item",
                    "shop.loose",
                    "shop.measure",
                    "shop.swap",
                    "shop.vault",
                    "shop.whole",
                ];
                let table = tables[self.random.random_range(0..tables.len())];
                // Refused when the daemon is just starting; the schedule goes on.
                if self
                    .daemon
                    .succeed(&["snapshot", "--detach", table])
                    .is_ok()
                {
                    self.tally.snapshots += 1;
                }
            }
        }
        Ok(())
    }

    fn still_there(&mut self) -> Result<(), String> {
        match self.daemon.ended() {
            None => Ok(()),
            Some(status) => Err(format!("the daemon ended by itself, {status}")),
        }
    }

    /// Waits until the sinks hold everything and compares.
    async fn quiesced(&mut self) -> Result<(), String> {
        self.still_there()?;
        self.daemon.streaming().await;
        self.daemon.caught_up(Duration::from_secs(90)).await;
        let session = self.server.session().await;
        compare::warehouse_equal(&session, &self.daemon, &SCHEMAS)
            .await
            .map_err(|d| format!("warehouse:\n{d}"))?;
        let lake = self.daemon.path("lake");
        lake::equal(&session, &lake, &BY_NAME)
            .await
            .map_err(|d| format!("lake:\n{d}"))?;
        lake::current_equal(&session, &lake, &SCHEMAS)
            .await
            .map_err(|d| format!("the lake's statements:\n{d}"))?;
        match &self.broker {
            None => Ok(()),
            Some(broker) => kafka::content::equal(&session, &broker.brokers(), &BY_NAME)
                .await
                .map_err(|d| format!("kafka:\n{d}")),
        }
    }
}

/// Reads the sum again and again on a thread of its own, whatever happens to the daemon.
struct SumReader {
    stop: Arc<AtomicBool>,
    reads: Arc<AtomicU64>,
    torn: Arc<std::sync::Mutex<Option<String>>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl SumReader {
    fn start(daemon: &Daemon) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let reads = Arc::new(AtomicU64::new(0));
        let torn = Arc::new(std::sync::Mutex::new(None));
        let query = daemon.commands();
        let (stop_seen, count, verdict) =
            (Arc::clone(&stop), Arc::clone(&reads), Arc::clone(&torn));
        let thread = std::thread::spawn(move || {
            while !stop_seen.load(Ordering::Relaxed) {
                let begun = Instant::now();
                // An error means that nothing was read: the daemon is down, or the tables are not whole yet.
                if let Ok(Some(sum)) = query.value(SUM) {
                    count.fetch_add(1, Ordering::Relaxed);
                    if sum != TOTAL.to_string() {
                        let mut torn = verdict.lock().expect("no reader panics");
                        torn.get_or_insert(format!("a torn transaction was seen: the sum is {sum}, always {TOTAL} in the source"));
                    }
                }
                // The machine is there for the daemon: a reader takes a quarter of a core at most.
                std::thread::sleep((begun.elapsed() * 3).max(Duration::from_millis(30)));
            }
        });
        Self {
            stop,
            reads,
            torn,
            thread: Some(thread),
        }
    }

    fn verdict(&self) -> Result<(), String> {
        match self.torn.lock().expect("no reader panics").clone() {
            Some(torn) => Err(torn),
            None => Ok(()),
        }
    }

    fn finish(mut self) -> Result<u64, String> {
        self.end();
        self.verdict()?;
        Ok(self.reads.load(Ordering::Relaxed))
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("no reader panics");
        }
    }
}

impl Drop for SumReader {
    fn drop(&mut self) {
        self.end();
    }
}
