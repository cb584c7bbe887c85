//! The model keeps its own promises: money adds up at every commit, and its log makes its content.

use std::collections::BTreeMap;

use super::*;
use crate::testing::content::{Content, Flavour};
use crate::{ChangeBatch, Op};

#[test]
fn money_adds_up_to_nothing_at_every_commit() {
    for seed in 0..50 {
        let database = Database::new();
        let mut workload = Workload::new(&database, seed, Mix::default());
        for _ in 0..60 {
            workload.step();
        }
        let mut moved = 0;
        for commit in 0..=database.head() {
            assert_eq!(database.money(commit), 0, "seed {seed} commit {commit}");
            moved += database
                .state(commit)
                .tables
                .values()
                .filter(|table| table.money() != 0)
                .count();
        }
        assert!(moved > 0, "no money ever moved between tables");
    }
}

#[test]
fn the_log_applied_to_the_content_of_a_commit_gives_the_content_of_every_later_one() {
    for seed in 0..50 {
        let database = Database::new();
        let mut workload = Workload::new(
            &database,
            seed,
            Mix {
                table: 0,
                ..Mix::default()
            },
        );
        let all = database
            .state(database.head())
            .tables
            .keys()
            .copied()
            .collect();
        database.capture(all);
        let start = database.head();
        let mut contents: BTreeMap<TableId, Content> = BTreeMap::new();
        for (id, table) in &database.state(start).tables {
            let mut content = Content::new(Arc::clone(&table.schema), Flavour::Mirror);
            let rows: Vec<Option<&[Value]>> = table
                .rows
                .values()
                .map(|row| Some(row.as_slice()))
                .collect();
            let rows = batch_of(&table.schema, &rows);
            let batch = ChangeBatch::of_snapshot(Arc::clone(&table.schema), rows, 0, 0);
            content.apply(&batch, false).expect("reads apply");
            contents.insert(*id, content);
        }
        for _ in 0..60 {
            let commit = workload.step();
            let logged = database.logged(commit).expect("nothing is forgotten");
            apply(&mut contents, &logged);
            for (id, table) in &database.state(commit).tables {
                assert_eq!(contents[id].rows(), table.cells(), "seed {seed} {commit}");
            }
        }
    }
}

/// Applies row by row, but for the pairs of key changes, which are one batch's.
fn apply(contents: &mut BTreeMap<TableId, Content>, transaction: &Arc<Transaction>) {
    let mut pair = Vec::new();
    for (index, change) in transaction.changes.iter().enumerate() {
        match change {
            Change::Schema(schema) => {
                let content = contents.get_mut(&schema.id).expect("known");
                content.apply_schema(schema).expect("follows");
            }
            Change::Truncate(tables) => {
                for table in tables {
                    contents.get_mut(table).expect("known").truncate(0);
                }
            }
            Change::Failed(_) | Change::Notice(_) => {}
            Change::Row(change) => {
                pair.push(Logged {
                    transaction: Arc::clone(transaction),
                    index,
                    seq: 1 + index as u64,
                });
                if change.op == Op::MoveOut {
                    continue;
                }
                let content = contents.get_mut(&change.table.id).expect("known");
                let batch = change_batch(&pair).expect("rows");
                content.apply(&batch, true).expect("fits");
                pair.clear();
            }
        }
    }
}
