//! What the scripts of all servers write with: keys of their session, values that tend to go wrong.
//!
//! Text values carry [`USER_DATA`], which no log line may show.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use super::Script;
use crate::daemon::USER_DATA;

#[derive(Debug)]
pub(crate) struct Writer<'r> {
    pub(super) random: &'r mut StdRng,
    pub(super) session: u64,
    pub(super) sessions: u64,
    pub(super) accounts: i64,
}

impl<'r> Writer<'r> {
    pub(super) fn new(random: &'r mut StdRng, session: u64, sessions: u64, accounts: i64) -> Self {
        Self {
            random,
            session,
            sessions,
            accounts,
        }
    }

    /// `BEGIN`, some statements, `COMMIT` or now and then `ROLLBACK`.
    pub(super) fn transaction(&mut self, script: &Script, big: bool) -> Vec<String> {
        let mut statements = vec!["BEGIN".to_owned()];
        let units = if self.random.random_ratio(1, 10) {
            12
        } else {
            self.random.random_range(1..5)
        };
        for _ in 0..units {
            if self.random.random_ratio(1, 8) {
                statements.push("SAVEPOINT s".into());
                statements.extend((script.unit)(self));
                let end = if self.random.random_ratio(2, 3) {
                    "ROLLBACK TO SAVEPOINT s"
                } else {
                    "RELEASE SAVEPOINT s"
                };
                statements.push(end.into());
            } else {
                statements.extend((script.unit)(self));
            }
        }
        if big && self.random.random_ratio(1, 60) {
            statements.extend((script.many)(self));
        }
        let end = if self.random.random_ratio(1, 12) {
            "ROLLBACK"
        } else {
            "COMMIT"
        };
        statements.push(end.into());
        statements
    }

    /// A key of this session in 1..=limit.
    pub(super) fn key(&mut self, limit: u64) -> u64 {
        let slots = limit / self.sessions;
        self.random.random_range(0..slots) * self.sessions + self.session + 1
    }

    pub(super) fn text(&mut self) -> String {
        let quirks = ["", " ", "''", "\\", "ü€😀", "\t", "\"", "NULL", "\n", "$1"];
        let quirk = quirks.choose(self.random).copied().unwrap_or_default();
        format!("'{USER_DATA} {:x}{quirk}'", self.random.random::<u32>())
    }

    /// Long enough to be stored out of line.
    pub(super) fn long(&mut self) -> String {
        let times = if self.random.random_ratio(1, 30) {
            40_000
        } else {
            self.random.random_range(300..2_000)
        };
        format!(
            "repeat('{USER_DATA}{:x}', {times})",
            self.random.random::<u16>()
        )
    }

    pub(super) fn number(&mut self) -> String {
        let n = self.random.random_range(-1_000_000..1_000_000);
        let shift = self.random.random_range(0..4);
        format!("{}", f64::from(n) / 10_f64.powi(shift))
    }

    /// A sum that goes from one account to another table's: what both add up to stays.
    pub(super) fn transfer(&mut self) -> Vec<String> {
        let accounts = self.accounts.unsigned_abs();
        let (from, to) = (self.key(accounts), self.key(accounts));
        let amount = self.random.random_range(1..100);
        let sign = if self.random.random() { 1 } else { -1 };
        vec![
            format!(
                "UPDATE shop.account SET balance = balance - {} WHERE id = {from}",
                amount * sign
            ),
            format!(
                "UPDATE shop.vault SET balance = balance + {} WHERE id = {to}",
                amount * sign
            ),
        ]
    }
}
