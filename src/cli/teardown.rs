//! `cdc teardown`: removes what the pipeline made elsewhere.

use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;

use cdc_api::{Error, Result};

use super::{Context, log, output};
use crate::config::Config;
use crate::registry;
use crate::state::State;

/// Remove what this pipeline made: slot and publication, bookkeeping in the sinks, journal and
/// state.
///
/// The sinks' tables and files stay as they are. The pipeline cannot go on afterwards: a later
/// `cdc run` starts over with a copy of every table. The daemon must not be running.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  cdc teardown --yes")]
pub(super) struct Args {
    /// Do not ask.
    #[arg(short, long)]
    yes: bool,
}

pub(super) async fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    let config = context.config()?;
    log::start(&config.log, "warn")?;
    // Locks the data directory: a running daemon refuses it.
    let state = State::open(&config.data_dir)?;
    if !args.yes && !confirmed(&config)? {
        output::note("nothing was removed");
        return Ok(ExitCode::FAILURE);
    }
    let mut complete = true;
    let source = registry::source(&config)?;
    complete &= tell("source", source.teardown().await);
    for sink in &config.sinks {
        let mut connector = registry::sink(sink, &config.name)?.sink;
        if !connector.exists() {
            continue;
        }
        let outcome = match connector.open().await {
            Ok(()) => connector.teardown().await,
            Err(error) => Err(error),
        };
        complete &= tell(&sink.name, outcome);
    }
    if !complete {
        return Err(Error::transient("not everything could be removed")
            .hint("mend what is named above and run `cdc teardown` again"));
    }
    // Last, so that a teardown that failed midway can be repeated.
    for what in remove_local(&config.data_dir, state)? {
        output::note(&format!("data_dir: removed {what}"));
    }
    Ok(ExitCode::SUCCESS)
}

/// Says what was removed, or why not; whether it was.
fn tell(part: &str, outcome: Result<Vec<String>>) -> bool {
    match outcome {
        Ok(removed) => {
            for what in removed {
                output::note(&format!("{part}: removed {what}"));
            }
            true
        }
        Err(error) => {
            output::error(&error.context(part.to_owned()));
            false
        }
    }
}

fn confirmed(config: &Config) -> Result<bool> {
    if !std::io::stdin().is_terminal() {
        return Err(
            Error::config("teardown cannot be undone and nobody is there to confirm it")
                .hint("add --yes"),
        );
    }
    output::prompt(&format!(
        "Remove pipeline `{}`: slot, publication, checkpoints, journal and state? Tables stay. [y/N] ",
        config.name
    ));
    let mut answer = String::new();
    std::io::stdin()
        .read_line(&mut answer)
        .map_err(|error| Error::transient(format!("cannot read the answer: {error}")))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Removes journal and state, and the data directory itself if nothing else is in it.
fn remove_local(data_dir: &Path, state: State) -> Result<Vec<String>> {
    let failed = |error: std::io::Error| {
        Error::transient(format!("cannot remove: {error}")).context(data_dir.display().to_string())
    };
    let mut removed = Vec::new();
    let mut gone = |path: &Path, outcome: std::io::Result<()>| match outcome {
        Ok(()) => {
            removed.push(path.display().to_string());
            Ok(())
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(error)),
    };
    for folder in ["journal", registry::SOURCE_FOLDER] {
        let path = data_dir.join(folder);
        gone(&path, std::fs::remove_dir_all(&path))?;
    }
    drop(state);
    for name in ["state.db", "state.db-wal", "state.db-shm"] {
        let path = data_dir.join(name);
        gone(&path, std::fs::remove_file(&path))?;
    }
    Ok(removed)
}
