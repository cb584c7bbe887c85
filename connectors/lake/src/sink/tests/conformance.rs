//! The contract's own suite, read back by glob.

use std::path::PathBuf;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use cdc_api::testing::conformance::sink::{Flavour, Probe};
use cdc_api::{Result, Sink, TableSchema};
use tempfile::TempDir;

use super::reading;

use crate::layout::Layout;
use crate::manifest::log;
use crate::storage::local::LocalDisk;
use crate::{Compression, Lake, LakeConfig};

struct LakeProbe {
    folder: TempDir,
}

impl LakeProbe {
    fn fresh() -> Self {
        Self {
            folder: TempDir::new().expect("a folder"),
        }
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("lake")
    }
}

#[async_trait]
impl Probe for LakeProbe {
    fn flavour(&self) -> Flavour {
        Flavour::Log
    }

    fn sink(&mut self) -> Box<dyn Sink> {
        let mut config = LakeConfig::new(self.root().display().to_string());
        config.compaction.min_files = 2;
        config.compression = Compression::None;
        let disk = LocalDisk::volatile(self.root());
        Box::new(Lake::on(Box::new(disk), config, "shop").expect("a lake"))
    }

    async fn read(
        &mut self,
        sink: &mut dyn Sink,
        table: &TableSchema,
    ) -> Result<Option<Vec<RecordBatch>>> {
        // Readers see the same before and after files are merged.
        sink.maintain().await?;
        let folder = Layout::parse("{schema}/{table}")?.folder(&table.name);
        let folder = self.root().join(folder);
        let joined = sink.joined().await?;
        if reading::glob(&folder).is_empty() && joined.iter().all(|it| it.table.id != table.id) {
            return Ok(None);
        }
        let newest = log::load(&LocalDisk::new(self.root()))?.expect("there are entries");
        let shapes = &newest.state.tables[&table.id].shapes;
        let batches = reading::batches(&folder);
        Ok(Some(
            batches
                .iter()
                .flat_map(|batch| reading::as_table(batch, table, shapes))
                .collect(),
        ))
    }

    /// Columns are found by what they were called in the shape that a row has.
    fn renames(&self) -> bool {
        true
    }
}

cdc_api::sink_conformance!(LakeProbe::fresh);
