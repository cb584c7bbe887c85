//! Log lines: to stderr, for people or for collectors.

use std::io;

use cdc_api::{Error, Result};
use tracing_subscriber::EnvFilter;

use crate::config::{LogConfig, LogFormat};

/// Starts logging at `level`, or as `RUST_LOG` says.
///
/// # Errors
/// `Config` when `RUST_LOG` is no filter.
pub(super) fn start(log: &LogConfig, level: &str) -> Result<()> {
    let filter = match std::env::var("RUST_LOG") {
        Ok(filter) if !filter.is_empty() => EnvFilter::try_new(&filter),
        _ => EnvFilter::try_new(level),
    };
    let filter = filter.map_err(|error| {
        Error::config(format!("RUST_LOG is no log filter: {error}"))
            .hint("RUST_LOG=info, or RUST_LOG=info,cdc::pipeline=debug")
    })?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        // A stderr that nobody reads must not end the daemon.
        .log_internal_errors(false);
    match log.format {
        LogFormat::Text => lines.with_ansi(super::output::colour_on_stderr()).init(),
        LogFormat::Json => lines.json().flatten_event(true).init(),
    }
    Ok(())
}
