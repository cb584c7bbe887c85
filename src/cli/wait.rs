//! `cdc wait`.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use cdc_api::{Error, Result};

use super::{Context, output};
use crate::admin::control::Reached;
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
    #[arg(long, default_value = "60s", value_name = "DURATION", value_parser = parse_duration)]
    timeout: Duration,
}

/// The pause before asking again.
const AGAIN: Duration = Duration::from_millis(200);

pub(super) async fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    let started = Instant::now();
    let reached = loop {
        // A daemon that is starting, or about to, is waited for as well.
        match attempt(
            args,
            context,
            args.timeout.saturating_sub(started.elapsed()),
        )
        .await
        {
            Err(error) if error.is_transient() && started.elapsed() + AGAIN < args.timeout => {
                tokio::time::sleep(AGAIN).await;
            }
            outcome => break outcome?,
        }
    };
    for reached in reached {
        output::data(format!("{} {}\n", reached.sink, reached.seq).as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn attempt(args: &Args, context: &Context, timeout: Duration) -> Result<Vec<Reached>> {
    let request = WaitRequest {
        sink: args.sink.clone(),
        timeout_ms: u64::try_from(timeout.as_millis())
            .map_err(|_| Error::config("--timeout is too long"))?,
    };
    context.daemon().await?.wait(&request).await
}
