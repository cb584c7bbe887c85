//! The command line: one file per command.
//!
//! Invariant: data goes to stdout and everything else to stderr, through [`output`] alone. The
//! exit code is 0 when all is well, 1 when something failed, and 2 when the command line or the
//! configuration is wrong.

mod check;
mod completions;
mod demo;
mod format;
mod init;
mod log;
pub mod output;
mod pause;
mod progress;
mod query;
mod reload;
mod resume;
mod run;
mod snapshot;
mod status;
mod teardown;
mod verify;
mod wait;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use cdc_api::{Error, ErrorKind, Result};
use clap::{Parser, Subcommand};

use crate::admin::Client;
use crate::config::{self, Config};

const EXAMPLES: &str = "\
Start here:
  cdc init postgres://user:password@localhost:5432/shop   write ./cdc.yaml from a live database
  cdc check                                               everything that would go wrong later
  cdc run                                                 the daemon
  cdc status --watch                                      how far it is
  cdc query \"SELECT count(*) FROM public.orders\"          look into the warehouse while it runs

The configuration is FILE of -c, else $CDC_CONFIG, else ./cdc.yaml.
Exit codes: 0 ok, 1 failure, 2 wrong usage or configuration.";

/// Keeps warehouses and lakes equal to a PostgreSQL database, commit after commit.
#[derive(Debug, Parser)]
#[command(name = "cdc", version, after_help = EXAMPLES, disable_help_subcommand = true)]
struct Cli {
    /// The configuration file.
    #[arg(short, long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Args),
    Check(check::Args),
    Init(init::Args),
    Snapshot(snapshot::Args),
    Status(status::Args),
    Wait(wait::Args),
    Query(query::Args),
    Verify(verify::Args),
    Pause(pause::Args),
    Resume(resume::Args),
    Reload(reload::Args),
    Teardown(teardown::Args),
    Demo(demo::Args),
    Completions(completions::Args),
}

/// What every command gets.
struct Context {
    /// The configuration file.
    file: PathBuf,
}

impl Context {
    fn config(&self) -> Result<Config> {
        config::load(&self.file)
    }

    /// The running daemon of this configuration.
    async fn daemon(&self) -> Result<Client> {
        Client::connect(&self.config()?.data_dir).await
    }
}

/// Parses the command line and runs the command.
pub fn main() -> ExitCode {
    cdc_arenas::share();
    let cli = Cli::parse();
    let context = Context {
        file: config::find(cli.config.as_deref()),
    };
    let outcome = match cli.command {
        Command::Completions(args) => completions::run(&args),
        command => with_runtime(command, &context),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            output::error(&error);
            code_of(&error)
        }
    }
}

/// 2 for what the user has to write differently, else 1.
fn code_of(error: &Error) -> ExitCode {
    match error.kind() {
        ErrorKind::Config => ExitCode::from(2),
        _ => ExitCode::FAILURE,
    }
}

fn with_runtime(command: Command, context: &Context) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::internal("threads cannot be started").caused_by(error))?;
    let outcome = runtime.block_on(async {
        match command {
            Command::Run(args) => run::run(&args, context).await,
            Command::Check(args) => check::run(&args, context).await,
            Command::Init(args) => init::run(&args, context).await,
            Command::Snapshot(args) => snapshot::run(&args, context).await,
            Command::Status(args) => status::run(&args, context).await,
            Command::Wait(args) => wait::run(&args, context).await,
            Command::Query(args) => query::run(&args, context).await,
            Command::Verify(args) => verify::run(&args, context).await,
            Command::Pause(args) => pause::run(&args, context).await,
            Command::Resume(args) => resume::run(&args, context).await,
            Command::Reload(args) => reload::run(&args, context).await,
            Command::Teardown(args) => teardown::run(&args, context).await,
            Command::Demo(args) => demo::run(&args).await,
            Command::Completions(args) => completions::run(&args),
        }
    });
    // What is still under way in the background was given up on purpose.
    runtime.shutdown_timeout(Duration::from_millis(500));
    outcome
}
