//! A fixed history, and an engine that gives it to a lake: after any failure it reads back what is
//! committed and goes on from there.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, UInt64Type};
use cdc_api::{
    ChangeBatch, Checkpoint, Column, CopyId, Identity, Op, Position, Result, Sink, TableId,
    TableName, TableSchema, TransactionId, TransactionRun,
};

use super::reading;
use crate::Lake;

/// A row as readers see it: `seq`, op, id, note.
pub(super) type Seen = (u64, String, Option<i64>, Option<String>);
/// Rows by folder.
pub(super) type Content = BTreeMap<String, Vec<Seen>>;

pub(super) const ACCOUNTS: TableId = TableId(1);
pub(super) const EVENTS: TableId = TableId(2);

#[derive(Clone)]
enum Step {
    Rows(TableId, Vec<(u64, Op, i64)>),
    Truncate(TableId, u64),
    Shape(Arc<TableSchema>),
    /// Chunks at a `seq`, catch-up rows, and the join.
    Join {
        table: TableId,
        copy: CopyId,
        seq: u64,
        chunks: Vec<Vec<i64>>,
        catch_up: Vec<(u64, Op, i64)>,
    },
    Leave(TableId),
}

/// A commit: its `seq` and what belongs to it.
pub(super) struct Commit {
    seq: u64,
    steps: Vec<Step>,
}

/// The history, and the shapes at its beginning.
pub(super) struct Script {
    commits: Vec<Commit>,
    shapes: BTreeMap<TableId, Arc<TableSchema>>,
}

pub(super) fn accounts(version: u32, name: &str, wide: bool) -> Arc<TableSchema> {
    let mut columns = vec![
        Column {
            id: Some(1),
            ..Column::new("id", DataType::Int64, "int8")
        },
        Column {
            id: Some(2),
            ..Column::new("note", DataType::Utf8, "text")
        },
    ];
    if wide {
        columns.push(Column {
            id: Some(3),
            ..Column::new("more", DataType::Utf8, "text")
        });
    }
    let name = TableName::new("shop", name);
    Arc::new(TableSchema::new(
        ACCOUNTS,
        name,
        version,
        columns,
        vec![0],
        Identity::Key,
    ))
}

fn events() -> Arc<TableSchema> {
    let columns = accounts(1, "accounts", false).columns.clone();
    let name = TableName::new("shop", "events");
    Arc::new(TableSchema::new(
        EVENTS,
        name,
        1,
        columns,
        vec![],
        Identity::Full,
    ))
}

impl Script {
    pub(super) fn new() -> Self {
        use Op::{Delete, Insert, Update};
        let commit = |seq, steps| Commit { seq, steps };
        let join = |table, copy, seq, chunks, catch_up| Step::Join {
            table,
            copy: CopyId(copy),
            seq,
            chunks,
            catch_up,
        };
        let commits = vec![
            commit(0, vec![]),
            commit(
                0,
                vec![join(
                    ACCOUNTS,
                    1,
                    0,
                    vec![vec![1, 2, 3], vec![4, 5]],
                    vec![],
                )],
            ),
            commit(
                2,
                vec![Step::Rows(ACCOUNTS, vec![(1, Insert, 6), (2, Insert, 7)])],
            ),
            commit(2, vec![]),
            commit(
                4,
                vec![Step::Rows(ACCOUNTS, vec![(3, Update, 1), (4, Delete, 2)])],
            ),
            commit(
                5,
                vec![
                    Step::Rows(ACCOUNTS, vec![(5, Insert, 8)]),
                    join(EVENTS, 2, 4, vec![vec![1, 1], vec![]], vec![]),
                ],
            ),
            commit(
                9,
                vec![
                    Step::Rows(ACCOUNTS, vec![(6, Insert, 9)]),
                    Step::Rows(EVENTS, vec![(7, Insert, 2)]),
                    Step::Truncate(ACCOUNTS, 8),
                    Step::Rows(ACCOUNTS, vec![(9, Insert, 10)]),
                ],
            ),
            commit(
                10,
                vec![
                    Step::Shape(accounts(2, "accounts", true)),
                    Step::Rows(ACCOUNTS, vec![(10, Update, 10)]),
                ],
            ),
            commit(
                11,
                vec![join(
                    ACCOUNTS,
                    3,
                    10,
                    vec![vec![10], vec![11, 12], vec![13]],
                    vec![(11, Insert, 14)],
                )],
            ),
            commit(
                12,
                vec![
                    Step::Shape(accounts(3, "renamed", true)),
                    Step::Rows(ACCOUNTS, vec![(12, Update, 14)]),
                ],
            ),
            commit(
                14,
                vec![
                    Step::Rows(EVENTS, vec![(13, Delete, 1)]),
                    Step::Leave(EVENTS),
                    Step::Rows(ACCOUNTS, vec![(14, Delete, 14)]),
                ],
            ),
            commit(15, vec![Step::Rows(ACCOUNTS, vec![(15, Insert, 15)])]),
        ];
        let shapes = [accounts(1, "accounts", false), events()];
        Self {
            commits,
            shapes: shapes.into_iter().map(|shape| (shape.id, shape)).collect(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.commits.len()
    }

    /// Which commit renames the accounts: their files move one by one.
    pub(super) fn renames(&self, commit: usize) -> bool {
        self.commits.get(commit).is_some_and(|it| it.seq == 12)
    }

    pub(super) fn checkpoint(&self, commit: usize) -> Checkpoint {
        Checkpoint {
            position: Position::new(commit.to_string()),
            seq: self.commits[commit].seq,
            offset: 0,
            commit_time: 0,
        }
    }

    /// The shapes before a commit.
    fn shapes_before(&self, commit: usize) -> BTreeMap<TableId, Arc<TableSchema>> {
        let mut shapes = self.shapes.clone();
        for step in self.commits[..commit].iter().flat_map(|it| &it.steps) {
            if let Step::Shape(shape) = step {
                shapes.insert(shape.id, Arc::clone(shape));
            }
        }
        shapes
    }

    /// What readers see after the first `commits` commits.
    pub(super) fn content(&self, commits: usize) -> Content {
        let mut shapes = self.shapes.clone();
        let mut tables: BTreeMap<TableId, Vec<Seen>> = BTreeMap::new();
        for step in self.commits[..commits].iter().flat_map(|it| &it.steps) {
            match step {
                Step::Rows(table, rows) => {
                    let seen = rows.iter().map(|row| seen(*table, *row));
                    tables.entry(*table).or_default().extend(seen);
                }
                Step::Truncate(table, seq) => {
                    let row = (*seq, "truncate".to_owned(), None, None);
                    tables.entry(*table).or_default().push(row);
                }
                Step::Shape(shape) => {
                    shapes.insert(shape.id, Arc::clone(shape));
                }
                Step::Join {
                    table,
                    seq,
                    chunks,
                    catch_up,
                    ..
                } => {
                    let reads = chunks.iter().flatten().map(|id| (*seq, Op::Read, *id));
                    let rows = reads.chain(catch_up.iter().copied());
                    tables.insert(*table, rows.map(|row| seen(*table, row)).collect());
                }
                Step::Leave(_) => {}
            }
        }
        let mut content = Content::new();
        for (table, mut rows) in tables {
            rows.sort();
            if !rows.is_empty() {
                let name = &shapes[&table].name;
                content.insert(format!("{}/{}", name.schema, name.table), rows);
            }
        }
        content
    }

    /// How many commits the lake holds.
    pub(super) async fn reached(&self, sink: &mut Lake) -> Result<usize> {
        let committed = sink.committed().await?;
        Ok(committed.map_or(0, |at| {
            at.position.as_str().parse::<usize>().expect("ours") + 1
        }))
    }

    /// Gives commit after commit; `reached` follows.
    pub(super) async fn run(&self, sink: &mut Lake, reached: &mut usize) -> Result<()> {
        while *reached < self.len() {
            self.give(sink, *reached).await?;
            *reached += 1;
            // Twice, so that one that was begun ends. Failing is no reason to stop.
            let _ = sink.maintain().await;
            let _ = sink.maintain().await;
        }
        Ok(())
    }

    async fn give(&self, sink: &mut Lake, commit: usize) -> Result<()> {
        let mut shapes = self.shapes_before(commit);
        for step in &self.commits[commit].steps {
            match step {
                Step::Shape(shape) => {
                    shapes.insert(shape.id, Arc::clone(shape));
                    sink.apply_schema(shape).await?;
                }
                Step::Rows(table, rows) => sink.write(&batch(&shapes[table], rows)).await?,
                Step::Truncate(table, seq) => sink.truncate(&shapes[table], *seq, 5).await?,
                Step::Leave(table) => sink.leave(*table).await?,
                Step::Join {
                    table,
                    copy,
                    seq,
                    chunks,
                    catch_up,
                } => {
                    let shape = &shapes[table];
                    let mut handle = sink.copy(shape, *copy).await?;
                    let progress = handle.progress().await?;
                    for (index, ids) in (0..).zip(chunks) {
                        if progress.chunks.iter().any(|(done, _)| *done == index) {
                            continue;
                        }
                        let mut writer = handle.chunk(index).await?;
                        let rows: Vec<_> = ids.iter().map(|id| (*seq, Op::Read, *id)).collect();
                        writer.write(&batch(shape, &rows)).await?;
                        writer.finish(*seq).await?;
                    }
                    let from = progress.caught_up.unwrap_or(*seq);
                    let rest: Vec<_> = catch_up
                        .iter()
                        .copied()
                        .filter(|row| row.0 > from)
                        .collect();
                    handle.write(&batch(shape, &rest)).await?;
                    handle.commit(self.commits[commit].seq).await?;
                    sink.join(shape, *copy).await?;
                }
            }
        }
        sink.commit(&self.checkpoint(commit)).await
    }
}

fn note(table: TableId, seq: u64, id: i64) -> String {
    format!("{table}: {id} at {seq}")
}

fn seen(table: TableId, (seq, op, id): (u64, Op, i64)) -> Seen {
    let note = (!op.removes()).then(|| note(table, seq, id));
    (seq, op.name().to_owned(), Some(id), note)
}

/// Changes as a batch.
pub(super) fn batch(table: &Arc<TableSchema>, rows: &[(u64, Op, i64)]) -> ChangeBatch {
    let ids = Int64Array::from_iter_values(rows.iter().map(|row| row.2));
    let notes = rows
        .iter()
        .map(|(seq, op, id)| (!op.removes()).then(|| note(table.id, *seq, *id)));
    let mut columns: Vec<ArrayRef> = vec![Arc::new(ids), Arc::new(StringArray::from_iter(notes))];
    for column in &table.columns[2..] {
        columns.push(new_null_array(&column.data_type, rows.len()));
    }
    ChangeBatch {
        table: Arc::clone(table),
        rows: RecordBatch::try_new(Arc::clone(table.arrow()), columns).expect("fits"),
        ops: rows.iter().map(|row| row.1.code()).collect(),
        seq: rows.iter().map(|row| row.0).collect(),
        offset: rows.iter().map(|row| row.0).collect(),
        absent: Vec::new(),
        before: None,
        transactions: vec![TransactionRun {
            end: u32::try_from(rows.len()).expect("few"),
            id: TransactionId::Number(7),
            commit_offset: 0,
            commit_time: 1_700_000_000_000_000,
            first_seq: 1,
        }],
    }
}

/// What a reader with a glob sees in all tables' folders.
pub(super) fn read(root: &Path) -> Content {
    let mut content = Content::new();
    for schema in folders(root) {
        for table in folders(&root.join(&schema)) {
            let mut rows = Vec::new();
            for batch in reading::batches(&root.join(&schema).join(&table)) {
                rows.extend(rows_of(&batch));
            }
            rows.sort();
            if !rows.is_empty() {
                content.insert(format!("{schema}/{table}"), rows);
            }
        }
    }
    content
}

fn folders(path: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(path) else {
        return Vec::new();
    };
    entries
        .map(|entry| entry.expect("listed"))
        .filter(|entry| entry.path().is_dir())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| !name.starts_with('_'))
        .collect()
}

fn rows_of(batch: &RecordBatch) -> Vec<Seen> {
    let column = |name: &str| Arc::clone(batch.column_by_name(name).expect("in every file"));
    let seq = column("_cdc_seq");
    let op = cast(&column("_cdc_op"), &DataType::Utf8).expect("text");
    let (id, note) = (column("id"), column("note"));
    let text = |array: &ArrayRef, row: usize| {
        let array = array.as_string::<i32>();
        arrow::array::Array::is_valid(array, row).then(|| array.value(row).to_owned())
    };
    (0..batch.num_rows())
        .map(|row| {
            (
                seq.as_primitive::<UInt64Type>().value(row),
                text(&op, row).expect("never null"),
                id.is_valid(row)
                    .then(|| id.as_primitive::<Int64Type>().value(row)),
                text(&note, row),
            )
        })
        .collect()
}
