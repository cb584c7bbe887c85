//! How long to wait before reading, so that the server is not woken with us for each change.
//!
//! PostgreSQL's sender does one `send` per change. A reader that wakes for each of them doubles
//! the server's cost; one that lets the kernel's buffer fill first costs it nothing. So under
//! load a read is preceded by a pause which aims at gulps of a quarter of the kernel's buffer: the
//! sender never blocks on a full one. What is load is told by the rate over some milliseconds, and
//! not by the size of a gulp: without pauses a reader that is as fast as the sender finds one change
//! at a time, however many there are. When little arrives there is no pause, and a single change is
//! read at once.

use std::time::{Duration, Instant};

/// A pause that would not gather as much as this is not worth it.
const WORTH: usize = 16 << 10;

/// The longest pause; more brings nothing (1.2 GB of log over loopback TCP: 12.0 s without a
/// pause, 6.4 s with 5 ms, 6.0 s with 10 ms and with 20 ms).
const LONGEST: Duration = Duration::from_millis(10);

/// The shortest pause that is worth its wake-up.
const SHORTEST: Duration = Duration::from_micros(100);

/// The largest gulp to aim at: half of what the inbox holds.
const LARGEST: usize = 1 << 20;

/// Over this time at least the rate is measured.
const WINDOW: Duration = Duration::from_millis(2);

/// The pause before the next gulp.
#[derive(Debug)]
pub(super) struct Pace {
    /// The size of gulp to aim at, in bytes.
    aim: usize,
    longest: Duration,
    pause: Duration,
    /// Since when bytes are counted, and how many came.
    since: Instant,
    bytes: usize,
}

impl Pace {
    /// A pace for a socket whose kernel buffer is this large. A Unix socket's buffer belongs to
    /// the sender and is small, so that a long pause would block it.
    pub(super) fn new(kernel_buffer: usize, unix: bool) -> Self {
        Self {
            aim: (kernel_buffer / 4).clamp(WORTH, LARGEST),
            longest: if unix {
                Duration::from_micros(200)
            } else {
                LONGEST
            },
            pause: Duration::ZERO,
            since: Instant::now(),
            bytes: 0,
        }
    }

    /// Waits as long as the last gulps suggest. It is the thread that sleeps, the stream's own: a
    /// runtime that sleeps still watches the socket, and is woken for each change that arrives
    /// meanwhile (a hundred times in ten milliseconds), as is the server that has to wake it.
    pub(super) fn rest(&self) {
        if !self.pause.is_zero() {
            std::thread::sleep(self.pause);
        }
    }

    /// Learns from a gulp that ended at `now`: its bytes, whether more was probably waiting, how
    /// long it waited for its first byte.
    pub(super) fn gulped(&mut self, bytes: usize, more: bool, waited: Duration, now: Instant) {
        self.bytes += bytes;
        if waited > LONGEST {
            // The log was at its end: what came now is the beginning of something else.
            self.pause = Duration::ZERO;
        } else if more {
            self.pause = shortened(self.pause);
        } else {
            let over = now.saturating_duration_since(self.since);
            if over < WINDOW {
                return;
            }
            self.pause = self.gathering(over);
        }
        self.since = now;
        self.bytes = 0;
    }

    /// The pause in which as much arrives as is aimed at, if `bytes` arrived `over` that time.
    fn gathering(&self, over: Duration) -> Duration {
        let rate = self.bytes as f64 / over.as_secs_f64();
        if rate * LONGEST.as_secs_f64() < WORTH as f64 {
            return Duration::ZERO;
        }
        let pause = Duration::from_secs_f64(self.aim as f64 / rate).min(self.longest);
        if pause < SHORTEST {
            Duration::ZERO
        } else {
            pause
        }
    }
}

/// Half of it, or none.
fn shortened(pause: Duration) -> Duration {
    match pause / 2 {
        half if half < SHORTEST => Duration::ZERO,
        half => half,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads for a while from a server that sends so many bytes a second, one change of `change`
    /// bytes after another. Returns the pace, the number of reads a second once it has seen the rate, and the
    /// largest gulp.
    fn read(mut pace: Pace, rate: f64, change: f64) -> (Pace, f64, usize) {
        let start = pace.since;
        let (mut now, mut taken, mut reads, mut largest) = (0.0, 0.0, 0, 0);
        while now < 0.5 {
            now += pace.pause.as_secs_f64();
            let mut waited = 0.0;
            // At least one change, for which the reader waits if it is early.
            if (now * rate - taken) < change {
                let next = (taken + change) / rate;
                waited = next - now;
                now = next;
            }
            let bytes = ((now * rate - taken) / change).floor() * change;
            taken += bytes;
            reads += i32::from(now > 0.1);
            now += 2e-6;
            largest = largest.max(bytes as usize);
            let waited = Duration::from_secs_f64(waited);
            pace.gulped(
                bytes as usize,
                false,
                waited,
                start + Duration::from_secs_f64(now),
            );
        }
        (pace, f64::from(reads) / 0.4, largest)
    }

    #[test]
    fn under_load_gulps_are_large_and_do_not_fill_the_buffer() {
        for rate in [5e6, 50e6, 200e6] {
            let (_, reads, largest) = read(Pace::new(8 << 20, false), rate, 150.0);
            assert!(reads < 500.0, "{reads} reads a second at {rate}");
            assert!(largest <= 4 << 20, "a gulp of {largest} at {rate}");
        }
    }

    #[test]
    fn a_trickle_is_read_at_once() {
        let (pace, ..) = read(Pace::new(8 << 20, false), 500e3, 150.0);
        assert!(pace.pause.is_zero(), "{:?}", pace.pause);
    }

    #[test]
    fn the_end_of_a_load_ends_the_pause() {
        let (mut pace, ..) = read(Pace::new(8 << 20, false), 50e6, 150.0);
        assert!(!pace.pause.is_zero());
        let later = pace.since + Duration::from_secs(1);
        pace.gulped(150, false, Duration::from_millis(900), later);
        assert!(pace.pause.is_zero());
    }

    #[test]
    fn a_backlog_that_fills_the_inbox_is_read_without_pause() {
        let (mut pace, ..) = read(Pace::new(8 << 20, false), 50e6, 150.0);
        for _ in 0..10 {
            let now = pace.since;
            pace.gulped(1 << 20, true, Duration::ZERO, now);
        }
        assert!(pace.pause.is_zero());
    }

    #[test]
    fn a_unix_socket_is_never_left_alone_for_long() {
        let (pace, ..) = read(Pace::new(212_992, true), 50e6, 150.0);
        assert!(pace.pause <= Duration::from_micros(200));
        assert!(!pace.pause.is_zero());
    }
}
