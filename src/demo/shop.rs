//! The demo's shop: its tables, and traffic that keeps one sum constant across two of them.
//!
//! Invariant of the shop: what is in stock and what is in order lines together is always the same.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cdc_api::Result;
use tokio::sync::{OwnedRwLockWriteGuard, RwLock};

use super::Kind;
use super::server::{Server, Session};

/// The invariant, as a query for the warehouse; it gives [`TOTAL`] in every read.
pub(super) const INVARIANT: &str = "SELECT (SELECT sum(stock) FROM shop.products) + (SELECT sum(quantity) FROM shop.order_lines) AS total";

/// What it adds up to.
pub(super) const TOTAL: i64 = 2_000_000;

/// Creates and fills the shop.
pub(super) async fn create(session: &mut Session, kind: Kind) -> Result<()> {
    let statements = match kind {
        Kind::Postgres => include_str!("shop/postgres.sql"),
        Kind::Mysql | Kind::Mariadb => include_str!("shop/mysql.sql"),
    };
    session.execute(statements).await
}

/// A new column, which some customers then have a value in.
pub(super) async fn add_column(session: &mut Session) -> Result<()> {
    session
        .execute(
            "ALTER TABLE shop.customers ADD COLUMN tier text; UPDATE shop.customers SET tier = 'gold' WHERE id % 10 = 0",
        )
        .await
}

/// Sessions that work unless they are told to rest.
pub(super) struct Traffic {
    /// Each transaction holds it for reading; who holds it for writing has all of them rest.
    gate: Arc<RwLock<()>>,
    committed: Arc<AtomicU64>,
    sessions: Vec<tokio::task::JoinHandle<()>>,
}

impl Traffic {
    /// Starts two sessions.
    pub(super) async fn start(server: &Server) -> Result<Self> {
        let gate = Arc::new(RwLock::new(()));
        let committed = Arc::new(AtomicU64::new(0));
        let mut sessions = Vec::new();
        for _ in 0..2 {
            let mut session = server.connect().await?;
            let step = match server.kind() {
                Kind::Postgres => "SELECT traffic.step()",
                Kind::Mysql | Kind::Mariadb => "CALL traffic.step()",
            };
            let (gate, committed) = (Arc::clone(&gate), Arc::clone(&committed));
            sessions.push(tokio::spawn(async move {
                while session.is_open() {
                    let open = gate.read().await;
                    // Two cancellations may wait for each other; the server takes one of them back.
                    if session.execute(step).await.is_ok() {
                        committed.fetch_add(1, Ordering::Relaxed);
                    }
                    drop(open);
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }));
        }
        Ok(Self {
            gate,
            committed,
            sessions,
        })
    }

    /// Lets it go on while the demo waits.
    pub(super) async fn go_on_for(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    /// Waits for the transactions under way; no other begins until the guard is dropped.
    pub(super) async fn rest(&self) -> OwnedRwLockWriteGuard<()> {
        Arc::clone(&self.gate).write_owned().await
    }

    /// Transactions so far.
    pub(super) fn committed(&self) -> u64 {
        self.committed.load(Ordering::Relaxed)
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        for session in &self.sessions {
            session.abort();
        }
    }
}
