//! The running stream, seen from the engine: events out.
//!
//! Owns starting and ending. Reading and decoding happen on a thread of their own (`pump`), which
//! hands over whole batches through a queue that is bounded in bytes (`outlet`); `dump` asks the
//! server for its log. The server keeps its log by time, not for a reader: acknowledging tells it
//! nothing. Invariant: a stream starts only where the log can continue exactly after the checkpoint,
//! which the caller has verified.

mod dump;
mod pump;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use cdc_api::{
    BatchLimits, ChangeEvent, ChangeStream, Checkpoint, Error, Position, Result, StreamProgress,
    TableSchema,
};
use cdc_database::outlet::{Inlet, queue};
use tokio::sync::oneshot;

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
    let (stop, stopped) = oneshot::channel();
    let (started, starting) = oneshot::channel();
    let (ended, ending) = oneshot::channel();
    let order = pump::Order {
        server: Arc::clone(server),
        from: from.clone(),
        moved_to: (place.server != current).then_some(current),
        place,
        known: known.to_vec(),
        limits,
        progress: Arc::clone(&progress),
    };
    let body = async move {
        match Pump::open(order, outlet).await {
            Ok(pump) => {
                if started.send(Ok(())).is_ok() {
                    pump.run(stopped).await;
                    // Nobody waits for the end of a stream that was dropped.
                    let _ = ended.send(());
                }
            }
            Err(error) => {
                let _ = started.send(Err(error));
            }
        }
    };
    std::thread::Builder::new()
        .name("cdc-mysql".to_owned())
        .spawn(move || {
            // Without a runtime `body` is dropped, which the waiting side reports.
            if let Ok(runtime) = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
            {
                runtime.block_on(body);
            }
        })
        .map_err(|error| Error::transient("cannot start a thread").caused_by(error))?;
    starting
        .await
        .map_err(|_| Error::internal("the stream's thread ended while it started"))??;
    Ok(Box::new(MysqlStream {
        server: Arc::clone(server),
        inlet,
        progress,
        stop: Some(stop),
        ending: Some(ending),
    }))
}

/// How far the stream is, shared between its thread and the engine; on the scale of bytes.
#[derive(Default)]
struct Progress {
    read: AtomicU64,
    server: AtomicU64,
}

impl Progress {
    fn reads(&self, place: u64) {
        self.read.fetch_max(place, Ordering::Relaxed);
        self.server.fetch_max(place, Ordering::Relaxed);
    }

    fn hears(&self, end: u64) {
        self.server.fetch_max(end, Ordering::Relaxed);
    }
}

struct MysqlStream {
    server: Arc<Server>,
    inlet: Inlet,
    progress: Arc<Progress>,
    stop: Option<oneshot::Sender<()>>,
    ending: Option<oneshot::Receiver<()>>,
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
        StreamProgress {
            read: self.progress.read.load(Ordering::Relaxed),
            server: self.progress.server.load(Ordering::Relaxed),
        }
    }

    async fn close(mut self: Box<Self>) -> Result<()> {
        if let Some(stop) = self.stop.take() {
            // Where the thread has ended already, so has the session.
            let _ = stop.send(());
        }
        if let Some(ending) = self.ending.take() {
            // Nothing was to be told to the server.
            let _ = ending.await;
        }
        Ok(())
    }
}
