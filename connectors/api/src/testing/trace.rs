//! What happened in a simulated run, in order: a hash of all of it, its last lines, and the
//! breaches of the contract that were seen.
//!
//! Invariant: two runs with the same hash did the same things in the same order at the same
//! virtual times.

use std::collections::VecDeque;
use std::fmt::Write;
use std::sync::{Arc, Mutex};

use super::lock;

const KEPT_LINES: usize = 10_000;

/// A shared record of a run. Cheap to clone; every clone writes to the same record.
#[derive(Debug, Clone, Default)]
pub struct Trace(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    hash: u64,
    lines: u64,
    silent: bool,
    tail: VecDeque<String>,
    violations: Vec<String>,
}

impl Trace {
    /// An empty record.
    pub fn new() -> Self {
        Self::default()
    }

    /// Records one thing that happened.
    pub fn note(&self, what: std::fmt::Arguments<'_>) {
        let mut inner = lock(&self.0);
        if inner.silent {
            return;
        }
        let mut line = if inner.tail.len() >= KEPT_LINES {
            inner.tail.pop_front().unwrap_or_default()
        } else {
            String::new()
        };
        line.clear();
        // Writing to a string cannot fail.
        let _ = line.write_fmt(what);
        let mut hash = inner.hash ^ 0xcbf2_9ce4_8422_2325;
        for byte in line.bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        inner.hash = hash;
        inner.lines += 1;
        inner.tail.push_back(line);
    }

    /// Records nothing but breaches from now on, or everything again: a runtime that is dropped
    /// drops its tasks in an order of its own.
    pub fn set_silent(&self, silent: bool) {
        lock(&self.0).silent = silent;
    }

    /// Records a breach of the contract.
    pub fn violation(&self, what: impl Into<String>) {
        let what = what.into();
        self.note(format_args!("VIOLATION {what}"));
        lock(&self.0).violations.push(what);
    }

    /// The breaches so far.
    pub fn violations(&self) -> Vec<String> {
        lock(&self.0).violations.clone()
    }

    /// A hash of everything recorded so far.
    pub fn hash(&self) -> u64 {
        lock(&self.0).hash
    }

    /// How many things were recorded.
    pub fn len(&self) -> u64 {
        lock(&self.0).lines
    }

    /// Whether nothing was recorded.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The last `count` lines.
    pub fn tail(&self, count: usize) -> Vec<String> {
        let inner = lock(&self.0);
        let skip = inner.tail.len().saturating_sub(count);
        inner.tail.iter().skip(skip).cloned().collect()
    }
}
