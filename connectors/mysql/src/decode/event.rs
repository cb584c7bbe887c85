//! Events of the binlog, version 4: header, checksum, and the grammar of each kind.
//!
//! Invariants: nothing is copied; every length is checked; a checksum that does not fit is an error.
//! Kinds that are not known are an error unless the server flags them as ignorable.

use cdc_api::{Error, Result};

use crate::position::mariadb::MariaGtid;
use crate::position::mysql::{Gtid, Tsid, Uuid};
use crate::wire::{Short, Wire};

/// Bytes of a header.
pub(crate) const HEADER: usize = 19;

/// LOG_EVENT_IGNORABLE_F.
const IGNORABLE: u16 = 0x80;
/// LOG_EVENT_ARTIFICIAL_F.
const ARTIFICIAL: u16 = 0x20;

/// What precedes every event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    /// Seconds since the Unix epoch.
    pub(crate) time: u32,
    /// The kind.
    pub(crate) kind: u8,
    /// The server that it comes from.
    pub(crate) server: u32,
    /// Bytes, header and checksum included.
    pub(crate) size: u32,
    /// Where it ends in the file, as far as 32 bits go; 0 where it is in no file.
    pub(crate) end: u32,
    flags: u16,
}

impl Header {
    /// Whether the event may be passed over where it is not known.
    pub(crate) fn is_ignorable(&self) -> bool {
        self.flags & IGNORABLE != 0
    }

    /// Whether the server made it for the connection: it is in no file.
    pub(crate) fn is_artificial(&self) -> bool {
        self.flags & ARTIFICIAL != 0 || self.end == 0
    }
}

/// Takes an event apart: header and body, the checksum verified and cut off.
///
/// # Errors
/// `Data` when it is not whole, or was changed on its way.
pub(crate) fn split(event: &[u8], checksum: bool) -> Result<(Header, &[u8])> {
    let mut wire = Wire(event);
    let header = header(&mut wire)?;
    if header.size as usize != event.len() {
        return Err(Short.into());
    }
    // A format description says in its last bytes whether events have a checksum, and has room
    // for one itself.
    let described = header.kind == kind::FORMAT_DESCRIPTION;
    let length = event.len();
    let checksum = match described {
        true => length > HEADER + 5 && event[length - 5] == 1,
        false => checksum,
    };
    if !checksum && !described {
        return Ok((header, wire.rest()));
    }
    let body = length.checked_sub(4).filter(|end| *end >= HEADER);
    let (covered, stored) = event.split_at(body.ok_or(Short)?);
    let stored = Wire(stored).u32()?;
    if checksum && crc32fast::hash(covered) != stored {
        return Err(Error::data(format!(
            "the checksum of an event of kind {} does not fit its bytes",
            header.kind
        ))
        .hint(
            "mysqlbinlog --verify-binlog-checksum tells whether the log itself is damaged: then \
             cdc snapshot loads the tables anew; else look for what stands between server and cdc",
        ));
    }
    Ok((header, &covered[HEADER..]))
}

fn header(wire: &mut Wire<'_>) -> Result<Header, Short> {
    Ok(Header {
        time: wire.u32()?,
        kind: wire.u8()?,
        server: wire.u32()?,
        size: wire.u32()?,
        end: wire.u32()?,
        flags: wire.u16()?,
    })
}

/// Reads the header alone.
pub(crate) fn peek(event: &[u8]) -> Result<Header, Short> {
    header(&mut Wire(event))
}

/// Numbers of the kinds that are told apart.
pub(crate) mod kind {
    pub(crate) const QUERY: u8 = 2;
    pub(crate) const STOP: u8 = 3;
    pub(crate) const ROTATE: u8 = 4;
    pub(crate) const INTVAR: u8 = 5;
    pub(crate) const RAND: u8 = 13;
    pub(crate) const USER_VAR: u8 = 14;
    pub(crate) const FORMAT_DESCRIPTION: u8 = 15;
    pub(crate) const XID: u8 = 16;
    pub(crate) const BEGIN_LOAD_QUERY: u8 = 17;
    pub(crate) const EXECUTE_LOAD_QUERY: u8 = 18;
    pub(crate) const TABLE_MAP: u8 = 19;
    pub(crate) const WRITE_ROWS_1: u8 = 23;
    pub(crate) const UPDATE_ROWS_1: u8 = 24;
    pub(crate) const DELETE_ROWS_1: u8 = 25;
    pub(crate) const INCIDENT: u8 = 26;
    pub(crate) const HEARTBEAT: u8 = 27;
    pub(crate) const ROWS_QUERY: u8 = 29;
    pub(crate) const WRITE_ROWS: u8 = 30;
    pub(crate) const UPDATE_ROWS: u8 = 31;
    pub(crate) const DELETE_ROWS: u8 = 32;
    pub(crate) const GTID: u8 = 33;
    pub(crate) const ANONYMOUS_GTID: u8 = 34;
    pub(crate) const PREVIOUS_GTIDS: u8 = 35;
    pub(crate) const TRANSACTION_CONTEXT: u8 = 36;
    pub(crate) const VIEW_CHANGE: u8 = 37;
    pub(crate) const XA_PREPARE: u8 = 38;
    pub(crate) const PARTIAL_UPDATE_ROWS: u8 = 39;
    pub(crate) const TRANSACTION_PAYLOAD: u8 = 40;
    pub(crate) const HEARTBEAT_2: u8 = 41;
    pub(crate) const GTID_TAGGED: u8 = 42;
    pub(crate) const MARIA_ANNOTATE: u8 = 160;
    pub(crate) const MARIA_CHECKPOINT: u8 = 161;
    pub(crate) const MARIA_GTID: u8 = 162;
    pub(crate) const MARIA_GTID_LIST: u8 = 163;
    pub(crate) const MARIA_START_ENCRYPTION: u8 = 164;
    pub(crate) const MARIA_QUERY_COMPRESSED: u8 = 165;
    pub(crate) const MARIA_WRITE_ROWS_1_COMPRESSED: u8 = 166;
    pub(crate) const MARIA_UPDATE_ROWS_1_COMPRESSED: u8 = 167;
    pub(crate) const MARIA_DELETE_ROWS_1_COMPRESSED: u8 = 168;
    pub(crate) const MARIA_WRITE_ROWS_COMPRESSED: u8 = 169;
    pub(crate) const MARIA_UPDATE_ROWS_COMPRESSED: u8 = 170;
    pub(crate) const MARIA_DELETE_ROWS_COMPRESSED: u8 = 171;
    pub(crate) const MARIA_PARTIAL_ROW_DATA: u8 = 172;
}

/// FORMAT_DESCRIPTION: whether later events have a checksum.
pub(crate) fn format_description(body: &[u8]) -> Result<bool> {
    let mut wire = Wire(body);
    let version = wire.u16()?;
    if version != 4 {
        return Err(Error::unsupported(format!(
            "the binlog has version {version}, not 4"
        )));
    }
    wire.take(50)?;
    wire.u32()?;
    if usize::from(wire.u8()?) != HEADER {
        return Err(Error::data("events have headers of another length"));
    }
    // The last byte before the checksum, which is cut off already.
    match wire.rest().last() {
        Some(0) | Some(0xff) | None => Ok(false),
        Some(1) => Ok(true),
        Some(_) => Err(
            Error::unsupported("events have a checksum that is not known")
                .hint("SET GLOBAL binlog_checksum = CRC32"),
        ),
    }
}

/// ROTATE: the next file and the place in it.
pub(crate) fn rotate(body: &[u8]) -> Result<(u64, &str)> {
    let mut wire = Wire(body);
    let offset = wire.u64()?;
    let name = std::str::from_utf8(wire.rest())
        .map_err(|_| Error::data("the name of a log file is not text"))?;
    Ok((offset, name))
}

/// What a transaction's first event says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Begun {
    /// Its name; `None`: GTIDs are off.
    pub(crate) name: Option<AnyGtid>,
    /// When it committed, microseconds since the Unix epoch, where it is told.
    pub(crate) commit_time: Option<i64>,
    /// Bytes of the whole transaction, where it is told.
    pub(crate) length: Option<u64>,
    /// MariaDB: a single statement that no commit follows.
    pub(crate) standalone: bool,
    /// MariaDB: it prepares this XA transaction.
    pub(crate) prepares: Option<Vec<u8>>,
    /// MariaDB: its statement of DDL only begins to run, or has failed (`binlog_alter_two_phase`).
    pub(crate) inert: bool,
}

/// A transaction's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AnyGtid {
    /// MySQL's.
    MySql(Gtid),
    /// MariaDB's.
    Maria(MariaGtid),
}

impl std::fmt::Display for AnyGtid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::MySql(gtid) => gtid.fmt(f),
            Self::Maria(gtid) => gtid.fmt(f),
        }
    }
}

fn micros(time: u64) -> Option<i64> {
    i64::try_from(time).ok().filter(|time| *time > 0)
}

/// GTID and ANONYMOUS_GTID of MySQL.
pub(crate) fn gtid(kind: u8, body: &[u8]) -> Result<Begun> {
    let mut wire = Wire(body);
    wire.u8()?;
    let uuid = uuid(wire.take(16)?);
    let number = wire.u64()?;
    let tag = String::new();
    let name = (kind == kind::GTID).then_some(AnyGtid::MySql(Gtid {
        tsid: Tsid { uuid, tag },
        number,
    }));
    let mut begun = Begun {
        name,
        commit_time: None,
        length: None,
        standalone: false,
        prepares: None,
        inert: false,
    };
    // What follows came with 5.7 and 8.0.
    if wire.take(17).is_ok()
        && let Ok(time) = wire.u56()
    {
        begun.commit_time = micros(time & !(1 << 55));
        if time & 1 << 55 != 0 {
            wire.u56()?;
        }
        begun.length = wire.length().ok().flatten();
    }
    Ok(begun)
}

fn uuid(bytes: &[u8]) -> Uuid {
    let mut uuid = [0; 16];
    uuid.copy_from_slice(bytes);
    Uuid(uuid)
}

/// An integer of the server's serialization library: as many low bits set in the first byte as
/// bytes follow.
fn varying(wire: &mut Wire<'_>) -> Result<u64, Short> {
    let first = wire.u8()?;
    let more = first.trailing_ones();
    let rest = wire.uint(more as usize)?;
    Ok(if more >= 7 {
        rest
    } else {
        rest << (7 - more) | u64::from(first >> (more + 1))
    })
}

/// GTID_TAGGED of MySQL 8.3 and later, in the form of the server's serialization library.
pub(crate) fn tagged_gtid(body: &[u8]) -> Result<Begun> {
    let mut wire = Wire(body);
    let version = varying(&mut wire)?;
    if version != 1 {
        return Err(Error::unsupported(format!(
            "tagged GTIDs are written in version {version}, which this program does not know"
        )));
    }
    let _size = varying(&mut wire)?;
    let essential = varying(&mut wire)?;
    let (mut id, mut tag, mut number) = ([0; 16], String::new(), 0);
    let (mut commit_time, mut length) = (None, None);
    while !wire.is_empty() {
        match varying(&mut wire)? {
            1 => {
                for byte in &mut id {
                    *byte = u8::try_from(varying(&mut wire)?).map_err(|_| Short)?;
                }
            }
            // Numbers with a sign are doubled.
            2 => number = varying(&mut wire)? >> 1,
            3 => {
                let length = usize::try_from(varying(&mut wire)?).map_err(|_| Short)?;
                let bytes = wire.take(length)?;
                tag = String::from_utf8(bytes.to_vec())
                    .map_err(|_| Error::data("the tag of a GTID is not text"))?;
            }
            6 => commit_time = micros(varying(&mut wire)?),
            8 => length = Some(varying(&mut wire)?),
            0 | 4 | 5 | 7 | 9..=11 => {
                varying(&mut wire)?;
            }
            field if field <= essential => {
                return Err(Error::unsupported(format!(
                    "a tagged GTID has the field {field}, which this program does not know"
                )));
            }
            _ => break,
        }
    }
    let tsid = Tsid {
        uuid: Uuid(id),
        tag,
    };
    Ok(Begun {
        name: Some(AnyGtid::MySql(Gtid { tsid, number })),
        commit_time,
        length,
        standalone: false,
        prepares: None,
        inert: false,
    })
}

/// GTID of MariaDB.
pub(crate) fn maria_gtid(header: &Header, body: &[u8]) -> Result<Begun> {
    const STANDALONE: u8 = 1;
    const GROUP_COMMIT: u8 = 2;
    const PREPARED: u8 = 64;
    const COMPLETED: u8 = 128;
    const START_ALTER: u8 = 2;
    const ROLLBACK_ALTER: u8 = 8;
    let mut wire = Wire(body);
    let sequence = wire.u64()?;
    let domain = wire.u32()?;
    let flags = wire.u8()?;
    if flags & GROUP_COMMIT != 0 {
        wire.u64()?;
    }
    let mut prepares = None;
    if flags & (PREPARED | COMPLETED) != 0 {
        let format = wire.u32()?.cast_signed();
        let global = usize::from(wire.u8()?);
        let branch = usize::from(wire.u8()?);
        let data = wire.take(global + branch)?;
        prepares = (flags & PREPARED != 0).then(|| xid(format, data, global));
    }
    // Behind it is padding, where there are no more flags.
    let more = wire.u8().unwrap_or(0);
    Ok(Begun {
        name: Some(AnyGtid::Maria(MariaGtid {
            domain,
            server: header.server,
            sequence,
        })),
        commit_time: None,
        length: None,
        standalone: flags & STANDALONE != 0,
        prepares,
        inert: more & (START_ALTER | ROLLBACK_ALTER) != 0,
    })
}

/// An XA transaction's name in one form: format, length of the first part, both parts.
pub(crate) fn xid(format: i32, data: &[u8], global: usize) -> Vec<u8> {
    let mut xid = format.to_be_bytes().to_vec();
    xid.push(u8::try_from(global).unwrap_or(u8::MAX));
    xid.extend_from_slice(data);
    xid
}

/// XA_PREPARE: whether it commits in one phase, and the transaction's name.
pub(crate) fn xa_prepare(body: &[u8]) -> Result<(bool, Vec<u8>)> {
    let mut wire = Wire(body);
    let one_phase = wire.u8()? != 0;
    let format = wire.u32()?.cast_signed();
    let global = usize::try_from(wire.u32()?).map_err(|_| Short)?;
    let branch = usize::try_from(wire.u32()?).map_err(|_| Short)?;
    let data = wire.take(global.checked_add(branch).ok_or(Short)?)?;
    Ok((one_phase, xid(format, data, global)))
}

/// A statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Query<'a> {
    /// The default database.
    pub(crate) schema: &'a [u8],
    /// The text.
    pub(crate) text: &'a [u8],
    /// The session's settings, as far as the log has them (`Query_event::status_vars`).
    pub(crate) variables: &'a [u8],
}

impl Query<'_> {
    /// The session's `sql_mode`, and the collation whose character set the text is in; 0 and `None`
    /// where the log does not say it.
    pub(crate) fn written_under(&self) -> (u64, Option<u64>) {
        const FLAGS: u8 = 0;
        const SQL_MODE: u8 = 1;
        const CATALOG: u8 = 2;
        const AUTO_INCREMENT: u8 = 3;
        const CHARSET: u8 = 4;
        const CATALOG_NZ: u8 = 6;
        let mut wire = Wire(self.variables);
        let mut mode = 0;
        // In this order; what comes behind them is of other lengths.
        let charset = loop {
            let known = match wire.u8() {
                Ok(FLAGS | AUTO_INCREMENT) => wire.u32().map(drop),
                Ok(SQL_MODE) => wire.u64().map(|it| mode = it),
                Ok(CATALOG) => wire.counted().and_then(|_| wire.u8().map(drop)),
                Ok(CATALOG_NZ) => wire.counted().map(drop),
                Ok(CHARSET) => break wire.u16().ok().map(u64::from),
                _ => break None,
            };
            if known.is_err() {
                break None;
            }
        };
        (mode, charset)
    }
}

/// QUERY, and MariaDB's compressed one, whose text is then still compressed.
pub(crate) fn query(body: &[u8]) -> Result<Query<'_>> {
    let mut wire = Wire(body);
    wire.u32()?;
    wire.u32()?;
    let schema = usize::from(wire.u8()?);
    wire.u16()?;
    let variables = usize::from(wire.u16()?);
    let variables = wire.take(variables)?;
    let schema = wire.take(schema)?;
    wire.u8()?;
    Ok(Query {
        schema,
        text: wire.rest(),
        variables,
    })
}

/// What rows do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RowsKind {
    /// They are inserted.
    Write,
    /// They are changed: an old and a new image each.
    Update,
    /// The same, and JSON values may be given as differences.
    PartialUpdate,
    /// They are removed.
    Delete,
}

/// Rows of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RowsEvent<'a> {
    /// What they do.
    pub(crate) kind: RowsKind,
    /// The number that a table map gave the table.
    pub(crate) table: u64,
    /// Columns of the table.
    pub(crate) columns: usize,
    /// A bit for each column that the first image has, the lowest first.
    pub(crate) present: &'a [u8],
    /// The same of an update's second image; of other kinds that of the first.
    pub(crate) after: &'a [u8],
    /// The images; still compressed where the event is.
    pub(crate) rows: &'a [u8],
}

/// The rows that an event kind carries: what they do, whether the header is of version 2, whether
/// they are compressed.
pub(crate) fn rows_kind(kind: u8) -> Option<(RowsKind, bool, bool)> {
    use RowsKind::{Delete, PartialUpdate, Update, Write};
    Some(match kind {
        kind::WRITE_ROWS_1 => (Write, false, false),
        kind::UPDATE_ROWS_1 => (Update, false, false),
        kind::DELETE_ROWS_1 => (Delete, false, false),
        kind::WRITE_ROWS => (Write, true, false),
        kind::UPDATE_ROWS => (Update, true, false),
        kind::DELETE_ROWS => (Delete, true, false),
        kind::PARTIAL_UPDATE_ROWS => (PartialUpdate, true, false),
        kind::MARIA_WRITE_ROWS_1_COMPRESSED => (Write, false, true),
        kind::MARIA_UPDATE_ROWS_1_COMPRESSED => (Update, false, true),
        kind::MARIA_DELETE_ROWS_1_COMPRESSED => (Delete, false, true),
        kind::MARIA_WRITE_ROWS_COMPRESSED => (Write, true, true),
        kind::MARIA_UPDATE_ROWS_COMPRESSED => (Update, true, true),
        kind::MARIA_DELETE_ROWS_COMPRESSED => (Delete, true, true),
        _ => return None,
    })
}

/// The number of a table that stands for none: the event only ends a statement.
pub(crate) const NO_TABLE: u64 = 0x00ff_ffff;

/// A rows event of any version.
pub(crate) fn rows(kind: RowsKind, second: bool, body: &[u8]) -> Result<RowsEvent<'_>> {
    let mut wire = Wire(body);
    let table = wire.u48()?;
    wire.u16()?;
    if second {
        let extra = usize::from(wire.u16()?).checked_sub(2).ok_or(Short)?;
        wire.take(extra)?;
    }
    let columns = wire.count()?;
    let bitmap = columns.div_ceil(8);
    let present = wire.take(bitmap)?;
    let after = match kind {
        RowsKind::Update | RowsKind::PartialUpdate => wire.take(bitmap)?,
        RowsKind::Write | RowsKind::Delete => present,
    };
    Ok(RowsEvent {
        kind,
        table,
        columns,
        present,
        after,
        rows: wire.rest(),
    })
}

/// MariaDB's compressed text or rows: a byte with the method and the width of the length, which
/// follows big-endian, then zlib. Appends to `whole`.
pub(crate) fn inflate(bytes: &[u8], whole: &mut Vec<u8>) -> Result<()> {
    use std::io::Read;
    let mut wire = Wire(bytes);
    let head = wire.u8()?;
    if head & 0xf0 != 0x80 {
        return Err(Error::unsupported(
            "an event is compressed by a method that is not known",
        ));
    }
    let length = wire.uint_be(usize::from(head & 7))?;
    let read = flate2::read::ZlibDecoder::new(wire.rest())
        .take(length.saturating_add(1))
        .read_to_end(whole)
        .map_err(|error| Error::data("a compressed event cannot be inflated").caused_by(error))?;
    if read as u64 != length {
        return Err(Error::data("a compressed event is not as long as it says"));
    }
    Ok(())
}

/// Whether the kind says nothing that matters here.
pub(crate) fn is_silent(kind: u8) -> bool {
    matches!(
        kind,
        kind::STOP
            | kind::INTVAR
            | kind::RAND
            | kind::USER_VAR
            | kind::HEARTBEAT
            | kind::HEARTBEAT_2
            | kind::ROWS_QUERY
            | kind::PREVIOUS_GTIDS
            | kind::TRANSACTION_CONTEXT
            | kind::VIEW_CHANGE
            | kind::MARIA_ANNOTATE
            | kind::MARIA_CHECKPOINT
            | kind::MARIA_GTID_LIST
            | kind::MARIA_START_ENCRYPTION
    )
}
