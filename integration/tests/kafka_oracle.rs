//! The crash oracle with Kafka as a third sink: daemon, source and broker fail in turns, and a consumer of committed
//! records that rebuilds the tables by key has the source's content at every quiesced point, and no change twice.
//!
//! `CDC_SEEDS` is a list of numbers and ranges, as for the test `oracle`.
#![expect(
    clippy::print_stdout,
    reason = "a torture run says what it did, seed by seed"
)]

use cdc_integration::oracle::{Kind, Length, run};

#[tokio::test(flavor = "multi_thread")]
async fn topics_equal_the_source_through_a_seeded_schedule_of_crashes() {
    let given = std::env::var("CDC_SEEDS").unwrap_or_else(|_| "1,2".into());
    let number = |text: &str| text.trim().parse::<u64>().expect("CDC_SEEDS: a number");
    let seeds: Vec<u64> = given
        .split(',')
        .flat_map(|part| match part.split_once("..") {
            Some((from, to)) => (number(from)..=number(to)).collect::<Vec<_>>(),
            None => vec![number(part)],
        })
        .collect();
    let length = Length {
        rounds: 2,
        faults: 6,
        kafka: true,
    };
    let mut failed = Vec::new();
    for seed in &seeds {
        let version = if seed % 2 == 0 { 18 } else { 15 };
        match run(*seed, Kind::Postgres(version), length).await {
            Ok(tally) => println!("seed {seed}: {tally}"),
            Err(what) => {
                println!("FAILED {what}");
                failed.push(*seed);
            }
        }
    }
    assert!(failed.is_empty(), "seeds failed: {failed:?}");
}
