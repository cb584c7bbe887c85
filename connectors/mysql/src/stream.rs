//! The running stream, seen from the engine: events out.
//!
//! Owns starting and ending. Reading and decoding happen on a thread of their own (`pump`), which
//! hands over whole batches through a queue that is bounded in bytes ([`queue`]); `dump` asks the
//! server for its log, `listing` for the tables of a backlog. The server keeps its log by time, not for a reader: acknowledging tells it
//! nothing. Invariant: a stream starts only where the log can continue exactly after the checkpoint,
//! which the caller has verified.

mod dump;
mod listing;
mod pump;

use std::sync::Arc;

use async_trait::async_trait;
use cdc_api::{
    BatchLimits, ChangeEvent, ChangeStream, Checkpoint, Position, Result, StreamProgress,
    TableSchema,
};
use cdc_database::outlet::{Inlet, queue};
use cdc_database::stream::{Progress, Thread};

use crate::position::Place;
use crate::source::Server;
use pump::Pump;

/// Connects and starts to stream after `from`: a checkpoint, its place, and the server that goes on
/// from there.
///
/// # Errors
/// As [`cdc_api::Source::start`].
pub(crate) async fn start(
    server: &Arc<Server>,
    (from, place, current): (&Checkpoint, Place, String),
    known: &[Arc<TableSchema>],
    limits: BatchLimits,
) -> Result<Box<dyn ChangeStream>> {
    let progress = Arc::new(Progress::default());
    progress.reads(place.scale());
    let (outlet, inlet) = queue(limits.bytes);
    let order = pump::Order {
        server: Arc::clone(server),
        from: from.clone(),
        moved_to: (place.server != current).then_some(current),
        place,
        known: known.to_vec(),
        limits,
        progress: Arc::clone(&progress),
    };
    let open = async { Ok((Pump::open(order, outlet).await?, ())) };
    let ((), thread) = Thread::start("cdc-mysql", open, Pump::run).await?;
    Ok(Box::new(MysqlStream {
        server: Arc::clone(server),
        inlet,
        progress,
        thread,
    }))
}

struct MysqlStream {
    server: Arc<Server>,
    inlet: Inlet,
    progress: Arc<Progress>,
    thread: Thread<()>,
}

#[async_trait]
impl ChangeStream for MysqlStream {
    async fn next(&mut self) -> Result<ChangeEvent> {
        let event = self.inlet.next().await?;
        if let ChangeEvent::Mark { id } = &event {
            self.server.marks.deliver(*id);
        }
        Ok(event)
    }

    fn acknowledge(&self, upto: &Position) -> Result<()> {
        Place::read(upto).map(|_| ())
    }

    fn progress(&self) -> StreamProgress {
        self.progress.now()
    }

    async fn close(self: Box<Self>) -> Result<()> {
        // Nothing was to be told to the server.
        self.thread.stop().await;
        Ok(())
    }
}
