//! What differs between the engines that the one flow can drive: types and the text of the
//! statements. The flow (fold, stage, apply, commit) has no SQL of its own but bookkeeping.
//!
//! Invariant: a type that [`Dialect::column_type`] names holds every value of the Arrow type it
//! is given for, as [`crate::values`] hands it over.

pub(crate) mod duckdb;

use cdc_api::Column;
use cdc_api::schema::quote_identifier;

/// A column of a target and how its values are told apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TargetColumn {
    /// Its name in the target.
    pub(crate) name: String,
    /// Its type in the engine's words.
    pub(crate) sql_type: String,
    /// Whether NULL may stand in it.
    pub(crate) nullable: bool,
}

/// Rows whose absent values are to be taken from base rows.
pub(crate) struct Fill<'a> {
    /// The stage to make.
    pub(crate) into: &'a str,
    /// The table with the base rows.
    pub(crate) table: &'a str,
    /// The staged rows.
    pub(crate) stage: &'a str,
    /// The table's columns.
    pub(crate) columns: &'a [TargetColumn],
    /// Which of them are the key.
    pub(crate) key: &'a [usize],
    /// Which of them any row lacks.
    pub(crate) absent: &'a [usize],
    /// Whether the mark of deleted rows comes last.
    pub(crate) deleted: bool,
}

/// The words of one engine. `table` arguments are complete, quoted names.
pub(crate) trait Dialect: Send + Sync {
    /// The type that holds this column exactly, or `None` where there is none.
    fn column_type(&self, column: &Column) -> Option<String>;

    /// Whether a column changes from one type to another in place, every value staying the same.
    fn widens(&self, from: &Column, to: &Column) -> bool;

    /// `CREATE TABLE`, without constraints: the source has checked them.
    fn create_table(&self, table: &str, columns: &[(String, String)]) -> String;

    /// A table of this session alone, replacing one of the same name; not logged.
    fn create_stage(&self, name: &str, columns: &[(String, String)]) -> String;

    /// The complete name of a stage.
    fn stage(&self, name: &str) -> String;

    /// Deletes the rows whose key is in the stage, whose columns are `k0`, `k1`, ….
    fn delete_staged_keys(&self, table: &str, stage: &str, key: &[TargetColumn]) -> String;

    /// Makes a stage with the rows of another (columns `c0` …, base key `k0` …, absent
    /// flags `a<i>` of the columns in `absent`), each absent value taken from the base row. Rows
    /// without a base row are left out.
    fn fill_absent(&self, fill: &Fill<'_>) -> String;

    /// Selects the row ids of `n` rows for each row of the stage (columns `c0` …, `n`, `i`) that
    /// equal it in every column, bit by bit.
    fn matching_rows(
        &self,
        table: &str,
        stage: &str,
        columns: &[TargetColumn],
        live: Option<&str>,
    ) -> String;

    /// Expressions that are equal exactly if two values of the column are the same.
    fn identity(&self, qualified: &str, sql_type: &str) -> Vec<String>;
}

/// Names in double quotes, separated by commas.
pub(crate) fn quoted_list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names
        .into_iter()
        .map(quote_identifier)
        .collect::<Vec<_>>()
        .join(", ")
}
