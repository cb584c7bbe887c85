//! A strict reference [`Sink`] in memory: every breach of the contract by its caller is recorded,
//! and its durable half outlives a kill.
//!
//! Invariant: [`MemoryTarget`] changes only in `commit`, in a chunk's `finish`, in a copy's
//! `commit` and when copies are discarded, each in one step between two awaits. A [`MemorySink`]
//! holds what is only accepted, and dropping it loses that.
//!
//! With a model database at hand the target compares itself with the ground truth at every
//! commit: it is the reader who looks at each commit of a transactional sink.

mod copy;
mod target;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;

use crate::{
    Capabilities, ChangeBatch, Checkpoint, CopyId, Difference, Error, Finding, Identity,
    JoinedTable, Notice, Result, Sink, TableCopy, TableId, TableSchema,
};

use super::content::{Content, Flavour, Refusal};

pub use target::{MemoryTarget, SinkFaults};

use target::Fault;

pub(crate) use target::well_formed;

/// Where a sink's handle stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Not opened.
    Closed,
    /// The checkpoint was not read back since it was opened or rolled back.
    Unread,
    /// Takes events.
    Ready,
    /// Failed: wants a rollback.
    Failed,
}

/// A handle on a [`MemoryTarget`]; one instance at a time.
#[derive(Debug)]
pub struct MemorySink {
    target: MemoryTarget,
    owner: u64,
    stage: Stage,
    /// Tables changed since the last commit.
    pending: BTreeMap<TableId, Content>,
    joins: Vec<(Arc<TableSchema>, CopyId)>,
    adopted: Vec<(Arc<TableSchema>, CopyId)>,
    leaving: BTreeSet<TableId>,
    /// Notices since the last commit, by `seq`.
    notices: Vec<u64>,
    /// The last `seq` given since the last commit, by table.
    given: BTreeMap<TableId, u64>,
}

impl MemorySink {
    pub(super) fn new(target: MemoryTarget) -> Self {
        Self {
            target,
            owner: 0,
            stage: Stage::Closed,
            pending: BTreeMap::new(),
            joins: Vec::new(),
            adopted: Vec::new(),
            leaving: BTreeSet::new(),
            notices: Vec::new(),
            given: BTreeMap::new(),
        }
    }

    fn violation(&self, what: impl std::fmt::Display) {
        self.target.violation(what);
    }

    fn fenced(&self) -> Result<()> {
        if self.stage != Stage::Closed && self.target.owner() != self.owner {
            self.violation("used after another instance was opened");
            return Err(Error::fenced("another instance has taken over"));
        }
        Ok(())
    }

    /// Before everything that belongs to a commit.
    fn ready(&self, what: &str) -> Result<()> {
        self.fenced()?;
        match self.stage {
            Stage::Ready => Ok(()),
            Stage::Closed => {
                self.violation(format_args!("{what} before open"));
                Err(Error::internal("not open"))
            }
            Stage::Unread => {
                self.violation(format_args!("{what} before committed was read back"));
                Ok(())
            }
            Stage::Failed => {
                self.violation(format_args!("{what} after an error, without a rollback"));
                Err(Error::internal("rollback first"))
            }
        }
    }

    fn opened(&self, what: &str) -> Result<()> {
        self.fenced()?;
        if self.stage == Stage::Closed {
            self.violation(format_args!("{what} before open"));
            return Err(Error::internal("not open"));
        }
        Ok(())
    }

    fn failed(&mut self, error: Error) -> Error {
        self.stage = Stage::Failed;
        error
    }

    /// A seeded pause, then perhaps a failure before anything was done.
    async fn before(&mut self, what: &str) -> Result<()> {
        self.target.pause().await;
        if self.target.fault(what) == Some(Fault::Rejected) {
            return Err(self.failed(Error::transient(format!("{what} was rejected"))));
        }
        Ok(())
    }

    fn is_joined(&self, table: TableId) -> bool {
        self.target.is_joined(table) && !self.leaving.contains(&table)
    }

    fn content(&mut self, table: TableId) -> Option<&mut Content> {
        if !self.pending.contains_key(&table) {
            let content = self.target.joined_content(table)?;
            self.pending.insert(table, content);
        }
        self.pending.get_mut(&table)
    }

    /// The joined table's content for a change, checked for its place in the order.
    fn changed(
        &mut self,
        table: TableId,
        first: u64,
        last: u64,
        what: &str,
    ) -> Option<&mut Content> {
        let committed = self.target.checkpoint().map_or(0, |at| at.seq);
        let before = self
            .given
            .get(&table)
            .copied()
            .unwrap_or(committed)
            .max(committed);
        if first <= before {
            self.violation(format_args!(
                "{what} of table {table} with seq {first}, not above {before}"
            ));
        }
        self.given.insert(table, last);
        if self.joins.iter().any(|(joining, _)| joining.id == table) {
            self.violation(format_args!(
                "{what} of table {table} between join and commit"
            ));
        }
        if !self.is_joined(table) {
            self.violation(format_args!("{what} of table {table}, which is not joined"));
            return None;
        }
        self.content(table)
    }
}

/// What a refusal is to the caller of a sink.
fn refused(refusal: Refusal, table: TableId) -> Error {
    match refusal {
        Refusal::NoBase => Error::log_lost("an unchanged column has no row that holds it"),
        Refusal::Conflict(what) => Error::internal(what),
        Refusal::Shape(what) => {
            Error::unsupported(what).hint(format!("run `cdc snapshot` for table {table}"))
        }
    }
    .for_table(table)
}

#[async_trait]
impl Sink for MemorySink {
    fn capabilities(&self) -> Capabilities {
        let mirror = self.target.flavour() == Flavour::Mirror;
        Capabilities {
            upsert: mirror,
            keyless_append: !mirror,
            query: false,
            compare: true,
        }
    }

    async fn check(&mut self) -> Result<Vec<Finding>> {
        Ok(vec![Finding::ok("target", "memory")])
    }

    async fn open(&mut self) -> Result<()> {
        self.target.pause().await;
        if self.target.fault("open").is_some() {
            return Err(Error::transient("open was rejected"));
        }
        self.owner = self.target.take_over();
        self.stage = Stage::Unread;
        self.pending.clear();
        self.joins.clear();
        self.adopted.clear();
        self.notices.clear();
        self.leaving.clear();
        self.given.clear();
        Ok(())
    }

    async fn committed(&mut self) -> Result<Option<Checkpoint>> {
        self.opened("committed")?;
        if self.stage == Stage::Failed {
            self.violation("committed after an error, without a rollback");
        }
        self.before("committed").await?;
        self.fenced()?;
        if self.stage == Stage::Unread {
            self.stage = Stage::Ready;
        }
        Ok(self.target.checkpoint())
    }

    async fn joined(&mut self) -> Result<Vec<JoinedTable>> {
        self.opened("joined")?;
        self.before("joined").await?;
        Ok(self.target.joined())
    }

    async fn apply_schema(&mut self, table: &Arc<TableSchema>) -> Result<()> {
        self.ready("apply_schema")?;
        self.before("apply_schema").await?;
        self.target
            .note(format_args!("schema {} v{}", table.name, table.version));
        if !self.is_joined(table.id) {
            self.violation(format_args!(
                "schema of {}, which is not joined",
                table.name
            ));
            return Err(Error::internal("not joined").for_table(table.id));
        }
        let Some(content) = self.content(table.id) else {
            return Ok(());
        };
        content
            .apply_schema(table)
            .map_err(|refusal| refused(refusal, table.id))
            .map_err(|error| self.failed(error))
    }

    async fn write(&mut self, batch: &ChangeBatch) -> Result<()> {
        self.ready("write")?;
        self.before("write").await?;
        let table = batch.table.id;
        if let Err(what) = target::well_formed(batch) {
            self.violation(what);
        }
        let Some((first, last)) = batch.seq_range() else {
            return Ok(());
        };
        self.target
            .note(format_args!("write {} {first}..={last}", batch.table.name));
        if self.target.refuses_rows_of(table) {
            let error = Error::data("a value cannot be represented")
                .hint("exclude the table")
                .for_table(table);
            return Err(self.failed(error));
        }
        let Some(content) = self.changed(table, first, last, "rows") else {
            return Err(self.failed(Error::internal("not joined").for_table(table)));
        };
        let applied = content.apply(batch, true);
        applied.map_err(|refusal| {
            self.violation(format_args!("{}: {refusal:?}", batch.table.name));
            self.failed(refused(refusal, table))
        })
    }

    async fn notice(&mut self, notice: &Notice) -> Result<()> {
        self.ready("notice")?;
        self.before("notice").await?;
        self.target.note(format_args!("notice {}", notice.seq));
        self.notices.push(notice.seq);
        Ok(())
    }

    async fn truncate(
        &mut self,
        table: &Arc<TableSchema>,
        seq: u64,
        _commit_time: i64,
    ) -> Result<()> {
        self.ready("truncate")?;
        self.before("truncate").await?;
        self.target
            .note(format_args!("truncate {} {seq}", table.name));
        match self.changed(table.id, seq, seq, "truncate") {
            Some(content) => content.truncate(seq),
            None => return Err(self.failed(Error::internal("not joined").for_table(table.id))),
        }
        Ok(())
    }

    async fn commit(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        self.ready("commit")?;
        self.before("commit").await?;
        self.fenced()?;
        if let Some(last) = self.given.values().chain(self.notices.last()).max()
            && *last > checkpoint.seq
        {
            self.violation(format_args!(
                "commit at seq {} after a row with seq {last}",
                checkpoint.seq
            ));
        }
        let pending = std::mem::take(&mut self.pending);
        let joins = std::mem::take(&mut self.joins);
        self.given.clear();
        let leaving = std::mem::take(&mut self.leaving);
        for (table, copy) in std::mem::take(&mut self.adopted) {
            if let Err(error) = self.target.adopt(&table, copy, checkpoint) {
                return Err(self.failed(error));
            }
        }
        let notices = std::mem::take(&mut self.notices);
        let parts = (pending, joins, leaving, notices);
        if let Err(error) = self.target.commit(checkpoint, parts) {
            return Err(self.failed(error));
        }
        if self.target.fault("commit answered") == Some(Fault::AnswerLost) {
            return Err(self.failed(Error::transient("the answer to commit was lost")));
        }
        self.target.pause().await;
        Ok(())
    }

    async fn rollback(&mut self) -> Result<()> {
        self.opened("rollback")?;
        self.target.pause().await;
        self.pending.clear();
        self.joins.clear();
        self.adopted.clear();
        self.notices.clear();
        self.leaving.clear();
        self.given.clear();
        self.stage = Stage::Unread;
        Ok(())
    }

    async fn copy(&mut self, table: &Arc<TableSchema>, copy: CopyId) -> Result<Box<dyn TableCopy>> {
        self.opened("copy")?;
        self.target.pause().await;
        if self.target.fault("copy").is_some() {
            return Err(Error::transient("copy was rejected"));
        }
        if self.target.flavour() == Flavour::Mirror
            && table.key.is_empty()
            && table.identity != Identity::Full
        {
            return Err(Error::unsupported("the table has no key")
                .hint("give it a key, or full old rows")
                .for_table(table.id));
        }
        self.target.begin_copy(table, copy)?;
        Ok(Box::new(copy::MemoryCopy::new(
            self.target.clone(),
            self.owner,
            copy,
        )))
    }

    async fn join(&mut self, table: &Arc<TableSchema>, copy: CopyId) -> Result<()> {
        self.ready("join")?;
        self.before("join").await?;
        if !self.target.can_join(table.id, copy) {
            return Err(self.failed(Error::internal("the copy is not there").for_table(table.id)));
        }
        if self.given.contains_key(&table.id) {
            // Rows of the old content in the same commit: the swap makes them pointless, not wrong.
            self.pending.remove(&table.id);
        }
        self.joins.push((Arc::clone(table), copy));
        Ok(())
    }

    async fn adopt(&mut self, table: &Arc<TableSchema>, copy: CopyId) -> Result<()> {
        self.ready("adopt")?;
        self.before("adopt").await?;
        if self.target.checkpoint().is_some() {
            self.violation(format_args!(
                "{} is adopted after the first commit",
                table.name
            ));
        }
        self.adopted.push((Arc::clone(table), copy));
        Ok(())
    }

    async fn leave(&mut self, table: TableId) -> Result<()> {
        self.ready("leave")?;
        self.before("leave").await?;
        self.leaving.insert(table);
        Ok(())
    }

    async fn discard_copies(&mut self, keep: &[CopyId]) -> Result<()> {
        self.opened("discard_copies")?;
        self.target.pause().await;
        if self.target.fault("discard_copies").is_some() {
            return Err(Error::transient("discard_copies was rejected"));
        }
        if self.joins.iter().any(|(_, copy)| !keep.contains(copy)) {
            self.violation("a copy was discarded between join and commit");
        }
        self.target.discard_copies(keep);
        Ok(())
    }

    async fn compare(&mut self, table: &Arc<TableSchema>, copy: CopyId) -> Result<Difference> {
        self.opened("compare")?;
        self.target.pause().await;
        // Reads alone: what was accepted since the last commit is not touched by a failure.
        if self.target.fault("compare").is_some() {
            return Err(Error::transient("compare was rejected"));
        }
        self.target.compare(table.id, copy)
    }

    async fn teardown(&mut self) -> Result<Vec<String>> {
        self.opened("teardown")?;
        self.target.discard_copies(&[]);
        self.target.forget_checkpoint();
        Ok(vec!["the checkpoint".to_owned()])
    }
}

#[cfg(test)]
mod tests;
