//! Schema changes that wait for a copy, on a server that keeps a table's metadata lock for as long as
//! the view (MariaDB).
//!
//! Behind a schema change that waits, all of the table's traffic waits. So a session beside the copy
//! asks for each table that the copy has read, once a second: when it has to wait for that, someone
//! else does. Then the views' sessions are ended, the schema change goes on, and the copy begins
//! again.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cdc_api::Result;
use tokio::task::JoinHandle;

use crate::connect::Session;
use crate::refusal::refused_with;

/// How often it is asked.
const EVERY: Duration = Duration::from_secs(1);

/// A task that lives as long as this.
pub(super) struct Guard {
    tables: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Guard {
    /// Begins to ask, on this session; `threads` are those of the views.
    pub(super) async fn begin(mut session: Session, threads: Vec<u32>) -> Result<Self> {
        session.execute("SET SESSION lock_wait_timeout = 1").await?;
        let tables = Arc::new(Mutex::new(Vec::new()));
        let task = tokio::spawn(guard(session, Arc::clone(&tables), threads));
        Ok(Self { tables, task })
    }

    /// From now on the copy holds this table, named in backticks.
    pub(super) fn watch(&self, table: &str) {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        if !tables.iter().any(|known| known == table) {
            tables.push(table.to_owned());
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn guard(mut session: Session, tables: Arc<Mutex<Vec<String>>>, threads: Vec<u32>) {
    loop {
        tokio::time::sleep(EVERY).await;
        let held = tables
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        for table in held {
            let asked = session
                .query(&format!("SELECT 1 FROM {table} LIMIT 0"))
                .await;
            match asked {
                Err(error) if refused_with(&error, &[1205]) => {
                    tracing::warn!(
                        table,
                        "a schema change waits for a copy, which begins again"
                    );
                    for thread in threads {
                        // A session that has ended needs no end.
                        let _ = session.execute(&format!("KILL CONNECTION {thread}")).await;
                    }
                    return;
                }
                // What the copy itself will meet: the table is gone, or the server is.
                Err(error) if error.is_transient() => return,
                _ => {}
            }
        }
    }
}
