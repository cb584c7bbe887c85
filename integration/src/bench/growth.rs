//! The cost of a change against the shape of the work: tables, columns, widths, transactions, the target's size, sinks.
//!
//! One axis is moved at a time; each should be flat, or rise with what there is to carry.

use super::report::{Figure, Report};
use super::rounds::{drained, positioned};
use super::target::{Target, broker, daemon};
use super::wish::Wish;
use super::{mysql, postgres};
use crate::kafka::Kafka;
use crate::postgres::Postgres;
use crate::server::Server as _;

/// The shape of a work.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    /// What is said of it.
    pub(super) name: String,
    /// How many tables the changes go to, one after another.
    pub(super) tables: u64,
    /// Columns of a table beside its key.
    pub(super) columns: u64,
    /// Bytes of all these columns.
    pub(super) width: u64,
    /// How the server keeps them: `EXTENDED` compresses wide ones, so that its disk bears what it sends.
    pub(super) storage: &'static str,
    /// Rows that are in the tables before.
    pub(super) present: u64,
    /// Changes; updates where there are rows, else inserts.
    pub(super) changes: u64,
    /// Changes of a transaction.
    pub(super) by: u64,
    /// What the daemon writes into.
    pub(super) into: Vec<Target>,
}

impl Shape {
    /// One table with rows of 100 bytes, a hundred in a transaction.
    pub(super) fn usual(changes: u64) -> Self {
        Self {
            name: String::new(),
            tables: 1,
            columns: 5,
            width: 100,
            storage: "EXTERNAL",
            present: 0,
            changes,
            by: 100,
            into: vec![Target::Blackhole],
        }
    }

    fn with(name: String, changes: u64, change: impl FnOnce(&mut Self)) -> Self {
        let mut shape = Self::usual(changes);
        change(&mut shape);
        shape.name = name;
        shape
    }

    /// Whether shapes of this name are to be measured.
    pub(super) fn wanted(&self, wish: &Wish) -> bool {
        wish.only
            .as_ref()
            .is_none_or(|only| self.name.contains(only))
    }

    fn create(&self) -> String {
        let storage = self.storage;
        let columns: String = (0..self.columns)
            .map(|n| format!(", c{n} text STORAGE {storage}"))
            .collect();
        (0..self.tables)
            .map(|n| format!("CREATE TABLE shop.t{n} (id bigint PRIMARY KEY{columns});"))
            .collect()
    }

    /// Columns of a row, each of its own digits and letters.
    fn values(&self, seed: &str) -> String {
        let each = (self.width / self.columns.max(1)).max(1);
        let repeat = each / 32 + 1;
        (0..self.columns)
            .map(|n| format!(", left(repeat(md5(({seed} + {n})::text), {repeat}), {each})"))
            .collect()
    }

    fn fill(&self) -> Option<String> {
        let values = self.values("i");
        (self.present > 0).then(|| {
            format!(
                "INSERT INTO shop.t0 SELECT i{values} FROM generate_series(1, {}) i",
                self.present
            )
        })
    }

    fn change(&self) -> String {
        let (by, transactions) = (self.by, self.changes / self.by);
        let statement = if self.present > 0 {
            // Spread over the whole table, and each row once.
            let step = (self.present / self.changes.max(1)).max(1);
            let set: Vec<_> = (0..self.columns).map(|n| format!("c{n}")).collect();
            format!(
                "UPDATE shop.t0 SET ({}) = ROW({}) WHERE id IN (SELECT 1 + $1 * {} + i * {step} \
                 FROM generate_series(0, {by} - 1) i)",
                set.join(", "),
                self.values("id + 1").trim_start_matches(", "),
                by * step
            )
        } else {
            format!(
                "INSERT INTO shop.t%s SELECT $1 * {by} + i{} FROM generate_series(1, {by}) i",
                self.values("$1 * 7 + i")
            )
        };
        format!(
            "DO $do$ BEGIN FOR n IN 0..{transactions} - 1 LOOP \
             EXECUTE format($${statement}$$, n % {}) USING n::bigint; COMMIT; END LOOP; END $do$",
            self.tables
        )
    }
}

/// All axes; `tell` is given the report so far with each figure.
pub(super) async fn measure(
    wish: &Wish,
    report: &mut Report,
    tell: &mut impl FnMut(&Report),
) -> Result<(), String> {
    let changes = (wish.rows / 25).max(1_000);
    let broker = broker(&wish.into).await;
    let server = postgres::server(wish).await;
    for shape in shapes(changes, &wish.into)
        .into_iter()
        .filter(|it| it.wanted(wish))
    {
        let figure = drain(&server, wish.pairs, &shape, broker.as_ref()).await?;
        report.figures.push(figure);
        tell(report);
    }
    for tables in tables(changes) {
        if wish
            .only
            .as_ref()
            .is_none_or(|only| mysql::tables_title(wish, tables).contains(only))
        {
            report
                .figures
                .push(mysql::tables(wish, tables, changes).await?);
            tell(report);
        }
    }
    Ok(())
}

/// How many tables there are, each with some changes.
fn tables(changes: u64) -> impl Iterator<Item = u64> {
    let few = move |tables: &u64| tables * 10 <= changes;
    [1, 10, 100, 1_000, 5_000].into_iter().filter(few)
}

fn shapes(changes: u64, into: &[Target]) -> Vec<Shape> {
    let mut shapes = Vec::new();
    let mut add = |name: String, changes: u64, change: &dyn Fn(&mut Shape)| {
        shapes.push(Shape::with(name, changes, change));
    };
    for tables in tables(changes) {
        add(format!("{tables} tables"), changes, &|it| {
            it.tables = tables
        });
    }
    for (width, fewer) in [(100, 1), (1_000, 1), (100_000, 100)] {
        add(format!("rows of {width} bytes"), changes / fewer, &|it| {
            it.width = width;
            it.by = 10;
        });
    }
    for (columns, fewer) in [(5, 1), (50, 1), (500, 10)] {
        add(format!("{columns} columns"), changes / fewer, &|it| {
            it.columns = columns;
            it.width = columns * 10;
        });
    }
    for by in [1, 100, changes] {
        add(format!("transactions of {by}"), changes, &|it| it.by = by);
    }
    if into.contains(&Target::DuckDb) {
        for times in [1, 5, 20] {
            let present = changes * times;
            add(format!("DuckDB holds {present} rows"), changes, &|it| {
                it.present = present;
                it.into = vec![Target::DuckDb];
            });
        }
    }
    for sinks in 1..=into.len() {
        add(format!("{sinks} sinks"), changes, &|it| {
            it.into = into[..sinks].to_vec();
        });
    }
    shapes
}

/// Drains the changes of a shape, in the rounds wished for, each on a log of its own.
pub(super) async fn drain(
    server: &Postgres,
    rounds: u32,
    shape: &Shape,
    broker: Option<&Kafka>,
) -> Result<Figure, String> {
    server
        .execute(&format!(
            "DROP SCHEMA IF EXISTS shop CASCADE; CREATE SCHEMA shop; {}",
            shape.create()
        ))
        .await;
    if let Some(fill) = shape.fill() {
        server.execute(&fill).await;
    }
    let url = postgres::url(server);
    let mut daemons = Vec::new();
    for _ in 0..rounds {
        let name = format!("growth_{}", crate::free_port());
        let mut daemon = daemon(&name, &url, &shape.into, broker);
        positioned(&mut daemon).await?;
        daemons.push(daemon);
    }
    server.execute(&shape.change()).await;
    let rows = shape.changes / shape.by * shape.by;
    let mut figure = Figure::new(format!("{}: {rows} changes", shape.name), rows);
    let into: Vec<_> = shape.into.iter().map(|target| target.name()).collect();
    for daemon in &mut daemons {
        let cost = drained(daemon, server.pid()).await?;
        figure.ran(&format!("cdc, {}", into.join("+")), cost);
        daemon.succeed(&["teardown", "--yes"])?;
    }
    Ok(figure)
}
