//! Which tables the pipeline captures: asked of the source at the start, by the clock, and when
//! someone waits.
//!
//! Invariant: a table is told to the sinks only after the log carries its changes, so that the
//! snapshot that follows cannot miss one.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use cdc_api::{Error, Result, TableId, TableSchema};
use tokio::sync::{mpsc, oneshot};

use super::shared::{Captured, Refused, Shared};

/// Where the state database keeps since when tables are captured.
const CAPTURED: &str = "captured";

/// Answered with the discovery's round.
pub(super) type Look = oneshot::Sender<Result<u64>>;

/// Keeps [`Shared::captured`] up to date.
pub(super) struct Discovery {
    shared: Arc<Shared>,
    round: u64,
}

impl Discovery {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, round: 0 }
    }

    /// Asks the source once.
    pub(super) async fn run_once(&mut self) -> Result<u64> {
        let found = self.shared.source.discover().await?;
        let before = Arc::clone(&self.shared.captured.borrow());
        let before: HashMap<TableId, &Arc<TableSchema>> = before
            .tables
            .iter()
            .map(|table| (table.id, table))
            .collect();
        // One of thousands of tables is seldom another than it was: then it is kept once.
        let kept = |table: Arc<TableSchema>| match before.get(&table.id) {
            Some(&same) if **same == *table => Arc::clone(same),
            _ => table,
        };
        let mut tables = Vec::new();
        let mut refused = Vec::new();
        for found in found {
            match found.refused {
                None => tables.push(kept(found.table)),
                Some(error) => refused.push(Refused {
                    id: found.table.id,
                    name: found.table.name.clone(),
                    error,
                }),
            }
        }
        if tables.is_empty() && refused.is_empty() && self.round == 0 {
            tracing::warn!("no table matches the patterns of `source.tables`: waiting for one");
        }
        // Written down before the log is without a table: a crash in between cannot hide that.
        let since = self.since(&tables)?;
        self.shared.source.capture(&tables).await?;
        let generations = self.shared.source.generations(&tables).await?;
        self.round += 1;
        self.shared.captured.send_replace(Arc::new(Captured {
            known: true,
            since,
            generations,
            round: self.round,
            tables,
            refused,
        }));
        Ok(self.round)
    }

    /// Since when each table has been captured without a break, by a count that outlives restarts.
    fn since(&self, tables: &[Arc<TableSchema>]) -> Result<BTreeMap<TableId, u64>> {
        let stored = self.shared.state.value(CAPTURED)?;
        let (mut count, before): (u64, BTreeMap<TableId, u64>) = stored
            .and_then(|stored| serde_json::from_str(&stored).ok())
            .unwrap_or_default();
        if tables.iter().any(|table| !before.contains_key(&table.id)) {
            count += 1;
        }
        let since: BTreeMap<_, _> = tables
            .iter()
            .map(|table| (table.id, before.get(&table.id).copied().unwrap_or(count)))
            .collect();
        if since != before {
            let stored = serde_json::to_string(&(count, &since))
                .map_err(|error| Error::internal("the captured tables").caused_by(error))?;
            self.shared.state.set_value(CAPTURED, Some(&stored))?;
        }
        Ok(since)
    }

    /// Asks by the clock, and whenever someone wants to know.
    pub(super) async fn run(mut self, mut looks: mpsc::Receiver<Look>) {
        let mut interval = tokio::time::interval(self.shared.settings.discover_interval);
        interval.reset();
        loop {
            let look = tokio::select! {
                biased;
                look = looks.recv() => match look {
                    Some(look) => Some(look),
                    None => return,
                },
                _ = interval.tick() => None,
            };
            let outcome = self.run_once().await;
            if let Err(error) = &outcome {
                tracing::warn!(error = %error, "tables cannot be discovered");
            }
            if let Some(look) = look {
                let _ = look.send(outcome);
            }
        }
    }
}
