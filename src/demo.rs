//! `cdc demo`: the whole product on this machine in half a minute, with a proof at its end.
//!
//! A throw-away server with a small shop and live traffic; a daemon of this very binary that replicates it into
//! DuckDB and Parquet; one `kill -9`, one new column. Then every table is compared by content, and while all runs an
//! invariant over two tables is read through `cdc query`: were a transaction ever torn, the sum would tell.
//!
//! Invariant: whatever happens, Ctrl-C included, no process is left and no file but the log of a failure.
//! Source and sinks are read here without the connectors, so that the proof does not rest on what it proves.
//!
//! Code map: `server` the throw-away server · `shop` schema and traffic · `daemon` the child ·
//! `proof` what is compared, and how.

mod daemon;
mod proof;
mod server;
mod shop;

use std::path::Path;
use std::time::{Duration, Instant};

use cdc_api::{Error, Result};

use daemon::Daemon;
use server::Server;
use shop::Traffic;

/// It ends by itself within this time, unless it is to be kept.
const LIMIT: Duration = Duration::from_secs(115);

/// The kind of server that the demo replicates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// PostgreSQL.
    Postgres,
    /// MySQL.
    Mysql,
    /// MariaDB.
    Mariadb,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Postgres => "PostgreSQL",
            Self::Mysql => "MySQL",
            Self::Mariadb => "MariaDB",
        }
    }

    /// The program that people type SQL into.
    fn client(self) -> &'static str {
        match self {
            Self::Postgres => "psql",
            Self::Mysql => "mysql",
            Self::Mariadb => "mariadb",
        }
    }

    /// What the configuration calls its connector.
    fn connector(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Mysql | Self::Mariadb => "mysql",
        }
    }
}

/// Where the demo's lines go.
pub type Say<'a> = &'a mut (dyn FnMut(&str) + Send);

/// Runs the demo; the text is the verdict, to be printed last. `keep` goes on after the proof until Ctrl-C.
///
/// # Errors
/// What kept it from a verdict, or the differences that were found: the exit code is a failure then.
pub async fn run(say: Say<'_>, kind: Kind, keep: bool) -> Result<String> {
    let folder = tempfile::Builder::new()
        .prefix("cdc-demo-")
        .tempdir()
        .map_err(|error| Error::internal(format!("cannot create a temporary folder: {error}")))?;
    let outcome = tokio::select! {
        outcome = tokio::time::timeout(LIMIT, acts(folder.path(), kind, say)) => {
            outcome.unwrap_or_else(|_| Err(Error::internal(format!("no verdict within {LIMIT:?}"))))
        }
        _ = tokio::signal::ctrl_c() => Err(Error::internal("interrupted")),
    };
    match outcome {
        Ok(stage) => {
            if keep {
                stage.go_on(say).await?;
            }
            let verdict = stage.verdict.clone();
            stage.end().await;
            Ok(verdict)
        }
        Err(error) => {
            say(&daemon::last_lines(folder.path()));
            Err(error)
        }
    }
}

/// What runs once the proof is done. Dropped: everything ends.
struct Stage {
    traffic: Traffic,
    daemon: Daemon,
    server: Server,
    verdict: String,
}

async fn acts(folder: &Path, kind: Kind, say: Say<'_>) -> Result<Stage> {
    let start = Instant::now();
    let server = Server::start(folder, kind)?;
    say(&format!(
        "{} {} on port {}, in a temporary folder",
        kind.name(),
        server.version(),
        server.port()
    ));
    let mut session = server.connect().await?;
    shop::create(&mut session, kind).await?;
    say(
        "a shop: customers, products, orders and their lines, 130,000 rows, and two sessions of live traffic",
    );
    let traffic = Traffic::start(&server).await?;

    let mut daemon = Daemon::new(folder, &server)?;
    say("\n$ cdc run -c demo.yaml        # into DuckDB and Parquet");
    daemon.start()?;
    daemon.streaming(say).await?;
    traffic.go_on_for(Duration::from_secs(3)).await;
    daemon.show_status(say)?;

    say("\n$ kill -9                     # the traffic goes on");
    daemon.kill()?;
    traffic.go_on_for(Duration::from_secs(2)).await;
    say("$ cdc run -c demo.yaml        # again");
    daemon.start()?;
    daemon.streaming(say).await?;

    say(&format!(
        "\n$ {}: ALTER TABLE shop.customers ADD COLUMN tier text",
        kind.client()
    ));
    shop::add_column(&mut session).await?;
    traffic.go_on_for(Duration::from_secs(2)).await;
    daemon.show_status(say)?;

    let rest = traffic.rest().await;
    let transactions = traffic.committed();
    say("\n$ cdc wait                    # the traffic rests, the sinks catch up");
    daemon.caught_up().await?;
    say("$ compare source and sinks, row by row");
    let proven = proof::compare(&mut session, &daemon, folder).await?;
    for table in &proven.tables {
        say(&format!("  {table}"));
    }
    let reads = daemon.reads()?;
    if !proven.equal {
        return Err(Error::internal(
            "source and sinks differ; the tables are listed above",
        ));
    }
    let verdict = format!(
        "verdict: equal - {} rows in DuckDB and in Parquet are the source's after {transactions} transactions, a kill -9 and \
         a new column; {reads} reads meanwhile, none of half a transaction ({:.0} s)",
        proven.rows,
        start.elapsed().as_secs_f64()
    );
    drop(rest);
    Ok(Stage {
        traffic,
        daemon,
        server,
        verdict,
    })
}

impl Stage {
    async fn go_on(&self, say: Say<'_>) -> Result<()> {
        say(&format!(
            "\nKEEP=1: goes on until Ctrl-C. In {}:\n  cdc status -c demo.yaml --watch\n  cdc query -c demo.yaml \"SELECT status, \
             count(*) FROM shop.orders GROUP BY ALL\"\n  {}",
            self.daemon.folder().display(),
            self.server.shell()
        ));
        tokio::signal::ctrl_c()
            .await
            .map_err(|error| Error::internal(format!("cannot wait for Ctrl-C: {error}")))
    }

    async fn end(self) {
        // In this order, so that nobody loses whom they talk to.
        drop(self.traffic);
        self.daemon.end().await;
        drop(self.server);
    }
}
