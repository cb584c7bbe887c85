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
        let attnums = attnums(&captured, catalog, known);
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

/// The attnums of the columns that were sent, which the log does not say: by name and type in the
/// catalog, by name in what was known, and else by their place between those, for the columns of
/// a Relation message are in attnum order too. `None` where that is not clear.
fn attnums(
    sent: &[RelationColumn<'_>],
    catalog: Option<&CatalogTable>,
    known: Option<&TableSchema>,
) -> Vec<Option<i16>> {
    let mut attnums: Vec<Option<i16>> = sent
        .iter()
        .map(|column| catalog_column(column, catalog).map(|found| found.attnum))
        .collect();
    for (index, column) in sent.iter().enumerate() {
        let before = known.and_then(|it| it.columns.iter().find(|it| it.name == column.name));
        let id = before.and_then(|before| i16::try_from(before.id?).ok());
        if attnums[index].is_none() && !attnums.contains(&id) {
            attnums[index] = id;
        }
    }
    let Some(catalog) = catalog else {
        return attnums;
    };
    let mut all: Vec<i16> = catalog.columns.iter().map(|it| it.attnum).collect();
    all.extend(&catalog.dropped);
    all.sort_unstable();
    let mut start = 0;
    while let Some(length) = attnums[start..].iter().position(Option::is_none) {
        start += length;
        let after = attnums[start..].iter().position(Option::is_some);
        let end = after.map_or(attnums.len(), |length| start + length);
        let low = attnums[..start]
            .iter()
            .flatten()
            .max()
            .copied()
            .unwrap_or(0);
        let high = attnums[start..].iter().flatten().min().copied();
        let free: Vec<i16> = all
            .iter()
            .copied()
            .filter(|number| {
                *number > low
                    && high.is_none_or(|high| *number < high)
                    && !attnums.contains(&Some(*number))
            })
            .collect();
        // Behind the last one there may be columns that are younger than the log.
        let clear = free.len() == end - start
            || high.is_none()
                && free.len() > end - start
                && !free.iter().any(|number| catalog.dropped.contains(number));
        if clear {
            for (place, number) in attnums[start..end].iter_mut().zip(free) {
                *place = Some(number);
            }
        }
        start = end;
    }
    attnums
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
    let before = known
        .and_then(|it| it.columns.iter().find(|it| it.name == sent.name))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::ReplicaIdentity;

    const INT4: u32 = 23;

    fn sent(name: &str) -> RelationColumn<'_> {
        RelationColumn {
            key: name == "id",
            name,
            type_oid: INT4,
            typmod: -1,
        }
    }

    /// Columns by attnum from 1; the empty name is a dropped one.
    fn catalog(names: &[&str]) -> CatalogTable {
        let numbered = || (1..).zip(names);
        CatalogTable {
            oid: 7,
            name: TableName::new("public", "t"),
            columns: numbered()
                .filter(|(_, name)| !name.is_empty())
                .map(|(attnum, name)| CatalogColumn {
                    attnum,
                    name: (*name).to_owned(),
                    type_oid: INT4,
                    typmod: -1,
                    dimensions: 0,
                    type_name: "integer".to_owned(),
                    nullable: true,
                    existing: None,
                })
                .collect(),
            dropped: numbered()
                .filter(|(_, name)| name.is_empty())
                .map(|(attnum, _)| attnum)
                .collect(),
            generated: Vec::new(),
            key: vec![1],
            identity: ReplicaIdentity::Default,
            partitioned: false,
            row_security: false,
        }
    }

    fn found(sent_names: &[&str], now: &[&str]) -> Vec<Option<i16>> {
        let columns: Vec<_> = sent_names.iter().map(|name| sent(name)).collect();
        attnums(&columns, Some(&catalog(now)), None)
    }

    #[test]
    fn a_column_that_was_renamed_or_dropped_later_is_found_by_its_place() {
        assert_eq!(found(&["id", "a", "b"], &["id", "x", "b"])[1], Some(2));
        assert_eq!(found(&["id", "a", "b"], &["id", "", "b"])[1], Some(2));
        assert_eq!(found(&["id", "a"], &["id", ""])[1], Some(2));
        assert_eq!(found(&["id", "a"], &["id", "x", "younger"])[1], Some(2));
        assert_eq!(
            found(&["a", "b"], &["x", "y"]),
            [Some(1), Some(2)],
            "every one renamed"
        );
    }

    #[test]
    fn a_place_that_is_not_clear_gives_no_attnum() {
        // Either of the two dropped ones.
        assert_eq!(found(&["id", "a", "b"], &["id", "", "", "b"])[1], None);
        assert_eq!(found(&["id", "a"], &["id", "", "younger"])[1], None);
    }

    #[test]
    fn what_was_known_names_a_column_that_the_catalog_has_no_more() {
        let mut before = Column::new("a", arrow::datatypes::DataType::Int32, "integer");
        before.id = Some(3);
        let known = TableSchema::new(
            TableId(7),
            TableName::new("public", "t"),
            1,
            vec![before],
            Vec::new(),
            Identity::Key,
        );
        let columns = [sent("id"), sent("a"), sent("b")];
        let catalog = catalog(&["id", "", "", "b"]);
        assert_eq!(
            attnums(&columns, Some(&catalog), Some(&known)),
            [Some(1), Some(3), Some(4)]
        );
        // Not a second time where the catalog has given it to another.
        let catalog = super::tests::catalog(&["id", "x", "b"]);
        assert_eq!(
            attnums(&columns, Some(&catalog), Some(&known)),
            [Some(1), Some(2), Some(3)]
        );
    }
}
