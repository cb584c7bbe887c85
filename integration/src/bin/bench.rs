//! `make bench`: the works W1 and W2 beside a tool that does nothing with the data, in alternating pairs.
//!
//! Prints floor, ours, ratio, CPU per row and peak memory, each the median of the pairs. Nothing is asserted about
//! time: machines differ, and so do their neighbours.
#![expect(
    clippy::print_stdout,
    reason = "a program whose product is a table on standard output"
)]

use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use cdc_integration::daemon::Daemon;
use cdc_integration::measure::{Cost, median, run};
use cdc_integration::postgres::{Postgres, Wanted};
use cdc_integration::server::Server as _;

const USAGE: &str = "bench [--rows N] [--pairs N] [--postgres VERSION] [W1] [W2]";

const TABLE: &str = "CREATE SCHEMA shop; CREATE TABLE shop.line (id bigint PRIMARY KEY, customer int NOT NULL, product int, \
    amount numeric(10,2), note text, created timestamptz, paid boolean)";

/// About 110 bytes as the server sends them.
const ROW: &str = "i, i % 10007, i % 97, (i % 100000) / 100.0, 'note ' || md5(i::text), timestamptz '2024-01-01 00:00:00+00' + i * interval '1 second', i % 2 = 0";

struct Wish {
    rows: u64,
    pairs: u32,
    version: u32,
    works: Vec<String>,
}

fn wish() -> Result<Wish, String> {
    let mut wish = Wish {
        rows: 5_000_000,
        pairs: 3,
        version: 15,
        works: vec![],
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut number = || {
            arguments
                .next()
                .and_then(|n| n.parse::<u64>().ok())
                .ok_or(USAGE)
        };
        match argument.as_str() {
            "--rows" => wish.rows = number()?,
            "--pairs" => wish.pairs = u32::try_from(number()?).map_err(|_| USAGE)?,
            "--postgres" => wish.version = u32::try_from(number()?).map_err(|_| USAGE)?,
            "W1" | "W2" => wish.works.push(argument),
            _ => return Err(USAGE.into()),
        }
    }
    if wish.works.is_empty() {
        wish.works = vec!["W1".into(), "W2".into()];
    }
    Ok(wish)
}

#[tokio::main]
async fn main() -> ExitCode {
    match all().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn all() -> Result<(), String> {
    let wish = wish()?;
    println!(
        "{:<34} {:>9} {:>9} {:>7} {:>11} {:>9} {:>9}",
        "work", "floor s", "ours s", "ratio", "rows/s", "CPU µs/row", "peak MB"
    );
    for work in &wish.works {
        if work == "W1" {
            copy(&wish).await?
        } else {
            drain(&wish).await?
        }
    }
    Ok(())
}

fn line(work: &str, rows: u64, floor: &[Cost], ours: &[Cost]) {
    let (floor, ours) = (median(floor.to_vec()), median(ours.to_vec()));
    let seconds = ours.wall.as_secs_f64();
    println!(
        "{work:<34} {:>9.2} {seconds:>9.2} {:>7.2} {:>11.0} {:>9.2} {:>9}",
        floor.wall.as_secs_f64(),
        seconds / floor.wall.as_secs_f64(),
        rows as f64 / seconds,
        ours.micros_per_row(rows),
        ours.peak >> 20
    );
}

async fn server(wish: &Wish) -> Postgres {
    let server = Wanted::version(wish.version)
        .set("shared_buffers", "1GB")
        .set("max_wal_size", "20GB")
        .set("checkpoint_timeout", "1h")
        .start()
        .await;
    server.execute(TABLE).await;
    server
}

const SINKS: [(&str, &str); 2] = [
    (
        "DuckDB",
        "  warehouse:\n    type: duckdb\n    path: warehouse.duckdb\n    mode: upsert\n",
    ),
    ("Parquet", "  lake:\n    type: parquet\n    url: ./lake\n"),
];

fn daemon(server: &Postgres, sink: &str) -> Daemon {
    Daemon::with_config(&format!(
        "name: bench\ndata_dir: ./data\nsource:\n  type: postgres\n  url: {}\n  tables: [\"shop.*\"]\nsinks:\n{sink}admin:\n  listen: 127.0.0.1:{}\n",
        server.url("postgres", "postgres"),
        cdc_integration::free_port()
    ))
}

/// W1: copies existing rows.
async fn copy(wish: &Wish) -> Result<(), String> {
    let server = server(wish).await;
    server
        .execute(&format!(
            "INSERT INTO shop.line SELECT {ROW} FROM generate_series(1, {}) i",
            wish.rows
        ))
        .await;
    server.execute("VACUUM ANALYZE shop.line").await;
    for (name, sink) in SINKS {
        let (mut floor, mut ours) = (vec![], vec![]);
        for _ in 0..wish.pairs {
            let mut psql = Command::new("psql");
            psql.args(["-X", "-q", "-d", &server.url("postgres", "postgres"), "-c"]);
            psql.arg("COPY shop.line TO STDOUT (FORMAT binary)");
            floor.push(run(psql)?);
            let daemon = daemon(&server, sink);
            ours.push(run(daemon.command(&["snapshot"]))?);
            daemon.succeed(&["teardown", "--yes"])?;
        }
        line(
            &format!("W1 copy {} rows, {name}", wish.rows),
            wish.rows,
            &floor,
            &ours,
        );
    }
    Ok(())
}

/// W2: drains changes that a slot has kept.
async fn drain(wish: &Wish) -> Result<(), String> {
    let large = wish.rows * 2 / 5;
    let small = wish.rows * 2 / 25;
    for (name, sink) in SINKS {
        let server = server(wish).await;
        let mut ours_daemon = daemon(&server, sink);
        ours_daemon.start_streaming().await;
        ours_daemon.caught_up(Duration::from_secs(60)).await;
        ours_daemon.terminate().await;
        let slot = server
            .value("SELECT slot_name FROM pg_replication_slots")
            .await
            .ok_or("no slot")?;
        let publication = server
            .value("SELECT pubname FROM pg_publication")
            .await
            .ok_or("no publication")?;
        for n in 0..wish.pairs {
            for purpose in ["floor", "ours"] {
                server
                    .execute(&format!(
                        "SELECT pg_copy_logical_replication_slot('{slot}', '{purpose}_{n}')"
                    ))
                    .await;
            }
        }
        let backup = ours_daemon.path("backup");
        save(&ours_daemon, &backup)?;
        server
            .execute(&format!(
                "DO $$ BEGIN FOR n IN 0..{} LOOP INSERT INTO shop.line SELECT {ROW} FROM generate_series(n * 10000 + 1, n * 10000 + 10000) i; COMMIT; END LOOP; END $$",
                large / 10_000 - 1
            ))
            .await;
        server
            .execute(&format!(
                "DO $$ BEGIN FOR n IN 1..{} LOOP UPDATE shop.line SET paid = NOT paid, note = 'changed ' || n WHERE id BETWEEN n * 4 AND n * 4 + 3; COMMIT; END LOOP; END $$",
                small / 4
            ))
            .await;
        let end = server
            .value("SELECT pg_current_wal_lsn()")
            .await
            .ok_or("no position")?;
        let (mut floor, mut ours) = (vec![], vec![]);
        for n in 0..wish.pairs {
            let mut tool = Command::new("pg_recvlogical");
            tool.args([
                "-d",
                &server.url("postgres", "postgres"),
                "--slot",
                &format!("floor_{n}"),
                "--start",
                "--no-loop",
            ]);
            tool.args([
                "-o",
                "proto_version=1",
                "-o",
                &format!("publication_names={publication}"),
                "--endpos",
                &end,
                "-f",
                "/dev/null",
            ]);
            floor.push(run(tool)?);
            restore(&ours_daemon, &backup)?;
            server
                .execute(&format!("SELECT pg_drop_replication_slot('{slot}')"))
                .await;
            server
                .execute(&format!(
                    "SELECT pg_copy_logical_replication_slot('ours_{n}', '{slot}')"
                ))
                .await;
            let start = Instant::now();
            ours_daemon.start();
            ours_daemon.caught_up(Duration::from_secs(600)).await;
            let pid = ours_daemon.pid().ok_or("the daemon is gone")?;
            let mut cost = Cost::of(pid).ok_or("the daemon is gone")?;
            cost.wall = start.elapsed();
            ours.push(cost);
            ours_daemon.terminate().await;
        }
        let rows = large + small / 4 * 4;
        line(
            &format!("W2 drain {rows} changes, {name}"),
            rows,
            &floor,
            &ours,
        );
    }
    Ok(())
}

const KEPT: [&str; 4] = ["data", "warehouse.duckdb", "warehouse.duckdb.wal", "lake"];

fn save(daemon: &Daemon, backup: &Path) -> Result<(), String> {
    std::fs::create_dir_all(backup).map_err(|e| e.to_string())?;
    for name in KEPT.iter().filter(|name| daemon.path(name).exists()) {
        shell("cp", &["-a"], &daemon.path(name), backup)?;
    }
    Ok(())
}

fn restore(daemon: &Daemon, backup: &Path) -> Result<(), String> {
    for name in KEPT {
        shell(
            "rm",
            &["-rf"],
            &daemon.path(name),
            Path::new("/nonexistent"),
        )?;
        if backup.join(name).exists() {
            shell("cp", &["-a"], &backup.join(name), &daemon.path(name))?;
        }
    }
    Ok(())
}

fn shell(program: &str, flags: &[&str], from: &Path, to: &Path) -> Result<(), String> {
    let status = Command::new(program).args(flags).arg(from).arg(to).status();
    if status.is_ok_and(|s| s.success()) {
        Ok(())
    } else {
        Err(format!("{program} {} failed", from.display()))
    }
}
