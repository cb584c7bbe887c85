//! W1 and W2: PostgreSQL's existing rows copied, and what a slot has kept drained.

use std::process::Command;

use super::produced;
use super::report::{Figure, Report};
use super::rounds::{drained, positioned, tool};
use super::target::{Target, broker, daemon, topic};
use super::wish::Wish;
use crate::postgres::{Postgres, Wanted};
use crate::server::Server as _;

const TABLE: &str = "CREATE SCHEMA shop; CREATE TABLE shop.line (id bigint PRIMARY KEY, customer int NOT NULL, product int, \
    amount numeric(10,2), note text, created timestamptz, paid boolean)";

/// About 110 bytes as the server sends them.
const ROW: &str = "i, i % 10007, i % 97, (i % 100000) / 100.0, 'note ' || md5(i::text), \
    timestamptz '2024-01-01 00:00:00+00' + i * interval '1 second', i % 2 = 0";

/// A server with room for all the log of a work.
pub(super) async fn server(wish: &Wish) -> Postgres {
    Wanted::version(wish.postgres)
        .set("shared_buffers", "1GB")
        .set("max_wal_size", "20GB")
        .set("checkpoint_timeout", "1h")
        .set("max_replication_slots", "200")
        // For the statement that makes 5,000 tables, and the one that drops them.
        .set("max_locks_per_transaction", "1024")
        .set("autovacuum", "off")
        .start()
        .await
}

pub(super) fn url(server: &Postgres) -> String {
    server.url("postgres", "postgres")
}

/// W1: existing rows.
pub(super) async fn copy(wish: &Wish, report: &mut Report) -> Result<(), String> {
    let server = server(wish).await;
    server
        .execute(&format!(
            "{TABLE}; INSERT INTO shop.line SELECT {ROW} FROM generate_series(1, {}) i",
            wish.rows
        ))
        .await;
    server.execute("VACUUM ANALYZE shop.line").await;
    let broker = broker(&wish.into).await;
    let work = format!("W1 copy {} rows, PostgreSQL {}", wish.rows, wish.postgres);
    let mut figure = Figure::new(work, wish.rows);
    for round in 0..wish.pairs {
        let mut psql = Command::new("psql");
        psql.args(["-X", "-q", "-d", &url(&server), "-c"]);
        psql.arg("COPY shop.line TO STDOUT (FORMAT binary)");
        figure.ran("COPY, binary, to nothing", tool(psql, server.pid())?);
        for &target in &wish.into {
            let name = format!("copy_{}_{round}", target.name());
            let daemon = daemon(&name, &url(&server), &[target], broker.as_ref());
            let cost = tool(daemon.command(&["snapshot"]), server.pid())?;
            figure.ran(&target.title(), cost);
            daemon.succeed(&["teardown", "--yes"])?;
        }
    }
    report.figures.push(figure);
    Ok(())
}

/// W2: five sixths of the changes are inserts by 10,000 in a transaction, the others updates by 4.
pub(super) async fn drain(wish: &Wish, report: &mut Report) -> Result<(), String> {
    let server = server(wish).await;
    server.execute(TABLE).await;
    server
        .execute("CREATE PUBLICATION floor FOR TABLE shop.line")
        .await;
    let broker = broker(&wish.into).await;
    let mut daemons = Vec::new();
    for round in 0..wish.pairs {
        for reader in ["gulps", "recvlogical"] {
            let slot = format!(
                "SELECT pg_create_logical_replication_slot('{reader}_{round}', 'pgoutput')"
            );
            server.execute(&slot).await;
        }
        for &target in &wish.into {
            let name = format!("drain_{}_{round}", target.name());
            let mut daemon = daemon(&name, &url(&server), &[target], broker.as_ref());
            positioned(&mut daemon).await?;
            daemons.push((target, daemon));
        }
    }
    let (large, small) = (wish.rows * 2 / 5 / 10_000, wish.rows * 2 / 25 / 4);
    let by = 10_000;
    server
        .execute(&format!(
            "DO $$ BEGIN FOR n IN 0..{large} - 1 LOOP INSERT INTO shop.line SELECT {ROW} \
             FROM generate_series(n * {by} + 1, n * {by} + {by}) i; COMMIT; END LOOP; END $$"
        ))
        .await;
    server
        .execute(&format!(
            "DO $$ BEGIN FOR n IN 1..{small} LOOP UPDATE shop.line SET paid = NOT paid, \
             note = 'changed ' || n WHERE id BETWEEN n * 4 - 3 AND n * 4; COMMIT; END LOOP; END $$"
        ))
        .await;
    let rows = large * by + small * 4;
    let end = server.value("SELECT pg_current_wal_insert_lsn()").await;
    let end = end.ok_or("no position")?;
    let work = format!("W2 drain {rows} changes, PostgreSQL {}", wish.postgres);
    let mut figure = Figure::new(work, rows);
    let mut daemons = daemons.into_iter();
    for round in 0..wish.pairs {
        let cost = tool(
            gulps(&server, &format!("gulps_{round}"), &end)?,
            server.pid(),
        )?;
        figure.ran("bare reader in gulps, binary", cost);
        let cost = tool(
            recvlogical(&server, &format!("recvlogical_{round}"), &end),
            server.pid(),
        )?;
        figure.ran("pg_recvlogical, text", cost);
        for (target, mut daemon) in daemons.by_ref().take(wish.into.len()) {
            figure.ran(&target.title(), drained(&mut daemon, server.pid()).await?);
            if let (Target::Kafka, Some(broker)) = (target, &broker) {
                let topic = topic(&format!("drain_{}_{round}", target.name()), "shop.line");
                let cost = produced::run(&broker.brokers(), &topic, rows)?;
                figure.ran("librdkafka alone, the same into Kafka", cost);
            }
            daemon.succeed(&["teardown", "--yes"])?;
        }
    }
    report.figures.push(figure);
    Ok(())
}

/// This program again, as the bare reader: so that it is measured like the others.
fn gulps(server: &Postgres, slot: &str, end: &str) -> Result<Command, String> {
    let mut command = Command::new(std::env::current_exe().map_err(|e| e.to_string())?);
    let port = server.port().to_string();
    command.args(["gulps", &port, slot, "floor", end]);
    Ok(command)
}

fn recvlogical(server: &Postgres, slot: &str, end: &str) -> Command {
    let mut command = Command::new("pg_recvlogical");
    command.args(["-d", &url(server), "--slot", slot, "--start", "--no-loop"]);
    command.args(["-o", "proto_version=1", "-o", "publication_names=floor"]);
    command.args(["--endpos", end, "-f", "/dev/null"]);
    command
}
