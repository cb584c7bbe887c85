//! What each part tells of itself while it runs; the status and the metrics are read from here.
//!
//! Invariant: locks are held for a few assignments, never across an await.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cdc_api::{Checkpoint, Error, Reader, TableId, TableName};
use tokio::time::Instant;

use crate::admin::status::{Problem, SinkState, SourceState, TableState, TableStatus};

/// A sink's worker, seen from outside.
#[derive(Clone)]
pub(super) struct SinkBoard(Arc<Mutex<SinkView>>);

/// What a sink's worker tells.
pub(super) struct SinkView {
    pub(super) state: SinkState,
    pub(super) error: Option<Problem>,
    pub(super) checkpoint: Option<Checkpoint>,
    pub(super) rows_applied: u64,
    pub(super) commits: u64,
    pub(super) tables: BTreeMap<TableId, TableView>,
    /// Reads what is committed; there while the sink is open.
    pub(super) reader: Option<Arc<dyn Reader>>,
}

/// What a sink's worker tells of one table.
#[derive(Debug, Clone)]
pub(super) struct TableView {
    pub(super) name: TableName,
    pub(super) state: TableState,
    pub(super) error: Option<Problem>,
    pub(super) meter: Option<Arc<Meter>>,
}

impl SinkBoard {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(SinkView {
            state: SinkState::Starting,
            error: None,
            checkpoint: None,
            rows_applied: 0,
            commits: 0,
            tables: BTreeMap::new(),
            reader: None,
        })))
    }

    pub(super) fn view(&self) -> MutexGuard<'_, SinkView> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the state; an error is kept until the sink runs again.
    pub(super) fn state(&self, state: SinkState, error: Option<&Error>) {
        let mut view = self.view();
        view.state = state;
        match error {
            Some(error) => view.error = Some(error.into()),
            None if state == SinkState::Running => view.error = None,
            None => {}
        }
    }
}

/// The capture task, seen from outside.
#[derive(Debug, Clone)]
pub(super) struct SourceBoard(Arc<Mutex<SourceView>>);

/// What the capture task tells.
#[derive(Debug)]
pub(super) struct SourceView {
    pub(super) state: SourceState,
    pub(super) error: Option<Problem>,
    pub(super) identity: Option<String>,
    pub(super) read: u64,
    pub(super) server: u64,
    /// The last commit given.
    pub(super) commit: Option<Checkpoint>,
    pub(super) acknowledged: Option<String>,
}

impl SourceBoard {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(SourceView {
            state: SourceState::Connecting,
            error: None,
            identity: None,
            read: 0,
            server: 0,
            commit: None,
            acknowledged: None,
        })))
    }

    pub(super) fn view(&self) -> MutexGuard<'_, SourceView> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn state(&self, state: SourceState, error: Option<&Error>) {
        let mut view = self.view();
        view.state = state;
        view.error = match error {
            Some(error) => Some(error.into()),
            None if state == SourceState::Streaming => None,
            None => view.error.take(),
        };
    }
}

/// How far a copy is.
#[derive(Debug)]
pub(super) struct Meter {
    started: Instant,
    /// Rows that were there when this process took the copy up, so that the rate is of now.
    resumed: AtomicU64,
    pub(super) rows_done: AtomicU64,
    pub(super) rows_total: AtomicU64,
    pub(super) bytes_done: AtomicU64,
    pub(super) bytes_total: AtomicU64,
}

impl Meter {
    pub(super) fn start() -> Arc<Self> {
        Arc::new(Self {
            started: Instant::now(),
            resumed: AtomicU64::new(0),
            rows_done: AtomicU64::new(0),
            rows_total: AtomicU64::new(0),
            bytes_done: AtomicU64::new(0),
            bytes_total: AtomicU64::new(0),
        })
    }

    /// Counts rows that an earlier process has copied.
    pub(super) fn resume(&self, rows: u64, bytes: u64) {
        self.resumed.fetch_add(rows, Ordering::Relaxed);
        self.rows_done.fetch_add(rows, Ordering::Relaxed);
        self.bytes_done.fetch_add(bytes, Ordering::Relaxed);
    }

    fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

impl TableView {
    /// What `cdc status` shows.
    pub(super) fn status(&self, id: TableId) -> TableStatus {
        let mut status = TableStatus {
            id: id.0,
            schema: self.name.schema.clone(),
            table: self.name.table.clone(),
            state: self.state,
            rows_done: 0,
            rows_total: None,
            bytes_done: 0,
            bytes_total: None,
            percent: None,
            rate_rows_per_second: None,
            seconds_left: None,
            error: self.error.clone(),
        };
        let Some(meter) = &self.meter else {
            return status;
        };
        let done = meter.rows_done.load(Ordering::Relaxed);
        let bytes = meter.bytes_done.load(Ordering::Relaxed);
        let whole = matches!(self.state, TableState::Streaming | TableState::CatchingUp);
        // The totals are the server's statistics: never show more done than there is.
        let total = meter.rows_total.load(Ordering::Relaxed).max(done);
        let total = if whole { done } else { total };
        let bytes_total = meter.bytes_total.load(Ordering::Relaxed).max(bytes);
        status.rows_done = done;
        status.rows_total = Some(total);
        status.bytes_done = bytes;
        status.bytes_total = Some(bytes_total);
        let share = if whole {
            1.0
        } else {
            // Bytes are counted by whole chunks, rows as they come: whichever is further.
            let of = |done: u64, total: u64| match total {
                0 => 0.0,
                total => done as f64 / total as f64,
            };
            of(bytes, bytes_total).max(of(done, total))
        };
        status.percent = Some((share * 1000.0).round() / 10.0);
        if self.state == TableState::Copying {
            let fresh = done.saturating_sub(meter.resumed.load(Ordering::Relaxed));
            let rate = fresh as f64 / meter.elapsed().as_secs_f64().max(0.001);
            status.rate_rows_per_second = Some(rate.round());
            if rate > 0.0 {
                status.seconds_left = Some(((total - done) as f64 / rate).ceil() as u64);
            }
        }
        status
    }
}
