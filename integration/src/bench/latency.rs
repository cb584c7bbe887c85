//! From a commit in the source to its row in the sink, at a steady rate of transactions.
//!
//! A transaction's clock starts before its statement is sent, and stops when a reader of the sink holds its row: the
//! source's own commit and the reader's own time are in the figure. Each sink is read as its users do: Kafka by a
//! consumer of committed records, DuckDB by `cdc query`, Parquet by DuckDB over the files. Readers ask again at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::report::{Latency, Report};
use super::target::{Target, daemon, topic};
use super::wish::Wish;
use super::{postgres, rounds};
use crate::commands::Commands;
use crate::kafka::Kafka;
use crate::postgres::{Postgres, connect};
use crate::server::Server as _;

mod reader;

use reader::Reader;

/// Transactions of the first moments are not counted.
const WARM_UP: f64 = 0.1;

/// Rows of the burst, as a share of those that W1 copies.
const BURST: u64 = 25;

/// When each transaction was sent, in microseconds since the start; 0 before. When the source had answered it, and when
/// it was seen.
#[derive(Debug)]
pub(super) struct Ticks {
    start: Instant,
    sent: Vec<AtomicU64>,
    answered: Vec<AtomicU64>,
    seen: Vec<AtomicU64>,
    next: AtomicUsize,
    over: AtomicBool,
}

impl Ticks {
    fn new(count: usize) -> Arc<Self> {
        let empty = || (0..count).map(|_| AtomicU64::new(0)).collect();
        Arc::new(Self {
            start: Instant::now(),
            sent: empty(),
            answered: empty(),
            seen: empty(),
            next: AtomicUsize::new(0),
            over: AtomicBool::new(false),
        })
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// A reader holds the row of this number.
    pub(super) fn see(&self, number: usize) {
        if let Some(seen) = self.seen.get(number) {
            let _ = seen.compare_exchange(0, self.now(), Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Up to here every row was seen.
    pub(super) fn complete(&self, from: usize) -> usize {
        let rest = self.seen.iter().skip(from);
        from + rest
            .take_while(|seen| seen.load(Ordering::Relaxed) > 0)
            .count()
    }

    /// Whether the reader is to end.
    pub(super) fn over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// From sending to one of the other two.
    fn millis(&self, until: &[AtomicU64]) -> Vec<f64> {
        let first = (self.sent.len() as f64 * WARM_UP) as usize;
        let both = self.sent.iter().zip(until).skip(first);
        both.map(|(sent, seen)| (sent.load(Ordering::Relaxed), seen.load(Ordering::Relaxed)))
            .map(|(sent, seen)| seen.saturating_sub(sent) as f64 / 1e3)
            .collect()
    }
}

/// Every sink at every rate, and after a burst.
pub(super) async fn measure(wish: &Wish, report: &mut Report) -> Result<(), String> {
    let server = postgres::server(wish).await;
    server
        .execute("CREATE SCHEMA shop; CREATE TABLE shop.burst (id bigint PRIMARY KEY, note text)")
        .await;
    let broker = if wish.into.contains(&Target::Kafka) {
        Some(Kafka::start_large().await)
    } else {
        None
    };
    let read = |target: &&Target| **target != Target::Blackhole;
    for &target in wish.into.iter().filter(read) {
        for &rate in &wish.rates {
            let one = One {
                wish,
                server: &server,
                broker: broker.as_ref(),
                target,
                rate,
            };
            report.latencies.push(one.measure(false).await?);
        }
        let rate = wish.rates.first().copied().unwrap_or(100);
        let one = One {
            wish,
            server: &server,
            broker: broker.as_ref(),
            target,
            rate,
        };
        report.latencies.push(one.measure(true).await?);
    }
    Ok(())
}

/// One sink at one rate.
struct One<'a> {
    wish: &'a Wish,
    server: &'a Postgres,
    broker: Option<&'a Kafka>,
    target: Target,
    rate: u32,
}

impl One<'_> {
    async fn measure(&self, burst: bool) -> Result<Latency, String> {
        let table = "DROP TABLE IF EXISTS shop.tick; CREATE TABLE shop.tick (id bigint PRIMARY KEY, note text)";
        self.server.execute(table).await;
        let name = format!("latency_{}", crate::free_port());
        let url = postgres::url(self.server);
        let mut daemon = daemon(&name, &url, &[self.target], self.broker);
        daemon.start_streaming().await;
        daemon.caught_up(rounds::LIMIT).await;
        let count = u64::from(self.rate) * self.wish.seconds;
        let ticks = Ticks::new(usize::try_from(count).map_err(|e| e.to_string())?);
        let reader = self.reader(&name, daemon.commands());
        let reading = Arc::clone(&ticks);
        let reader = tokio::task::spawn_blocking(move || reader.run(&reading));
        let mut work = format!("{} transactions/s for {} s", self.rate, self.wish.seconds);
        if burst {
            let rows = self.wish.rows / BURST;
            self.server
                .execute(&format!(
                    "TRUNCATE shop.burst; INSERT INTO shop.burst SELECT i, md5(i::text) FROM generate_series(1, {rows}) i"
                ))
                .await;
            work.push_str(&format!(" after {rows} rows at once"));
        }
        let began = Instant::now();
        self.write(&ticks).await?;
        let took = began.elapsed().as_secs_f64();
        if took > 1.1 * self.wish.seconds as f64 {
            work.push_str(&format!(" (came to {:.0}/s)", count as f64 / took));
        }
        let waited = Instant::now();
        while ticks.complete(0) < ticks.seen.len() && waited.elapsed() < rounds::LIMIT {
            if reader.is_finished() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        ticks.over.store(true, Ordering::Relaxed);
        reader.await.map_err(|e| e.to_string())??;
        daemon.terminate().await;
        daemon.succeed(&["teardown", "--yes"])?;
        let (seen, answered) = (ticks.millis(&ticks.seen), ticks.millis(&ticks.answered));
        Ok(Latency::of(&work, self.target.name(), seen, answered))
    }

    fn reader(&self, name: &str, commands: Commands) -> Reader {
        match (self.target, self.broker) {
            (Target::Kafka, Some(broker)) => Reader::Kafka {
                brokers: broker.brokers(),
                topic: topic(name, "shop.tick"),
            },
            (Target::Parquet, _) => Reader::Parquet(commands.path("lake0/shop/tick")),
            _ => Reader::Query(commands),
        }
    }

    /// Inserts a row a transaction, at the rate, over as many sessions as that takes.
    async fn write(&self, ticks: &Arc<Ticks>) -> Result<(), String> {
        let sessions = (self.rate / 400).clamp(1, 12);
        let every = Duration::from_secs_f64(f64::from(sessions) / f64::from(self.rate));
        let mut writers = tokio::task::JoinSet::new();
        for _ in 0..sessions {
            let session = connect(&self.server.address())
                .await
                .map_err(|e| e.to_string())?;
            let ticks = Arc::clone(ticks);
            writers.spawn(async move {
                let insert = "INSERT INTO shop.tick VALUES ($1, 'tick')";
                let insert = session.prepare(insert).await?;
                let mut pace = tokio::time::interval(every);
                loop {
                    pace.tick().await;
                    let number = ticks.next.fetch_add(1, Ordering::Relaxed);
                    let Some(sent) = ticks.sent.get(number) else {
                        return Ok(());
                    };
                    sent.store(ticks.now(), Ordering::Relaxed);
                    let id = i64::try_from(number).unwrap_or(i64::MAX);
                    session.execute(&insert, &[&id]).await?;
                    if let Some(answered) = ticks.answered.get(number) {
                        answered.store(ticks.now(), Ordering::Relaxed);
                    }
                }
            });
        }
        while let Some(writer) = writers.join_next().await {
            let ended: Result<(), tokio_postgres::Error> = writer.map_err(|e| e.to_string())?;
            ended.map_err(|e| e.to_string())?;
        }
        Ok(())
    }
}
