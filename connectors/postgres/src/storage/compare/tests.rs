//! Two readings, and what is made of them.

use std::collections::BTreeMap;

use super::*;
use crate::storage::Storage;

fn column(name: &str, writer: u32) -> ColumnStorage {
    ColumnStorage {
        name: name.to_owned(),
        type_oid: 23,
        typmod: -1,
        writer,
        default: 0,
        missing: false,
        generated: false,
    }
}

/// A table with the columns `id` and `v`, made by transaction 100.
fn leaf(name: &str, file: u32) -> LeafStorage {
    LeafStorage {
        name: name.to_owned(),
        file,
        writers: [100, 101].into(),
        attached: Vec::new(),
        columns: BTreeMap::from([(1, column("id", 100)), (2, column("v", 100))]),
    }
}

fn seen(lsn: u64, horizon: u32, partitioned: bool, leaves: &[(u32, LeafStorage)]) -> Sighting {
    Sighting {
        lsn,
        horizon,
        storage: Storage {
            partitioned,
            leaves: leaves.iter().cloned().collect(),
        },
    }
}

/// The doubts about one table whose file changed by transaction 200.
fn doubts(change: impl FnOnce(&mut LeafStorage, &mut LeafStorage)) -> Vec<Doubt> {
    let (mut before, mut after) = (leaf("t", 1), leaf("t", 2));
    after.writers = [200, 210].into();
    change(&mut before, &mut after);
    compare(
        &seen(10, 150, false, &[(7, before)]),
        &seen(20, 250, false, &[(7, after)]),
    )
}

fn v(leaf: &mut LeafStorage) -> &mut ColumnStorage {
    leaf.columns.get_mut(&2).expect("it is there")
}

#[test]
fn a_vacuum_full_or_a_truncate_of_a_table_changes_nothing_that_the_log_lacks() {
    assert_eq!(doubts(|_, _| {}), []);
    // The value of older rows is moved into them.
    let moved = |before: &mut LeafStorage, after: &mut LeafStorage| {
        (v(before).missing, v(before).default) = (true, 5);
        (v(after).writer, v(after).default) = (200, 5);
    };
    assert_eq!(doubts(moved), []);
    // An ALTER COLUMN that rewrites nothing.
    let renamed = |before: &mut LeafStorage, after: &mut LeafStorage| {
        after.file = before.file;
        v(after).writer = 200;
    };
    assert_eq!(doubts(renamed), []);
    let widened = |_: &mut LeafStorage, after: &mut LeafStorage| {
        (v(after).writer, v(after).type_oid) = (200, 20);
    };
    assert_eq!(doubts(widened), []);
}

#[test]
fn a_rewrite_with_new_values_is_told_whatever_the_type() {
    let same_type = doubts(|_, after| v(after).writer = 200);
    assert_eq!(same_type.len(), 1);
    assert_eq!(
        same_type[0].unless,
        [Unless::Truncated([210].into())],
        "not in the transaction of the rewrite"
    );
    let other = doubts(|_, after| (v(after).writer, v(after).type_oid) = (200, 25));
    assert_eq!(other.len(), 1);
    let volatile = doubts(|_, after| {
        after.columns.insert(3, column("r", 200));
    });
    assert_eq!(volatile.len(), 1);
    assert!(volatile[0].what.contains('r'), "{}", volatile[0].what);
    let with_default = doubts(|before, after| {
        (v(before).missing, v(before).default) = (true, 5);
        (v(after).writer, v(after).default) = (200, 6);
    });
    assert_eq!(with_default.len(), 1, "the default was made anew");
}

#[test]
fn a_later_truncate_in_the_log_wipes_a_rewrite_out() {
    let doubts = doubts(|_, after| v(after).writer = 190);
    assert_eq!(doubts[0].unless, [Unless::Truncated([200, 210].into())]);
}

#[test]
fn generated_columns_count_only_when_they_become_plain() {
    let added = doubts(|_, after| {
        let mut generated = column("g", 200);
        generated.generated = true;
        after.columns.insert(3, generated);
    });
    assert_eq!(added, []);
    let plain = doubts(|before, after| {
        after.file = before.file;
        v(before).generated = true;
    });
    assert_eq!(plain.len(), 1);
}

#[test]
fn partitions_that_go_come_or_are_emptied_are_told() {
    let before = seen(10, 150, true, &[(7, leaf("p1", 1)), (8, leaf("p2", 2))]);
    let same = seen(20, 250, true, &[(7, leaf("p1", 1)), (8, leaf("p2", 2))]);
    assert_eq!(compare(&before, &same), []);

    let gone = seen(20, 250, true, &[(7, leaf("p1", 1))]);
    let doubts = compare(&before, &gone);
    assert_eq!(doubts.len(), 1);
    assert_eq!(doubts[0].unless, []);
    assert!(doubts[0].what.contains("p2"));

    let mut new = leaf("p2", 2);
    new.attached = vec![(200, 3)];
    let come = compare(
        &gone,
        &seen(30, 350, true, &[(7, leaf("p1", 1)), (8, new.clone())]),
    );
    let older = vec![(200, 3)];
    assert_eq!(come[0].unless, [Unless::HoldsNone { leaf: 8, older }]);

    let mut other = leaf("p1", 9);
    other.writers = [200].into();
    let emptied = compare(&gone, &seen(20, 250, true, &[(7, other)]));
    assert_eq!(
        emptied[0].unless,
        [
            Unless::Truncated([200].into()),
            Unless::Holds {
                leaf: 7,
                older: 250
            }
        ]
    );

    let again = seen(30, 350, true, &[(7, leaf("p1", 1)), (8, new)]);
    assert_eq!(compare(&same, &again).len(), 1, "detached for a while");
}
