//! A copy job: reads the existing rows of some tables at one consistent point, chunk by chunk,
//! into one sink, beside the sink's main stream.
//!
//! Invariant (4): a chunk's rows carry the `seq` of the point at which they were read; the sink
//! makes them durable together with the note that the chunk is finished, so that after a crash
//! only unfinished chunks are read again, at a later point.
//!
//! A copy is resumed only where a replay over rows of several points is right: in a sink that
//! replaces rows by key, of a table with a key, whose shape and chunks are what they were. Else,
//! and whenever the replay finds itself without a base row, the copy begins again.
//!
//! The job asks the sink's worker, who owns the sink, through [`JobEvent`]s. A table's chunks are
//! `copying`'s, what comes after the last one `replay`'s.

mod copying;
mod replay;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use cdc_api::{
    Chunk, CopyId, Difference, Error, ErrorKind, Result, Snapshot, TableCopy, TableId, TableSchema,
};
use futures::StreamExt;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::board::Meter;
use super::catch_up::CatchUp;
use super::shared::Shared;
use crate::journal::Pin;
use crate::state::Phase;
use crate::watch;
use copying::Copying;
pub(super) use replay::failed;

/// Which rows a copy reads: made once, at its first snapshot, and kept over restarts.
#[derive(Debug, Clone)]
pub(super) struct CopyPlan {
    /// The shape that the copy was begun with.
    pub(super) table: Arc<TableSchema>,
    /// The chunks that hold every row together.
    pub(super) chunks: Vec<Chunk>,
    /// The point at which the first of them are read: where the replay starts if there is none.
    pub(super) point: u64,
    /// The generation of the rows at that point.
    pub(super) generation: u64,
}

/// What a copy is for.
pub(super) enum Purpose {
    /// To become the sink's table.
    Join,
    /// To be compared with the sink's table, and dropped.
    Compare(oneshot::Sender<Result<Difference>>),
}

/// A table that a sink needs a copy of.
pub(super) struct Wanted {
    pub(super) table: Arc<TableSchema>,
    pub(super) id: CopyId,
    /// Of a copy that an earlier process began.
    pub(super) plan: Option<CopyPlan>,
    pub(super) purpose: Purpose,
    pub(super) meter: Arc<Meter>,
    /// Keeps the journal from where the copy's replay will start.
    pub(super) pin: Pin,
    /// Says that nobody waits for the copy any more: the job lets it go.
    pub(super) unwanted: CancellationToken,
}

/// What a job tells or asks the sink's worker.
pub(super) enum JobEvent {
    /// Begin or resume this copy in the sink.
    Open {
        table: Arc<TableSchema>,
        id: CopyId,
        reply: oneshot::Sender<Result<Box<dyn TableCopy>>>,
    },
    /// The copy has got this far.
    Phase {
        table: TableId,
        id: CopyId,
        phase: Phase,
        plan: Option<CopyPlan>,
    },
    /// The copy is nearly where the sink is: let it join.
    Ready(Box<CatchUp>),
    /// The copy cannot go on as it is; take a new one.
    Again {
        table: TableId,
        id: CopyId,
        reason: String,
    },
    /// The table stops.
    Stopped {
        table: TableId,
        id: CopyId,
        error: Error,
    },
    /// The comparison has failed, and its copy is let go.
    Compared { id: CopyId },
    /// The copy waits for its next attempt.
    Trouble { error: Error },
}

/// Copies tables until each is ready to join, has stopped, or must begin again.
pub(super) struct Job {
    pub(super) shared: Arc<Shared>,
    pub(super) sink: String,
    /// Whether the sink replaces rows by key.
    pub(super) upsert: bool,
    pub(super) wanted: Vec<Wanted>,
    pub(super) events: mpsc::Sender<JobEvent>,
    /// The `seq` of the sink's last commit.
    pub(super) committed: watch::Receiver<u64>,
}

impl Job {
    /// Runs to the end; errors that pass by themselves are tried again for ever.
    pub(super) async fn run(mut self) {
        let mut backoff = Backoff::default();
        let mut replays = tokio::task::JoinSet::new();
        while !self.wanted.is_empty() {
            let left = self.wanted.len();
            match self.attempt(&mut replays).await {
                Ok(()) => break,
                Err(error) => match error.table().filter(|_| !error.is_transient()) {
                    Some(table) => self.stop(table, error).await,
                    None => {
                        tracing::warn!(sink = %self.sink, error = %error, "copy is interrupted");
                        self.tell(JobEvent::Trouble { error }).await;
                        if self.wanted.len() < left {
                            backoff.reset();
                        }
                        tokio::time::sleep(backoff.next()).await;
                    }
                },
            }
        }
        while replays.join_next().await.is_some() {}
    }

    async fn tell(&self, event: JobEvent) {
        // A worker that is gone takes its jobs with it.
        let _ = self.events.send(event).await;
    }

    async fn stop(&mut self, table: TableId, error: Error) {
        let Some(index) = self.wanted.iter().position(|w| w.table.id == table) else {
            return;
        };
        // What it kept in the journal is let go before anybody is told.
        let Wanted { id, purpose, .. } = self.wanted.swap_remove(index);
        match purpose {
            Purpose::Join if error.kind() == ErrorKind::LogLost => {
                let reason = error.to_string();
                self.tell(JobEvent::Again { table, id, reason }).await;
            }
            Purpose::Join => self.tell(JobEvent::Stopped { table, id, error }).await,
            Purpose::Compare(reply) => {
                let _ = reply.send(Err(error));
                self.tell(JobEvent::Compared { id }).await;
            }
        }
    }

    /// Lets the copies go that nobody wants any more.
    async fn let_go(&mut self) {
        let unwanted = |wanted: &Wanted| wanted.unwanted.is_cancelled();
        while let Some(wanted) = self.wanted.iter().find(|wanted| unwanted(wanted)) {
            let table = wanted.table.id;
            self.stop(table, no_longer_wanted(table)).await;
        }
    }

    async fn open(&self, table: &Arc<TableSchema>, id: CopyId) -> Result<Box<dyn TableCopy>> {
        let (reply, answer) = oneshot::channel();
        self.tell(JobEvent::Open {
            table: Arc::clone(table),
            id,
            reply,
        })
        .await;
        answer
            .await
            .map_err(|_| Error::transient("the sink is being opened again"))?
    }

    async fn attempt(&mut self, replays: &mut tokio::task::JoinSet<()>) -> Result<()> {
        self.let_go().await;
        self.replay_finished(replays).await?;
        if self.wanted.is_empty() {
            return Ok(());
        }
        let tables: Vec<_> = self.wanted.iter().map(|w| Arc::clone(&w.table)).collect();
        let snapshot = self.shared.source.snapshot(&tables).await?;
        let Some(seq) = self.point(snapshot.id()).await else {
            return Ok(());
        };
        let mut copies = Vec::new();
        let mut queue = Vec::new();
        for shape in snapshot.tables() {
            let Some(index) = self.wanted.iter().position(|w| w.table.id == shape.id) else {
                continue;
            };
            if let Some((copy, chunks)) = self.prepare(index, shape, snapshot.as_ref(), seq).await?
            {
                queue.extend(chunks.into_iter().map(|chunk| (copies.len(), chunk)));
                copies.push(copy);
            }
        }
        // Tables that had no chunk left are done; the others finish one after another.
        let workers = self.shared.settings.snapshot_workers.max(1);
        let limits = self.shared.settings.limits;
        let mut failure = None;
        {
            let copies = &copies;
            let snapshot = &snapshot;
            let mut running = futures::stream::iter(queue)
                .map(|(index, chunk)| async move {
                    let copy: &Copying = &copies[index];
                    (
                        index,
                        copy.chunk(snapshot.as_ref(), &chunk, limits, seq).await,
                    )
                })
                .buffer_unordered(workers);
            while let Some((index, done)) = running.next().await {
                let copy = &copies[index];
                match done {
                    Ok(true) => self.replay(copy, seq, replays).await?,
                    Ok(false) => {}
                    Err(error) if error.table().is_some() && !error.is_transient() => {
                        copy.broken.get_or_init(|| error);
                    }
                    Err(error) => {
                        failure = Some(error);
                        break;
                    }
                }
                if let Some(error) = copy.broken.get()
                    && copy.writing.load(Ordering::Relaxed) == 0
                    && copy.copy.lock().await.take().is_some()
                {
                    self.stop(copy.table.id, again(error)).await;
                }
            }
        }
        for copy in &copies {
            if failure.is_none() && copy.broken.get().is_none() {
                // Of a table without a chunk (nothing to read) nobody has said so yet.
                self.replay(copy, seq, replays).await?;
            }
        }
        failure.map_or(Ok(()), Err)
    }

    /// Waits until the stream passes the snapshot's point, and gives its `seq`; `None` when no
    /// copy is left.
    ///
    /// The replay of a fresh copy starts at that point, which the journal's tail has not reached:
    /// so its pin goes along with the tail, and nobody who waits for the stream keeps it from
    /// going on by a full journal. A resumed copy cannot let go: it begins again when its own pin
    /// is what fills the journal.
    async fn point(&mut self, snapshot: u64) -> Option<u64> {
        let mut tail = self.shared.journal.tail();
        loop {
            // In this order: a tail seen before the mark was passed is not beyond the point.
            let reached = tail.borrow_and_update().as_ref().map_or(0, |at| at.seq);
            if let Some(seq) = self.shared.marks.take(snapshot) {
                return Some(seq);
            }
            self.let_go().await;
            if self.wanted.is_empty() {
                return None;
            }
            let fresh = self.wanted.iter().filter(|wanted| wanted.plan.is_none());
            Pin::advance_all(fresh.map(|wanted| &wanted.pin), reached);
            let fills = |wanted: &&Wanted| wanted.plan.is_some() && wanted.pin.is_oldest();
            if self.shared.journal.stats().full
                && let Some(wanted) = self.wanted.iter().find(fills)
            {
                let reason = "the journal is full of changes that the copy would replay";
                self.stop(wanted.table.id, Error::new(ErrorKind::LogLost, reason))
                    .await;
                continue;
            }
            tokio::select! {
                biased;
                seq = self.shared.marks.wait(snapshot) => return Some(seq),
                _ = tail.changed() => {}
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
            }
        }
    }

    /// Copies whose every chunk was finished by an earlier process need no snapshot.
    async fn replay_finished(&mut self, replays: &mut tokio::task::JoinSet<()>) -> Result<()> {
        for index in (0..self.wanted.len()).rev() {
            let wanted = &self.wanted[index];
            let Some(plan) = &wanted.plan else { continue };
            let plan = plan.clone();
            let mut copy = self.open(&plan.table, wanted.id).await?;
            let progress = copy.progress().await?;
            if progress.chunks.len() >= plan.chunks.len() {
                let wanted = self.wanted.swap_remove(index);
                self.begin_replay(wanted, &plan.table, copy, (&progress, plan.point), replays)?;
            }
        }
        Ok(())
    }

    /// Opens one table's copy in the sink and finds out which chunks are left.
    async fn prepare(
        &mut self,
        index: usize,
        shape: &Arc<TableSchema>,
        snapshot: &dyn Snapshot,
        seq: u64,
    ) -> Result<Option<(Copying, Vec<Chunk>)>> {
        let (table, id, meter) = {
            let wanted = &self.wanted[index];
            (wanted.table.id, wanted.id, Arc::clone(&wanted.meter))
        };
        let plan = match self.wanted[index].plan.clone() {
            Some(plan) => plan,
            None => CopyPlan {
                table: Arc::clone(shape),
                chunks: snapshot
                    .chunks(table, self.shared.settings.chunk_bytes)
                    .await?,
                point: seq,
                generation: snapshot.generation(table),
            },
        };
        let resumes = self.wanted[index].plan.replace(plan.clone()).is_some();
        let mut copy = self.open(&plan.table, id).await?;
        let progress = copy.progress().await?;
        let resumed = !progress.chunks.is_empty();
        let replaces = self.upsert && !shape.key.is_empty();
        if resumes && (!plan.table.same_shape(shape) || resumed && !replaces) {
            drop(copy);
            let wanted = self.wanted.swap_remove(index);
            let reason = if replaces {
                "its columns changed while the copy was interrupted"
            } else {
                "only tables with a key can take up an interrupted copy, in a sink that mirrors"
            };
            self.tell(JobEvent::Again {
                table,
                id: wanted.id,
                reason: reason.to_owned(),
            })
            .await;
            return Ok(None);
        }
        self.tell(JobEvent::Phase {
            table,
            id,
            phase: Phase::Copying,
            plan: Some(plan.clone()),
        })
        .await;
        let size = snapshot.size(table).await?;
        meter.rows_total.store(size.rows, Ordering::Relaxed);
        meter.bytes_total.store(
            plan.chunks.iter().map(|chunk| chunk.bytes).sum(),
            Ordering::Relaxed,
        );
        let (done, left): (Vec<_>, Vec<_>) = plan.chunks.into_iter().partition(|chunk| {
            progress
                .chunks
                .iter()
                .any(|(index, _)| *index == chunk.index)
        });
        if meter.rows_done.load(Ordering::Relaxed) == 0 {
            meter.resume(
                done.iter().map(|chunk| chunk.rows).sum(),
                done.iter().map(|chunk| chunk.bytes).sum(),
            );
        }
        if !resumed {
            // Nothing older than this point will be replayed.
            self.wanted[index].pin.advance(seq);
        }
        let copying = Copying {
            table: plan.table,
            copy: Mutex::new(Some(copy)),
            left: AtomicUsize::new(left.len()),
            writing: AtomicUsize::new(0),
            broken: OnceLock::new(),
            meter,
            unwanted: self.wanted[index].unwanted.clone(),
        };
        Ok(Some((copying, left)))
    }
}

/// Why a copy ends that its table's worker has given up: nobody reads it but who compares.
fn no_longer_wanted(table: TableId) -> Error {
    Error::data("the table is no longer captured, or is copied anew").for_table(table)
}

/// The same error once more: errors hold their cause and cannot be cloned.
fn again(error: &Error) -> Error {
    let mut copy = Error::new(error.kind(), error.to_string());
    if let Some(hint) = error.hint_text() {
        copy = copy.hint(hint);
    }
    match error.table() {
        Some(table) => copy.for_table(table),
        None => copy,
    }
}
