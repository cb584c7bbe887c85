//! Places in the log that the running stream is to announce, and the hold on it while such a
//! place is being found.
//!
//! Shared by the source, which asks, and the stream, which answers. Invariant: a mark at `lsn` is
//! given after every transaction that commits before `lsn` and before every one that commits at
//! or after it. A mark that can no longer be given so is refused when it is asked for, never given
//! late.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use cdc_api::TableId;
use tokio::sync::{Notify, oneshot};

use crate::position::Lsn;

/// What is asked of the stream.
#[derive(Default)]
pub(crate) struct Marks {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    /// Marks in the order of their places.
    asked: Vec<Mark>,
    /// How many want the stream to stop before its next transaction.
    holds: usize,
    /// The furthest commit that the stream has taken up, in this session.
    taken: Lsn,
    /// Everything that commits before this has been decoded, by this stream or an earlier one.
    decoded: Lsn,
    /// Who waits for that to get further.
    waiting: Vec<(Lsn, oneshot::Sender<()>)>,
    /// Whether there was a stream at all.
    begun: bool,
}

/// A place to announce.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Its name.
    pub(crate) id: u64,
    /// Its place.
    pub(crate) lsn: Lsn,
    /// The tables of a snapshot. Its mark is given again by a later stream, as long as it lives;
    /// a mark without tables is given until the engine has it.
    pub(crate) tables: Option<Vec<TableId>>,
    given: bool,
}

/// A name for a mark or a snapshot: unique within the process.
pub(crate) fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl Marks {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Asks for a mark at `lsn`. False, and nothing is asked, where it is a snapshot's and the
    /// stream has passed its place.
    pub(crate) fn ask(&self, id: u64, lsn: Lsn, tables: Option<Vec<TableId>>) -> bool {
        let mut state = self.state();
        if tables.is_some() && state.taken >= lsn {
            return false;
        }
        let place = state.asked.partition_point(|mark| mark.lsn <= lsn);
        state.asked.insert(
            place,
            Mark {
                id,
                lsn,
                tables,
                given: false,
            },
        );
        drop(state);
        self.changed.notify_one();
        true
    }

    /// Takes a mark back: its snapshot has ended, or the engine has it.
    pub(crate) fn forget(&self, id: u64) {
        self.state().asked.retain(|mark| mark.id != id);
    }

    /// Stops the stream before its next transaction, until the guard is dropped.
    pub(crate) fn hold(&self) -> Hold<'_> {
        self.state().holds += 1;
        Hold(self)
    }

    /// The engine has got the mark: one without tables is not given again.
    pub(crate) fn arrived(&self, id: u64) {
        self.state()
            .asked
            .retain(|mark| mark.id != id || mark.tables.is_some());
    }

    /// A new stream begins at `from`: snapshots' marks from there on are to be given again, and
    /// others that the engine has not got, wherever they stand.
    pub(crate) fn begin(&self, from: Lsn) {
        let mut state = self.state();
        state.taken = Lsn(0);
        state.begun = true;
        state.decoded = state.decoded.max(from);
        for mark in &mut state.asked {
            mark.given = mark.given && mark.tables.is_some() && mark.lsn < from;
        }
    }

    /// Waits until everything that commits before `lsn` has been decoded.
    pub(crate) async fn decoded(&self, lsn: Lsn) {
        let decoded = {
            let mut state = self.state();
            if state.decoded >= lsn {
                return;
            }
            let (sender, receiver) = oneshot::channel();
            state.waiting.retain(|(_, sender)| !sender.is_closed());
            state.waiting.push((lsn, sender));
            receiver
        };
        self.changed.notify_one();
        // The sender stays until then.
        let _ = decoded.await;
    }

    /// Whether there was a stream in this process.
    pub(crate) fn has_begun(&self) -> bool {
        self.state().begun
    }

    /// Whether everything that commits before `lsn` has been decoded.
    pub(crate) fn has_decoded(&self, lsn: Lsn) -> bool {
        self.state().decoded >= lsn
    }

    /// The stream is about to take up the transaction that commits at `commit`: returns whether
    /// it may, after the marks that it must give first.
    pub(crate) fn take_up(&self, commit: Lsn) -> Turn {
        let mut state = self.state();
        if state.holds > 0 {
            return Turn::Wait;
        }
        let due = state.due(commit);
        state.taken = state.taken.max(commit);
        match due.is_empty() {
            true => Turn::Go,
            false => Turn::Give(due),
        }
    }

    /// Nothing is in flight and everything that commits before `end` has been given: the marks
    /// that are due.
    pub(crate) fn reach(&self, end: Lsn) -> Vec<Mark> {
        self.state().due(end)
    }

    /// Whether a mark, or someone, waits for the stream to get further.
    pub(crate) fn waiting(&self) -> bool {
        let state = self.state();
        let waits = |(_, sender): &(Lsn, oneshot::Sender<()>)| !sender.is_closed();
        state.asked.iter().any(|mark| !mark.given) || state.waiting.iter().any(waits)
    }

    /// Waits until something was asked or a hold was released.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }
}

impl State {
    fn due(&mut self, reached: Lsn) -> Vec<Mark> {
        self.decoded = self.decoded.max(reached);
        for (_, sender) in self.waiting.extract_if(.., |(lsn, _)| *lsn <= reached) {
            // Who asked may have given up.
            let _ = sender.send(());
        }
        let mut due = Vec::new();
        for mark in &mut self.asked {
            if !mark.given && mark.lsn <= reached {
                mark.given = true;
                due.push(mark.clone());
            }
        }
        due
    }
}

/// What the stream does before a transaction.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It goes on.
    Go,
    /// It gives these marks and goes on.
    Give(Vec<Mark>),
    /// It waits for [`Marks::changed`] and asks again.
    Wait,
}

/// Keeps the stream from taking up a transaction.
pub(crate) struct Hold<'a>(&'a Marks);

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.0.state().holds -= 1;
        self.0.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(turn: Turn) -> Vec<u64> {
        match turn {
            Turn::Give(marks) => marks.iter().map(|mark| mark.id).collect(),
            Turn::Go => Vec::new(),
            Turn::Wait => panic!("nothing holds the stream"),
        }
    }

    #[test]
    fn a_mark_comes_before_the_first_later_transaction() {
        let marks = Marks::default();
        assert!(marks.ask(1, Lsn(100), Some(Vec::new())));
        assert!(marks.ask(2, Lsn(50), None));
        assert_eq!(ids(marks.take_up(Lsn(40))), [] as [u64; 0]);
        assert_eq!(ids(marks.take_up(Lsn(100))), [2, 1]);
        assert!(!marks.waiting());
    }

    #[test]
    fn a_mark_that_was_passed_is_refused() {
        let marks = Marks::default();
        marks.take_up(Lsn(100));
        assert!(!marks.ask(1, Lsn(100), Some(Vec::new())));
        assert!(!marks.ask(1, Lsn(99), Some(Vec::new())));
        assert!(marks.ask(1, Lsn(101), Some(Vec::new())));
    }

    #[test]
    fn a_hold_stops_the_stream_before_it_takes_anything_up() {
        let marks = Marks::default();
        let hold = marks.hold();
        assert_eq!(marks.take_up(Lsn(100)), Turn::Wait);
        assert!(marks.ask(1, Lsn(100), Some(Vec::new())));
        drop(hold);
        assert_eq!(ids(marks.take_up(Lsn(100))), [1]);
    }

    #[test]
    fn a_later_stream_gives_a_snapshots_mark_again() {
        let marks = Marks::default();
        marks.ask(1, Lsn(100), Some(Vec::new()));
        assert_eq!(marks.reach(Lsn(100)).len(), 1);
        marks.begin(Lsn(60));
        assert_eq!(ids(marks.take_up(Lsn(120))), [1]);
        marks.begin(Lsn(101));
        assert_eq!(marks.take_up(Lsn(120)), Turn::Go);
        marks.forget(1);
        marks.begin(Lsn(60));
        assert_eq!(marks.take_up(Lsn(120)), Turn::Go);
    }
    #[test]
    fn a_mark_that_was_lost_with_its_stream_is_given_by_the_next() {
        let marks = Marks::default();
        marks.ask(1, Lsn(100), None);
        marks.ask(2, Lsn(100), None);
        assert_eq!(marks.reach(Lsn(100)).len(), 2);
        marks.arrived(2);
        // Also by a stream that begins after its place.
        marks.begin(Lsn(101));
        assert!(marks.waiting());
        assert_eq!(ids(marks.take_up(Lsn(120))), [1]);
        marks.arrived(1);
        marks.begin(Lsn(60));
        assert_eq!(marks.take_up(Lsn(120)), Turn::Go);
    }

    #[tokio::test]
    async fn who_waits_for_the_stream_is_told_when_it_is_there() {
        let marks = Marks::default();
        let waiting = marks.decoded(Lsn(100));
        tokio::pin!(waiting);
        assert!(futures::poll!(&mut waiting).is_pending());
        assert!(marks.waiting());
        marks.reach(Lsn(99));
        assert!(futures::poll!(&mut waiting).is_pending());
        marks.take_up(Lsn(100));
        waiting.await;
        assert!(!marks.waiting());
        marks.decoded(Lsn(100)).await;
    }
}
