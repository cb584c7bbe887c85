//! Opening views, and finding their place in the log.
//!
//! Invariants: the stream does not pass the place before the mark is asked for, and the mark is asked
//! for once the tables are known to be in the views as they are described: it gives the stream their
//! shapes. A lock is waited for a second at most and held for as long as it takes to open the views and
//! to ask where the log ends; whatever happens it ends with the session that holds it.

use std::iter::zip;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use cdc_api::{Error, ErrorKind, Result, TableSchema};
use futures::future::try_join_all;

use super::reader::SAVEPOINT;
use crate::catalog::{self, CatalogTable, quoted};
use crate::config::SnapshotLock;
use crate::connect::{Flavour, Session};
use crate::decode::definition::Described;
use crate::history;
use crate::marks::next_id;
use crate::position::{Gtids, Place, table_id};
use crate::refusal::{account, refused_with};
use crate::source::Server;

/// How often a place is looked for before the source counts as too busy.
const ATTEMPTS: usize = 5;

/// The pause between attempts, in which what was in flight is committed.
const PAUSE: Duration = Duration::from_millis(50);

/// How long a statement of someone else may have run when all tables are about to be flushed: it
/// would hold up everyone who comes after.
const LONG: u64 = 1;

/// A way to a view whose place is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Tables,
    Global,
    Unlocked,
}

/// Views of one place.
pub(super) struct Opened {
    /// The mark's.
    pub(super) id: u64,
    /// Each with a view.
    pub(super) sessions: Vec<Session>,
    /// The tables' shapes as rows after the mark have them, once it was given.
    pub(super) told: Vec<Arc<OnceLock<Arc<TableSchema>>>>,
}

/// Opens views and asks for the mark at their place.
pub(super) async fn take(
    server: &Arc<Server>,
    keeper: &mut Session,
    tables: &[CatalogTable],
) -> Result<Opened> {
    let identity = history::server(keeper).await?;
    let ways: &[Way] = match server.config.snapshot_lock {
        _ if tables.is_empty() => &[Way::Unlocked],
        SnapshotLock::Auto => &[Way::Tables, Way::Global, Way::Unlocked],
        SnapshotLock::Tables => &[Way::Tables],
        SnapshotLock::Global => &[Way::Global],
        SnapshotLock::None => &[Way::Unlocked],
    };
    let mut refused = None;
    for way in ways {
        match attempts(server, keeper, tables, &identity, *way).await {
            Ok(found) => {
                tracing::debug!(?way, tables = tables.len(), "opened views for a copy");
                return Ok(found);
            }
            // Neither the right nor a quiet moment: the next way may do without.
            Err(error) if unavailable(&error) => refused = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(refused.unwrap_or_else(|| Error::internal("there is no way to open a view")))
}

/// Whether a way is not open to us, now or at all.
fn unavailable(error: &Error) -> bool {
    error.kind() == ErrorKind::Auth || refused_with(error, &[1205, 1044, 1142, 1227])
}

async fn attempts(
    server: &Arc<Server>,
    keeper: &mut Session,
    tables: &[CatalogTable],
    identity: &str,
    way: Way,
) -> Result<Opened> {
    let count = match (way, keeper.flavour()) {
        // Each session would have a view of its own.
        (Way::Unlocked, Flavour::MariaDb) => 1,
        _ => server.choices.sessions,
    };
    let mut sessions = try_join_all((0..count).map(|_| server.session())).await?;
    let described = tables
        .iter()
        .map(|table| {
            Ok(Described {
                shape: Arc::new(catalog::shape(table, server.config.types, 1)?),
                definition: Arc::new(catalog::definition(table)),
                told: Arc::default(),
            })
        })
        .collect::<Result<Vec<_>>>()?;
    for attempt in 0..ATTEMPTS {
        if attempt > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        let hold = server.marks.hold();
        let opened = match way {
            Way::Tables | Way::Global => {
                locked(server, keeper, tables, identity, way, &mut sessions).await
            }
            Way::Unlocked => {
                let opened = unlocked(server, keeper, tables, identity, &mut sessions).await;
                match unaltered(server, keeper, tables).await {
                    Ok(()) => opened,
                    Err(error) => opened.and(Err(error)),
                }
            }
        };
        let place = match opened {
            Ok(place) => place,
            // Someone writes to the tables for longer than we wait: once more.
            Err(error) if refused_with(&error, &[1205]) && attempt + 1 < ATTEMPTS => continue,
            Err(error) => return Err(error),
        };
        let id = next_id();
        let place = server.completed(place);
        let asked = server.marks.ask(id, place, Some(described.clone()));
        drop(hold);
        if asked {
            let told = described.into_iter().map(|table| table.told).collect();
            return Ok(Opened { id, sessions, told });
        }
        try_join_all(sessions.iter_mut().map(|it| it.execute("ROLLBACK"))).await?;
    }
    Err(
        Error::transient("no place in the log was found between running transactions")
            .hint("transactions have been committing for long: SHOW PROCESSLIST"),
    )
}

/// Refuses tables that are not as they were before the views were opened: what is the same before and after is so in
/// the views.
pub(super) async fn unaltered(
    server: &Server,
    keeper: &mut Session,
    before: &[CatalogTable],
) -> Result<()> {
    let names: Vec<_> = before.iter().map(|table| table.name.clone()).collect();
    let found = server.look_up(keeper, &names).await?;
    let parts = |it: &CatalogTable| {
        (
            it.columns.clone(),
            it.key.clone(),
            it.charset.clone(),
            it.created.clone(),
        )
    };
    match zip(&found, before).find(|(now, before)| parts(now) != parts(before)) {
        None => Ok(()),
        Some((table, _)) => Err(Error::transient(format!(
            "{} was altered while it was copied",
            table.name
        ))),
    }
}

/// Under a lock: the views and the end of the log are of one moment.
async fn locked(
    server: &Arc<Server>,
    keeper: &mut Session,
    tables: &[CatalogTable],
    identity: &str,
    way: Way,
    sessions: &mut [Session],
) -> Result<Place> {
    let mut locker = server.session().await?;
    locker.execute("SET SESSION lock_wait_timeout = 1").await?;
    let lock = match way {
        Way::Global => {
            quiet(&mut locker).await?;
            "FLUSH TABLES WITH READ LOCK".to_owned()
        }
        _ => {
            let names: Vec<String> = tables
                .iter()
                .map(|table| format!("{} READ", quoted(&table.name)))
                .collect();
            format!("LOCK TABLES {}", names.join(", "))
        }
    };
    locker.execute(&lock).await.map_err(|error| {
        if refused_with(&error, &[1205]) {
            return error.hint(
                "transactions have been writing to the tables for more than a second: SHOW \
                 PROCESSLIST tells whose",
            );
        }
        let user = account(&server.settings);
        match error.kind() {
            ErrorKind::Auth => error.hint(format!(
                "GRANT LOCK TABLES ON each database of the tables TO {user}; or GRANT RELOAD ON *.* TO \
                 {user}"
            )),
            _ => error,
        }
    })?;
    let opened = async {
        let (_, place) =
            futures::future::try_join(open(sessions), history::end_of(keeper, identity)).await?;
        // Nobody alters them now.
        unaltered(server, keeper, tables).await?;
        Ok(place)
    }
    .await;
    // With the session the lock would end too, only later.
    locker.execute("UNLOCK TABLES").await?;
    locker.close().await;
    opened
}

/// Opens a view in each session.
async fn open(sessions: &mut [Session]) -> Result<()> {
    try_join_all(sessions.iter_mut().map(async |session| {
        session
            .execute("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
            .await?;
        session.execute(&format!("SAVEPOINT {SAVEPOINT}")).await
    }))
    .await?;
    Ok(())
}

/// Refuses to flush all tables while a statement runs for long: whoever came after us would wait for
/// it, even when we have given up.
async fn quiet(session: &mut Session) -> Result<()> {
    let row = session
        .query_one(&format!(
            "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE COMMAND IN ('Query', \
             'Execute') AND TIME > {LONG} AND ID <> CONNECTION_ID() AND USER NOT IN ('system user', \
             'event_scheduler')"
        ))
        .await?;
    match row.number::<u64>(0)? {
        0 => Ok(()),
        _ => Err(Error::transient(
            "statements have been running for long, behind which a global lock would hold everyone up",
        )
        .hint(
            "GRANT LOCK TABLES to cdc, which needs no global lock; or wait: SHOW PROCESSLIST tells \
             whose they are",
        )),
    }
}

/// Without a lock.
async fn unlocked(
    server: &Arc<Server>,
    keeper: &mut Session,
    tables: &[CatalogTable],
    identity: &str,
    sessions: &mut [Session],
) -> Result<Place> {
    if keeper.flavour() == Flavour::MariaDb {
        return told(identity, sessions).await;
    }
    // What is committed when the views open may not be in the set yet, and comes again: only over a
    // key does that change nothing.
    if let Some(table) = tables.iter().find(|table| table.key.is_empty()) {
        let user = account(&server.settings);
        return Err(Error::unsupported(format!(
            "{} has no primary key, so that it cannot be copied without a lock",
            table.name
        ))
        .hint(format!(
            "GRANT LOCK TABLES ON {}.* TO {user}; or ALTER TABLE {} ADD PRIMARY KEY (…)",
            crate::catalog::identifier(&table.name.schema),
            quoted(&table.name)
        ))
        .for_table(table_id(&table.name)));
    }
    let place = history::end_of(keeper, identity).await?;
    if place.gtids == Gtids::Off {
        return Err(Error::config(
            "without GTIDs and without a lock no place in the log can be found",
        )
        .hint(format!(
            "GRANT LOCK TABLES ON each database of the tables TO {}; or SET PERSIST gtid_mode = ON, \
             in the server's four steps",
            account(&server.settings)
        )));
    }
    open(sessions).await?;
    Ok(place)
}

/// MariaDB tells the place of a session's view.
async fn told(identity: &str, sessions: &mut [Session]) -> Result<Place> {
    open(sessions).await?;
    let [session] = sessions else {
        return Err(Error::internal("one view has one place"));
    };
    let rows = session
        .query("SHOW SESSION STATUS LIKE 'binlog_snapshot%'")
        .await?;
    let find = |name: &str| {
        rows.iter()
            .find(|row| row.text(0).eq_ignore_ascii_case(name))
            .map(|row| row.text(1).to_owned())
            .filter(|value| !value.is_empty())
            .ok_or_else(|| Error::config("the server does not tell the place of a view"))
    };
    let file = find("binlog_snapshot_file")?;
    let offset = find("binlog_snapshot_position")?
        .parse()
        .map_err(|_| Error::internal("the place of a view is no number"))?;
    let gtids = history::gtids_at(session, &file, offset).await?;
    Ok(Place {
        server: identity.to_owned(),
        gtids: Gtids::Maria(gtids),
        file,
        offset,
    })
}
