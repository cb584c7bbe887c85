//! The writer thread: the only one that changes the journal's files once it is open.
//!
//! It writes what is appended, in order; syncs when somebody waits for it, when much is pending
//! or when the oldest of it has waited for [`SYNC_AFTER`]; removes what retention lets go. While
//! the disk refuses, it keeps everything in memory and tries again every [`RETRY_AFTER`].

use std::fs;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use cdc_api::{ChangeEvent, Error, Result};
use tokio::time::Instant;

use super::appender::Appender;
use super::disk::Disk;
use super::event;
use super::intake::Intake;
use super::shared::{Inner, Problem, Reset, Shared, closed};

const SYNC_AFTER: Duration = Duration::from_millis(200);
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// How often segments that are kept for their age alone are looked at.
const AGE_EVERY: Duration = Duration::from_secs(10);
/// Bytes of events, as in memory, that are written at a time.
const WRITE: usize = 4 << 20;

pub(super) struct Writer {
    shared: Arc<Shared>,
    disk: Arc<dyn Disk>,
    appender: Option<Appender>,
    /// When the oldest event that is written and not durable was written.
    dirty: Option<Instant>,
    /// Bytes, as in memory, that are written and not durable.
    unsynced: usize,
    /// A sync has failed: the files are to be read again before anything is written.
    distrust: bool,
    retry_at: Option<Instant>,
    /// When segments were last looked at for removal.
    retained_at: Instant,
    /// Not to be looked at again before.
    retain_after: Instant,
}

enum Job {
    Restore,
    Write(Vec<Arc<ChangeEvent>>),
    Sync,
    Retain,
    Reset(Reset),
    End,
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        disk: Arc<dyn Disk>,
        appender: Option<Appender>,
    ) -> Self {
        Self {
            shared,
            disk,
            appender,
            dirty: None,
            unsynced: 0,
            distrust: false,
            retry_at: None,
            retained_at: Instant::now(),
            retain_after: Instant::now(),
        }
    }

    /// Works on its own thread until the journal is closed.
    pub(super) fn run(mut self) {
        // However the thread ends, nobody waits for it any more.
        let _ended = Ended(Arc::clone(&self.shared));
        let shared = Arc::clone(&self.shared);
        loop {
            let mut inner = shared.lock();
            let job = loop {
                let now = Instant::now();
                match self.next(&mut inner, now) {
                    Ok(job) => break job,
                    Err(wake) => {
                        let limit = wake.map(|at| at.saturating_duration_since(now));
                        inner = shared.work.wait(inner, limit);
                    }
                }
            };
            drop(inner);
            if !self.perform(job) {
                return;
            }
        }
    }

    /// The same as a task, which is over when it is dropped: [`super::Work::InPlace`].
    pub(super) async fn run_in_place(mut self) {
        let _ended = Ended(Arc::clone(&self.shared));
        let shared = Arc::clone(&self.shared);
        loop {
            let next = self.next(&mut shared.lock(), Instant::now());
            match next {
                Ok(job) => {
                    if !self.perform(job) {
                        return;
                    }
                    // Others may come between two jobs, as they do beside a thread.
                    tokio::task::yield_now().await;
                }
                Err(None) => shared.work.rung().await,
                Err(Some(wake)) => {
                    tokio::select! {
                        biased;
                        () = shared.work.rung() => {}
                        () = tokio::time::sleep_until(wake) => {}
                    }
                }
            }
        }
    }

    /// `false` when there is nothing more to do, ever.
    fn perform(&mut self, job: Job) -> bool {
        let done = match job {
            Job::Restore => self.restore(),
            Job::Write(events) => self.write(&events),
            Job::Sync => self.sync().map(|()| self.settle()),
            Job::Retain => {
                self.retain();
                Ok(())
            }
            Job::Reset(reset) => {
                let outcome = self.reset(&reset);
                // The caller may have gone.
                let _ = reset.done.send(outcome);
                Ok(())
            }
            Job::End => return false,
        };
        if let Err(error) = done {
            self.fail(&error);
        }
        true
    }

    /// What to do next, or when to look again.
    fn next(&mut self, inner: &mut Inner, now: Instant) -> Result<Job, Option<Instant>> {
        if let Some(reset) = inner.reset.take() {
            return Ok(Job::Reset(reset));
        }
        let held = inner.dropped.len();
        inner.dropped.retain(|&(until, _)| until > now);
        inner.retention_due |= inner.dropped.len() < held;
        if now >= self.retain_after && (inner.retention_due || self.aged(inner, now)) {
            inner.retention_due = false;
            self.retained_at = now;
            return Ok(Job::Retain);
        }
        let resting = self.retry_at.filter(|&at| at > now);
        if inner.closing && (resting.is_some() || inner.synced == inner.next_index()) {
            return Ok(Job::End);
        }
        if resting.is_none()
            && let Some(job) = self.due(inner, now)
        {
            return Ok(job);
        }
        let wake = [
            resting,
            self.dirty
                .map(|since| since + SYNC_AFTER)
                .filter(|&at| at > now),
            inner.retention_due.then_some(self.retain_after),
            inner.dropped.iter().map(|&(until, _)| until).min(),
            (!self.shared.config.keep.is_zero()).then(|| self.retained_at + AGE_EVERY),
        ];
        Err(wake.into_iter().flatten().min())
    }

    /// What there is to write or to sync.
    fn due(&self, inner: &Inner, now: Instant) -> Option<Job> {
        if self.distrust {
            return Some(Job::Restore);
        }
        let dirty = inner.written > inner.synced;
        let wanted = inner.flush_wanted > inner.synced && inner.written >= inner.flush_wanted;
        let waited = self.dirty.is_some_and(|since| now >= since + SYNC_AFTER);
        let much = self.unsynced >= self.shared.config.memory_bytes / 2;
        let rest = inner.next_index() - inner.written;
        if dirty && (wanted || waited || much || inner.closing && rest == 0) {
            return Some(Job::Sync);
        }
        (rest > 0).then(|| Job::Write(inner.held(inner.written, WRITE)))
    }

    fn appender(&mut self) -> Result<&mut Appender> {
        self.appender
            .as_mut()
            .ok_or_else(|| Error::internal("the journal has no start yet"))
    }

    fn write(&mut self, events: &[Arc<ChangeEvent>]) -> Result<()> {
        let segment_bytes = self.shared.config.segment_limit();
        if self.appender()?.is_grown(segment_bytes) {
            self.sync()?;
            let segment = self.appender()?.roll()?;
            let mut inner = self.shared.lock();
            inner.retained.roll(segment, SystemTime::now());
        }
        let appender = self.appender()?;
        appender.write(events)?;
        let (offset, index) = (appender.offset, appender.next_index);
        self.dirty.get_or_insert_with(Instant::now);
        self.unsynced += events
            .iter()
            .map(|event| event::memory(event))
            .sum::<usize>();
        let mut inner = self.shared.lock();
        inner.written = index;
        inner.retained.set_written(offset);
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        let appender = self.appender()?;
        if let Err(error) = appender.sync() {
            self.distrust = true;
            return Err(error);
        }
        let (offset, index) = (appender.offset, appender.next_index);
        let (tail, tail_index) = (appender.tail.clone(), appender.tail_index);
        self.dirty = None;
        self.unsynced = 0;
        {
            let mut inner = self.shared.lock();
            inner.set_synced(index, self.shared.config.memory_bytes);
            inner.retained.set_durable(offset, tail.seq, tail_index);
            if inner.unneeded() > 0 {
                inner.retention_due = true;
            }
        }
        self.shared.durable.send_if_modified(|durable| {
            let moved = durable.as_ref() != Some(&tail);
            *durable = Some(tail);
            moved
        });
        self.shared.changed.notify_waiters();
        Ok(())
    }

    /// After a failed sync: what was not durable is to be written again, from memory.
    fn restore(&mut self) -> Result<()> {
        let appender = self.appender()?;
        appender.restore()?;
        let (offset, index) = (appender.offset, appender.next_index);
        self.distrust = false;
        self.dirty = None;
        self.unsynced = 0;
        let mut inner = self.shared.lock();
        debug_assert_eq!(index, inner.synced, "the files end where they were durable");
        inner.written = index;
        inner.retained.set_written(offset);
        Ok(())
    }

    fn fail(&mut self, error: &Error) {
        self.retry_at = Some(Instant::now() + RETRY_AFTER);
        let problem = Problem::new(error);
        let mut inner = self.shared.lock();
        if inner.problem.is_none() {
            tracing::error!(
                error = %problem,
                "journal cannot be written, source is not read on; trying again every second"
            );
        }
        inner.problem = Some(problem);
        drop(inner);
        self.shared.changed.notify_waiters();
    }

    /// The disk works.
    fn settle(&mut self) {
        if self.retry_at.take().is_some() {
            self.shared.lock().problem = None;
            self.shared.changed.notify_waiters();
            tracing::info!("journal can be written again");
        }
    }

    fn aged(&self, inner: &Inner, now: Instant) -> bool {
        !self.shared.config.keep.is_zero()
            && now >= self.retained_at + AGE_EVERY
            && inner.unneeded() > 0
    }

    /// Removes segments that nobody needs: those older than `keep`, and more where the journal is
    /// too large.
    fn retain(&mut self) {
        let config = &self.shared.config;
        let mut removed = {
            let mut inner = self.shared.lock();
            let unneeded = inner.unneeded();
            inner
                .retained
                .remove(unneeded, config.keep, config.max_bytes)
        };
        removed.reverse();
        while let Some(segment) = removed.last() {
            if let Err(error) = fs::remove_file(&segment.path) {
                tracing::warn!(%error, path = %segment.path.display(), "segment cannot be removed");
                // An unbroken row of segments is left: a gap would look like damage later.
                self.retain_after = Instant::now() + RETRY_AFTER;
                let mut inner = self.shared.lock();
                inner.retention_due = true;
                removed.reverse();
                inner.retained.put_back(removed);
                break;
            }
            removed.pop();
        }
        self.shared.changed.notify_waiters();
    }

    fn reset(&mut self, reset: &Reset) -> Result<()> {
        let config = &self.shared.config;
        let (generation, first_index) = {
            let inner = self.shared.lock();
            (inner.generation + 1, inner.next_index())
        };
        let (appender, segment) = Appender::begin(
            &config.dir,
            Arc::clone(&self.disk),
            config.compression,
            generation,
            first_index,
            &reset.start,
        )?;
        self.appender = Some(appender);
        self.dirty = None;
        self.unsynced = 0;
        self.distrust = false;
        let old = {
            let mut inner = self.shared.lock();
            inner.generation = generation;
            inner.started = true;
            inner.intake = Intake::new(reset.start.seq, Default::default());
            inner.ring.clear();
            inner.ring_start = first_index;
            inner.ring_bytes = 0;
            inner.pending_bytes = 0;
            inner.written = first_index;
            inner.synced = first_index;
            inner.retained.restart(segment)
        };
        for segment in old {
            // A left-over of an older generation is removed when the journal is opened.
            if let Err(error) = fs::remove_file(&segment.path) {
                tracing::warn!(%error, path = %segment.path.display(), "segment cannot be removed");
            }
        }
        self.shared.tail.send_replace(Some(reset.start.clone()));
        self.shared.durable.send_replace(Some(reset.start.clone()));
        self.shared.appended.send_replace(first_index);
        self.settle();
        self.shared.changed.notify_waiters();
        Ok(())
    }
}

/// Tells everyone that the writer has ended.
struct Ended(Arc<Shared>);

impl Drop for Ended {
    fn drop(&mut self) {
        let mut inner = self.0.lock();
        inner.closed = true;
        if let Some(reset) = inner.reset.take() {
            // The caller may have gone.
            let _ = reset.done.send(Err(closed()));
        }
        drop(inner);
        self.0.changed.notify_waiters();
        self.0.appended.send_modify(|_| {});
    }
}
