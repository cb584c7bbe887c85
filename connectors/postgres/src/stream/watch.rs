//! Where the server's log ends, asked from beside the stream; and the heartbeat.
//!
//! The stream itself is told only what has been sent to it, which says nothing about what waits.
//! Invariant: nothing here can stop the stream; what fails is tried again at the next tick.

use std::sync::Arc;
use std::time::Duration;

use cdc_api::Result;
use tokio::time::{Instant, MissedTickBehavior};

use super::Progress;
use crate::position::Lsn;
use crate::session::Session;
use crate::source::Server;

/// How often the end of the log is asked for.
const TICK: Duration = Duration::from_secs(2);

/// Asks for ever.
pub(super) async fn watch(server: Arc<Server>, progress: Arc<Progress>) {
    let mut session: Option<Session> = None;
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let every = Duration::from_secs(server.config.heartbeat_seconds);
    let mut beat = Instant::now();
    loop {
        ticks.tick().await;
        let due = !every.is_zero() && beat.elapsed() >= every;
        match ask(&server, &mut session, due).await {
            Ok(end) => progress.hears(end),
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
