//! The engine: from one source through the journal into the sinks.
//!
//! ```text
//! source ─► capture ─► journal ─► worker (one a sink) ─► sink
//!    └────────► copy jobs (existing rows) ────┘
//! ```
//!
//! Code map: `capture` reads the stream · `acknowledge` what the source may drop ·
//! `worker` one sink: commits, tables, joins · `job` copies existing rows · `catch_up`
//! replays a copied table's changes · `discovery` which tables there are · `control` commands
//! · `board` what status and metrics are read from · `status` puts them together.
//!
//! Every part runs as a task of its own and owns what it changes; they meet in the journal, in
//! watches, and in bounded channels.

mod acknowledge;
mod adopt;
mod backoff;
mod board;
mod capture;
mod catch_up;
mod control;
mod discovery;
mod job;
mod marks;
mod shared;
mod status;
mod worker;

use std::sync::Arc;

use cdc_api::{Checkpoint, Error, Result, Source};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::acknowledge::Acknowledger;
use self::backoff::Backoff;
use self::board::{SinkBoard, SourceBoard};
use self::capture::Capture;
use self::discovery::Discovery;
use self::marks::Marks;
use self::shared::{Captured, Shared};
use self::worker::Worker;
use crate::admin::control::{Command, ControlEnd};
use crate::admin::status::{PipelineState, SourceState, TableState};
use crate::journal::{Journal, JournalConfig, JournalIdentity};
use crate::state::{PipelineRecord, State};
use crate::watch;

pub use self::shared::Settings;
pub use self::worker::SinkParts;

/// What a pipeline is made of.
pub struct Parts {
    /// How the engine works.
    pub settings: Settings,
    /// What is read.
    pub source: Arc<dyn Source>,
    /// What is written.
    pub sinks: Vec<SinkParts>,
    /// Where changes are staged.
    pub journal: JournalConfig,
    /// The locked data directory.
    pub state: State,
}

/// When a pipeline ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// When it is asked to.
    Continuous,
    /// When every table is whole in every sink, or has stopped.
    UntilCopied,
}

/// Runs a pipeline until it is asked to stop, or cannot go on.
///
/// # Errors
/// What no retry mends: configuration and credentials at the start, a gap in the log, a sink that
/// another instance has taken over. In `Mode::UntilCopied` also a table that stopped.
pub async fn run(parts: Parts, end: ControlEnd, mode: Mode) -> Result<()> {
    let ControlEnd {
        mut commands,
        status,
    } = end;
    let Parts {
        settings,
        source,
        mut sinks,
        journal,
        state,
    } = parts;
    let mut backoff = Backoff::default();
    let (shared, discovery) = loop {
        let preparing = prepare(&settings, &source, &mut sinks, &journal, &state);
        let outcome = tokio::select! {
            biased;
            outcome = preparing => outcome,
            () = stop_asked(&mut commands) => return Ok(()),
        };
        match outcome {
            Ok(prepared) => break prepared,
            Err(error) if error.is_transient() => {
                let pause = backoff.next();
                tracing::warn!(error = %error, hint = error.hint_text(), retry_in = ?pause,
                    "cannot start yet");
                status.send_modify(|status| {
                    status.source.state = SourceState::Retrying;
                    status.source.error = Some((&error).into());
                });
                tokio::select! {
                    biased;
                    () = tokio::time::sleep(pause) => {}
                    () = stop_asked(&mut commands) => return Ok(()),
                }
            }
            Err(error) => return Err(error),
        }
    };
    let durable = shared.journal.durable().borrow().clone();
    if let Some(durable) = durable {
        shared.acknowledger.journal(durable);
    }

    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    let mut workers = Vec::new();
    let mut running = Vec::new();
    for parts in sinks {
        let (asks, asked) = mpsc::channel(16);
        let board = SinkBoard::new();
        workers.push(control::WorkerHandle {
            name: parts.name.clone(),
            kind: parts.kind.clone(),
            queries: parts.sink.capabilities().query,
            delivery: parts.delivery.clone(),
            asks,
            board: board.clone(),
        });
        running.push(Worker::new(parts, Arc::clone(&shared), board, asked));
    }
    for worker in running {
        tasks.spawn(worker.run(stop.clone()));
    }
    let reading = CancellationToken::new();
    let capture = Capture {
        shared: Arc::clone(&shared),
        stop: reading.clone(),
    };
    tasks.spawn(capture.run());
    let (look, looks) = mpsc::channel(16);
    let background = CancellationToken::new();
    tokio::spawn(
        background
            .clone()
            .run_until_cancelled_owned(discovery.run(looks)),
    );
    tokio::spawn(
        background
            .clone()
            .run_until_cancelled_owned(follow_durable(Arc::clone(&shared))),
    );
    let _guard = background.drop_guard();

    let control = control::Controller {
        shared: Arc::clone(&shared),
        workers,
        look,
        status,
    };
    let outcome = control.serve(commands, &mut tasks, mode).await;

    control.tell(PipelineState::Stopping);
    let timeout = shared.settings.shutdown_timeout;
    let stopped = tokio::time::timeout(timeout, shut_down(&shared, &stop, &reading, &mut tasks));
    let outcome = match stopped.await {
        Ok(stopped) => outcome.and(stopped),
        Err(_) => {
            tracing::warn!(
                ?timeout,
                "stop took too long and was cut short; nothing is lost"
            );
            outcome
        }
    };
    control.tell(if outcome.is_ok() {
        PipelineState::Stopping
    } else {
        PipelineState::Failed
    });
    outcome
}

/// Connects, recovers the journal, and finds the tables and the place to start from.
async fn prepare(
    settings: &Settings,
    source: &Arc<dyn Source>,
    sinks: &mut [SinkParts],
    journal: &JournalConfig,
    state: &State,
) -> Result<(Arc<Shared>, Discovery)> {
    let identity = source.identify().await?;
    remember(state, &settings.name, &identity)?;
    let journal_identity = JournalIdentity {
        pipeline: settings.name.clone(),
        source: identity.id.clone(),
    };
    let (journal, recovered) = Journal::open(journal.clone(), &journal_identity).await?;
    let shared = Arc::new(Shared {
        acknowledger: Acknowledger::new(
            settings.acknowledge,
            sinks.iter().map(|sink| sink.name.as_str()),
        ),
        source: Arc::clone(source),
        marks: Marks::default(),
        board: SourceBoard::new(),
        captured: watch::channel(Arc::new(Captured::default())).0,
        paused: watch::channel(state.paused()?).0,
        retry: Notify::new(),
        journal,
        state: state.clone(),
        settings: settings.clone(),
    });
    shared.board.view().identity = Some(format!(
        "{}, database {}, {}",
        identity.version, identity.database, identity.id
    ));
    let mut discovery = Discovery::new(Arc::clone(&shared));
    discovery.run_once().await?;
    if recovered.tail.is_none() {
        let start = start_of_empty_journal(&shared, sinks).await?;
        shared.journal.reset(&start).await?;
    }
    Ok((shared, discovery))
}

/// Waits for a stop; other commands cannot be served yet.
async fn stop_asked(commands: &mut mpsc::Receiver<Command>) {
    while let Some(command) = commands.recv().await {
        if let Command::Stop { reply } = command {
            let _ = reply.send(Ok(()));
            return;
        }
    }
}

/// Sinks first, so that the source hears of what they have committed last.
async fn shut_down(
    shared: &Shared,
    stop: &CancellationToken,
    reading: &CancellationToken,
    tasks: &mut JoinSet<Result<()>>,
) -> Result<()> {
    stop.cancel();
    let mut outcome = Ok(());
    let mut left = tasks.len();
    while left > 0 {
        if left == 1 {
            // What is flushed now may be acknowledged with the stream's end.
            if let Ok(durable) = shared.journal.flush().await {
                shared.acknowledger.journal(durable);
            }
            reading.cancel();
        }
        let Some(ended) = tasks.join_next().await else {
            break;
        };
        left -= 1;
        if let Err(error) = control::flatten(ended) {
            outcome = Err(error);
        }
    }
    shared.journal.close().await?;
    outcome
}

/// Tells the acknowledger what the journal has fsynced.
async fn follow_durable(shared: Arc<Shared>) {
    let mut durable = shared.journal.durable();
    loop {
        let reached = durable.borrow_and_update().clone();
        if let Some(reached) = reached {
            shared.acknowledger.journal(reached);
        }
        if durable.changed().await.is_err() {
            return;
        }
    }
}

/// Notes which pipeline the data directory belongs to; refuses another's.
fn remember(state: &State, name: &str, identity: &cdc_api::SourceIdentity) -> Result<()> {
    let Some(record) = state.pipeline()? else {
        return state.set_pipeline(&PipelineRecord {
            name: name.to_owned(),
            source: identity.clone(),
            epoch: 1,
        });
    };
    if record.name != name {
        return Err(Error::config(format!(
            "the data directory belongs to pipeline `{}`, not to `{name}`",
            record.name
        ))
        .hint("set `data_dir` to a folder of this pipeline's own"));
    }
    if record.source.id != identity.id || record.source.database != identity.database {
        return Err(Error::log_lost(format!(
            "the source is another server or database than the one this pipeline was started on: \
             {} ({}) now, {} ({}) before",
            identity.database, identity.id, record.source.database, record.source.id
        ))
        .hint(
            "point `source.url` back to the first server; to start over on this one, use a new \
             `name` and `data_dir`, and empty the sinks",
        ));
    }
    Ok(())
}

/// Where to start with nothing in the journal: at the smallest checkpoint of the sinks, so that
/// none has a gap; at the source's origin when no sink has one either. New sinks that are given no
/// copies begin just there: their readers have what was before from elsewhere.
async fn start_of_empty_journal(shared: &Shared, sinks: &mut [SinkParts]) -> Result<Checkpoint> {
    let mut smallest: Option<Checkpoint> = None;
    let mut adopting = Vec::new();
    for parts in sinks {
        parts.sink.open().await?;
        let Some(checkpoint) = parts.sink.committed().await? else {
            if !parts.delivery.snapshot.initial {
                adopting.push(parts);
            }
            continue;
        };
        if smallest
            .as_ref()
            .is_none_or(|known| checkpoint.seq < known.seq)
        {
            smallest = Some(checkpoint);
        }
    }
    let start = match smallest {
        Some(checkpoint) => checkpoint,
        None => shared.source.origin().await?,
    };
    for parts in adopting {
        let (name, delivery) = (&parts.name, &parts.delivery);
        if start.seq > 0 {
            adopt::not_too_late(shared, (name, delivery))?;
        }
        adopt::first_commit(shared, name, delivery, parts.sink.as_mut(), &start).await?;
    }
    Ok(start)
}

/// Whether every table is whole or has stopped, and which have stopped.
fn all_settled(workers: &[control::WorkerHandle], nothing: bool) -> Option<Vec<String>> {
    let mut failed = Vec::new();
    for worker in workers {
        let view = worker.board.view();
        if view.checkpoint.is_none() || view.tables.is_empty() && !nothing {
            return None;
        }
        for table in view.tables.values() {
            match table.state {
                TableState::Streaming => {}
                TableState::Failed => failed.push(format!("{} in {}", table.name, worker.name)),
                _ => return None,
            }
        }
    }
    Some(failed)
}
