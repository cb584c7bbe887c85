//! Where a table's rows lie, and whether they changed without the log: rewrites, and partitions
//! that were emptied, attached, detached or dropped.
//!
//! Owns what the catalog shows of it ([`read`]) and what follows from two such readings
//! ([`compare`]). Leaves to `notes` what is remembered, and when it is compared.
//!
//! Every table and leaf partition has a file, whose number changes with a rewrite, and with a
//! truncate or a VACUUM FULL as well. What tells them apart:
//! - `ALTER … TYPE` and the like write the column's row in `pg_attribute` anew, which its `xmin`
//!   shows; VACUUM FULL, CLUSTER and SET TABLESPACE do not, but for default values of added
//!   columns, which they move into the rows.
//! - After a truncate there is no row that is older than the reading before.
//! - A truncate that is in the log has the transaction number that wrote the `pg_class` row, or
//!   that of an index or of the TOAST table: what gives the table a file gives them one too, and
//!   fewer other statements write theirs.
//!
//! Invariant: in doubt the rows count as changed. Only a type that was widened without another
//! visible reason is taken at its word, for no catalog keeps the expression that it was done with.

mod compare;
mod notes;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use cdc_api::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::catalog::{AT_ONCE, array};
use crate::position::Lsn;
use crate::session::Session;

pub(crate) use notes::Notes;

/// A table's storage at one time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sighting {
    /// Everything that was seen had committed before this.
    pub(crate) lsn: u64,
    /// Every transaction before this one had ended; 32 bits, as in `xmin`.
    pub(crate) horizon: u32,
    /// What was seen.
    pub(crate) storage: Storage,
}

impl Sighting {
    /// Whether what the transaction did that commits at `lsn` was surely seen. The log's end is asked for after the
    /// reading, and a commit is in the log before it can be seen: what lies before `lsn` need not have been.
    fn surely_has(&self, lsn: u64, xid: u32) -> bool {
        // Half of the 32 bits are before, the others after.
        lsn < self.lsn && xid.wrapping_sub(self.horizon) >= 1 << 31
    }
}

/// The files of a table: its own, or those of its leaf partitions, by oid.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Storage {
    pub(crate) partitioned: bool,
    pub(crate) leaves: BTreeMap<u32, LeafStorage>,
}

/// A file of rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LeafStorage {
    /// Its name, quoted.
    pub(crate) name: String,
    /// `relfilenode`.
    pub(crate) file: u32,
    /// Which transactions wrote its row in `pg_class` last, and those of its indexes and its TOAST
    /// table.
    pub(crate) writers: BTreeSet<u32>,
    /// The transaction, and the command in it, that made it a partition; and so on upwards.
    pub(crate) attached: Vec<(u32, u32)>,
    /// Its columns by attnum, but for those that are not captured.
    pub(crate) columns: BTreeMap<i16, ColumnStorage>,
}

/// A column of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ColumnStorage {
    pub(crate) name: String,
    pub(crate) type_oid: u32,
    pub(crate) typmod: i32,
    /// Which transaction wrote its row in `pg_attribute` last.
    pub(crate) writer: u32,
    /// The oid of its default, 0 for none.
    pub(crate) default: u32,
    /// Whether rows older than the column have its value in the catalog.
    pub(crate) missing: bool,
    /// Whether it is computed, and therefore not captured.
    pub(crate) generated: bool,
}

/// A table whose storage is looked at: its oid and the names of the captured columns.
pub(crate) type Subject = (u32, BTreeSet<String>);

/// Reads the storage of the tables as of the session's snapshot, and from which transaction on not all of it may be
/// seen. Outside a transaction each table is read at a moment of its own.
///
/// # Errors
/// When the catalog cannot be read.
pub(crate) async fn read(
    session: &mut Session,
    subjects: &[Subject],
) -> Result<(u32, BTreeMap<u32, Storage>)> {
    let row = session
        .query_one("SELECT pg_snapshot_xmin(pg_current_snapshot())")
        .await?;
    let horizon: u64 = row.number(0)?;
    let mut tables = BTreeMap::new();
    for part in subjects.chunks(AT_ONCE) {
        read_part(session, part, &mut tables).await?;
    }
    // 32 bits without the epoch.
    Ok(((horizon & 0xffff_ffff) as u32, tables))
}

/// Adds the storage of these tables.
async fn read_part(
    session: &mut Session,
    subjects: &[Subject],
    tables: &mut BTreeMap<u32, Storage>,
) -> Result<()> {
    let oids: Vec<u32> = subjects.iter().map(|(oid, _)| *oid).collect();
    let captured: HashMap<u32, &BTreeSet<String>> =
        subjects.iter().map(|(oid, names)| (*oid, names)).collect();
    // The catalog's tables themselves, since its functions do not keep to the snapshot.
    let rows = session
        .query(&format!(
            "WITH RECURSIVE part(root, oid, attached) AS ( \
               SELECT c.oid, c.oid, '[]'::jsonb FROM pg_class c \
               WHERE c.oid = ANY ('{}'::oid[]) \
             UNION ALL \
               SELECT p.root, i.inhrelid, p.attached \
                 || jsonb_build_array(jsonb_build_array(i.xmin::text::int8, i.cmin::text::int8)) \
               FROM part p JOIN pg_class k ON k.oid = p.oid AND k.relkind = 'p' \
               JOIN pg_inherits i ON i.inhparent = p.oid \
             ) \
             SELECT p.root, c.oid, p.attached, c.relkind, c.relfilenode, \
               (SELECT json_agg(k.xmin::text::int8) FROM ( \
                  SELECT c.oid UNION ALL SELECT c.reltoastrelid UNION ALL \
                  SELECT i.indexrelid FROM pg_index i WHERE i.indrelid = c.oid \
                ) f(oid) JOIN pg_class k ON k.oid = f.oid), \
               quote_ident(n.nspname) || '.' || quote_ident(c.relname), \
               (SELECT json_agg(json_build_array(a.attnum, a.attname, a.atttypid::int8, \
                         a.atttypmod, a.xmin::text::int8, coalesce(d.oid, 0)::int8, \
                         a.atthasmissing, a.attgenerated <> '')) \
                FROM pg_attribute a \
                LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum \
                WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) \
             FROM part p JOIN pg_class c ON c.oid = p.oid \
             JOIN pg_namespace n ON n.oid = c.relnamespace",
            array(&oids)
        ))
        .await?;
    for row in &rows {
        let root = row.number(0)?;
        let storage = tables.entry(root).or_default();
        storage.partitioned |= row.text(3) == "p";
        if row.text(3) != "r" {
            continue;
        }
        let captured = captured.get(&root);
        let columns: Vec<ColumnRow> = json(row.text(7))?;
        let leaf = LeafStorage {
            name: row.text(6).to_owned(),
            file: row.number(4)?,
            writers: json(row.text(5))?,
            attached: json(row.text(2))?,
            columns: columns
                .into_iter()
                .map(
                    |(attnum, name, type_oid, typmod, writer, default, missing, generated)| {
                        let column = ColumnStorage {
                            name,
                            type_oid,
                            typmod,
                            writer,
                            default,
                            missing,
                            generated,
                        };
                        (attnum, column)
                    },
                )
                .filter(|(_, column)| {
                    column.generated || captured.is_some_and(|names| names.contains(&column.name))
                })
                .collect(),
        };
        storage.leaves.insert(row.number(1)?, leaf);
    }
    Ok(())
}

type ColumnRow = (i16, String, u32, i32, u32, u32, bool, bool);

fn json<T: serde::de::DeserializeOwned>(text: &str) -> Result<T> {
    let text = if text.is_empty() { "[]" } else { text };
    serde_json::from_str(text)
        .map_err(|error| Error::internal("cannot read the storage of a table").caused_by(error))
}

/// Where the log ends now: everything that an earlier reading saw committed before it.
///
/// # Errors
/// When the server cannot be asked.
pub(crate) async fn log_end(session: &mut Session) -> Result<Lsn> {
    let row = session
        .query_one("SELECT pg_current_wal_insert_lsn()")
        .await?;
    Ok(before_page_header(row.text(0).parse()?))
}

/// Where the last record ends, given where the next one would begin: at the start of a page the
/// two differ by the page's header (24 bytes, 40 in the first page of a file), and the sender
/// never gets further than the end.
fn before_page_header(insert: Lsn) -> Lsn {
    const PAGE: u64 = 8192;
    match insert.0 % PAGE {
        header @ (24 | 40) => Lsn(insert.0 - header),
        _ => insert,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_insert_position_after_a_page_header_is_the_end_before_it() {
        assert_eq!(before_page_header(Lsn(3 * 8192 + 24)), Lsn(3 * 8192));
        assert_eq!(before_page_header(Lsn(40)), Lsn(0));
        assert_eq!(before_page_header(Lsn(3 * 8192 + 64)), Lsn(3 * 8192 + 64));
    }
}
