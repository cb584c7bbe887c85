//! A session that reads and writes MySQL or MariaDB as text.

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Opts, Value};
use tokio::sync::Mutex;

use crate::compare::{self, Row, Table};
use crate::server::{Refusal, Session};

/// A session in UTC and UTF-8.
#[derive(Debug)]
pub struct Client(Mutex<Conn>);

impl Client {
    /// Opens one.
    ///
    /// # Errors
    ///
    /// What the server says.
    pub async fn open(options: Opts) -> Result<Self, mysql_async::Error> {
        let mut session = Conn::new(options).await?;
        session
            .query_drop(
                "SET NAMES utf8mb4, time_zone = '+00:00', SESSION group_concat_max_len = 1000000",
            )
            .await?;
        Ok(Self(Mutex::new(session)))
    }
}

impl Session for Client {
    async fn execute(&self, statements: &str) -> Result<(), Refusal> {
        let outcome = self.0.lock().await.query_drop(statements).await;
        outcome.map_err(|error| Refusal {
            // Shutdowns, kills, lock time-outs and deadlocks, which end the transaction.
            expected: match &error {
                mysql_async::Error::Server(server) => {
                    matches!(server.code, 1053 | 1205 | 1213 | 1317 | 1927 | 3169)
                }
                _ => true,
            },
            text: error.to_string(),
        })
    }

    /// By the text protocol; every value has to be UTF-8.
    async fn rows(&self, query: &str) -> Result<Vec<Row>, String> {
        let said = |error: mysql_async::Error| format!("{error}\n{query}");
        let rows: Vec<mysql_async::Row> = self.0.lock().await.query(query).await.map_err(said)?;
        let text = |value: Value| match value {
            Value::NULL => Ok(None),
            Value::Bytes(bytes) => String::from_utf8(bytes)
                .map(Some)
                .map_err(|_| format!("a value is not text\n{query}")),
            other => Err(format!("the text protocol gave {other:?}\n{query}")),
        };
        rows.into_iter()
            .map(|row| row.unwrap().into_iter().map(text).collect())
            .collect()
    }

    async fn tables(&self, schemas: &[&str]) -> Result<Vec<Table>, String> {
        compare::mysql::tables(self, schemas).await
    }
}
