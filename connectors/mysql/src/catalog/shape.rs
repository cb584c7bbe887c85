//! From the catalog's words to the engine's: a table's shape, and why it cannot be captured.

use cdc_api::{Error, Identity, Result, TableSchema};

use super::{CatalogTable, quoted};
use crate::decode::definition::{DefinedColumn, Definition};
use crate::position::table_id;
use crate::types::{ColumnType, TypeOptions};

/// The types of the table's columns, in their order.
///
/// # Errors
/// `Unsupported`, of this table, where a type is not known.
pub(crate) fn column_types(table: &CatalogTable, options: TypeOptions) -> Result<Vec<ColumnType>> {
    table
        .columns
        .iter()
        .map(|column| {
            ColumnType::of_catalog(&column.column_type, column.charset.as_deref(), options).map_err(
                |error| {
                    error
                        .context(format!("describing {}", table.name))
                        .for_table(table_id(&table.name))
                },
            )
        })
        .collect()
}

/// The table's shape, at `version`. Old rows are whole, which `binlog_row_image = FULL` sees to.
///
/// # Errors
/// `Unsupported`, of this table, where a type is not known.
pub(crate) fn shape(
    table: &CatalogTable,
    options: TypeOptions,
    version: u32,
) -> Result<TableSchema> {
    let columns = column_types(table, options)?
        .iter()
        .zip(&table.columns)
        .map(|(resolved, column)| {
            let mut result = resolved.column(&column.name);
            result.nullable = column.nullable;
            result.generated = column.generated;
            result
        })
        .collect();
    Ok(TableSchema::new(
        table_id(&table.name),
        table.name.clone(),
        version,
        columns,
        table.key.clone(),
        Identity::Full,
    ))
}

/// The table's definition, for a log that does not say it.
pub(crate) fn definition(table: &CatalogTable) -> Definition {
    let columns = table.columns.iter().map(|column| DefinedColumn {
        name: column.name.clone(),
        column_type: column.column_type.clone(),
        charset: column.charset.clone(),
        nullable: Some(column.nullable),
        generated: column.generated,
        auto_increment: Some(column.auto_increment),
        id: None,
        existing: None,
    });
    Definition {
        charset: table.charset.clone(),
        columns: columns.collect(),
        key: table
            .key
            .iter()
            .map(|&index| table.columns[index].name.clone())
            .collect(),
    }
}

/// Whether a type of MariaDB is a time with a fraction in the old format, which it says in a comment.
fn old_fraction(column_type: &str) -> bool {
    column_type.contains("mariadb-5.3") && column_type.contains('(')
}

/// Why the table cannot be captured, with the statement that mends it. `allowed`: the user takes it
/// although foreign keys change it beside the log.
pub(crate) fn refusal(table: &CatalogTable, allowed: bool) -> Option<Error> {
    let name = &table.name;
    let statement = quoted(name);
    let error = if !matches!(table.engine.as_str(), "InnoDB" | "ROCKSDB") {
        Error::unsupported(format!(
            "{name} is of the engine {}, which has no consistent view of its rows",
            match table.engine.as_str() {
                "" => "(none)",
                engine => engine,
            }
        ))
        .hint(format!(
            "ALTER TABLE {statement} ENGINE = InnoDB, or exclude it"
        ))
    } else if table.versioned {
        Error::unsupported(format!(
            "{name} is system-versioned: its old rows would count as rows"
        ))
        .hint(format!(
            "ALTER TABLE {statement} DROP SYSTEM VERSIONING, or exclude it"
        ))
    } else if let Some(column) = table
        .columns
        .iter()
        .find(|it| old_fraction(&it.column_type))
    {
        Error::unsupported(format!(
            "the column {} of {name} holds fractions of a second in the format before MySQL 5.6, which \
             the log does not tell",
            cdc_api::schema::quote_identifier(&column.name)
        ))
        .hint(format!(
            "SET GLOBAL mysql56_temporal_format = ON; ALTER TABLE {statement} FORCE; or exclude it"
        ))
    } else if let (Some(constraint), false) = (&table.cascade, allowed) {
        Error::unsupported(format!(
            "the foreign key {constraint} changes rows of {name} without this server's writing them to \
             its log"
        ))
        .hint(format!(
            "ALTER TABLE {statement} DROP FOREIGN KEY {}, and add it again with ON DELETE RESTRICT ON \
             UPDATE RESTRICT; or list the table in source.allow_cascades, where nothing but \
             cdc verify will tell of such changes; MySQL 9.6 and later log them",
            super::identifier(constraint)
        ))
    } else {
        return None;
    };
    Some(error.for_table(table_id(name)))
}

#[cfg(test)]
mod tests {
    use cdc_api::TableName;

    use super::*;
    use crate::catalog::CatalogColumn;

    fn table() -> CatalogTable {
        let column = |name: &str, column_type: &str| CatalogColumn {
            name: name.to_owned(),
            column_type: column_type.to_owned(),
            charset: None,
            collation: None,
            nullable: false,
            generated: false,
            auto_increment: false,
            default: None,
            plain: true,
        };
        CatalogTable {
            name: TableName::new("shop", "orders"),
            columns: vec![column("v", "double"), column("id", "bigint unsigned")],
            key: vec![1],
            charset: None,
            engine: "InnoDB".to_owned(),
            versioned: false,
            created: "2026-01-01 00:00:00".to_owned(),
            cascade: None,
            rows: 0,
            bytes: 0,
        }
    }

    #[test]
    fn a_shape_has_the_catalogs_columns_and_key() {
        let shape = shape(&table(), TypeOptions::default(), 3).expect("known types");
        assert_eq!(shape.version, 3);
        assert_eq!(shape.identity, Identity::Full);
        let key: Vec<&str> = shape.key_columns().map(|it| it.name.as_str()).collect();
        assert_eq!(key, ["id"]);
    }

    #[test]
    fn a_type_that_is_not_known_is_its_tables_error() {
        let mut odd = table();
        odd.columns[0].column_type = "hologram(3)".to_owned();
        let error = shape(&odd, TypeOptions::default(), 1).expect_err("unknown");
        assert_eq!(error.table(), Some(table_id(&odd.name)));
        assert!(error.hint_text().is_some());
    }

    #[test]
    fn what_the_log_does_not_tell_truly_is_refused_with_a_remedy() {
        assert!(refusal(&table(), false).is_none());
        let memory = CatalogTable {
            engine: "MEMORY".to_owned(),
            ..table()
        };
        let versioned = CatalogTable {
            versioned: true,
            ..table()
        };
        let cascading = CatalogTable {
            cascade: Some("orders_fk".to_owned()),
            ..table()
        };
        assert!(refusal(&cascading, true).is_none());
        for (table, hint) in [
            (memory, "ENGINE = InnoDB"),
            (versioned, "DROP SYSTEM VERSIONING"),
            (cascading, "DROP FOREIGN KEY `orders_fk`"),
        ] {
            let error = refusal(&table, false).expect("refused");
            assert_eq!(error.table(), Some(table_id(&table.name)));
            assert!(error.hint_text().unwrap_or_default().contains(hint));
        }
    }
}
