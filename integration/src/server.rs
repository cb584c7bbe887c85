//! What the oracle, the scenes, the workload and the comparison need of a source, whatever its kind.
//!
//! [`crate::postgres`] and [`crate::mysql`] are the servers; what only one kind has stays there.

use std::fmt;
use std::future::Future;

use crate::compare::{Row, Table};
use crate::workload::Script;

/// How a server goes down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Everything is written out.
    Fast,
    /// As after a crash: the next start recovers from the logs.
    Immediate,
}

/// Why a statement was not executed.
#[derive(Debug)]
pub struct Refusal {
    /// The server's words.
    pub text: String,
    /// Whether that can happen to any statement: the server is gone, or a lock was not to be had.
    pub expected: bool,
}

/// A session that reads and writes the source by SQL.
pub trait Session: Send + Sync {
    /// Runs statements, separated by semicolons; the first error ends them.
    fn execute(&self, statements: &str) -> impl Future<Output = Result<(), Refusal>> + Send;

    /// The rows of a query as the server prints them.
    fn rows(&self, query: &str) -> impl Future<Output = Result<Vec<Row>, String>> + Send;

    /// The tables of some schemas, by the catalog; partitions are left to their parent.
    fn tables(&self, schemas: &[&str]) -> impl Future<Output = Result<Vec<Table>, String>> + Send;
}

/// A throw-away server. Dropped: stopped at once, its folder removed.
pub trait Server: fmt::Debug + Send {
    /// Root's session.
    type Session: Session;

    /// How sessions reach it, over restarts, past any fault of a TCP path.
    type Address: Clone + fmt::Debug + Send;

    /// What the workload does on this kind of server.
    fn script() -> &'static Script;

    /// Where it is.
    fn address(&self) -> Self::Address;

    /// Root's session, as statements and comparisons want it.
    fn connect(
        address: &Self::Address,
    ) -> impl Future<Output = Result<Self::Session, String>> + Send;

    /// What a configuration says as root, by TCP, at a port.
    fn url_at(port: u16) -> String;

    /// The port on 127.0.0.1.
    fn port(&self) -> u16;

    /// Stops and starts it.
    fn restart(&mut self, how: Stop) -> impl Future<Output = ()> + Send;

    /// The last lines of its log.
    fn log_end(&self) -> String;

    /// Root's session.
    ///
    /// # Panics
    ///
    /// When the server refuses it.
    fn session(&self) -> impl Future<Output = Self::Session> + Send
    where
        Self: Sync,
    {
        async {
            Self::connect(&self.address())
                .await
                .unwrap_or_else(|error| panic!("no session: {error}\n{}", self.log_end()))
        }
    }

    /// Runs statements in a session of their own.
    ///
    /// # Panics
    ///
    /// When the server refuses one.
    fn execute(&self, statements: &str) -> impl Future<Output = ()> + Send
    where
        Self: Sync,
    {
        async move {
            let outcome = self.session().await.execute(statements).await;
            outcome.unwrap_or_else(|refusal| panic!("{statements}\n{}", refusal.text));
        }
    }

    /// The only value of the only row of a query, as text.
    ///
    /// # Panics
    ///
    /// When the server refuses it.
    fn value(&self, query: &str) -> impl Future<Output = Option<String>> + Send
    where
        Self: Sync,
    {
        async move {
            let rows = self.session().await.rows(query).await;
            let rows = rows.unwrap_or_else(|error| panic!("{error}"));
            rows.into_iter().next()?.into_iter().next()?
        }
    }
}
