//! `cdc completions`.

use std::process::ExitCode;

use cdc_api::Result;
use clap::CommandFactory;
use clap_complete::Shell;

use super::{Cli, output};

/// Print a script that completes `cdc` in a shell.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  cdc completions bash > /etc/bash_completion.d/cdc")]
pub(super) struct Args {
    /// Whose.
    shell: Shell,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "cdc", &mut script);
    output::data(&script)?;
    Ok(ExitCode::SUCCESS)
}
