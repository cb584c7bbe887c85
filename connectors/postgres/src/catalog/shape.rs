//! From the catalog's words to the engine's: a table's shape, and why it cannot be captured.

use cdc_api::{Error, Identity, Result, TableId, TableSchema};

use super::{CatalogTable, Listed, OddLeaf, ReplicaIdentity};
use crate::types::TypeTable;

/// The table's shape, at `version`.
///
/// # Errors
/// `Unsupported`, of this table, where a type or an existing value cannot be represented.
pub(crate) fn shape(table: &CatalogTable, types: &TypeTable, version: u32) -> Result<TableSchema> {
    let id = TableId(u64::from(table.oid));
    let columns = table
        .columns
        .iter()
        .map(|column| {
            let resolved = types.resolve(column.type_oid, column.typmod, column.dimensions)?;
            let attnum = u64::try_from(column.attnum).unwrap_or(0);
            let mut result = resolved.column(&column.name, attnum, &column.type_name);
            result.nullable = column.nullable;
            result.existing = column
                .existing
                .as_deref()
                .map(|text| resolved.existing(text))
                .transpose()?;
            Ok(result)
        })
        .collect::<Result<Vec<_>>>()
        .map_err(|error: Error| {
            error
                .context(format!("describing {}", table.name))
                .for_table(id)
        })?;
    let key = table
        .key
        .iter()
        .filter_map(|attnum| table.columns.iter().position(|it| it.attnum == *attnum))
        .collect();
    Ok(TableSchema::new(
        id,
        table.name.clone(),
        version,
        columns,
        key,
        identity(table),
    ))
}

/// What old rows of the table carry.
pub(crate) fn identity(table: &CatalogTable) -> Identity {
    match table.identity {
        ReplicaIdentity::Full => Identity::Full,
        ReplicaIdentity::Nothing => Identity::None,
        ReplicaIdentity::Default | ReplicaIdentity::Index if table.key.is_empty() => Identity::None,
        ReplicaIdentity::Default | ReplicaIdentity::Index => Identity::Key,
    }
}

/// Why the table cannot be captured, with the statement that mends it. `append_only`: the user
/// takes it without an identity.
pub(crate) fn refusal(listed: &Listed, append_only: bool) -> Option<Error> {
    let table = &listed.table;
    let name = table.name.quoted();
    let error = if !listed.logged {
        Error::unsupported(format!(
            "{} is unlogged: its changes are in no log",
            table.name
        ))
        .hint(format!("ALTER TABLE {name} SET LOGGED, or exclude it"))
    } else if let Some((leaf, what)) = listed.odd_leaves.first() {
        match what {
            OddLeaf::Foreign => Error::unsupported(format!(
                "{} has the foreign table {leaf} as a partition",
                table.name
            ))
            .hint(format!(
                "ALTER TABLE {name} DETACH PARTITION {}, or exclude the table",
                leaf.quoted()
            )),
            OddLeaf::Identity => Error::unsupported(format!(
                "the partition {leaf} has another replica identity than {}",
                table.name
            ))
            .hint(match table.identity {
                ReplicaIdentity::Full => {
                    format!("ALTER TABLE {} REPLICA IDENTITY FULL", leaf.quoted())
                }
                _ => format!("ALTER TABLE {} REPLICA IDENTITY DEFAULT", leaf.quoted()),
            }),
        }
    } else if identity(table) == Identity::None && !append_only {
        Error::unsupported(format!(
            "{} has no replica identity: its updates and deletes cannot be told",
            table.name
        ))
        .hint(format!(
            "ALTER TABLE {name} ADD PRIMARY KEY (…), or ALTER TABLE {name} REPLICA IDENTITY FULL, \
             or list it in source.append_only, where only its inserts are taken"
        ))
    } else {
        return None;
    };
    Some(error.for_table(TableId(u64::from(table.oid))))
}

#[cfg(test)]
mod tests {
    use cdc_api::TableName;

    use super::*;
    use crate::catalog::CatalogColumn;

    fn listed(identity: ReplicaIdentity, key: Vec<i16>) -> Listed {
        let column = |attnum, name: &str| CatalogColumn {
            attnum,
            name: name.to_owned(),
            type_oid: 23,
            typmod: -1,
            dimensions: 0,
            type_name: "integer".to_owned(),
            nullable: true,
            existing: None,
        };
        Listed {
            table: CatalogTable {
                oid: 7,
                name: TableName::new("public", "t"),
                columns: vec![column(1, "a"), column(4, "b")],
                dropped: Vec::new(),
                generated: Vec::new(),
                key,
                identity,
                partitioned: false,
                row_security: false,
            },
            logged: true,
            odd_leaves: Vec::new(),
            rows: 0,
            bytes: 0,
        }
    }

    #[test]
    fn a_table_without_identity_is_refused_unless_it_only_grows() {
        for bad in [
            listed(ReplicaIdentity::Default, vec![]),
            listed(ReplicaIdentity::Nothing, vec![1]),
        ] {
            let error = refusal(&bad, false).expect("refused");
            assert_eq!(error.table(), Some(TableId(7)));
            assert!(error.hint_text().unwrap_or_default().contains("FULL"));
            assert!(refusal(&bad, true).is_none());
        }
        assert!(refusal(&listed(ReplicaIdentity::Full, vec![]), false).is_none());
        assert!(refusal(&listed(ReplicaIdentity::Default, vec![1]), false).is_none());
    }

    #[test]
    fn unlogged_tables_and_odd_partitions_are_refused() {
        let mut unlogged = listed(ReplicaIdentity::Default, vec![1]);
        unlogged.logged = false;
        let error = refusal(&unlogged, true).expect("refused");
        assert!(error.hint_text().unwrap_or_default().contains("SET LOGGED"));
        let mut odd = listed(ReplicaIdentity::Full, vec![]);
        odd.odd_leaves = vec![(TableName::new("public", "t_1"), OddLeaf::Identity)];
        let error = refusal(&odd, true).expect("refused");
        assert_eq!(
            error.hint_text(),
            Some("ALTER TABLE \"public\".\"t_1\" REPLICA IDENTITY FULL")
        );
    }
}
