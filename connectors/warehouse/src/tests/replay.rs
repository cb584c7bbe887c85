//! Random histories of a source, cut into batches and commits at random, with rollbacks and
//! reopenings, against a plain model.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::Int64Array;
use arrow::datatypes::DataType;
use cdc_api::{ChangeBatch, ExistingValue, Identity, Op, Sink, TableSchema};
use proptest::prelude::*;

use super::scene::{self, Cell, Change, NULL, Scene, change, column, items};
use crate::{Mode, SchemaPolicy};

/// What may happen; keys and values are small, so that histories cross.
#[derive(Debug, Clone)]
enum Step {
    Insert(u8, Option<u8>),
    Update {
        key: u8,
        value: u8,
        resend: bool,
    },
    Move {
        key: u8,
        to: u8,
        value: u8,
        resend: bool,
    },
    Swap {
        one: u8,
        other: u8,
        resend: bool,
    },
    Delete(u8),
    Truncate,
    Add {
        name: u8,
        existing: Option<u8>,
    },
    Drop,
    Rename {
        name: u8,
    },
    CrossNames,
    Widen,
    CutBatch,
    Commit,
    Rollback,
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = 0u8..5;
    let step = prop_oneof![
        8 => (key.clone(), proptest::option::of(any::<u8>())).prop_map(|(key, value)| Step::Insert(key, value)),
        8 => (key.clone(), any::<u8>(), any::<bool>())
            .prop_map(|(key, value, resend)| Step::Update { key, value, resend }),
        6 => (key.clone(), key.clone(), any::<u8>(), any::<bool>())
            .prop_map(|(key, to, value, resend)| Step::Move { key, to, value, resend }),
        2 => (key.clone(), key.clone(), any::<bool>())
            .prop_map(|(one, other, resend)| Step::Swap { one, other, resend }),
        4 => key.prop_map(Step::Delete),
        1 => Just(Step::Truncate),
        1 => (0u8..3, proptest::option::of(any::<u8>()))
            .prop_map(|(name, existing)| Step::Add { name, existing }),
        1 => Just(Step::Drop),
        1 => (0u8..3).prop_map(|name| Step::Rename { name }),
        1 => Just(Step::CrossNames),
        1 => Just(Step::Widen),
        3 => Just(Step::CutBatch),
        5 => Just(Step::Commit),
        1 => Just(Step::Rollback),
        1 => Just(Step::Reopen),
    ];
    proptest::collection::vec(step, 1..60)
}

type Row = Vec<Option<String>>;

/// What the source gave since the last commit, to give it again.
#[derive(Clone)]
enum Event {
    Schema(Arc<TableSchema>),
    Rows(ChangeBatch),
    Truncate(Arc<TableSchema>, u64),
}

#[derive(Clone)]
struct Source {
    table: Arc<TableSchema>,
    /// By an identity of their own, so that rows without a key can be told apart.
    rows: BTreeMap<u32, Row>,
    /// Rows that were deleted, with their last content (mode `soft_delete`).
    deleted: Vec<Row>,
    next_row: u32,
    next_column: u64,
    seq: u64,
}

struct History {
    source: Source,
    mode: Mode,
    keyed: bool,
    open: Vec<Change>,
    events: Vec<Event>,
}

impl History {
    fn find(&self, key: u8) -> Option<u32> {
        let key = Some(key.to_string());
        self.source
            .rows
            .iter()
            .find(|(_, row)| row[0] == key)
            .map(|(id, _)| *id)
    }

    fn cells(row: &Row) -> Vec<Cell> {
        row.iter().cloned().map(Cell::Is).collect()
    }

    /// The old half of a change: the key, or everything where nothing else tells rows apart.
    fn old(&self, row: &Row) -> Vec<Cell> {
        if self.keyed {
            let mut cells = vec![NULL; row.len()];
            cells[0] = Cell::Is(row[0].clone());
            cells
        } else {
            Self::cells(row)
        }
    }

    fn cut(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let changes = std::mem::take(&mut self.open);
        let first = self.source.seq + 1 - changes.len() as u64;
        self.events.push(Event::Rows(scene::batch(
            &self.source.table,
            first,
            &changes,
        )));
    }

    fn push(&mut self, op: Op, cells: Vec<Cell>) {
        self.source.seq += 1;
        self.open.push(change(op, cells));
    }

    fn set_columns(&mut self, columns: Vec<cdc_api::Column>) {
        self.cut();
        let old = &self.source.table;
        self.source.table = Arc::new(TableSchema::new(
            old.id,
            old.name.clone(),
            old.version + 1,
            columns,
            old.key.clone(),
            old.identity,
        ));
        self.events
            .push(Event::Schema(Arc::clone(&self.source.table)));
    }

    /// Replaces a row, as an update of it or as a move.
    fn replace(&mut self, id: u32, new: Row, resend: bool) {
        let old = self.source.rows[&id].clone();
        let mut cells = Self::cells(&new);
        if !resend && self.keyed {
            for (cell, (old, new)) in cells.iter_mut().zip(old.iter().zip(&new)).skip(1) {
                if old == new {
                    *cell = Cell::Absent;
                }
            }
        }
        if self.keyed && old[0] == new[0] {
            self.push(Op::Update, cells);
        } else {
            let gone = self.old(&old);
            self.push(Op::MoveOut, gone);
            self.push(Op::MoveIn, cells);
            self.bury(old);
        }
        self.unbury(&new);
        self.source.rows.insert(id, new);
    }

    fn bury(&mut self, row: Row) {
        if self.mode == Mode::SoftDelete {
            self.source.deleted.push(row);
        }
    }

    /// A key that comes back is no more deleted.
    fn unbury(&mut self, row: &Row) {
        if self.keyed {
            self.source.deleted.retain(|deleted| deleted[0] != row[0]);
        }
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Insert(key, value) => {
                if self.keyed && self.find(*key).is_some() {
                    return;
                }
                let mut row: Row = vec![None; self.source.table.columns.len()];
                row[0] = Some(key.to_string());
                for (place, cell) in row.iter_mut().enumerate().skip(1) {
                    *cell = value.map(|value| (usize::from(value) + place).to_string());
                }
                self.push(Op::Insert, Self::cells(&row));
                self.unbury(&row);
                self.source.rows.insert(self.source.next_row, row);
                self.source.next_row += 1;
            }
            Step::Update { key, value, resend } => {
                if let Some(id) = self.find(*key) {
                    let mut row = self.source.rows[&id].clone();
                    let place = 1 + usize::from(*value) % (row.len() - 1).max(1);
                    if let Some(cell) = row.get_mut(place) {
                        *cell = (*value != 0).then(|| value.to_string());
                    }
                    self.replace(id, row, *resend);
                }
            }
            Step::Move {
                key,
                to,
                value,
                resend,
            } => {
                if let Some(id) = self.find(*key)
                    && !(self.keyed && self.find(*to).is_some())
                {
                    let mut row = self.source.rows[&id].clone();
                    row[0] = Some(to.to_string());
                    if value % 2 == 0
                        && let Some(cell) = row.get_mut(1)
                    {
                        *cell = Some(value.to_string());
                    }
                    self.replace(id, row, *resend);
                }
            }
            Step::Swap { one, other, resend } => {
                if let (Some(a), Some(b)) = (self.find(*one), self.find(*other))
                    && a != b
                {
                    for (id, key) in [(a, 99), (b, *one), (a, *other)] {
                        let mut row = self.source.rows[&id].clone();
                        row[0] = Some(key.to_string());
                        self.replace(id, row, *resend);
                    }
                }
            }
            Step::Delete(key) => {
                if let Some(id) = self.find(*key) {
                    let row = self.source.rows.remove(&id).unwrap();
                    let old = self.old(&row);
                    self.push(Op::Delete, old);
                    self.bury(row);
                }
            }
            Step::Truncate => {
                self.cut();
                self.source.seq += 1;
                for (_, row) in std::mem::take(&mut self.source.rows) {
                    self.bury(row);
                }
                let table = Arc::clone(&self.source.table);
                self.events.push(Event::Truncate(table, self.source.seq));
            }
            Step::Add { name, existing } => {
                let name = format!("x{name}");
                let mut columns = self.source.table.columns.clone();
                if columns.iter().any(|column| column.name == name) {
                    return;
                }
                let mut added = column(self.source.next_column, &name, DataType::Int64);
                self.source.next_column += 1;
                added.existing = existing
                    .map(|value| ExistingValue(Arc::new(Int64Array::from(vec![i64::from(value)]))));
                columns.push(added);
                self.set_columns(columns);
                let value = existing.map(|value| value.to_string());
                for row in self.all_rows() {
                    row.push(value.clone());
                }
            }
            Step::Drop => {
                let mut columns = self.source.table.columns.clone();
                if columns.len() < 3 {
                    return;
                }
                columns.pop();
                self.set_columns(columns);
                for row in self.all_rows() {
                    row.pop();
                }
            }
            Step::Rename { name } => {
                let name = format!("x{name}");
                let mut columns = self.source.table.columns.clone();
                if columns.len() > 1 && !columns.iter().any(|column| column.name == name) {
                    columns[1].name = name;
                    self.set_columns(columns);
                }
            }
            Step::CrossNames => {
                let mut columns = self.source.table.columns.clone();
                if columns.len() > 2 {
                    let name = std::mem::take(&mut columns[1].name);
                    columns[1].name = std::mem::replace(&mut columns[2].name, name);
                    self.set_columns(columns);
                }
            }
            Step::Widen => {
                let mut columns = self.source.table.columns.clone();
                if let Some(column) = columns
                    .iter_mut()
                    .find(|column| column.data_type == DataType::Int32)
                {
                    column.data_type = DataType::Int64;
                    self.set_columns(columns);
                }
            }
            Step::CutBatch => self.cut(),
            Step::Commit | Step::Rollback | Step::Reopen => {}
        }
    }

    fn all_rows(&mut self) -> impl Iterator<Item = &mut Row> {
        self.source
            .rows
            .values_mut()
            .chain(self.source.deleted.iter_mut())
    }

    /// What the table must hold.
    fn expected(&self) -> Vec<Row> {
        let mark = |row: &Row, deleted: bool| {
            let mut row = row.clone();
            if self.mode == Mode::SoftDelete {
                row.push(Some(deleted.to_string()));
            }
            row
        };
        let mut rows: Vec<Row> = self
            .source
            .rows
            .values()
            .map(|row| mark(row, false))
            .chain(self.source.deleted.iter().map(|row| mark(row, true)))
            .collect();
        rows.sort();
        rows
    }
}

async fn give(sink: &mut crate::Warehouse, events: &[Event]) {
    for event in events {
        match event {
            Event::Schema(table) => sink.apply_schema(table).await.unwrap(),
            Event::Rows(batch) => sink.write(batch).await.unwrap(),
            Event::Truncate(table, seq) => sink.truncate(table, *seq, 0).await.unwrap(),
        }
    }
}

async fn content(sink: &crate::Warehouse, table: &TableSchema, mode: Mode) -> Vec<Row> {
    let mut names: Vec<String> = table
        .columns
        .iter()
        .map(|column| format!("\"{}\"", column.name))
        .collect();
    if mode == Mode::SoftDelete {
        names.push("_cdc_deleted".to_owned());
    }
    let sql = format!("SELECT {} FROM public.items", names.join(", "));
    let mut rows = scene::rows(sink, &sql).await;
    rows.sort();
    rows
}

fn replay(mode: Mode, keyed: bool, drop: bool, steps: &[Step]) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut scene = Scene::new(mode);
        scene.config.drop = drop;
        scene.config.schema_changes = SchemaPolicy::Evolve;
        let mut table = items();
        if !keyed {
            table.key.clear();
            table.identity = Identity::Full;
        }
        let table = Arc::new(table);
        let mut history = History {
            source: Source {
                table: Arc::clone(&table),
                rows: BTreeMap::new(),
                deleted: Vec::new(),
                next_row: 0,
                next_column: 10,
                seq: 0,
            },
            mode,
            keyed,
            open: Vec::new(),
            events: Vec::new(),
        };
        let mut sink = scene.open().await;
        let first: Vec<Row> = (0..3u8)
            .map(|key| {
                vec![
                    Some(key.to_string()),
                    Some("1".to_owned()),
                    Some("first".to_owned()),
                ]
            })
            .collect();
        let rows: Vec<_> = first.iter().map(History::cells).collect();
        scene::join(&mut sink, &table, 1, 0, &rows).await;
        for row in first {
            history.source.rows.insert(history.source.next_row, row);
            history.source.next_row += 1;
        }
        let mut committed = content(&sink, &history.source.table, mode).await;
        let mut committed_table = Arc::clone(&history.source.table);
        let mut given = 0;
        for step in steps.iter().chain([&Step::Commit]) {
            history.take(step);
            match step {
                Step::Commit => {
                    history.cut();
                    give(&mut sink, &history.events[given..]).await;
                    sink.commit(&scene::checkpoint(history.source.seq))
                        .await
                        .unwrap();
                    history.events.clear();
                    given = 0;
                    committed_table = Arc::clone(&history.source.table);
                    committed = content(&sink, &committed_table, mode).await;
                    assert_eq!(committed, history.expected());
                    assert_eq!(
                        sink.committed().await.unwrap(),
                        Some(scene::checkpoint(history.source.seq))
                    );
                }
                Step::CutBatch => {
                    give(&mut sink, &history.events[given..]).await;
                    given = history.events.len();
                }
                Step::Rollback | Step::Reopen => {
                    if matches!(step, Step::Rollback) {
                        sink.rollback().await.unwrap();
                    } else {
                        std::mem::drop(sink);
                        sink = scene.open().await;
                    }
                    // Everything since the last commit comes again.
                    given = 0;
                    assert_eq!(content(&sink, &committed_table, mode).await, committed);
                    let joined = sink.joined().await.unwrap();
                    assert!(joined[0].table.same_shape(&committed_table));
                }
                _ => {}
            }
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_keyed_table_is_the_source_after_every_commit(steps in steps(), drop in any::<bool>()) {
        replay(Mode::Upsert, true, drop, &steps);
    }

    #[test]
    fn deleted_rows_stay_as_they_last_were(steps in steps()) {
        replay(Mode::SoftDelete, true, false, &steps);
    }

    #[test]
    fn a_table_without_a_key_is_a_multiset_of_whole_rows(steps in steps()) {
        replay(Mode::Upsert, false, false, &steps);
    }

    #[test]
    fn deleted_whole_rows_stay_with_their_duplicates(steps in steps()) {
        replay(Mode::SoftDelete, false, false, &steps);
    }
}
