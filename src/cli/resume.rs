//! `cdc resume`.

use std::process::ExitCode;

use cdc_api::Result;

use super::{Context, output};

/// Go on after `cdc pause`; also retries at once what waits for its next attempt.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  cdc resume && cdc wait")]
pub(super) struct Args {}

pub(super) async fn run(_: &Args, context: &Context) -> Result<ExitCode> {
    context.daemon().await?.resume().await?;
    output::note("resumed");
    Ok(ExitCode::SUCCESS)
}
