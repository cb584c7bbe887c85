//! How rows of one version of a table are read: which field is which column, and which are the key.

use std::iter::zip;
use std::sync::Arc;

use cdc_api::{Error, Identity, Result, TableSchema};

use crate::decode::pgoutput::{Field, Relation, Tuple};
use crate::types::ColumnType;

/// How one version of a table is read from the log.
#[derive(Debug)]
pub(crate) struct TableVersion {
    pub(super) schema: Arc<TableSchema>,
    pub(super) types: Vec<ColumnType>,
    /// By field of a row.
    pub(super) fields: Vec<Place>,
    /// Columns that no field of a row fills: always null.
    pub(super) unsent: Vec<usize>,
    /// Bytes of a row beside its values of varying length.
    pub(super) width: usize,
}

/// Where a field goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// The column that the field is of; `None` where it is not captured.
    pub(super) column: Option<usize>,
    /// Whether it is part of the table's key.
    pub(super) key: bool,
}

impl TableVersion {
    /// The table `schema`, whose columns have `types`, as rows after `relation` carry it. Columns
    /// are matched by name.
    ///
    /// # Errors
    /// `Unsupported`, of this table, when old rows will not carry its key.
    pub(crate) fn new(
        schema: Arc<TableSchema>,
        types: Vec<ColumnType>,
        relation: &Relation<'_>,
    ) -> Result<Self> {
        if types.len() != schema.columns.len() {
            return Err(Error::internal("a table needs one type for each column"));
        }
        let columns: Vec<_> = relation.columns().collect();
        let sent = |index: usize| {
            let name = &schema.columns[index].name;
            columns.iter().find(|column| column.name == name)
        };
        if schema.identity == Identity::Key {
            for &index in &schema.key {
                if !sent(index).is_some_and(|column| column.key) {
                    return Err(Error::unsupported(format!(
                        "updates and deletes of {} do not carry its key column {}",
                        schema.name,
                        cdc_api::schema::quote_identifier(&schema.columns[index].name)
                    ))
                    .hint(format!(
                        "ALTER TABLE {} REPLICA IDENTITY DEFAULT, then cdc snapshot {}",
                        schema.name.quoted(),
                        schema.name
                    ))
                    .for_table(schema.id));
                }
            }
        }
        let fields: Vec<Place> = columns
            .iter()
            .map(|sent| {
                let column = schema
                    .columns
                    .iter()
                    .position(|column| column.name == sent.name);
                Place {
                    column,
                    key: column.is_some_and(|index| schema.key.contains(&index)),
                }
            })
            .collect();
        let unsent = (0..schema.columns.len())
            .filter(|index| sent(*index).is_none())
            .collect();
        // Op, number and place come with every row.
        let width = types.iter().map(ColumnType::width).sum::<usize>() + 17;
        Ok(Self {
            schema,
            types,
            fields,
            unsent,
            width,
        })
    }

    /// The table's shape.
    pub(crate) fn schema(&self) -> &Arc<TableSchema> {
        &self.schema
    }
}

impl TableVersion {
    /// Whether an update gives the row another key, or, without a key, is one of whole rows.
    pub(super) fn moves(&self, old: Tuple<'_>, new: Tuple<'_>) -> Result<bool> {
        if self.schema.key.is_empty() {
            return Ok(true);
        }
        self.check_width(old)?;
        self.check_width(new)?;
        for ((old, new), place) in zip(zip(old.fields(), new.fields()), &self.fields) {
            let (old, new) = (old?, new?);
            if place.key && old != new && new != Field::Unchanged {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(super) fn check_width(&self, row: Tuple<'_>) -> Result<()> {
        if row.len() == self.fields.len() {
            Ok(())
        } else {
            Err(Error::data(format!(
                "a row of {} has {} fields where the server announced {}",
                self.schema.name,
                row.len(),
                self.fields.len()
            )))
        }
    }
}
