//! The replay of what has changed in a table since its chunks were read, up to where the sink is.
//!
//! Invariant: a replay starts at the oldest chunk's point, and its table does not join before the
//! newest one's. The joining is the worker's.

use std::sync::Arc;

use cdc_api::{CopyId, CopyProgress, Error, ErrorKind, Result, TableCopy, TableId, TableSchema};
use tokio::sync::mpsc;

use super::copying::Copying;
use super::{Job, JobEvent, Wanted, no_longer_wanted};
use crate::pipeline::catch_up::{Begin, CatchUp};
use crate::state::Phase;
use crate::watch;

/// Changes left to replay, below which the worker lets the table join between two commits.
const NEARLY_THERE: usize = 20_000;

impl Job {
    /// All chunks of a table are finished: its changes since are replayed.
    pub(super) async fn replay(
        &mut self,
        copying: &Copying,
        seq: u64,
        replays: &mut tokio::task::JoinSet<()>,
    ) -> Result<()> {
        let Some(mut copy) = copying.copy.lock().await.take() else {
            return Ok(());
        };
        let Some(index) = self
            .wanted
            .iter()
            .position(|w| w.table.id == copying.table.id)
        else {
            return Ok(());
        };
        let progress = copy.progress().await?;
        let wanted = self.wanted.swap_remove(index);
        self.begin_replay(wanted, &copying.table, copy, (&progress, seq), replays)
    }

    pub(super) fn begin_replay(
        &self,
        wanted: Wanted,
        shape: &Arc<TableSchema>,
        copy: Box<dyn TableCopy>,
        (progress, point): (&CopyProgress, u64),
        replays: &mut tokio::task::JoinSet<()>,
    ) -> Result<()> {
        let points = progress.chunks.iter().map(|(_, seq)| *seq);
        let from = progress
            .caught_up
            .unwrap_or_else(|| points.clone().min().unwrap_or(point));
        let whole_at = points.max().unwrap_or(point).max(from);
        // The plan of a copy that was interrupted early is older than any of its chunks.
        wanted.pin.advance(from);
        let table = wanted.table.id;
        let id = wanted.id;
        let unwanted = wanted.unwanted;
        let events = self.events.clone();
        let committed = self.committed.clone();
        let cursor = match self.shared.journal.cursor(from) {
            Ok(cursor) => cursor,
            Err(error) if error.kind() == ErrorKind::LogLost => {
                let reason = error.to_string();
                replays.spawn(async move {
                    let _ = events.send(JobEvent::Again { table, id, reason }).await;
                });
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let catch_up = CatchUp::begin(Begin {
            id,
            purpose: wanted.purpose,
            table: Arc::clone(shape),
            copy,
            cursor,
            from,
            whole_at,
            pin: wanted.pin,
        });
        replays.spawn(async move {
            tokio::select! {
                biased;
                () = unwanted.cancelled() => {
                    let error = no_longer_wanted(table);
                    let _ = events.send(JobEvent::Stopped { table, id, error }).await;
                }
                () = follow(catch_up, events.clone(), committed) => {}
            }
        });
        Ok(())
    }
}

/// Replays until little is left, then hands over to the worker.
async fn follow(
    mut catch_up: CatchUp,
    events: mpsc::Sender<JobEvent>,
    mut committed: watch::Receiver<u64>,
) {
    let table = catch_up.table_id();
    let id = catch_up.id;
    let phase = Phase::CatchingUp;
    let _ = events
        .send(JobEvent::Phase {
            table,
            id,
            phase,
            plan: None,
        })
        .await;
    loop {
        let target = *committed.borrow_and_update();
        let applied = match catch_up.run_to(target).await {
            Ok(applied) => applied,
            Err(error) => {
                let _ = events.send(failed(table, id, error)).await;
                return;
            }
        };
        // A resumed copy that is not whole yet follows the sink all the same: what it has
        // replayed, it no longer keeps in the journal.
        if target < catch_up.whole_at {
            if committed.changed().await.is_err() {
                return;
            }
        } else if applied <= NEARLY_THERE {
            break;
        }
    }
    let _ = events.send(JobEvent::Ready(Box::new(catch_up))).await;
}

/// What an error in a replay means for its table.
pub(in crate::pipeline) fn failed(table: TableId, id: CopyId, error: Error) -> JobEvent {
    match error.kind() {
        ErrorKind::LogLost | ErrorKind::Transient => JobEvent::Again {
            table,
            id,
            reason: error.to_string(),
        },
        _ => JobEvent::Stopped { table, id, error },
    }
}
