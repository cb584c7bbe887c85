//! What a table is at a place in the log, as far as table maps may not say it: names, signs,
//! character sets, members, the key.
//!
//! A definition comes from the catalog at a snapshot's mark, and every statement about the table
//! changes it ([`change`]); [`kept`] keeps it across restarts, by the number that the statement took.
//! Invariant: fails closed. A statement that is not understood leaves [`Defined::Lost`], and rows of
//! a shape that does not fit their table map are not read (`table_map`).

pub(crate) mod change;
pub(crate) mod kept;

use std::sync::{Arc, OnceLock};

use cdc_api::{Column, Identity, Result, TableName, TableSchema};
use serde::{Deserialize, Serialize};

use crate::decode::statement::Existing;
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
    /// Whether the server numbers its rows; `None` where that was not noted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) auto_increment: Option<bool>,
    /// [`Column::id`]: the number of the statement or mark that made it and a count within it;
    /// `None` where it was known before columns had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<u64>,
    /// What rows from before hold in it, where it was added since the last snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) existing: Option<Existing>,
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
    /// Where the stream tells the shape as its rows have it, when it gives the mark.
    pub(crate) told: Arc<OnceLock<Arc<TableSchema>>>,
}

impl Definition {
    /// The first version of the shape that it gives a table, without columns that were added since
    /// the snapshot: who has not seen them yet is to be told what older rows hold.
    ///
    /// # Errors
    /// `Unsupported` where a type or character set is not known.
    pub(crate) fn shape(&self, name: &TableName, options: TypeOptions) -> Result<Arc<TableSchema>> {
        let from_before = self.columns.iter().filter(|it| it.existing.is_none());
        let columns = from_before.map(|defined| {
            let mut column = defined.resolve(options)?.column(&defined.name);
            column.nullable = defined.nullable.unwrap_or(true);
            column.generated = defined.generated;
            column.id = defined.id;
            Ok(column)
        });
        let columns = columns.collect::<Result<Vec<Column>>>()?;
        let place = |name: &String| columns.iter().position(|it| same_name(&it.name, name));
        let key = self.key.iter().filter_map(place).collect();
        Ok(Arc::new(TableSchema::new(
            table_id(name),
            name.clone(),
            1,
            columns,
            key,
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

/// The identities of the columns of these names: those that they have by the definition, else by the
/// shape that was told last, else new ones. `seq` is the log's number so far.
///
/// Where the last shape has columns without identity, so may what a sink holds of the table, which
/// can be matched by name alone: there new ones get none either.
pub(crate) fn identities<'a>(
    names: impl IntoIterator<Item = &'a str> + Clone,
    definition: Option<&Definition>,
    known: Option<&TableSchema>,
    seq: u64,
) -> Vec<Option<u64>> {
    let defined = definition.map_or(&[][..], |it| &it.columns);
    let told = known.map_or(&[][..], |it| &it.columns);
    let mut used: Vec<u64> = defined.iter().filter_map(|it| it.id).collect();
    used.extend(told.iter().filter_map(|it| it.id));
    let by_name = told.iter().any(|it| it.id.is_none());
    let identity = |name| {
        let defined = defined.iter().find(|it| it.name == name).map(|it| it.id);
        let told = || told.iter().find(|it| it.name == name).map(|it| it.id);
        match defined.or_else(told) {
            Some(id) => id,
            None if by_name => None,
            None => Some(fresh(seq, &mut used)),
        }
    };
    let ids: Vec<Option<u64>> = names.clone().into_iter().map(identity).collect();
    let twice = |place: usize| ids[place].is_some() && ids[..place].contains(&ids[place]);
    match definition.is_some() && (0..ids.len()).any(twice) {
        // It has one of them under another name, and is not what the table is.
        true => identities(names, None, known, seq),
        false => ids,
    }
}

/// An identity for a column that is made at `seq`, unlike those that are used already.
fn fresh(seq: u64, used: &mut Vec<u64>) -> u64 {
    // A table has at most 4,096 columns.
    let first = seq << 12;
    let id = (first..).find(|id| !used.contains(id)).unwrap_or(first);
    used.push(id);
    id
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

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(columns: &[(&str, Option<u64>)]) -> Definition {
        let column = |(name, id): &(&str, Option<u64>)| DefinedColumn {
            name: (*name).to_owned(),
            column_type: "int".to_owned(),
            charset: None,
            nullable: Some(true),
            generated: false,
            auto_increment: None,
            id: *id,
            existing: None,
        };
        Definition {
            charset: None,
            columns: columns.iter().map(column).collect(),
            key: Vec::new(),
        }
    }

    #[test]
    fn columns_are_known_by_the_definition_then_by_what_was_told() {
        let shape = |columns: &[(&str, Option<u64>)]| {
            let name = TableName::new("shop", "t");
            let shape = definition(columns).shape(&name, TypeOptions::default());
            shape.expect("known types")
        };
        let names = ["a", "b", "c"];
        let fresh = |count: u64| Some(5 << 12 | count);
        assert_eq!(
            identities(names, None, None, 5),
            [fresh(0), fresh(1), fresh(2)]
        );
        let told = shape(&[("a", Some(1)), ("b", fresh(0))]);
        assert_eq!(
            identities(names, None, Some(&told), 5),
            [Some(1), fresh(0), fresh(1)]
        );
        // It was called `a` when it was told.
        let renamed = definition(&[("b", Some(1)), ("c", Some(2))]);
        let told = shape(&[("a", Some(1)), ("c", Some(2))]);
        assert_eq!(
            identities(["b", "c"], Some(&renamed), Some(&told), 5),
            [Some(1), Some(2)]
        );
        // A table that has both is not what the definition says.
        assert_eq!(
            identities(names, Some(&renamed), Some(&told), 5),
            [Some(1), fresh(0), Some(2)]
        );
        // From before columns had any.
        let told = shape(&[("a", None), ("b", None)]);
        assert_eq!(identities(names, None, Some(&told), 5), [None; 3]);
    }
}
