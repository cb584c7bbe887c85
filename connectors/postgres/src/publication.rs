//! Publications: which tables the log carries for us.
//!
//! Invariant: a table is published for updates and deletes only where its old rows can be told;
//! an application's statement never fails because of us. Tables without identity that the user
//! takes as append are in a second publication, of inserts and truncates alone.

use cdc_api::schema::quote_identifier;
use cdc_api::{Error, Result, TableName};
use postgres_protocol::escape::escape_literal;

use crate::catalog::{CatalogTable, ReplicaIdentity};
use crate::config::{Choices, ColumnChoice};
use crate::session::Session;

/// A table as it is to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) oid: u32,
    pub(crate) name: TableName,
    /// Attnums and names of the published columns where not all are.
    pub(crate) columns: Option<Vec<(i16, String)>>,
    /// Which rows.
    pub(crate) rows: Option<String>,
    /// Attnums of the columns that old rows carry; `None`: all of them.
    pub(crate) identity: Option<Vec<i16>>,
}

impl Member {
    /// The table with what the configuration says about it.
    pub(crate) fn new(table: &CatalogTable, choices: &Choices) -> Self {
        let columns = choices.columns(&table.name).map(|_| {
            table
                .columns
                .iter()
                .map(|column| (column.attnum, column.name.clone()))
                .collect()
        });
        Self {
            oid: table.oid,
            name: table.name.clone(),
            columns,
            rows: choices.rows(&table.name).map(str::to_owned),
            identity: match table.identity {
                ReplicaIdentity::Full => None,
                _ => Some(table.key.clone()),
            },
        }
    }

    /// As in `FOR TABLE`: `ONLY`, since children by inheritance are tables of their own.
    fn clause(&self) -> String {
        let mut clause = format!("ONLY {}", self.name.quoted());
        if let Some(columns) = &self.columns {
            let names: Vec<String> = columns
                .iter()
                .map(|(_, name)| quote_identifier(name))
                .collect();
            clause += &format!(" ({})", names.join(", "));
        }
        if let Some(rows) = &self.rows {
            clause += &format!(" WHERE ({rows})");
        }
        clause
    }
}

/// `TABLE` once, which is all that servers before 15 understand.
fn list<'a>(members: impl IntoIterator<Item = &'a Member>) -> String {
    let clauses: Vec<String> = members.into_iter().map(Member::clause).collect();
    format!("TABLE {}", clauses.join(", "))
}

/// What a publication passes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operations {
    /// Inserts, updates, deletes, truncates.
    All,
    /// Inserts and truncates.
    Append,
}

impl Operations {
    fn list(self) -> &'static str {
        match self {
            Self::All => "insert, update, delete, truncate",
            Self::Append => "insert, truncate",
        }
    }
}

/// A publication as the server has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Publication {
    pub(crate) name: String,
    pub(crate) all_tables: bool,
    pub(crate) operations: [bool; 4],
    pub(crate) via_root: bool,
    /// Directly named tables: oid, published attnums where not all are, whether rows are filtered.
    pub(crate) members: Vec<(u32, Option<Vec<i16>>, bool)>,
    /// What it comes to, as oids: all tables, schemas and named tables resolved.
    pub(crate) tables: Vec<u32>,
}

/// Looks a publication up.
///
/// # Errors
/// When the catalog cannot be read.
pub(crate) async fn find(session: &mut Session, name: &str) -> Result<Option<Publication>> {
    let literal = escape_literal(name);
    let rows = session
        .query(&format!(
            "SELECT puballtables, pubinsert, pubupdate, pubdelete, pubtruncate, pubviaroot \
             FROM pg_publication WHERE pubname = {literal}"
        ))
        .await?;
    let Some(row) = rows.first() else {
        return Ok(None);
    };
    let extras = if session.version() >= 15_0000 {
        "r.prattrs::int2[]::text, r.prqual IS NOT NULL"
    } else {
        "NULL, false"
    };
    let members = session
        .query(&format!(
            "SELECT r.prrelid, {extras} FROM pg_publication_rel r \
             JOIN pg_publication p ON p.oid = r.prpubid WHERE p.pubname = {literal}"
        ))
        .await?;
    let tables = session
        .query(&format!(
            "SELECT c.oid FROM pg_publication_tables t \
             JOIN pg_namespace n ON n.nspname = t.schemaname \
             JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = t.tablename \
             WHERE t.pubname = {literal}"
        ))
        .await?;
    Ok(Some(Publication {
        name: name.to_owned(),
        all_tables: row.is_true(0),
        operations: [
            row.is_true(1),
            row.is_true(2),
            row.is_true(3),
            row.is_true(4),
        ],
        via_root: row.is_true(5),
        members: members
            .iter()
            .map(|row| Ok((row.number(0)?, row.get(1).map(attnums), row.is_true(2))))
            .collect::<Result<_>>()?,
        tables: tables
            .iter()
            .map(|row| row.number(0))
            .collect::<Result<_>>()?,
    }))
}

fn attnums(array: &str) -> Vec<i16> {
    array
        .trim_matches(['{', '}'])
        .split(',')
        .filter_map(|number| number.parse().ok())
        .collect()
}

/// The statements that make the publication pass on exactly these tables.
pub(crate) fn statements(
    found: Option<&Publication>,
    name: &str,
    operations: Operations,
    members: &[Member],
) -> Vec<String> {
    let quoted = quote_identifier(name);
    let options = format!(
        "publish = '{}', publish_via_partition_root = true",
        operations.list()
    );
    let Some(found) = found else {
        let tables = if members.is_empty() {
            String::new()
        } else {
            format!(" FOR {}", list(members))
        };
        return vec![format!(
            "CREATE PUBLICATION {quoted}{tables} WITH ({options})"
        )];
    };
    let mut statements = Vec::new();
    let all = operations == Operations::All;
    if found.operations != [true, all, all, true] || !found.via_root {
        statements.push(format!("ALTER PUBLICATION {quoted} SET ({options})"));
    }
    // The server rewrites conditions, so that a table with one is always set anew.
    let same = found.members.len() == members.len()
        && members.iter().all(|member| {
            let columns = member
                .columns
                .as_ref()
                .map(|columns| columns.iter().map(|(attnum, _)| *attnum).collect());
            member.rows.is_none() && found.members.contains(&(member.oid, columns, false))
        });
    if same {
        return statements;
    }
    statements.push(if members.is_empty() {
        // There is no way to set an empty list.
        format!("DROP PUBLICATION {quoted}; CREATE PUBLICATION {quoted} WITH ({options})")
    } else {
        format!("ALTER PUBLICATION {quoted} SET {}", list(members))
    });
    statements
}

/// Whether a publication that someone else made passes on what is needed.
///
/// # Errors
/// `Config` with the statement that mends it.
pub(crate) fn suffices(found: &Publication, members: &[Member], partitioned: bool) -> Result<()> {
    let quoted = quote_identifier(&found.name);
    let missing: Vec<&Member> = members
        .iter()
        .filter(|member| !found.tables.contains(&member.oid))
        .collect();
    if !missing.is_empty() {
        let names: Vec<String> = missing.iter().map(|it| it.name.to_string()).collect();
        return Err(Error::config(format!(
            "the publication {} lacks {}",
            found.name,
            names.join(", ")
        ))
        .hint(format!("ALTER PUBLICATION {quoted} ADD {}", list(missing))));
    }
    if found.operations != [true; 4] {
        return Err(Error::config(format!(
            "the publication {} does not pass on every operation",
            found.name
        ))
        .hint(format!(
            "ALTER PUBLICATION {quoted} SET (publish = '{}')",
            Operations::All.list()
        )));
    }
    if partitioned && !found.via_root {
        return Err(Error::config(format!(
            "the publication {} passes partitions on as tables of their own",
            found.name
        ))
        .hint(format!(
            "ALTER PUBLICATION {quoted} SET (publish_via_partition_root = true)"
        )));
    }
    Ok(())
}

/// Refuses row conditions over columns that old rows do not carry: with such a publication every
/// update and delete of the table would fail, in whichever application runs it.
///
/// # Errors
/// `Config` of that table.
pub(crate) async fn verify_rows(
    session: &mut Session,
    name: &str,
    members: &[Member],
) -> Result<()> {
    if members.iter().all(|member| member.rows.is_none()) {
        return Ok(());
    }
    let rows = session
        .query(&format!(
            "SELECT r.prrelid, v.found[1] FROM pg_publication p \
             JOIN pg_publication_rel r ON r.prpubid = p.oid, \
             regexp_matches(r.prqual::text, ':varattno (-?\\d+)', 'g') v(found) \
             WHERE p.pubname = {}",
            escape_literal(name)
        ))
        .await?;
    for row in &rows {
        let (oid, attnum): (u32, i16) = (row.number(0)?, row.number(1)?);
        let lacks = members.iter().find(|member| {
            member.oid == oid
                && member
                    .identity
                    .as_ref()
                    .is_some_and(|identity| !identity.contains(&attnum))
        });
        if let Some(member) = lacks {
            return Err(Error::config(format!(
                "source.rows: the condition for {} uses a column that is not in its replica \
                 identity, so that its updates and deletes would fail",
                member.name
            ))
            .hint(format!(
                "use columns of the key alone, or ALTER TABLE {} REPLICA IDENTITY FULL",
                member.name.quoted()
            ))
            .for_table(cdc_api::TableId(u64::from(oid))));
        }
    }
    Ok(())
}

/// Leaves out the columns that the configuration does not want.
///
/// # Errors
/// `Config` of that table where the choice cannot be: an unknown column, a key left out, a server
/// that has no column lists.
pub(crate) fn narrow(table: &mut CatalogTable, choices: &Choices, version: u32) -> Result<()> {
    let of_table = |error: Error| error.for_table(cdc_api::TableId(u64::from(table.oid)));
    if version < 15_0000 && choices.rows(&table.name).is_some() {
        return Err(of_table(
            Error::config(format!("source.rows: {} needs PostgreSQL 15", table.name))
                .hint("remove the table from source.rows"),
        ));
    }
    let Some(choice) = choices.columns(&table.name) else {
        return Ok(());
    };
    if version < 15_0000 {
        return Err(of_table(
            Error::config(format!(
                "source.columns: {} needs PostgreSQL 15",
                table.name
            ))
            .hint("remove the table from source.columns"),
        ));
    }
    if table.identity == ReplicaIdentity::Full {
        return Err(of_table(
            Error::config(format!(
                "source.columns: {} has REPLICA IDENTITY FULL, which needs every column",
                table.name
            ))
            .hint(format!(
                "ALTER TABLE {} REPLICA IDENTITY DEFAULT, or remove it from source.columns",
                table.name.quoted()
            )),
        ));
    }
    let (names, keep) = match choice {
        ColumnChoice::Include(names) => (names, true),
        ColumnChoice::Exclude(names) => (names, false),
    };
    if let Some(unknown) = names
        .iter()
        .find(|name| !table.columns.iter().any(|column| column.name == **name))
    {
        return Err(of_table(
            Error::config(format!(
                "source.columns: {} has no column {unknown}",
                table.name
            ))
            .hint("correct the name; \\d in psql shows the table's columns"),
        ));
    }
    let key = &table.key;
    let left_out = |name: &String| names.contains(name) != keep;
    if let Some(column) = table
        .columns
        .iter()
        .find(|column| key.contains(&column.attnum) && left_out(&column.name))
    {
        return Err(of_table(
            Error::config(format!(
                "source.columns: {} cannot do without {}, which is part of its key",
                table.name, column.name
            ))
            .hint("add the key's columns to the list"),
        ));
    }
    table
        .columns
        .retain(|column| names.contains(&column.name) == keep);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(oid: u32, name: &str) -> Member {
        Member {
            oid,
            name: TableName::new("public", name),
            columns: None,
            rows: None,
            identity: Some(vec![1]),
        }
    }

    fn published(members: &[u32]) -> Publication {
        Publication {
            name: "p".to_owned(),
            all_tables: false,
            operations: [true; 4],
            via_root: true,
            members: members.iter().map(|&oid| (oid, None, false)).collect(),
            tables: members.to_vec(),
        }
    }

    #[test]
    fn a_publication_is_created_and_then_left_alone() {
        let members = [member(1, "a"), member(2, "B")];
        assert_eq!(
            statements(None, "p", Operations::All, &members),
            [
                "CREATE PUBLICATION \"p\" FOR TABLE ONLY \"public\".\"a\", ONLY \
                 \"public\".\"B\" WITH (publish = 'insert, update, delete, truncate', \
                 publish_via_partition_root = true)"
            ]
        );
        let same = published(&[2, 1]);
        assert!(statements(Some(&same), "p", Operations::All, &members).is_empty());
    }

    #[test]
    fn tables_operations_and_columns_are_altered_where_they_differ() {
        let mut narrowed = member(1, "a");
        narrowed.columns = Some(vec![(1, "id".to_owned()), (3, "odd \"c\"".to_owned())]);
        narrowed.rows = Some("id > 0".to_owned());
        assert_eq!(
            statements(Some(&published(&[1])), "p", Operations::Append, &[narrowed]),
            [
                "ALTER PUBLICATION \"p\" SET (publish = 'insert, truncate', \
                 publish_via_partition_root = true)",
                "ALTER PUBLICATION \"p\" SET TABLE ONLY \"public\".\"a\" (\"id\", \"odd \
                 \"\"c\"\"\") WHERE (id > 0)"
            ]
        );
    }

    #[test]
    fn a_given_publication_that_lacks_something_is_refused_with_the_statement() {
        let members = [member(1, "a"), member(2, "b")];
        suffices(&published(&[1, 2, 3]), &members, true).expect("has all");
        let lacks = suffices(&published(&[1]), &members, false).expect_err("lacks b");
        assert_eq!(
            lacks.hint_text(),
            Some("ALTER PUBLICATION \"p\" ADD TABLE ONLY \"public\".\"b\"")
        );
        let mut inserts = published(&[1, 2]);
        inserts.operations = [true, false, false, false];
        assert!(suffices(&inserts, &members, false).is_err());
        let mut leaves = published(&[1, 2]);
        leaves.via_root = false;
        suffices(&leaves, &members, false).expect("no partitions, no matter");
        assert!(suffices(&leaves, &members, true).is_err());
    }
}
