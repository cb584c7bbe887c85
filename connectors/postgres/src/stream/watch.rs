//! Where the server's log ends, asked from beside the stream; and the heartbeat.
//!
//! The stream itself is told only what has been sent to it, which says nothing about what waits.
//! Nor is it told that the server shuts down: a sender then waits until everything has been
//! acknowledged, which a slow sink could delay for ever. A new session is told at once. Invariant:
//! nothing else stops the stream from here; what fails is tried again.

use std::time::Duration;

use cdc_api::{Error, Result};
use cdc_database::stream::Progress;
use tokio::time::{Instant, MissedTickBehavior};

use crate::position::Lsn;
use crate::refusal::refused_with;
use crate::session::Session;
use crate::source::Server;

/// How often the end of the log is asked for.
const TICK: Duration = Duration::from_secs(2);

/// Asks until the server shuts down, and returns the error that says so.
pub(super) async fn watch(server: &Server, progress: &Progress) -> Error {
    let mut session: Option<Session> = None;
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let every = Duration::from_secs(server.config.heartbeat_seconds);
    let mut beat = Instant::now();
    loop {
        ticks.tick().await;
        let due = !every.is_zero() && beat.elapsed() >= every;
        let mut asked = ask(server, &mut session, due).await;
        if asked.is_err() && session.take().is_some() {
            asked = ask(server, &mut session, due).await;
        }
        match asked {
            Ok(end) => progress.hears(end.0),
            Err(error) if refused_with(&error, "57P03") => return error,
            Err(error) => {
                session = None;
                tracing::debug!(%error, "cannot ask for the end of the log");
            }
        }
        if due {
            beat = Instant::now();
        }
    }
}

async fn ask(server: &Server, session: &mut Option<Session>, beat: bool) -> Result<Lsn> {
    let session = match session {
        Some(session) => session,
        None => session.insert(server.session().await?),
    };
    if beat {
        session
            .query("SELECT pg_logical_emit_message(true, 'cdc.heartbeat', '')")
            .await?;
    }
    let row = session.query_one("SELECT pg_current_wal_lsn()").await?;
    row.text(0).parse()
}
