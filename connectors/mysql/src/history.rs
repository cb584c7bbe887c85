//! The server's log: whose it is, where it ends, and whether it still reaches back to a place.
//!
//! Invariant: a place that the log cannot continue right after is refused as lost log, with the
//! remedy. That is so where transactions were purged, where the server is another one without them,
//! and where the log was reset: numbers that were given again would be passed over in silence. Where
//! transactions have names, another server that has them all, a promoted replica, is followed.

use cdc_api::{Error, Result};

use crate::catalog::text;
use crate::connect::{Flavour, Row, Session};
use crate::position::mariadb::MariaGtid;
use crate::position::{Gtids, MariaGtids, Place, file_number};
use crate::refusal::refused_with;

/// What lets the tables be loaded anew.
const ANEW: &str = "cdc teardown, then cdc run, loads the tables anew";

/// The server's lasting identity: `server_uuid`; MariaDB: `server_uid`, before 10.9 `server_id`.
///
/// # Errors
/// When the server cannot be asked.
pub(crate) async fn server(session: &mut Session) -> Result<String> {
    let names: &[&str] = match session.flavour() {
        Flavour::MySql => &["server_uuid"],
        Flavour::MariaDb => &["server_uid", "server_id"],
    };
    for name in names {
        if let Some(value) = session.variable(name).await? {
            return Ok(value);
        }
    }
    Err(Error::internal("the server has no identity"))
}

/// What a pipeline stays with: the server, or the names of its transactions where they have names
/// that other servers keep. Which of those servers can be followed is for [`verify`] to say.
///
/// # Errors
/// When the server cannot be asked.
pub(crate) async fn lineage(session: &mut Session) -> Result<String> {
    match session.flavour() {
        Flavour::MySql if !uses_gtids(session).await? => server(session).await,
        Flavour::MySql => Ok("by GTIDs of MySQL".to_owned()),
        Flavour::MariaDb => Ok("by GTIDs of MariaDB".to_owned()),
    }
}

/// The end of the log: everything that is committed when this is called is before it.
///
/// # Errors
/// `Config` where there is no log.
pub(crate) async fn end(session: &mut Session) -> Result<Place> {
    let server = server(session).await?;
    end_of(session, &server).await
}

/// As [`end`], of a server whose identity is known: one statement, or two.
///
/// # Errors
/// `Config` where there is no log.
pub(crate) async fn end_of(session: &mut Session, server: &str) -> Result<Place> {
    let row = status(session).await?.ok_or_else(no_log)?;
    let file = row.text(0).to_owned();
    let offset = row.number(1)?;
    let gtids = match session.flavour() {
        Flavour::MySql if uses_gtids(session).await? => Gtids::MySql(row.text(4).parse()?),
        Flavour::MySql => Gtids::Off,
        Flavour::MariaDb => Gtids::Maria(gtids_at(session, &file, offset).await?),
    };
    Ok(Place {
        server: server.to_owned(),
        gtids,
        file,
        offset,
    })
}

/// MariaDB's GTIDs up to a place.
///
/// # Errors
/// `LogLost` where the file is gone.
pub(crate) async fn gtids_at(session: &mut Session, file: &str, offset: u64) -> Result<MariaGtids> {
    let sql = format!("SELECT BINLOG_GTID_POS({}, {offset})", text(file));
    let row = session.query_one(&sql).await?;
    match row.get(0) {
        Some(gtids) => gtids.parse(),
        None => Err(lost(&format!("the server has no log {file}"))),
    }
}

/// The row of SHOW BINARY LOG STATUS, whatever it is called; none where the log is off.
///
/// # Errors
/// When the server refuses.
pub(crate) async fn status(session: &mut Session) -> Result<Option<Row>> {
    let statement = match (session.flavour(), session.version()) {
        (Flavour::MySql, (8, 2.., _) | (9.., _, _)) => "SHOW BINARY LOG STATUS",
        _ => "SHOW MASTER STATUS",
    };
    Ok(session.query(statement).await?.into_iter().next())
}

/// Whether every transaction of a MySQL server has a GTID.
///
/// # Errors
/// When the server cannot be asked.
pub(crate) async fn uses_gtids(session: &mut Session) -> Result<bool> {
    let mode = session.variable("gtid_mode").await?;
    Ok(mode.as_deref() == Some("ON"))
}

/// A log that continues right after a place.
pub(crate) struct Continued {
    /// Whose it is.
    pub(crate) server: String,
    /// MariaDB's transactions before the place of which the log holds nothing, nor anything later of
    /// their domains: what says where the log ends does not name them.
    pub(crate) unlogged: MariaGtids,
}

/// Refuses to go on where the log cannot continue right after `from`.
///
/// # Errors
/// `LogLost`, with the remedy.
pub(crate) async fn verify(session: &mut Session, from: &Place) -> Result<Continued> {
    let server = server(session).await?;
    let end = end_of(session, &server).await?;
    let same = server == from.server;
    let mut unlogged = MariaGtids::default();
    match (&from.gtids, &end.gtids) {
        (Gtids::MySql(mine), Gtids::MySql(executed)) => {
            if !mine.is_subset(executed) {
                return Err(lacks(same));
            }
            let purged = session.variable("gtid_purged").await?.unwrap_or_default();
            if !purged.parse::<crate::position::GtidSet>()?.is_subset(mine) {
                return Err(purged_by(session.flavour()));
            }
            if !same && mine.is_empty() {
                return Err(another(&server, from));
            }
        }
        (Gtids::Maria(mine), Gtids::Maria(logged)) => {
            let known = MariaKnown::read(session, logged.clone()).await?;
            for gtid in mine.iter() {
                match known.has(gtid, same) {
                    Has::Yes => {}
                    Has::Not if known.is_silent_about(gtid.domain) => {
                        return Err(silent(gtid, &known));
                    }
                    Has::Not => return Err(lacks(same)),
                    Has::Another => return Err(another(&server, from)),
                }
            }
            if !same && mine.iter().next().is_none() {
                return Err(another(&server, from));
            }
            unlogged = mine.beyond(logged);
        }
        (Gtids::Off, Gtids::Off) if !same => return Err(another(&server, from)),
        (Gtids::Off, Gtids::Off) => {}
        (mine, _) => {
            return Err(lost(match mine {
                Gtids::Off => "the server has turned GTIDs on since",
                _ => "the server has turned GTIDs off since, or is of the other family",
            }));
        }
    }
    if same {
        verify_file(session, from).await?;
    }
    Ok(Continued { server, unlogged })
}

/// What a server of MariaDB knows of transactions.
struct MariaKnown {
    /// `server_id`.
    own: String,
    /// The last ones in its log, by domain.
    logged: MariaGtids,
    /// `gtid_binlog_state`: the last ones in its log, by domain and server.
    state: Vec<MariaGtid>,
    /// `gtid_slave_pos`: the last ones that it has applied as a replica, in its log or not.
    applied: MariaGtids,
}

/// Whether a server has a transaction, and all before it.
#[derive(Debug, PartialEq, Eq)]
enum Has {
    /// It has.
    Yes,
    /// It has not.
    Not,
    /// Its numbers are those of another history.
    Another,
}

impl MariaKnown {
    async fn read(session: &mut Session, logged: MariaGtids) -> Result<Self> {
        let own = session.variable("server_id").await?.unwrap_or_default();
        let state = session.variable("gtid_binlog_state").await?;
        let applied = session.variable("gtid_slave_pos").await?;
        Ok(Self {
            own,
            logged,
            state: state
                .unwrap_or_default()
                .split(',')
                .filter(|text| !text.is_empty())
                .map(str::parse)
                .collect::<Result<_>>()?,
            applied: applied.unwrap_or_default().parse()?,
        })
    }

    /// As a primary judges where its replica wants to begin (`check_slave_start_position`), but that
    /// nothing is taken on trust: a domain of which the server knows nothing may be one that it lags
    /// behind in. And the numbers alone do not tell another server's history, for any two servers
    /// count from one: its log must have had the transaction from the server that made it.
    fn has(&self, gtid: MariaGtid, same: bool) -> Has {
        // Applied up to just there: what comes after it is in the log, whatever is not.
        if self.applied.of_domain(gtid.domain) == Some(gtid) {
            return Has::Yes;
        }
        let last = self.logged.of_domain(gtid.domain);
        if last.is_none_or(|last| last.sequence < gtid.sequence) {
            return Has::Not;
        }
        let from_elsewhere = gtid.server.to_string() != self.own
            && self.state.iter().any(|last| {
                (last.domain, last.server) == (gtid.domain, gtid.server)
                    && last.sequence >= gtid.sequence
            });
        match same || from_elsewhere {
            true => Has::Yes,
            false => Has::Another,
        }
    }

    /// Whether it knows nothing of a domain.
    fn is_silent_about(&self, domain: u32) -> bool {
        self.logged.of_domain(domain).is_none() && self.applied.of_domain(domain).is_none()
    }
}

/// Whether the file and the byte of the place are still what they were. A file that is gone counts
/// only without GTIDs: with them the server finds the transactions.
async fn verify_file(session: &mut Session, from: &Place) -> Result<()> {
    let files = session.query("SHOW BINARY LOGS").await?;
    let last = files.last().map_or(0, |row| file_number(row.text(0)));
    if file_number(&from.file) > last {
        return Err(was_reset());
    }
    let Some(row) = files.iter().find(|row| row.text(0) == from.file) else {
        return match from.gtids {
            Gtids::Off => Err(purged_by(session.flavour())),
            _ => Ok(()),
        };
    };
    if row.number::<u64>(1)? < from.offset {
        return Err(was_reset());
    }
    let next = session
        .query(&format!(
            "SHOW BINLOG EVENTS IN {} FROM {} LIMIT 1",
            text(&from.file),
            from.offset.max(4)
        ))
        .await;
    let next = match next {
        Ok(rows) => rows,
        // No event begins there.
        Err(error) if refused_with(&error, &[1220]) => return Err(was_reset()),
        Err(error) => return Err(error),
    };
    // Nor does MySQL's answer, which goes on to the next event.
    if let Some(row) = next.first()
        && row.number::<u64>(1)? != from.offset.max(4)
    {
        return Err(was_reset());
    }
    // A transaction that has the next place and a name from before was given the name again.
    let again = next.first().is_some_and(|row| {
        let named = row.text(5);
        match &from.gtids {
            _ if !row.text(2).starts_with("Gtid") || row.text(2) == "Gtid_list" => false,
            Gtids::MySql(mine) => named
                .split('\'')
                .nth(1)
                .and_then(|gtid| gtid.parse::<crate::position::GtidSet>().ok())
                .is_some_and(|gtid| gtid.is_subset(mine)),
            Gtids::Maria(mine) => named
                .split(' ')
                .find_map(|word| word.parse::<MariaGtids>().ok())
                .is_some_and(|gtid| gtid.iter().next().is_some() && gtid.is_subset(mine)),
            Gtids::Off => false,
        }
    });
    if again {
        return Err(was_reset());
    }
    Ok(())
}

fn no_log() -> Error {
    Error::config("the server writes no binlog")
        .hint("set log_bin = binlog and server_id = 1 in the server's configuration and restart it")
}

/// The log between the last checkpoint and now is gone.
fn lost(why: &str) -> Error {
    Error::log_lost(format!("the log cannot continue: {why}")).hint(format!(
        "changes since the last checkpoint are missing; {ANEW}"
    ))
}

fn purged_by(flavour: Flavour) -> Error {
    Error::log_lost("the server has purged log that was not read yet").hint(format!(
        "{ANEW}; against a next time keep a week of log: {}",
        match flavour {
            Flavour::MySql => "SET PERSIST binlog_expire_logs_seconds = 604800",
            Flavour::MariaDb => {
                "SET GLOBAL binlog_expire_logs_seconds = 604800, and the same in its configuration"
            }
        }
    ))
}

fn was_reset() -> Error {
    lost("the server's log was reset since, and its transactions may be numbered again")
}

fn lacks(same: bool) -> Error {
    let error = lost(
        "the server lacks transactions that were read before: it was reset, restored, or is a \
         replica that is behind",
    );
    match same {
        true => error,
        false => error.hint(elsewhere()),
    }
}

/// The server has never heard of a domain, or was made to forget it.
fn silent(gtid: MariaGtid, known: &MariaKnown) -> Error {
    let mut applied = known.applied.clone();
    applied.add(gtid);
    lost(&format!(
        "the server knows nothing of the domain {}, in which {gtid} was read before",
        gtid.domain
    ))
    .hint(format!(
        "if that domain is not used any more and the server has all of its changes: SET GLOBAL \
         gtid_slave_pos = '{applied}'; else {}",
        elsewhere()
    ))
}

fn another(server: &str, from: &Place) -> Error {
    lost(&format!(
        "the server is another one ({server} instead of {})",
        from.server
    ))
    .hint(elsewhere())
}

fn elsewhere() -> String {
    format!("point source.url back to the first server, or to a replica that has caught up; {ANEW}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The server 2, a replica that was promoted.
    fn promoted(state: &[&str], applied: &str) -> MariaKnown {
        let state: Vec<MariaGtid> = state.iter().map(|it| it.parse().expect("a GTID")).collect();
        let mut logged = MariaGtids::default();
        for gtid in &state {
            logged.add(*gtid);
        }
        MariaKnown {
            own: "2".to_owned(),
            logged,
            state,
            applied: applied.parse().expect("GTIDs"),
        }
    }

    #[test]
    fn a_server_of_mariadb_is_followed_only_where_the_transactions_are_in_its_log() {
        let known = promoted(&["0-1-50", "0-2-51", "3-1-7"], "");
        let has = |gtid: &str| known.has(gtid.parse().expect("a GTID"), false);
        assert_eq!(has("0-1-50"), Has::Yes);
        assert_eq!(has("3-1-7"), Has::Yes);
        // Of a server that it never heard of; later than the last one of that server; two servers
        // with the same number.
        for gtid in ["0-3-40", "0-1-51", "0-2-50"] {
            assert_eq!(has(gtid), Has::Another, "{gtid}");
        }
        for gtid in ["0-1-52", "3-1-8", "5-1-1"] {
            assert_eq!(has(gtid), Has::Not, "{gtid}");
        }
        assert_eq!(known.has("0-2-50".parse().expect("a GTID"), true), Has::Yes);
    }

    #[test]
    fn what_a_server_of_mariadb_applied_need_not_be_in_its_log() {
        // Its log has only what it wrote itself, before and since.
        for state in [&[][..], &["0-2-20"], &["0-2-101"]] {
            let known = promoted(state, "0-1-100,5-1-20");
            let has = |gtid: &str| known.has(gtid.parse().expect("a GTID"), false);
            assert_eq!((has("0-1-100"), has("5-1-20")), (Has::Yes, Has::Yes));
            // What came after it was applied and not logged; or it has not come yet.
            for gtid in ["0-1-99", "5-1-19", "5-1-21", "7-1-1"] {
                assert_ne!(has(gtid), Has::Yes, "{gtid}");
            }
            assert!(known.is_silent_about(7) && !known.is_silent_about(5));
        }
        let known = promoted(&["0-1-100"], "0-1-100,5-1-20");
        let said = silent("7-1-3".parse().expect("a GTID"), &known);
        let hint = said.hint_text().unwrap_or_default();
        assert!(hint.contains("SET GLOBAL gtid_slave_pos = '0-1-100,5-1-20,7-1-3'"));
    }
}
