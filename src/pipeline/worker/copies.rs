//! A worker's copies: starts jobs, and lets finished tables join between two commits.
//!
//! Invariant (9): a table joins in a commit of its own at the sink's checkpoint, when its copy
//! holds exactly what the source had at that `seq`.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use cdc_api::{CopyId, Difference, Error, Result, TableId, TableSchema};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::super::board::Meter;
use super::super::catch_up::CatchUp;
use super::super::job::{CopyPlan, Job, JobEvent, Purpose, Wanted, failed};
use super::Worker;
use super::tables::UnderWay;
use crate::journal::Pin;
use crate::state::{Phase, TableState};

impl Worker {
    /// Copies tables that the sink does not have.
    pub(super) fn copy_tables(&mut self, tables: Vec<Arc<TableSchema>>) -> Result<()> {
        if tables.is_empty() {
            return Ok(());
        }
        let mut wanted = Vec::new();
        for table in tables {
            wanted.push(self.want(table, None, None, Purpose::Join)?);
        }
        self.start_job(wanted);
        Ok(())
    }

    /// Copies tables anew, as the operator asked; those already being copied stay as they are.
    pub(super) fn copy_anew(&mut self, ids: &[TableId]) -> Result<Vec<TableId>> {
        let captured = Arc::clone(&self.shared.captured.borrow());
        let delivery = self.delivery.clone();
        let tables: Vec<_> = captured
            .taken(&delivery)
            .filter(|table| ids.contains(&table.id))
            .filter(|table| {
                self.tables
                    .get(&table.id)
                    .is_none_or(|known| known.copy.is_none())
            })
            .cloned()
            .collect();
        let copied = tables.iter().map(|table| table.id).collect();
        for table in &tables {
            let mut state = self
                .shared
                .state
                .table(&self.name, table.id)?
                .unwrap_or_else(|| TableState::pending(table.id, table.name.clone()));
            state.requested = true;
            self.shared.state.save_tables(&self.name, &[state])?;
        }
        self.copy_tables(tables)?;
        Ok(copied)
    }

    /// When every table is to be copied anew by the clock.
    pub(super) fn next_scheduled(&self) -> Option<Instant> {
        let schedule = self.delivery.snapshot.schedule?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
        Some(Instant::now() + schedule.next_after(now).saturating_sub(now))
    }

    /// Copies every table anew, as the schedule asks.
    pub(super) fn copy_all_anew(&mut self) -> Result<()> {
        let captured = Arc::clone(&self.shared.captured.borrow());
        let ids: Vec<_> = captured.tables.iter().map(|table| table.id).collect();
        tracing::info!(sink = %self.name, "scheduled snapshot begins");
        self.copy_anew(&ids).map(|_| ())
    }

    /// Compares a joined table with the source, by a copy of its own.
    pub(super) fn compare(
        &mut self,
        id: TableId,
        reply: oneshot::Sender<Result<Difference>>,
    ) -> Result<()> {
        if !self.sink.capabilities().compare {
            let _ = reply.send(Err(Error::unsupported("this sink cannot compare content")));
            return Ok(());
        }
        let Some(table) = self.routed(id) else {
            let _ = reply.send(Err(Error::data("the table is not whole in this sink")
                .hint("wait for its copy: `cdc status`")));
            return Ok(());
        };
        let copy = self.shared.state.next_copy()?;
        let (under_way, unwanted) = UnderWay::new(copy);
        self.comparing.insert(copy, (id, under_way));
        let wanted = Wanted {
            table,
            id: copy,
            plan: None,
            purpose: Purpose::Compare(reply),
            meter: Meter::start(),
            pin: self
                .shared
                .journal
                .pin(format!("{} verify", self.name), self.seq()),
            unwanted,
        };
        self.start_job(vec![wanted]);
        Ok(())
    }

    /// Takes up the copies that an earlier process, or session, left unfinished; discards those
    /// that nobody will finish.
    pub(super) async fn resume_copies(&mut self) -> Result<()> {
        while self.job_events.try_recv().is_ok() {}
        self.comparing.clear();
        self.held.clear();
        let mut wanted = Vec::new();
        let mut keep = Vec::new();
        for state in self.shared.state.tables(&self.name)? {
            let (Some(id), Some(schema)) = (state.copy, state.schema) else {
                continue;
            };
            if state.phase == Phase::Failed {
                continue;
            }
            keep.push(id);
            let plan = CopyPlan {
                table: Arc::clone(&schema),
                chunks: state.chunks,
                point: state.from_seq.unwrap_or(0),
                generation: state.generation.unwrap_or(0),
            };
            wanted.push(self.want(
                schema,
                Some((id, state.from_seq.unwrap_or(0))),
                Some(plan),
                Purpose::Join,
            )?);
        }
        self.sink.discard_copies(&keep).await?;
        self.start_job(wanted);
        Ok(())
    }

    fn want(
        &mut self,
        table: Arc<TableSchema>,
        resumed: Option<(CopyId, u64)>,
        plan: Option<CopyPlan>,
        purpose: Purpose,
    ) -> Result<Wanted> {
        let (id, from) = match resumed {
            Some(resumed) => resumed,
            // The copy's point will be later than what the journal has now.
            None => (
                self.shared.state.next_copy()?,
                self.shared
                    .journal
                    .tail()
                    .borrow()
                    .as_ref()
                    .map_or(0, |tail| tail.seq),
            ),
        };
        if plan.is_none() {
            let since = self.shared.captured.borrow().since.get(&table.id).copied();
            self.shared.state.set_value(
                &self.captured_key("copying", table.id),
                since.map(|since| since.to_string()).as_deref(),
            )?;
        }
        let meter = Meter::start();
        let entry = self
            .tables
            .entry(table.id)
            .or_insert_with(|| super::Table::new(table.name.clone()));
        let (under_way, unwanted) = UnderWay::new(id);
        entry.copy = Some(under_way);
        entry.phase = Phase::Pending;
        entry.meter = Some(Arc::clone(&meter));
        self.show(table.id);
        Ok(Wanted {
            pin: self
                .shared
                .journal
                .pin(format!("{} {}", self.name, table.name), from),
            table,
            id,
            plan,
            purpose,
            meter,
            unwanted,
        })
    }

    /// Keeps the journal for unfinished copies while no job holds a pin for them.
    pub(super) fn pin_copies(&self) -> Result<Option<Pin>> {
        let states = self.shared.state.tables(&self.name)?;
        let from = states
            .iter()
            .filter(|state| state.copy.is_some())
            .map(|state| state.from_seq.unwrap_or(0))
            .min();
        Ok(from.map(|from| self.shared.journal.pin("interrupted copies", from)))
    }

    fn start_job(&mut self, wanted: Vec<Wanted>) {
        if wanted.is_empty() {
            return;
        }
        while self.jobs.try_join_next().is_some() {}
        let job = Job {
            shared: Arc::clone(&self.shared),
            sink: self.name.clone(),
            upsert: self.sink.capabilities().upsert,
            wanted,
            events: self.job_sender.clone(),
            committed: self.committed.subscribe(),
        };
        self.jobs.spawn(job.run());
    }

    /// Whether this copy is still the one that is under way for its table.
    fn is_current(&self, table: TableId, id: CopyId) -> bool {
        self.tables
            .get(&table)
            .and_then(|known| known.copy.as_ref())
            .is_some_and(|copy| copy.id == id)
    }

    pub(super) async fn job_event(&mut self, event: JobEvent) -> Result<()> {
        match event {
            JobEvent::Open { table, id, reply } => {
                let opened = self.sink.copy(&table, id).await;
                self.held.insert(id);
                let _ = reply.send(opened);
                Ok(())
            }
            JobEvent::Phase {
                table,
                id,
                phase,
                plan,
            } => {
                if !self.is_current(table, id) {
                    return Ok(());
                }
                self.save_phase(table, id, phase, plan)
            }
            JobEvent::Ready(copy) => {
                self.ready.push(*copy);
                if self.gathered.since.is_none() {
                    self.join_ready().await?;
                }
                Ok(())
            }
            JobEvent::Again { table, id, reason } => {
                self.held.remove(&id);
                self.comparing.remove(&id);
                if !self.is_current(table, id) {
                    return self.discard_unused().await;
                }
                tracing::warn!(sink = %self.name, %table, %reason, "copy begins again");
                self.copy_again(table).await
            }
            JobEvent::Stopped { table, id, error } => {
                self.held.remove(&id);
                self.comparing.remove(&id);
                if !self.is_current(table, id) {
                    return self.discard_unused().await;
                }
                self.stop_table(table, &error)?;
                self.discard_unused().await
            }
            JobEvent::Compared { id } => {
                self.held.remove(&id);
                self.comparing.remove(&id);
                self.discard_unused().await
            }
            JobEvent::Trouble { error } => {
                self.board.view().error = Some((&error).into());
                Ok(())
            }
        }
    }

    fn save_phase(
        &mut self,
        id: TableId,
        copy: CopyId,
        phase: Phase,
        plan: Option<CopyPlan>,
    ) -> Result<()> {
        let Some(table) = self.tables.get_mut(&id) else {
            return Ok(());
        };
        table.phase = phase;
        let mut state = self
            .shared
            .state
            .table(&self.name, id)?
            .unwrap_or_else(|| TableState::pending(id, table.name.clone()));
        state.phase = phase;
        state.copy = Some(copy);
        if let Some(plan) = plan {
            state.schema = Some(plan.table);
            state.chunks = plan.chunks;
            state.from_seq.get_or_insert(plan.point);
            state.generation.get_or_insert(plan.generation);
        }
        self.shared.state.save_tables(&self.name, &[state])?;
        self.board.view().error = None;
        self.show(id);
        Ok(())
    }

    /// Begins a table's copy again, from nothing.
    pub(super) async fn copy_again(&mut self, id: TableId) -> Result<()> {
        if let Some(table) = self.tables.get_mut(&id) {
            table.copy = None;
        }
        if let Some(mut state) = self.shared.state.table(&self.name, id)? {
            state.copy = None;
            state.schema = None;
            state.chunks.clear();
            state.from_seq = None;
            state.generation = None;
            self.shared.state.save_tables(&self.name, &[state])?;
        }
        self.discard_unused().await?;
        self.copy_anew(&[id]).map(|_| ())
    }

    async fn discard_unused(&mut self) -> Result<()> {
        let copies = self.tables.values().filter_map(|table| table.copy.as_ref());
        let compared = self.comparing.values().map(|(_, copy)| copy);
        let wanted = copies.chain(compared).map(|copy| copy.id);
        let keep: Vec<CopyId> = wanted.chain(self.held.iter().copied()).collect();
        self.sink.discard_copies(&keep).await
    }

    /// Lets copies that are nearly there join, at the sink's checkpoint. Called between commits.
    pub(super) async fn join_ready(&mut self) -> Result<()> {
        for copy in std::mem::take(&mut self.ready) {
            self.held.remove(&copy.id);
            let wanted = match copy.purpose {
                Purpose::Join => self.is_current(copy.table_id(), copy.id),
                Purpose::Compare(_) => self.comparing.contains_key(&copy.id),
            };
            if wanted {
                self.join_one(copy).await?;
            }
        }
        Ok(())
    }

    async fn join_one(&mut self, mut copy: CatchUp) -> Result<()> {
        let Some(checkpoint) = self.checkpoint.clone() else {
            return Ok(());
        };
        let (table, id) = (copy.table_id(), copy.id);
        if let Err(error) = copy.run_to(checkpoint.seq).await {
            drop(copy);
            return Box::pin(self.job_event(failed(table, id, error))).await;
        }
        let CatchUp {
            id, purpose, table, ..
        } = copy;
        match purpose {
            Purpose::Join => {
                self.sink.join(&table, id).await?;
                self.leave_stopped_but(table.id).await?;
                self.sink.commit(&checkpoint).await?;
                self.left();
                self.joined(&table)?;
                tracing::info!(sink = %self.name, table = %table.name, seq = checkpoint.seq,
                    "table is whole and streams");
                self.answer_reached();
            }
            Purpose::Compare(reply) => {
                let difference = self.sink.compare(&table, id).await;
                let _ = reply.send(difference);
                self.comparing.remove(&id);
                self.discard_unused().await?;
            }
        }
        Ok(())
    }

    async fn leave_stopped_but(&mut self, joining: TableId) -> Result<()> {
        if let Some(table) = self.tables.get_mut(&joining) {
            table.leaving = false;
        }
        self.leave_stopped().await
    }
}
