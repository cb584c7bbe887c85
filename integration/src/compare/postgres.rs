//! The tables of a PostgreSQL server, by its catalog; partitions are left to their parent.

use tokio_postgres::Client;

use super::{Column, Table, literal, quoted};
use crate::canonical::Canon;
use crate::postgres::text_rows;

pub(crate) async fn tables(client: &Client, schemas: &[&str]) -> Result<Vec<Table>, String> {
    let schemas = schemas
        .iter()
        .map(|s| literal(s))
        .collect::<Vec<_>>()
        .join(", ");
    let query = format!(
        "SELECT n.nspname, c.relname, a.attname, coalesce(b.typname, t.typname), \
           coalesce(array_position(i.indkey::int2[], a.attnum), -1), \
           format_type(a.atttypid, NULL), (SELECT p.attrelid FROM pg_attribute p WHERE p.attname = a.attname AND p.atthasmissing \
             AND (p.attrelid = c.oid OR p.attrelid IN (SELECT relid FROM pg_partition_tree(c.oid) WHERE isleaf)) LIMIT 1) \
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' \
         JOIN pg_type t ON t.oid = a.atttypid LEFT JOIN pg_type b ON b.oid = t.typbasetype AND t.typtype = 'd' \
         LEFT JOIN pg_index i ON i.indrelid = c.oid AND (i.indisreplident OR (i.indisprimary AND c.relreplident IN ('d', 'f'))) \
         WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND n.nspname IN ({schemas}) \
         ORDER BY 1, 2, a.attnum"
    );
    let mut tables: Vec<Table> = Vec::new();
    for row in text_rows(client, &query).await? {
        let [
            Some(schema),
            Some(name),
            Some(column),
            Some(typname),
            Some(place),
            Some(sql_type),
            older,
        ] = row.as_slice()
        else {
            return Err("the catalog gave a NULL".into());
        };
        if tables
            .last()
            .is_none_or(|t| t.schema != *schema || t.name != *name)
        {
            tables.push(Table {
                schema: schema.clone(),
                name: name.clone(),
                columns: vec![],
                key: vec![],
                query: String::new(),
            });
        }
        if let Some(table) = tables.last_mut() {
            if place != "-1" {
                table.key.push(table.columns.len());
            }
            let canon = Canon::of(typname);
            // Of a partitioned table the partitions know it.
            let missing = match older {
                Some(oid) => {
                    let value = format!("((attmissingval::text::text[])[1]::{sql_type})");
                    let query = format!(
                        "SELECT {} FROM pg_attribute WHERE attrelid = {oid} AND attname = {}",
                        canon.postgres(&value),
                        literal(column)
                    );
                    let rows = text_rows(client, &query).await?;
                    rows.into_iter()
                        .next()
                        .and_then(|row| row.into_iter().next().flatten())
                }
                None => None,
            };
            table.columns.push(Column {
                name: column.clone(),
                canon,
                missing,
            });
        }
    }
    for table in &mut tables {
        let columns = table.columns.iter();
        let columns = columns.map(|c| c.canon.postgres(&quoted(&c.name)));
        let columns = columns.collect::<Vec<_>>().join(", ");
        table.query = format!("SELECT {columns} FROM {}", table.qualified());
    }
    Ok(tables)
}
