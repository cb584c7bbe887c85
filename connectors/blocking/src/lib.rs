//! What sinks share whose work blocks (encoding, syncing files, waiting for brokers): such work goes
//! off the async workers. The value that does it goes to a blocking thread and comes back.
//!
//! Invariant: a call whose future was dropped still ends, and its value comes back; until
//! [`Offload::resume`] is called, every later call says so instead of going on.

use cdc_api::{Error, Result};
use tokio::task::JoinHandle;

/// Owns a value whose work blocks.
#[derive(Debug)]
pub struct Offload<T> {
    place: Place<T>,
    interrupted: bool,
}

#[derive(Debug)]
enum Place<T> {
    Here(T),
    Away(JoinHandle<T>),
    Gone,
}

impl<T: Send + 'static> Offload<T> {
    /// Owns `value`, which has nothing to do yet.
    pub fn new(value: T) -> Self {
        Self {
            place: Place::Here(value),
            interrupted: false,
        }
    }

    /// Does the work on a blocking thread. Where the returned future is dropped, the work is done all
    /// the same.
    ///
    /// # Errors
    /// Of the work; `Transient` where an earlier call was dropped half-way, `Internal` where one has
    /// panicked.
    pub async fn run<R: Send + 'static>(
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
    pub fn resume(&mut self) {
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[tokio::test]
    async fn the_value_comes_back_from_every_call() {
        let mut numbers = Offload::new(vec![1]);
        let push = |numbers: &mut Vec<u8>| {
            numbers.push(2);
            Ok(numbers.len())
        };
        assert_eq!(numbers.run(push).await.expect("it works"), 2);
        let fail = |_: &mut Vec<u8>| Err::<(), _>(Error::transient("the disk is full"));
        assert_eq!(
            numbers.run(fail).await.expect_err("fails").message(),
            "the disk is full"
        );
        assert_eq!(numbers.run(push).await.expect("it works"), 3);
    }

    #[tokio::test]
    async fn a_call_that_was_dropped_is_done_and_said() {
        let (go, waits) = channel::<()>();
        let mut number = Offload::new(1);
        {
            let dropped = number.run(move |number| {
                // The test gives the word, or has failed.
                let _ = waits.recv();
                *number += 1;
                Ok(())
            });
            tokio::pin!(dropped);
            assert!(futures::poll!(&mut dropped).is_pending());
        }
        go.send(()).expect("the work is under way");
        let said = number.run(|_| Ok(())).await.expect_err("it is said");
        assert!(said.is_transient() && said.message().contains("dropped"));
        number.resume();
        assert_eq!(number.run(|number| Ok(*number)).await.expect("it works"), 2);
    }

    #[tokio::test]
    async fn a_call_that_panicked_takes_the_value_with_it() {
        let mut number = Offload::new(1);
        let failed = number.run(|_| -> Result<()> { panic!("a bug") }).await;
        assert_eq!(
            failed.expect_err("it is said").kind(),
            cdc_api::ErrorKind::Internal
        );
        number.resume();
        assert!(number.run(|_| Ok(())).await.is_err());
    }
}
