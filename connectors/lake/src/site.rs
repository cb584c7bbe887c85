//! Where the lake lies: storage, settings, and how files come to be; shared by the sink, its copies
//! and its merges.
//!
//! Invariant: a [`Staged`] file that is dropped before it is kept is removed again.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;

use cdc_api::Result;

use crate::config::LakeConfig;
use crate::layout::{self, Layout};
use crate::storage::{Storage, StoredFile, failed};

/// A lake's storage and settings; cheap to share.
pub(crate) struct Site {
    pub(crate) storage: Box<dyn Storage>,
    pub(crate) config: LakeConfig,
    pub(crate) layout: Layout,
    /// The pipeline that the lake belongs to.
    pub(crate) pipeline: String,
}

impl Site {
    pub(crate) fn new(
        storage: Box<dyn Storage>,
        config: LakeConfig,
        pipeline: &str,
    ) -> Result<Self> {
        config.validate()?;
        let layout = Layout::parse(&config.layout)?;
        Ok(Self {
            storage,
            config,
            layout,
            pipeline: pipeline.to_owned(),
        })
    }
}

/// A number that nobody else draws.
pub(crate) fn draw() -> u64 {
    // Each state has keys of its own, seeded by the operating system.
    RandomState::new().hash_one(0u8)
}

/// A data file outside of every table's folder, ours to remove until it is kept.
pub(crate) struct Staged {
    site: Arc<Site>,
    name: String,
    kept: bool,
}

impl Staged {
    /// A new file for rows from this `seq` on.
    pub(crate) fn create(site: &Arc<Site>, first_seq: u64) -> Result<(Self, Box<dyn StoredFile>)> {
        let name = layout::file_name(first_seq, draw());
        let file = site
            .storage
            .create(&layout::staged(&name))
            .map_err(|error| failed("creating a data file", error))?;
        let staged = Self {
            site: Arc::clone(site),
            name,
            kept: false,
        };
        Ok((staged, file))
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Leaves the file where it is: a durable note names it.
    pub(crate) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        if let Err(error) = self.site.storage.remove(&layout::staged(&self.name)) {
            tracing::debug!(file = self.name, %error, "leaving an unused file for the next start");
        }
    }
}
