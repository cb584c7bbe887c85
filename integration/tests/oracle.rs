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
    let schedules = schedules(
        std::env::var("CDC_SEEDS").ok().as_deref(),
        std::env::var("CDC_SOURCE").ok().as_deref(),
    );
    let length = Length {
        rounds: 2,
        faults: 6,
        kafka: false,
    };
    let mut failed = Vec::new();
    for (seed, kind) in &schedules {
        let (seed, kind) = (*seed, *kind);
        match run(seed, kind, length).await {
            Ok(tally) => println!("seed {seed} {kind}: {tally}"),
            Err(what) => {
                println!("FAILED {what}\nagain: make torture SEEDS={seed} SOURCE={kind}");
                failed.push(seed);
            }
        }
    }
    assert!(
        failed.is_empty(),
        "{} of {} seeds failed: {failed:?}",
        failed.len(),
        schedules.len()
    );
    println!("{} seeds, no difference", schedules.len());
}

/// The seeds asked for on the source asked for; without either, a few on each kind of server.
fn schedules(given: Option<&str>, source: Option<&str>) -> Vec<(u64, Kind)> {
    if let (None, None) = (given, source) {
        return ["postgres-15", "postgres-18", "mysql", "mariadb"]
            .into_iter()
            .zip(1..)
            .map(|(source, seed)| (seed, kind(source, seed)))
            .collect();
    }
    let source = source.unwrap_or("postgres");
    let seeds = seeds(given.unwrap_or("1..4")).into_iter();
    seeds.map(|seed| (seed, kind(source, seed))).collect()
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
