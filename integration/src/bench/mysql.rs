//! W3 and W4: a binlog of MySQL or MariaDB drained, and existing rows copied.

use std::process::Command;

use super::produced;
use super::report::{Figure, Report};
use super::rounds::{drained, positioned, tool};
use super::target::{Target, broker, daemon, topic};
use super::wish::Wish;
use crate::mysql::{Flavor, Mysql, NUMBERS, Wanted};
use crate::server::{Server as _, Session as _};

const TABLE: &str = "CREATE SCHEMA shop; CREATE TABLE shop.line (id bigint PRIMARY KEY, customer int NOT NULL, product int, \
    amount decimal(10,2), note varchar(100), created datetime, paid boolean) CHARSET utf8mb4";

/// Rows of a statement; as many as there are numbers.
const BY: u64 = 10_000;

/// The row of number `$` and those that follow it, about 110 bytes each.
const ROWS: &str = "INSERT INTO shop.line SELECT $ + i, ($ + i) % 10007, i % 97, (($ + i) % 100000) / 100.0, \
    CONCAT('note ', LEFT(SHA2($ + i, 256), 32)), '2024-01-01' + INTERVAL $ + i SECOND, i % 2 = 0 FROM work.n";

async fn server(wish: &Wish) -> Mysql {
    let log = match wish.flavor {
        Flavor::MySql => ("innodb-redo-log-capacity", "2G"),
        Flavor::MariaDb => ("innodb-log-file-size", "2G"),
    };
    let server = Wanted::flavor(wish.flavor)
        .set("innodb-buffer-pool-size", "1G")
        .set("max-binlog-size", "1G")
        .set(log.0, log.1)
        .start()
        .await;
    server.execute(&format!("{NUMBERS} {TABLE}")).await;
    server
}

fn title(wish: &Wish) -> &'static str {
    match wish.flavor {
        Flavor::MySql => "MySQL 9",
        Flavor::MariaDb => "MariaDB",
    }
}

async fn say(server: &Mysql, statements: impl Iterator<Item = String>) -> Result<(), String> {
    let session = server.session().await;
    for statement in statements {
        session.execute(&statement).await.map_err(|e| e.text)?;
    }
    Ok(())
}

/// A program of the server's package that connects to it by TCP, unencrypted as the daemon does.
fn client(server: &Mysql, name: (&str, &str)) -> Command {
    let (program, plain) = match server.flavor() {
        Flavor::MySql => (name.0, "--ssl-mode=DISABLED"),
        Flavor::MariaDb => (name.1, "--skip-ssl"),
    };
    let mut command = server.program(program);
    let port = format!("--port={}", server.port());
    command.args([
        "--no-defaults",
        "--host=127.0.0.1",
        "--user=root",
        &port,
        plain,
    ]);
    command
}

/// W3: twenty parts inserts by 10,000 in a transaction, one part updates by 4.
pub(super) async fn drain(wish: &Wish, report: &mut Report) -> Result<(), String> {
    let server = server(wish).await;
    let broker = broker(&wish.into).await;
    let url = Mysql::url_at(server.port());
    let mut daemons = Vec::new();
    for round in 0..wish.pairs {
        for &target in &wish.into {
            let name = format!("drain_{}_{round}", target.name());
            let mut daemon = daemon(&name, &url, &[target], broker.as_ref());
            positioned(&mut daemon).await?;
            daemons.push((target, daemon));
        }
    }
    server.execute("FLUSH BINARY LOGS").await;
    let logs = server.session().await.rows("SHOW BINARY LOGS").await?;
    let first = logs.last().and_then(|row| row.first().cloned().flatten());
    let first = first.ok_or("the server has no log")?;
    let (large, small) = (wish.rows * 2 / 5 / BY, wish.rows / 50 / 4);
    let inserts = (0..large).map(|n| ROWS.replace('$', &(n * BY).to_string()));
    say(&server, inserts).await?;
    let updates = (1..=small).map(|n| {
        let of = format!("WHERE id BETWEEN {} AND {}", n * 4 - 4, n * 4 - 1);
        format!("UPDATE shop.line SET paid = NOT paid, note = 'changed {n}' {of}")
    });
    say(&server, updates).await?;
    let rows = large * BY + small * 4;
    let mut figure = Figure::new(format!("W3 drain {rows} changes, {}", title(wish)), rows);
    let mut daemons = daemons.into_iter();
    for round in 0..wish.pairs {
        let mut tail = client(&server, ("mysqlbinlog", "mariadb-binlog"));
        let to = format!("--result-file={}/raw-", server.folder().display());
        tail.args([
            "--read-from-remote-server",
            "--raw",
            "--to-last-log",
            &to,
            &first,
        ]);
        figure.ran("mysqlbinlog --raw, remote", tool(tail, server.pid())?);
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

/// What [`tables`] is called.
pub(super) fn tables_title(wish: &Wish, tables: u64) -> String {
    format!("{}, {tables} tables", title(wish))
}

/// The cost of a change against the number of tables that the changes go to, a hundred in a transaction.
pub(super) async fn tables(wish: &Wish, tables: u64, changes: u64) -> Result<Figure, String> {
    let by = 100;
    let server = server(wish).await;
    server.execute("DROP TABLE shop.line").await;
    let columns: String = (0..5).map(|n| format!(", c{n} varchar(20)")).collect();
    let create = |n| format!("CREATE TABLE shop.t{n} (id bigint PRIMARY KEY{columns})");
    say(&server, (0..tables).map(create)).await?;
    let mut daemon = daemon(
        "growth",
        &Mysql::url_at(server.port()),
        &[Target::Blackhole],
        None,
    );
    positioned(&mut daemon).await?;
    let values: String = (0..5)
        .map(|n| format!(", LEFT(SHA2($ + i + {n}, 256), 20)"))
        .collect();
    let insert = |n: u64| {
        let values = values.replace('$', &(n * by).to_string());
        let table = n % tables;
        format!(
            "INSERT INTO shop.t{table} SELECT {n} * {by} + i{values} FROM work.n WHERE i < {by}"
        )
    };
    say(&server, (0..changes / by).map(insert)).await?;
    let rows = changes / by * by;
    let work = format!("{}: {rows} changes", tables_title(wish, tables));
    let mut figure = Figure::new(work, rows);
    let cost = drained(&mut daemon, server.pid()).await?;
    figure.ran(&Target::Blackhole.title(), cost);
    Ok(figure)
}

/// W4: existing rows.
pub(super) async fn copy(wish: &Wish, report: &mut Report) -> Result<(), String> {
    let server = server(wish).await;
    let parts = (0..wish.rows.div_ceil(BY)).map(|n| ROWS.replace('$', &(n * BY).to_string()));
    let quiet = std::iter::once("SET sql_log_bin = 0".to_owned());
    say(&server, quiet.chain(parts)).await?;
    server.execute("ANALYZE TABLE shop.line").await;
    let broker = broker(&wish.into).await;
    let url = Mysql::url_at(server.port());
    let rows = wish.rows.div_ceil(BY) * BY;
    let mut figure = Figure::new(format!("W4 copy {rows} rows, {}", title(wish)), rows);
    for round in 0..wish.pairs {
        let mut select = client(&server, ("mysql", "mariadb"));
        select.args(["--quick", "--batch", "--skip-column-names", "--execute"]);
        select.arg("SELECT * FROM shop.line");
        figure.ran("SELECT to nothing", tool(select, server.pid())?);
        for &target in &wish.into {
            let name = format!("copy_{}_{round}", target.name());
            let daemon = daemon(&name, &url, &[target], broker.as_ref());
            let cost = tool(daemon.command(&["snapshot"]), server.pid())?;
            figure.ran(&target.title(), cost);
        }
    }
    report.figures.push(figure);
    Ok(())
}
