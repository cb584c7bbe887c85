//! The status, put together from the boards.

use std::time::{SystemTime, UNIX_EPOCH};

use cdc_api::Checkpoint;

use super::control::{Controller, WorkerHandle};
use crate::admin::status::{JournalStatus, PipelineState, SinkStatus};

impl Controller {
    /// Tells the status as it is now.
    pub(super) fn tell(&self, state: PipelineState) {
        let journal = self.shared.journal.stats();
        let tail = self.shared.journal.tail().borrow().clone();
        let read = {
            let view = self.shared.board.view();
            (
                view.read
                    .max(view.commit.as_ref().map_or(0, |at| at.offset)),
                view.server,
            )
        };
        self.status.send_modify(|status| {
            status.state = state;
            {
                let view = self.shared.board.view();
                status.source.state = view.state;
                status.source.identity.clone_from(&view.identity);
                status.source.error.clone_from(&view.error);
                status.source.position.clone_from(&view.acknowledged);
                if view.server > 0 {
                    let behind = view.server.saturating_sub(view.read);
                    status.source.lag_bytes = Some(behind);
                    status.source.lag_seconds = lag_seconds(view.commit.as_ref(), behind == 0);
                }
            }
            status.journal = JournalStatus {
                bytes: journal.bytes,
                oldest_seq: journal.oldest_seq,
                last_seq: tail.as_ref().map_or(0, |at| at.seq),
            };
            for worker in &self.workers {
                if let Some(sink) = status.sinks.iter_mut().find(|s| s.name == worker.name) {
                    worker.tell(sink, read.0.max(read.1), tail.as_ref());
                }
            }
        });
    }
}

impl WorkerHandle {
    fn tell(&self, status: &mut SinkStatus, end: u64, tail: Option<&Checkpoint>) {
        let view = self.board.view();
        status.kind.clone_from(&self.kind);
        status.state = view.state;
        status.error.clone_from(&view.error);
        status.rows_applied = view.rows_applied;
        status.commits = view.commits;
        status.checkpoint = view.checkpoint.as_ref().map(Into::into);
        if let Some(checkpoint) = &view.checkpoint {
            let level = tail.is_none_or(|tail| tail.seq <= checkpoint.seq);
            status.lag_bytes = Some(if level {
                0
            } else {
                end.saturating_sub(checkpoint.offset)
            });
            status.lag_seconds = lag_seconds(Some(checkpoint), level);
        }
        status.tables = view
            .tables
            .iter()
            .map(|(id, table)| table.status(*id))
            .collect();
        status
            .tables
            .sort_by(|a, b| (&a.schema, &a.table).cmp(&(&b.schema, &b.table)));
    }
}

/// Seconds since the last covered transaction committed; 0 when nothing is left to cover.
fn lag_seconds(checkpoint: Option<&Checkpoint>, level: bool) -> Option<f64> {
    if level {
        return Some(0.0);
    }
    let checkpoint = checkpoint.filter(|at| at.commit_time != 0)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    let behind = now.as_micros() as f64 - checkpoint.commit_time as f64;
    Some((behind / 1e6).max(0.0))
}
