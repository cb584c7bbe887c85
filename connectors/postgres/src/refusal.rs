//! What the server refuses, and what mends it.
//!
//! Owns the mapping from a server's ErrorResponse to [`cdc_api::Error`]. Decided by SQLSTATE and,
//! where that is too coarse, by the name of the server's routine, which is never translated.
//! Invariant: of errors about data (class 22, 23) and of every error's detail nothing is shown,
//! since they hold values of rows.

use std::fmt;

use cdc_api::{Error, ErrorKind};
use cdc_database::{Host, TlsMode};
use postgres_protocol::escape::escape_identifier;

use crate::connect::Settings;

/// An ErrorResponse or NoticeResponse, as far as it is used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// `ERROR`, `FATAL`, `PANIC`, not translated.
    pub severity: String,
    /// SQLSTATE.
    pub code: String,
    /// The primary message, in the server's language.
    pub message: String,
    /// The server's C function.
    pub routine: String,
}

impl Refusal {
    /// Reads the fields of a message body; unknown and broken ones are passed over.
    pub(crate) fn parse(body: &[u8]) -> Self {
        let mut refusal = Self::default();
        let mut rest = body;
        while let Some((&field, after)) = rest.split_first() {
            if field == 0 {
                break;
            }
            let end = after
                .iter()
                .position(|&byte| byte == 0)
                .unwrap_or(after.len());
            let text = || String::from_utf8_lossy(&after[..end]).into_owned();
            match field {
                b'V' => refusal.severity = text(),
                b'C' => refusal.code = text(),
                b'M' => refusal.message = text(),
                b'R' => refusal.routine = text(),
                _ => {}
            }
            rest = after.get(end + 1..).unwrap_or_default();
        }
        refusal
    }

    /// The error to report, with the remedy.
    pub(crate) fn explain(&self, settings: &Settings) -> Error {
        let user = escape_identifier(&settings.user);
        let (kind, hint) = self.judge(settings, &user);
        let mut error = Error::new(kind, self.shown()).caused_by(self.clone());
        if let Some(hint) = hint {
            error = error.hint(hint);
        }
        error
    }

    /// The server's message where it cannot hold a row's values.
    fn shown(&self) -> String {
        let class = self.code.get(..2).unwrap_or_default();
        if matches!(class, "22" | "23") {
            return format!(
                "the server reports an error in data, SQLSTATE {}",
                self.code
            );
        }
        let mut message = self.message.trim_end_matches('.').to_owned();
        if let Some(first) = message.get_mut(..1) {
            first.make_ascii_lowercase();
        }
        format!("the server says: {message} (SQLSTATE {})", self.code)
    }

    fn judge(&self, settings: &Settings, user: &str) -> (ErrorKind, Option<String>) {
        let routine = self.routine.as_str();
        let says = |text: &str| self.message.contains(text);
        let some = |text: &str| Some(text.to_owned());
        match self.code.as_str() {
            "28P01" => (
                ErrorKind::Auth,
                Some(format!(
                    "put the right password into source.url, or on the server: ALTER ROLE {user} \
                     LOGIN PASSWORD '…'"
                )),
            ),
            "28000" if routine == "InitializeSessionUserId" => (
                ErrorKind::Auth,
                Some(format!(
                    "CREATE ROLE {user} LOGIN REPLICATION PASSWORD '…'; where it exists: ALTER ROLE \
                     {user} LOGIN"
                )),
            ),
            "28000" if says("certificate") => (
                ErrorKind::Auth,
                some(
                    "give sslcert and sslkey in source.url, of a certificate whose common name is \
                     the role's and which the server's ssl_ca_file has signed",
                ),
            ),
            "28000" => (
                ErrorKind::Auth,
                Some(format!(
                    "add to the server's pg_hba.conf: {} {} {} {}, then SELECT pg_reload_conf()",
                    match settings.tls {
                        _ if matches!(settings.host, Host::Unix(_)) => "local",
                        TlsMode::Disable => "host",
                        _ => "hostssl",
                    },
                    escape_identifier(&settings.database),
                    user,
                    match settings.host {
                        Host::Unix(_) => "scram-sha-256",
                        Host::Tcp(_) => "CLIENT_ADDRESS/32 scram-sha-256",
                    }
                )),
            ),
            "3D000" => (
                ErrorKind::Config,
                some("correct the database in source.url; psql -l lists what the server has"),
            ),
            "42501" if routine == "InitPostgres" || says("WAL sender") || says("walsender") => (
                ErrorKind::Auth,
                Some(format!("ALTER ROLE {user} REPLICATION")),
            ),
            "42501" if routine.starts_with("CheckSlotPermissions") || says("replication slot") => (
                ErrorKind::Auth,
                Some(format!("ALTER ROLE {user} REPLICATION")),
            ),
            "42501" if says("row-level security") || says("row security") => (
                ErrorKind::Auth,
                Some(format!("ALTER ROLE {user} BYPASSRLS")),
            ),
            "42501" if says("permission denied for database") => (
                ErrorKind::Auth,
                Some(format!(
                    "GRANT CREATE, CONNECT ON DATABASE {} TO {user}",
                    escape_identifier(&settings.database)
                )),
            ),
            "42501" if says("must be owner of") => (
                ErrorKind::Auth,
                Some(format!(
                    "create the publication as the tables' owner and set publication in the \
                     source's configuration, or grant the owner's role: GRANT owner TO {user}"
                )),
            ),
            "42501" => (
                ErrorKind::Auth,
                Some(format!(
                    "GRANT USAGE ON SCHEMA schema TO {user}; GRANT SELECT ON ALL TABLES IN SCHEMA \
                     schema TO {user}"
                )),
            ),
            "53300" if says("max_wal_senders") => (
                ErrorKind::Transient,
                some(
                    "ALTER SYSTEM SET max_wal_senders = 20, then restart the server; SELECT * FROM \
                     pg_stat_replication shows who uses them",
                ),
            ),
            "53300" => (
                ErrorKind::Transient,
                some("raise max_connections, or the role's CONNECTION LIMIT"),
            ),
            "53400" => (
                ErrorKind::Transient,
                some(
                    "ALTER SYSTEM SET max_replication_slots = 20, then restart the server; or drop \
                     an unused one: SELECT slot_name, active FROM pg_replication_slots, SELECT \
                     pg_drop_replication_slot('…')",
                ),
            ),
            "55000" if routine == "CheckLogicalDecodingRequirements" || says("wal_level") => (
                ErrorKind::Config,
                some(
                    "ALTER SYSTEM SET wal_level = logical, then restart the server (managed \
                     services: rds.logical_replication = 1, cloudsql.logical_decoding = on)",
                ),
            ),
            "55000" if says("replication slot") => (
                ErrorKind::LogLost,
                some(
                    "the server has dropped log that was still needed: raise \
                     max_slot_wal_keep_size, drop the slot with cdc teardown, then cdc snapshot",
                ),
            ),
            "58P01" if says("WAL segment") => (
                ErrorKind::LogLost,
                some("drop the slot with cdc teardown, then cdc snapshot"),
            ),
            "55006" => (
                ErrorKind::Transient,
                some(
                    "another session uses the slot: SELECT pid, client_addr, application_name FROM \
                     pg_stat_replication; give each pipeline a name of its own",
                ),
            ),
            "42704" if says("replication slot") => (
                ErrorKind::LogLost,
                some("the slot is gone, and with it the log: cdc snapshot loads the tables anew"),
            ),
            "42704" if says("publication") => (
                ErrorKind::Config,
                some("CREATE PUBLICATION with the name that the configuration says"),
            ),
            "08P01" if says("startup parameter") => (
                ErrorKind::Config,
                some("this is a connection pooler: name the server itself in source.url"),
            ),
            "25006" => (
                ErrorKind::Config,
                some("this is a standby: name the primary in source.url"),
            ),
            "0A000" => (ErrorKind::Unsupported, None),
            code => (class_kind(code), None),
        }
    }
}

/// Whether the error is the server's, with this SQLSTATE.
pub(crate) fn refused_with(error: &Error, code: &str) -> bool {
    std::error::Error::source(error)
        .and_then(|source| source.downcast_ref::<Refusal>())
        .is_some_and(|refusal| refusal.code == code)
}

fn class_kind(code: &str) -> ErrorKind {
    match code.get(..2).unwrap_or_default() {
        // Connection, transaction rollback, resources, operator, system, server's own trouble.
        "08" | "25" | "40" | "53" | "55" | "57" | "58" | "XX" => ErrorKind::Transient,
        "28" => ErrorKind::Auth,
        "42" | "26" | "34" => ErrorKind::Internal,
        "F0" => ErrorKind::Config,
        _ => ErrorKind::Data,
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}", self.code, self.routine)
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;

    fn explain(code: &str, routine: &str, message: &str) -> Error {
        let settings =
            Settings::parse("postgres://replicator:pw@db.example.com/shop").expect("well-formed");
        Refusal {
            severity: "ERROR".to_owned(),
            code: code.to_owned(),
            message: message.to_owned(),
            routine: routine.to_owned(),
        }
        .explain(&settings)
    }

    #[test]
    fn fields_of_a_response_are_read_and_broken_ones_passed_over() {
        let refusal = Refusal::parse(b"SFEHLER\0VERROR\0C42501\0Mno\0Rwhere\0Zx");
        assert_eq!(refusal.severity, "ERROR");
        assert_eq!(refusal.code, "42501");
        assert_eq!(refusal.message, "no");
        assert_eq!(refusal.routine, "where");
        assert_eq!(Refusal::parse(b""), Refusal::default());
        assert_eq!(Refusal::parse(b"C"), Refusal::default());
    }

    #[test]
    fn every_refusal_that_an_operator_can_mend_says_how() {
        let cases = [
            (
                "28P01",
                "auth_failed",
                "x",
                ErrorKind::Auth,
                "ALTER ROLE \"replicator\"",
            ),
            (
                "28000",
                "ClientAuthentication",
                "x",
                ErrorKind::Auth,
                "hostssl \"shop\"",
            ),
            (
                "28000",
                "InitializeSessionUserId",
                "x",
                ErrorKind::Auth,
                "CREATE ROLE",
            ),
            (
                "3D000",
                "InitPostgres",
                "x",
                ErrorKind::Config,
                "source.url",
            ),
            ("42501", "InitPostgres", "x", ErrorKind::Auth, "REPLICATION"),
            (
                "42501",
                "aclcheck_error",
                "permission denied for table t",
                ErrorKind::Auth,
                "GRANT",
            ),
            (
                "55000",
                "CheckLogicalDecodingRequirements",
                "x",
                ErrorKind::Config,
                "wal_level = logical",
            ),
            (
                "55000",
                "CreateDecodingContext",
                "can no longer get changes from replication slot \"s\"",
                ErrorKind::LogLost,
                "cdc snapshot",
            ),
            (
                "55006",
                "ReplicationSlotAcquire",
                "replication slot \"s\" is active for PID 1",
                ErrorKind::Transient,
                "pg_stat_replication",
            ),
            (
                "53400",
                "ReplicationSlotCreate",
                "all replication slots are in use",
                ErrorKind::Transient,
                "max_replication_slots",
            ),
        ];
        for (code, routine, message, kind, hint) in cases {
            let error = explain(code, routine, message);
            assert_eq!(error.kind(), kind, "{code} {routine}");
            let shown = error.hint_text().unwrap_or_default();
            assert!(shown.contains(hint), "{code} {routine}: {shown}");
        }
    }

    #[test]
    fn a_server_that_goes_down_is_transient_and_values_are_not_shown() {
        assert!(explain("57P01", "ProcessInterrupts", "x").is_transient());
        assert!(explain("57P03", "ProcessStartupPacket", "x").is_transient());
        let error = explain("22P02", "x", "invalid input syntax: \"secret value\"");
        assert!(!error.to_string().contains("secret"));
    }
}
