//! How long to wait before reading, so that the server is not woken with us for each change.
//!
//! PostgreSQL's sender does one `send` per change. A reader that wakes for each of them doubles
//! the server's cost; one that lets the kernel's buffer fill first costs it nothing. So under
//! load a read is preceded by a pause which aims at gulps of a quarter of the kernel's buffer: the
//! sender never blocks on a full one. When little arrives there is no pause, and a single change
//! is read at once.

use std::time::Duration;

/// Less than this in one gulp is no load.
const TRICKLE: usize = 32 << 10;

/// The longest pause; more brings nothing (1.2 GB of log over loopback TCP: 12.0 s without a
/// pause, 6.4 s with 5 ms, 6.0 s with 10 ms and with 20 ms).
const LONGEST: Duration = Duration::from_millis(10);

/// The shortest pause that is worth its wake-up.
const SHORTEST: Duration = Duration::from_micros(100);

/// The pause before the next gulp.
#[derive(Debug)]
pub(super) struct Pace {
    /// The size of gulp to aim at, in bytes.
    aim: usize,
    longest: Duration,
    pause: Duration,
}

impl Pace {
    /// A pace for a socket whose kernel buffer is this large. A Unix socket's buffer belongs to
    /// the sender and is small, so that a long pause would block it.
    pub(super) fn new(kernel_buffer: usize, unix: bool) -> Self {
        Self {
            aim: (kernel_buffer / 4).clamp(TRICKLE, 2 << 20),
            longest: if unix {
                Duration::from_micros(200)
            } else {
                LONGEST
            },
            pause: Duration::ZERO,
        }
    }

    /// Waits as long as the last gulps suggest.
    pub(super) async fn rest(&self) {
        if self.pause.is_zero() {
            return;
        }
        // The runtime's clock has ticks of a millisecond. Shorter pauses block the thread, which
        // is the stream's own.
        if self.pause < Duration::from_millis(1) {
            std::thread::sleep(self.pause);
            tokio::task::yield_now().await;
        } else {
            tokio::time::sleep(self.pause).await;
        }
    }

    /// Learns from a gulp: its bytes, whether more was probably waiting, how long it waited for
    /// its first byte.
    pub(super) fn gulped(&mut self, bytes: usize, more: bool, waited: Duration) {
        let idle = bytes < TRICKLE && !more;
        self.pause = if idle || waited > LONGEST {
            Duration::ZERO
        } else if more || bytes > self.aim * 2 {
            self.pause / 2
        } else if bytes < self.aim {
            (self.pause * 2).clamp(SHORTEST, self.longest)
        } else {
            self.pause
        };
        if self.pause < SHORTEST {
            self.pause = Duration::ZERO;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAITED: Duration = Duration::from_micros(10);

    #[test]
    fn under_load_the_pause_grows_until_gulps_are_large_and_no_further() {
        let mut pace = Pace::new(8 << 20, false);
        // 200 MB/s: the longer the pause, the larger the gulp.
        let mut largest = 0;
        for _ in 0..100 {
            let bytes = TRICKLE + (pace.pause.as_micros() as usize) * 200;
            largest = largest.max(bytes);
            pace.gulped(bytes, false, WAITED);
        }
        assert!(pace.pause >= Duration::from_millis(3), "{:?}", pace.pause);
        assert!(largest < 4 << 20);
    }

    #[test]
    fn a_small_gulp_ends_the_pause_at_once() {
        let mut pace = Pace::new(8 << 20, false);
        for _ in 0..10 {
            pace.gulped(TRICKLE, false, WAITED);
        }
        assert!(!pace.pause.is_zero());
        pace.gulped(200, false, WAITED);
        assert!(pace.pause.is_zero());
    }

    #[test]
    fn a_unix_socket_is_never_left_alone_for_long() {
        let mut pace = Pace::new(212_992, true);
        for _ in 0..20 {
            pace.gulped(TRICKLE, false, WAITED);
        }
        assert!(pace.pause <= Duration::from_micros(200));
    }
}
