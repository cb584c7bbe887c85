//! What a table looks like at a place in the log.
//!
//! The log says names and types; the catalog says the rest, but as of now, which may be later. So
//! a Relation message goes before the catalog, and where the two disagree the shape that was known
//! before fills the gap. Invariant: the same log gives the same columns, whatever the catalog says;
//! a version number rises only when the shape differs.

use std::collections::HashMap;
use std::sync::Arc;

use cdc_api::{Column, Identity, Result, TableId, TableName, TableSchema};

use crate::catalog::{CatalogColumn, CatalogTable};
use crate::decode::pgoutput::{Relation, RelationColumn};
use crate::decode::table::TableVersion;
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
        for sent in relation.columns() {
            if catalog.is_some_and(|it| it.generated.iter().any(|name| name == sent.name)) {
                continue;
            }
            if sent.key {
                key.push(columns.len());
            }
            let (column, column_type) = column(&sent, catalog, known, types, named)
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
        let name = TableName::new(relation.schema, relation.name);
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
    catalog: Option<&CatalogTable>,
    known: Option<&TableSchema>,
    types: &TypeTable,
    named: &HashMap<(u32, i32), String>,
) -> Result<(Column, ColumnType)> {
    if let Some(found) = catalog_column(sent, catalog) {
        let resolved = types.resolve(found.type_oid, found.typmod, found.dimensions)?;
        let attnum = u32::try_from(found.attnum).unwrap_or(0);
        let mut column = resolved.column(sent.name, attnum, &found.type_name);
        column.nullable = found.nullable;
        column.existing = found
            .existing
            .as_deref()
            .map(|text| resolved.existing(text))
            .transpose()?;
        return Ok((column, resolved));
    }
    let before = known.and_then(|it| it.columns.iter().find(|it| it.name == sent.name));
    let resolved = types.resolve(sent.type_oid, sent.typmod, 0)?;
    let name = named
        .get(&(sent.type_oid, sent.typmod))
        .map_or("", String::as_str);
    let mut column = resolved.column(sent.name, 0, name);
    column.id = before.and_then(|before| before.id);
    if let Some(before) = before.filter(|before| before.source_type == name) {
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
    let place = |name: &str| columns.iter().position(|column| column.name == name);
    let places: Option<Vec<usize>> = match (catalog, known) {
        (Some(catalog), _) => catalog
            .key
            .iter()
            .map(|attnum| {
                let column = catalog.columns.iter().find(|it| it.attnum == *attnum)?;
                place(&column.name)
            })
            .collect(),
        (None, Some(known)) => known
            .key_columns()
            .map(|column| place(&column.name))
            .collect(),
        (None, None) => None,
    };
    places.unwrap_or_default()
}
