//! What a table is at a place in the log, as far as table maps may not say it: names, signs,
//! character sets, members, the key.
//!
//! A definition comes from the catalog at a snapshot's mark, and every statement about the table
//! changes it ([`change`]); [`kept`] keeps it across restarts, by the number that the statement took.
//! Invariant: fails closed. A statement that is not understood leaves [`Defined::Lost`], and rows of
//! a shape that does not fit their table map are not read (`table_map`).

pub(crate) mod change;
pub(crate) mod kept;

use std::sync::Arc;

use cdc_api::{Identity, Result, TableName, TableSchema};
use serde::{Deserialize, Serialize};

use crate::position::table_id;
use crate::types::{ColumnType, TypeOptions};

/// A table's definition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Definition {
    /// The character set of columns that are made without one; `None` where it is not known.
    pub(crate) charset: Option<String>,
    /// In their order; invisible and generated ones too, which the log carries.
    pub(crate) columns: Vec<DefinedColumn>,
    /// Names of the primary key's columns, in key order.
    pub(crate) key: Vec<String>,
}

/// A column of a definition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DefinedColumn {
    /// Its name.
    pub(crate) name: String,
    /// Its type as `information_schema.COLUMNS.COLUMN_TYPE` has it.
    pub(crate) column_type: String,
    /// Its character set, where it has one.
    pub(crate) charset: Option<String>,
    /// Whether it admits NULL; `None` where a statement left that to the server.
    pub(crate) nullable: Option<bool>,
    /// Whether the server computes it.
    pub(crate) generated: bool,
}

/// What is known of a table's definition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Defined {
    /// This is it.
    Known(Arc<Definition>),
    /// It is not known, and why; until the table is in a snapshot again.
    Lost(String),
}

/// A table of a snapshot, as it is in it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Described {
    /// For the engine.
    pub(crate) shape: Arc<TableSchema>,
    /// For table maps that do not say it.
    pub(crate) definition: Arc<Definition>,
}

impl Definition {
    /// The first version of the shape that it gives a table.
    ///
    /// # Errors
    /// `Unsupported` where a type or character set is not known.
    pub(crate) fn shape(&self, name: &TableName, options: TypeOptions) -> Result<Arc<TableSchema>> {
        let columns = self.columns.iter().map(|defined| {
            let mut column = defined.resolve(options)?.column(&defined.name);
            column.nullable = defined.nullable.unwrap_or(true);
            column.generated = defined.generated;
            Ok(column)
        });
        let place = |name: &String| self.columns.iter().position(|it| it.is(name));
        Ok(Arc::new(TableSchema::new(
            table_id(name),
            name.clone(),
            1,
            columns.collect::<Result<_>>()?,
            self.key.iter().filter_map(place).collect(),
            Identity::Full,
        )))
    }
}

impl DefinedColumn {
    /// What its values become.
    ///
    /// # Errors
    /// `Unsupported` where type or character set is not known.
    pub(crate) fn resolve(&self, options: TypeOptions) -> Result<ColumnType> {
        ColumnType::of_catalog(&self.column_type, self.charset.as_deref(), options)
    }

    /// Whether a name is this column's, which the servers compare without case.
    pub(crate) fn is(&self, name: &str) -> bool {
        same_name(&self.name, name)
    }
}

/// Whether two names of columns are the same to the servers.
pub(crate) fn same_name(one: &str, other: &str) -> bool {
    one == other || one.to_lowercase() == other.to_lowercase()
}

/// The character set of a collation by its name; `None` where the name does not say it.
pub(crate) fn charset_of(collation: &str) -> Option<&str> {
    let name = collation.split('_').next().unwrap_or(collation);
    let known = name == "binary" || crate::types::Charset::by_name(name).is_some();
    known.then_some(name)
}
