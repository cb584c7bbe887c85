//! From a configuration to a running pipeline.
//!
//! Owns the order of things at the start: the data directory's lock first, so that two daemons
//! never meet in a sink; then the connectors, which touch nothing until the pipeline opens them.

use cdc_api::Result;

use crate::admin::ControlEnd;
use crate::config::Config;
use crate::journal::{JournalConfig, Work};
use crate::pipeline::{self, Mode, Parts, Settings};
use crate::registry;
use crate::state::State;

/// Locks the data directory and puts together what `config` describes; nothing is connected yet.
///
/// # Errors
/// `Config` when another daemon holds the data directory, or a connector's section is wrong.
pub fn assemble(config: &Config) -> Result<Parts> {
    let state = State::open(&config.data_dir)?;
    let source = registry::source(config)?;
    let sinks = config
        .sinks
        .iter()
        .map(|sink| registry::sink(sink, &config.name))
        .collect::<Result<Vec<_>>>()?;
    let journal = JournalConfig {
        dir: config.data_dir.join("journal"),
        segment_bytes: config.journal.segment_bytes.0,
        memory_bytes: config.journal.memory_bytes.as_usize(),
        max_bytes: config.journal.max_bytes.map(|size| size.0),
        keep: config.journal.keep,
        compression: config.journal.compression,
        work: Work::Threads,
    };
    Ok(Parts {
        settings: Settings::from(config),
        source,
        sinks,
        journal,
        state,
    })
}

/// Assembles and runs the pipeline that `config` describes.
///
/// # Errors
/// As [`assemble`] and [`pipeline::run`].
pub async fn run(config: &Config, end: ControlEnd, mode: Mode) -> Result<()> {
    pipeline::run(assemble(config)?, end, mode).await
}
