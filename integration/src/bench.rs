//! `make bench`: what `cdc` takes beside tools that do nothing with the data, on real servers, in alternating rounds.
//!
//! | room | owns |
//! |---|---|
//! | [`wish`] | what is to be measured |
//! | [`report`] | the figures: the table, the file, the comparison with an earlier file |
//! | [`machine`] | what it was measured on |
//! | `target` | what the daemon writes into |
//! | `rounds` | the order of runs, and the daemon's own run |
//! | `postgres` | W1 and W2: PostgreSQL's rows copied, its log drained |
//! | [`gulps`] | the bare reader, the floor of W2 |
//! | [`produced`] | librdkafka alone, the floor of what goes into Kafka |
//! | `mysql` | W3 and W4: a binlog drained, rows copied |
//! | `latency` | from a commit in the source to its rows in the sink |
//! | `growth` | the cost of a change against the shape of the work |
//! | `quiet` | what a pipeline takes that has nothing to do, and one huge transaction |
//!
//! Invariant: a round runs every tool once, one after another, on the same data, so that what disturbs the machine
//! disturbs them alike; a figure is the median of the rounds. Nothing is asserted about time.

mod growth;
pub mod gulps;
mod latency;
pub mod machine;
mod mysql;
mod postgres;
pub mod produced;
mod quiet;
pub mod report;
mod rounds;
mod target;
pub mod wish;

use report::Report;
use wish::{Wish, Work};

/// Measures all that is wished for; `tell` is given the report so far whenever there is more of it.
///
/// # Errors
///
/// In words, when a tool fails or the daemon does not do its work.
pub async fn measure(wish: &Wish, mut tell: impl FnMut(&Report)) -> Result<Report, String> {
    let mut report = Report::begin(wish);
    for work in &wish.works {
        match work {
            Work::W1 => postgres::copy(wish, &mut report).await?,
            Work::W2 => postgres::drain(wish, &mut report).await?,
            Work::W3 => mysql::drain(wish, &mut report).await?,
            Work::W4 => mysql::copy(wish, &mut report).await?,
            Work::Latency => latency::measure(wish, &mut report).await?,
            Work::Growth => growth::measure(wish, &mut report, &mut tell).await?,
            Work::Idle => quiet::idle(wish, &mut report).await?,
            Work::Huge => quiet::huge(wish, &mut report).await?,
        }
        tell(&report);
    }
    report.end();
    Ok(report)
}
