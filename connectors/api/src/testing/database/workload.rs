//! A seeded workload over the model: money that moves between tables, large columns, key changes
//! and swaps, tables without a key, schema changes, truncates, tables added later.
//!
//! Invariant: every transaction leaves the sum of all money at 0, so a reader who sees half of
//! one sees another sum.

use arrow::datatypes::DataType;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use crate::{Identity, Said, SchemaChange, TableId, TableName};

use super::{CommitNumber, Database, Kind, Value, Writer, column};

/// How often what happens, in chances of a hundred per transaction.
#[derive(Debug, Clone, Copy)]
pub struct Mix {
    /// A schema change.
    pub schema: u32,
    /// A truncate.
    pub truncate: u32,
    /// A new table.
    pub table: u32,
    /// A table dropped that was added later.
    pub drop: u32,
    /// Two keys swapped.
    pub swap: u32,
    /// Row changes in a transaction, at most.
    pub changes: usize,
    /// Whether schema changes rename columns.
    pub renames: bool,
}

impl Default for Mix {
    fn default() -> Self {
        Self {
            schema: 4,
            truncate: 2,
            table: 1,
            drop: 0,
            swap: 5,
            changes: 8,
            renames: true,
        }
    }
}

/// A writer that commits one random transaction after another.
#[derive(Debug)]
pub struct Workload {
    database: Database,
    rng: StdRng,
    mix: Mix,
    next_name: u32,
}

/// Rows that a table keeps at most, so that keys collide and chunks stay small.
const MOST_ROWS: usize = 24;

impl Workload {
    /// A workload; creates its tables: `shop.accounts` (key, large column), `shop.pots` (composite
    /// key), `shop.ledger` (key, full identity), `shop.events` (no key, full identity) and
    /// `shop.audit` (no key, no identity).
    pub fn new(database: &Database, seed: u64, mix: Mix) -> Self {
        let mut workload = Self {
            database: database.clone(),
            rng: StdRng::seed_from_u64(seed ^ 0x0077_6f72_6b6c_6f61),
            mix,
            next_name: 1,
        };
        let mut writer = database.begin();
        let name = |table: &str| TableName::new("shop", table);
        let int = DataType::Int64;
        writer.create(
            name("accounts"),
            vec![
                (column(1, "id", int.clone()), Kind::Key),
                (column(2, "balance", int.clone()), Kind::Money),
                (column(3, "note", DataType::Utf8), Kind::Large),
                (column(4, "size", DataType::Int32), Kind::Plain),
            ],
            vec![0],
            Identity::Key,
        );
        writer.create(
            name("pots"),
            vec![
                (column(1, "amount", int.clone()), Kind::Money),
                (column(2, "pot", DataType::Utf8), Kind::Key),
                (column(3, "account", DataType::Int32), Kind::Key),
                (column(4, "photo", DataType::Utf8), Kind::Large),
            ],
            vec![2, 1],
            Identity::Key,
        );
        writer.create(
            name("ledger"),
            vec![
                (column(1, "id", DataType::Int32), Kind::Key),
                (column(2, "text", DataType::Utf8), Kind::Large),
                (column(3, "rank", DataType::Int32), Kind::Plain),
            ],
            vec![0],
            Identity::Full,
        );
        writer.create(
            name("events"),
            vec![
                (column(1, "kind", DataType::Utf8), Kind::Plain),
                (column(2, "count", DataType::Int32), Kind::Plain),
            ],
            vec![],
            Identity::Full,
        );
        writer.create(
            name("audit"),
            vec![
                (column(1, "what", DataType::Utf8), Kind::Plain),
                (column(2, "count", DataType::Int32), Kind::Plain),
            ],
            vec![],
            Identity::None,
        );
        writer.commit();
        workload.fill();
        workload
    }

    /// Existing rows, in a few transactions.
    fn fill(&mut self) {
        for _ in 0..self.rng.random_range(1..4) {
            let mut writer = self.database.begin();
            for _ in 0..self.rng.random_range(0..20) {
                self.change(&mut writer);
            }
            writer.commit();
        }
    }

    fn chance(&mut self, hundredths: u32) -> bool {
        self.rng.random_range(0..100) < hundredths
    }

    fn tables(writer: &Writer) -> Vec<TableId> {
        writer.state().tables.keys().copied().collect()
    }

    /// What happens from now on, and how often.
    pub fn set_mix(&mut self, mix: Mix) {
        self.mix = mix;
    }

    /// Commits one random transaction.
    pub fn step(&mut self) -> CommitNumber {
        let mut writer = self.database.begin();
        writer.leave_out = self.chance(85);
        writer.reuse_places = self.chance(50);
        if self.chance(self.mix.table) && writer.state().tables.len() < 8 {
            self.add_table(&mut writer);
        }
        if self.chance(self.mix.drop) {
            self.drop_table(&mut writer);
        }
        let changes = if self.chance(10) {
            self.mix.changes * 4
        } else {
            self.rng.random_range(0..=self.mix.changes)
        };
        for _ in 0..changes {
            self.change(&mut writer);
        }
        if self.chance(self.mix.swap) {
            self.swap_keys(&mut writer);
        }
        if self.chance(self.mix.truncate) {
            self.truncate(&mut writer);
        }
        if self.chance(self.mix.schema) {
            self.reshape(&mut writer);
        }
        for _ in 0..self.rng.random_range(0..=changes / 2) {
            self.change(&mut writer);
        }
        // Now and then, without a draw: what else happens stays what it was.
        if self.database.head() % 5 == 3 {
            writer.notice(said(self.database.head()));
        }
        writer.commit()
    }

    fn text(&mut self, long: bool) -> Value {
        let number: u32 = self.rng.random_range(0..1000);
        match (self.chance(8), long) {
            (true, _) => Value::Null,
            (_, true) => Value::from(format!("large {number} {}", "x".repeat(20)).as_str()),
            (_, false) => Value::from(format!("t{}", number % 7).as_str()),
        }
    }

    /// A row for the table without money; key values come from a small range.
    fn row(&mut self, writer: &Writer, table: TableId) -> Vec<Value> {
        let table = std::sync::Arc::clone(writer.table(table));
        table
            .schema
            .columns
            .iter()
            .zip(&table.kinds)
            .map(|(column, kind)| match (kind, &column.data_type) {
                (Kind::Money, _) => Value::Int(0),
                (Kind::Key, DataType::Utf8) => {
                    Value::from(["a", "b", "c"][self.rng.random_range(0..3)])
                }
                (Kind::Key, _) => Value::Int(self.rng.random_range(0..30)),
                (Kind::Large, _) => self.text(true),
                (Kind::Plain, DataType::Utf8) => self.text(false),
                (Kind::Plain, _) if self.chance(10) => Value::Null,
                (Kind::Plain, _) => Value::Int(self.rng.random_range(0..5)),
            })
            .collect()
    }

    fn place(&mut self, writer: &Writer, table: TableId) -> Option<u64> {
        let places: Vec<u64> = writer.table(table).rows.keys().copied().collect();
        places.choose(&mut self.rng).copied()
    }

    fn change(&mut self, writer: &mut Writer) {
        let Some(&table) = Self::tables(writer).choose(&mut self.rng) else {
            return;
        };
        let rows = writer.table(table).rows.len();
        match self.rng.random_range(0..10) {
            0..=3 if rows < MOST_ROWS => {
                let row = self.row(writer, table);
                writer.insert(table, row);
            }
            0..=5 => self.delete(writer, table),
            6 => self.transfer(writer),
            _ => self.update(writer, table),
        }
    }

    fn update(&mut self, writer: &mut Writer, table: TableId) {
        let Some(place) = self.place(writer, table) else {
            return;
        };
        let now = std::sync::Arc::clone(writer.table(table));
        let fresh = self.row(writer, table);
        let moves = self.chance(12);
        let row = now.rows[&place]
            .iter()
            .zip(fresh)
            .zip(&now.kinds)
            .map(|((old, new), kind)| {
                let keep = match kind {
                    Kind::Key => !moves,
                    Kind::Money => true,
                    Kind::Large => self.chance(75),
                    Kind::Plain => self.chance(30),
                };
                if keep { old.clone() } else { new }
            })
            .collect();
        writer.update(table, place, row);
    }

    /// A row with money; the row's place and the money column's index.
    fn purse(&mut self, writer: &Writer, but: Option<(TableId, u64)>) -> Option<(TableId, u64)> {
        let mut purses = Vec::new();
        for (id, table) in &writer.state().tables {
            if table.kinds.contains(&Kind::Money) {
                purses.extend(table.rows.keys().map(|place| (*id, *place)));
            }
        }
        purses.retain(|purse| Some(*purse) != but);
        purses.choose(&mut self.rng).copied()
    }

    fn pay(writer: &mut Writer, (table, place): (TableId, u64), amount: i64) {
        let now = writer.table(table);
        let Some(column) = now.kinds.iter().position(|kind| *kind == Kind::Money) else {
            return;
        };
        let mut row = now.rows[&place].to_vec();
        if let Value::Int(balance) = &mut row[column] {
            *balance += amount;
        }
        writer.update(table, place, row);
    }

    fn transfer(&mut self, writer: &mut Writer) {
        let amount = self.rng.random_range(1..100);
        let Some(from) = self.purse(writer, None) else {
            return;
        };
        // Paying moves the row to another place: the second purse is chosen first.
        let Some(to) = self.purse(writer, Some(from)) else {
            return;
        };
        Self::pay(writer, from, -amount);
        if writer.table(to.0).rows.contains_key(&to.1) {
            Self::pay(writer, to, amount);
        }
    }

    fn delete(&mut self, writer: &mut Writer, table: TableId) {
        let Some(place) = self.place(writer, table) else {
            return;
        };
        let now = writer.table(table);
        let money = now.kinds.iter().position(|kind| *kind == Kind::Money);
        let owned = match money.map(|column| &now.rows[&place][column]) {
            Some(Value::Int(owned)) => *owned,
            _ => 0,
        };
        if owned != 0 {
            let Some(heir) = self.purse(writer, Some((table, place))) else {
                return;
            };
            writer.delete(table, place);
            Self::pay(writer, heir, owned);
        } else {
            writer.delete(table, place);
        }
    }

    /// Two rows take each other's key by way of a third.
    fn swap_keys(&mut self, writer: &mut Writer) {
        let keyed: Vec<TableId> = writer
            .state()
            .tables
            .iter()
            .filter(|(_, table)| !table.schema.key.is_empty() && table.rows.len() >= 2)
            .map(|(id, _)| *id)
            .collect();
        let Some(&table) = keyed.choose(&mut self.rng) else {
            return;
        };
        let keys: Vec<Vec<Value>> = writer.table(table).keys.keys().cloned().collect();
        let (Some(a), Some(b)) = (keys.choose(&mut self.rng), keys.choose(&mut self.rng)) else {
            return;
        };
        if a == b {
            return;
        }
        let mut third = a.clone();
        let number = writer.table(table).schema.key[0];
        debug_assert!(
            writer.table(table).schema.columns[number]
                .data_type
                .is_integer()
        );
        third[0] = Value::Int(1_000);
        for (from, to) in [(a, &third), (b, a), (&third, b)] {
            let now = writer.table(table);
            let place = now.keys[from];
            let mut row = now.rows[&place].to_vec();
            for (part, &index) in now.schema.key.iter().enumerate() {
                row[index] = to[part].clone();
            }
            writer.update(table, place, row);
        }
    }

    /// A table that no snapshot holds.
    fn free_table(&mut self, writer: &Writer) -> Option<TableId> {
        let mut tables = Self::tables(writer);
        tables.retain(|table| !self.database.is_held(*table));
        tables.choose(&mut self.rng).copied()
    }

    fn truncate(&mut self, writer: &mut Writer) {
        let Some(table) = self.free_table(writer) else {
            return;
        };
        if !writer.table(table).kinds.contains(&Kind::Money) {
            writer.truncate(&[table]);
            return;
        }
        // Money goes all at once, or it would not add up.
        let purses: Vec<TableId> = writer
            .state()
            .tables
            .iter()
            .filter(|(_, table)| table.kinds.contains(&Kind::Money))
            .map(|(id, _)| *id)
            .collect();
        if !purses.iter().any(|table| self.database.is_held(*table)) {
            writer.truncate(&purses);
        }
    }

    fn reshape(&mut self, writer: &mut Writer) {
        let Some(table) = self.free_table(writer) else {
            return;
        };
        self.next_name += 1;
        let name = format!("c{}", self.next_name);
        let now = std::sync::Arc::clone(writer.table(table));
        let plain: Vec<usize> = (0..now.kinds.len())
            .filter(|&index| now.kinds[index] == Kind::Plain)
            .collect();
        let narrow = plain
            .iter()
            .find(|&&index| now.schema.columns[index].data_type == DataType::Int32);
        match (self.rng.random_range(0..10), plain.choose(&mut self.rng)) {
            (0..=1, Some(&index)) if now.schema.columns.len() > 2 => {
                writer.drop_column(table, index);
            }
            (2..=3, Some(&index)) if self.mix.renames => writer.rename_column(table, index, &name),
            (4, Some(&index)) => {
                let nullable = now.schema.columns[index].nullable;
                if nullable {
                    return;
                }
                writer.set_nullable(table, index, true);
            }
            (5, _) if narrow.is_some() => {
                writer.widen_column(table, *narrow.expect("just looked"));
            }
            (6, _) if now.schema.columns.len() < 8 => {
                writer.add_column(table, &name, DataType::Utf8, Value::Null);
            }
            _ if now.schema.columns.len() < 8 => {
                let value = match self.rng.random_range(0..3) {
                    0 => Value::Null,
                    _ => Value::Int(self.rng.random_range(0..9)),
                };
                writer.add_column(table, &name, DataType::Int32, value);
            }
            _ => {}
        }
    }

    fn drop_table(&mut self, writer: &mut Writer) {
        let mut added: Vec<TableId> = writer
            .state()
            .tables
            .iter()
            .filter(|(_, table)| table.schema.name.table.starts_with("added"))
            .map(|(id, _)| *id)
            .collect();
        added.retain(|table| !self.database.is_held(*table));
        if let Some(&table) = added.choose(&mut self.rng) {
            writer.drop_table(table);
        }
    }

    fn add_table(&mut self, writer: &mut Writer) {
        self.next_name += 1;
        let table = writer.create(
            TableName::new("shop", format!("added_{}", self.next_name)),
            vec![
                (column(1, "id", DataType::Int32), Kind::Key),
                (column(2, "body", DataType::Utf8), Kind::Large),
                (column(3, "part", DataType::Int32), Kind::Plain),
            ],
            vec![0],
            Identity::Key,
        );
        for _ in 0..self.rng.random_range(0..5) {
            let row = self.row(writer, table);
            writer.insert(table, row);
        }
    }
}

/// What a log may say beside the rows: of either kind.
fn said(commit: CommitNumber) -> Said {
    let text = format!("after commit {commit}");
    match commit % 2 {
        0 => Said::Message {
            prefix: "model".to_owned(),
            content: text.into_bytes(),
        },
        _ => Said::Schema(vec![SchemaChange {
            database: "model".to_owned(),
            statement: text,
            table: None,
        }]),
    }
}
