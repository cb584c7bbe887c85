//! Which seeds run on which server: what `CDC_SEEDS` and `CDC_SOURCE` say, and the runs one after another.
//!
//! `CDC_SEEDS` is a list of numbers and ranges (`7`, `1..100`, `3,9`), `CDC_SOURCE` is `postgres` (15 and 18 in
//! turns), `postgres-VERSION`, `mysql` or `mariadb`.

use super::{Kind, Length, run};
use crate::mysql::Flavor;

/// The seeds asked for on the source asked for; without either, `otherwise`, each on its source.
///
/// # Panics
///
/// When either is not what it can be.
#[must_use]
pub fn schedules(otherwise: &[(u64, &str)]) -> Vec<(u64, Kind)> {
    let asked = |name| std::env::var(name).ok();
    let (given, source) = (asked("CDC_SEEDS"), asked("CDC_SOURCE"));
    if let (None, None) = (&given, &source) {
        let each = otherwise.iter();
        return each.map(|(seed, of)| (*seed, kind(of, *seed))).collect();
    }
    let source = source.as_deref().unwrap_or("postgres");
    let seeds = seeds(given.as_deref().unwrap_or("1..4")).into_iter();
    seeds.map(|seed| (seed, kind(source, seed))).collect()
}

/// Runs one seed after another and says what each did.
///
/// # Panics
///
/// At the end, when one of them found a difference.
#[expect(
    clippy::print_stdout,
    reason = "a torture run says what it did, seed by seed"
)]
pub async fn run_all(schedules: &[(u64, Kind)], length: Length) {
    let target = if length.kafka { "kafka" } else { "torture" };
    let mut failed = Vec::new();
    for &(seed, kind) in schedules {
        match run(seed, kind, length).await {
            Ok(tally) => println!("seed {seed} {kind}: {tally}"),
            Err(what) => {
                println!("FAILED {what}\nagain: make {target} SEEDS={seed} SOURCE={kind}");
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

#[cfg(test)]
mod tests {
    use super::seeds;

    #[test]
    fn seeds_are_numbers_and_ranges() {
        assert_eq!(seeds("7"), [7]);
        assert_eq!(seeds("1..3, 9"), [1, 2, 3, 9]);
    }
}
