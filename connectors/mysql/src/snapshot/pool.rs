//! The sessions of a copy: each has a view, all of them the same one.
//!
//! Invariant: a session goes back only when what it read has ended well; one that is dropped
//! otherwise is gone, and with the last one the view.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use cdc_api::{Error, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::connect::Session;

pub(super) struct Pool {
    idle: Mutex<Vec<Session>>,
    /// A permit for each idle session; closed when the view is over.
    free: Arc<Semaphore>,
    alive: AtomicUsize,
}

impl Pool {
    pub(super) fn new(sessions: Vec<Session>) -> Self {
        Self {
            free: Arc::new(Semaphore::new(sessions.len())),
            alive: AtomicUsize::new(sessions.len()),
            idle: Mutex::new(sessions),
        }
    }

    fn sessions(&self) -> std::sync::MutexGuard<'_, Vec<Session>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session, as soon as one is free.
    pub(super) async fn lease(self: &Arc<Self>) -> Result<Lease> {
        let permit = Arc::clone(&self.free).acquire_owned().await;
        let session = self.sessions().pop();
        match (permit, session) {
            (Ok(permit), Some(session)) => Ok(Lease {
                pool: Arc::clone(self),
                held: Some((session, permit)),
            }),
            _ => Err(Error::transient(
                "the snapshot has ended: the sessions that kept it are gone",
            )),
        }
    }

    /// Ends the idle sessions, politely where there is a runtime to do it on; those that are
    /// reading end by themselves.
    pub(super) fn end(&self) {
        self.free.close();
        let idle = std::mem::take(&mut *self.sessions());
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                for session in idle {
                    session.close().await;
                }
            });
        }
    }
}

/// A session that reads.
pub(super) struct Lease {
    pool: Arc<Pool>,
    held: Option<(Session, OwnedSemaphorePermit)>,
}

impl Lease {
    /// The session.
    pub(super) fn session(&mut self) -> Result<&mut Session> {
        match &mut self.held {
            Some((session, _)) => Ok(session),
            None => Err(Error::internal("the session was given back")),
        }
    }

    /// Gives it back, ready for the next.
    pub(super) fn give_back(mut self) {
        if let Some((session, permit)) = self.held.take() {
            self.pool.sessions().push(session);
            drop(permit);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some((_, permit)) = self.held.take() {
            permit.forget();
            if self.pool.alive.fetch_sub(1, Ordering::Relaxed) == 1 {
                self.pool.free.close();
            }
        }
    }
}
