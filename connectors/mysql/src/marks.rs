//! Places in the log that the running stream is to announce, and the hold on it while such a
//! place is being found.
//!
//! Shared by the source, which asks, and the stream, which answers: [`Marks::begin`] when it starts,
//! [`Marks::take_up`] before each transaction, [`Marks::reach`] after each and when it is at rest,
//! [`Marks::deliver`] when the engine takes a mark out of the stream.
//!
//! Invariant: a snapshot's mark is given before the first transaction that its view may lack, and no
//! later than when all that its view has is given. Where the view was taken under a lock that is one
//! place. A mark that can no longer be given so is refused when it is asked for, never given late.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

use crate::decode::definition::Described;
use crate::position::mariadb::MariaGtid;
use crate::position::mysql::Gtid;
use crate::position::{Gtids, Place, file_number};

/// What is asked of the stream.
#[derive(Default)]
pub(crate) struct Marks {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    asked: Vec<Mark>,
    /// How many want the stream to stop before its next transaction.
    holds: usize,
    /// What the stream has taken up: all before its start, and everything since. `None` before the
    /// first stream.
    taken: Option<Place>,
}

/// A place to announce.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Mark {
    /// Its name.
    pub(crate) id: u64,
    /// The transactions before it.
    pub(crate) place: Place,
    /// The tables of a snapshot, as they are in it. Its mark is given again by a later stream, as long as it lives;
    /// a mark without tables until the engine has it.
    pub(crate) tables: Option<Vec<Described>>,
    given: bool,
}

/// A transaction that the stream is about to take up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Upcoming<'a> {
    /// Its name, if it has one.
    pub(crate) gtid: Name<'a>,
    /// The file that it is in.
    pub(crate) file: &'a str,
    /// The byte in the file at which it begins.
    pub(crate) start: u64,
}

/// A transaction's name.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Name<'a> {
    /// MySQL's.
    MySql(&'a Gtid),
    /// MariaDB's.
    Maria(MariaGtid),
    /// None: GTIDs are off.
    Anonymous,
}

/// A name for a mark or a snapshot: unique within the process.
pub(crate) fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl Upcoming<'_> {
    /// Whether the transaction is before the place.
    fn is_in(&self, place: &Place) -> bool {
        match (&self.gtid, &place.gtids) {
            (Name::MySql(gtid), Gtids::MySql(set)) => set.contains(gtid),
            (Name::Maria(gtid), Gtids::Maria(last)) => last
                .of_domain(gtid.domain)
                .is_some_and(|last| gtid.sequence <= last.sequence),
            _ => (file_number(self.file), self.start) < (file_number(&place.file), place.offset),
        }
    }

    /// Takes note that the transaction is taken up.
    fn add_to(&self, place: &mut Place) {
        match (&self.gtid, &mut place.gtids) {
            (Name::MySql(gtid), Gtids::MySql(set)) => set.add(gtid),
            (Name::Maria(gtid), Gtids::Maria(last)) => last.add(*gtid),
            _ => {}
        }
    }
}

impl Marks {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Asks for a mark at `place`. False, and nothing is asked, where it is a snapshot's and the
    /// stream has taken up a transaction that is not before the place.
    pub(crate) fn ask(&self, id: u64, place: Place, tables: Option<Vec<Described>>) -> bool {
        let mut state = self.state();
        let passed = state.taken.as_ref().is_some_and(|it| !place.covers(it));
        if tables.is_some() && passed {
            return false;
        }
        state.asked.push(Mark {
            id,
            place,
            tables,
            given: false,
        });
        drop(state);
        self.changed.notify_one();
        true
    }

    /// Takes a lasting mark back.
    pub(crate) fn forget(&self, id: u64) {
        self.state().asked.retain(|mark| mark.id != id);
    }

    /// Stops the stream before its next transaction, until the guard is dropped.
    pub(crate) fn hold(&self) -> Hold<'_> {
        self.state().holds += 1;
        Hold(self)
    }

    /// The engine has the mark: where it is no snapshot's it is done.
    pub(crate) fn deliver(&self, id: u64) {
        self.state()
            .asked
            .retain(|mark| mark.id != id || mark.tables.is_some());
    }

    /// A new stream begins after `from`: snapshots' marks from there on are to be given again, and
    /// all that the engine has not taken out of the stream before.
    pub(crate) fn begin(&self, from: &Place) {
        let mut state = self.state();
        for mark in &mut state.asked {
            mark.given = mark.given && mark.tables.is_some() && !mark.place.covers(from);
        }
        state.taken = Some(from.clone());
    }

    /// The stream is about to take up a transaction: returns whether it may, after the marks that
    /// it must give first.
    pub(crate) fn take_up(&self, transaction: Upcoming<'_>) -> Turn {
        let mut state = self.state();
        if state.holds > 0 {
            return Turn::Wait;
        }
        // Only a snapshot's mark comes before a transaction; any other waits for all that it names.
        let due = state.due(|mark| mark.tables.is_some() && !transaction.is_in(&mark.place));
        if let Some(taken) = &mut state.taken {
            transaction.add_to(taken);
            // Beyond its begin: a place there is before it.
            taken.offset = transaction.start + 1;
            if taken.file != transaction.file {
                transaction.file.clone_into(&mut taken.file);
            }
        }
        match due.is_empty() {
            true => Turn::Go,
            false => Turn::Give(due),
        }
    }

    /// No transaction is in flight, and everything before `file` and `offset` has been given: the
    /// marks that are due.
    pub(crate) fn reach(&self, file: &str, offset: u64) -> Vec<Mark> {
        let mut state = self.state();
        let Some(mut taken) = state.taken.take() else {
            return Vec::new();
        };
        taken.offset = offset;
        if taken.file != file {
            file.clone_into(&mut taken.file);
        }
        let due = state.due(|mark| taken.covers(&mark.place));
        state.taken = Some(taken);
        due
    }

    /// Whether a mark waits for the stream to reach it.
    pub(crate) fn waiting(&self) -> bool {
        self.state().asked.iter().any(|mark| !mark.given)
    }

    /// Waits until something was asked or a hold was released.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }
}

impl State {
    fn due(&mut self, is_due: impl Fn(&Mark) -> bool) -> Vec<Mark> {
        let mut due = Vec::new();
        for mark in &mut self.asked {
            if !mark.given && is_due(mark) {
                mark.given = true;
                due.push(mark.clone());
            }
        }
        due
    }
}

/// What the stream does before a transaction.
#[derive(Debug, PartialEq)]
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
    use crate::position::mysql::{Tsid, Uuid};

    const UUID: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

    fn after(numbers: &str) -> Place {
        let set = match numbers {
            "" => String::new(),
            numbers => format!("{UUID}:{numbers}"),
        };
        Place {
            server: UUID.to_owned(),
            gtids: Gtids::MySql(set.parse().expect("a set")),
            file: "b.000001".to_owned(),
            offset: 4,
        }
    }

    fn at(offset: u64) -> Place {
        Place {
            gtids: Gtids::Off,
            offset,
            ..after("")
        }
    }

    /// What the stream does before transaction `number`.
    fn take_up(marks: &Marks, number: u64) -> Vec<u64> {
        let uuid = Uuid(0x3e11_fa47_71ca_11e1_9e33_c80a_a942_9562_u128.to_be_bytes());
        let tag = String::new();
        let gtid = Gtid {
            tsid: Tsid { uuid, tag },
            number,
        };
        ids(marks.take_up(Upcoming {
            gtid: Name::MySql(&gtid),
            file: "b.000001",
            start: number * 100,
        }))
    }

    fn ids(turn: Turn) -> Vec<u64> {
        match turn {
            Turn::Give(marks) => marks.iter().map(|mark| mark.id).collect(),
            Turn::Go => Vec::new(),
            Turn::Wait => panic!("nothing holds the stream"),
        }
    }

    fn reach(marks: &Marks) -> Vec<u64> {
        let due = marks.reach("b.000001", 9000);
        due.iter().map(|mark| mark.id).collect()
    }

    #[test]
    fn a_snapshots_mark_comes_before_the_first_transaction_that_its_view_may_lack() {
        let marks = Marks::default();
        marks.begin(&after("1-4"));
        // The view has 7 but not 6, which is before it in the log.
        assert!(marks.ask(1, after("1-5:7"), Some(Vec::new())));
        assert!(marks.ask(2, after("1-6"), None));
        assert_eq!(take_up(&marks, 5), [] as [u64; 0]);
        assert_eq!(reach(&marks), [] as [u64; 0]);
        assert_eq!(take_up(&marks, 6), [1]);
        assert_eq!(reach(&marks), [2]);
        assert!(!marks.waiting());
    }

    #[test]
    fn an_idle_stream_reaches_what_it_has_given() {
        let marks = Marks::default();
        marks.begin(&after("1-4"));
        assert!(marks.ask(1, after("1-4"), Some(Vec::new())));
        assert!(marks.ask(2, after("1-5"), None));
        assert_eq!(reach(&marks), [1]);
        assert_eq!(take_up(&marks, 5), [] as [u64; 0]);
        assert_eq!(reach(&marks), [2]);
    }

    #[test]
    fn a_snapshots_mark_that_was_passed_is_refused() {
        let marks = Marks::default();
        marks.begin(&after("1-4"));
        take_up(&marks, 5);
        assert!(!marks.ask(1, after("1-4"), Some(Vec::new())));
        assert!(marks.ask(2, after("1-5"), Some(Vec::new())));
        assert!(
            marks.ask(3, after("1-4"), None),
            "the stream is behind none"
        );
        assert_eq!(reach(&marks), [2, 3]);
    }

    #[test]
    fn a_hold_stops_the_stream_before_it_takes_anything_up() {
        let marks = Marks::default();
        marks.begin(&at(4));
        let upcoming = Upcoming {
            gtid: Name::Anonymous,
            file: "b.000001",
            start: 100,
        };
        let hold = marks.hold();
        assert_eq!(marks.take_up(upcoming), Turn::Wait);
        assert!(marks.ask(1, at(100), Some(Vec::new())));
        drop(hold);
        assert_eq!(ids(marks.take_up(upcoming)), [1]);
        assert!(!marks.ask(2, at(100), Some(Vec::new())));
        assert!(marks.ask(3, at(101), Some(Vec::new())));
    }

    #[test]
    fn a_mark_that_the_engine_has_not_taken_is_given_by_the_next_stream() {
        let marks = Marks::default();
        marks.begin(&after("1-4"));
        assert!(marks.ask(1, after("1-4"), None));
        assert_eq!(reach(&marks), [1]);
        marks.begin(&after("1-4"));
        assert_eq!(reach(&marks), [1]);
        marks.deliver(1);
        marks.begin(&after("1-4"));
        assert_eq!(reach(&marks), [] as [u64; 0]);
    }

    #[test]
    fn a_later_stream_gives_a_snapshots_mark_again() {
        let marks = Marks::default();
        marks.begin(&after("1-4"));
        marks.ask(1, after("1-5"), Some(Vec::new()));
        take_up(&marks, 5);
        assert_eq!(reach(&marks), [1]);
        marks.begin(&after("1-4"));
        take_up(&marks, 5);
        assert_eq!(reach(&marks), [1]);
        marks.begin(&after("1-6"));
        assert_eq!(reach(&marks), [] as [u64; 0]);
        marks.forget(1);
        marks.begin(&after("1-4"));
        take_up(&marks, 5);
        assert_eq!(reach(&marks), [] as [u64; 0]);
    }
}
