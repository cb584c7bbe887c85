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
//! The job asks the sink's worker, who owns the sink, through [`JobEvent`]s.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use cdc_api::{
    BatchLimits, ChangeBatch, Chunk, CopyId, CopyProgress, Difference, Error, ErrorKind, Result,
    Snapshot, TableCopy, TableId, TableSchema,
};
use futures::StreamExt;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::board::Meter;
use super::catch_up::{Begin, CatchUp};
use super::shared::Shared;
use crate::journal::Pin;
use crate::state::Phase;
use crate::watch;

/// Changes left to replay, below which the worker lets the table join between two commits.
const NEARLY_THERE: usize = 20_000;

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
            for fresh in self.wanted.iter().filter(|wanted| wanted.plan.is_none()) {
                fresh.pin.advance(reached);
            }
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

    /// All chunks of a table are finished: its changes since are replayed.
    async fn replay(
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

    fn begin_replay(
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

/// What an error in a replay means for its table.
pub(super) fn failed(table: TableId, id: CopyId, error: Error) -> JobEvent {
    match error.kind() {
        ErrorKind::LogLost | ErrorKind::Transient => JobEvent::Again {
            table,
            id,
            reason: error.to_string(),
        },
        _ => JobEvent::Stopped { table, id, error },
    }
}

/// One table, while its chunks are read.
struct Copying {
    table: Arc<TableSchema>,
    /// Taken when the last chunk is finished.
    copy: Mutex<Option<Box<dyn TableCopy>>>,
    left: AtomicUsize,
    /// Chunks that are being written: the copy is in use.
    writing: AtomicUsize,
    /// Why no more chunks of the table are read.
    broken: OnceLock<Error>,
    meter: Arc<Meter>,
    unwanted: CancellationToken,
}

impl Copying {
    /// Reads and writes one chunk; `true` when it was the table's last.
    async fn chunk(
        &self,
        snapshot: &dyn Snapshot,
        chunk: &Chunk,
        limits: BatchLimits,
        seq: u64,
    ) -> Result<bool> {
        if self.unwanted.is_cancelled() {
            self.broken.get_or_init(|| no_longer_wanted(self.table.id));
        }
        if self.broken.get().is_some() {
            return Ok(false);
        }
        self.writing.fetch_add(1, Ordering::Relaxed);
        let done = self.write_chunk(snapshot, chunk, limits, seq).await;
        self.writing.fetch_sub(1, Ordering::Relaxed);
        done
    }

    async fn write_chunk(
        &self,
        snapshot: &dyn Snapshot,
        chunk: &Chunk,
        limits: BatchLimits,
        seq: u64,
    ) -> Result<bool> {
        let mut reader = snapshot.read(self.table.id, chunk, limits).await?;
        let mut writer = match self.copy.lock().await.as_mut() {
            Some(copy) => copy.chunk(chunk.index).await?,
            None => return Ok(false),
        };
        let mut rows = 0;
        let written = async {
            while let Some(batch) = reader.next().await? {
                let count = batch.num_rows() as u64;
                let batch = ChangeBatch::of_snapshot(Arc::clone(&self.table), batch, seq, 0);
                writer.write(&batch).await?;
                rows += count;
                self.meter.rows_done.fetch_add(count, Ordering::Relaxed);
            }
            writer.finish(seq).await
        }
        .await;
        if let Err(error) = written {
            self.meter.rows_done.fetch_sub(rows, Ordering::Relaxed);
            return Err(error);
        }
        self.meter
            .bytes_done
            .fetch_add(chunk.bytes, Ordering::Relaxed);
        Ok(self.left.fetch_sub(1, Ordering::Relaxed) == 1)
    }
}
