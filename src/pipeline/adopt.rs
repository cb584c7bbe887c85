//! A new sink whose readers have the existing rows already, from elsewhere: it takes the tables as they are.
//!
//! Invariant: the tables are part of the sink's first commit, and what is noted of them is written down before it. So a
//! crash on the way leaves a sink that is still new. Where the stream has not begun yet that commit is at its very start:
//! nothing lies between what readers have and what comes.

use std::sync::Arc;

use cdc_api::{Checkpoint, Error, Result, Sink, TableId};

use super::shared::Shared;
use crate::config::Delivery;
use crate::state::State;

/// Makes the first commit of a new sink: `start`, with the tables that there are where it is given no copies of them.
///
/// # Errors
/// The sink's, and `Config` where it can have a table by a copy alone.
pub(super) async fn first_commit(
    shared: &Shared,
    name: &str,
    delivery: &Delivery,
    sink: &mut dyn Sink,
    start: &Checkpoint,
) -> Result<()> {
    let state = &shared.state;
    state.remove_sink(name)?;
    let others = state.sinks()?;
    if !delivery.snapshot.initial {
        let captured = Arc::clone(&shared.captured.borrow());
        for table in captured.taken(delivery) {
            tracing::info!(sink = name, table = %table.name, "taken as it is, without a copy");
            sink.adopt(table, state.next_copy()?).await?;
            let generation = captured.generations.get(&table.id).map(|it| it.number);
            let since = captured.since.get(&table.id).copied();
            for (what, now) in [("captured", since), ("generation", generation)] {
                let oldest = oldest(state, &others, what, table.id, now)?;
                let oldest = oldest.map(|it| it.to_string());
                state.set_value(&key(name, what, table.id), oldest.as_deref())?;
            }
        }
    }
    sink.commit(start).await
}

/// What is known of a table at the sink's first commit: the log may be far behind what was found of it now, and what
/// the other sinks have noted was so when they copied it.
fn oldest(
    state: &State,
    others: &[String],
    what: &str,
    table: TableId,
    now: Option<u64>,
) -> Result<Option<u64>> {
    let mut oldest = now;
    for sink in others {
        let noted = state.value(&key(sink, what, table))?;
        let noted = noted.and_then(|it| it.parse().ok());
        oldest = oldest.into_iter().chain(noted).min();
    }
    Ok(oldest)
}

/// Refuses a sink that is to go on where another has stopped, when the pipeline went on from there
/// before this sink was there.
///
/// # Errors
/// `Config`, with the remedy.
pub(super) fn not_too_late(shared: &Shared, parts: (&str, &Delivery)) -> Result<()> {
    let (name, delivery) = parts;
    if delivery.snapshot.initial || !shared.settings.takes_over {
        return Ok(());
    }
    Err(Error::config(format!(
        "sink {name} cannot go on where the connector has stopped: this pipeline has begun without it"
    ))
    .hint(
        "give it a pipeline of its own, with another name and data_dir; or remove \
         source.debezium_offset, and it gets the changes from now on",
    ))
}

/// Where the state database notes since when a sink's table has been captured.
pub(super) fn key(sink: &str, what: &str, table: TableId) -> String {
    format!("{what} {sink} {table}")
}
