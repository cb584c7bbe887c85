//! `cdc run`: the daemon.
//!
//! SIGTERM and SIGINT finish what is under way and end with exit code 0, within
//! `shutdown_timeout`; a second one ends at once. SIGHUP reads the configuration again.

use std::process::ExitCode;
use std::time::Duration;

use cdc_api::{Error, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;

use super::{Context, code_of, log};
use crate::admin::{self, Command, Control, Server};
use crate::config::{Config, LogFormat};
use crate::daemon;
use crate::pipeline::{self, Mode};

/// Run the daemon in the foreground until SIGTERM or Ctrl-C.
///
/// Copies the existing rows first, then follows every change. Stop and start it at will: it goes
/// on where it was. SIGHUP, like `cdc reload`, reads the configuration again.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  cdc run -c /etc/cdc/shop.yaml")]
pub(super) struct Args {}

pub(super) async fn run(_: &Args, context: &Context) -> Result<ExitCode> {
    let config = context.config()?;
    log::start(&config.log, &config.log.level)?;
    let outcome = serve(config.clone()).await;
    match outcome {
        // A collector of JSON lines should not be given anything else.
        Err(error) if config.log.format == LogFormat::Json => {
            tracing::error!(
                kind = ?error.kind(),
                hint = error.hint_text(),
                cause = std::error::Error::source(&error).map(ToString::to_string),
                "{error}"
            );
            Ok(code_of(&error))
        }
        outcome => outcome.map(|()| ExitCode::SUCCESS),
    }
}

async fn serve(config: Config) -> Result<()> {
    let mut signals = Signals::new()?;
    // The lock comes first: of two daemons the second hears of the data directory, not of a port.
    let parts = daemon::assemble(&config)?;
    let server = Server::bind(&config).await?;
    let (control, end) = admin::channel(&config);
    let limit = config.shutdown_timeout + Duration::from_secs(1);
    tracing::info!(
        pipeline = config.name,
        version = env!("CARGO_PKG_VERSION"),
        data_dir = %config.data_dir.display(),
        listen = config.admin.listen.as_deref().unwrap_or("off"),
        "cdc starts"
    );
    let serving = tokio::spawn(server.serve(control.clone()));
    let mut running = tokio::spawn(pipeline::run(parts, end, Mode::Continuous));
    let outcome = loop {
        tokio::select! {
            ended = &mut running => break joined(ended),
            heard = signals.next() => match heard {
                Heard::Reload => {
                    tokio::spawn(reload(control.clone()));
                }
                Heard::Stop => {
                    break stop(limit, &control, &mut running, &mut signals).await;
                }
            }
        }
    };
    serving.abort();
    // Its socket goes with it.
    let _ = serving.await;
    if outcome.is_ok() {
        tracing::info!("cdc has stopped");
    }
    outcome
}

type Running = JoinHandle<Result<()>>;

fn joined(ended: Result<Result<()>, tokio::task::JoinError>) -> Result<()> {
    ended.unwrap_or_else(|error| Err(Error::internal("the pipeline panicked").caused_by(error)))
}

/// Ends the pipeline in order, or in disorder when that takes too long: nothing is lost by it,
/// since what is durable is read back at the next start.
async fn stop(
    limit: Duration,
    control: &Control,
    running: &mut Running,
    signals: &mut Signals,
) -> Result<()> {
    tracing::info!("stopping; a second signal ends at once");
    let asking = control.clone();
    tokio::spawn(async move { asking.ask(|reply| Command::Stop { reply }).await });
    tokio::select! {
        ended = &mut *running => joined(ended),
        () = tokio::time::sleep(limit) => {
            tracing::warn!(?limit, "the stop took too long and is cut short; nothing is lost");
            running.abort();
            Ok(())
        }
        () = signals.stop() => {
            tracing::warn!("ended at once; nothing is lost");
            running.abort();
            Ok(())
        }
    }
}

async fn reload(control: Control) {
    match control.reload().await {
        Ok(changes) => tracing::info!(?changes, "configuration read again"),
        Err(error) => tracing::error!(
            hint = error.hint_text(),
            "configuration not read again, the old one stays in force: {error}"
        ),
    }
}

#[derive(PartialEq, Eq)]
enum Heard {
    Stop,
    Reload,
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        let listen = |kind| {
            signal(kind)
                .map_err(|error| Error::internal("signals cannot be heard").caused_by(error))
        };
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hang_up: listen(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Heard {
        tokio::select! {
            _ = self.terminate.recv() => Heard::Stop,
            _ = self.interrupt.recv() => Heard::Stop,
            _ = self.hang_up.recv() => Heard::Reload,
        }
    }

    /// The next signal to stop; to read the configuration again is too late then.
    async fn stop(&mut self) {
        while self.next().await != Heard::Stop {}
    }
}
