//! What the source may drop of its log.
//!
//! Invariant (1): never more than what the journal has fsynced, and with `acknowledge: sinks`
//! never more than the smallest checkpoint of all sinks. A sink that has not told its checkpoint
//! yet holds everything.
//!
//! The journal's fsync counts in both modes: so the journal's tail is never behind what the
//! source has dropped, and a restart goes on at the tail without asking the sinks.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use cdc_api::{Checkpoint, Position};

use crate::config::Acknowledge;
use crate::watch;

/// Gathers checkpoints, gives the position that may be acknowledged.
#[derive(Debug)]
pub(super) struct Acknowledger {
    policy: Acknowledge,
    held: Mutex<Held>,
    upto: watch::Sender<Option<Position>>,
}

#[derive(Debug, Default)]
struct Held {
    sinks: BTreeMap<String, Option<Checkpoint>>,
    durable: Option<Checkpoint>,
}

impl Acknowledger {
    /// For these sinks, none of which has told its checkpoint.
    pub(super) fn new<'a>(policy: Acknowledge, sinks: impl Iterator<Item = &'a str>) -> Self {
        Self {
            policy,
            held: Mutex::new(Held {
                sinks: sinks.map(|sink| (sink.to_owned(), None)).collect(),
                durable: None,
            }),
            upto: watch::channel(None).0,
        }
    }

    /// A sink's checkpoint is durable in it.
    pub(super) fn sink(&self, sink: &str, checkpoint: &Checkpoint) {
        self.update(|held| {
            held.sinks.insert(sink.to_owned(), Some(checkpoint.clone()));
        });
    }

    /// The journal is durable up to this commit.
    pub(super) fn journal(&self, durable: Checkpoint) {
        self.update(|held| held.durable = Some(durable));
    }

    /// The position that the source may drop its log up to.
    pub(super) fn upto(&self) -> watch::Receiver<Option<Position>> {
        self.upto.subscribe()
    }

    fn update(&self, change: impl FnOnce(&mut Held)) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut held);
        let Some(upto) = held.smallest(self.policy) else {
            return;
        };
        self.upto.send_if_modified(|now| {
            let changed = now.as_ref() != Some(&upto.position);
            if changed {
                *now = Some(upto.position.clone());
            }
            changed
        });
    }
}

impl Held {
    fn smallest(&self, policy: Acknowledge) -> Option<&Checkpoint> {
        let mut smallest = self.durable.as_ref()?;
        if policy == Acknowledge::Sinks {
            for checkpoint in self.sinks.values() {
                let checkpoint = checkpoint.as_ref()?;
                // Idle advances share a `seq`; both come from one stream, whose offsets rise.
                if (checkpoint.seq, checkpoint.offset) < (smallest.seq, smallest.offset) {
                    smallest = checkpoint;
                }
            }
        }
        Some(smallest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seq: u64) -> Checkpoint {
        Checkpoint {
            position: Position::new(format!("p{seq}")),
            seq,
            offset: seq,
            commit_time: 0,
        }
    }

    fn upto(acknowledger: &Acknowledger) -> Option<String> {
        acknowledger
            .upto()
            .borrow()
            .as_ref()
            .map(ToString::to_string)
    }

    #[test]
    fn nothing_is_acknowledged_before_every_sink_has_told_its_checkpoint() {
        let acknowledger = Acknowledger::new(Acknowledge::Sinks, ["a", "b"].into_iter());
        acknowledger.journal(at(9));
        acknowledger.sink("a", &at(5));
        assert_eq!(upto(&acknowledger), None);
        acknowledger.sink("b", &at(3));
        assert_eq!(upto(&acknowledger).as_deref(), Some("p3"));
    }

    #[test]
    fn a_sink_ahead_of_the_durable_journal_does_not_count() {
        let acknowledger = Acknowledger::new(Acknowledge::Sinks, ["a"].into_iter());
        acknowledger.sink("a", &at(8));
        assert_eq!(upto(&acknowledger), None);
        acknowledger.journal(at(6));
        assert_eq!(upto(&acknowledger).as_deref(), Some("p6"));
        acknowledger.journal(at(9));
        assert_eq!(upto(&acknowledger).as_deref(), Some("p8"));
    }

    #[test]
    fn with_the_journal_as_policy_sinks_do_not_matter() {
        let acknowledger = Acknowledger::new(Acknowledge::Journal, ["a"].into_iter());
        acknowledger.journal(at(6));
        assert_eq!(upto(&acknowledger).as_deref(), Some("p6"));
    }
}
