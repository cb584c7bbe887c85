//! The sink that the engine drives: the contract's async calls, each handed to a thread that may
//! block. What they do is in `core` and `copy`.

use std::sync::Arc;

use async_trait::async_trait;
use cdc_api::{
    Capabilities, ChangeBatch, Checkpoint, CopyId, Error, Finding, JoinedTable, Notice, Result,
    Sink, TableCopy, TableId, TableSchema,
};
use cdc_blocking::Offload;

use crate::check;
use crate::config::{Format, KafkaConfig};
use crate::copy::KafkaCopy;
use crate::core::Core;
use crate::envelope::{Connector, Origin};
use crate::held::{Change, Held};
use crate::registry::Registry;
use crate::session::Site;

/// Kafka as a sink.
pub struct Kafka {
    site: Arc<Site>,
    core: Offload<Core>,
    held: Held,
}

impl Kafka {
    /// The sink `sink` of pipeline `pipeline`, whose source is `database` as seen by `connector`;
    /// nothing is connected before [`Sink::open`].
    ///
    /// # Errors
    /// `Config`, naming the setting that is wrong.
    pub fn new(
        config: KafkaConfig,
        pipeline: &str,
        sink: &str,
        connector: Connector,
        database: &str,
    ) -> Result<Self> {
        config.validate()?;
        crate::envelope::validate(&config, connector)?;
        let registry = match config.format {
            Format::Avro => Some(Registry::new(&config.schema_registry)?),
            Format::Json | Format::JsonWithSchema => None,
        };
        let name = config.topic_prefix.clone();
        let id = config.transactional_id.clone();
        let topic = config.checkpoint_topic.clone();
        let site = Arc::new(Site {
            origin: Origin {
                connector,
                name: name.unwrap_or_else(|| pipeline.to_owned()),
                database: database.to_owned(),
            },
            transactional_id: id.unwrap_or_else(|| format!("cdc.{pipeline}.{sink}")),
            checkpoint_topic: topic.unwrap_or_else(|| format!("__cdc.{pipeline}.{sink}")),
            dead_letter_topic: config.dead_letter_topic.clone().unwrap_or_else(|| {
                let prefix = config.topic_prefix.as_deref().unwrap_or(pipeline);
                format!("{prefix}.dead_letter")
            }),
            registry,
            config: Arc::new(config),
        });
        Ok(Self {
            core: Offload::new(Core::new(&site)),
            site,
            held: Held::default(),
        })
    }

    async fn take(&mut self, change: Change) -> Result<()> {
        if self.held.keep(change) {
            return self.release().await;
        }
        Ok(())
    }

    /// Sends what is held.
    async fn release(&mut self) -> Result<()> {
        let held = self.held.take();
        if held.is_empty() {
            return Ok(());
        }
        self.core.run(move |core| core.changes(&held)).await
    }
}

#[async_trait]
impl Sink for Kafka {
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
        tokio::task::spawn_blocking(move || check::check(&site))
            .await
            .map_err(|_| Error::internal("the preflight has stopped"))
    }

    async fn open(&mut self) -> Result<()> {
        self.held.take();
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
        self.release().await?;
        let table = Arc::clone(table);
        self.core.run(move |core| core.apply_schema(&table)).await
    }

    async fn write(&mut self, batch: &ChangeBatch) -> Result<()> {
        self.take(Change::Rows(batch.clone())).await
    }

    async fn notice(&mut self, notice: &Notice) -> Result<()> {
        self.take(Change::Notice(notice.clone())).await
    }

    async fn truncate(
        &mut self,
        table: &Arc<TableSchema>,
        seq: u64,
        commit_time: i64,
    ) -> Result<()> {
        self.take(Change::Truncate {
            table: Arc::clone(table),
            seq,
            commit_time,
        })
        .await
    }

    async fn commit(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        let (held, checkpoint) = (self.held.take(), checkpoint.clone());
        let commit = move |core: &mut Core| {
            core.changes(&held)?;
            core.commit(&checkpoint)
        };
        self.core.run(commit).await
    }

    async fn rollback(&mut self) -> Result<()> {
        self.held.take();
        self.core.resume();
        self.core.run(Core::rollback).await
    }

    async fn copy(&mut self, table: &Arc<TableSchema>, copy: CopyId) -> Result<Box<dyn TableCopy>> {
        let table = Arc::clone(table);
        let copy = self
            .core
            .run(move |core| KafkaCopy::begin(&core.session()?, &table, copy))
            .await?;
        Ok(Box::new(copy))
    }

    async fn join(&mut self, table: &Arc<TableSchema>, copy: CopyId) -> Result<()> {
        self.release().await?;
        let table = Arc::clone(table);
        self.core.run(move |core| core.join(&table, copy)).await
    }

    async fn adopt(&mut self, table: &Arc<TableSchema>, copy: CopyId) -> Result<()> {
        self.release().await?;
        let table = Arc::clone(table);
        self.core.run(move |core| core.adopt(&table, copy)).await
    }

    async fn leave(&mut self, table: TableId) -> Result<()> {
        self.release().await?;
        self.core.run(move |core| core.leave(table)).await
    }

    async fn discard_copies(&mut self, keep: &[CopyId]) -> Result<()> {
        let keep = keep.to_vec();
        self.core.run(move |core| core.discard_copies(&keep)).await
    }

    async fn teardown(&mut self) -> Result<Vec<String>> {
        self.core.run(Core::teardown).await
    }
}
