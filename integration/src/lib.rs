//! The daemon against real servers: what starts them, what breaks them, and what proves equality.
//!
//! | room | owns |
//! |---|---|
//! | [`server`] | what all below needs of a source, whatever its kind |
//! | [`postgres`], [`mysql`] | throw-away servers |
//! | [`kafka`] | a throw-away Kafka broker, and a consumer of committed records |
//! | `unprivileged` | how any server's program runs |
//! | [`daemon`], [`commands`] | the `cdc` binary as a child process, killed and questioned from outside |
//! | [`proxy`] | a TCP path that can be cut, reset, stalled and slowed |
//! | [`workload`] | seeded transactions over the tables that tend to go wrong |
//! | [`canonical`] | one text per value, whatever side it was read from |
//! | [`compare`], [`lake`] | source against warehouse and lake, by key and content |
//! | [`scene`] | one server and one daemon, for tests of one behaviour |
//! | [`measure`] | what a process costs |
//! | [`mod@bench`] | what the daemon costs beside tools that do nothing with the data |
//! | [`small_disk`] | a file system that gets full |
//! | [`oracle`] | all of these together: a seeded workload under a seeded schedule of faults |
//!
//! Invariant: nothing here uses the daemon's own code. What it says is believed only when the source and the
//! sinks, read by other programs, agree.

pub mod bench;
pub mod canonical;
pub mod commands;
pub mod compare;
pub mod daemon;
pub mod kafka;
pub mod lake;
pub mod measure;
pub mod mysql;
pub mod oracle;
pub mod postgres;
pub mod proxy;
pub mod scene;
pub mod server;
pub mod small_disk;
mod unprivileged;
pub mod workload;

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Asks `probe` again and again until it answers `Ok`, and returns the answer.
///
/// # Panics
///
/// When `limit` has passed; the last refusal is in the text, so a probe says in its `Err` what it saw.
pub async fn eventually<T, F, P>(what: &str, limit: Duration, mut probe: P) -> T
where
    P: FnMut() -> F,
    F: Future<Output = Result<T, String>>,
{
    let start = Instant::now();
    loop {
        match probe().await {
            Ok(answer) => return answer,
            Err(refusal) => assert!(
                start.elapsed() < limit,
                "{what}: not within {limit:?}; last seen: {refusal}"
            ),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A port of the loopback address that nothing listens on and that this process was not given before, below the range
/// the system gives out by itself, so that a server stopped and started again finds it free.
#[must_use]
pub fn free_port() -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    loop {
        let port = rand::random_range(12_000..32_000);
        let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() && given.insert(port) {
            return port;
        }
    }
}
