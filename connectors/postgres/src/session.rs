//! One session with the server: start-up, authentication, plain SQL, COPY out.
//!
//! Owns the protocol below replication (PostgreSQL 3.0, simple query only: text rows suffice for
//! the catalog, and COPY carries the data). Plain and replication sessions are the same thing
//! here, so that there is one way to authenticate and one to explain a refusal. Invariant: a
//! session whose call was dropped half-way is never used again.

mod auth;
pub(crate) mod inbox;

use std::collections::HashMap;

use bytes::BytesMut;
use cdc_api::{Error, Result};
use cdc_database::Socket;
use postgres_protocol::message::frontend;
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};

use crate::connect::{Settings, dial};
use crate::refusal::Refusal;
use inbox::Inbox;

/// Settings that fix the text form of values, whatever the role's or database's own are.
///
/// A lock that a waiting `ALTER TABLE` or `TRUNCATE` is before us in the queue for is not waited
/// for long: that statement may itself wait for a snapshot of ours, and the server cannot see that
/// circle. Nor is anything compiled: what is asked of the catalog is done sooner than its estimates say.
const PINNED: [(&str, &str); 9] = [
    ("lock_timeout", "3s"),
    ("jit", "off"),
    ("client_encoding", "UTF8"),
    ("datestyle", "ISO"),
    ("intervalstyle", "postgres"),
    ("extra_float_digits", "3"),
    ("timezone", "UTC"),
    ("bytea_output", "hex"),
    ("lc_monetary", "C"),
];

/// What a session is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Plain SQL and COPY.
    Sql,
    /// The replication grammar beside plain SQL (`replication=database`).
    Replication,
}

/// One row of a plain query, as text. Catalogs have many: a row is two pieces of memory, whatever its width.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    /// All values, one after another.
    text: String,
    /// Where each value ends; `None` where it is null.
    ends: Box<[Option<usize>]>,
}

impl Row {
    /// The value of column `index`, `None` where it is null or there is no such column.
    pub(crate) fn get(&self, index: usize) -> Option<&str> {
        let end = (*self.ends.get(index)?)?;
        let start = self.ends[..index].iter().rev().find_map(|end| *end);
        self.text.get(start.unwrap_or(0)..end)
    }

    /// The text of column `index`, empty where it is null.
    pub(crate) fn text(&self, index: usize) -> &str {
        self.get(index).unwrap_or_default()
    }

    /// Whether column `index` is true.
    pub(crate) fn is_true(&self, index: usize) -> bool {
        self.get(index) == Some("t")
    }

    /// The number in column `index`.
    ///
    /// # Errors
    /// `Internal` where there is none.
    pub(crate) fn number<T: std::str::FromStr>(&self, index: usize) -> Result<T> {
        self.get(index)
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| {
                Error::internal(format!("column {index} of a catalog query is not a number"))
            })
    }
}

/// A session that is ready for a command.
pub(crate) struct Session {
    settings: Settings,
    reader: ReadHalf<Socket>,
    writer: WriteHalf<Socket>,
    inbox: Inbox,
    parameters: HashMap<String, String>,
    version: u32,
    kernel_buffer: usize,
    /// A command was sent and its end has not been seen.
    busy: bool,
}

impl Session {
    /// Connects, authenticates and waits until the server is ready.
    ///
    /// # Errors
    /// With the remedy: unknown host, TLS, password, pg_hba.conf, database, privileges; all that
    /// passes by itself is `Transient`.
    pub(crate) async fn open(settings: &Settings, purpose: Purpose) -> Result<Self> {
        tokio::time::timeout(settings.connect_timeout, Self::start(settings, purpose))
            .await
            .unwrap_or_else(|_| {
                Err(Error::transient(format!(
                    "{} does not answer within {} s",
                    settings.place(),
                    settings.connect_timeout.as_secs()
                ))
                .hint("check the address in source.url, firewalls, and the load of the server"))
            })
    }

    async fn start(settings: &Settings, purpose: Purpose) -> Result<Self> {
        let mut socket = dial(settings).await?;
        let kernel_buffer = socket.kernel_buffer();
        let mut out = BytesMut::new();
        let mut parameters = vec![
            ("user", settings.user.as_str()),
            ("database", settings.database.as_str()),
            ("application_name", settings.application_name.as_str()),
        ];
        if purpose == Purpose::Replication {
            parameters.push(("replication", "database"));
        }
        parameters.extend(PINNED);
        frontend::startup_message(parameters, &mut out)
            .map_err(|error| Error::config("source.url holds a null byte").caused_by(error))?;
        socket.write_all(&out).await.map_err(lost)?;
        let mut inbox = Inbox::new();
        auth::authenticate(&mut socket, &mut inbox, settings).await?;
        let (reader, writer) = tokio::io::split(socket);
        let mut session = Self {
            settings: settings.clone(),
            reader,
            writer,
            inbox,
            parameters: HashMap::new(),
            version: 0,
            kernel_buffer,
            busy: true,
        };
        while session.next_message().await?.0 != b'Z' {}
        session.busy = false;
        session.version = version_number(session.parameter("server_version"));
        if session.version < 13_0000 {
            return Err(Error::unsupported(format!(
                "the server's version {} is not supported",
                session.parameter("server_version")
            ))
            .hint("PostgreSQL 13 or later is needed"));
        }
        Ok(session)
    }

    /// The server's version as in `server_version_num`, for example `150004`.
    pub(crate) fn version(&self) -> u32 {
        self.version
    }

    /// A parameter that the server reported at start-up, or an empty text.
    pub(crate) fn parameter(&self, name: &str) -> &str {
        self.parameters.get(name).map_or("", String::as_str)
    }

    /// The settings that the session was opened with.
    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Runs one or more statements; the rows are those of the last one that gives any.
    ///
    /// Not cancel-safe: dropped half-way it leaves the session unusable, which the next call
    /// reports.
    ///
    /// # Errors
    /// What the server refuses, explained; `Transient` when the connection is lost.
    pub(crate) async fn query(&mut self, sql: &str) -> Result<Vec<Row>> {
        self.send(sql).await?;
        let mut rows = Vec::new();
        let mut refusal = None;
        loop {
            let message = self.next_raw().await?;
            match message.0 {
                b'T' => rows.clear(),
                b'D' => {
                    let row = data_row(self.inbox.body(message.1))?;
                    rows.push(row);
                }
                b'E' => refusal = Some(Refusal::parse(self.inbox.body(message.1))),
                b'Z' => break,
                _ => {}
            }
        }
        self.busy = false;
        match refusal {
            Some(refusal) => Err(refusal.explain(&self.settings)),
            None => Ok(rows),
        }
    }

    /// Runs a statement whose answer is exactly one row.
    ///
    /// # Errors
    /// As [`Self::query`], and `Internal` if there is no row.
    pub(crate) async fn query_one(&mut self, sql: &str) -> Result<Row> {
        let row = self.query(sql).await?.into_iter().next();
        row.ok_or_else(|| Error::internal("a catalog query gave no row"))
    }

    /// Begins `COPY … TO STDOUT`; the data comes by [`Self::copied`].
    ///
    /// # Errors
    /// As [`Self::query`].
    pub(crate) async fn copy_out(&mut self, sql: &str) -> Result<()> {
        self.send(sql).await?;
        self.await_copy(b'H').await
    }

    /// The next piece of a COPY's data, or `None` at its end, after which the session is ready
    /// again. Pieces are as the server sends them: for COPY in binary the header, then a row each.
    /// Blocks only when nothing complete has arrived.
    ///
    /// # Errors
    /// As [`Self::query`]; a COPY that fails half-way leaves the session ready.
    pub(crate) async fn copied(&mut self) -> Result<Option<&[u8]>> {
        loop {
            let message = self.next_message().await?;
            match message.0 {
                b'd' => return Ok(Some(self.inbox.body(message.1))),
                b'Z' => {
                    self.busy = false;
                    return Ok(None);
                }
                _ => {}
            }
        }
    }

    /// As [`Self::copied`], without waiting: `None` where nothing complete has arrived yet, or
    /// where what has arrived is not data.
    ///
    /// # Errors
    /// `Transient` when the server sends what is no message.
    pub(crate) fn copied_already(&mut self) -> Result<Option<&[u8]>> {
        match self.inbox.peek()? {
            Some(b'd') => {
                let range = self.inbox.take()?.map(|message| message.1);
                Ok(range.map(|range| self.inbox.body(range)))
            }
            _ => Ok(None),
        }
    }

    /// Begins a command that turns the session into a two-way stream (START_REPLICATION), and
    /// hands out its parts.
    ///
    /// # Errors
    /// As [`Self::query`].
    pub(crate) async fn into_copy_both(mut self, sql: &str) -> Result<CopyBoth> {
        self.send(sql).await?;
        self.await_copy(b'W').await?;
        Ok(CopyBoth {
            reader: self.reader,
            writer: self.writer,
            inbox: self.inbox,
            settings: self.settings,
            kernel_buffer: self.kernel_buffer,
        })
    }

    /// Says good-bye, so that the server does not log a lost connection.
    pub(crate) async fn close(mut self) {
        let mut out = BytesMut::new();
        frontend::terminate(&mut out);
        // Nothing depends on the answer: a lost connection ends the session just as well.
        let _ = self.writer.write_all(&out).await;
        let _ = self.writer.shutdown().await;
    }

    async fn send(&mut self, sql: &str) -> Result<()> {
        if self.busy {
            return Err(Error::transient(
                "the session was left in the middle of a command",
            ));
        }
        let mut out = BytesMut::new();
        frontend::query(sql, &mut out)
            .map_err(|error| Error::internal("a statement holds a null byte").caused_by(error))?;
        self.busy = true;
        self.writer.write_all(&out).await.map_err(lost)?;
        self.writer.flush().await.map_err(lost)
    }

    async fn await_copy(&mut self, begin: u8) -> Result<()> {
        loop {
            let message = self.next_message().await?;
            match message.0 {
                tag if tag == begin => return Ok(()),
                b'Z' => {
                    self.busy = false;
                    return Err(Error::internal("the server did not begin to copy"));
                }
                _ => {}
            }
        }
    }

    /// The next message that concerns the caller; an error ends the command and is explained.
    async fn next_message(&mut self) -> Result<(u8, inbox::Body)> {
        let message = self.next_raw().await?;
        if message.0 != b'E' {
            return Ok(message);
        }
        let refusal = Refusal::parse(self.inbox.body(message.1));
        if refusal.severity == "ERROR" {
            while self.next_raw().await?.0 != b'Z' {}
            self.busy = false;
        }
        Err(refusal.explain(&self.settings))
    }

    /// The next message of any kind but those that may come at any time.
    async fn next_raw(&mut self) -> Result<(u8, inbox::Body)> {
        loop {
            let Some(message) = self.inbox.take()? else {
                if self.inbox.fill(&mut self.reader).await.map_err(lost)? == 0 {
                    return Err(Error::transient("the server closed the connection"));
                }
                continue;
            };
            match message.0 {
                b'S' => {
                    let body = self.inbox.body(message.1);
                    let mut parts = body.split(|&byte| byte == 0);
                    let mut part =
                        || String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
                    let (name, value) = (part(), part());
                    self.parameters.insert(name, value);
                }
                b'N' | b'A' => {}
                b'E' if Refusal::parse(self.inbox.body(message.1)).severity == "FATAL" => {
                    let refusal = Refusal::parse(self.inbox.body(message.1));
                    return Err(refusal.explain(&self.settings));
                }
                _ => return Ok(message),
            }
        }
    }
}

/// The parts of a session that has become a two-way stream.
pub(crate) struct CopyBoth {
    pub(crate) reader: ReadHalf<Socket>,
    pub(crate) writer: WriteHalf<Socket>,
    pub(crate) inbox: Inbox,
    pub(crate) settings: Settings,
    pub(crate) kernel_buffer: usize,
}

/// A lost connection.
pub(crate) fn lost(error: std::io::Error) -> Error {
    Error::transient(format!("the connection to the server is lost: {error}")).caused_by(error)
}

fn data_row(body: &[u8]) -> Result<Row> {
    let broken = || Error::transient("the server sent a row that cannot be read");
    let (count, mut rest) = body.split_first_chunk::<2>().ok_or_else(broken)?;
    let count = usize::from(u16::from_be_bytes(*count));
    let mut text = String::with_capacity(rest.len().saturating_sub(4 * count));
    let mut ends = Vec::with_capacity(count);
    for _ in 0..count {
        let (length, after) = rest.split_first_chunk::<4>().ok_or_else(broken)?;
        rest = after;
        match usize::try_from(i32::from_be_bytes(*length)) {
            Err(_) => ends.push(None),
            Ok(length) => {
                let value = rest.get(..length).ok_or_else(broken)?;
                text.push_str(&String::from_utf8_lossy(value));
                ends.push(Some(text.len()));
                rest = &rest[length..];
            }
        }
    }
    let ends = ends.into();
    Ok(Row { text, ends })
}

/// `15.4 (Debian …)`, `16beta1` or `18devel` as `server_version_num` has it.
fn version_number(text: &str) -> u32 {
    let mut numbers = text
        .split(|c: char| !c.is_ascii_digit())
        .map(|part| part.parse::<u32>().unwrap_or(0));
    let major = numbers.next().unwrap_or(0);
    let minor = if text.starts_with(&format!("{major}.")) {
        numbers.next().unwrap_or(0)
    } else {
        0
    };
    major * 10_000 + minor
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_releases_and_of_betas_are_read() {
        assert_eq!(version_number("15.4 (Debian 15.4-1)"), 15_0004);
        assert_eq!(version_number("18beta2"), 18_0000);
        assert_eq!(version_number("19devel"), 19_0000);
        assert_eq!(version_number(""), 0);
    }

    #[test]
    fn values_stand_between_the_ends_of_others_that_may_be_null() {
        let body =
            b"\0\x05\xff\xff\xff\xff\0\0\0\x02\xc3\xbc\xff\xff\xff\xff\0\0\0\0\0\0\0\x01\xff";
        let row = data_row(body).expect("whole");
        let values: Vec<_> = (0..6).map(|column| row.get(column)).collect();
        assert_eq!(
            values,
            [None, Some("ü"), None, Some(""), Some("\u{fffd}"), None]
        );
    }

    #[test]
    fn a_row_that_is_cut_short_is_an_error() {
        let whole = b"\0\x02\0\0\0\x01a\xff\xff\xff\xff";
        let row = data_row(whole).expect("whole");
        let values: Vec<_> = (0..3).map(|column| row.get(column)).collect();
        assert_eq!(values, [Some("a"), None, None]);
        for end in 0..whole.len() {
            assert!(data_row(&whole[..end]).is_err(), "{end}");
        }
    }
}
