//! What follows from two readings of a table's storage.
//!
//! Pure: readings in, doubts out. Each doubt is a change of rows that the log may not have, with
//! what would show that it has it after all.

use std::collections::BTreeSet;

use super::{ColumnStorage, LeafStorage, Sighting};

/// A change that the log may lack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Doubt {
    /// What happened, as an error says it.
    pub(super) what: String,
    /// What would show that nothing is lost.
    pub(super) unless: Vec<Unless>,
}

/// What takes a doubt away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unless {
    /// The log has a truncate of the table by one of these transactions.
    Truncated(BTreeSet<u32>),
    /// The file holds a row that is older than this transaction.
    Holds { leaf: u32, older: u32 },
    /// The file holds no row from before one of these transactions and commands.
    HoldsNone { leaf: u32, older: Vec<(u32, u32)> },
}

/// The doubts between two readings; none where the log has every change of rows.
pub(super) fn compare(before: &Sighting, after: &Sighting) -> Vec<Doubt> {
    let partitioned = after.storage.partitioned;
    let mut doubts = Vec::new();
    for (oid, leaf) in &before.storage.leaves {
        match after.storage.leaves.get(oid) {
            Some(now) => {
                let old_rows = Unless::Holds {
                    leaf: *oid,
                    older: before.horizon,
                };
                doubts.extend(compare_leaf(leaf, now, partitioned.then_some(old_rows)));
            }
            None => doubts.push(Doubt {
                what: format!("the partition {} was dropped or detached", leaf.name),
                unless: Vec::new(),
            }),
        }
    }
    for (oid, leaf) in &after.storage.leaves {
        if !before.storage.leaves.contains_key(oid) {
            doubts.push(Doubt {
                what: format!("the partition {} was attached with rows in it", leaf.name),
                unless: vec![Unless::HoldsNone {
                    leaf: *oid,
                    older: leaf.attached.clone(),
                }],
            });
        }
    }
    doubts
}

/// `old_rows`: of a partition, what shows that it was not truncated alone.
fn compare_leaf(
    before: &LeafStorage,
    after: &LeafStorage,
    old_rows: Option<Unless>,
) -> Option<Doubt> {
    let doubt = |what: String, unless| Some(Doubt { what, unless });
    let shown = before.columns.iter().find(|(attnum, column)| {
        let now = after.columns.get(attnum);
        column.generated && now.is_some_and(|now| !now.generated)
    });
    if let Some((_, column)) = shown {
        let what = format!("{}.{} is no longer generated", after.name, column.name);
        return doubt(what, Vec::new());
    }
    // The commands are of no account here: a detachment that was rolled back changes them.
    let attached = |leaf: &LeafStorage| {
        leaf.attached
            .iter()
            .map(|(xid, _)| *xid)
            .collect::<Vec<_>>()
    };
    if attached(before) != attached(after) {
        let what = format!("the partition {} was detached for a while", after.name);
        return doubt(what, Vec::new());
    }
    if before.file == after.file {
        return None;
    }
    let rewritten: Vec<&ColumnStorage> = after
        .columns
        .iter()
        .filter(|(attnum, column)| is_rewritten(before.columns.get(attnum), column))
        .map(|(_, column)| column)
        .collect();
    if let Some(column) = rewritten.first() {
        let what = format!(
            "{} was rewritten with new values of {}",
            after.name, column.name
        );
        // In one transaction the rewrite may have come after the truncate.
        let mut writers = after.writers.clone();
        writers.retain(|writer| rewritten.iter().all(|column| column.writer != *writer));
        return doubt(what, vec![Unless::Truncated(writers)]);
    }
    let truncated = Unless::Truncated(after.writers.clone());
    let old_rows = old_rows?;
    let what = format!("the partition {} was truncated", after.name);
    doubt(what, vec![truncated, old_rows])
}

/// Whether a file that is another now may have other values in the column.
fn is_rewritten(before: Option<&ColumnStorage>, after: &ColumnStorage) -> bool {
    if after.generated {
        return false;
    }
    let Some(before) = before else {
        // Without a value for older rows in the catalog, theirs may be anything.
        return !after.missing;
    };
    if before.writer == after.writer {
        return false;
    }
    if (before.type_oid, before.typmod) != (after.type_oid, after.typmod) {
        return !widens(before, after);
    }
    // Any rewrite moves the value of older rows into them, and leaves the default alone.
    let moved = before.missing && !after.missing && before.default == after.default;
    !moved
}

/// Whether every value of the one type is the same value in the other.
fn widens(from: &ColumnStorage, to: &ColumnStorage) -> bool {
    const INT8: u32 = 20;
    const INT2: u32 = 21;
    const INT4: u32 = 23;
    const TEXT: u32 = 25;
    const FLOAT4: u32 = 700;
    const FLOAT8: u32 = 701;
    const VARCHAR: u32 = 1043;
    match (from.type_oid, to.type_oid) {
        (INT2, INT4 | INT8) | (INT4, INT8) | (FLOAT4, FLOAT8) | (VARCHAR, TEXT) => true,
        (TEXT | VARCHAR, VARCHAR) => {
            to.typmod == -1 || from.typmod != -1 && from.typmod <= to.typmod
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests;
