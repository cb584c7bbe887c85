//! A new sink whose readers have the existing rows already, from elsewhere: it takes the tables as they are.
//!
//! Invariant: the tables are part of the sink's first commit, and what is noted of them is written down before it. So a
//! crash on the way leaves a sink that is still new. Where the stream has not begun yet that commit is at its very start:
//! nothing lies between what readers have and what comes.

use std::sync::Arc;

use cdc_api::{Checkpoint, Error, Result, Sink, TableId};

use super::shared::Shared;
use crate::config::Delivery;

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
    if !delivery.snapshot.initial {
        let captured = Arc::clone(&shared.captured.borrow());
        for table in captured.taken(delivery) {
            tracing::info!(sink = name, table = %table.name, "taken as it is, without a copy");
            sink.adopt(table, state.next_copy()?).await?;
            let note = |what, value: Option<String>| {
                state.set_value(&key(name, what, table.id), value.as_deref())
            };
            let since = captured.since.get(&table.id);
            note("captured", since.map(ToString::to_string))?;
            let generation = captured.generations.get(&table.id);
            note("generation", generation.map(|it| it.number.to_string()))?;
        }
    }
    sink.commit(start).await
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
