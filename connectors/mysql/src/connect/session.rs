//! A session: start-up, plain SQL, rows of prepared statements, raw packets.
//!
//! Invariants: every session that is handed out speaks utf8mb4, UTC, REPEATABLE READ and the same
//! SQL mode, whatever the server's defaults are. While rows are on their way nothing else is sent.
//! A session that has failed is dropped, never used again.

use std::time::Duration;

use cdc_api::{Error, ErrorKind, Result};
use cdc_database::{Host, Settings, Socket, TlsMode, socket, tls};
use mysql_common::constants::CapabilityFlags;
use mysql_common::io::ParseBuf;
use mysql_common::packets::{HandshakePacket, HandshakeResponse, SslRequest};
use mysql_common::proto::MySerialize;

use super::auth;
use super::wire::Wire;
use crate::refusal::Refusal;

const COM_QUIT: u8 = 0x01;
const COM_QUERY: u8 = 0x03;
const COM_STMT_PREPARE: u8 = 0x16;
const COM_STMT_EXECUTE: u8 = 0x17;
const COM_STMT_CLOSE: u8 = 0x19;

/// utf8mb4_general_ci, for the handshake.
const COLLATION: u8 = 45;

/// What the largest packet is said to be.
const LARGEST: u32 = 1 << 30;

/// Which of the two families a server is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flavour {
    /// MySQL, and Percona Server.
    MySql,
    /// MariaDB.
    MariaDb,
}

/// A connection on which statements run one after another.
pub(crate) struct Session {
    wire: Wire,
    settings: Settings,
    capabilities: CapabilityFlags,
    flavour: Flavour,
    version: (u16, u16, u16),
    /// The server's thread, for KILL.
    thread: u32,
}

/// A row of a plain statement, as text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Row(Vec<Option<String>>);

impl Row {
    /// The value, `None` for NULL and where there is no such column.
    pub(crate) fn get(&self, column: usize) -> Option<&str> {
        self.0.get(column)?.as_deref()
    }

    /// The value; empty for NULL.
    pub(crate) fn text(&self, column: usize) -> &str {
        self.get(column).unwrap_or_default()
    }

    /// The value as a number.
    ///
    /// # Errors
    /// `Internal` where it is none: the query is wrong.
    pub(crate) fn number<T: std::str::FromStr>(&self, column: usize) -> Result<T> {
        self.text(column).parse().map_err(|_| {
            Error::internal(format!("column {column} of a catalog query is no number"))
        })
    }

    /// Whether the value is a setting's or a condition's yes.
    pub(crate) fn is_true(&self, column: usize) -> bool {
        matches!(self.text(column), "1" | "ON" | "YES")
    }
}

/// A row of a prepared statement that has arrived, or not.
pub(crate) enum Arrived<'a> {
    /// The packet of a row in the binary protocol, its header included.
    Row(&'a [u8]),
    /// There are no more rows.
    End,
    /// Nothing has arrived; more will.
    Nothing,
}

/// A prepared statement without parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Statement(u32);

impl Session {
    /// Connects, authenticates and sets what every session has set.
    ///
    /// # Errors
    /// With the remedy; `Transient` where the server does not answer.
    pub(crate) async fn open(settings: &Settings) -> Result<Self> {
        let patience = settings.connect_timeout;
        let opening = Self::connect(settings);
        match tokio::time::timeout(patience, opening).await {
            Ok(session) => session,
            Err(_) => Err(Error::transient(format!(
                "{} did not answer within {} s",
                settings.address(),
                patience.as_secs()
            ))
            .hint(
                "check that a MySQL server listens there and that no firewall is between; \
                 connect_timeout in source.url sets how long to wait",
            )),
        }
    }

    async fn connect(settings: &Settings) -> Result<Self> {
        let socket = match &settings.host {
            Host::Unix(file) => Socket::Unix(socket::dial_unix(file, settings.product).await?),
            Host::Tcp(name) => Socket::Tcp(socket::dial_tcp(name, settings).await?),
        };
        let mut wire = Wire::new(socket);
        let greeting = wire.next().await?;
        if let [0xff, ..] = greeting {
            return Err(Refusal::parse(greeting).explain(settings));
        }
        let greeting = greeting.to_vec();
        let handshake = ParseBuf(&greeting)
            .parse::<HandshakePacket<'_>>(())
            .map_err(|error| {
                Error::config(format!(
                    "{} does not speak the MySQL protocol",
                    settings.address()
                ))
                .hint("correct host and port in source.url")
                .caused_by(error)
            })?;
        let offered = handshake.capabilities();
        let encrypts = offered.contains(CapabilityFlags::CLIENT_SSL);
        let mut capabilities = wanted(settings) & offered;
        let mut nonce = handshake.nonce();
        nonce.resize(20, 0);
        if let Host::Tcp(name) = &settings.host
            && settings.tls != TlsMode::Disable
        {
            if encrypts {
                capabilities |= CapabilityFlags::CLIENT_SSL;
                let mut request = Vec::new();
                SslRequest::new(capabilities, LARGEST, COLLATION).serialize(&mut request);
                wire.send(&request).await?;
                wire = wire
                    .secured(async |socket| match socket {
                        Socket::Tcp(stream) => tls::secure(stream, name, settings).await,
                        other => Ok(other),
                    })
                    .await?;
            } else if settings.tls != TlsMode::Prefer {
                return Err(tls::missing(name, settings.product));
            }
        }
        let plugin = auth::first(handshake.auth_plugin());
        let proof = auth::response(&plugin, settings.password(), &nonce);
        let database = Some(settings.database.as_bytes()).filter(|name| !name.is_empty());
        let attributes = [("program_name", "cdc"), ("_client_name", "cdc")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()));
        let mut answer = Vec::new();
        HandshakeResponse::new(
            Some(proof),
            (8, 0, 0),
            Some(settings.user.as_bytes()),
            database,
            Some(plugin.borrow()),
            capabilities,
            capabilities
                .contains(CapabilityFlags::CLIENT_CONNECT_ATTRS)
                .then(|| attributes.into_iter().collect()),
            LARGEST,
        )
        .serialize(&mut answer);
        wire.send(&answer).await?;
        auth::go_on(&mut wire, settings, plugin, nonce).await?;
        let text = handshake.server_version_str();
        let (flavour, version) = version(&text);
        let mut session = Self {
            wire,
            settings: settings.clone(),
            capabilities,
            flavour,
            version,
            thread: handshake.connection_id(),
        };
        session.set_up().await?;
        Ok(session)
    }

    /// What every session has set.
    async fn set_up(&mut self) -> Result<()> {
        self.execute("SET NAMES utf8mb4").await?;
        let own = match self.flavour {
            Flavour::MySql => "information_schema_stats_expiry = 0, max_execution_time = 0",
            Flavour::MariaDb => "max_statement_time = 0",
        };
        // A reader may be held up by its sink for as long as it takes. Waits for metadata locks are
        // short: behind a waiting ALTER TABLE all of the table's traffic would queue.
        self.execute(&format!(
            "SET SESSION time_zone = '+00:00', sql_mode = 'NO_BACKSLASH_ESCAPES', \
             autocommit = 1, sql_select_limit = DEFAULT, wait_timeout = 86400, \
             net_write_timeout = 86400, net_read_timeout = 600, lock_wait_timeout = 10, {own}"
        ))
        .await?;
        if self.flavour == Flavour::MySql && self.version >= (8, 0, 30) {
            // Keys that the server made by itself are in the log, and so must be in the catalog.
            self.execute("SET SESSION show_gipk_in_create_table_and_information_schema = ON")
                .await?;
        }
        self.execute("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            .await
    }

    /// Which family the server is of.
    pub(crate) fn flavour(&self) -> Flavour {
        self.flavour
    }

    /// The server's version: major, minor, patch.
    pub(crate) fn version(&self) -> (u16, u16, u16) {
        self.version
    }

    /// The server's thread of this session.
    pub(crate) fn thread(&self) -> u32 {
        self.thread
    }

    /// Runs a statement whose rows do not matter.
    ///
    /// # Errors
    /// What the server refuses, with the remedy.
    pub(crate) async fn execute(&mut self, sql: &str) -> Result<()> {
        self.query(sql).await.map(drop)
    }

    /// Runs a statement and gives its rows.
    ///
    /// # Errors
    /// What the server refuses, with the remedy.
    pub(crate) async fn query(&mut self, sql: &str) -> Result<Vec<Row>> {
        self.command(COM_QUERY, sql.as_bytes()).await?;
        let Some(columns) = self.header().await? else {
            return Ok(Vec::new());
        };
        self.definitions(columns).await?;
        let mut rows = Vec::new();
        loop {
            let short = self.capabilities;
            let packet = self.wire.next().await?;
            match packet {
                [0xff, ..] => return Err(Refusal::parse(packet).explain(&self.settings)),
                [0xfe, ..] if ends_rows(packet, short) => return Ok(rows),
                _ => rows.push(text_row(packet, columns).ok_or_else(broken)?),
            }
        }
    }

    /// Runs a statement that gives one row.
    ///
    /// # Errors
    /// What the server refuses; `Internal` where there is no row.
    pub(crate) async fn query_one(&mut self, sql: &str) -> Result<Row> {
        self.query(sql)
            .await?
            .into_iter()
            .next()
            .ok_or_else(|| Error::internal("a catalog query gave no row"))
    }

    /// A system variable of the server, `None` where it does not know it.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub(crate) async fn variable(&mut self, name: &str) -> Result<Option<String>> {
        let rows = self
            .query(&format!("SHOW GLOBAL VARIABLES LIKE '{name}'"))
            .await?;
        let row = rows.iter().find(|row| row.text(0) == name);
        Ok(row.map(|row| row.text(1).to_owned()))
    }

    /// Prepares a statement without parameters.
    ///
    /// # Errors
    /// What the server refuses, with the remedy.
    pub(crate) async fn prepare(&mut self, sql: &str) -> Result<Statement> {
        self.command(COM_STMT_PREPARE, sql.as_bytes()).await?;
        let packet = self.wire.next().await?;
        let (id, columns, parameters) = match packet {
            [0xff, ..] => return Err(Refusal::parse(packet).explain(&self.settings)),
            &[0x00, a, b, c, d, e, f, g, h, ..] => (
                u32::from_le_bytes([a, b, c, d]),
                usize::from(u16::from_le_bytes([e, f])),
                usize::from(u16::from_le_bytes([g, h])),
            ),
            _ => return Err(broken()),
        };
        for count in [parameters, columns] {
            if count > 0 {
                self.definitions(count).await?;
            }
        }
        Ok(Statement(id))
    }

    /// Runs a prepared statement; its rows come by [`Self::row`] and [`Self::row_arrived`]. Gives
    /// the number of columns.
    ///
    /// # Errors
    /// What the server refuses, with the remedy.
    pub(crate) async fn run(&mut self, statement: Statement) -> Result<usize> {
        let mut body = statement.0.to_le_bytes().to_vec();
        // No cursor; one iteration.
        body.extend_from_slice(&[0, 1, 0, 0, 0]);
        self.command(COM_STMT_EXECUTE, &body).await?;
        let columns = self.header().await?.ok_or_else(broken)?;
        self.definitions(columns).await?;
        Ok(columns)
    }

    /// Forgets a prepared statement.
    ///
    /// # Errors
    /// When the connection is gone.
    pub(crate) async fn forget(&mut self, statement: Statement) -> Result<()> {
        self.command(COM_STMT_CLOSE, &statement.0.to_le_bytes())
            .await
    }

    /// The next row of a running statement, `None` at the end. Cancel-safe.
    ///
    /// # Errors
    /// What the server reports in mid-result, or a lost connection.
    pub(crate) async fn row(&mut self) -> Result<Option<&[u8]>> {
        let capabilities = self.capabilities;
        let packet = self.wire.next().await?;
        match packet {
            [0xff, ..] => Err(Refusal::parse(packet).explain(&self.settings)),
            [0xfe, ..] if ends_rows(packet, capabilities) => Ok(None),
            _ => Ok(Some(packet)),
        }
    }

    /// The next row of a running statement, if it has arrived.
    ///
    /// # Errors
    /// As [`Self::row`].
    pub(crate) fn row_arrived(&mut self) -> Result<Arrived<'_>> {
        let capabilities = self.capabilities;
        match self.wire.arrived()? {
            None => Ok(Arrived::Nothing),
            Some(packet @ [0xff, ..]) => Err(Refusal::parse(packet).explain(&self.settings)),
            Some(packet @ [0xfe, ..]) if ends_rows(packet, capabilities) => Ok(Arrived::End),
            Some(packet) => Ok(Arrived::Row(packet)),
        }
    }

    /// Sends a command; its answer comes by [`Self::packet`].
    ///
    /// # Errors
    /// When the connection is gone.
    pub(crate) async fn command(&mut self, command: u8, body: &[u8]) -> Result<()> {
        self.wire.begin();
        let mut packet = Vec::with_capacity(body.len() + 1);
        packet.push(command);
        packet.extend_from_slice(body);
        self.wire.send(&packet).await
    }

    /// The next packet as it is; an error of the server is one. Cancel-safe.
    ///
    /// # Errors
    /// What the server reports, with the remedy, or a lost connection.
    pub(crate) async fn packet(&mut self) -> Result<&[u8]> {
        let packet = self.wire.next().await?;
        match packet {
            [0xff, ..] => Err(Refusal::parse(packet).explain(&self.settings)),
            _ => Ok(packet),
        }
    }

    /// The next packet as it is, if it has arrived.
    ///
    /// # Errors
    /// What the server reports, with the remedy.
    pub(crate) fn packet_arrived(&mut self) -> Result<Option<&[u8]>> {
        match self.wire.arrived()? {
            Some(packet @ [0xff, ..]) => Err(Refusal::parse(packet).explain(&self.settings)),
            packet => Ok(packet),
        }
    }

    /// Says good-bye: else the server notes a lost connection.
    pub(crate) async fn close(mut self) {
        // A server that is gone needs no good-bye.
        let goodbye = self.command(COM_QUIT, &[]);
        let _ = tokio::time::timeout(Duration::from_secs(1), goodbye).await;
    }

    /// The first packet of an answer: the number of columns, `None` where there are no rows.
    async fn header(&mut self) -> Result<Option<usize>> {
        let packet = self.wire.next().await?;
        match packet {
            [0xff, ..] => Err(Refusal::parse(packet).explain(&self.settings)),
            [0x00, ..] => Ok(None),
            _ => {
                let (columns, _) = length(packet).ok_or_else(broken)?;
                Ok(Some(usize::try_from(columns).map_err(|_| broken())?))
            }
        }
    }

    /// Passes over the definitions of columns: what they are is known from the catalog.
    async fn definitions(&mut self, columns: usize) -> Result<()> {
        let closing = !self
            .capabilities
            .contains(CapabilityFlags::CLIENT_DEPRECATE_EOF);
        for _ in 0..columns + usize::from(closing) {
            self.packet().await?;
        }
        Ok(())
    }
}

/// What is asked of the server's abilities.
fn wanted(settings: &Settings) -> CapabilityFlags {
    let mut flags = CapabilityFlags::CLIENT_LONG_PASSWORD
        | CapabilityFlags::CLIENT_LONG_FLAG
        | CapabilityFlags::CLIENT_PROTOCOL_41
        | CapabilityFlags::CLIENT_TRANSACTIONS
        | CapabilityFlags::CLIENT_SECURE_CONNECTION
        | CapabilityFlags::CLIENT_PLUGIN_AUTH
        | CapabilityFlags::CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA
        | CapabilityFlags::CLIENT_CONNECT_ATTRS
        | CapabilityFlags::CLIENT_DEPRECATE_EOF;
    if !settings.database.is_empty() {
        flags |= CapabilityFlags::CLIENT_CONNECT_WITH_DB;
    }
    flags
}

/// Family and numbers of `8.4.3`, `9.7.0-debug`, `5.5.5-10.11.6-MariaDB-1`, `11.8.2-MariaDB-log`.
fn version(text: &str) -> (Flavour, (u16, u16, u16)) {
    let flavour = if text.contains("MariaDB") {
        Flavour::MariaDb
    } else {
        Flavour::MySql
    };
    // MariaDB before 11 tells old clients that it is 5.5.5.
    let numbers = match (flavour, text.strip_prefix("5.5.5-")) {
        (Flavour::MariaDb, Some(rest)) => rest,
        _ => text,
    };
    let mut parts = numbers.split(|char: char| !char.is_ascii_digit());
    let mut next = || parts.next().and_then(|part| part.parse().ok()).unwrap_or(0);
    (flavour, (next(), next(), next()))
}

/// Whether a packet that begins with 0xfe ends the rows: a row may begin with it too, if its first
/// value is longer than a frame.
fn ends_rows(packet: &[u8], capabilities: CapabilityFlags) -> bool {
    if capabilities.contains(CapabilityFlags::CLIENT_DEPRECATE_EOF) {
        packet.len() < 0xff_ffff
    } else {
        packet.len() < 9
    }
}

/// A length-encoded integer and the bytes after it (page_protocol_basic_dt_integers).
fn length(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    let size = match first {
        0xfc => 2,
        0xfd => 3,
        0xfe => 8,
        0xfb | 0xff => return None,
        value => return Some((u64::from(value), rest)),
    };
    let number = rest.get(..size)?;
    let value = number
        .iter()
        .rev()
        .fold(0, |value, &byte| value << 8 | u64::from(byte));
    Some((value, &rest[size..]))
}

fn text_row(packet: &[u8], columns: usize) -> Option<Row> {
    let mut rest = packet;
    let mut row = Vec::with_capacity(columns);
    for _ in 0..columns {
        if let [0xfb, after @ ..] = rest {
            row.push(None);
            rest = after;
            continue;
        }
        let (size, after) = length(rest)?;
        let size = usize::try_from(size).ok()?;
        let value = after.get(..size)?;
        row.push(Some(String::from_utf8_lossy(value).into_owned()));
        rest = &after[size..];
    }
    Some(Row(row))
}

fn broken() -> Error {
    Error::new(
        ErrorKind::Transient,
        "an answer of the server cannot be read",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_both_families_are_told_apart() {
        for (text, flavour, numbers) in [
            ("8.4.3", Flavour::MySql, (8, 4, 3)),
            ("9.7.0-debug", Flavour::MySql, (9, 7, 0)),
            ("8.0.36-28", Flavour::MySql, (8, 0, 36)),
            (
                "5.5.5-10.11.6-MariaDB-1:10.11.6+maria~deb12",
                Flavour::MariaDb,
                (10, 11, 6),
            ),
            ("11.8.2-MariaDB-log", Flavour::MariaDb, (11, 8, 2)),
            ("", Flavour::MySql, (0, 0, 0)),
        ] {
            assert_eq!(version(text), (flavour, numbers), "{text}");
        }
    }

    #[test]
    fn text_rows_are_read_and_cut_ones_refused() {
        let packet = [0xfb, 2, b'a', b'b', 0xfc, 1, 0, b'c', 0];
        let row = text_row(&packet, 4).expect("whole");
        assert_eq!(
            (0..4).map(|column| row.get(column)).collect::<Vec<_>>(),
            [None, Some("ab"), Some("c"), Some("")]
        );
        for end in 0..packet.len() {
            assert_eq!(text_row(&packet[..end], 4), None, "{end}");
        }
        assert_eq!(length(&[0xfe, 1, 0, 0]), None);
    }
}
