//! The queue from the stream's thread to the engine, bounded in bytes.
//!
//! Invariant: events come out in the order in which they went in; an error is the last thing that
//! comes out. A full queue stops the thread, and with it the reading of the socket.

use std::sync::Arc;

use cdc_api::{ChangeEvent, Error, Result};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What one permit stands for, in bytes. Every event costs at least one.
const UNIT: usize = 1 << 10;

struct Parcel {
    event: Result<ChangeEvent>,
    _room: Option<OwnedSemaphorePermit>,
}

/// A queue that holds events of about `bytes` at most.
pub fn queue(bytes: usize) -> (Outlet, Inlet) {
    let capacity = u32::try_from(bytes / UNIT)
        .unwrap_or(u32::MAX >> 4)
        .clamp(64, u32::MAX >> 4);
    let (sender, receiver) = unbounded_channel();
    let outlet = Outlet {
        sender,
        room: Arc::new(Semaphore::new(capacity as usize)),
        capacity,
    };
    (outlet, Inlet { receiver })
}

/// Where events go in.
pub struct Outlet {
    sender: UnboundedSender<Parcel>,
    room: Arc<Semaphore>,
    capacity: u32,
}

impl Outlet {
    /// Waits for room and sends. False when nobody is there to take it.
    pub async fn send(&self, event: ChangeEvent) -> bool {
        let bytes = match &event {
            ChangeEvent::Rows(batch) => batch.bytes(),
            ChangeEvent::Notice(notice) => notice.bytes(),
            _ => 0,
        };
        let cost = u32::try_from(bytes / UNIT + 1)
            .unwrap_or(u32::MAX)
            .min(self.capacity);
        let room = tokio::select! {
            room = Arc::clone(&self.room).acquire_many_owned(cost) => room.ok(),
            () = self.sender.closed() => return false,
        };
        let parcel = Parcel {
            event: Ok(event),
            _room: room,
        };
        self.sender.send(parcel).is_ok()
    }

    /// Sends the last thing; there is always room for it.
    pub fn fail(&self, error: Error) {
        // Nobody may be there any more to hear of it.
        let _ = self.sender.send(Parcel {
            event: Err(error),
            _room: None,
        });
    }

    /// Waits until nobody is there to take anything.
    pub async fn closed(&self) {
        self.sender.closed().await;
    }
}

/// Where events come out.
pub struct Inlet {
    receiver: UnboundedReceiver<Parcel>,
}

impl Inlet {
    /// The next event. Cancel-safe.
    pub async fn next(&mut self) -> Result<ChangeEvent> {
        match self.receiver.recv().await {
            Some(parcel) => parcel.event,
            None => Err(Error::transient("the stream is over")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(id: u64) -> ChangeEvent {
        ChangeEvent::Mark { id }
    }

    #[tokio::test]
    async fn a_full_queue_stops_the_sender_until_something_is_taken() {
        let (outlet, mut inlet) = queue(64 << 10);
        for id in 0..64 {
            assert!(outlet.send(mark(id)).await);
        }
        let waiting = outlet.send(mark(64));
        tokio::pin!(waiting);
        assert!(futures::poll!(&mut waiting).is_pending());
        inlet.next().await.expect("an event");
        assert!(waiting.await);
    }

    #[tokio::test]
    async fn a_sender_learns_that_nobody_listens_even_when_the_queue_is_full() {
        let (outlet, inlet) = queue(64 << 10);
        for id in 0..64 {
            assert!(outlet.send(mark(id)).await);
        }
        drop(inlet);
        assert!(!outlet.send(mark(64)).await);
    }

    #[tokio::test]
    async fn an_error_comes_last() {
        let (outlet, mut inlet) = queue(1);
        assert!(outlet.send(mark(1)).await);
        outlet.fail(Error::transient("gone"));
        drop(outlet);
        inlet.next().await.expect("an event");
        let error = inlet.next().await.expect_err("the error");
        assert_eq!(error.message(), "gone");
        assert!(inlet.next().await.is_err());
    }
}
