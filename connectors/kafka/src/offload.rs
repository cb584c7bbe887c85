//! Moves work that blocks (encoding, waiting for brokers) off the async workers: the value that does it goes to
//! a blocking thread and comes back.
//!
//! Invariant: a call whose future was dropped still ends, and its value comes back; until
//! [`Offload::resume`] is called, every later call says so instead of going on.

use cdc_api::{Error, Result};
use tokio::task::JoinHandle;

/// Owns a value whose work blocks.
pub(crate) struct Offload<T> {
    place: Place<T>,
    interrupted: bool,
}

enum Place<T> {
    Here(T),
    Away(JoinHandle<T>),
    Gone,
}

impl<T: Send + 'static> Offload<T> {
    pub(crate) fn new(value: T) -> Self {
        Self {
            place: Place::Here(value),
            interrupted: false,
        }
    }

    /// Does the work on a blocking thread.
    pub(crate) async fn run<R: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut T) -> Result<R> + Send + 'static,
    ) -> Result<R> {
        if self.interrupted {
            return Err(Error::transient("an earlier call was dropped half-way"));
        }
        let mut value = self.take().await?;
        let (answer, answered) = tokio::sync::oneshot::channel();
        self.interrupted = true;
        self.place = Place::Away(tokio::task::spawn_blocking(move || {
            // Nobody listens any more when the call was dropped.
            let _ = answer.send(work(&mut value));
            value
        }));
        let value = self.take().await?;
        self.place = Place::Here(value);
        self.interrupted = false;
        answered
            .await
            .map_err(|_| Error::internal("a blocking call gave no answer"))?
    }

    /// Makes calls go on after one was dropped half-way: the caller knows what to make of it.
    pub(crate) fn resume(&mut self) {
        self.interrupted = false;
    }

    async fn take(&mut self) -> Result<T> {
        if let Place::Away(work) = &mut self.place {
            self.place = match work.await {
                Ok(value) => Place::Here(value),
                Err(_) => Place::Gone,
            };
        }
        match std::mem::replace(&mut self.place, Place::Gone) {
            Place::Here(value) => Ok(value),
            _ => Err(Error::internal("the sink's writer has stopped").hint("restart the daemon")),
        }
    }
}
