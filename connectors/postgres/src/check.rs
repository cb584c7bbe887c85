//! Preflight: everything that would go wrong later, each with the statement that mends it.
//!
//! Read-only. Owns the questions and the remedies; says nothing about a table's rows. Leaves the
//! decision what to do about a finding to who reads it.

use cdc_api::schema::quote_identifier;
use cdc_api::{Finding, Result, TableName};
use postgres_protocol::escape::escape_literal;

use crate::catalog::{self, Listed, Which};
use crate::config::Manage;
use crate::publication::{self, Member};
use crate::session::{Purpose, Session};
use crate::slot;
use crate::source::Server;
use crate::stream;

/// All findings, in the order in which they are best mended.
pub(crate) async fn check(server: &Server) -> Result<Vec<Finding>> {
    let mut session = server.session().await?;
    let mut findings = vec![Finding::ok(
        "connection",
        format!(
            "{} as {}, PostgreSQL {}",
            server.settings.place(),
            server.settings.user,
            session
                .parameter("server_version")
                .split(' ')
                .next()
                .unwrap_or_default()
        ),
    )];
    findings.extend(settings(server, &mut session).await?);
    findings.extend(role(server, &mut session).await?);
    findings.extend(replication(server).await);
    findings.extend(the_slot(server, &mut session).await?);
    findings.extend(takeover(server, &mut session).await);
    let (tables, listed) = tables(server, &mut session).await?;
    findings.extend(tables);
    findings.extend(the_publication(server, &mut session, &listed).await?);
    session.close().await;
    Ok(findings)
}

/// Settings of the server.
async fn settings(server: &Server, session: &mut Session) -> Result<Vec<Finding>> {
    let row = session
        .query_one(
            "SELECT current_setting('wal_level'), current_setting('max_replication_slots'), \
                    current_setting('max_wal_senders'), \
                    (SELECT count(*) FROM pg_replication_slots), \
                    (SELECT count(*) FROM pg_stat_replication), pg_is_in_recovery(), \
                    current_setting('max_slot_wal_keep_size'), \
                    current_setting('fsync'), current_setting('server_encoding'), \
                    current_setting('wal_sender_timeout')",
        )
        .await?;
    let mut findings = Vec::new();
    findings.push(if row.text(0) == "logical" {
        Finding::ok("wal_level", "logical")
    } else {
        Finding::error(
            "wal_level",
            format!(
                "is {}, so that the log does not carry row changes",
                row.text(0)
            ),
            "ALTER SYSTEM SET wal_level = logical, then restart the server (managed services: \
             rds.logical_replication = 1, cloudsql.logical_decoding = on)",
        )
    });
    let here = slot::find(session, &server.choices.slot).await?.is_some();
    // One for the stream, and one more while a snapshot's point is being found.
    let needed = if here { 1 } else { 2 };
    findings.push(room(
        "max_replication_slots",
        row.number(1)?,
        row.number(3)?,
        needed,
    ));
    findings.push(room("max_wal_senders", row.number(2)?, row.number(4)?, 2));
    if row.is_true(5) {
        findings.push(Finding::error(
            "server",
            "is a standby",
            "name the primary in source.url",
        ));
    }
    if row.text(6) != "-1" {
        findings.push(Finding::warning(
            "max_slot_wal_keep_size",
            format!(
                "is {}: if a sink lags by more, the slot is lost and the tables must be loaded anew",
                row.text(6)
            ),
            "ALTER SYSTEM SET max_slot_wal_keep_size = -1; SELECT pg_reload_conf(); or set \
             acknowledge: journal, so that sinks do not hold the log",
        ));
    }
    if row.text(8) != "UTF8" {
        findings.push(Finding::warning(
            "server_encoding",
            format!(
                "is {}: text is converted to UTF-8, and what cannot be stops its table",
                row.text(8)
            ),
            "move the database to one with ENCODING 'UTF8' by pg_dump",
        ));
    }
    Ok(findings)
}

fn room(setting: &str, limit: i64, used: i64, needed: i64) -> Finding {
    let message = format!("{used} of {limit} in use");
    if limit - used >= needed {
        Finding::ok(setting, message)
    } else {
        Finding::error(
            setting,
            format!("{message}, {needed} more are needed"),
            format!(
                "ALTER SYSTEM SET {setting} = {}, then restart the server",
                (limit + needed).max(10)
            ),
        )
    }
}

/// Attributes of the role.
async fn role(server: &Server, session: &mut Session) -> Result<Vec<Finding>> {
    let user = quote_identifier(&server.settings.user);
    let row = session
        .query_one(
            "SELECT rolsuper, rolreplication OR coalesce(( \
                SELECT bool_or(pg_has_role(current_user, oid, 'MEMBER')) FROM pg_roles \
                WHERE rolname IN ('rds_replication', 'rds_superuser')), false), \
                has_database_privilege(current_database(), 'CREATE') \
             FROM pg_roles WHERE rolname = current_user",
        )
        .await?;
    let mut findings = Vec::new();
    let superuser = row.is_true(0);
    findings.push(if superuser || row.is_true(1) {
        Finding::ok("privilege to replicate", "granted")
    } else {
        Finding::error(
            "privilege to replicate",
            format!("the role {} has none", server.settings.user),
            format!("ALTER ROLE {user} REPLICATION (on RDS: GRANT rds_replication TO {user})"),
        )
    });
    if superuser {
        findings.push(Finding::warning(
            "role",
            "is a superuser, which cdc does not need",
            least_privilege(server),
        ));
    }
    if server.config.manage_publication == Manage::Own && !superuser && !row.is_true(2) {
        findings.push(Finding::error(
            "privilege to create the publication",
            format!("the role {} has none", server.settings.user),
            format!(
                "GRANT CREATE ON DATABASE {} TO {user}; or create the publication by hand and set \
                 source.manage_publication: given",
                quote_identifier(&server.settings.database)
            ),
        ));
    }
    Ok(findings)
}

/// The statements that make a role with no more than is needed.
pub(crate) fn least_privilege(server: &Server) -> String {
    let database = quote_identifier(&server.settings.database);
    let publication = quote_identifier(&server.choices.publication);
    format!(
        "CREATE ROLE cdc LOGIN REPLICATION PASSWORD '…'; GRANT CONNECT ON DATABASE {database} TO \
         cdc; for each schema: GRANT USAGE ON SCHEMA s TO cdc; GRANT SELECT ON ALL TABLES IN \
         SCHEMA s TO cdc; ALTER DEFAULT PRIVILEGES IN SCHEMA s GRANT SELECT ON TABLES TO cdc; and \
         as the tables' owner: CREATE PUBLICATION {publication} FOR TABLE … WITH \
         (publish_via_partition_root = true), with source.manage_publication: given"
    )
}

/// Whether a replication session can be had: pg_hba.conf, poolers, the limit of senders.
async fn replication(server: &Server) -> Vec<Finding> {
    match Session::open(&server.settings, Purpose::Replication).await {
        Ok(mut session) => {
            let direct = session.query("IDENTIFY_SYSTEM").await;
            session.close().await;
            vec![match direct {
                Ok(_) => Finding::ok("replication session", "opened"),
                Err(error) => Finding {
                    remedy: Some(
                        "name the server itself in source.url, not a connection pooler".to_owned(),
                    ),
                    ..Finding::from_error("replication session", &error)
                },
            }]
        }
        Err(error) => vec![Finding::from_error("replication session", &error)],
    }
}

async fn the_slot(server: &Server, session: &mut Session) -> Result<Vec<Finding>> {
    let name = &server.choices.slot;
    let subject = format!("slot {name}");
    let Some(slot) = slot::find(session, name).await? else {
        return Ok(vec![if server.config.manage_slot == Manage::Own {
            Finding::ok(subject, "will be created")
        } else {
            Finding::error(
                subject,
                "does not exist",
                format!("SELECT pg_create_logical_replication_slot('{name}', 'pgoutput')"),
            )
        }]);
    };
    if let Err(error) = slot.usable(&server.settings.database) {
        return Ok(vec![Finding::from_error(subject, &error)]);
    }
    let kept = slot.kept_bytes.unwrap_or(0) >> 20;
    let mut message = format!("keeps {kept} MiB of log");
    if let Some(pid) = slot.active_pid {
        message += &format!(", in use by session {pid}");
    }
    let danger = slot.wal_status == "unreserved"
        || slot
            .safe_bytes
            .zip(slot.kept_bytes)
            .is_some_and(|(safe, kept)| safe < kept);
    Ok(vec![if danger {
        Finding::warning(
            subject,
            format!("{message}, and is in danger of being invalidated"),
            "ALTER SYSTEM SET max_slot_wal_keep_size = -1; SELECT pg_reload_conf()",
        )
    } else {
        Finding::ok(subject, message)
    }])
}

/// What becomes of the offset of a connector.
async fn takeover(server: &Server, session: &mut Session) -> Option<Finding> {
    let offset = server.config.debezium_offset.as_ref()?;
    let name = &server.choices.slot;
    let asked = async {
        let slot = slot::find(session, name).await?;
        let mut replication = Session::open(&server.settings, Purpose::Replication).await?;
        let (log, end) = stream::identify(&mut replication).await?;
        replication.close().await;
        Ok(offset.finding((&log, end), slot.as_ref(), name))
    };
    Some(match asked.await {
        Ok(finding) => finding,
        Err(error) => Finding::from_error("debezium_offset", &error),
    })
}

async fn tables(server: &Server, session: &mut Session) -> Result<(Vec<Finding>, Vec<Listed>)> {
    let version = session.version();
    let types = catalog::types(session, server.config.types).await?;
    let mut listed = catalog::tables(session, Which::All).await?;
    listed.retain(|table| server.wants(table));
    if listed.is_empty() {
        let finding = Finding::error(
            "tables",
            "the patterns in source.tables match no table",
            "correct source.tables; \\dt *.* in psql lists the tables",
        );
        return Ok((vec![finding], listed));
    }
    let mut findings = Vec::new();
    let mut good = Vec::new();
    for mut table in listed {
        let name = table.table.name.clone();
        let subject = format!("table {name}");
        let refused = server
            .judge(&mut table, version)
            .or_else(|| catalog::shape(&table.table, &types, 1).err());
        if let Some(error) = refused {
            findings.push(Finding::from_error(subject, &error));
            continue;
        }
        findings.extend(privileges(server, session, &table, &name).await?);
        good.push(table);
    }
    if findings.is_empty() {
        let message = format!("{} can be captured and read", good.len());
        findings.push(Finding::ok("tables", message));
    }
    Ok((findings, good))
}

async fn privileges(
    server: &Server,
    session: &mut Session,
    table: &Listed,
    name: &TableName,
) -> Result<Vec<Finding>> {
    let user = quote_identifier(&server.settings.user);
    let columns: Vec<String> = table
        .table
        .columns
        .iter()
        .map(|column| column.attnum.to_string())
        .collect();
    let row = session
        .query_one(&format!(
            "SELECT has_schema_privilege({}, 'USAGE'), has_table_privilege({oid}::oid, 'SELECT') \
               OR coalesce((SELECT bool_and(has_column_privilege({oid}::oid, number, 'SELECT')) \
                 FROM unnest('{{{}}}'::int2[]) number), false), \
               (SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user)",
            escape_literal(&name.schema),
            columns.join(","),
            oid = table.table.oid,
        ))
        .await?;
    let mut findings = Vec::new();
    let subject = format!("privileges on {name}");
    if !row.is_true(0) || !row.is_true(1) {
        findings.push(Finding::error(
            subject.clone(),
            "its rows cannot be read",
            format!(
                "GRANT USAGE ON SCHEMA {} TO {user}; GRANT SELECT ON {} TO {user}",
                quote_identifier(&name.schema),
                name.quoted()
            ),
        ));
    }
    if table.table.row_security && !row.is_true(2) {
        findings.push(Finding::error(
            subject,
            "row-level security would hide rows",
            format!("ALTER ROLE {user} BYPASSRLS"),
        ));
    }
    Ok(findings)
}

async fn the_publication(
    server: &Server,
    session: &mut Session,
    tables: &[Listed],
) -> Result<Vec<Finding>> {
    let name = &server.choices.publication;
    let subject = format!("publication {name}");
    let own = server.config.manage_publication == Manage::Own;
    let found = publication::find(session, name).await?;
    let members: Vec<Member> = tables
        .iter()
        .map(|table| Member::new(&table.table, &server.choices))
        .collect();
    let partitioned = tables.iter().any(|table| table.table.partitioned);
    Ok(vec![match found {
        Some(_) if own => {
            let owner = session
                .query_one(&format!(
                    "SELECT pg_has_role(pubowner, 'USAGE') FROM pg_publication WHERE pubname = {}",
                    escape_literal(name)
                ))
                .await?;
            if owner.is_true(0) {
                Finding::ok(subject, "is there, and altered where it must be")
            } else {
                Finding::error(
                    subject,
                    "belongs to another role",
                    format!(
                        "ALTER PUBLICATION {} OWNER TO {}; or set source.manage_publication: given",
                        quote_identifier(name),
                        quote_identifier(&server.settings.user)
                    ),
                )
            }
        }
        Some(found) => match publication::suffices(&found, &members, partitioned) {
            Ok(()) => Finding::ok(subject, "passes on what is needed"),
            Err(error) => Finding::from_error(subject, &error),
        },
        None if own => {
            let owned = owned(session, tables).await?;
            match owned {
                None => Finding::ok(subject, "will be created"),
                Some(foreign) => Finding::error(
                    subject,
                    format!(
                        "cannot be created: {foreign} belongs to another role, and only a table's \
                         owner may publish it"
                    ),
                    format!(
                        "as a superuser: {}; and set source.manage_publication: given",
                        publication::statements(None, name, publication::Operations::All, &members)
                            .join("; ")
                    ),
                ),
            }
        }
        None => Finding::error(
            subject,
            "does not exist",
            publication::statements(None, name, publication::Operations::All, &members).join("; "),
        ),
    }])
}

/// A table that the role does not own, if there is one.
async fn owned(session: &mut Session, tables: &[Listed]) -> Result<Option<TableName>> {
    let oids: Vec<u32> = tables.iter().map(|table| table.table.oid).collect();
    let rows = session
        .query(&format!(
            "SELECT n.nspname, c.relname FROM pg_class c \
             JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE c.oid = ANY ('{}'::oid[]) AND NOT pg_has_role(c.relowner, 'USAGE') \
             ORDER BY 1, 2 LIMIT 1",
            catalog::array(&oids)
        ))
        .await?;
    Ok(rows
        .first()
        .map(|row| TableName::new(row.text(0), row.text(1))))
}
