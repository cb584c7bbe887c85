//! `cdc reload`.

use std::process::ExitCode;

use cdc_api::Result;

use super::{Context, output};

/// Have the daemon read its configuration again: table lists and limits.
///
/// A configuration that is wrong, or needs a restart, is refused and the old one stays in force.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  cdc reload")]
pub(super) struct Args {}

pub(super) async fn run(_: &Args, context: &Context) -> Result<ExitCode> {
    let changes = context.daemon().await?.reload().await?;
    if changes.is_empty() {
        output::note("nothing has changed");
    }
    for change in changes {
        output::note(&change);
    }
    Ok(ExitCode::SUCCESS)
}
