//! The stream's thread: socket in, decoder, events out.
//!
//! Invariants: events leave in the log's order. A position is given for an idle log only when no
//! transaction is in flight. A mark is given between the transactions that it stands between. The
//! session's feedback is a task beside this one, so that a full queue does not end the session.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cdc_api::{BatchLimits, ChangeEvent, Checkpoint, Error, Result, TableId, TableSchema};
use cdc_database::outlet::Outlet;
use cdc_database::stream::Progress;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::listing::{self, Listing};
use super::shapes::{Shapes, catalog_column};
use super::{verify, watch};
use crate::catalog::{self, Which};
use crate::decode::decoder::{Decoder, Prefixes, Step};
use crate::decode::pgoutput::{Relation, takes_up};
use crate::decode::spool::SpoolFiles;
use crate::decode::table::TableVersion;
use crate::marks::{Mark, Turn};
use crate::position::{Log, Lsn};
use crate::replication::command::{self, Wishes};
use crate::replication::{Acknowledger, Frame, LogReader};
use crate::session::{Purpose, Session};
use crate::source::{Server, oid};
use crate::types::TypeTable;

/// How often an idle log's position is given at most.
const IDLE: Duration = Duration::from_secs(10);

/// How often the server is asked how far it is while a mark waits.
const ASK: Duration = Duration::from_millis(50);

/// What a stream is started with.
pub(super) struct Order {
    pub(super) server: Arc<Server>,
    pub(super) log: Log,
    pub(super) from: Checkpoint,
    pub(super) lsn: Lsn,
    pub(super) known: Vec<Arc<TableSchema>>,
    pub(super) limits: BatchLimits,
    pub(super) progress: Arc<Progress>,
    /// Where the feedback runs.
    pub(super) engine: Handle,
}

/// A stream that has started.
pub(super) struct Pump {
    server: Arc<Server>,
    reader: LogReader,
    decoder: Decoder,
    outlet: Outlet,
    progress: Arc<Progress>,
    /// For looking tables up; opened when it is needed.
    catalog: Option<Session>,
    /// What it said at the start, until the log is beyond that.
    listing: Option<Listing>,
    shapes: Shapes,
    types: TypeTable,
    /// Whether values come in binary.
    binary: bool,
    /// Everything that commits before this has been sent by the server.
    idle: Lsn,
    /// When the last commit was given.
    reported_at: Instant,
}

impl Pump {
    /// Connects, verifies that the log continues, and starts.
    ///
    /// No table is asked about on the replication session: its backend would remember the table
    /// as it is now, and decode older rows by that. PostgreSQL does not forget what it remembers
    /// when decoding begins, and a type changed in between is then garbage, or its crash.
    pub(super) async fn open(order: Order, outlet: Outlet) -> Result<Self> {
        let server = order.server;
        let mut replication = Session::open(&server.settings, Purpose::Replication).await?;
        verify(&server, &mut replication, (&order.log, order.lsn)).await?;
        let mut session = server.session().await?;
        let types = catalog::types(&mut session, server.config.types).await?;
        let shapes = Shapes::new(&order.known);
        let listing = Listing::read(&mut session, |table| {
            server.wants(table) || shapes.knows(table.table.oid)
        })
        .await?;
        let binary = server.config.binary
            && session.version() >= 14_0000
            && !server.text_only.load(Ordering::Relaxed)
            && reads_binary(&server, &listing, &types);
        let publications = server.publications(&mut session).await?;
        let messages = Prefixes::new(&server.config.messages);
        if !messages.is_empty() && session.version() < 14_0000 {
            return Err(Error::config(
                "source.messages: PostgreSQL before version 14 does not give logical messages",
            )
            .hint("leave source.messages out, or upgrade the server"));
        }
        let wishes = Wishes {
            streaming: server.config.streaming,
            binary,
        };
        let command = command::start(
            &server.choices.slot,
            order.lsn,
            &publications,
            wishes,
            session.version(),
        );
        server.marks.begin(order.lsn);
        let spool_files = spool_files(&server.spool)?;
        let reader = LogReader::begin(replication, &command, order.lsn, &order.engine).await?;
        tracing::info!(from = %order.lsn, binary, "reading the log");
        Ok(Self {
            decoder: Decoder::new(order.log, order.lsn, &order.from, order.limits, spool_files)
                .with_messages(messages),
            shapes,
            listing: Some(listing),
            types,
            binary,
            server,
            reader,
            outlet,
            progress: order.progress,
            catalog: Some(session),
            idle: order.lsn,
            reported_at: Instant::now(),
        })
    }

    /// The handle for acknowledging.
    pub(super) fn acknowledger(&self) -> Acknowledger {
        self.reader.feedback().acknowledger()
    }

    /// Pumps until it is told to stop, nobody listens any more, or something fails; then tells
    /// the server the last acknowledged position. What failed is the last thing that the outlet
    /// gives.
    pub(super) async fn run(mut self, stopped: oneshot::Receiver<()>) -> Result<()> {
        let (server, progress) = (Arc::clone(&self.server), Arc::clone(&self.progress));
        let result = tokio::select! {
            result = self.pump() => result,
            // The wish to stop; a stream that was dropped without one closes the outlet.
            Ok(()) = stopped => Ok(()),
            error = watch::watch(&server, &progress) => Err(error),
        };
        match result {
            Ok(()) => self.reader.close().await,
            Err(error) => {
                self.outlet.fail(error);
                Ok(())
            }
        }
    }

    /// Returns `Ok` when nobody listens.
    async fn pump(&mut self) -> Result<()> {
        loop {
            while let Some(frame) = self.reader.next()? {
                let pending = match frame {
                    Frame::Data { lsn, payload } => {
                        if let Some(commit) = takes_up(payload).map(Lsn)
                            && !before(&self.server, &mut self.decoder, &self.outlet, commit)
                                .await?
                        {
                            return Ok(());
                        }
                        self.decoder.message(lsn, payload)?
                    }
                    Frame::Keepalive { end } => {
                        self.idle = self.idle.max(end);
                        self.at_rest()?
                    }
                    Frame::End => {
                        return Err(Error::transient("the server has ended the stream"));
                    }
                };
                if pending && !self.drain().await? {
                    return Ok(());
                }
            }
            // Everything that has arrived is decoded: what is complete need not wait.
            if self.decoder.flush()? && !self.drain().await? {
                return Ok(());
            }
            self.progress.reads(self.decoder.committed().0);
            self.progress.hears(self.reader.server_end().0);
            let passed = |it: &Listing| it.is_passed(self.decoder.committed());
            if self.listing.as_ref().is_some_and(passed) {
                self.listing = None;
            }
            tokio::select! {
                arrived = self.reader.gulp() => arrived?,
                () = self.server.marks.changed() => {}
                () = tokio::time::sleep(ASK), if self.server.marks.waiting() => {
                    self.reader.feedback().ask();
                }
                () = tokio::time::sleep_until(self.reported_at + IDLE),
                    if self.idle > self.decoder.committed() && !self.decoder.in_flight() =>
                {
                    if self.at_rest()? && !self.drain().await? {
                        return Ok(());
                    }
                }
                () = self.outlet.closed() => return Ok(()),
            }
        }
    }

    /// Between transactions: the marks that are due, and now and then the idle log's position.
    fn at_rest(&mut self) -> Result<bool> {
        if self.decoder.in_flight() {
            return Ok(false);
        }
        let due = self.server.marks.reach(self.idle);
        if !due.is_empty() || self.reported_at.elapsed() >= IDLE {
            self.reported_at = Instant::now();
            self.decoder.keepalive(self.idle);
            self.decoder.flush()?;
        }
        for mark in due {
            give(&mut self.decoder, mark)?;
        }
        self.progress.reads(self.idle.0);
        Ok(true)
    }

    /// Sends on all that the decoder has, looking tables up as it asks. False when nobody listens.
    async fn drain(&mut self) -> Result<bool> {
        while let Some(step) = self.decoder.next()? {
            match step {
                Step::Event(event) => {
                    match &event {
                        ChangeEvent::Commit(_) => self.reported_at = Instant::now(),
                        ChangeEvent::Truncate { tables, .. } => self.note_truncate(tables)?,
                        _ => {}
                    }
                    if !self.outlet.send(event).await {
                        return Ok(false);
                    }
                }
                Step::Describe(body) => {
                    let version = self.describe(&body.relation()?).await;
                    match version {
                        // The connection to the catalog, not the table.
                        Err(error) if error.is_transient() => return Err(error),
                        version => self.decoder.answer(version)?,
                    }
                }
            }
        }
        Ok(true)
    }

    /// A truncate tells apart what else may have happened to the tables' files.
    fn note_truncate(&self, tables: &[TableId]) -> Result<()> {
        let Some((xid, commit)) = self.decoder.transaction() else {
            return Err(Error::internal("a truncate outside of a transaction"));
        };
        for table in tables {
            self.server.notes.truncated(oid(*table), commit, xid)?;
        }
        Ok(())
    }

    /// The table as rows after `relation` carry it, `None` where it is not captured.
    async fn describe(&mut self, relation: &Relation<'_>) -> Result<Option<TableVersion>> {
        let session = match &mut self.catalog {
            Some(session) => session,
            None => self.catalog.insert(self.server.session().await?),
        };
        let oid = relation.oid;
        let transaction = self.decoder.transaction();
        let listed = self.listing.as_ref().zip(transaction);
        let listed = listed.and_then(|(it, (xid, commit))| it.table(oid, xid, commit));
        let listed = match (listed, transaction) {
            (Some(listed), _) => Some(listed.clone()),
            (None, transaction) => {
                if let Some((xid, _)) = transaction {
                    listing::ended(session, xid).await?;
                }
                let found = catalog::tables(session, Which::Oids(&[oid])).await?;
                found.into_iter().next()
            }
        };
        let known = self.shapes.knows(oid);
        let table = match listed {
            None if !known => return Ok(None),
            None => None,
            Some(mut listed) => {
                let wanted = self.server.wants(&listed);
                let refused = self.server.judge(&mut listed, session.version());
                if !known && (!wanted || refused.is_some()) {
                    return Ok(None);
                }
                Some(listed.table)
            }
        };
        if relation
            .columns()
            .any(|column| !self.types.knows(column.type_oid))
        {
            self.types = catalog::types(session, self.server.config.types).await?;
        }
        let mut named = HashMap::new();
        for column in relation.columns() {
            if catalog_column(&column, table.as_ref()).is_none() {
                let row = session
                    .query_one(&format!(
                        "SELECT format_type({}, {})",
                        column.type_oid, column.typmod
                    ))
                    .await?;
                named.insert((column.type_oid, column.typmod), row.text(0).to_owned());
            }
        }
        let (version, binary) =
            self.shapes
                .version(relation, table.as_ref(), &self.types, &named)?;
        if self.binary && !binary {
            self.server.text_only.store(true, Ordering::Relaxed);
            return Err(Error::transient(format!(
                "{}.{} has a type without a binary form that can be read: the stream starts again \
                 in text",
                relation.schema, relation.name
            )));
        }
        Ok(Some(version))
    }
}

/// Gives the marks that stand before the transaction that commits at `commit`, waiting while
/// someone holds the stream. False when nobody listens.
async fn before(
    server: &Server,
    decoder: &mut Decoder,
    outlet: &Outlet,
    commit: Lsn,
) -> Result<bool> {
    let marks = loop {
        match server.marks.take_up(commit) {
            Turn::Go => return Ok(true),
            Turn::Give(marks) => break marks,
            Turn::Wait => tokio::select! {
                () = server.marks.changed() => {}
                () = outlet.closed() => return Ok(false),
            },
        }
    };
    for mark in marks {
        give(decoder, mark)?;
    }
    while let Some(step) = decoder.next()? {
        if let Step::Event(event) = step
            && !outlet.send(event).await
        {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Makes files without a name in `folder`. What a killed process has left there, where the file
/// system has no files without a name, is removed.
fn spool_files(folder: &Path) -> Result<SpoolFiles> {
    let unusable = |error| {
        Error::transient(format!("cannot use {}", folder.display()))
            .hint("free space in the data directory, and see to it that cdc may write there")
            .caused_by(error)
    };
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(unusable(error)),
        _ => std::fs::create_dir_all(folder).map_err(unusable)?,
    }
    let folder = folder.to_owned();
    Ok(Box::new(move || tempfile::tempfile_in(&folder)))
}

fn give(decoder: &mut Decoder, mark: Mark) -> Result<()> {
    decoder.mark(mark.id, &mark.tables.unwrap_or_default())
}

/// Whether every column of the tables that are wanted now can be read in binary.
fn reads_binary(server: &Server, listing: &Listing, types: &TypeTable) -> bool {
    listing
        .tables()
        .filter(|table| server.wants(table))
        .flat_map(|table| &table.table.columns)
        .all(|column| {
            types
                .resolve(column.type_oid, column.typmod, column.dimensions)
                .is_ok_and(|resolved| resolved.reads_binary())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spools_are_in_their_folder_and_leftovers_are_removed() {
        let data = tempfile::tempdir().expect("a folder");
        let folder = data.path().join("source").join("spool");
        let files = spool_files(&folder).expect("the folder is made");
        files().expect("a file is made there");
        std::fs::write(folder.join("left"), "by a process that was killed").expect("is written");
        let files = spool_files(&folder).expect("the folder is made anew");
        let left = std::fs::read_dir(&folder).expect("it is there").count();
        assert_eq!(left, 0);
        files().expect("a file is made there");
    }
}
