//! What the server refuses, and what mends it.
//!
//! Owns the mapping from a server's ERR packet to [`cdc_api::Error`], by the number of the error.
//! Invariant: messages that may hold values of rows or parts of statements (SQLSTATE classes 22 and
//! 23, syntax errors) are not shown.

use std::fmt;

use cdc_api::{Error, ErrorKind};
use cdc_database::{Host, Settings};

/// An ERR packet (page_protocol_basic_err_packet).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The number of the error.
    pub(crate) code: u16,
    /// SQLSTATE; empty before the handshake is complete.
    pub(crate) state: String,
    /// The message, in the server's language.
    pub(crate) message: String,
}

impl Refusal {
    /// Reads a packet, its header included; what is missing stays empty.
    pub(crate) fn parse(packet: &[u8]) -> Self {
        let code = match packet {
            [_, low, high, ..] => u16::from_le_bytes([*low, *high]),
            _ => 0,
        };
        let rest = packet.get(3..).unwrap_or_default();
        let (state, message) = match rest {
            [b'#', rest @ ..] if rest.len() >= 5 => rest.split_at(5),
            rest => (&[][..], rest),
        };
        Self {
            code,
            state: String::from_utf8_lossy(state).into_owned(),
            message: String::from_utf8_lossy(message).into_owned(),
        }
    }

    /// The error to report, with the remedy.
    pub(crate) fn explain(&self, settings: &Settings) -> Error {
        let (kind, hint) = self.judge(settings);
        let mut error = Error::new(kind, self.shown()).caused_by(self.clone());
        if let Some(hint) = hint {
            error = error.hint(hint);
        }
        error
    }

    /// The server's message where it cannot hold a row's values.
    fn shown(&self) -> String {
        let secret = self.state.starts_with("22")
            || self.state.starts_with("23")
            || matches!(self.code, 1062 | 1064 | 1105 | 1292 | 1366 | 1411 | 1690);
        if secret {
            return format!("the server reports error {} ({})", self.code, self.state);
        }
        let mut message = self.message.trim_end_matches('.').to_owned();
        if let Some(first) = message.get_mut(..1) {
            first.make_ascii_lowercase();
        }
        format!("the server says: {message} ({})", self.code)
    }

    fn judge(&self, settings: &Settings) -> (ErrorKind, Option<String>) {
        let user = account(settings);
        let some = |text: &str| Some(text.to_owned());
        match self.code {
            1045 | 1698 => (
                ErrorKind::Auth,
                Some(format!(
                    "put the right user and password into source.url, or on the server: ALTER USER \
                     {user} IDENTIFIED BY '…'; where there is no such user: CREATE USER {user} \
                     IDENTIFIED BY '…'"
                )),
            ),
            1044 => (
                ErrorKind::Auth,
                Some(format!(
                    "GRANT SELECT ON `{}`.* TO {user}, or correct the database in source.url",
                    settings.database.replace('`', "``")
                )),
            ),
            1049 => (
                ErrorKind::Config,
                some("correct the database in source.url; SHOW DATABASES lists them"),
            ),
            1130 => (
                ErrorKind::Auth,
                Some(format!(
                    "the server takes no connections from this machine: CREATE USER {user} \
                     IDENTIFIED BY '…', where % may be this machine's address"
                )),
            ),
            1129 => (
                ErrorKind::Transient,
                some("TRUNCATE TABLE performance_schema.host_cache (MariaDB: FLUSH HOSTS)"),
            ),
            1142 | 1143 => (
                ErrorKind::Auth,
                Some(format!("GRANT SELECT ON the table TO {user}")),
            ),
            1227 | 1370 | 1419 => (ErrorKind::Auth, Some(self.privilege(&user))),
            1236 => self.log(),
            1820 | 1862 => (
                ErrorKind::Auth,
                Some(format!(
                    "ALTER USER {user} IDENTIFIED BY '…' PASSWORD EXPIRE NEVER"
                )),
            ),
            3118 | 4151 => (
                ErrorKind::Auth,
                Some(format!("ALTER USER {user} ACCOUNT UNLOCK")),
            ),
            3159 => (
                ErrorKind::Config,
                some("add sslmode=require, or verify-full, to source.url"),
            ),
            1040 | 1203 | 1226 => (
                ErrorKind::Transient,
                some("SET GLOBAL max_connections = 500, or raise the user's MAX_USER_CONNECTIONS"),
            ),
            1205
            | 1213
            | 1317
            | 1412
            | 1158..=1161
            | 1152
            | 1184
            | 1053
            | 1077..=1080
            | 1927
            | 1969
            | 3024
            | 3169
            | 4031
            | 2006
            | 2013
            | 1021
            | 1041
            | 1135 => (ErrorKind::Transient, None),
            1251 | 1524 | 1275 => (
                ErrorKind::Auth,
                Some(format!(
                    "ALTER USER {user} IDENTIFIED WITH caching_sha2_password BY '…'"
                )),
            ),
            1381 | 1598 => (
                ErrorKind::Config,
                some("set log_bin = binlog in the server's configuration and restart it"),
            ),
            1235 => (ErrorKind::Unsupported, None),
            1064 | 1193 | 1054 | 1109 => (ErrorKind::Internal, None),
            _ => (self.class(), None),
        }
    }

    /// What the server says about reading its log (ER_MASTER_FATAL_ERROR_READING_BINLOG).
    fn log(&self) -> (ErrorKind, Option<String>) {
        let message = self.message.to_lowercase();
        let says = |text: &str| message.contains(text);
        if says("same server_uuid") || says("same server_id") || says("server_uuid/server_id") {
            return (
                ErrorKind::Transient,
                Some(
                    "another reader uses the same server id: set source.server_id to a number of \
                     its own for each pipeline and replica"
                        .to_owned(),
                ),
            );
        }
        if says("purged") || says("could not find first log") || says("not in the") {
            return (
                ErrorKind::LogLost,
                Some(
                    "the server has purged log that was still needed: cdc teardown, then cdc run \
                     loads the tables anew; against a next time SET PERSIST \
                     binlog_expire_logs_seconds = 604800"
                        .to_owned(),
                ),
            );
        }
        if says("corrupt") || says("bogus") || says("checksum") || says("truncated") {
            return (
                ErrorKind::LogLost,
                Some("the server's binlog is damaged: FLUSH BINARY LOGS, then cdc teardown, then cdc run".to_owned()),
            );
        }
        (ErrorKind::LogLost, None)
    }

    /// The grant for a privilege that the message names.
    fn privilege(&self, user: &str) -> String {
        let named = self
            .message
            .split_once("(at least one of) the ")
            .and_then(|(_, rest)| rest.split_once(" privilege"))
            .map(|(names, _)| names.split(',').next().unwrap_or(names).trim());
        match named {
            Some(name) => format!("GRANT {name} ON *.* TO {user}"),
            None => format!("GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO {user}"),
        }
    }

    fn class(&self) -> ErrorKind {
        match self.state.get(..2).unwrap_or_default() {
            "08" | "40" | "70" | "53" => ErrorKind::Transient,
            "28" => ErrorKind::Auth,
            "42" => ErrorKind::Config,
            _ => ErrorKind::Data,
        }
    }
}

/// The user as statements name it.
pub(crate) fn account(settings: &Settings) -> String {
    let host = match settings.host {
        Host::Unix(_) => "localhost",
        Host::Tcp(_) => "%",
    };
    format!("'{}'@'{host}'", settings.user.replace('\'', "''"))
}

/// Whether the error is the server's, with one of these numbers.
pub(crate) fn refused_with(error: &Error, codes: &[u16]) -> bool {
    std::error::Error::source(error)
        .and_then(|source| source.downcast_ref::<Refusal>())
        .is_some_and(|refusal| codes.contains(&refusal.code))
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error {} ({})", self.code, self.state)
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;

    fn explain(code: u16, state: &str, message: &str) -> Error {
        let settings = crate::connect::settings::parse("mysql://cdc:hunter2@db.example.com/shop")
            .expect("good");
        Refusal {
            code,
            state: state.to_owned(),
            message: message.to_owned(),
        }
        .explain(&settings)
    }

    #[test]
    fn packets_are_read_with_and_without_a_state() {
        let refusal = Refusal::parse(b"\xff\x15\x04#28000Access denied");
        assert_eq!((refusal.code, refusal.state.as_str()), (1045, "28000"));
        assert_eq!(refusal.message, "Access denied");
        let early = Refusal::parse(b"\xff\x10\x04Too many connections");
        assert_eq!((early.code, early.state.as_str()), (1040, ""));
        assert_eq!(Refusal::parse(b"\xff"), Refusal::default());
        assert_eq!(Refusal::parse(b"\xff\x15\x04#28").message, "#28");
    }

    #[test]
    fn every_refusal_that_an_operator_can_mend_says_how() {
        let cases = [
            (
                1045,
                "28000",
                "Access denied",
                ErrorKind::Auth,
                "ALTER USER 'cdc'@'%'",
            ),
            (
                1049,
                "42000",
                "Unknown database",
                ErrorKind::Config,
                "SHOW DATABASES",
            ),
            (
                1130,
                "HY000",
                "Host is not allowed",
                ErrorKind::Auth,
                "CREATE USER",
            ),
            (
                1227,
                "42000",
                "Access denied; you need (at least one of) the SUPER, RELOAD privilege(s) for this",
                ErrorKind::Auth,
                "GRANT SUPER ON *.*",
            ),
            (
                3159,
                "HY000",
                "Connections using insecure transport",
                ErrorKind::Config,
                "sslmode",
            ),
            (
                1236,
                "HY000",
                "Cannot replicate because the source purged required binary logs",
                ErrorKind::LogLost,
                "binlog_expire_logs_seconds",
            ),
            (
                1236,
                "HY000",
                "A replica with the same server_uuid/server_id as this replica has connected",
                ErrorKind::Transient,
                "source.server_id",
            ),
        ];
        for (code, state, message, kind, hint) in cases {
            let error = explain(code, state, message);
            assert_eq!(error.kind(), kind, "{code}");
            let shown = error.hint_text().unwrap_or_default();
            assert!(shown.contains(hint), "{code}: {shown}");
            assert!(!format!("{error:?}").contains("hunter2"));
        }
    }

    #[test]
    fn waits_and_restarts_are_transient_and_values_are_not_shown() {
        assert!(explain(1205, "HY000", "Lock wait timeout exceeded").is_transient());
        assert!(explain(1053, "08S01", "Server shutdown in progress").is_transient());
        for (code, state) in [(1062, "23000"), (1064, "42000"), (1292, "22007")] {
            let error = explain(code, state, "something with 'secret' in it");
            assert!(!error.to_string().contains("secret"), "{code}");
        }
        assert!(refused_with(&explain(1205, "HY000", "x"), &[1205]));
        assert!(!refused_with(&explain(1205, "HY000", "x"), &[1213]));
    }
}
