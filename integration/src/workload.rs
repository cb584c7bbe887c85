//! Seeded transactions over the tables that tend to go wrong.
//!
//! One driver walks several sessions with open transactions and gives each the next statement in an order that
//! the seed decides, so that transactions really interleave and a seed replays the same work. Each session has
//! key ranges of its own, hence no waiting for row locks; what locks a table runs while no transaction is open.
//! A session that loses its server starts again with a new transaction: the source is the only model there is.
//!
//! Constant throughout: `sum(balance)` over `shop.account` and `shop.vault` together is [`TOTAL`].

pub(crate) mod mysql;
pub(crate) mod postgres;
mod writer;

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::server::{Server, Session as _};
use writer::Writer;

/// The schemas that the workload writes.
pub const SCHEMAS: [&str; 3] = [BY_NAME[0], BY_NAME[1], "renamed"];

/// Those whose columns keep their names: files and records can be read by them.
pub const BY_NAME: [&str; 2] = ["shop", r#"Odd "Schema"#];

/// All of them as table patterns of the configuration.
pub const PATTERNS: &str = r#"["shop.*", '"Odd ""Schema".*', "renamed.*"]"#;

/// What all balances add up to at every commit.
pub const TOTAL: i64 = 2 * ACCOUNTS * 1_000;

/// The query that adds them up, in the source as in a sink.
pub const SUM: &str = "SELECT CAST((SELECT sum(balance) FROM shop.account) + (SELECT sum(balance) FROM shop.vault) AS DECIMAL(18, 0)) AS c0";

const ACCOUNTS: i64 = 60;
const SESSIONS: u64 = 3;

/// What a run does beside plain DML.
#[derive(Debug, Clone, Copy)]
pub struct Mix {
    /// `ALTER TABLE` now and then.
    pub ddl: bool,
    /// Transactions of some ten thousand rows.
    pub big: bool,
    /// `TRUNCATE` now and then.
    pub truncate: bool,
}

impl Default for Mix {
    fn default() -> Self {
        Self {
            ddl: true,
            big: true,
            truncate: true,
        }
    }
}

/// What the workload does on one kind of server. Every statement succeeds whatever rows there are, and touches only
/// keys of its session, so that the only failure left is a lost server.
#[derive(Debug)]
pub struct Script {
    /// Creates and fills the tables, with so many accounts.
    schema: fn(i64) -> Vec<String>,
    /// What a session begins with.
    begin: &'static str,
    /// What belongs together: a savepoint takes it back as a whole.
    unit: fn(&mut Writer<'_>) -> Vec<String>,
    /// Larger than what the server keeps in memory, with a part taken back.
    many: fn(&mut Writer<'_>) -> Vec<String>,
    /// Statements that empty tables.
    truncates: &'static [&'static str],
    /// Changes of a table's shape that a sink is to follow; the number makes names unique.
    alterations: fn(u32) -> Vec<String>,
    /// A change of a row of each table whose shape changes: with it the shape reaches the sinks.
    touches: &'static [&'static str],
}

/// The driver.
#[derive(Debug)]
pub struct Workload<S: Server> {
    address: S::Address,
    random: StdRng,
    mix: Mix,
    sessions: Vec<Worker<S>>,
    columns_added: u32,
    /// Transactions committed so far.
    pub committed: u64,
    /// Transactions rolled back, by choice or with a lost server.
    pub rolled_back: u64,
}

struct Worker<S: Server> {
    number: u64,
    session: Option<S::Session>,
    /// Statements still to come in the open transaction; empty: none is open.
    pending: Vec<String>,
}

impl<S: Server> std::fmt::Debug for Worker<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker")
            .field("number", &self.number)
            .field("pending", &self.pending.len())
            .finish()
    }
}

impl<S: Server> Workload<S> {
    /// Creates the tables with some rows in them.
    ///
    /// # Panics
    ///
    /// When the server refuses to.
    pub async fn create(address: S::Address, seed: u64, mix: Mix) -> Self {
        let session = S::connect(&address).await;
        let session = session.unwrap_or_else(|error| panic!("no session: {error}"));
        for statement in (S::script().schema)(ACCOUNTS) {
            let outcome = session.execute(&statement).await;
            outcome.unwrap_or_else(|refusal| panic!("{statement}\n{}", refusal.text));
        }
        let sessions = (0..SESSIONS).map(|number| Worker {
            number,
            session: None,
            pending: vec![],
        });
        Self {
            address,
            random: StdRng::seed_from_u64(seed),
            mix,
            sessions: sessions.collect(),
            columns_added: 0,
            committed: 0,
            rolled_back: 0,
        }
    }

    /// One statement of one session. An error of the server other than its absence is a defect of the workload.
    pub async fn step(&mut self) {
        let idle = self.sessions.iter().all(|s| s.pending.is_empty());
        if idle && self.random.random_ratio(1, 40) {
            self.alone().await;
            return;
        }
        let place = self.random.random_range(0..self.sessions.len());
        if self.sessions[place].pending.is_empty() {
            // Now and then everything is let run out, so that what needs the tables alone gets its turn.
            let others_open = self.sessions.iter().any(|s| !s.pending.is_empty());
            if others_open && self.random.random_ratio(1, 4) {
                return;
            }
            let number = self.sessions[place].number;
            let mut writer = Writer::new(&mut self.random, number, SESSIONS, ACCOUNTS);
            let mut statements = writer.transaction(S::script(), self.mix.big);
            statements.reverse();
            self.sessions[place].pending = statements;
        }
        let Some(statement) = self.sessions[place].pending.pop() else {
            return;
        };
        if self.run(place, &statement).await {
            match statement.as_str() {
                "COMMIT" => self.committed += 1,
                "ROLLBACK" => self.rolled_back += 1,
                _ => {}
            }
        } else {
            self.rolled_back += 1;
        }
    }

    /// Ends every open transaction by committing it, and has the sinks told of every shape.
    pub async fn settle(&mut self) {
        for place in 0..self.sessions.len() {
            while let Some(statement) = self.sessions[place].pending.pop() {
                self.run(place, &statement).await;
            }
        }
        for touch in S::script().touches {
            // A session that was lost is followed by a new one.
            while !self.run(0, touch).await {}
        }
    }

    /// What takes a lock that no open transaction may stand in the way of.
    async fn alone(&mut self) {
        let mut choices = Vec::new();
        if self.mix.truncate {
            choices.extend(S::script().truncates.iter().map(|s| (*s).to_owned()));
        }
        if self.mix.ddl {
            self.columns_added += 1;
            choices.extend((S::script().alterations)(self.columns_added));
        }
        if choices.is_empty() {
            return;
        }
        let choice = choices.swap_remove(self.random.random_range(0..choices.len()));
        let _ = self.run(0, &choice).await;
    }

    /// Whether it was executed; a lost session is forgotten together with its transaction.
    async fn run(&mut self, place: usize, statement: &str) -> bool {
        let worker = &mut self.sessions[place];
        if worker.session.is_none() {
            match S::connect(&self.address).await {
                Ok(session) => {
                    // Should it be lost already, the next statement tells.
                    let _ = session.execute(S::script().begin).await;
                    worker.session = Some(session);
                }
                Err(_) => {
                    // The server restarts.
                    worker.pending.clear();
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    return false;
                }
            }
        }
        let Some(session) = &worker.session else {
            return false;
        };
        match session.execute(statement).await {
            Ok(()) => true,
            Err(refusal) => {
                assert!(refusal.expected, "{statement}\n{}", refusal.text);
                worker.session = None;
                worker.pending.clear();
                false
            }
        }
    }
}
