//! Which tables the pipeline captures: asked of the source at the start, by the clock, and when
//! someone waits.
//!
//! Invariant: a table is told to the sinks only after the log carries its changes, so that the
//! snapshot that follows cannot miss one.

use std::sync::Arc;

use cdc_api::Result;
use tokio::sync::{mpsc, oneshot};

use super::shared::{Captured, Refused, Shared};

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
        let mut tables = Vec::new();
        let mut refused = Vec::new();
        for found in found {
            match found.refused {
                None => tables.push(found.table),
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
        self.shared.source.capture(&tables).await?;
        self.round += 1;
        self.shared.captured.send_replace(Arc::new(Captured {
            known: true,
            round: self.round,
            tables,
            refused,
        }));
        Ok(self.round)
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
