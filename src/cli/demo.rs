//! `cdc demo`: the whole product on this machine, with a proof at its end.

use std::process::ExitCode;

use cdc_api::Result;

use super::output;
use crate::demo;

/// Show it all on this machine: a throw-away server into DuckDB and Parquet, a crash, a new column, and the proof.
///
/// Needs the server's programs, uses a temporary folder and free ports, and leaves nothing behind. Ends by
/// itself within two minutes, with 0 when source and sinks were found equal.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  cdc demo\n  cdc demo --source mysql\n  KEEP=1 cdc demo        go on after the proof, until Ctrl-C"
)]
pub(super) struct Args {
    /// The kind of server that is replicated.
    #[arg(long, value_enum, default_value_t = demo::Kind::Postgres)]
    source: demo::Kind,

    /// Go on after the proof, until Ctrl-C.
    #[arg(long, env = "KEEP", value_parser = clap::builder::FalseyValueParser::new())]
    keep: bool,
}

pub(super) async fn run(args: &Args) -> Result<ExitCode> {
    let (verdict, code) =
        match demo::run(&mut |line| output::note(line), args.source, args.keep).await {
            Ok(verdict) => (verdict, ExitCode::SUCCESS),
            Err(error) => {
                output::error(&error);
                ("verdict: failed, see above".to_owned(), ExitCode::FAILURE)
            }
        };
    output::data(format!("{verdict}\n").as_bytes())?;
    Ok(code)
}
