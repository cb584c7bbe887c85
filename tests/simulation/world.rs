//! One simulated run: a database, a source, sinks, and a daemon that lives several lives.
//!
//! Invariant: everything that decides is drawn from the seed, and time is Tokio's paused clock;
//! a run with the same seed takes the same steps.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

#[path = "backlog.rs"]
mod backlog;

use super::life::{Life, PATIENCE};

use cdc::admin::control::{Command, ControlEnd};
use cdc::admin::status::Status;
use cdc::config::{Acknowledge, ByteSize, Config, Delivery, SinkSnapshot};
use cdc::journal::{Compression, JournalConfig, Work};
use cdc::pipeline::{self, Mode, Parts, Settings, SinkParts};
use cdc::state::State;
use cdc_api::testing::content::Flavour;
use cdc_api::testing::database::{Database, Mix, Workload};
use cdc_api::testing::sink::{MemoryTarget, SinkFaults};
use cdc_api::testing::source::{ScriptedSource, SourceFaults};
use cdc_api::testing::trace::Trace;
use cdc_api::{BatchLimits, TableId, TableSelection};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};

/// Lines of the trace in a failure.
const SHOWN: usize = 120;

/// How a run went.
pub(crate) struct Outcome {
    /// What was wrong.
    pub(crate) verdict: Result<(), String>,
    /// Commits of all sinks.
    pub(crate) commits: u64,
    /// Lives that ended by a kill.
    pub(crate) kills: u64,
    /// Things that happened, and a hash of all of them.
    pub(crate) steps: u64,
    pub(crate) hash: u64,
    /// The last of them, as many as the trace keeps.
    pub(crate) lines: Vec<String>,
}

/// Everything that outlives the daemon.
pub(crate) struct World {
    rng: StdRng,
    database: Database,
    workload: Workload,
    source: ScriptedSource,
    sinks: Vec<(&'static str, MemoryTarget)>,
    /// Sinks whose readers have the existing rows from elsewhere.
    given: Vec<&'static str>,
    trace: Trace,
    directory: tempfile::TempDir,
    config: Config,
    tuning: Tuning,
    /// How bad things are in this run, 0 to 3.
    weather: u32,
    kills: u64,
    /// Whether the source failed a table since everything was well.
    failed: bool,
}

/// Limits that stay for a run: small, so that everything is cut somewhere.
struct Tuning {
    acknowledge: Acknowledge,
    snapshot_workers: usize,
    chunk_bytes: u64,
    batch_rows: usize,
    segment_bytes: u64,
    memory_bytes: usize,
    max_bytes: Option<u64>,
    max_rows: u64,
    linger: Duration,
}

impl Tuning {
    fn draw(rng: &mut StdRng) -> Self {
        let one_of = |rng: &mut StdRng, values: &[u64]| values[rng.random_range(0..values.len())];
        Self {
            acknowledge: if rng.random_range(0..2) == 0 {
                Acknowledge::Sinks
            } else {
                Acknowledge::Journal
            },
            snapshot_workers: rng.random_range(1..4),
            chunk_bytes: rng.random_range(1..9) * 100,
            batch_rows: rng.random_range(1..12),
            segment_bytes: one_of(rng, &[4 << 10, 16 << 10, 1 << 20]),
            memory_bytes: one_of(rng, &[4 << 10, 64 << 10, 1 << 20]) as usize,
            max_bytes: [None, Some(256 << 10)][rng.random_range(0..2)],
            max_rows: one_of(rng, &[1, 10, 1000]),
            linger: Duration::from_millis(one_of(rng, &[0, 5, 200])),
        }
    }
}

impl World {
    /// Runs one seed to its end.
    pub(crate) fn run(seed: u64) -> Outcome {
        let mut world = Self::new(seed);
        let mut verdict = Ok(());
        let lives = world.rng.random_range(1..5);
        for life in 0..=lives {
            let last = life == lives;
            verdict = world.live(life == 0, last);
            if verdict.is_err() || !world.trace.violations().is_empty() {
                break;
            }
            if !last {
                world.meanwhile();
            }
        }
        world.outcome(verdict)
    }

    fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let trace = Trace::new();
        let database = Database::new();
        let mix = Mix {
            schema: [0, 4, 10][rng.random_range(0..3)],
            truncate: [0, 3][rng.random_range(0..2)],
            table: [0, 3][rng.random_range(0..2)],
            drop: 2,
            swap: 5,
            changes: rng.random_range(1..8),
            renames: true,
        };
        let workload = Workload::new(&database, seed, mix);
        let source = ScriptedSource::new(&database, seed, &trace);
        // Memory where there is some: nothing here is about disks.
        let shared_memory = Path::new("/dev/shm");
        let directory = if shared_memory.is_dir() {
            tempfile::tempdir_in(shared_memory)
        } else {
            tempfile::tempdir()
        }
        .expect("a folder can be made");
        let text = "name: simulated\nsource:\n  type: postgres\n  url: postgres://u@h/d\n  \
                    tables: [\"*.*\"]\nsinks:\n  lake:\n    type: parquet\n    url: ./lake\n";
        let config = cdc::config::load::parse(text, Path::new("cdc.yaml"), &|_| None)
            .expect("a valid configuration");
        let tuning = Tuning::draw(&mut rng);
        let weather = rng.random_range(0..4);
        let mut world = Self {
            database,
            workload,
            source,
            sinks: Vec::new(),
            given: Vec::new(),
            trace,
            directory,
            config,
            tuning,
            weather,
            kills: 0,
            failed: false,
            rng,
        };
        world.add_sink();
        if world.rng.random_range(0..2) == 0 {
            world.add_sink();
        }
        world
    }

    fn add_sink(&mut self) {
        let (name, flavour) = match self.sinks.len() {
            0 => ("mirror", Flavour::Mirror),
            1 => ("log", Flavour::Log),
            2 => ("later", Flavour::Mirror),
            _ => return,
        };
        let seed: u64 = self.rng.random();
        let target = MemoryTarget::new(name, flavour, seed, Some(&self.database), &self.trace);
        if seed.is_multiple_of(4) {
            self.given.push(name);
        }
        self.sinks.push((name, target));
    }

    fn settings(&self) -> Settings {
        Settings {
            name: "simulated".to_owned(),
            acknowledge: self.tuning.acknowledge,
            snapshot_workers: self.tuning.snapshot_workers,
            chunk_bytes: self.tuning.chunk_bytes,
            limits: BatchLimits {
                rows: self.tuning.batch_rows,
                bytes: 1 << 20,
            },
            discover_interval: Duration::from_secs(20),
            idle_interval: Duration::from_secs(10),
            shutdown_timeout: Duration::from_secs(30),
            takes_over: false,
        }
    }

    fn parts(&self) -> Parts {
        let data = self.directory.path().join("data");
        let mirrored = TableSelection::parse(["*.*", "!*.audit"]).expect("valid patterns");
        Parts {
            settings: self.settings(),
            source: Arc::new(self.source.clone()),
            sinks: self
                .sinks
                .iter()
                .map(|(name, target)| SinkParts {
                    name: (*name).to_owned(),
                    kind: "memory".to_owned(),
                    delivery: Delivery {
                        tables: (target.flavour() == Flavour::Mirror).then(|| mirrored.clone()),
                        max_rows: self.tuning.max_rows,
                        max_bytes: ByteSize::mebibytes(1),
                        snapshot: SinkSnapshot {
                            initial: !self.given.contains(name),
                            schedule: None,
                        },
                        ..Delivery::default()
                    },
                    linger: self.tuning.linger,
                    sink: Box::new(target.sink()),
                })
                .collect(),
            journal: JournalConfig {
                dir: data.join("journal"),
                segment_bytes: self.tuning.segment_bytes,
                memory_bytes: self.tuning.memory_bytes,
                max_bytes: self.tuning.max_bytes,
                keep: Duration::ZERO,
                compression: Compression::None,
                work: Work::InPlace,
            },
            state: State::open(&data).expect("the data directory is ours"),
        }
    }

    /// What may happen while no daemon runs.
    fn meanwhile(&mut self) {
        let data = self.directory.path().join("data");
        match self.rng.random_range(0..24) {
            0..=5 => self.add_sink(),
            6 => {
                self.trace.note(format_args!("the state database is lost"));
                for name in ["state.db", "state.db-wal", "state.db-shm"] {
                    // Some are not there.
                    let _ = std::fs::remove_file(data.join(name));
                }
            }
            // With `acknowledge: journal` that is a gap, and an error.
            7 if self.tuning.acknowledge == Acknowledge::Sinks => {
                self.trace.note(format_args!("the journal is lost"));
                let _ = std::fs::remove_dir_all(data.join("journal"));
            }
            _ => {}
        }
        for _ in 0..self.rng.random_range(0..4) {
            self.workload.step();
        }
    }

    /// One life of the daemon, in a runtime of its own: dropping that is the kill. The last life
    /// ends with everything in every sink, and a stop.
    fn live(&mut self, first: bool, last: bool) -> Result<(), String> {
        let mode = if first && self.rng.random_range(0..8) == 0 {
            Mode::UntilCopied
        } else {
            Mode::Continuous
        };
        self.trace.note(format_args!("a life begins, {mode:?}"));
        let runtime = Self::runtime();
        let outcome = runtime.block_on(async {
            let mut life = self.begin(mode);
            self.storm();
            let goes_on = self.act(&mut life, mode).await?;
            if !goes_on || !self.trace.violations().is_empty() {
                return Ok(());
            }
            let quiet = self.rng.random_range(0..6) == 0;
            if last || (quiet && mode == Mode::Continuous) {
                self.calm(&mut life).await?;
            }
            let stops = self.rng.random_range(0..4) == 0;
            if last || stops {
                self.trace.note(format_args!("stop"));
                return life.stop(last).await;
            }
            Ok(())
        });
        self.trace.set_silent(true);
        drop(runtime);
        self.trace.set_silent(false);
        self.kills += u64::from(!last);
        self.trace.note(format_args!("a life is over"));
        outcome
    }

    /// A runtime whose clock moves when nothing else does. Dropping it is the kill.
    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime can be made")
    }

    /// Starts the daemon.
    fn begin(&self, mode: Mode) -> Life {
        let (commands, asked) = mpsc::channel(16);
        let (shown, status) = watch::channel(Status::starting(&self.config));
        let end = ControlEnd {
            commands: asked,
            status: shown,
        };
        Life {
            commands,
            status,
            running: tokio::spawn(pipeline::run(self.parts(), end, mode)),
        }
    }

    /// Draws what goes wrong from now on.
    fn storm(&mut self) {
        let weather = self.weather;
        let up_to = |rng: &mut StdRng, most: u32| rng.random_range(0..=most * weather);
        let slow = Duration::from_micros(u64::from(up_to(&mut self.rng, 3000)));
        self.source.set_faults(SourceFaults {
            dropped: up_to(&mut self.rng, 10),
            busy: up_to(&mut self.rng, 20),
            snapshot: up_to(&mut self.rng, 30),
            slow,
        });
        for (_, target) in &self.sinks {
            target.set_faults(SinkFaults {
                rejected: up_to(&mut self.rng, 15),
                answer_lost: up_to(&mut self.rng, 15),
                slow: Duration::from_micros(u64::from(up_to(&mut self.rng, 5000))),
            });
        }
    }

    /// Traffic and trouble for a while; `false` when the daemon ended as it should.
    async fn act(&mut self, life: &mut Life, mode: Mode) -> Result<bool, String> {
        let steps = self.rng.random_range(0..60);
        let pace = [1_000u64, 20_000, 500_000][self.rng.random_range(0..3)];
        for _ in 0..steps {
            sleep(Duration::from_micros(self.rng.random_range(0..pace))).await;
            if life.running.is_finished() {
                let ended = life.ended().await;
                return match ended {
                    Ok(()) if mode == Mode::UntilCopied => Ok(false),
                    // A table that stopped is an error of a full load.
                    Err(_) if mode == Mode::UntilCopied && self.has_stopped_tables() => Ok(false),
                    ended => Err(format!("the daemon ended by itself: {ended:?}")),
                };
            }
            match self.rng.random_range(0..100) {
                0..=12 => self.trouble(life),
                _ => {
                    let commit = self.workload.step();
                    self.trace.note(format_args!("database commit {commit}"));
                }
            }
            if !self.trace.violations().is_empty() {
                return Ok(true);
            }
        }
        // Let it run on: the kill comes at any moment, also long after the traffic.
        let rest = [0u64, 50_000, 3_000_000][self.rng.random_range(0..3)];
        sleep(Duration::from_micros(self.rng.random_range(0..=rest))).await;
        Ok(true)
    }

    /// Something that an operator does, or that befalls them.
    fn trouble(&mut self, life: &Life) {
        match self.rng.random_range(0..16) {
            0..=2 => {
                let tables = match self.rng.random_range(0..3) {
                    0 => Vec::new(),
                    1 => vec!["shop.accounts".to_owned()],
                    _ => vec!["shop.events".to_owned(), "shop.pots".to_owned()],
                };
                self.trace.note(format_args!("snapshot {tables:?}"));
                let sink = None;
                life.tell(|reply| Command::Snapshot {
                    tables,
                    sink,
                    reply,
                });
            }
            3 => {
                self.trace.note(format_args!("pause"));
                life.tell(|reply| Command::Pause { reply });
            }
            4..=6 => {
                self.trace.note(format_args!("resume"));
                life.tell(|reply| Command::Resume { reply });
            }
            7 => self.storm(),
            8..=9 => life.tell(|reply| Command::Wait { sink: None, reply }),
            10..=11 => {
                let (name, _) = self.sinks[self.rng.random_range(0..self.sinks.len())];
                life.tell(|reply| Command::Verify {
                    tables: Vec::new(),
                    sink: Some(name.to_owned()),
                    reply,
                });
            }
            12 if self.weather > 1 => {
                let nth = self.rng.random_range(0..self.sinks.len());
                if let Some(table) = self.some_table() {
                    self.trace
                        .note(format_args!("{} refuses {table}", self.sinks[nth].0));
                    self.sinks[nth].1.refuse_rows_of(table, true);
                }
            }
            13 => {
                let others = self.rng.random_range(0..2) == 0;
                self.trace
                    .note(format_args!("ledger is selected: {others}"));
                let patterns: &[&str] = if others {
                    &["*.*"]
                } else {
                    &["*.*", "!shop.ledger"]
                };
                self.source.set_tables(patterns).expect("valid patterns");
            }
            14 if self.weather > 2 => {
                if let Some(table) = self.some_table() {
                    self.trace.note(format_args!("table {table} fails"));
                    let mut writer = self.database.begin();
                    writer.fail(table);
                    self.failed = true;
                    writer.commit();
                }
            }
            _ => {}
        }
    }

    fn some_table(&mut self) -> Option<TableId> {
        let state = self.database.state(self.database.head());
        let nth = self.rng.random_range(0..state.tables.len().max(1));
        state.tables.keys().nth(nth).copied()
    }

    fn has_stopped_tables(&self) -> bool {
        self.failed || self.sinks.iter().any(|(_, t)| !t.refused().is_empty())
    }

    /// No more trouble and no more traffic: every sink must come to hold what the source has.
    async fn calm(&mut self, life: &mut Life) -> Result<(), String> {
        self.trace.note(format_args!("calm"));
        self.source.set_faults(SourceFaults::default());
        let mut mended = std::mem::take(&mut self.failed);
        for (_, target) in &self.sinks {
            target.set_faults(SinkFaults::default());
            for table in target.refused() {
                target.refuse_rows_of(table, false);
                mended = true;
            }
        }
        let begun = Instant::now();
        loop {
            let asked = self.ask_for_all(life, mended).await;
            mended &= asked.is_err();
            let head = self.database.head();
            let equal = self
                .sinks
                .iter()
                .try_for_each(|(_, target)| target.equals(&self.database, head));
            match (asked, equal) {
                (Ok(()), equal) => return equal,
                // A command that came while the daemon was still starting is not served.
                (Err(_), _) if begun.elapsed() < PATIENCE && !life.running.is_finished() => {
                    sleep(Duration::from_secs(1)).await;
                }
                (Err(what), equal) => {
                    let how = life.how().await;
                    return Err(format!("it does not get there: {what}; {equal:?}; {how}"));
                }
            }
        }
    }

    /// Resumes, copies again what had stopped, waits for all, and has every sink verified.
    async fn ask_for_all(&self, life: &Life, mended: bool) -> Result<(), String> {
        life.ask(|reply| Command::Resume { reply }).await?;
        if mended {
            let copy = |reply| Command::Snapshot {
                tables: Vec::new(),
                sink: None,
                reply,
            };
            life.ask(copy).await?;
        }
        life.ask(|reply| Command::Wait { sink: None, reply })
            .await?;
        for (name, target) in &self.sinks {
            let verify = |reply| Command::Verify {
                tables: Vec::new(),
                sink: Some((*name).to_owned()),
                reply,
            };
            for verdict in life.ask(verify).await? {
                if !verdict.is_equal() {
                    target.judged(format!("verify finds a difference: {verdict:?}"));
                }
            }
        }
        Ok(())
    }

    fn outcome(self, verdict: Result<(), String>) -> Outcome {
        let violations = self.trace.violations();
        let lines = self.trace.tail(usize::MAX);
        let verdict = match (verdict, violations.as_slice()) {
            (Ok(()), []) => Ok(()),
            (verdict, violations) => Err(format!(
                "{}\nbreaches: {violations:#?}\nthe end of what happened:\n  {}",
                verdict.err().unwrap_or_default(),
                lines[lines.len().saturating_sub(SHOWN)..].join("\n  ")
            )),
        };
        Outcome {
            verdict,
            commits: self.sinks.iter().map(|(_, target)| target.commits()).sum(),
            kills: self.kills,
            steps: self.trace.len(),
            hash: self.trace.hash(),
            lines,
        }
    }
}
