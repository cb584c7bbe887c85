//! `cdc wait`.

use std::process::ExitCode;
use std::time::Duration;

use cdc_api::{Error, Result};

use super::{Context, output};
use crate::admin::serve::WaitRequest;
use crate::config::units::parse_duration;

/// Wait until the sinks hold all that the source has committed by now.
///
/// Asks them to commit without lingering. Prints each sink and the `seq` that it holds; ends with
/// 1 when the time is over.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  cdc wait && cdc query 'SELECT max(id) FROM public.orders'\n  cdc wait --sink lake --timeout 5m"
)]
pub(super) struct Args {
    /// Only this sink.
    #[arg(long, value_name = "NAME")]
    sink: Option<String>,
    /// How long at most: 10s, 500ms, 1h30m.
    #[arg(long, default_value = "60s", value_parser = parse_duration)]
    timeout: Duration,
}

pub(super) async fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    let request = WaitRequest {
        sink: args.sink.clone(),
        timeout_ms: u64::try_from(args.timeout.as_millis())
            .map_err(|_| Error::config("--timeout is too long"))?,
    };
    for reached in context.daemon().await?.wait(&request).await? {
        output::data(format!("{} {}\n", reached.sink, reached.seq).as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}
