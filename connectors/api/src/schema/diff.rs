//! What changed between two versions of a table, for sinks to make into DDL.
//!
//! Columns are matched by the source's own id where both versions have it, else by name. What a
//! target can do about each change (widen in place, keep the dropped column, stop the table) is
//! the sink's to decide.

use crate::{Column, TableName, TableSchema};

/// One column's change.
#[derive(Debug, Clone, PartialEq)]
pub enum ColumnChange {
    /// A column that the old version did not have.
    Add {
        /// The new column.
        column: Column,
    },
    /// A column that the new version does not have.
    Drop {
        /// Its name in the old version.
        name: String,
    },
    /// The same column under another name.
    Rename {
        /// Its name in the old version.
        from: String,
        /// Its name in the new version.
        to: String,
    },
    /// Another type; the name is the new version's.
    Retype {
        /// Its name in the new version.
        name: String,
        /// The column as it was.
        from: Column,
        /// The column as it is.
        to: Column,
    },
    /// NULL is admitted from here on, or no more; the name is the new version's.
    Nullable {
        /// Its name in the new version.
        name: String,
        /// Whether NULL is admitted.
        nullable: bool,
    },
}

/// All that changed between two versions of one table. Renames come first, then drops, then
/// retypes and nullability, then adds, so that names freed by one are free for the next.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SchemaDiff {
    /// The table's old name, if it was renamed.
    pub renamed_from: Option<TableName>,
    /// The columns' changes, in the order in which to apply them. A rename onto a name that
    /// another rename frees only later (`a` ↔ `b`) is for the sink to resolve.
    pub columns: Vec<ColumnChange>,
    /// Whether other columns tell rows apart now.
    pub key_changed: bool,
    /// Whether old rows carry more or less than before.
    pub identity_changed: bool,
}

impl SchemaDiff {
    /// What turns `old` into `new`.
    pub fn between(old: &TableSchema, new: &TableSchema) -> Self {
        let matched: Vec<Option<usize>> = new
            .columns
            .iter()
            .map(|column| find(&old.columns, column))
            .collect();
        let mut renames = Vec::new();
        let mut changes = Vec::new();
        let mut adds = Vec::new();
        for (column, matched) in new.columns.iter().zip(&matched) {
            let Some(before) = matched.map(|index| &old.columns[index]) else {
                adds.push(ColumnChange::Add {
                    column: column.clone(),
                });
                continue;
            };
            if before.name != column.name {
                renames.push(ColumnChange::Rename {
                    from: before.name.clone(),
                    to: column.name.clone(),
                });
            }
            if before.data_type != column.data_type || before.source_type != column.source_type {
                changes.push(ColumnChange::Retype {
                    name: column.name.clone(),
                    from: before.clone(),
                    to: column.clone(),
                });
            }
            if before.nullable != column.nullable {
                changes.push(ColumnChange::Nullable {
                    name: column.name.clone(),
                    nullable: column.nullable,
                });
            }
        }
        let drops = old
            .columns
            .iter()
            .enumerate()
            .filter(|(index, _)| !matched.contains(&Some(*index)))
            .map(|(_, column)| ColumnChange::Drop {
                name: column.name.clone(),
            });
        let mut columns = renames;
        columns.extend(drops);
        columns.extend(changes);
        columns.extend(adds);

        let old_key: Vec<Option<usize>> = old.key.iter().map(|&index| Some(index)).collect();
        let new_key: Vec<Option<usize>> = new.key.iter().map(|&index| matched[index]).collect();
        Self {
            renamed_from: (old.name != new.name).then(|| old.name.clone()),
            columns,
            key_changed: old_key != new_key,
            identity_changed: old.identity != new.identity,
        }
    }

    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

fn find(columns: &[Column], wanted: &Column) -> Option<usize> {
    columns
        .iter()
        .position(|column| match (column.id, wanted.id) {
            (Some(a), Some(b)) => a == b,
            _ => column.name == wanted.name,
        })
}
