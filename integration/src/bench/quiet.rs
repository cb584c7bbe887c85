//! What a pipeline takes that has nothing to do, and what memory one huge transaction takes.

use std::time::Duration;

use super::growth::{Shape, drain};
use super::postgres;
use super::report::{Figure, Report};
use super::rounds::LIMIT;
use super::target::{broker, daemon};
use super::wish::Wish;
use crate::measure::Cost;
use crate::server::Server as _;

/// One pipeline into every sink, all caught up: its rows are the seconds that it was looked at.
pub(super) async fn idle(wish: &Wish, report: &mut Report) -> Result<(), String> {
    let server = postgres::server(wish).await;
    let table = "CREATE SCHEMA shop; CREATE TABLE shop.line (id bigint PRIMARY KEY)";
    server.execute(table).await;
    let broker = broker(&wish.into).await;
    let mut figure = Figure::new(format!("idle for {} s", wish.seconds), wish.seconds);
    for targets in wish.into.chunks(1).chain([&wish.into[..]]) {
        let name = format!("idle_{}", crate::free_port());
        let mut daemon = daemon(&name, &postgres::url(&server), targets, broker.as_ref());
        daemon.start_streaming().await;
        daemon.caught_up(LIMIT).await;
        let cost = || {
            daemon
                .pid()
                .and_then(Cost::of)
                .ok_or("the daemon has ended")
        };
        let before = cost()?;
        tokio::time::sleep(Duration::from_secs(wish.seconds)).await;
        let mut cost = cost()?;
        cost.cpu_seconds -= before.cpu_seconds;
        cost.wall_seconds = wish.seconds as f64;
        let names: Vec<_> = targets.iter().map(|target| target.name()).collect();
        figure.ran(&format!("cdc, {}", names.join("+")), cost);
        daemon.terminate().await;
        daemon.succeed(&["teardown", "--yes"])?;
    }
    report.figures.push(figure);
    Ok(())
}

/// One transaction of twice as many rows as W1 copies, and one of few wide rows that is ten times as large, into each sink.
pub(super) async fn huge(wish: &Wish, report: &mut Report) -> Result<(), String> {
    let broker = broker(&wish.into).await;
    let server = postgres::server(wish).await;
    for &target in &wish.into {
        let (many, few) = (wish.rows * 2, (wish.rows / 50).max(1));
        let many = Shape {
            name: "one transaction".to_owned(),
            by: many,
            into: vec![target],
            ..Shape::usual(many)
        };
        let wide = Shape {
            name: "one transaction, rows of 100 kB".to_owned(),
            width: 100_000,
            storage: "EXTENDED",
            by: few,
            into: vec![target],
            ..Shape::usual(few)
        };
        for shape in [many, wide].iter().filter(|it| it.wanted(wish)) {
            let figure = drain(&server, 1, shape, broker.as_ref()).await?;
            report.figures.push(figure);
        }
    }
    Ok(())
}
