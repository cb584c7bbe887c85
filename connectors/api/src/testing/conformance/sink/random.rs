//! Random transactions and crashes against the model, seeded.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{Drive, Fresh};
use crate::testing::database::{Mix, Workload};
use crate::{Identity, TableId};

const SEEDS: u64 = 4;
const STEPS: usize = 60;

async fn loaded(fresh: Fresh<'_>, seed: u64) -> (Drive, Workload) {
    let mut drive = Drive::begin(fresh()).await;
    let mix = Mix {
        table: 0,
        // Where a rename hides earlier rows there is nothing to compare them with.
        renames: drive.probe.renames(),
        ..Mix::default()
    };
    let workload = Workload::new(&drive.database, seed, mix);
    drive.write(|_| ());
    let takes_all = drive.sink().capabilities().keyless_append;
    let state = drive.database.state(drive.database.head());
    let tables: Vec<TableId> = state
        .tables
        .values()
        .map(|table| &table.schema)
        .filter(|schema| takes_all || schema.identity != Identity::None)
        .map(|schema| schema.id)
        .collect();
    for table in tables {
        drive.load(table).await;
    }
    drive.check(&format!("seed {seed}: after the copies")).await;
    (drive, workload)
}

/// Commits of random size over random transactions equal the model.
pub async fn random_transactions(fresh: Fresh<'_>) {
    for seed in 0..SEEDS {
        let (mut drive, mut workload) = loaded(fresh, seed).await;
        let mut rng = StdRng::seed_from_u64(seed);
        for step in 0..STEPS {
            workload.step();
            drive.batch_rows = [1, 3, usize::MAX][rng.random_range(0..3)];
            if rng.random_range(0..3) == 0 {
                drive.catch_up().await;
                drive.check(&format!("seed {seed} step {step}")).await;
            }
        }
        drive.catch_up().await;
        drive.check(&format!("seed {seed}: at the end")).await;
        drive.reopen().await;
        drive.check(&format!("seed {seed}: after reopening")).await;
    }
}

/// The same with crashes, rollbacks and second copies between.
pub async fn random_crashes(fresh: Fresh<'_>) {
    for seed in 100..100 + SEEDS {
        let (mut drive, mut workload) = loaded(fresh, seed).await;
        let mut rng = StdRng::seed_from_u64(seed);
        for step in 0..STEPS {
            workload.step();
            drive.batch_rows = [1, 3, usize::MAX][rng.random_range(0..3)];
            let when = format!("seed {seed} step {step}");
            match rng.random_range(0..12) {
                0..=2 => {
                    drive.catch_up().await;
                    drive.check(&when).await;
                }
                3 => {
                    drive.feed().await;
                    drive.reopen().await;
                    drive.check(&format!("{when}: after a crash")).await;
                }
                4 => {
                    drive.feed().await;
                    drive.rollback().await;
                    drive.check(&format!("{when}: after a rollback")).await;
                }
                5 => {
                    drive.catch_up().await;
                    drive.reopen().await;
                }
                6 => {
                    let joined = drive.sink().joined().await.expect("asked");
                    let nth = rng.random_range(0..joined.len());
                    drive.load(joined[nth].table.id).await;
                    drive.check(&format!("{when}: after a second copy")).await;
                }
                _ => {}
            }
        }
        drive.catch_up().await;
        drive.check(&format!("seed {seed}: at the end")).await;
    }
}
