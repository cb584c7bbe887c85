//! The running stream, seen from the engine: events out, acknowledgements in.
//!
//! Owns starting and ending. Reading and decoding happen on a thread of their own (`pump`), which
//! hands over whole batches through a queue that is bounded in bytes ([`queue`]). Invariant: a
//! stream starts only where the server, its timeline and the slot can continue exactly after the
//! checkpoint.

mod attnums;
mod listing;
mod pump;
mod shapes;
mod watch;

use std::sync::Arc;

use async_trait::async_trait;
use cdc_api::{
    BatchLimits, ChangeEvent, ChangeStream, Checkpoint, Error, Position, Result, StreamProgress,
    TableSchema,
};
use cdc_database::outlet::{Inlet, queue};
use cdc_database::stream::{Progress, Thread};
use tokio::runtime::Handle;

use crate::position::{Log, Lsn};
use crate::refusal::refused_with;
use crate::replication::Acknowledger;
use crate::session::Session;
use crate::slot;
use crate::source::{Server, place};
use pump::Pump;

/// Who the server is, and where its log ends (`IDENTIFY_SYSTEM`).
pub(crate) async fn identify(session: &mut Session) -> Result<(Log, Lsn)> {
    let row = session.query_one("IDENTIFY_SYSTEM").await?;
    let log = Log {
        system: row.text(0).to_owned(),
        timeline: row.number(1)?,
    };
    Ok((log, row.text(2).parse()?))
}

/// Whether the error says that another session holds the slot.
pub(crate) fn slot_is_busy(error: &Error) -> bool {
    refused_with(error, "55006")
}

/// Refuses to go on where the log is another one, or the slot cannot continue at `from`.
async fn verify(server: &Server, session: &mut Session, from: (&Log, Lsn)) -> Result<()> {
    let (log, end) = identify(session).await?;
    let name = &server.choices.slot;
    let (known, lsn) = from;
    if log.system != known.system {
        return Err(slot::lost(
            name,
            &format!(
                "the server is another one (system {} instead of {})",
                log.system, known.system
            ),
        ));
    }
    if log.timeline != known.timeline {
        return Err(slot::lost(
            name,
            &format!(
                "the server is on timeline {} instead of {}: it was promoted or restored, and may \
                 lack what was read before",
                log.timeline, known.timeline
            ),
        ));
    }
    if end < lsn {
        return Err(slot::lost(
            name,
            &format!("the server's log ends at {end}, before the checkpoint at {lsn}"),
        ));
    }
    match slot::find(session, name).await? {
        Some(slot) => slot.continues(&server.settings.database, lsn),
        None => Err(slot::lost(name, "it does not exist")),
    }
}

/// Connects, verifies and starts to stream after `from`.
pub(crate) async fn start(
    server: &Arc<Server>,
    from: &Checkpoint,
    known: &[Arc<TableSchema>],
    limits: BatchLimits,
) -> Result<Box<dyn ChangeStream>> {
    let (log, lsn) = Log::read(&from.position)?;
    let progress = Arc::new(Progress::default());
    progress.reads(lsn.0);
    let (outlet, inlet) = queue(limits.bytes);
    let order = pump::Order {
        server: Arc::clone(server),
        log: log.clone(),
        from: from.clone(),
        lsn,
        known: known.to_vec(),
        limits,
        progress: Arc::clone(&progress),
        engine: Handle::current(),
    };
    let open = async {
        let pump = Pump::open(order, outlet).await?;
        let acknowledger = pump.acknowledger();
        Ok((pump, acknowledger))
    };
    let (acknowledger, thread) = Thread::start("cdc-postgres", open, Pump::run).await?;
    Ok(Box::new(PostgresStream {
        server: Arc::clone(server),
        log,
        inlet,
        acknowledger,
        progress,
        thread,
    }))
}

struct PostgresStream {
    server: Arc<Server>,
    log: Log,
    inlet: Inlet,
    acknowledger: Acknowledger,
    progress: Arc<Progress>,
    thread: Thread<Result<()>>,
}

#[async_trait]
impl ChangeStream for PostgresStream {
    async fn next(&mut self) -> Result<ChangeEvent> {
        let event = self.inlet.next().await?;
        if let ChangeEvent::Mark { id } = &event {
            self.server.marks.arrived(*id);
        }
        Ok(event)
    }

    fn acknowledge(&self, upto: &Position) -> Result<()> {
        self.acknowledger.acknowledge(place(&self.log, upto)?);
        Ok(())
    }

    fn progress(&self) -> StreamProgress {
        self.progress.now()
    }

    async fn close(self: Box<Self>) -> Result<()> {
        self.thread.stop().await.unwrap_or_else(|| {
            Err(Error::transient(
                "the stream ended before it could be closed",
            ))
        })
    }
}
