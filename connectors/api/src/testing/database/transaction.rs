//! One transaction of the model: what it does to the tables, and what the log says of it.
//!
//! Invariant: the log entry is what a database would write: old keys or old rows as the table's
//! identity says, no unchanged large column where old rows are not whole, a key change as a pair.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::DataType;

use crate::testing::canonical;
use crate::{Column, Identity, Op, Said, TableId, TableName, TableSchema};

use super::{CommitNumber, Database, Kind, LOG_BYTES, State, Table, Value};

/// What the log holds of one commit.
#[derive(Debug)]
pub struct Transaction {
    /// The transaction's id.
    pub id: u64,
    /// Where it commits, in bytes of log.
    pub commit_offset: u64,
    /// When it committed, microseconds.
    pub commit_time: i64,
    /// The changes in order, of all tables.
    pub changes: Vec<Change>,
    /// The tables that were captured when it committed.
    pub captured: Arc<BTreeSet<TableId>>,
}

/// One step of a transaction.
#[derive(Debug)]
pub enum Change {
    /// A row changed.
    Row(RowChange),
    /// The table has another shape from here on.
    Schema(Arc<TableSchema>),
    /// The tables are empty from here on.
    Truncate(Vec<TableId>),
    /// The table changed in a way that the log does not carry.
    Failed(TableId),
    /// What is of no table's rows.
    Notice(Said),
}

/// One row's change as the log has it.
#[derive(Debug)]
pub struct RowChange {
    /// The table, at the shape of the row.
    pub table: Arc<TableSchema>,
    /// What happened.
    pub op: Op,
    /// The row; of a removed row what the identity says, the rest NULL.
    pub row: Vec<Value>,
    /// The columns that the log leaves out.
    pub absent: Vec<bool>,
    /// The whole old row of an update, where the identity is full.
    pub before: Option<Arc<Vec<Value>>>,
}

/// A transaction being written. Dropped without [`Writer::commit`] it never happened.
#[derive(Debug)]
pub struct Writer {
    database: Database,
    state: State,
    changes: Vec<Change>,
    /// Whether unchanged large values are left out of updates.
    pub leave_out: bool,
    /// Where moved rows are put: into the first free place, or at the end.
    pub reuse_places: bool,
}

impl Writer {
    pub(super) fn new(database: Database) -> Self {
        let state = State::clone(database.inner().last());
        Self {
            database,
            state,
            changes: Vec::new(),
            leave_out: true,
            reuse_places: false,
        }
    }

    /// The content as this transaction sees it.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// A table as this transaction sees it.
    ///
    /// # Panics
    /// If there is no such table.
    pub fn table(&self, table: TableId) -> &Arc<Table> {
        &self.state.tables[&table]
    }

    fn table_mut(&mut self, table: TableId) -> &mut Table {
        Arc::make_mut(
            self.state
                .tables
                .get_mut(&table)
                .expect("the caller took the id from this database"),
        )
    }

    fn log(&mut self, table: TableId, change: Change) {
        if self.state.captured.contains(&table) {
            self.state.changes += u64::from(!matches!(change, Change::Schema(_)));
            self.changes.push(change);
        }
    }

    /// Writes what is of no table's rows into the log.
    pub fn notice(&mut self, said: Said) {
        self.state.changes += 1;
        self.state.notices.push(self.state.changes);
        self.changes.push(Change::Notice(said));
    }

    /// Creates a table; the log does not carry it before it is captured.
    pub fn create(
        &mut self,
        name: TableName,
        columns: Vec<(Column, Kind)>,
        key: Vec<usize>,
        identity: Identity,
    ) -> TableId {
        let id = {
            let mut inner = self.database.inner();
            inner.next_table += 1;
            TableId(inner.next_table)
        };
        let kinds = columns.iter().map(|(_, kind)| *kind).collect();
        let columns: Vec<Column> = columns.into_iter().map(|(column, _)| column).collect();
        let next_column = columns.len() as u64 + 1;
        let schema = Arc::new(TableSchema::new(id, name, 1, columns, key, identity));
        self.state.tables.insert(
            id,
            Arc::new(Table {
                schema,
                kinds,
                epoch: 1,
                rows: std::collections::BTreeMap::new(),
                keys: std::collections::BTreeMap::new(),
                next_column,
            }),
        );
        id
    }

    fn free_place(&self, table: TableId) -> u64 {
        let rows = &self.table(table).rows;
        if self.reuse_places
            && let Some(gap) = (0..).zip(rows.keys()).find(|(a, b)| a != *b)
        {
            return gap.0;
        }
        rows.keys().next_back().map_or(0, |last| last + 1)
    }

    fn put(&mut self, table: TableId, row: Vec<Value>) {
        let place = self.free_place(table);
        let table = self.table_mut(table);
        if !table.schema.key.is_empty() {
            let key = table.key_of(&row);
            table.keys.insert(key, place);
        }
        table.rows.insert(place, Arc::new(row));
    }

    fn take(&mut self, table: TableId, place: u64) -> Option<Arc<Vec<Value>>> {
        let table = self.table_mut(table);
        let row = table.rows.remove(&place)?;
        let key = table.key_of(&row);
        table.keys.remove(&key);
        Some(row)
    }

    /// Inserts a row; `false` when its key is taken.
    pub fn insert(&mut self, table: TableId, row: Vec<Value>) -> bool {
        let now = self.table(table);
        if !now.schema.key.is_empty() && now.keys.contains_key(&now.key_of(&row)) {
            return false;
        }
        let schema = Arc::clone(&now.schema);
        self.put(table, row.clone());
        let absent = vec![false; row.len()];
        self.log(
            table,
            Change::Row(RowChange {
                table: schema,
                op: Op::Insert,
                row,
                absent,
                before: None,
            }),
        );
        true
    }

    /// What the log carries of a removed row.
    fn old_row(schema: &TableSchema, row: &[Value]) -> Vec<Value> {
        match schema.identity {
            Identity::Full => row.to_vec(),
            _ => row
                .iter()
                .enumerate()
                .map(|(index, value)| {
                    if schema.key.contains(&index) {
                        value.clone()
                    } else {
                        Value::Null
                    }
                })
                .collect(),
        }
    }

    /// Deletes the row at a place; `false` when there is none or the table has no identity.
    pub fn delete(&mut self, table: TableId, place: u64) -> bool {
        let schema = Arc::clone(&self.table(table).schema);
        if schema.identity == Identity::None {
            return false;
        }
        let Some(row) = self.take(table, place) else {
            return false;
        };
        self.log(
            table,
            Change::Row(RowChange {
                row: Self::old_row(&schema, &row),
                absent: vec![false; row.len()],
                table: schema,
                op: Op::Delete,
                before: None,
            }),
        );
        true
    }

    /// Replaces the row at a place; a changed key makes a pair. `false` when there is none, the
    /// new key is taken or the table has no identity.
    pub fn update(&mut self, table: TableId, place: u64, row: Vec<Value>) -> bool {
        let leave_out = self.leave_out;
        // Borrowed only: a second owner would make the change copy the whole table.
        let now = self.table(table);
        let schema = Arc::clone(&now.schema);
        let Some(old) = now.rows.get(&place).map(Arc::clone) else {
            return false;
        };
        let keyless = schema.key.is_empty();
        let key = now.key_of(&row);
        let moves = keyless || now.key_of(&old) != key;
        if schema.identity == Identity::None || (!keyless && moves && now.keys.contains_key(&key)) {
            return false;
        }
        let full = schema.identity == Identity::Full;
        let absent: Vec<bool> = now
            .kinds
            .iter()
            .enumerate()
            .map(|(index, kind)| {
                leave_out
                    && !full
                    && *kind == Kind::Large
                    && row[index] != Value::Null
                    && row[index] == old[index]
            })
            .collect();
        self.take(table, place);
        self.put(table, row.clone());
        if moves {
            self.log(
                table,
                Change::Row(RowChange {
                    row: Self::old_row(&schema, &old),
                    absent: vec![false; old.len()],
                    table: Arc::clone(&schema),
                    op: Op::MoveOut,
                    before: None,
                }),
            );
        }
        self.log(
            table,
            Change::Row(RowChange {
                table: schema,
                op: if moves { Op::MoveIn } else { Op::Update },
                row,
                absent,
                before: (full && !moves).then_some(old),
            }),
        );
        true
    }

    /// Empties tables by one statement.
    pub fn truncate(&mut self, tables: &[TableId]) {
        for &table in tables {
            let table = self.table_mut(table);
            table.rows.clear();
            table.keys.clear();
            table.epoch += 1;
        }
        let captured: Vec<TableId> = tables
            .iter()
            .copied()
            .filter(|table| self.state.captured.contains(table))
            .collect();
        if let Some(&first) = captured.first() {
            self.log(first, Change::Truncate(captured));
        }
    }

    fn reshape(&mut self, table: TableId, columns: Vec<Column>, name: Option<TableName>) {
        let now = self.table_mut(table);
        let old = Arc::clone(&now.schema);
        let key = old
            .key
            .iter()
            .filter_map(|&index| {
                let id = old.columns[index].id;
                columns.iter().position(|column| column.id == id)
            })
            .collect();
        let schema = Arc::new(TableSchema::new(
            table,
            name.unwrap_or_else(|| old.name.clone()),
            old.version + 1,
            columns,
            key,
            old.identity,
        ));
        now.schema = Arc::clone(&schema);
        self.log(table, Change::Schema(schema));
    }

    /// `ADD COLUMN name … DEFAULT value`: existing rows get the value without a row in the log.
    pub fn add_column(&mut self, table: TableId, name: &str, data_type: DataType, value: Value) {
        let now = self.table_mut(table);
        let mut columns = now.schema.columns.clone();
        let mut added = super::column(now.next_column, name, data_type);
        if value != Value::Null {
            added.existing = Some(super::existing(&added.data_type, &value));
        }
        now.next_column += 1;
        now.kinds.push(Kind::Plain);
        columns.push(added);
        for row in now.rows.values_mut() {
            Arc::make_mut(row).push(value.clone());
        }
        self.reshape(table, columns, None);
    }

    /// `DROP COLUMN`, by index.
    pub fn drop_column(&mut self, table: TableId, index: usize) {
        let now = self.table_mut(table);
        let mut columns = now.schema.columns.clone();
        columns.remove(index);
        now.kinds.remove(index);
        for row in now.rows.values_mut() {
            Arc::make_mut(row).remove(index);
        }
        self.reshape(table, columns, None);
    }

    /// `RENAME COLUMN`, by index.
    pub fn rename_column(&mut self, table: TableId, index: usize, name: &str) {
        let mut columns = self.table(table).schema.columns.clone();
        name.clone_into(&mut columns[index].name);
        self.reshape(table, columns, None);
    }

    /// `ALTER COLUMN … TYPE int8`, by index; rewrites the table.
    pub fn widen_column(&mut self, table: TableId, index: usize) {
        let now = self.table_mut(table);
        now.epoch += 1;
        let mut columns = now.schema.columns.clone();
        columns[index].data_type = DataType::Int64;
        "int8".clone_into(&mut columns[index].source_type);
        columns[index].existing = columns[index].existing.as_ref().map(|value| {
            let text = canonical::cell(value.0.as_ref(), 0);
            let value = text.and_then(|text| text.parse().ok());
            super::existing(&DataType::Int64, &value.map_or(Value::Null, Value::Int))
        });
        self.reshape(table, columns, None);
    }

    /// `ALTER COLUMN … DROP NOT NULL` or `SET NOT NULL`, by index.
    pub fn set_nullable(&mut self, table: TableId, index: usize, nullable: bool) {
        let mut columns = self.table(table).schema.columns.clone();
        columns[index].nullable = nullable;
        self.reshape(table, columns, None);
    }

    /// `RENAME TO`.
    pub fn rename(&mut self, table: TableId, name: TableName) {
        let columns = self.table(table).schema.columns.clone();
        self.reshape(table, columns, Some(name));
    }

    /// `DROP TABLE`: the log says nothing of it.
    pub fn drop_table(&mut self, table: TableId) {
        self.state.tables.remove(&table);
    }

    /// The table changes in a way that the log does not carry, and says so: who goes on applying
    /// its changes has something else from here on.
    pub fn fail(&mut self, table: TableId) {
        self.log(table, Change::Failed(table));
        let table = self.table_mut(table);
        let column = table.kinds.iter().zip(&table.schema.columns);
        let text = column.enumerate().find(|(_, (kind, column))| {
            matches!(kind, Kind::Plain | Kind::Large) && column.data_type == DataType::Utf8
        });
        if let (Some((index, _)), Some(row)) = (text, table.rows.values_mut().next()) {
            Arc::make_mut(row)[index] = Value::from("not in the log");
        }
    }

    pub(super) fn capture(&mut self, tables: BTreeSet<TableId>) {
        self.state.captured = Arc::new(tables);
    }

    /// Commits; the number of the commit.
    pub fn commit(self) -> CommitNumber {
        let commit = {
            let mut inner = self.database.inner();
            inner.clock += 1_000;
            let number = inner.log.len() + 1;
            let commit_time = inner.clock;
            inner.log.push(Some(Arc::new(Transaction {
                id: 500 + number as u64,
                commit_offset: number as u64 * LOG_BYTES,
                commit_time,
                captured: Arc::clone(&self.state.captured),
                changes: self.changes,
            })));
            inner.states.push(Arc::new(self.state));
            number
        };
        self.database.committed.notify_waiters();
        commit
    }
}
