//! A scripted source, a faulty in-memory sink and the conformance suites; behind feature
//! `testing`.
//!
//! Invariant: everything here is driven by seeds and by Tokio's clock alone, so that a run with
//! the same seed on a paused clock is the same run.
//!
//! Code map: [`database`] a model of a source database with its log, and the ground truth ·
//! [`source`] a [`crate::Source`] over it · [`sink`] a strict reference [`crate::Sink`] whose
//! durable half outlives a kill · [`content`] what a target holds, as text · [`canonical`] values
//! as text · [`order`] what a stream promises of its order · [`probe`] questions to one source ·
//! [`trace`] what happened, with a hash of it · [`conformance`] the suites that every connector runs.

pub mod canonical;
pub mod conformance;
pub mod content;
pub mod database;
pub mod order;
pub mod probe;
pub mod sink;
pub mod source;
pub mod trace;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks; a test that panicked while it held the lock has failed already.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
