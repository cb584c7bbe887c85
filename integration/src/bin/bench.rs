//! The program behind `make bench`: reads its arguments, prints the table, and keeps the figures.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program whose product is a table on standard output"
)]

use std::process::ExitCode;

use cdc_integration::bench::report::Report;
use cdc_integration::bench::wish::{USAGE, Wish};
use cdc_integration::bench::{gulps, measure, produced};

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let outcome = match arguments.split_first() {
        Some((first, rest)) if first == "gulps" => count(rest),
        Some((first, rest)) if first == "produce" => produce(rest),
        _ => all(arguments).await,
    };
    match outcome {
        Ok(said) => {
            println!("{said}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// librdkafka alone, as a process of its own: `produce BROKERS TOPIC COUNT`. Says what it took, as JSON.
fn produce(arguments: &[String]) -> Result<String, String> {
    let [brokers, topic, count] = arguments else {
        return Err(USAGE.to_owned());
    };
    let count = count.parse().map_err(|_| USAGE)?;
    let cost = produced::produce(brokers, topic, count)?;
    serde_json::to_string(&cost).map_err(|error| error.to_string())
}

async fn all(arguments: Vec<String>) -> Result<String, String> {
    let wish = Wish::parse(arguments)?;
    let base = wish.base.as_deref();
    let base = base.map(|base| Report::find(base, &wish.results));
    let base = base.transpose()?;
    // What is there already is on the terminal while the rest is measured.
    let mut told = (0, 0);
    let tell = |so_far: &Report| {
        eprint!("{}", so_far.since(told, base.as_ref()));
        told = (so_far.figures.len(), so_far.latencies.len());
    };
    let report = measure(&wish, tell).await?;
    let kept = report.keep(&wish.results)?;
    let table = report.table(base.as_ref());
    Ok(format!("{table}\n{}", kept.display()))
}

/// The bare reader, which runs as a process of its own: `gulps PORT SLOT PUBLICATION END`.
fn count(arguments: &[String]) -> Result<String, String> {
    let [port, slot, publication, end] = arguments else {
        return Err(USAGE.to_owned());
    };
    let port = port.parse().map_err(|_| USAGE)?;
    let end = end.split_once('/').and_then(|(high, low)| {
        let high = u64::from_str_radix(high, 16).ok()?;
        Some(high << 32 | u64::from_str_radix(low, 16).ok()?)
    });
    let counted = gulps::read(port, slot, publication, end.ok_or(USAGE)?)?;
    Ok(format!(
        "{} changes, {} bytes, {} reads",
        counted.changes, counted.bytes, counted.reads
    ))
}
