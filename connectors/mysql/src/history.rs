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

/// Refuses to go on where the log cannot continue right after `from`. Returns the server.
///
/// # Errors
/// `LogLost`, with the remedy.
pub(crate) async fn verify(session: &mut Session, from: &Place) -> Result<String> {
    let server = server(session).await?;
    let end = end_of(session, &server).await?;
    let same = server == from.server;
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
        (Gtids::Maria(mine), Gtids::Maria(executed)) => {
            if !mine.is_subset(executed) {
                return Err(lacks(same));
            }
            if !same && !has_all(session, mine).await? {
                return Err(another(&server, from));
            }
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
    Ok(server)
}

/// Whether another server of MariaDB is one that these transactions went to. The numbers alone do
/// not say so: any two servers count from one.
async fn has_all(session: &mut Session, gtids: &MariaGtids) -> Result<bool> {
    let own = session.variable("server_id").await?.unwrap_or_default();
    let state = session.variable("gtid_binlog_state").await?;
    let state = state
        .unwrap_or_default()
        .split(',')
        .filter(|text| !text.is_empty())
        .map(str::parse)
        .collect::<Result<Vec<MariaGtid>>>()?;
    Ok(came_from_elsewhere(gtids, &own, &state))
}

/// Whether each of these transactions is in a log whose last ones, by domain and server, are `state`,
/// and none claims to be of the log's own server, of which it is not.
fn came_from_elsewhere(gtids: &MariaGtids, own: &str, state: &[MariaGtid]) -> bool {
    let logged = |gtid: MariaGtid| {
        state.iter().any(|last| {
            (last.domain, last.server) == (gtid.domain, gtid.server)
                && last.sequence >= gtid.sequence
        })
    };
    gtids.iter().next().is_some()
        && gtids
            .iter()
            .all(|gtid| gtid.server.to_string() != own && logged(gtid))
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

    #[test]
    fn a_server_of_mariadb_is_followed_only_where_the_transactions_are_in_its_log() {
        let state = ["0-1-50", "0-2-51", "3-1-7"].map(|text| text.parse().expect("a GTID"));
        let follows =
            |gtids: &str, own| came_from_elsewhere(&gtids.parse().expect("GTIDs"), own, &state);
        assert!(follows("0-1-50", "2"));
        assert!(follows("0-1-40,3-1-7", "2"));
        assert!(
            !follows("0-3-40", "2"),
            "of a server that it never heard of"
        );
        assert!(!follows("0-1-51", "2"), "later than the last one");
        assert!(!follows("0-1-50,3-2-7", "2"));
        assert!(!follows("0-1-50", "1"), "two servers with the same number");
        assert!(!follows("", "2"));
    }
}
