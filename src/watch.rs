//! One value that tasks wait on: the last one counts, those in between may be missed.
//!
//! Invariant: who waits is woken in the order in which the waits began. Tokio's own `watch` wakes
//! in an order drawn at random, which no simulation could repeat; the calls are the same.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use tokio::sync::Notify;

/// Changes the value. Dropping it ends the waits.
#[derive(Debug)]
pub struct Sender<T> {
    shared: Arc<Shared<T>>,
}

/// Sees the value, and waits for another.
#[derive(Debug)]
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    seen: u64,
}

#[derive(Debug)]
struct Shared<T> {
    value: RwLock<T>,
    /// Rises with every change.
    version: AtomicU64,
    closed: AtomicBool,
    changed: Notify,
}

/// The sender is gone: the value will not change any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed;

/// A value, with its sender and a first receiver, which has seen it.
pub fn channel<T>(value: T) -> (Sender<T>, Receiver<T>) {
    let sender = Sender::new(value);
    let receiver = sender.subscribe();
    (sender, receiver)
}

impl<T> Shared<T> {
    fn read(&self) -> RwLockReadGuard<'_, T> {
        self.value.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Sender<T> {
    /// A value that nobody watches yet.
    pub fn new(value: T) -> Self {
        Self {
            shared: Arc::new(Shared {
                value: RwLock::new(value),
                version: AtomicU64::new(0),
                closed: AtomicBool::new(false),
                changed: Notify::new(),
            }),
        }
    }

    /// The value now. Not to be held over an await, nor while asking for a change.
    pub fn borrow(&self) -> RwLockReadGuard<'_, T> {
        self.shared.read()
    }

    /// A receiver that has seen the value as it is now.
    pub fn subscribe(&self) -> Receiver<T> {
        let now = self.shared.read();
        let seen = self.shared.version.load(Ordering::Acquire);
        drop(now);
        Receiver {
            shared: Arc::clone(&self.shared),
            seen,
        }
    }

    /// Sets the value; gives the one before.
    pub fn send_replace(&self, mut value: T) -> T {
        self.send_modify(|now| std::mem::swap(now, &mut value));
        value
    }

    /// Changes the value in place.
    pub fn send_modify(&self, change: impl FnOnce(&mut T)) {
        self.send_if_modified(|value| {
            change(value);
            true
        });
    }

    /// Changes the value in place, and tells so if `change` gives `true`; gives that back.
    pub fn send_if_modified(&self, change: impl FnOnce(&mut T) -> bool) -> bool {
        let mut value = self
            .shared
            .value
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let changed = change(&mut value);
        if changed {
            self.shared.version.fetch_add(1, Ordering::Release);
        }
        drop(value);
        if changed {
            self.shared.changed.notify_waiters();
        }
        changed
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Release);
        self.shared.changed.notify_waiters();
    }
}

impl<T> Receiver<T> {
    /// The value now, which stays unseen. Not to be held over an await.
    pub fn borrow(&self) -> RwLockReadGuard<'_, T> {
        self.shared.read()
    }

    /// The value now, which is seen by that. Not to be held over an await.
    pub fn borrow_and_update(&mut self) -> RwLockReadGuard<'_, T> {
        let value = self.shared.read();
        // No change can come while the lock is held.
        self.seen = self.shared.version.load(Ordering::Acquire);
        value
    }

    /// Waits for a value that this receiver has not seen, and takes it for seen. Cancel-safe.
    ///
    /// # Errors
    /// When the sender is gone and everything is seen.
    pub async fn changed(&mut self) -> Result<(), Closed> {
        loop {
            let mut changed = std::pin::pin!(self.shared.changed.notified());
            changed.as_mut().enable();
            let version = self.shared.version.load(Ordering::Acquire);
            if version != self.seen {
                self.seen = version;
                return Ok(());
            }
            if self.shared.closed.load(Ordering::Acquire) {
                return Err(Closed);
            }
            changed.await;
        }
    }

    /// The value as it is counts as unseen.
    pub fn mark_changed(&mut self) {
        self.seen = u64::MAX;
    }

    /// The value as it is counts as seen.
    pub fn mark_unchanged(&mut self) {
        self.seen = self.shared.version.load(Ordering::Acquire);
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            seen: self.seen,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn waits_end_in_the_order_in_which_they_began() {
        let (sender, first) = channel(0);
        let (order, mut woken) = tokio::sync::mpsc::unbounded_channel();
        for number in 0..100 {
            let (mut receiver, order) = (first.clone(), order.clone());
            tokio::spawn(async move {
                receiver.changed().await.expect("the sender lives");
                order.send(number).expect("somebody listens");
            });
            tokio::task::yield_now().await;
        }
        sender.send_replace(1);
        for number in 0..100 {
            assert_eq!(woken.recv().await, Some(number));
        }
    }

    #[tokio::test]
    async fn a_change_before_the_wait_counts_once() {
        let (sender, mut receiver) = channel(0);
        sender.send_replace(1);
        assert_eq!(receiver.changed().await, Ok(()));
        assert!(!sender.send_if_modified(|_| false));
        drop(sender);
        assert_eq!(receiver.changed().await, Err(Closed));
        receiver.mark_changed();
        assert_eq!((receiver.changed().await, *receiver.borrow()), (Ok(()), 1));
    }
}
