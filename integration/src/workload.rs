//! Seeded transactions over the tables that tend to go wrong.
//!
//! One driver walks several sessions with open transactions and gives each the next statement in an order that
//! the seed decides, so that transactions really interleave and a seed replays the same work. Each session has
//! key ranges of its own, hence no waiting for row locks; what locks a table runs while no transaction is open.
//! A session that loses its server starts again with a new transaction: the source is the only model there is.
//!
//! Constant throughout: `sum(balance)` over `shop.account` and `shop.vault` together is [`TOTAL`].

mod statements;

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio_postgres::Client;

use crate::postgres::{connect, describe};

/// The schemas that the workload writes.
pub const SCHEMAS: [&str; 2] = ["shop", r#"Odd "Schema"#];

/// The same as table patterns of the configuration.
pub const PATTERNS: &str = r#"["shop.*", '"Odd ""Schema".*']"#;

/// What all balances add up to at every commit.
pub const TOTAL: i64 = 2 * ACCOUNTS * 1_000;

/// The query that adds them up in a sink.
pub const SUM: &str = "SELECT CAST((SELECT sum(balance) FROM shop.account) + (SELECT sum(balance) FROM shop.vault) AS BIGINT) AS c0";

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

/// The driver.
#[derive(Debug)]
pub struct Workload {
    url: String,
    random: StdRng,
    mix: Mix,
    sessions: Vec<Session>,
    columns_added: u32,
    /// Transactions committed so far.
    pub committed: u64,
    /// Transactions rolled back, by choice or with a lost server.
    pub rolled_back: u64,
}

struct Session {
    number: u64,
    client: Option<Client>,
    /// Statements still to come in the open transaction; empty: none is open.
    pending: Vec<String>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("number", &self.number)
            .field("pending", &self.pending.len())
            .finish()
    }
}

impl Workload {
    /// Creates the tables with some rows in them.
    pub async fn create(url: &str, seed: u64, mix: Mix) -> Self {
        let client = connect(url).await.expect("the source answers");
        for statement in statements::schema(ACCOUNTS) {
            client
                .batch_execute(&statement)
                .await
                .unwrap_or_else(|error| panic!("{statement}\n{}", describe(&error)));
        }
        let sessions = (0..SESSIONS).map(|number| Session {
            number,
            client: None,
            pending: vec![],
        });
        Self {
            url: url.into(),
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
            let mut statements =
                statements::transaction(&mut self.random, number, SESSIONS, ACCOUNTS, self.mix.big);
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

    /// Ends every open transaction by committing it.
    pub async fn settle(&mut self) {
        for place in 0..self.sessions.len() {
            while let Some(statement) = self.sessions[place].pending.pop() {
                self.run(place, &statement).await;
            }
        }
    }

    /// What takes a lock that no open transaction may stand in the way of.
    async fn alone(&mut self) {
        let mut choices = Vec::new();
        if self.mix.truncate {
            let truncates = [
                "TRUNCATE shop.visit",
                "TRUNCATE shop.visit, shop.page",
                "TRUNCATE shop.measure",
                "INSERT INTO shop.page VALUES (-1, 1, 'before') ON CONFLICT DO NOTHING; TRUNCATE shop.page; \
                 INSERT INTO shop.page VALUES (-1, 2, 'after')",
            ];
            choices.extend(truncates.map(String::from));
        }
        if self.mix.ddl {
            self.columns_added += 1;
            choices.extend(statements::alterations(self.columns_added));
        }
        if choices.is_empty() {
            return;
        }
        let choice = choices.swap_remove(self.random.random_range(0..choices.len()));
        let _ = self.run(0, &choice).await;
    }

    /// Whether it was executed; a lost session is forgotten together with its transaction.
    async fn run(&mut self, place: usize, statement: &str) -> bool {
        let session = &mut self.sessions[place];
        if session.client.is_none() {
            match connect(&self.url).await {
                Ok(client) => {
                    let _ = client.batch_execute("SET lock_timeout = '5s'").await;
                    session.client = Some(client);
                }
                Err(_) => {
                    // The server restarts.
                    session.pending.clear();
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    return false;
                }
            }
        }
        let Some(client) = &session.client else {
            return false;
        };
        match client.batch_execute(statement).await {
            Ok(()) => true,
            Err(error) => {
                // The server goes away (57P…), or a copy holds schema changes off for longer than we wait (55P03).
                let code = error.as_db_error().map(|db| db.code().code().to_owned());
                let expected =
                    client.is_closed() || code.is_none_or(|c| c.starts_with("57P") || c == "55P03");
                assert!(expected, "{statement}\n{}", describe(&error));
                session.client = None;
                session.pending.clear();
                false
            }
        }
    }
}
