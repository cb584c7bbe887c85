//! A sink's worker: a cursor over the journal, gathered into commits of whole transactions.
//!
//! Invariants:
//! - The sink is committed only between transactions, at the `seq` of a commit of the stream,
//!   and everything up to there has been written to it (2, 6).
//! - A table's rows are written only while the table is joined and has not stopped (4, 9). A
//!   table that stops leaves the sink's stream durably, with the next commit: no restart can take
//!   it for one that was kept up to date.
//! - After any error the sink is rolled back, read back, and everything after its checkpoint
//!   comes again out of the journal.
//!
//! Code map: this file gathers and commits · [`tables`] which table is where, and its failures ·
//! [`copies`] starts copy jobs and lets their tables join.

mod copies;
mod tables;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use cdc_api::{
    ChangeBatch, ChangeEvent, Checkpoint, CopyId, Difference, Error, ErrorKind, Result, Sink,
    TableId,
};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::tables::{Table, UnderWay};
use super::adopt;
use super::backoff::Backoff;
use super::board::SinkBoard;
use super::catch_up::CatchUp;
use super::job::JobEvent;
use super::shared::{Captured, Shared};
use crate::admin::status::SinkState;
use crate::config::{Delivery, OnTableError};
use crate::journal::{Cursor, Pin};
use crate::watch;

/// Under a backlog a commit takes one part in so many of it: what is behind is there after commits whose
/// number grows with the backlog's logarithm. Kafka took 1.2 M changes in a hundred commits before, and
/// its brokers were waited for longer than records took to encode.
const SHARE: u64 = 8;

/// But not longer than this, so that a backlog is seen to shrink.
const STEP: Duration = Duration::from_secs(1);

/// A sink, and how it is to be served.
pub struct SinkParts {
    /// Its name in the configuration.
    pub name: String,
    /// The connector's type.
    pub kind: String,
    /// What the engine does with it.
    pub delivery: Delivery,
    /// How long a commit gathers when the sink is caught up.
    pub linger: Duration,
    /// The sink itself, not open yet.
    pub sink: Box<dyn Sink>,
}

/// What a worker is asked.
pub(super) enum Ask {
    /// Copy these tables anew; answered with those that are.
    Copy {
        tables: Vec<TableId>,
        reply: oneshot::Sender<Result<Vec<TableId>>>,
    },
    /// Commit without lingering, and answer when everything up to `seq` is in the sink and every
    /// table captured since discovery `round` is whole.
    Reach {
        seq: u64,
        round: u64,
        reply: oneshot::Sender<Result<u64>>,
    },
    /// Compare a table with the source.
    Compare {
        table: TableId,
        reply: oneshot::Sender<Result<Difference>>,
    },
}

/// What has been written to the sink since its last commit.
#[derive(Default)]
struct Gathered {
    rows: u64,
    bytes: u64,
    /// When the first change after the last commit came.
    since: Option<Instant>,
    /// The last commit of the stream, if nothing was written after it.
    commit: Option<Checkpoint>,
    /// Whether something was written after `commit`: then the sink cannot be committed.
    open: bool,
}

/// Drives one sink.
pub(super) struct Worker {
    name: String,
    delivery: Delivery,
    linger: Duration,
    sink: Box<dyn Sink>,
    shared: Arc<Shared>,
    board: SinkBoard,
    asks: mpsc::Receiver<Ask>,
    /// Keeps the journal from the sink's checkpoint on; at 0 until that is known.
    pin: Pin,
    committed: watch::Sender<u64>,
    tables: BTreeMap<TableId, Table>,
    round: u64,
    gathered: Gathered,
    checkpoint: Option<Checkpoint>,
    last_commit: Instant,
    commit_took: Duration,
    reaching: Vec<(u64, u64, oneshot::Sender<Result<u64>>)>,
    jobs: JoinSet<()>,
    job_events: mpsc::Receiver<JobEvent>,
    job_sender: mpsc::Sender<JobEvent>,
    ready: Vec<CatchUp>,
    /// Copies that are made only to be compared.
    comparing: BTreeMap<CopyId, (TableId, UnderWay)>,
    /// Copies that jobs hold open, whatever became of their tables.
    held: BTreeSet<CopyId>,
    backoff: Backoff,
}

impl Worker {
    pub(super) fn new(
        parts: SinkParts,
        shared: Arc<Shared>,
        board: SinkBoard,
        asks: mpsc::Receiver<Ask>,
    ) -> Self {
        let (job_sender, job_events) = mpsc::channel(64);
        let pin = shared.journal.pin(parts.name.clone(), 0);
        Self {
            name: parts.name,
            delivery: parts.delivery,
            linger: parts.linger,
            sink: parts.sink,
            shared,
            board,
            asks,
            pin,
            committed: watch::channel(0).0,
            tables: BTreeMap::new(),
            round: 0,
            gathered: Gathered::default(),
            checkpoint: None,
            last_commit: Instant::now(),
            commit_took: Duration::ZERO,
            reaching: Vec::new(),
            jobs: JoinSet::new(),
            job_events,
            job_sender,
            ready: Vec::new(),
            comparing: BTreeMap::new(),
            held: BTreeSet::new(),
            backoff: Backoff::default(),
        }
    }

    /// Runs until stopped, trying again after errors; gives up only where another instance has
    /// taken the sink over, or a gap would open.
    pub(super) async fn run(mut self, stop: CancellationToken) -> Result<()> {
        let mut pinned = None;
        loop {
            let error = match self.session(&stop, pinned).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            pinned = self.pin_copies()?;
            self.jobs.abort_all();
            while self.jobs.join_next().await.is_some() {}
            self.ready.clear();
            if let Some(table) = error.table().filter(|_| !error.is_transient())
                && self.delivery.on_table_error == OnTableError::Continue
            {
                self.stop_table(table, &error)?;
                continue;
            }
            if self.checkpoint.is_none()
                && matches!(error.kind(), ErrorKind::Config | ErrorKind::Auth)
            {
                // Who starts a daemon wants to see at once what only they can mend.
                self.board.state(SinkState::Failed, Some(&error));
                return Err(error.context(format!("sink {}", self.name)));
            }
            if matches!(error.kind(), ErrorKind::Fenced | ErrorKind::LogLost) {
                self.give_up(&error, &stop).await;
                return Err(error.context(format!("sink {}", self.name)));
            }
            let pause = self.backoff.next();
            tracing::warn!(sink = %self.name, error = %error, hint = error.hint_text(),
                retry_in = ?pause, "sink is interrupted");
            self.board.state(SinkState::Retrying, Some(&error));
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                () = self.shared.pause_before_retry(pause) => {}
            }
        }
    }

    /// Tells what happened and refuses whatever is asked until the end.
    async fn give_up(&mut self, error: &Error, stop: &CancellationToken) {
        tracing::error!(sink = %self.name, error = %error, hint = error.hint_text(), "sink has stopped");
        self.board.state(SinkState::Failed, Some(error));
        let refuse = || {
            let refusal = Error::data(format!("sink has stopped: {error}"));
            match error.hint_text() {
                Some(hint) => refusal.hint(hint),
                None => refusal,
            }
        };
        for (_, _, reply) in self.reaching.drain(..) {
            let _ = reply.send(Err(refuse()));
        }
        loop {
            let ask = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                ask = self.asks.recv() => ask,
            };
            let _ = match ask {
                None => return,
                Some(Ask::Copy { reply, .. }) => reply.send(Err(refuse())).is_ok(),
                Some(Ask::Reach { reply, .. }) => reply.send(Err(refuse())).is_ok(),
                Some(Ask::Compare { reply, .. }) => reply.send(Err(refuse())).is_ok(),
            };
        }
    }

    async fn session(&mut self, stop: &CancellationToken, pinned: Option<Pin>) -> Result<()> {
        let mut cursor = self.open().await?;
        drop(pinned);
        let mut captured = self.shared.captured.subscribe();
        captured.mark_changed();
        let mut paused = self.shared.paused.subscribe();
        self.board.state(SinkState::Running, None);
        let mut scheduled = self.next_scheduled();
        loop {
            let resting = *paused.borrow_and_update();
            if resting {
                self.board.state(SinkState::Paused, None);
            }
            let due = self.due().filter(|_| !resting);
            tokio::select! {
               biased;
                () = stop.cancelled() => return self.finish().await,
                Ok(()) = paused.changed() => {
                    if !*paused.borrow() {
                        self.board.state(SinkState::Running, None);
                    }
                }
                Some(ask) = self.asks.recv() => self.ask(ask)?,
                Some(event) = self.job_events.recv(), if !resting => self.job_event(event).await?,
                Ok(()) = captured.changed() => {
                    let tables = Arc::clone(&captured.borrow_and_update());
                    self.take_up(&tables).await?;
                }
                () = until(due) => self.commit().await?,
                () = tokio::time::sleep(Duration::from_secs(1)),
                    if self.gathered.open && self.gathered.commit.is_some() =>
                {
                    self.give_way()?;
                }
                () = until(scheduled) => {
                    scheduled = self.next_scheduled();
                    self.copy_all_anew()?;
                }
                event = cursor.next(), if !resting => self.event(&*event?).await?,
            }
        }
    }

    /// Opens the sink, reads it back, and gives a cursor at its checkpoint.
    async fn open(&mut self) -> Result<Cursor> {
        self.gathered = Gathered::default();
        self.board.view().reader = None;
        self.sink.open().await?;
        let checkpoint = match self.sink.committed().await? {
            Some(checkpoint) => checkpoint,
            None => self.begin().await?,
        };
        self.read_back_tables().await?;
        self.resume_copies().await?;
        let cursor = self
            .shared
            .journal
            .cursor(checkpoint.seq)
            .map_err(|error| match error.kind() {
                ErrorKind::LogLost => error.hint(format!(
                    "the sink is older than the journal: restore a newer copy of it, or empty it \
                     so that its tables are copied anew (sink `{}`)",
                    self.name
                )),
                _ => error,
            })?;
        self.board.view().reader = self.sink.reader();
        self.reached(checkpoint);
        Ok(cursor)
    }

    /// A sink that has never held anything starts where the journal ends now.
    async fn begin(&mut self) -> Result<Checkpoint> {
        let start = self
            .shared
            .journal
            .tail()
            .borrow()
            .clone()
            .ok_or_else(|| Error::internal("the journal has no start"))?;
        tracing::info!(sink = %self.name, seq = start.seq, "sink is new");
        let (name, delivery) = (&self.name, &self.delivery);
        adopt::not_too_late(&self.shared, (name, delivery))?;
        adopt::first_commit(&self.shared, name, delivery, self.sink.as_mut(), &start).await?;
        Ok(start)
    }

    /// The sink holds everything up to `checkpoint`.
    fn reached(&mut self, checkpoint: Checkpoint) {
        self.pin.advance(checkpoint.seq);
        self.shared.acknowledger.sink(&self.name, &checkpoint);
        self.committed.send_replace(checkpoint.seq);
        self.board.view().checkpoint = Some(checkpoint.clone());
        self.last_commit = Instant::now();
        self.checkpoint = Some(checkpoint);
        self.answer_reached();
    }

    fn seq(&self) -> u64 {
        self.checkpoint.as_ref().map_or(0, |at| at.seq)
    }

    async fn event(&mut self, event: &ChangeEvent) -> Result<()> {
        if self.must_commit_first(event) {
            self.commit().await?;
        }
        match event {
            ChangeEvent::Rows(batch) => self.rows(batch).await,
            ChangeEvent::Truncate {
                tables,
                seq,
                commit_time,
            } => {
                self.note_change();
                for table in tables {
                    if let Some(schema) = self.routed(*table) {
                        self.sink.truncate(&schema, *seq, *commit_time).await?;
                    }
                }
                Ok(())
            }
            ChangeEvent::Notice(notice) => {
                self.note_change();
                if notice.seq > self.seq() {
                    self.sink.notice(notice).await?;
                    self.gathered.bytes += notice.bytes() as u64;
                }
                Ok(())
            }
            ChangeEvent::Failed {
                table,
                message,
                hint,
                ..
            } => {
                self.note_change();
                match self.routed(*table) {
                    None => Ok(()),
                    Some(_) => Err(Error::data(message.as_str())
                        .hint(hint.as_str())
                        .for_table(*table)),
                }
            }
            ChangeEvent::Commit(checkpoint) => {
                if checkpoint.seq < self.seq() {
                    return Ok(());
                }
                if checkpoint.seq > self.seq() && self.gathered.since.is_none() {
                    self.note_change();
                }
                self.gathered.open = false;
                self.gathered.commit = Some(checkpoint.clone());
                if self.is_full() {
                    self.commit().await?;
                }
                Ok(())
            }
            // A shape reaches the sink with the first rows that need it: what a copy has taken
            // from a later snapshot is never set back by an earlier shape.
            ChangeEvent::Schema(_) | ChangeEvent::Mark { .. } => Ok(()),
        }
    }

    async fn rows(&mut self, batch: &ChangeBatch) -> Result<()> {
        self.note_change();
        let Some(applied) = self.routed(batch.table.id) else {
            return Ok(());
        };
        if !Arc::ptr_eq(&applied, &batch.table) {
            if !applied.same_shape(&batch.table) {
                self.sink.apply_schema(&batch.table).await?;
            }
            self.set_schema(&batch.table);
        }
        self.sink.write(batch).await?;
        self.gathered.rows += batch.len() as u64;
        self.gathered.bytes += batch.bytes() as u64;
        Ok(())
    }

    fn note_change(&mut self) {
        // Rows that are passed over count as well: a table that joins at a commit must not have
        // had rows read past it.
        self.gathered.open = true;
        self.gathered.since.get_or_insert_with(Instant::now);
    }

    /// Changes of the next transactions must not join a commit that is due.
    fn must_commit_first(&self, event: &ChangeEvent) -> bool {
        !matches!(event, ChangeEvent::Commit(_) | ChangeEvent::Schema(_))
            && self.gathered.commit.is_some()
            && !self.gathered.open
            && (self.is_full()
                || self.due().is_some_and(|due| due <= Instant::now())
                || self.shared.journal.stats().full)
    }

    fn is_full(&self) -> bool {
        self.gathered.rows >= self.delivery.max_rows
            || self.gathered.bytes >= self.delivery.max_bytes.0
    }

    /// A full journal inside a transaction that this sink has begun: what came before it must be
    /// committed first, or neither can go on. So the transaction is given up, and comes again.
    fn give_way(&self) -> Result<()> {
        if self.shared.journal.stats().full {
            return Err(Error::transient(
                "the journal is full in the middle of a transaction: it is begun again",
            )
            .hint("raise journal.max_bytes above the largest transaction"));
        }
        Ok(())
    }

    /// When to commit what is gathered; `None` while nothing can be.
    ///
    /// Gathering takes at least half as long as the last commit did: a change waits for the commit that
    /// is under way, and for its own. Under a backlog commits grow: then it takes twice as long, so
    /// that at most a third of the time goes into commits, and until a share of the backlog is gathered.
    fn due(&self) -> Option<Instant> {
        let commit = self.gathered.commit.as_ref()?;
        if self.gathered.open {
            return None;
        }
        match self.gathered.since {
            Some(since) => {
                let behind = self.behind(commit.seq);
                let gathered = commit.seq.saturating_sub(self.seq());
                let grown = match behind {
                    0 => self.commit_took / 2,
                    _ if gathered < behind / SHARE => STEP.max(self.commit_took * 2),
                    _ => self.commit_took * 2,
                };
                let grown = grown.min(Duration::from_secs(10));
                if self.reaching.is_empty() {
                    Some(since + self.linger.max(grown))
                } else if behind > 0 {
                    Some(since + grown)
                } else {
                    Some(since)
                }
            }
            None => {
                let moved = self
                    .checkpoint
                    .as_ref()
                    .is_none_or(|at| at.position != commit.position);
                moved.then(|| self.last_commit + self.shared.settings.idle_interval)
            }
        }
    }

    /// How many changes more than what is gathered the journal has. Who waits for the sink then
    /// gets there sooner by commits that grow than by one for each commit of the stream.
    fn behind(&self, gathered: u64) -> u64 {
        let tail = self.shared.journal.tail();
        let tail = tail.borrow();
        tail.as_ref()
            .map_or(0, |tail| tail.seq.saturating_sub(gathered))
    }

    async fn commit(&mut self) -> Result<()> {
        let Some(checkpoint) = self.gathered.commit.clone() else {
            return Ok(());
        };
        let started = Instant::now();
        self.leave_stopped().await?;
        self.sink.commit(&checkpoint).await?;
        self.commit_took = started.elapsed();
        self.left();
        self.backoff.reset();
        {
            let mut view = self.board.view();
            view.rows_applied += self.gathered.rows;
            view.commits += 1;
        }
        tracing::debug!(sink = %self.name, seq = checkpoint.seq, rows = self.gathered.rows,
            bytes = self.gathered.bytes, took = ?self.commit_took, "committed");
        self.gathered = Gathered::default();
        self.reached(checkpoint);
        self.join_ready().await?;
        if let Err(error) = self.sink.maintain().await {
            tracing::warn!(sink = %self.name, error = %error, "maintenance failed");
        }
        Ok(())
    }

    /// A stop: commits what is whole, gives up the rest; it comes again.
    async fn finish(&mut self) -> Result<()> {
        self.jobs.abort_all();
        while self.jobs.join_next().await.is_some() {}
        if !self.gathered.open && self.gathered.since.is_some() {
            self.commit().await?;
        }
        self.sink.rollback().await
    }

    fn ask(&mut self, ask: Ask) -> Result<()> {
        match ask {
            Ask::Copy { tables, reply } => {
                let copied = self.copy_anew(&tables);
                let _ = reply.send(copied);
                Ok(())
            }
            Ask::Reach { seq, round, reply } => {
                self.reaching.push((seq, round, reply));
                self.answer_reached();
                Ok(())
            }
            Ask::Compare { table, reply } => self.compare(table, reply),
        }
    }

    /// Answers those who wait, as far as the sink has got.
    fn answer_reached(&mut self) {
        let seq = self.seq();
        let waiting = std::mem::take(&mut self.reaching);
        for (wanted, round, reply) in waiting {
            if reply.is_closed() {
                continue;
            }
            if let Some(stopped) = self.tables.values().find_map(Table::stopped) {
                let _ = reply.send(Err(stopped));
            } else if seq >= wanted
                && self.round >= round
                && self.tables.values().all(Table::is_joined)
            {
                let _ = reply.send(Ok(seq));
            } else {
                self.reaching.push((wanted, round, reply));
            }
        }
    }
}

/// At `instant`, or never.
async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

impl Captured {
    /// The captured tables that a sink takes.
    pub(super) fn taken<'a>(
        &'a self,
        delivery: &'a Delivery,
    ) -> impl Iterator<Item = &'a Arc<cdc_api::TableSchema>> {
        self.tables.iter().filter(|table| {
            delivery
                .tables
                .as_ref()
                .is_none_or(|tables| tables.matches(&table.name))
        })
    }
}
