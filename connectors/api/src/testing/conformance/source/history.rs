//! What a stream has given, put together and checked as it comes.
//!
//! Invariant: a [`History`] holds whole transactions only; what came after the last commit waits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use crate::testing::canonical::{self, Row};
use crate::testing::content::{Content, Flavour, Refusal};
use crate::testing::sink::well_formed;
use crate::{
    BatchLimits, ChangeEvent, ChangeStream, Checkpoint, Op, Said, Source, TableId, TableName,
    TableSchema,
};

/// How long a live database may take to say something.
const PATIENCE: Duration = Duration::from_secs(30);

/// One thing that has a `seq`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Told {
    Row {
        table: TableName,
        op: Op,
        row: Row,
        absent: Vec<bool>,
    },
    Truncate(Vec<TableId>),
    Failed(TableId),
    Notice(Said),
}

/// What was given since a checkpoint.
#[derive(Debug, Default)]
pub(super) struct History {
    pub(super) told: BTreeMap<u64, Told>,
    waiting: BTreeMap<u64, Told>,
    pub(super) commits: Vec<Checkpoint>,
    pub(super) marks: Vec<(u64, u64)>,
    pub(super) shapes: BTreeMap<TableId, Arc<TableSchema>>,
    /// Content by table, from the rows given alone.
    pub(super) contents: BTreeMap<TableId, Content>,
}

impl History {
    pub(super) fn seq(&self) -> u64 {
        self.commits.last().map_or(0, |commit| commit.seq)
    }

    /// Takes one event, and checks what can be checked of it alone.
    pub(super) fn take(&mut self, event: ChangeEvent) {
        match event {
            ChangeEvent::Schema(table) => {
                if let Some(content) = self.contents.get_mut(&table.id) {
                    content
                        .apply_schema(&table)
                        .expect("the suite adds columns only");
                }
                self.shapes.insert(table.id, table);
            }
            ChangeEvent::Rows(batch) => {
                if let Err(what) = well_formed(&batch) {
                    panic!("{what}");
                }
                let shape = self.shapes.get(&batch.table.id);
                let shape = shape.expect("a schema precedes the first rows");
                assert_eq!(
                    **shape, *batch.table,
                    "rows have the shape that was told last"
                );
                for row in 0..batch.len() {
                    let told = Told::Row {
                        table: batch.table.name.clone(),
                        op: batch.op(row),
                        row: canonical::row(&batch.rows, row),
                        absent: (0..batch.table.columns.len())
                            .map(|column| batch.is_absent(column, row))
                            .collect(),
                    };
                    self.wait(batch.seq[row], told);
                }
                let content = self
                    .contents
                    .entry(batch.table.id)
                    .or_insert_with(|| Content::new(Arc::clone(&batch.table), Flavour::Mirror));
                match content.apply(&batch, false) {
                    // The base may be an existing row, which only a snapshot has.
                    Ok(()) | Err(Refusal::NoBase) => {}
                    Err(refusal) => panic!("{refusal:?}"),
                }
            }
            ChangeEvent::Truncate { tables, seq, .. } => {
                for table in &tables {
                    if let Some(content) = self.contents.get_mut(table) {
                        content.truncate(seq);
                    }
                }
                self.wait(seq, Told::Truncate(tables));
            }
            ChangeEvent::Notice(notice) => {
                self.wait(notice.seq, Told::Notice(notice.said.clone()));
            }
            ChangeEvent::Failed { table, seq, .. } => self.wait(seq, Told::Failed(table)),
            ChangeEvent::Commit(checkpoint) => {
                let last = self.waiting.keys().next_back();
                assert!(
                    last.is_none_or(|last| *last <= checkpoint.seq),
                    "a commit is behind its last row"
                );
                assert!(self.seq() <= checkpoint.seq, "commits go forward");
                self.told.append(&mut self.waiting);
                self.commits.push(checkpoint);
            }
            ChangeEvent::Mark { id } => {
                assert!(
                    self.waiting.is_empty(),
                    "a mark stands between transactions"
                );
                self.marks.push((id, self.seq()));
            }
        }
    }

    fn wait(&mut self, seq: u64, told: Told) {
        let committed = self.commits.last().map_or(0, |commit| commit.seq);
        assert!(seq > committed, "seq {seq} is behind its commit");
        assert!(
            !self.told.contains_key(&seq) && self.waiting.insert(seq, told).is_none(),
            "seq {seq} was given twice"
        );
    }

    /// Reads until `done`; what was asked for must come.
    pub(super) async fn read(
        &mut self,
        stream: &mut dyn ChangeStream,
        what: &str,
        mut done: impl FnMut(&Self) -> bool,
    ) {
        while !done(self) {
            let event = timeout(PATIENCE, stream.next())
                .await
                .unwrap_or_else(|_| panic!("{what} does not come; so far {:#?}", self.told))
                .unwrap_or_else(|error| panic!("{what}: {error}"));
            self.take(event);
        }
    }

    /// Reads until the stream has given all that is committed now.
    pub(super) async fn read_all(&mut self, source: &dyn Source, stream: &mut dyn ChangeStream) {
        let mark = source.mark().await.expect("a mark is taken");
        self.read(stream, "the mark", |history| {
            history.marks.iter().any(|(id, _)| *id == mark)
        })
        .await;
    }

    /// Starts a history at a checkpoint.
    pub(super) fn from(checkpoint: &Checkpoint) -> Self {
        Self {
            commits: vec![checkpoint.clone()],
            ..Self::default()
        }
    }

    /// The rows of a table that the changes amount to, sorted.
    pub(super) fn rows(&self, table: TableId) -> Vec<Row> {
        self.contents
            .get(&table)
            .map_or_else(Vec::new, Content::rows)
    }
}

/// Starts a stream with small batches.
pub(super) async fn start(
    source: &dyn Source,
    from: &Checkpoint,
    known: &[Arc<TableSchema>],
) -> Box<dyn ChangeStream> {
    let limits = BatchLimits {
        rows: 7,
        bytes: 1 << 20,
    };
    // The server may need a moment to let go of the stream before.
    for _ in 0..100 {
        match source.start(from, known, limits).await {
            Ok(stream) => return stream,
            Err(error) if error.is_transient() => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Err(error) => panic!("the stream starts: {error}"),
        }
    }
    panic!("the stream does not start");
}
