//! Preflight: everything that would go wrong later, each with the statement that mends it.
//!
//! Read-only. Owns the questions and the remedies; says nothing about a table's rows. Leaves the
//! decision what to do about a finding to who reads it, but for [`demand`]: settings without which
//! the log does not tell what the rows became.

mod grants;

use std::collections::HashMap;

use cdc_api::{Error, Finding, Result, TableName};

use crate::catalog::{self, CatalogTable, Which, quoted};
use crate::connect::{Flavour, Session};
use crate::history;
use crate::refusal::account;
use crate::source::Server;
use grants::Grants;

/// How long the log is to be kept at least without a warning, in seconds.
const DAY: u64 = 86_400;

/// All findings, in the order in which they are best mended.
pub(crate) async fn check(server: &Server) -> Result<Vec<Finding>> {
    let mut session = server.session().await?;
    let mut findings = vec![greeting(server, &session)];
    let settings = Variables::read(&mut session).await?;
    findings.extend(settings.demands());
    findings.extend(settings.wishes());
    findings.extend(reader(server, &settings));
    findings.extend(privileges(server, &mut session).await?);
    findings.extend(replica(&mut session, &settings).await);
    findings.extend(tables(server, &mut session).await?);
    if let Some(offset) = &server.config.debezium_offset {
        findings.push(offset.finding(&mut session).await);
    }
    session.close().await;
    Ok(findings)
}

/// Refuses a server whose log does not tell what the rows became.
///
/// # Errors
/// `Config`, with the statement that mends it.
pub(crate) async fn demand(session: &mut Session) -> Result<()> {
    let settings = Variables::read(session).await?;
    let missing = settings
        .demands()
        .into_iter()
        .find(|finding| finding.severity == cdc_api::Severity::Error);
    match missing {
        None => Ok(()),
        Some(finding) => {
            let error = Error::config(format!("{} {}", finding.subject, finding.message));
            Err(match finding.remedy {
                Some(remedy) => error.hint(remedy),
                None => error,
            })
        }
    }
}

fn greeting(server: &Server, session: &Session) -> Finding {
    let (major, minor, patch) = session.version();
    let (product, supported) = match session.flavour() {
        Flavour::MySql => ("MySQL", (major, minor) >= (8, 0)),
        Flavour::MariaDb => ("MariaDB", (major, minor) >= (10, 6)),
    };
    let message = format!(
        "{} as {}, {product} {major}.{minor}.{patch}",
        server.settings.address(),
        server.settings.user
    );
    if supported {
        Finding::ok("connection", message)
    } else {
        Finding::error(
            "connection",
            format!("{message}: this version is not supported"),
            "upgrade the server to MySQL 8.0 or later, or MariaDB 10.6 or later",
        )
    }
}

/// The server's settings.
struct Variables {
    flavour: Flavour,
    values: HashMap<String, String>,
}

impl Variables {
    async fn read(session: &mut Session) -> Result<Self> {
        let rows = session.query("SHOW GLOBAL VARIABLES").await?;
        Ok(Self {
            flavour: session.flavour(),
            values: rows
                .iter()
                .map(|row| (row.text(0).to_owned(), row.text(1).to_owned()))
                .collect(),
        })
    }

    fn get(&self, name: &str) -> &str {
        self.values.get(name).map_or("", String::as_str)
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.get(name).split('.').next()?.parse().ok()
    }

    /// The statement that changes a setting for good.
    fn set(&self, name: &str, value: &str) -> String {
        match self.flavour {
            Flavour::MySql => format!("SET PERSIST {name} = {value}"),
            Flavour::MariaDb => {
                format!("SET GLOBAL {name} = {value}, and the same in the server's configuration")
            }
        }
    }

    fn is(&self, name: &str, wanted: &str, why: &str) -> Finding {
        let value = self.get(name);
        if value.eq_ignore_ascii_case(wanted) {
            Finding::ok(name, wanted)
        } else {
            Finding::error(name, format!("is {value}: {why}"), self.set(name, wanted))
        }
    }

    /// Without these no row is told truly.
    fn demands(&self) -> Vec<Finding> {
        let mut findings = vec![if self.get("log_bin") == "ON" {
            Finding::ok("log_bin", "ON")
        } else {
            Finding::error(
                "log_bin",
                "is OFF: the server writes no binlog",
                "set log_bin = binlog and server_id = 1 in the server's configuration and restart it",
            )
        }];
        if !self.get("binlog_format").is_empty() {
            findings.push(self.is(
                "binlog_format",
                "ROW",
                "the log has statements instead of rows; sessions that are open keep what they have",
            ));
        }
        findings.push(self.is(
            "binlog_row_image",
            "FULL",
            "updates and deletes lack values; sessions that are open keep what they have",
        ));
        if self.flavour == Flavour::MySql && !self.get("binlog_row_value_options").is_empty() {
            findings.push(Finding::error(
                "binlog_row_value_options",
                "is PARTIAL_JSON: updates have only the changed parts of JSON values",
                self.set("binlog_row_value_options", "''"),
            ));
        }
        findings
    }

    /// What works, and may bite later.
    fn wishes(&self) -> Vec<Finding> {
        let mut findings = vec![match self.flavour {
            Flavour::MySql if self.get("gtid_mode") == "ON" => Finding::ok("gtid_mode", "ON"),
            Flavour::MySql => Finding::warning(
                "gtid_mode",
                format!(
                    "is {}: a failover to another server cannot be followed",
                    self.get("gtid_mode")
                ),
                "SET PERSIST enforce_gtid_consistency = ON; SET PERSIST gtid_mode = OFF_PERMISSIVE; \
                 SET PERSIST gtid_mode = ON_PERMISSIVE; SET PERSIST gtid_mode = ON",
            ),
            Flavour::MariaDb if self.get("gtid_strict_mode") == "ON" => {
                Finding::ok("gtid_strict_mode", "ON")
            }
            Flavour::MariaDb => Finding::warning(
                "gtid_strict_mode",
                "is OFF: transactions may be numbered out of order, which would stop the stream",
                self.set("gtid_strict_mode", "ON"),
            ),
        }];
        let metadata = self.get("binlog_row_metadata");
        findings.push(match metadata {
            "FULL" => Finding::ok("binlog_row_metadata", "FULL"),
            _ => Finding::warning(
                "binlog_row_metadata",
                format!(
                    "is {metadata}: the log does not tell names, signs and character sets of columns; \
                     they are followed through every ALTER TABLE, and a table stops at one that is not \
                     understood"
                ),
                self.set("binlog_row_metadata", "FULL"),
            ),
        });
        findings.push(self.retention());
        if self.get("binlog_order_commits") == "OFF" {
            findings.push(Finding::warning(
                "binlog_order_commits",
                "is OFF: copies of tables without a key may hold rows twice",
                self.set("binlog_order_commits", "ON"),
            ));
        }
        findings
    }

    /// How long the log is kept.
    fn retention(&self) -> Finding {
        const NAME: &str = "binlog_expire_logs_seconds";
        let seconds = match self.number(NAME) {
            Some(seconds @ 1..) => Some(seconds),
            _ => self
                .number("expire_logs_days")
                .filter(|days| *days > 0)
                .map(|days| days * DAY),
        };
        let automatic = self.get("binlog_expire_logs_auto_purge") != "OFF";
        match seconds.filter(|_| automatic) {
            Some(seconds) if seconds < DAY => Finding::warning(
                NAME,
                format!(
                    "the log is kept for {seconds} s: if cdc stands still for longer, the tables must \
                     be loaded anew"
                ),
                self.set(NAME, "604800"),
            ),
            Some(seconds) => Finding::ok(NAME, format!("the log is kept for {} h", seconds / 3600)),
            None => Finding::ok(NAME, "the log is kept until it is purged by hand"),
        }
    }
}

/// The number of this reader of the log.
fn reader(server: &Server, settings: &Variables) -> Option<Finding> {
    let mine = server.choices.server_id;
    (settings.number("server_id") == Some(u64::from(mine))).then(|| {
        Finding::error(
            "server_id",
            format!("{mine} is the server's own number"),
            "set source.server_id to a number that no server and no other reader has",
        )
    })
}

async fn privileges(server: &Server, session: &mut Session) -> Result<Vec<Finding>> {
    let user = account(&server.settings);
    let grants = Grants::read(session).await?;
    let mut findings = Vec::new();
    let subject = "privilege to read the log";
    findings.push(if grants.everywhere("REPLICATION SLAVE") {
        Finding::ok(subject, "granted")
    } else {
        Finding::error(
            subject,
            format!("{user} has none"),
            format!("GRANT REPLICATION SLAVE ON *.* TO {user}"),
        )
    });
    let subject = "privilege to ask for the log's end";
    findings.push(match history::status(session).await {
        Ok(Some(row)) => match (row.text(2), row.text(3)) {
            ("", "") => Finding::ok(subject, "granted"),
            _ => Finding::error(
                "binlog_do_db, binlog_ignore_db",
                "leave databases out of the log",
                "remove binlog_do_db and binlog_ignore_db from the server's configuration and restart \
                 it",
            ),
        },
        Ok(None) => Finding::ok(subject, "granted"),
        Err(error) => Finding {
            remedy: Some(format!("GRANT REPLICATION CLIENT ON *.* TO {user}")),
            ..Finding::from_error(subject, &error)
        },
    });
    let subject = "privilege to lock";
    findings.push(
        if grants.anywhere("LOCK TABLES") || grants.everywhere("RELOAD") {
            Finding::ok(subject, "granted")
        } else {
            let consequence = match session.flavour() {
                Flavour::MySql => {
                    "copies are taken without a lock: for a moment such a table may be ahead of the \
                     others, and tables without a key are refused"
                }
                Flavour::MariaDb => "a copy is read by one session at a time",
            };
            Finding::warning(
                subject,
                consequence,
                format!("GRANT LOCK TABLES ON each database of the tables TO {user}"),
            )
        },
    );
    if grants.everywhere("SUPER") {
        findings.push(Finding::warning(
            "user",
            "has SUPER, which cdc does not need",
            format!(
                "CREATE USER cdc IDENTIFIED BY '…'; GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* \
                 TO cdc; for each database: GRANT SELECT, LOCK TABLES ON d.* TO cdc; instead of {user}"
            ),
        ));
    }
    Ok(findings)
}

/// A replica writes what it applies to its own log only where it is told to.
async fn replica(session: &mut Session, settings: &Variables) -> Option<Finding> {
    let (statement, setting) = match session.flavour() {
        Flavour::MySql if session.version() >= (8, 0, 26) => {
            ("SHOW REPLICA STATUS", "log_replica_updates")
        }
        Flavour::MySql => ("SHOW SLAVE STATUS", "log_slave_updates"),
        Flavour::MariaDb => ("SHOW ALL SLAVES STATUS", "log_slave_updates"),
    };
    // Who may not ask is told so by another finding.
    let replicates = !session.query(statement).await.ok()?.is_empty();
    if !replicates {
        return None;
    }
    Some(if settings.get(setting) == "ON" {
        Finding::ok(setting, "ON, and the server is a replica")
    } else {
        Finding::error(
            setting,
            "is OFF, and the server is a replica: what it applies is not in its log",
            format!("set {setting} = ON in the server's configuration and restart it"),
        )
    })
}

async fn tables(server: &Server, session: &mut Session) -> Result<Vec<Finding>> {
    let wanted = |name: &TableName| server.wants(name);
    let listed = catalog::tables(session, Which::Wanted(&wanted)).await?;
    if listed.is_empty() {
        return Ok(vec![Finding::error(
            "tables",
            "the patterns in source.tables match no table that can be seen",
            format!(
                "correct source.tables; or for each database: GRANT SELECT ON d.* TO {}",
                account(&server.settings)
            ),
        )]);
    }
    let mut findings = Vec::new();
    let mut good = 0;
    for table in &listed {
        match finding(server, session, table).await {
            Some(finding) => findings.push(finding),
            None => good += 1,
        }
    }
    if findings.is_empty() {
        let message = format!("{good} can be captured and read");
        findings.push(Finding::ok("tables", message));
    }
    Ok(findings)
}

/// What speaks against a table, if anything.
async fn finding(server: &Server, session: &mut Session, table: &CatalogTable) -> Option<Finding> {
    let name = &table.name;
    let subject = format!("table {name}");
    let refused = server
        .judge(table)
        .or_else(|| catalog::shape(table, server.config.types, 1).err());
    if let Some(error) = refused {
        return Some(Finding::from_error(subject, &error));
    }
    let statement = quoted(name);
    let read = format!("SELECT * FROM {statement} LIMIT 0");
    if let Err(error) = session.query(&read).await {
        let user = account(&server.settings);
        return Some(Finding {
            remedy: Some(format!("GRANT SELECT ON {statement} TO {user}")),
            ..Finding::from_error(format!("privileges on {name}"), &error)
        });
    }
    if table.cascade.is_some() {
        return Some(Finding::warning(
            subject,
            "foreign keys change rows of it beside the log, as source.allow_cascades allows",
            format!("cdc verify {name} tells of such changes, cdc snapshot {name} mends them"),
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use cdc_api::Severity;

    use super::*;

    fn variables(flavour: Flavour, values: &[(&str, &str)]) -> Variables {
        let good = [
            ("log_bin", "ON"),
            ("binlog_format", "ROW"),
            ("binlog_row_image", "FULL"),
            ("binlog_row_metadata", "FULL"),
            ("gtid_mode", "ON"),
            ("gtid_strict_mode", "ON"),
            ("binlog_expire_logs_seconds", "2592000"),
        ];
        let values = good.iter().chain(values);
        Variables {
            flavour,
            values: values
                .map(|&(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        }
    }

    #[test]
    fn a_server_as_it_should_be_has_nothing_to_mend() {
        for flavour in [Flavour::MySql, Flavour::MariaDb] {
            let good = variables(flavour, &[]);
            let findings = [good.demands(), good.wishes()].concat();
            assert!(findings.iter().all(|it| it.severity == Severity::Ok));
        }
    }

    #[test]
    fn every_setting_that_bends_rows_is_demanded_with_its_statement() {
        for (name, value, remedy) in [
            ("log_bin", "OFF", "log_bin = binlog"),
            (
                "binlog_format",
                "STATEMENT",
                "SET PERSIST binlog_format = ROW",
            ),
            ("binlog_format", "MIXED", "SET PERSIST binlog_format = ROW"),
            (
                "binlog_row_image",
                "MINIMAL",
                "SET PERSIST binlog_row_image = FULL",
            ),
            (
                "binlog_row_value_options",
                "PARTIAL_JSON",
                "SET PERSIST binlog_row_value_options = ''",
            ),
        ] {
            let found = variables(Flavour::MySql, &[(name, value)]).demands();
            let finding = found.iter().find(|it| it.subject == name).expect(name);
            assert_eq!(finding.severity, Severity::Error, "{name}");
            let shown = finding.remedy.as_deref().unwrap_or_default();
            assert!(shown.contains(remedy), "{name}: {shown}");
        }
    }

    #[test]
    fn what_may_bite_later_is_warned_of() {
        for (flavour, name, value) in [
            (Flavour::MySql, "gtid_mode", "OFF"),
            (Flavour::MySql, "binlog_row_metadata", "MINIMAL"),
            (Flavour::MariaDb, "binlog_row_metadata", "NO_LOG"),
            (Flavour::MariaDb, "gtid_strict_mode", "OFF"),
            (Flavour::MySql, "binlog_expire_logs_seconds", "3600"),
            (Flavour::MySql, "binlog_order_commits", "OFF"),
        ] {
            let found = variables(flavour, &[(name, value)]).wishes();
            let finding = found.iter().find(|it| it.subject == name).expect(name);
            assert_eq!(finding.severity, Severity::Warning, "{name}");
            assert!(finding.remedy.is_some());
        }
    }
}
