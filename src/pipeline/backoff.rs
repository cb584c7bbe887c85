//! How long to wait before trying again.

use std::time::Duration;

/// Doubles from 100 ms to 15 s; starts over after a success.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_secs(15);

    /// The pause before the next attempt.
    pub(super) fn next(&mut self) -> Duration {
        let pause = Self::FIRST.saturating_mul(1 << self.failures.min(16));
        self.failures += 1;
        pause.min(Self::LONGEST)
    }

    /// Whether an attempt has failed since the last success.
    pub(super) fn failed(&self) -> bool {
        self.failures > 0
    }

    /// The last attempt went well.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}
