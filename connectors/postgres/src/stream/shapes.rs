//! What a table looks like at a place in the log.
//!
//! The log says names and types; the catalog says the rest, but as of now, which may be later. So
//! a Relation message goes before the catalog, and where the two disagree the shape that was known
//! before fills the gap. Invariant: the same log gives the same columns, whatever the catalog says;
//! a version number rises only when the shape differs.

use std::collections::HashMap;
use std::iter::zip;
use std::sync::Arc;

use cdc_api::{Column, Identity, Result, TableId, TableName, TableSchema};

use crate::catalog::{CatalogColumn, CatalogTable};
use crate::decode::pgoutput::{Relation, RelationColumn};
use crate::decode::table::TableVersion;
use crate::stream::attnums::attnums;
use crate::types::{ColumnType, TypeTable};

/// The shapes so far.
pub(super) struct Shapes {
    known: HashMap<TableId, Arc<TableSchema>>,
}

impl Shapes {
    /// The shapes as of the start.
    pub(super) fn new(known: &[Arc<TableSchema>]) -> Self {
        Self {
            known: known
                .iter()
                .map(|table| (table.id, Arc::clone(table)))
                .collect(),
        }
    }

    /// Whether the table has been captured before.
    pub(super) fn knows(&self, oid: u32) -> bool {
        self.known.contains_key(&TableId(u64::from(oid)))
    }

    /// The version that rows after `relation` have, and whether all its columns can be read in
    /// binary. `named`: what the server calls the types of
    /// columns that the catalog does not have (any more).
    ///
    /// # Errors
    /// Of this table, where a type cannot be represented or old rows lack the key.
    pub(super) fn version(
        &mut self,
        relation: &Relation<'_>,
        catalog: Option<&CatalogTable>,
        types: &TypeTable,
        named: &HashMap<(u32, i32), String>,
    ) -> Result<(TableVersion, bool)> {
        let id = TableId(u64::from(relation.oid));
        let known = self.known.get(&id).map(Arc::as_ref);
        let mut columns = Vec::new();
        let mut resolved = Vec::new();
        let mut key = Vec::new();
        let generated =
            |name: &str| catalog.is_some_and(|it| it.generated.iter().any(|other| other == name));
        let captured: Vec<RelationColumn<'_>> = relation
            .columns()
            .filter(|sent| !generated(sent.name))
            .collect();
        let name = TableName::new(relation.schema, relation.name);
        let attnums = attnums(&captured, catalog, known, named)
            .map_err(|error| error.hint(format!("cdc snapshot {name}")).for_table(id))?;
        for (sent, attnum) in zip(&captured, attnums) {
            if sent.key {
                key.push(columns.len());
            }
            let (column, column_type) = column(sent, attnum, catalog, known, types, named)
                .map_err(|error: cdc_api::Error| error.for_table(id))?;
            columns.push(column);
            resolved.push(column_type);
        }
        let identity = match relation.identity {
            b'f' => Identity::Full,
            b'd' | b'i' if !key.is_empty() => Identity::Key,
            _ => Identity::None,
        };
        let catalog_key = catalog_key(&columns, catalog, known);
        // Under FULL every column is flagged; the catalog also knows the key's order.
        let same_columns =
            catalog_key.len() == key.len() && key.iter().all(|column| catalog_key.contains(column));
        if identity != Identity::Key || same_columns {
            key = catalog_key;
        }
        let version = known.map_or(1, |known| known.version + 1);
        let shape = TableSchema::new(id, name, version, columns, key, identity);
        let schema = match self.known.get(&id) {
            Some(known) if shape.same_shape(known) => Arc::clone(known),
            _ => Arc::new(shape),
        };
        self.known.insert(id, Arc::clone(&schema));
        let binary = resolved.iter().all(ColumnType::reads_binary);
        Ok((TableVersion::new(schema, resolved, relation)?, binary))
    }
}

/// The catalog's column of the same name and type.
pub(super) fn catalog_column<'a>(
    sent: &RelationColumn<'_>,
    catalog: Option<&'a CatalogTable>,
) -> Option<&'a CatalogColumn> {
    catalog?.columns.iter().find(|column| {
        column.name == sent.name && column.type_oid == sent.type_oid && column.typmod == sent.typmod
    })
}

fn column(
    sent: &RelationColumn<'_>,
    attnum: Option<i16>,
    catalog: Option<&CatalogTable>,
    known: Option<&TableSchema>,
    types: &TypeTable,
    named: &HashMap<(u32, i32), String>,
) -> Result<(Column, ColumnType)> {
    // The same column may have another name now; of another type it says nothing here.
    let found = catalog.and_then(|catalog| {
        catalog.columns.iter().find(|column| {
            Some(column.attnum) == attnum
                && column.type_oid == sent.type_oid
                && column.typmod == sent.typmod
        })
    });
    let dimensions = found.map_or(0, |found| found.dimensions);
    let resolved = types.resolve(sent.type_oid, sent.typmod, dimensions)?;
    let type_name = found
        .map(|found| &found.type_name)
        .or_else(|| named.get(&(sent.type_oid, sent.typmod)))
        .map_or("", String::as_str);
    let mut column = resolved.column(sent.name, 0, type_name);
    column.id = attnum.and_then(|attnum| u64::try_from(attnum).ok());
    let same = |it: &&Column| match (it.id, column.id) {
        (Some(before), Some(now)) => before == now,
        _ => it.name == sent.name,
    };
    let before = known
        .and_then(|it| it.columns.iter().find(same))
        .filter(|before| before.source_type == type_name);
    if let Some(found) = found {
        column.nullable = found.nullable;
        let existing = found.existing.as_deref();
        column.existing = existing.map(|text| resolved.existing(text)).transpose()?;
    } else if let Some(before) = before {
        column.nullable = before.nullable;
        column.existing.clone_from(&before.existing);
    }
    Ok((column, resolved))
}

/// The key by the catalog, or by what was known, as indices into `columns`.
fn catalog_key(
    columns: &[Column],
    catalog: Option<&CatalogTable>,
    known: Option<&TableSchema>,
) -> Vec<usize> {
    let place = |id: Option<u64>, name: &str| {
        let same = |it: &Column| match (it.id, id) {
            (Some(one), Some(other)) => one == other,
            _ => it.name == name,
        };
        columns.iter().position(same)
    };
    let places: Option<Vec<usize>> = match (catalog, known) {
        (Some(catalog), _) => catalog
            .key
            .iter()
            .map(|attnum| {
                let column = catalog.columns.iter().find(|it| it.attnum == *attnum)?;
                place(u64::try_from(*attnum).ok(), &column.name)
            })
            .collect(),
        (None, Some(known)) => known
            .key_columns()
            .map(|column| place(column.id, &column.name))
            .collect(),
        (None, None) => None,
    };
    places.unwrap_or_default()
}
