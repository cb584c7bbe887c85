//! `cdc snapshot`: copies tables anew, live in a running daemon, or as a full load that ends.

use std::process::ExitCode;
use std::time::Duration;

use cdc_api::{Error, Result, TableName, TableSelection};
use tokio::task::JoinHandle;

use super::output::{self, Live};
use super::{Context, log, progress};
use crate::admin::control::Copying;
use crate::admin::serve::SnapshotRequest;
use crate::admin::status::{TableState, TableStatus};
use crate::admin::{self, Client, Command, Control, Server, Status};
use crate::config::Config;
use crate::daemon;
use crate::pipeline::{self, Mode};

/// Copy tables anew.
///
/// With a running daemon: while it goes on, each table swapped in when it is whole. Without one:
/// a full load that ends when every table is whole.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  cdc snapshot                              every table, every sink\n  cdc snapshot public.orders --sink lake\n  cdc snapshot 'public.*' --detach          return as soon as the copies are registered"
)]
pub(super) struct Args {
    /// Table patterns as in the configuration; all tables where none is given.
    #[arg(value_name = "TABLE")]
    tables: Vec<String>,
    /// Only into this sink.
    #[arg(long, value_name = "NAME")]
    sink: Option<String>,
    /// Return as soon as the running daemon has registered the copies.
    #[arg(long)]
    detach: bool,
}

pub(super) async fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    let config = context.config()?;
    match Client::find(&config.data_dir).await? {
        Some(daemon) => live(args, &daemon).await,
        None if args.detach => Err(Error::config("--detach needs a running daemon")
            .hint("start it with `cdc run`, or leave --detach out")),
        None => full_load(args, config).await,
    }
}

async fn live(args: &Args, daemon: &Client) -> Result<ExitCode> {
    let request = SnapshotRequest {
        tables: args.tables.clone(),
        sink: args.sink.clone(),
    };
    let copies = daemon.snapshot(&request).await?;
    if copies.is_empty() {
        output::note(
            "nothing to begin: such tables are being copied already, or no sink takes them",
        );
        return Ok(ExitCode::SUCCESS);
    }
    if args.detach {
        for copy in &copies {
            let name = TableName::new(&copy.schema, &copy.table);
            output::note(&format!("{}: copy of {name} registered", copy.sink));
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut shown = Shown::new();
    let mut ticks = tokio::time::interval(Duration::from_millis(250));
    loop {
        ticks.tick().await;
        let status = daemon.status().await?;
        shown.draw(&status, &copies);
        if picked(&status, &copies).all(is_settled) {
            shown.end();
            return Ok(verdict(&status, &copies));
        }
    }
}

/// The pipeline in this very process, until the tables are whole.
async fn full_load(args: &Args, config: Config) -> Result<ExitCode> {
    log::start(&config.log, "warn")?;
    let wanted = Wanted::new(args)?;
    let parts = daemon::assemble(&config)?;
    let server = Server::bind(&config).await?;
    let (control, end) = admin::channel(&config);
    let serving = tokio::spawn(server.serve(control.clone()));
    let mut running = tokio::spawn(pipeline::run(parts, end, Mode::Continuous));
    let mut shown = Shown::new();
    let outcome = tokio::select! {
        ended = &mut running => Some(ended),
        copied = wanted.copied(&control, &mut shown) => {
            stop(&control, &mut running).await;
            copied?;
            None
        }
        _ = tokio::signal::ctrl_c() => {
            stop(&control, &mut running).await;
            shown.end();
            output::note("stopped; `cdc snapshot` or `cdc run` goes on where it was");
            return Ok(ExitCode::FAILURE);
        }
    };
    serving.abort();
    // Its socket goes with it.
    let _ = serving.await;
    shown.end();
    if let Some(ended) = outcome {
        ended.unwrap_or_else(|error| {
            Err(Error::internal("the pipeline panicked").caused_by(error))
        })?;
        return Err(Error::internal(
            "the pipeline ended before its tables were whole",
        ));
    }
    let status = control.status();
    let failed = wanted
        .tables(&status)
        .any(|table| table.state == TableState::Failed);
    if failed {
        output::note(&progress::problems(&status, output::colour_on_stderr()));
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// Which tables of which sinks a full load is of.
struct Wanted {
    request: SnapshotRequest,
    selection: Option<TableSelection>,
}

impl Wanted {
    fn new(args: &Args) -> Result<Self> {
        Ok(Self {
            request: SnapshotRequest {
                tables: args.tables.clone(),
                sink: args.sink.clone(),
            },
            selection: match args.tables.is_empty() {
                true => None,
                false => Some(TableSelection::parse(&args.tables)?),
            },
        })
    }

    fn tables<'a>(&'a self, status: &'a Status) -> impl Iterator<Item = &'a TableStatus> {
        let sinks = status.sinks.iter().filter(|sink| {
            self.request
                .sink
                .as_ref()
                .is_none_or(|name| *name == sink.name)
        });
        sinks.flat_map(|sink| &sink.tables).filter(|table| {
            self.selection
                .as_ref()
                .is_none_or(|selection| selection.matches(&table.name()))
        })
    }

    /// Asks for the copies as soon as the pipeline listens, and waits until all are settled.
    async fn copied(&self, control: &Control, shown: &mut Shown) -> Result<()> {
        let mut ticks = tokio::time::interval(Duration::from_millis(250));
        loop {
            ticks.tick().await;
            shown.draw_all(&control.status());
            let SnapshotRequest { tables, sink } = self.request.clone();
            let asked = control.ask(|reply| Command::Snapshot {
                tables,
                sink,
                reply,
            });
            match asked.await {
                Ok(_) => break,
                // It has not connected yet.
                Err(error) if error.is_transient() => {}
                Err(error) => return Err(error),
            }
        }
        control.told().await;
        loop {
            ticks.tick().await;
            let status = control.status();
            shown.draw_all(&status);
            if self.tables(&status).all(is_settled) {
                return Ok(());
            }
        }
    }
}

fn is_settled(table: &TableStatus) -> bool {
    matches!(table.state, TableState::Streaming | TableState::Failed)
}

async fn stop(control: &Control, running: &mut JoinHandle<Result<()>>) {
    let asking = control.clone();
    tokio::spawn(async move { asking.ask(|reply| Command::Stop { reply }).await });
    // How it ended says nothing new: what was copied is read back at the next start.
    let _ = running.await;
}

/// Whether every copy came to its end.
fn verdict(status: &Status, copies: &[Copying]) -> ExitCode {
    let failed = picked(status, copies).any(|table| table.state == TableState::Failed);
    if failed {
        output::note("some tables have failed: `cdc status` says why and what mends it");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn is_copied(copies: &[Copying], sink: &str, table: &TableStatus) -> bool {
    copies
        .iter()
        .any(|copy| copy.sink == sink && copy.schema == table.schema && copy.table == table.table)
}

fn picked<'a>(status: &'a Status, copies: &'a [Copying]) -> impl Iterator<Item = &'a TableStatus> {
    status.sinks.iter().flat_map(move |sink| {
        sink.tables
            .iter()
            .filter(move |table| is_copied(copies, &sink.name, table))
    })
}

/// Progress on stderr: a table drawn again and again on a terminal, lines elsewhere.
struct Shown {
    live: Live,
    lines: progress::Lines,
}

impl Shown {
    fn new() -> Self {
        Self {
            live: Live::default(),
            lines: progress::Lines::default(),
        }
    }

    fn draw(&mut self, status: &Status, copies: &[Copying]) {
        let mut status = status.clone();
        for sink in &mut status.sinks {
            let name = sink.name.clone();
            sink.tables.retain(|table| is_copied(copies, &name, table));
        }
        self.draw_all(&status);
    }

    fn draw_all(&mut self, status: &Status) {
        if output::stderr_is_terminal() {
            let text = progress::tables(&status.sinks, output::colour_on_stderr(), |_| true);
            self.live.draw(&text);
            return;
        }
        for line in self.lines.changes(status) {
            output::note(&line);
        }
    }

    fn end(self) {
        self.live.leave();
    }
}
