//! The crash oracle. A few seeds here; `make torture SEEDS=1..100 SOURCE=postgres` for as long as you doubt.
//!
//! `CDC_SEEDS` is a list of numbers and ranges (`7`, `1..100`, `3,9`), `CDC_SOURCE` is `postgres` (15 and 18 in
//! turns), `postgres-VERSION`, `mysql` or `mariadb`.
#![expect(
    clippy::print_stdout,
    reason = "a torture run says what it did, seed by seed"
)]

use cdc_integration::mysql::Flavor;
use cdc_integration::oracle::{Kind, Length, run};

#[tokio::test(flavor = "multi_thread")]
async fn the_sinks_equal_the_source_through_a_seeded_schedule_of_crashes() {
    let given = std::env::var("CDC_SEEDS");
    let seeds = seeds(given.as_deref().unwrap_or("1..4"));
    let source = std::env::var("CDC_SOURCE").unwrap_or_else(|_| "postgres".into());
    let length = Length {
        rounds: 2,
        faults: 6,
        kafka: false,
    };
    let mut failed = Vec::new();
    for seed in &seeds {
        let kind = kind(&source, *seed);
        match run(*seed, kind, length).await {
            Ok(tally) => println!("seed {seed} {kind}: {tally}"),
            Err(what) => {
                println!("FAILED {what}\nagain: make torture SEEDS={seed} SOURCE={kind}");
                failed.push(*seed);
            }
        }
    }
    assert!(
        failed.is_empty(),
        "{} of {} seeds failed: {failed:?}",
        failed.len(),
        seeds.len()
    );
    println!("{} seeds, no difference", seeds.len());
}

fn kind(source: &str, seed: u64) -> Kind {
    let version = source.strip_prefix("postgres-").map(str::parse);
    match (source, version) {
        ("mysql", _) => Kind::Mysql(Flavor::MySql),
        ("mariadb", _) => Kind::Mysql(Flavor::MariaDb),
        ("postgres", _) => Kind::Postgres(if seed.is_multiple_of(2) { 18 } else { 15 }),
        (_, Some(Ok(version))) => Kind::Postgres(version),
        _ => panic!("CDC_SOURCE is postgres, postgres-VERSION, mysql or mariadb, and not {source}"),
    }
}

/// Both ends of a range are part of it.
fn seeds(text: &str) -> Vec<u64> {
    let number = |text: &str| {
        text.trim()
            .parse::<u64>()
            .expect("CDC_SEEDS holds numbers and ranges")
    };
    let part = |part: &str| match part.split_once("..") {
        Some((first, last)) => number(first)..=number(last),
        None => number(part)..=number(part),
    };
    text.split(',').flat_map(part).collect()
}

#[test]
fn seeds_are_numbers_and_ranges() {
    assert_eq!(seeds("7"), [7]);
    assert_eq!(seeds("1..3, 9"), [1, 2, 3, 9]);
}
