//! The main stream: records into the open transaction, tables that join and leave, and the commit
//! that carries the checkpoint. Blocks; `sink` runs it off the async workers.
//!
//! Invariant: in `exactly_once` everything between two commits is in one Kafka transaction, the
//! checkpoint included; `ledger` is what the last one left in the target.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use cdc_api::{
    Checkpoint, CopyId, Error, ErrorKind, JoinedTable, Notice, Result, SchemaDiff, TableId,
    TableSchema,
};

use crate::client::{Producer, header};
use crate::copy::replay;
use crate::envelope::{Commits, TableEncoder};
use crate::held::Change;
use crate::ledger::{self, CHECKPOINT, Joined, Ledger, OWNER};
use crate::notices::Announcer;
use crate::route::{Parcel, Place, Route, too_large_for};
use crate::session::{Session, Site, send_note};
use crate::topics::{Purpose, Topics};

/// The state of a sink.
pub(crate) struct Core {
    site: Arc<Site>,
    /// Tells this opening of the sink from every other.
    instance: String,
    open: Option<Open>,
    ledger: Ledger,
    pending: Pending,
    encoders: HashMap<TableId, Encoder>,
    /// The partitions of topics that records name themselves.
    others: HashMap<String, usize>,
    commits: Commits,
    /// An error has left the transaction half-way; only a new opening or a rollback mends that.
    failed: bool,
}

struct Open {
    session: Arc<Session>,
    producer: Producer,
    announcer: Announcer,
    in_transaction: bool,
}

struct Encoder {
    encoder: TableEncoder,
    place: Place,
}

/// What the next commit changes beside the records themselves.
#[derive(Default)]
struct Pending {
    tables: BTreeMap<TableId, Joined>,
    left: BTreeSet<TableId>,
    copies: Vec<CopyId>,
}

impl Core {
    pub(crate) fn new(site: &Arc<Site>) -> Self {
        Self {
            site: Arc::clone(site),
            instance: String::new(),
            open: None,
            ledger: Ledger::default(),
            pending: Pending::default(),
            encoders: HashMap::new(),
            others: HashMap::new(),
            commits: Commits::default(),
            failed: false,
        }
    }

    /// Fences whoever had the sink, ends what they left open, and reads back what is there.
    pub(crate) fn open(&mut self) -> Result<()> {
        self.open = None;
        self.pending = Pending::default();
        self.encoders.clear();
        self.commits = Commits::default();
        let site = &self.site;
        let topics = Topics::new(&site.config, &site.origin.name)?;
        let reader = site.reader(true)?;
        // Who is asked first tells what is wrong with the brokers' address or our credentials.
        if reader.partitions(&site.checkpoint_topic)?.is_none() {
            topics.ensure(&site.checkpoint_topic, &Purpose::Checkpoint)?;
        }
        let (producer, notes) = producers(site)?;
        self.ledger = Ledger::read(&reader, &site.checkpoint_topic)?;
        let copies = std::mem::take(&mut self.ledger.copies);
        let session = Arc::new(Session::new(
            site,
            topics,
            (reader, site.reader(false)?),
            notes,
            copies,
        ));
        // A crash after a table joined may have left its copy.
        let joined: Vec<CopyId> = self.ledger.tables.values().map(|it| it.copy).collect();
        for copy in session.copies() {
            if joined.contains(&copy) {
                session.discard(copy)?;
            }
        }
        let announcer = Announcer::new(&session)?;
        self.open = Some(Open {
            session,
            producer,
            announcer,
            in_transaction: false,
        });
        self.failed = false;
        if site.transactional() {
            self.own()?;
        }
        Ok(())
    }

    /// Notes that this process has the sink now.
    fn own(&mut self) -> Result<()> {
        self.instance = format!(
            "{}-{:x}",
            std::process::id(),
            std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .unwrap_or_default()
                .as_nanos()
        );
        let value = ledger::value(&self.instance)?;
        let topic = self.site.checkpoint_topic.clone();
        let open = self.begun()?;
        send_note(&open.producer, &topic, OWNER, Some(&value))?;
        open.producer.commit()?;
        open.in_transaction = false;
        Ok(())
    }

    pub(crate) fn session(&self) -> Result<Arc<Session>> {
        match &self.open {
            Some(open) => Ok(Arc::clone(&open.session)),
            None => Err(Error::internal("the sink was not opened")),
        }
    }

    fn opened(&mut self) -> Result<&mut Open> {
        self.open
            .as_mut()
            .ok_or_else(|| Error::internal("the sink was not opened"))
    }

    /// The open transaction, begun if it was not.
    fn begun(&mut self) -> Result<&mut Open> {
        let transactional = self.site.transactional();
        let open = self.opened()?;
        if transactional && !open.in_transaction {
            open.producer.begin()?;
            open.in_transaction = true;
        }
        Ok(open)
    }

    fn usable(&self) -> Result<()> {
        if self.failed {
            return Err(Error::transient(
                "an earlier error has left the transaction half-way, until it is rolled back",
            ));
        }
        Ok(())
    }

    pub(crate) fn committed(&mut self) -> Result<Option<Checkpoint>> {
        self.opened()?;
        self.usable()?;
        Ok(self.ledger.checkpoint.clone())
    }

    pub(crate) fn joined(&mut self) -> Result<Vec<JoinedTable>> {
        self.opened()?;
        Ok(self
            .ledger
            .tables
            .values()
            .map(|joined| JoinedTable {
                table: Arc::clone(&joined.table),
                copy: joined.copy,
            })
            .collect())
    }

    /// The table as it is after what is pending.
    fn current(&self, table: TableId) -> Option<&Joined> {
        if self.pending.left.contains(&table) {
            return None;
        }
        let pending = self.pending.tables.get(&table);
        pending.or_else(|| self.ledger.tables.get(&table))
    }

    pub(crate) fn apply_schema(&mut self, table: &Arc<TableSchema>) -> Result<()> {
        self.usable()?;
        if self.current(table.id).is_some() {
            self.follow(table)?;
        }
        Ok(())
    }

    /// Takes a joined table's shape, and makes its encoder ready.
    fn follow(&mut self, table: &Arc<TableSchema>) -> Result<()> {
        let Some(joined) = self.current(table.id) else {
            return Err(
                Error::internal(format!("{} has not joined", table.name)).for_table(table.id)
            );
        };
        if !joined.table.same_shape(table) {
            let diff = SchemaDiff::between(&joined.table, table);
            if diff.key_changed {
                return Err(Error::unsupported(format!(
                    "{} has another key: its records cannot follow those under the old one",
                    table.name
                ))
                .hint(format!("cdc snapshot {}", table.name))
                .for_table(table.id));
            }
            if diff.renamed_from.is_some() {
                self.session()?.topics.release(table.id);
            }
            let copy = joined.copy;
            let table = Arc::clone(table);
            self.pending.tables.insert(table.id, Joined { table, copy });
        }
        let fits = |it: &Encoder| {
            Arc::ptr_eq(it.encoder.table(), table) || **it.encoder.table() == **table
        };
        if !self.encoders.get(&table.id).is_some_and(fits) {
            let (encoder, place) = self.session()?.encoder(table)?;
            self.encoders.insert(table.id, Encoder { encoder, place });
        }
        Ok(())
    }

    /// Puts changes into the open transaction, in this order.
    pub(crate) fn changes(&mut self, changes: &[Change]) -> Result<()> {
        for change in changes {
            self.usable()?;
            let written = match change {
                Change::Rows(batch) => self.records(&batch.table, |encoder, commits, take| {
                    encoder.encode(batch, commits, take)
                }),
                Change::Truncate {
                    table,
                    seq,
                    commit_time,
                } => self.records(table, |encoder, _, take| {
                    encoder.truncate(*seq, *commit_time, take)
                }),
                Change::Notice(notice) => self.notice(notice),
            };
            self.failed |= written.is_err();
            written?;
        }
        Ok(())
    }

    fn notice(&mut self, notice: &Notice) -> Result<()> {
        self.begun()?;
        let Some(open) = &mut self.open else {
            return Err(Error::internal("the sink was not opened"));
        };
        open.announcer
            .notice(&open.session, &open.producer, notice, &mut self.commits)
    }

    fn records(
        &mut self,
        table: &Arc<TableSchema>,
        work: impl FnOnce(&mut TableEncoder, &mut Commits, crate::envelope::Take<'_>) -> Result<()>,
    ) -> Result<()> {
        self.follow(table)?;
        self.begun()?;
        let changes = self.site.config.change_headers;
        let (Some(open), Some(it)) = (&self.open, self.encoders.get_mut(&table.id)) else {
            return Err(Error::internal("the sink was not opened"));
        };
        let topic = it.encoder.topic().to_owned();
        let mut route = Route {
            session: &open.session,
            producer: &open.producer,
            table,
            topic: &topic,
            place: it.place,
            others: &mut self.others,
        };
        work(&mut it.encoder, &mut self.commits, &mut |record| {
            route.send(Parcel::new(&record, changes), record.seq)
        })
    }

    /// Moves a copy's records into the open transaction.
    pub(crate) fn join(&mut self, table: &Arc<TableSchema>, copy: CopyId) -> Result<()> {
        self.usable()?;
        let session = self.session()?;
        let Some(notes) = session.copy(copy) else {
            return Err(
                Error::log_lost(format!("the copy of {} is not there", table.name))
                    .hint(format!("cdc snapshot {}", table.name))
                    .for_table(table.id),
            );
        };
        self.pending.left.remove(&table.id);
        let table = Arc::clone(if notes.shape().same_shape(table) {
            table
        } else {
            notes.shape()
        });
        self.pending.tables.insert(
            table.id,
            Joined {
                table: Arc::clone(&table),
                copy,
            },
        );
        self.pending.copies.push(copy);
        let moved = self.move_copy(&session, &table, copy, &notes);
        self.failed |= moved.is_err();
        moved
    }

    fn move_copy(
        &mut self,
        session: &Arc<Session>,
        table: &Arc<TableSchema>,
        copy: CopyId,
        notes: &ledger::CopyNotes,
    ) -> Result<()> {
        self.encoders.remove(&table.id);
        self.follow(table)?;
        self.begun()?;
        let (Some(open), Some(it)) = (&self.open, self.encoders.get_mut(&table.id)) else {
            return Err(Error::internal("the sink was not opened"));
        };
        let topic = it.encoder.topic().to_owned();
        let mut route = Route {
            session,
            producer: &open.producer,
            table,
            topic: &topic,
            // What is too large was diverted when it was copied.
            place: Place {
                limit: None,
                ..it.place
            },
            others: &mut self.others,
        };
        let outbox = it.encoder.is_outbox();
        if !outbox && !topic_is_empty(session, &topic, it.place.partitions)? {
            // What consumers hold of the table is not what follows: it begins anew.
            let commit_time = self
                .ledger
                .checkpoint
                .as_ref()
                .map_or(0, |at| at.commit_time);
            let id = copy.0.to_be_bytes();
            it.encoder.truncate(0, commit_time, &mut |record| {
                let headers = Some(header(None, "cdc.copy", &id));
                let parcel = Parcel::new(&record, false);
                route.send(Parcel { headers, ..parcel }, record.seq)
            })?;
        }
        replay(session, copy, notes, |parcel| route.send(parcel, 0))
    }

    /// Takes a table whose consumers have its rows already.
    pub(crate) fn adopt(&mut self, table: &Arc<TableSchema>, copy: CopyId) -> Result<()> {
        self.usable()?;
        self.pending.left.remove(&table.id);
        let joined = Joined {
            table: Arc::clone(table),
            copy,
        };
        self.pending.tables.insert(table.id, joined);
        // Its topic is there from now on, or what stands against that is told.
        self.follow(table)
    }

    pub(crate) fn leave(&mut self, table: TableId) -> Result<()> {
        self.usable()?;
        self.pending.tables.remove(&table);
        self.encoders.remove(&table);
        if self.ledger.tables.contains_key(&table) {
            self.pending.left.insert(table);
        }
        self.session()?.topics.release(table);
        Ok(())
    }

    pub(crate) fn commit(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        self.usable()?;
        self.failed = true;
        let done = self.try_commit(checkpoint);
        if let Err(error) = done {
            return Err(self.judge(error));
        }
        self.failed = false;
        self.ledger.checkpoint = Some(checkpoint.clone());
        let pending = std::mem::take(&mut self.pending);
        for table in pending.left {
            self.ledger.tables.remove(&table);
        }
        self.ledger.tables.extend(pending.tables);
        self.commits.forget_before_last();
        let session = self.session()?;
        session.tidy();
        for copy in pending.copies {
            // The commit holds whatever becomes of this: the next opening tries again.
            if let Err(error) = session.discard(copy) {
                tracing::warn!(error = %error, "a finished copy is removed later");
            }
        }
        Ok(())
    }

    fn try_commit(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        let transactional = self.site.transactional();
        if !transactional {
            // The checkpoint never goes ahead of its rows.
            self.opened()?.producer.flush()?;
        }
        let topic = self.site.checkpoint_topic.clone();
        let mut notes = vec![(CHECKPOINT.to_owned(), Some(ledger::value(checkpoint)?))];
        for (id, joined) in &self.pending.tables {
            notes.push((ledger::table_key(*id), Some(ledger::value(joined)?)));
        }
        for id in &self.pending.left {
            notes.push((ledger::table_key(*id), None));
        }
        self.begun()?;
        let Some(open) = &mut self.open else {
            return Err(Error::internal("the sink was not opened"));
        };
        open.announcer.announce(&open.producer, &self.commits)?;
        for (key, value) in &notes {
            send_note(&open.producer, &topic, key, value.as_deref())?;
        }
        if transactional {
            open.producer.commit()?;
        } else {
            open.producer.flush()?;
        }
        open.in_transaction = false;
        Ok(())
    }

    /// Finds out what a failed commit means: a record too large stops its table alone, and the
    /// brokers say "fenced" also when a transaction took too long.
    fn judge(&mut self, error: Error) -> Error {
        let Some(open) = &self.open else {
            return error;
        };
        if let Some(topic) = open.producer.too_large_for()
            && let Some(table) = open.session.topics.table_of(&topic)
        {
            let name = self.current(table).map(|it| it.table.name.to_string());
            return too_large_for(table, &name.unwrap_or(topic));
        }
        if error.kind() != ErrorKind::Fenced {
            return error;
        }
        let owner = self
            .site
            .reader(true)
            .and_then(|reader| Ledger::read(&reader, &self.site.checkpoint_topic))
            .map(|ledger| ledger.owner);
        match owner {
            Ok(Some(owner)) if owner == self.instance => {
                Error::transient("the transaction took longer than `transaction_timeout_seconds`")
                    .hint("raise `transaction_timeout_seconds`, or lower the sink's `max_rows`")
            }
            _ => error,
        }
    }

    pub(crate) fn rollback(&mut self) -> Result<()> {
        let failed = std::mem::replace(&mut self.failed, true);
        let transactional = self.site.transactional();
        self.pending = Pending::default();
        self.encoders.clear();
        self.commits.forget_told();
        let open = self.opened()?;
        if failed || (transactional && open.in_transaction && open.producer.abort().is_err()) {
            return self.open();
        }
        open.in_transaction = false;
        self.failed = false;
        Ok(())
    }

    pub(crate) fn discard_copies(&mut self, keep: &[CopyId]) -> Result<()> {
        let session = self.session()?;
        for copy in session.copies() {
            if !keep.contains(&copy) {
                session.discard(copy)?;
            }
        }
        session.remove_strays()
    }

    pub(crate) fn teardown(&mut self) -> Result<Vec<String>> {
        self.discard_copies(&[])?;
        let session = self.session()?;
        let topic = self.site.checkpoint_topic.clone();
        session.topics.delete(&topic)?;
        self.open = None;
        self.ledger = Ledger::default();
        Ok(vec![format!("checkpoint topic {topic}")])
    }
}

/// The producers of the main stream and of the notes about copies. Side by side: an id that was in
/// use is given out only half a second after it was asked for first.
fn producers(site: &Site) -> Result<(Producer, Producer)> {
    std::thread::scope(|scope| {
        let notes = scope.spawn(|| site.producer(&format!("{}.copies", site.transactional_id)));
        let producer = site.producer(&site.transactional_id);
        let notes = notes
            .join()
            .map_err(|_| Error::internal("starting a producer panicked"))?;
        Ok((producer?, notes?))
    })
}

fn topic_is_empty(session: &Session, topic: &str, partitions: usize) -> Result<bool> {
    let reader = session
        .reader
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    for partition in 0..partitions {
        let partition = i32::try_from(partition).unwrap_or(i32::MAX);
        if !reader.is_empty(topic, partition)? {
            return Ok(false);
        }
    }
    Ok(true)
}
