//! What the catalog says about tables, columns and types, now.
//!
//! Owns the catalog's queries and the plain structures they fill. The log is older than the
//! catalog, so what a Relation message says goes before what is read here. Leaves to `types` and
//! `decode` what a type means.

use std::collections::HashMap;

use cdc_api::{Error, Result, TableName};

use crate::session::{Row, Session};
use crate::types::{PgType, TypeOptions, TypeTable};

mod shape;

pub(crate) use shape::{identity, refusal, shape};

/// Of so many tables the details are asked for together: what the server answers takes several times the memory of
/// what is kept of it, and there may be thousands.
pub(crate) const AT_ONCE: usize = 256;

/// A table as the catalog has it now. A partitioned table is one table, its leaves are not listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CatalogTable {
    /// Its oid, which is its [`cdc_api::TableId`].
    pub(crate) oid: u32,
    /// Its name.
    pub(crate) name: TableName,
    /// The columns that are captured, in attnum order: not the dropped ones, not those that the
    /// configuration leaves out, not the generated ones that the server does not publish.
    pub(crate) columns: Vec<CatalogColumn>,
    /// Attnums of dropped columns, which tell what became of a column that the log still has.
    pub(crate) dropped: Vec<i16>,
    /// Names of the generated columns, which are in no chunk and are passed over in the log.
    pub(crate) generated: Vec<String>,
    /// Attnums of the primary key or else of the index that is the replica identity, in key order;
    /// empty where there is neither.
    pub(crate) key: Vec<i16>,
    /// What old rows carry.
    pub(crate) identity: ReplicaIdentity,
    /// Whether it is partitioned.
    pub(crate) partitioned: bool,
    /// Whether row-level security applies to it.
    pub(crate) row_security: bool,
}

/// A captured column as the catalog has it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CatalogColumn {
    /// `attnum`: the column's lasting identity within the table.
    pub(crate) attnum: i16,
    /// Its name.
    pub(crate) name: String,
    /// The oid of its type, possibly of a domain.
    pub(crate) type_oid: u32,
    /// `atttypmod`; -1 where there is none.
    pub(crate) typmod: i32,
    /// `attndims`: the dimensions that an array was declared with.
    pub(crate) dimensions: i32,
    /// `format_type`: the type's name with its modifiers.
    pub(crate) type_name: String,
    /// Whether NULL is admitted.
    pub(crate) nullable: bool,
    /// What rows hold that are older than the column (`attmissingval`), in text form.
    pub(crate) existing: Option<String>,
}

/// `pg_class.relreplident`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReplicaIdentity {
    /// The primary key, nothing where there is none.
    Default,
    /// The whole old row.
    Full,
    /// A unique index.
    Index,
    /// Nothing.
    Nothing,
}

/// Part of a table that has a file of its own: the table itself, or a leaf partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Leaf {
    /// Its oid.
    pub(crate) oid: u32,
    /// Its name.
    pub(crate) name: TableName,
    /// The number of its file, which changes when the table is rewritten or truncated.
    pub(crate) file: u32,
    /// Blocks in the file now.
    pub(crate) blocks: u64,
    /// Bytes on disk now, TOAST included.
    pub(crate) bytes: u64,
    /// Rows, by the statistics.
    pub(crate) rows: u64,
}

/// Which tables to look up.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Which<'a> {
    /// All that could be captured: ordinary and partitioned ones outside the system's schemas.
    All,
    /// Those with these oids, as far as they exist.
    Oids(&'a [u32]),
}

/// A table with what speaks for and against its capture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    /// The table.
    pub(crate) table: CatalogTable,
    /// Whether it is in the log at all: not unlogged.
    pub(crate) logged: bool,
    /// Leaf partitions that cannot be published or whose own identity is too small for the
    /// table's: name and what is wrong with each.
    pub(crate) odd_leaves: Vec<(TableName, OddLeaf)>,
    /// Rows, by the statistics.
    pub(crate) rows: u64,
    /// Bytes on disk, TOAST included, by the statistics: the files themselves are not looked at, which would take as
    /// long as all the rest.
    pub(crate) bytes: u64,
}

/// What is wrong with a leaf partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OddLeaf {
    /// It is a foreign table.
    Foreign,
    /// Its replica identity is not the partitioned table's.
    Identity,
}

/// The tables, in name order. Generated columns are told apart: before 18 the server does not
/// publish them, virtual ones never, and snapshot and stream must have the same columns.
///
/// # Errors
/// When the catalog cannot be read.
pub(crate) async fn tables(session: &mut Session, which: Which<'_>) -> Result<Vec<Listed>> {
    let wanted = match which {
        Which::All => "c.relkind IN ('r', 'p') AND NOT c.relispartition \
             AND c.relpersistence <> 't' AND n.nspname <> 'information_schema' \
             AND n.nspname !~ '^pg_'"
            .to_owned(),
        Which::Oids(oids) => format!(
            "c.oid = ANY ('{}'::oid[]) AND NOT c.relispartition",
            array(oids)
        ),
    };
    let found = session
        .query(&format!(
            "SELECT c.oid, n.nspname, c.relname, c.relkind = 'p', c.relreplident, \
                    c.relrowsecurity AND NOT pg_has_role(c.relowner, 'USAGE') \
                      OR c.relrowsecurity AND c.relforcerowsecurity, \
                    c.relpersistence = 'p', \
                    greatest(0, coalesce(l.rows, c.reltuples))::int8, \
                    current_setting('block_size')::int8 * coalesce(l.pages, \
                      greatest(0, c.relpages)::int8 + greatest(0, s.relpages)), l.odd \
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
             LEFT JOIN pg_class s ON s.oid = c.reltoastrelid \
             LEFT JOIN LATERAL ( \
               SELECT sum(greatest(0, k.reltuples)) AS rows, \
                      coalesce(sum(greatest(0, k.relpages)::int8 + greatest(0, o.relpages)), 0)::int8 \
                        AS pages, \
                      json_agg(json_build_array(m.nspname, k.relname, k.relkind = 'f')) \
                        FILTER (WHERE k.relkind = 'f' OR k.relreplident <> c.relreplident \
                                AND NOT (c.relreplident = 'd' AND k.relreplident = 'f')) AS odd \
               FROM pg_partition_tree(c.oid) t JOIN pg_class k ON k.oid = t.relid \
               LEFT JOIN pg_class o ON o.oid = k.reltoastrelid \
               JOIN pg_namespace m ON m.oid = k.relnamespace \
               WHERE t.isleaf AND c.relkind = 'p' \
             ) l ON c.relkind = 'p' \
             WHERE {wanted} ORDER BY 2, 3"
        ))
        .await?;
    let mut listed = Vec::with_capacity(found.len());
    for part in found.chunks(AT_ONCE) {
        let oids = part.iter().map(|row| row.number(0));
        let oids: Vec<u32> = oids.collect::<Result<_>>()?;
        let mut columns = columns(session, &oids).await?;
        let mut keys = keys(session, &oids).await?;
        for row in part {
            let oid = row.number(0)?;
            let columns = columns.remove(&oid).unwrap_or_default();
            let keys = keys.remove(&oid).unwrap_or_default();
            listed.push(one(row, oid, columns, keys)?);
        }
    }
    Ok(listed)
}

/// A table by its row of the list, its columns and its keys.
fn one(row: &Row, oid: u32, columns: Columns, keys: Keys) -> Result<Listed> {
    let identity = match row.text(4) {
        "f" => ReplicaIdentity::Full,
        "i" => ReplicaIdentity::Index,
        "n" => ReplicaIdentity::Nothing,
        _ => ReplicaIdentity::Default,
    };
    Ok(Listed {
        table: CatalogTable {
            oid,
            name: TableName::new(row.text(1), row.text(2)),
            columns: columns.captured,
            dropped: columns.dropped,
            generated: columns.generated,
            key: keys.choose(identity),
            identity,
            partitioned: row.is_true(3),
            row_security: row.is_true(5),
        },
        logged: row.is_true(6),
        odd_leaves: odd_leaves(row.text(9))?,
        rows: row.number(7)?,
        bytes: row.number(8)?,
    })
}

fn odd_leaves(json: &str) -> Result<Vec<(TableName, OddLeaf)>> {
    if json.is_empty() {
        return Ok(Vec::new());
    }
    let leaves: Vec<(String, String, bool)> = serde_json::from_str(json)
        .map_err(|error| Error::internal("cannot read the list of partitions").caused_by(error))?;
    Ok(leaves
        .into_iter()
        .map(|(schema, table, foreign)| {
            let what = if foreign {
                OddLeaf::Foreign
            } else {
                OddLeaf::Identity
            };
            (TableName::new(schema, table), what)
        })
        .collect())
}

/// A table's columns by what becomes of them.
#[derive(Default)]
struct Columns {
    captured: Vec<CatalogColumn>,
    generated: Vec<String>,
    dropped: Vec<i16>,
}

async fn columns(session: &mut Session, oids: &[u32]) -> Result<HashMap<u32, Columns>> {
    // A partitioned table has no rows of its own: its leaves know what older rows hold. They are looked up as an array,
    // since a join by name would be made the other way round: through all columns of the database, for each column.
    let rows = session
        .query(&format!(
            "SELECT a.attrelid, a.attnum, a.attname, a.atttypid, a.atttypmod, \
                    format_type(a.atttypid, a.atttypmod), NOT a.attnotnull, a.attgenerated <> '', \
                    CASE WHEN a.atthasmissing THEN (a.attmissingval::text::text[])[1] \
                      WHEN c.relkind = 'p' THEN ( \
                        SELECT (k.attmissingval::text::text[])[1] FROM pg_attribute k \
                        WHERE k.attrelid = ANY (ARRAY(SELECT relid FROM pg_partition_tree(c.oid))) \
                          AND k.attname = a.attname AND k.atthasmissing LIMIT 1 \
                      ) END, a.attndims, a.attisdropped \
             FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid \
             WHERE a.attrelid = ANY ('{}'::oid[]) AND a.attnum > 0 \
             ORDER BY a.attrelid, a.attnum",
            array(oids)
        ))
        .await?;
    let mut columns: HashMap<u32, Columns> = HashMap::new();
    for row in &rows {
        let columns = columns.entry(row.number(0)?).or_default();
        if row.is_true(10) {
            columns.dropped.push(row.number(1)?);
            continue;
        }
        if row.is_true(7) {
            columns.generated.push(row.text(2).to_owned());
            continue;
        }
        columns.captured.push(CatalogColumn {
            attnum: row.number(1)?,
            name: row.text(2).to_owned(),
            type_oid: row.number(3)?,
            typmod: row.number(4)?,
            type_name: row.text(5).to_owned(),
            nullable: row.is_true(6),
            dimensions: row.number(9)?,
            existing: row.get(8).map(str::to_owned),
        });
    }
    Ok(columns)
}

/// The keys that a table has.
#[derive(Default)]
struct Keys {
    primary: Vec<i16>,
    replica: Vec<i16>,
}

impl Keys {
    /// The columns that tell rows apart in what the log carries.
    fn choose(self, identity: ReplicaIdentity) -> Vec<i16> {
        match identity {
            ReplicaIdentity::Index => self.replica,
            _ => self.primary,
        }
    }
}

async fn keys(session: &mut Session, oids: &[u32]) -> Result<HashMap<u32, Keys>> {
    // A deferrable primary key is no replica identity: duplicates may stand for a while.
    let rows = session
        .query(&format!(
            "SELECT i.indrelid, i.indisreplident, k.attnum, i.indisprimary \
             FROM pg_index i, unnest(i.indkey::int2[]) WITH ORDINALITY k(attnum, place) \
             WHERE i.indrelid = ANY ('{}'::oid[]) AND k.place <= i.indnkeyatts AND i.indisvalid \
               AND (i.indisprimary AND i.indimmediate OR i.indisreplident) \
             ORDER BY i.indrelid, i.indexrelid, k.place",
            array(oids)
        ))
        .await?;
    let mut keys: HashMap<u32, Keys> = HashMap::new();
    for row in &rows {
        let keys = keys.entry(row.number(0)?).or_default();
        if row.is_true(3) {
            keys.primary.push(row.number(2)?);
        }
        if row.is_true(1) {
            keys.replica.push(row.number(2)?);
        }
    }
    Ok(keys)
}

/// The parts of a table that have rows of their own: itself, or its leaf partitions.
///
/// # Errors
/// When the catalog cannot be read.
pub(crate) async fn leaves(session: &mut Session, oid: u32) -> Result<Vec<Leaf>> {
    let rows = session
        .query(&format!(
            "SELECT c.oid, n.nspname, c.relname, coalesce(pg_relation_filenode(c.oid), 0), \
                    pg_relation_size(c.oid) / current_setting('block_size')::int8, \
                    pg_table_size(c.oid), \
                    (CASE WHEN c.relpages > 0 AND c.reltuples > 0 \
                      THEN c.reltuples / c.relpages * pg_relation_size(c.oid) \
                           / current_setting('block_size')::int8 \
                      ELSE 0 END)::int8 \
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE c.oid = {oid} AND c.relkind = 'r' \
                OR c.oid IN (SELECT relid FROM pg_partition_tree({oid}) WHERE isleaf) \
                   AND c.relkind = 'r' \
             ORDER BY c.oid"
        ))
        .await?;
    rows.iter()
        .map(|row| {
            Ok(Leaf {
                oid: row.number(0)?,
                name: TableName::new(row.text(1), row.text(2)),
                file: row.number(3)?,
                blocks: row.number(4)?,
                bytes: row.number(5)?,
                rows: row.number(6)?,
            })
        })
        .collect()
}

/// Every type of the database.
///
/// # Errors
/// When the catalog cannot be read.
pub(crate) async fn types(session: &mut Session, options: TypeOptions) -> Result<TypeTable> {
    let rows = session.query(PgType::QUERY).await?;
    let types = rows
        .iter()
        .map(|row| {
            Ok(PgType {
                oid: row.number(0)?,
                name: row.text(1).to_owned(),
                kind: PgType::kind(row.text(2)),
                element: row.number(3)?,
                base: row.number(4)?,
                typmod: row.number(5)?,
                delimiter: row.text(6).bytes().next().unwrap_or(b','),
                output: row.text(7).to_owned(),
            })
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(TypeTable::new(types, options))
}

/// Oids as the text of an array.
pub(crate) fn array(oids: &[u32]) -> String {
    let oids: Vec<String> = oids.iter().map(u32::to_string).collect();
    format!("{{{}}}", oids.join(","))
}
