//! What the catalog says about tables, columns and types, now.
//!
//! Owns the catalog's queries and the plain structures they fill. The log is older than the
//! catalog, so what a Relation message says goes before what is read here. Leaves to `types` and
//! `decode` what a type means.

use cdc_api::TableName;

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
    /// `format_type`: the type's name with its modifiers.
    pub(crate) type_name: String,
    /// Whether NULL is admitted.
    pub(crate) nullable: bool,
    /// Whether it is `GENERATED ALWAYS AS (…) STORED`.
    pub(crate) generated: bool,
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
