//! The reference sink passes its own suite, as a mirror and as a log.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};
use arrow::datatypes::{DataType, Field, Schema};

use super::*;
use crate::testing::sink::MemoryTarget;
use crate::testing::trace::Trace;

struct MemoryProbe {
    target: MemoryTarget,
    trace: Trace,
}

impl MemoryProbe {
    fn new(flavour: Flavour) -> Self {
        let trace = Trace::new();
        Self {
            target: MemoryTarget::new("memory", flavour, 1, None, &trace),
            trace,
        }
    }
}

impl Drop for MemoryProbe {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(self.trace.violations(), Vec::<String>::new());
        }
    }
}

#[async_trait]
impl Probe for MemoryProbe {
    fn flavour(&self) -> Flavour {
        self.target.flavour()
    }

    fn sink(&mut self) -> Box<dyn Sink> {
        Box::new(self.target.sink())
    }

    async fn read(
        &mut self,
        _sink: &mut dyn Sink,
        table: &TableSchema,
    ) -> Result<Option<Vec<RecordBatch>>> {
        let Some(content) = self.target.joined_content(table.id) else {
            return Ok(None);
        };
        let mut names: Vec<String> = content
            .table()
            .columns
            .iter()
            .map(|column| column.name.clone())
            .collect();
        let mut rows = content.rows();
        if self.flavour() == Flavour::Log {
            names.extend(["_cdc_op".to_owned(), "_cdc_seq".to_owned()]);
            rows = content
                .log()
                .iter()
                .map(|entry| {
                    let mut row = entry.row.clone();
                    row.extend([Some(entry.op.into()), Some(entry.seq.to_string().into())]);
                    row
                })
                .collect();
        }
        let columns: Vec<ArrayRef> = (0..names.len())
            .map(|column| -> ArrayRef {
                let texts = rows.iter().map(|row| row[column].as_deref());
                Arc::new(StringArray::from_iter(texts))
            })
            .collect();
        let fields: Vec<Field> = names
            .iter()
            .map(|name| Field::new(name, DataType::Utf8, true))
            .collect();
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns);
        Ok(Some(vec![batch.expect("one text a cell")]))
    }
}

mod mirror {
    crate::sink_conformance!(|| super::MemoryProbe::new(super::Flavour::Mirror));
}

mod log {
    crate::sink_conformance!(|| super::MemoryProbe::new(super::Flavour::Log));
}
