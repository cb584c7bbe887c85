//! What every source must do. Run all of it with [`crate::source_conformance!`].

mod cases;
mod history;

use std::sync::Arc;

use async_trait::async_trait;

use crate::schema::quote_identifier;
use crate::{Result, Source, TableName};

pub use cases::*;

/// A connector's own way to a database of its own: empty, and nobody else's.
///
/// Every table of the suite is in one schema and has three columns: `id` (bigint, the primary
/// key), `body` (text) and `qty` (integer).
#[async_trait]
pub trait Database: Send {
    /// The schema that the tables are in.
    fn schema(&self) -> String;

    /// A source of every table of that schema, always with the same pipeline's name.
    fn source(&mut self) -> Arc<dyn Source>;

    /// Runs these actions in one transaction, and commits it. [`Action::sql`] has the statements.
    ///
    /// # Errors
    /// When the database refuses.
    async fn commit(&mut self, actions: &[Action]) -> Result<()>;

    /// Runs these actions in one transaction, and rolls it back. A database that cannot does
    /// nothing.
    ///
    /// # Errors
    /// When the database refuses.
    async fn roll_back(&mut self, actions: &[Action]) -> Result<()>;
}

/// One statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Creates a table.
    Create(TableName),
    /// Inserts a row.
    Insert(TableName, i64, Option<String>, Option<i32>),
    /// Changes `qty` alone.
    SetQty(TableName, i64, Option<i32>),
    /// Changes `body` alone.
    SetBody(TableName, i64, Option<String>),
    /// Changes the key alone.
    SetId(TableName, i64, i64),
    /// Deletes a row.
    Delete(TableName, i64),
    /// Empties tables, by one statement where the database can.
    Truncate(Vec<TableName>),
    /// Adds an integer column with a default.
    AddColumn(TableName, String, i32),
}

impl Action {
    /// The statement in standard SQL, as PostgreSQL takes it.
    pub fn sql(&self) -> String {
        let text = |text: &Option<String>| match text {
            Some(text) => format!("'{}'", text.replace('\'', "''")),
            None => "NULL".to_owned(),
        };
        let number = |number: &Option<i32>| match number {
            Some(number) => number.to_string(),
            None => "NULL".to_owned(),
        };
        match self {
            Self::Create(table) => format!(
                "CREATE TABLE {} (id bigint PRIMARY KEY, body text, qty integer)",
                table.quoted()
            ),
            Self::Insert(table, id, body, qty) => format!(
                "INSERT INTO {} (id, body, qty) VALUES ({id}, {}, {})",
                table.quoted(),
                text(body),
                number(qty)
            ),
            Self::SetQty(table, id, qty) => format!(
                "UPDATE {} SET qty = {} WHERE id = {id}",
                table.quoted(),
                number(qty)
            ),
            Self::SetBody(table, id, body) => format!(
                "UPDATE {} SET body = {} WHERE id = {id}",
                table.quoted(),
                text(body)
            ),
            Self::SetId(table, from, to) => {
                format!("UPDATE {} SET id = {to} WHERE id = {from}", table.quoted())
            }
            Self::Delete(table, id) => format!("DELETE FROM {} WHERE id = {id}", table.quoted()),
            Self::Truncate(tables) => {
                let tables: Vec<String> = tables.iter().map(TableName::quoted).collect();
                format!("TRUNCATE {}", tables.join(", "))
            }
            Self::AddColumn(table, column, value) => format!(
                "ALTER TABLE {} ADD COLUMN {} integer DEFAULT {value}",
                table.quoted(),
                quote_identifier(column)
            ),
        }
    }
}

/// Makes one test of each case of the source suite; `$fresh` is called without arguments and
/// awaited, and gives a [`Database`](crate::testing::conformance::source::Database) that is empty.
/// The crate needs tokio with `macros`, `time` and `rt-multi-thread`.
#[macro_export]
macro_rules! source_conformance {
    ($fresh:expr) => {
        $crate::source_conformance! { $fresh;
            tables_are_found_and_the_origin_is_the_beginning
            transactions_come_whole_and_in_order
            a_restart_gives_the_same_rows_the_same_seq
            dropping_next_loses_nothing
            a_mark_comes_after_all_that_was_committed
            a_snapshot_is_what_the_stream_has_given_at_its_mark
            chunks_of_a_later_snapshot_hold_the_table_too
            unchanged_large_values_are_absent_or_whole
            a_key_change_is_a_pair
            a_truncate_has_its_place
            an_added_column_is_told_before_its_rows
            what_was_rolled_back_is_not_given
            a_table_captured_later_comes_from_then_on
            an_acknowledged_checkpoint_can_be_started_from
            an_idle_source_says_nothing
        }
    };
    ($fresh:expr; $($case:ident)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let database = ($fresh)().await;
                $crate::testing::conformance::source::$case(Box::new(database)).await;
            }
        )+
    };
}

#[cfg(test)]
mod tests;
