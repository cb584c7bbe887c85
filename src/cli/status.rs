//! `cdc status`.

use std::process::ExitCode;
use std::time::Duration;

use cdc_api::{Error, Result};

use super::output::{self, Live};
use super::{Context, progress};
use crate::admin::{Client, Status};

/// Show how far the daemon is: states, lag, progress, errors with their remedies.
///
/// The JSON is stable: keys are added, never renamed; what is not known is null.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  cdc status --watch\n  cdc status --json | jq '.sinks[] | {name, lag_seconds}'"
)]
pub(super) struct Args {
    /// Again every second until Ctrl-C; where no terminal is, a line for each change.
    #[arg(short, long)]
    watch: bool,
    /// The status as JSON, with --watch one line a second.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    let daemon = context.daemon().await?;
    match (args.watch, args.json) {
        (false, false) => {
            let text = progress::report(&daemon.status().await?, output::colour_on_stdout());
            output::data(text.as_bytes())?;
        }
        (false, true) => {
            let text = serde_json::to_vec_pretty(&daemon.status().await?).map_err(not_json)?;
            output::data(&[text.as_slice(), b"\n"].concat())?;
        }
        (true, json) => watch(&daemon, json).await?,
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn not_json(error: serde_json::Error) -> Error {
    Error::internal("cannot be written as JSON").caused_by(error)
}

/// Until the daemon ends, which is an error, or this program is stopped.
async fn watch(daemon: &Client, json: bool) -> Result<()> {
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    let mut lines = progress::Lines::default();
    let live = Live::default();
    loop {
        ticks.tick().await;
        let status: Status = daemon.status().await?;
        if json {
            let text = serde_json::to_vec(&status).map_err(not_json)?;
            output::data(&[text.as_slice(), b"\n"].concat())?;
        } else if output::stdout_is_terminal() && output::stderr_is_terminal() {
            live.draw(&progress::report(&status, output::colour_on_stdout()));
        } else {
            for line in lines.changes(&status) {
                output::data(format!("{line}\n").as_bytes())?;
            }
        }
    }
}
