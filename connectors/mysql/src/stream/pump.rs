//! The stream's thread: packets in, decoder, events out.
//!
//! Invariants: events leave in the log's order. A mark is given between the transactions that it
//! stands between. The server waits as long as the queue is full: its patience was set at the start.

use std::sync::Arc;
use std::time::Duration;

use cdc_api::{BatchLimits, Checkpoint, Error, Result, TableName, TableSchema};
use cdc_database::outlet::Outlet;
use cdc_database::stream::Progress;
use tokio::sync::oneshot;
use tokio::time::{Instant, MissedTickBehavior};

use super::dump;
use super::listing::Listing;
use crate::catalog::{self, Which};
use crate::connect::{Flavour, Session};
use crate::decode::decoder::{Answer, Decoder, Setup, Step};
use crate::decode::definition::kept::KeptDefinitions;
use crate::decode::event::{self, AnyGtid, kind};
use crate::decode::prepared::PreparedFiles;
use crate::decode::shape::{NotedColumn, Notes};
use crate::decode::statement::Existing;
use crate::history;
use crate::marks::{Mark, Name, Turn, Upcoming};
use crate::position::{Gtids, Place, scale};
use crate::source::Server;
use crate::types::charset::Collations;

/// How often the end of the log is asked for.
const TICK: Duration = Duration::from_secs(2);

/// What a stream is started with.
pub(super) struct Order {
    pub(super) server: Arc<Server>,
    pub(super) from: Checkpoint,
    pub(super) place: Place,
    /// The server that goes on, where it is not the place's.
    pub(super) moved_to: Option<String>,
    pub(super) known: Vec<Arc<TableSchema>>,
    pub(super) limits: BatchLimits,
    pub(super) progress: Arc<Progress>,
}

/// A stream that has started.
pub(super) struct Pump {
    server: Arc<Server>,
    session: Session,
    decoder: Decoder,
    outlet: Outlet,
    progress: Arc<Progress>,
    /// For looking tables up; opened when it is needed.
    catalog: Option<Session>,
    listing: Listing,
    /// Events that end up to here are passed over: they were read before.
    skip: u64,
}

impl Pump {
    /// Connects and starts the dump.
    pub(super) async fn open(order: Order, outlet: Outlet) -> Result<Self> {
        let server = order.server;
        let mut session = server.session().await?;
        let collations = collations(&mut session).await?;
        let lower_names = lower_names(&mut session).await?;
        let listing = Listing::begin(&mut session).await?;
        let place = order.place;
        let checksum = dump::begin(&mut session, &place, server.choices.server_id).await?;
        server.marks.begin(&place);
        let beyond = place.offset > u64::from(u32::MAX) && matches!(place.gtids, Gtids::Off);
        // A file begins with four bytes that are no event.
        let skip = if beyond { place.offset - 4 } else { 0 };
        tracing::info!(file = %place.file, offset = place.offset, "reading the log");
        let setup = Setup {
            prepared: PreparedFiles::open(server.folder.clone(), &place)?,
            definitions: KeptDefinitions::open(server.folder.clone(), order.from.seq)?,
            wants: {
                let server = Arc::clone(&server);
                Box::new(move |name| server.wants(name))
            },
            tells: server.config.schema_changes,
            lower_names,
            known: order.known,
            limits: order.limits,
            collations,
            options: server.config.types,
            checksum,
            moved_to: order.moved_to,
        };
        Ok(Self {
            decoder: Decoder::new(place, &order.from, setup),
            server,
            session,
            outlet,
            progress: order.progress,
            catalog: None,
            listing,
            skip,
        })
    }

    /// Pumps until it is told to stop, nobody listens any more, or something fails. What failed is
    /// the last thing that the outlet gives.
    pub(super) async fn run(mut self, stopped: oneshot::Receiver<()>) {
        let (server, progress) = (Arc::clone(&self.server), Arc::clone(&self.progress));
        let result = tokio::select! {
            result = self.pump() => result,
            // The wish to stop; a stream that was dropped without one closes the outlet.
            Ok(()) = stopped => Ok(()),
            () = watch(&server, &progress) => Ok(()),
        };
        if let Err(error) = result {
            self.outlet.fail(error);
        }
        // A dump ends only with its connection.
        drop(self.session);
    }

    /// Returns `Ok` when nobody listens.
    async fn pump(&mut self) -> Result<()> {
        loop {
            let packet = match self.session.packet_arrived()? {
                Some(packet) => packet,
                None => {
                    // Everything that has arrived is decoded: what is complete need not wait.
                    self.decoder.flush()?;
                    if !self.at_rest().await? {
                        return Ok(());
                    }
                    let (file, offset) = self.decoder.read();
                    self.listing.passes((file, offset));
                    self.progress.reads(scale(file, offset));
                    tokio::select! {
                        packet = self.session.packet() => packet?,
                        () = self.server.marks.changed() => continue,
                        () = self.outlet.closed() => return Ok(()),
                        () = tokio::time::sleep(dump::PATIENCE) => {
                            return Err(Error::transient(format!(
                                "the server has sent nothing for {} s, not even a heartbeat",
                                dump::PATIENCE.as_secs()
                            )));
                        }
                    }
                }
            };
            let event = match packet {
                [0x00, event @ ..] => event,
                [0xfe, ..] => return Err(Error::transient("the server has ended the stream")),
                _ => return Err(Error::data("the server sent something that is no event")),
            };
            if self.skip > 0 && passed(&mut self.skip, event)? {
                continue;
            }
            if let Some(name) = self.decoder.begins(event)? {
                let going = before(&self.server, &mut self.decoder, &self.outlet, name.as_ref());
                if !going.await? {
                    return Ok(());
                }
            }
            if self.decoder.event(event)? && !self.drain().await? {
                return Ok(());
            }
            if self.server.marks.waiting() && !self.at_rest().await? {
                return Ok(());
            }
        }
    }

    /// Between transactions: the marks that are due. False when nobody listens.
    async fn at_rest(&mut self) -> Result<bool> {
        if !self.decoder.in_flight() && self.server.marks.waiting() {
            let (file, offset) = self.decoder.read();
            for mark in self.server.marks.reach(file, offset) {
                give(&mut self.decoder, mark)?;
            }
        }
        self.drain().await
    }

    /// Sends on all that the decoder has, looking tables up as it asks. False when nobody listens.
    async fn drain(&mut self) -> Result<bool> {
        while let Some(step) = self.decoder.next()? {
            match step {
                Step::Event(event) => {
                    if !self.outlet.send(event).await {
                        return Ok(false);
                    }
                }
                Step::Describe(name) => {
                    let answer = match self.describe(&name).await {
                        Ok(answer) => answer,
                        Err(error) => {
                            self.catalog = None;
                            return Err(error.context(format!("looking up {name}")));
                        }
                    };
                    self.decoder.answer(&answer)?;
                }
            }
        }
        Ok(true)
    }

    /// Whether the table is captured, and what the catalog says of it.
    async fn describe(&mut self, name: &TableName) -> Result<Answer> {
        let known = self.decoder.knows(name);
        if !known && !self.server.wants(name) {
            return Ok(Answer::Skipped);
        }
        let session = match &mut self.catalog {
            Some(session) => session,
            None => self.catalog.insert(self.server.session().await?),
        };
        if self.listing.is_due(self.decoder.read()) {
            let names = self.decoder.unread();
            self.listing.read(session, &names).await?;
        }
        let listed = self.listing.table(session, name, self.decoder.read());
        let found = match listed.await? {
            Some(table) => Some(table),
            None => {
                let names = [name.clone()];
                let found = catalog::tables(session, Which::Named(&names)).await?;
                found.into_iter().next()
            }
        };
        let Some(table) = found else {
            return Ok(match known {
                true => Answer::Captured(None),
                false => Answer::Skipped,
            });
        };
        if let Some(refused) = self.server.judge(&table) {
            return Ok(match known {
                true => Answer::Refused(
                    refused.to_string(),
                    format!(
                        "{}; then cdc snapshot {name}",
                        refused.hint_text().unwrap_or_default()
                    ),
                ),
                false => Answer::Skipped,
            });
        }
        let columns = table.columns.into_iter().map(|column| NotedColumn {
            existing: Some(match (column.plain, column.default, column.nullable) {
                (_, Some(text), _) => Existing::Constant(text),
                (true, None, true) => Existing::Null,
                (true, None, false) => Existing::Zero,
                (false, None, _) => Existing::Unknown,
            }),
            name: column.name,
            column_type: column.column_type,
            generated: column.generated,
        });
        Ok(Answer::Captured(Some(Notes {
            columns: columns.collect(),
        })))
    }
}

/// Whether an event ends before the place to start at, of which `skip` bytes are left. What says how
/// events are written counts all the same.
fn passed(skip: &mut u64, event: &[u8]) -> Result<bool> {
    let header = event::peek(event)?;
    if header.is_artificial() {
        return Ok(false);
    }
    *skip = skip.saturating_sub(u64::from(header.size));
    Ok(header.kind != kind::FORMAT_DESCRIPTION)
}

/// Gives the marks that stand before a transaction, waiting while someone holds the stream. False
/// when nobody listens.
async fn before(
    server: &Server,
    decoder: &mut Decoder,
    outlet: &Outlet,
    name: Option<&AnyGtid>,
) -> Result<bool> {
    let marks = loop {
        let (file, start) = decoder.read();
        let upcoming = Upcoming {
            gtid: match name {
                Some(AnyGtid::MySql(gtid)) => Name::MySql(gtid),
                Some(AnyGtid::Maria(gtid)) => Name::Maria(*gtid),
                None => Name::Anonymous,
            },
            file,
            start,
        };
        match server.marks.take_up(upcoming) {
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

fn give(decoder: &mut Decoder, mark: Mark) -> Result<()> {
    decoder.mark(mark.id, &mark.tables.unwrap_or_default())
}

/// Whether the server keeps tables' names in lower case.
async fn lower_names(session: &mut Session) -> Result<bool> {
    let value = session.variable("lower_case_table_names").await?;
    Ok(value.as_deref() == Some("1"))
}

/// The server's collations.
async fn collations(session: &mut Session) -> Result<Collations> {
    let mut all = Vec::new();
    let mut queries = vec![Collations::QUERY_MYSQL];
    if session.flavour() == Flavour::MariaDb && session.version() >= (10, 10, 0) {
        queries.push(Collations::QUERY_MARIADB);
    }
    for query in queries {
        for row in session.query(query).await? {
            if row.get(0).is_some() && row.get(1).is_some() {
                all.push((row.number(0)?, row.text(1).to_owned()));
            }
        }
    }
    Ok(Collations {
        of_geometry: session.flavour() == Flavour::MariaDb,
        ..Collations::new(all)
    })
}

/// Asks for the end of the log from beside the stream, which is told only what was sent to it. What
/// fails is tried again; never returns.
async fn watch(server: &Server, progress: &Progress) {
    let mut session: Option<Session> = None;
    let mut ticks = tokio::time::interval_at(Instant::now() + TICK, TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let asked = async {
            let session = match &mut session {
                Some(session) => session,
                None => session.insert(server.session().await?),
            };
            history::end_of(session, "").await
        };
        match asked.await {
            Ok(end) => progress.hears(end.scale()),
            Err(error) => {
                session = None;
                tracing::debug!(%error, "cannot ask for the end of the log");
            }
        }
    }
}
