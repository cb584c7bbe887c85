//! `cdc pause`.

use std::process::ExitCode;

use cdc_api::Result;

use super::{Context, output};

/// Stop reading and applying until `cdc resume`; survives restarts.
///
/// The source keeps its log meanwhile: mind its disk.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  cdc pause && long-maintenance; cdc resume")]
pub(super) struct Args {}

pub(super) async fn run(_: &Args, context: &Context) -> Result<ExitCode> {
    context.daemon().await?.pause().await?;
    output::note("paused; `cdc resume` goes on");
    Ok(ExitCode::SUCCESS)
}
