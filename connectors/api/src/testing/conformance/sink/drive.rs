//! Drives a sink from a model database, one step at a time, and knows what readers must see.
//!
//! Invariant: `visible` is what was committed, `accepted` what was given since; they are equal
//! after a commit, a rollback or a reopening.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;

use super::{Flavour, Probe};
use crate::testing::canonical::{self, Row};
use crate::testing::content::Content;
use crate::testing::database::{
    Change, CommitNumber, Database, LOG_BYTES, Logged, Value, Writer, batch_of, change_batch,
    notice,
};
use crate::{
    ChangeBatch, Checkpoint, Column, CopyId, ErrorKind, Notice, Op, Sink, TableCopy, TableId,
    TableSchema,
};

/// A sink under test with its probe, a model database, and what was given.
pub struct Drive {
    pub(super) probe: Box<dyn Probe>,
    pub(super) sink: Option<Box<dyn Sink>>,
    pub(super) database: Database,
    /// The last commit whose changes were given.
    pub(super) fed: CommitNumber,
    pub(super) committed: Option<Checkpoint>,
    accepted: BTreeMap<TableId, Content>,
    visible: BTreeMap<TableId, Content>,
    /// `seq` of the last rename by table: earlier rows of a log may not show renamed columns.
    renamed: BTreeMap<TableId, u64>,
    next_copy: u64,
    /// Other shapes are passed over; see [`Drive::feed`].
    pub(super) only_shape: Option<Arc<TableSchema>>,
    /// Rows in a batch at most.
    pub(super) batch_rows: usize,
}

/// A copy under way: the sink's handle, and what it must hold.
pub struct Copying {
    pub(super) id: CopyId,
    pub(super) table: Arc<TableSchema>,
    pub(super) handle: Box<dyn TableCopy>,
    /// Chunks finished, then the catch-up.
    pub(super) content: Content,
    /// The last commit whose changes the catch-up was given.
    pub(super) fed: CommitNumber,
}

impl Drive {
    /// An opened sink on a fresh target, with an empty database.
    pub async fn begin(mut probe: Box<dyn Probe>) -> Self {
        let mut sink = probe.sink();
        sink.open().await.expect("a fresh target opens");
        assert_eq!(
            sink.committed().await.expect("committed is asked"),
            None,
            "a fresh target has no checkpoint"
        );
        assert!(
            sink.joined().await.expect("joined is asked").is_empty(),
            "a fresh target has no tables"
        );
        let database = Database::new();
        database.origin();
        Self {
            probe,
            sink: Some(sink),
            database,
            fed: 0,
            committed: None,
            accepted: BTreeMap::new(),
            visible: BTreeMap::new(),
            renamed: BTreeMap::new(),
            next_copy: 1,
            only_shape: None,
            batch_rows: usize::MAX,
        }
    }

    /// The sink.
    pub fn sink(&mut self) -> &mut dyn Sink {
        self.sink
            .as_mut()
            .expect("dropped only within reopen")
            .as_mut()
    }

    /// Whether the target is a mirror.
    pub fn is_mirror(&self) -> bool {
        self.probe.flavour() == Flavour::Mirror
    }

    /// Commits one transaction in the database, captured from now on; gives it to nobody.
    pub fn write<T>(&mut self, change: impl FnOnce(&mut Writer) -> T) -> T {
        let mut writer = self.database.begin();
        let result = change(&mut writer);
        writer.commit();
        let tables = self.database.state(self.database.head());
        self.database
            .capture(tables.tables.keys().copied().collect());
        result
    }

    /// The checkpoint of a commit.
    pub fn checkpoint(&self, commit: CommitNumber) -> Checkpoint {
        Checkpoint {
            position: Database::position(commit),
            seq: self.database.seq(commit).expect("the origin is commit 0"),
            offset: commit as u64 * LOG_BYTES,
            commit_time: 1_700_000_000_000_000,
        }
    }

    /// A table's shape as of now.
    pub fn table(&self, table: TableId) -> Arc<TableSchema> {
        let now = self.database.state(self.database.head());
        Arc::clone(&now.tables[&table].schema)
    }

    /// Gives the sink all that the database committed since: schema, rows, truncates of joined
    /// tables; no commit.
    pub async fn feed(&mut self) {
        for commit in self.fed + 1..=self.database.head() {
            let first = self.database.seq(commit - 1).expect("after the origin");
            for step in steps(&self.database, commit, first, self.batch_rows) {
                self.give(&step).await;
            }
            self.fed = commit;
        }
    }

    async fn give(&mut self, step: &Step) {
        match step {
            Step::Schema(schema) => {
                if self.only_shape.as_ref().is_some_and(|only| only != schema) {
                    return;
                }
                let Some(content) = self.accepted.get_mut(&schema.id) else {
                    return;
                };
                note_rename(&mut self.renamed, content, schema, u64::MAX);
                content
                    .apply_schema(schema)
                    .expect("the suite stays within the rules");
                let sink = self.sink.as_mut().expect("open");
                sink.apply_schema(schema)
                    .await
                    .expect("the shape is applied");
            }
            Step::Rows(batch) => {
                let Some(content) = self.accepted.get_mut(&batch.table.id) else {
                    return;
                };
                if self.renamed.get(&batch.table.id) == Some(&u64::MAX) {
                    self.renamed.insert(batch.table.id, batch.seq[0] - 1);
                }
                content
                    .apply(batch, true)
                    .expect("the model's log fits its content");
                let sink = self.sink.as_mut().expect("open");
                sink.write(batch).await.expect("rows are taken");
            }
            Step::Notice(notice) => {
                let sink = self.sink.as_mut().expect("open");
                sink.notice(notice)
                    .await
                    .expect("it is taken or passed over");
            }
            Step::Truncate(tables, seq) => {
                for table in tables {
                    let Some(content) = self.accepted.get_mut(table) else {
                        continue;
                    };
                    content.truncate(*seq);
                    let schema = Arc::clone(content.table());
                    let sink = self.sink.as_mut().expect("open");
                    sink.truncate(&schema, *seq, 1_700_000_000_000_000)
                        .await
                        .expect("the table is truncated");
                }
            }
        }
    }

    /// Commits at what was given.
    pub async fn commit(&mut self) {
        let checkpoint = self.checkpoint(self.fed);
        self.sink()
            .commit(&checkpoint)
            .await
            .expect("the commit holds");
        self.holds(checkpoint);
    }

    fn holds(&mut self, checkpoint: Checkpoint) {
        self.committed = Some(checkpoint);
        self.visible = self.accepted.clone();
    }

    /// Gives everything and commits. A commit that fails by something that passes by itself (a broker that was
    /// away for a moment) is made again as the engine makes it: on a target opened anew, which holds none of it.
    pub async fn catch_up(&mut self) {
        for _ in 0..3 {
            self.feed().await;
            let checkpoint = self.checkpoint(self.fed);
            match self.sink().commit(&checkpoint).await {
                Ok(()) => return self.holds(checkpoint),
                Err(error) => assert!(error.is_transient(), "the commit holds: {error:?}"),
            }
            self.reopen().await;
        }
        self.feed().await;
        self.commit().await;
    }

    /// Drops the sink as a crash would, and opens another: what was not committed is gone.
    pub async fn reopen(&mut self) {
        self.sink = None;
        let mut sink = self.probe.sink();
        sink.open().await.expect("the target opens again");
        self.sink = Some(sink);
        self.read_back().await;
    }

    /// Rolls back, and reads the checkpoint back.
    pub async fn rollback(&mut self) {
        self.sink().rollback().await.expect("the rollback is done");
        self.read_back().await;
    }

    async fn read_back(&mut self) {
        let committed = self.sink().committed().await.expect("committed is asked");
        assert_eq!(committed, self.committed, "the checkpoint is read back");
        self.accepted = self.visible.clone();
        self.fed = committed
            .and_then(|at| Database::commit_of(&at.position))
            .unwrap_or(0);
        let joined = self.sink().joined().await.expect("joined is asked");
        let names: BTreeMap<TableId, &Arc<TableSchema>> = joined
            .iter()
            .map(|joined| (joined.table.id, &joined.table))
            .collect();
        assert_eq!(names.len(), joined.len(), "a table is joined once");
        for (id, content) in &self.visible {
            let shape = names
                .get(id)
                .unwrap_or_else(|| panic!("{} is joined no more", content.table().name));
            assert!(
                shape.same_shape(content.table()),
                "the shape of {} is read back:\n{shape:?}\nshould be\n{:?}",
                content.table().name,
                content.table()
            );
        }
        assert_eq!(names.len(), self.visible.len(), "no more tables are joined");
    }

    /// Begins a copy of a table as it is now; no chunk is written.
    pub async fn begin_copy(&mut self, table: TableId) -> Copying {
        let id = CopyId(self.next_copy);
        self.next_copy += 1;
        let table = self.table(table);
        let handle = self.sink().copy(&table, id).await.expect("the copy begins");
        Copying {
            id,
            content: Content::new(Arc::clone(&table), self.probe.flavour()),
            table,
            handle,
            fed: self.database.head(),
        }
    }

    /// Opens a copy again after a crash, an error, or because its handle was dropped.
    pub async fn resume(&mut self, copying: &mut Copying) {
        let table = Arc::clone(copying.content.table());
        copying.handle = self
            .sink()
            .copy(&table, copying.id)
            .await
            .expect("the copy is resumed");
    }

    /// The rows of a table as of now, in the model's places `from..to`, as a chunk's batch.
    pub fn chunk_rows(&self, table: TableId, from: u64, to: u64) -> ChangeBatch {
        let commit = self.database.head();
        let now = self
            .database
            .content(table, commit)
            .expect("the table is there");
        let rows: Vec<Option<&[Value]>> = now
            .rows
            .range(from..to)
            .map(|(_, row)| Some(row.as_slice()))
            .collect();
        ChangeBatch::of_snapshot(
            Arc::clone(&now.schema),
            batch_of(&now.schema, &rows),
            self.database.seq(commit).expect("after the origin"),
            commit as u64 * LOG_BYTES,
        )
    }

    /// Writes and finishes one chunk with the rows in places `from..to` as of now.
    pub async fn chunk(&mut self, copying: &mut Copying, index: u32, from: u64, to: u64) {
        let batch = self.chunk_rows(copying.table.id, from, to);
        let seq = self
            .database
            .seq(self.database.head())
            .expect("after the origin");
        let mut writer = copying
            .handle
            .chunk(index)
            .await
            .expect("a chunk is opened");
        if batch.is_empty() {
            writer.write(&batch).await.expect("an empty batch is taken");
        }
        let mut start = 0;
        while start < batch.len() {
            let rows = (batch.len() - start).min(self.batch_rows);
            writer
                .write(&batch.slice(start, rows))
                .await
                .expect("existing rows are taken");
            start += rows;
        }
        writer.finish(seq).await.expect("the chunk is finished");
        copying.content.apply(&batch, false).expect("reads apply");
    }

    /// Gives a copy all changes of its table up to now, and commits them in the copy.
    pub async fn catch_up_copy(&mut self, copying: &mut Copying) {
        self.feed_copy(copying, false).await;
        let seq = self.database.seq(copying.fed).expect("after the origin");
        copying
            .handle
            .commit(seq)
            .await
            .expect("the catch-up holds");
    }

    /// Gives a copy all changes of its table up to now. `exact`: see [`Content::apply`].
    pub async fn feed_copy(&mut self, copying: &mut Copying, exact: bool) {
        for commit in copying.fed + 1..=self.database.head() {
            let first = self.database.seq(commit - 1).expect("after the origin");
            for step in steps(&self.database, commit, first, self.batch_rows) {
                match &step {
                    Step::Schema(schema) if schema.id == copying.table.id => {
                        copying
                            .content
                            .apply_schema(schema)
                            .expect("within the rules");
                        let applied = copying.handle.apply_schema(schema).await;
                        applied.expect("the shape is applied");
                    }
                    Step::Rows(batch) if batch.table.id == copying.table.id => {
                        copying.content.apply(batch, exact).expect("fits");
                        copying.handle.write(batch).await.expect("rows are taken");
                    }
                    Step::Truncate(tables, seq) if tables.contains(&copying.table.id) => {
                        copying.content.truncate(*seq);
                        let emptied = copying.handle.truncate(*seq, 1_700_000_000_000_000).await;
                        emptied.expect("the copy is truncated");
                    }
                    _ => {}
                }
            }
            copying.fed = commit;
        }
    }

    /// Joins a copy; part of the next commit.
    pub async fn join(&mut self, copying: Copying) {
        let table = Arc::clone(copying.content.table());
        drop(copying.handle);
        self.sink()
            .join(&table, copying.id)
            .await
            .expect("the copy joins");
        self.renamed.remove(&table.id);
        self.accepted.insert(table.id, copying.content);
    }

    /// Has a table without rows taken as it is; part of the next commit. Whether the sink does that.
    pub async fn adopt(&mut self, table: TableId) -> bool {
        let table = self.table(table);
        let copy = CopyId(self.next_copy);
        self.next_copy += 1;
        if let Err(refusal) = self.sink().adopt(&table, copy).await {
            assert_eq!(refusal.kind(), ErrorKind::Config, "{refusal}");
            assert!(refusal.hint_text().is_some(), "{refusal}");
            return false;
        }
        let content = Content::new(Arc::clone(&table), self.probe.flavour());
        self.accepted.insert(table.id, content);
        true
    }

    /// Copies a table as it is now, in three chunks, and commits the join. Everything before must
    /// have been given.
    pub async fn load(&mut self, table: TableId) {
        self.feed().await;
        let mut copying = self.begin_copy(table).await;
        let places = self.places(table);
        let third = places / 3 + 1;
        for index in 0..3u32 {
            let from = u64::from(index) * third;
            let to = if index == 2 { u64::MAX } else { from + third };
            self.chunk(&mut copying, index, from, to).await;
        }
        self.join(copying).await;
        self.commit().await;
    }

    fn places(&self, table: TableId) -> u64 {
        let now = self.database.content(table, self.database.head());
        let last = now.and_then(|table| table.rows.keys().next_back().copied());
        last.map_or(0, |last| last + 1)
    }

    /// Takes a table out of what must be seen and kept up to date.
    pub(super) fn forget(&mut self, table: TableId) -> Option<Content> {
        self.accepted.remove(&table)
    }

    /// Asserts that readers see what was committed, of every joined table.
    pub async fn check(&mut self, when: &str) {
        for content in self.visible.clone().values() {
            self.check_content(content, when).await;
        }
    }

    /// Asserts that readers see these rows.
    pub(super) async fn check_content(&mut self, content: &Content, when: &str) {
        let table = Arc::clone(content.table());
        let since = if self.probe.renames() {
            None
        } else {
            self.renamed.get(&table.id).copied()
        };
        let batches = self
            .read(&table)
            .await
            .unwrap_or_else(|| panic!("{when}: there is no table {}", table.name));
        let (mut expected, columns) = match self.probe.flavour() {
            Flavour::Mirror => (content.rows(), table.columns.clone()),
            Flavour::Log => {
                let mut columns = vec![
                    Column::new("_cdc_seq", arrow::datatypes::DataType::UInt64, "int8"),
                    Column::new("_cdc_op", arrow::datatypes::DataType::Utf8, "text"),
                ];
                columns.extend(table.columns.iter().cloned());
                let entries = content.log().iter().map(|entry| {
                    let mut row: Row =
                        vec![Some(entry.seq.to_string().into()), Some(entry.op.into())];
                    row.extend(entry.row.iter().cloned());
                    row
                });
                (entries.collect(), columns)
            }
        };
        let mut actual = canonical::rows(&batches, &columns)
            .unwrap_or_else(|what| panic!("{when}: {}: {what}", table.name));
        if let Some(since) = since {
            let later = |row: &Row| {
                let seq = row[0].as_deref().and_then(|seq| seq.parse::<u64>().ok());
                seq.is_some_and(|seq| seq > since)
            };
            expected.retain(later);
            actual.retain(later);
        }
        // Even decimals and UUIDs out on both sides.
        expected.sort();
        actual.sort();
        let show = |rows: &[Row]| -> String {
            rows.iter()
                .map(|row| format!("\n  {}", canonical::line(row)))
                .collect()
        };
        if actual != expected {
            let only = |a: &[Row], b: &[Row]| -> Vec<Row> {
                a.iter()
                    .filter(|row| !b.contains(row))
                    .take(20)
                    .cloned()
                    .collect()
            };
            panic!(
                "{when}: {} has {} rows, should have {}\nmissing:{}\ntoo many:{}\ncolumns {:?}",
                table.name,
                actual.len(),
                expected.len(),
                show(&only(&expected, &actual)),
                show(&only(&actual, &expected)),
                columns.iter().map(|c| &c.name).collect::<Vec<_>>(),
            );
        }
    }

    /// What readers see of a table.
    pub(super) async fn read(&mut self, table: &TableSchema) -> Option<Vec<RecordBatch>> {
        let sink = self.sink.as_mut().expect("open").as_mut();
        let read = self.probe.read(sink, table).await;
        read.expect("the target is read")
    }

    /// Asserts that readers do not see the table at all.
    pub async fn check_unseen(&mut self, table: &TableSchema, when: &str) {
        let rows: usize = self
            .read(table)
            .await
            .map_or(0, |batches| batches.iter().map(RecordBatch::num_rows).sum());
        assert_eq!(rows, 0, "{when}: {} is seen", table.name);
    }
}

fn note_rename(
    renamed: &mut BTreeMap<TableId, u64>,
    content: &Content,
    schema: &TableSchema,
    since: u64,
) {
    let old = &content.table().columns;
    let names_moved = schema.columns.iter().any(|new| {
        old.iter()
            .any(|old| (old.id == new.id) != (old.name == new.name))
    });
    if names_moved {
        renamed.insert(schema.id, since);
    }
}

/// What a commit of the model is to a sink.
pub(super) enum Step {
    /// Another shape.
    Schema(Arc<TableSchema>),
    /// Rows.
    Rows(ChangeBatch),
    /// Emptied tables, and the truncate's `seq`.
    Truncate(Vec<TableId>, u64),
    /// What is of no table.
    Notice(Arc<Notice>),
}

/// A commit of the model as steps, `most` rows in a batch but for pairs; `first` is the `seq`
/// before it.
pub(super) fn steps(
    database: &Database,
    commit: CommitNumber,
    first: u64,
    most: usize,
) -> Vec<Step> {
    let transaction = database.logged(commit).expect("nothing is forgotten here");
    let mut seq = first;
    let mut steps = Vec::new();
    let mut open: BTreeMap<TableId, Vec<Logged>> = BTreeMap::new();
    let close = |rows: Vec<Logged>| change_batch(&rows).map(Step::Rows);
    for (index, change) in transaction.changes.iter().enumerate() {
        match change {
            Change::Schema(schema) => {
                steps.extend(open.remove(&schema.id).and_then(close));
                steps.push(Step::Schema(Arc::clone(schema)));
            }
            Change::Truncate(tables) => {
                steps.extend(std::mem::take(&mut open).into_values().filter_map(close));
                seq += 1;
                steps.push(Step::Truncate(tables.clone(), seq));
            }
            Change::Failed(_) => seq += 1,
            Change::Notice(_) => {
                seq += 1;
                steps.extend(notice(&transaction, index, seq).map(Step::Notice));
            }
            Change::Row(row) => {
                seq += 1;
                let rows = open.entry(row.table.id).or_default();
                rows.push(Logged {
                    transaction: Arc::clone(&transaction),
                    index,
                    seq,
                });
                if rows.len() >= most && row.op != Op::MoveOut {
                    steps.extend(open.remove(&row.table.id).and_then(close));
                }
            }
        }
    }
    steps.extend(open.into_values().filter_map(close));
    steps
}
