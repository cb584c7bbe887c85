//! The sink that the engine drives: the contract's async calls, each handed to a thread that may
//! block. What they do is in `core`, `copy` and `compact`.

use std::sync::Arc;

use async_trait::async_trait;
use cdc_api::{
    Capabilities, ChangeBatch, Checkpoint, CopyId, Error, Finding, JoinedTable, Result, Sink,
    TableCopy, TableId, TableSchema,
};
use cdc_blocking::Offload;

use crate::compact::Merge;
use crate::config::LakeConfig;
use crate::copy::LakeCopy;
use crate::core::Core;
use crate::layout;
use crate::preflight;
use crate::site::Site;
use crate::storage::Storage;
use crate::storage::local::LocalDisk;

/// A Parquet lake as a sink.
pub struct Lake {
    site: Arc<Site>,
    core: Offload<Core>,
    merge: Option<Merge>,
}

impl Lake {
    /// A sink of this pipeline for this lake; nothing is touched before [`Sink::open`].
    ///
    /// # Errors
    /// `Config`, naming the setting that is wrong.
    pub fn new(config: LakeConfig, pipeline: &str) -> Result<Self> {
        let root = layout::local_path(&config.url)?;
        Self::on(Box::new(LocalDisk::new(root)), config, pipeline)
    }

    pub(crate) fn on(
        storage: Box<dyn Storage>,
        config: LakeConfig,
        pipeline: &str,
    ) -> Result<Self> {
        let site = Arc::new(Site::new(storage, config, pipeline)?);
        Ok(Self {
            core: Offload::new(Core::new(&site)),
            site,
            merge: None,
        })
    }
}

#[async_trait]
impl Sink for Lake {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            upsert: false,
            keyless_append: true,
            query: false,
            compare: false,
        }
    }

    async fn check(&mut self) -> Result<Vec<Finding>> {
        let site = Arc::clone(&self.site);
        tokio::task::spawn_blocking(move || preflight::check(&site))
            .await
            .map_err(|_| Error::internal("the lake's preflight has stopped"))?
    }

    async fn open(&mut self) -> Result<()> {
        self.core.resume();
        self.core.run(Core::open).await
    }

    async fn committed(&mut self) -> Result<Option<Checkpoint>> {
        self.core.run(Core::committed).await
    }

    async fn joined(&mut self) -> Result<Vec<JoinedTable>> {
        self.core.run(Core::joined).await
    }

    async fn apply_schema(&mut self, table: &Arc<TableSchema>) -> Result<()> {
        let table = Arc::clone(table);
        self.core.run(move |core| core.apply_schema(&table)).await
    }

    async fn write(&mut self, batch: &ChangeBatch) -> Result<()> {
        let batch = batch.clone();
        self.core.run(move |core| core.write(&batch)).await
    }

    async fn truncate(
        &mut self,
        table: &Arc<TableSchema>,
        seq: u64,
        commit_time: i64,
    ) -> Result<()> {
        let table = Arc::clone(table);
        self.core
            .run(move |core| core.truncate(&table, seq, commit_time))
            .await
    }

    async fn commit(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        let checkpoint = checkpoint.clone();
        self.core.run(move |core| core.commit(&checkpoint)).await
    }

    async fn rollback(&mut self) -> Result<()> {
        self.core.resume();
        self.core.run(Core::rollback).await
    }

    async fn copy(&mut self, table: &Arc<TableSchema>, copy: CopyId) -> Result<Box<dyn TableCopy>> {
        let (site, table) = (Arc::clone(&self.site), Arc::clone(table));
        let copy = self
            .core
            .run(move |_| LakeCopy::begin(&site, &table, copy))
            .await?;
        Ok(Box::new(copy))
    }

    async fn join(&mut self, table: &Arc<TableSchema>, copy: CopyId) -> Result<()> {
        let table = Arc::clone(table);
        self.core.run(move |core| core.join(&table, copy)).await
    }

    async fn leave(&mut self, table: TableId) -> Result<()> {
        self.core.run(move |core| core.leave(table)).await
    }

    async fn discard_copies(&mut self, keep: &[CopyId]) -> Result<()> {
        let keep = keep.to_vec();
        self.core.run(move |core| core.discard_copies(&keep)).await
    }

    async fn maintain(&mut self) -> Result<()> {
        if !self.site.config.compaction.enabled {
            return Ok(());
        }
        let site = Arc::clone(&self.site);
        if self.merge.is_none() {
            self.merge = self
                .core
                .run(move |core| Ok(Merge::begin(&site, core.tables())))
                .await?;
        }
        let Some(merge) = &mut self.merge else {
            return Ok(());
        };
        let Some(merged) = merge.wait().await else {
            return Ok(());
        };
        self.merge = None;
        let merged = merged?;
        self.core.run(move |core| core.merge(merged)).await
    }

    async fn teardown(&mut self) -> Result<Vec<String>> {
        self.merge = None;
        self.core.run(Core::teardown).await
    }
}

#[cfg(test)]
mod tests;
