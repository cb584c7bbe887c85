//! Where in the order a snapshot, or a wait, stands: ids of marks to the `seq` that the stream
//! had when it passed them.
//!
//! Invariant: a mark that was passed before anyone asked is not lost.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::watch;

/// Shared between the capture task, which passes marks, and whoever waits for one.
#[derive(Debug, Clone)]
pub(super) struct Marks {
    passed: Arc<Mutex<HashMap<u64, u64>>>,
    changed: Arc<watch::Sender<u64>>,
}

impl Default for Marks {
    fn default() -> Self {
        Self {
            passed: Arc::default(),
            changed: Arc::new(watch::channel(0).0),
        }
    }
}

impl Marks {
    /// The stream passes mark `id`, having given every change up to `seq`.
    pub(super) fn pass(&self, id: u64, seq: u64) {
        self.lock().insert(id, seq);
        self.changed.send_modify(|count| *count += 1);
    }

    /// The `seq` of mark `id`, if the stream has passed it; takes it as [`wait`](Self::wait) does.
    pub(super) fn take(&self, id: u64) -> Option<u64> {
        self.lock().remove(&id)
    }

    /// Waits until the stream has passed mark `id`; each mark can be waited for once.
    pub(super) async fn wait(&self, id: u64) -> u64 {
        let mut changed = self.changed.subscribe();
        loop {
            if let Some(seq) = self.take(id) {
                return seq;
            }
            // The sender lives as long as `self`.
            let _ = changed.changed().await;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, u64>> {
        self.passed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
