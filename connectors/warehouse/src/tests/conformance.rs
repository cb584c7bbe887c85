//! The contract's suite, in every mode.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, DurationMicrosecondArray, RecordBatch};
use arrow::datatypes::{
    DataType, Date32Type, Field, IntervalMonthDayNanoType, Schema, TimeUnit,
    TimestampMicrosecondType,
};
use async_trait::async_trait;
use cdc_api::schema::quote_identifier;
use cdc_api::testing::conformance::sink::{Flavour, Probe};
use cdc_api::{Column, Result, Sink, TableSchema};

use super::scene::Scene;
use crate::shape::DELETED;
use crate::{Mode, Warehouse};

struct WarehouseProbe(Scene);

impl WarehouseProbe {
    fn fresh(mode: Mode) -> Self {
        Self(Scene::new(mode))
    }
}

#[async_trait]
impl Probe for WarehouseProbe {
    fn flavour(&self) -> Flavour {
        match self.0.config.mode {
            Mode::Append => Flavour::Log,
            Mode::Upsert | Mode::SoftDelete => Flavour::Mirror,
        }
    }

    fn sink(&mut self) -> Box<dyn Sink> {
        Box::new(Warehouse::new(self.0.config.clone()).unwrap())
    }

    async fn read(
        &mut self,
        sink: &mut dyn Sink,
        table: &TableSchema,
    ) -> Result<Option<Vec<RecordBatch>>> {
        let reader = sink.reader().unwrap();
        let text = |text: &str| format!("'{}'", text.replace('\'', "''"));
        let there = format!(
            "SELECT 1 FROM duckdb_tables() WHERE schema_name = {} AND table_name = {}",
            text(&table.name.schema),
            text(&table.name.table)
        );
        let first = reader.query(&there).await?.next().await?;
        if first.is_none_or(|rows| rows.num_rows() == 0) {
            return Ok(None);
        }
        let living = if self.0.config.mode == Mode::SoftDelete {
            format!(" WHERE NOT {}", quote_identifier(DELETED))
        } else {
            String::new()
        };
        let mut batches = reader
            .query(&format!("FROM {}{living}", table.name.quoted()))
            .await?;
        let mut found = Vec::new();
        while let Some(rows) = batches.next().await? {
            found.push(as_sent(&rows, table));
        }
        Ok(Some(found))
    }

    fn renames(&self) -> bool {
        true
    }
}

/// The same values in the source's words: DuckDB has no durations and its infinities are its own.
fn as_sent(rows: &RecordBatch, table: &TableSchema) -> RecordBatch {
    let schema = rows.schema();
    let columns: Vec<ArrayRef> = schema
        .fields()
        .iter()
        .zip(rows.columns())
        .map(|(field, values)| {
            let sent = table
                .columns
                .iter()
                .find(|column| column.name == *field.name());
            sent.map_or_else(|| Arc::clone(values), |sent| column_as_sent(values, sent))
        })
        .collect();
    let fields: Vec<Field> = schema
        .fields()
        .iter()
        .zip(&columns)
        .map(|(field, values)| Field::new(field.name(), values.data_type().clone(), true))
        .collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

fn column_as_sent(values: &ArrayRef, sent: &Column) -> ArrayRef {
    match &sent.data_type {
        DataType::Duration(TimeUnit::Microsecond) => Arc::new(
            values
                .as_primitive::<IntervalMonthDayNanoType>()
                .iter()
                .map(|value| value.map(|value| value.nanoseconds / 1000))
                .collect::<DurationMicrosecondArray>(),
        ),
        DataType::Date32 => Arc::new(
            values
                .as_primitive::<Date32Type>()
                .unary::<_, Date32Type>(|day| if day == -i32::MAX { i32::MIN } else { day }),
        ),
        DataType::Timestamp(TimeUnit::Microsecond, _) => Arc::new(
            values
                .as_primitive::<TimestampMicrosecondType>()
                .unary::<_, TimestampMicrosecondType>(|time| {
                    if time == -i64::MAX { i64::MIN } else { time }
                }),
        ),
        _ => Arc::clone(values),
    }
}

mod upsert {
    use super::{Mode, WarehouseProbe};
    cdc_api::sink_conformance!(|| WarehouseProbe::fresh(Mode::Upsert));
}

mod soft_delete {
    use super::{Mode, WarehouseProbe};
    cdc_api::sink_conformance!(|| WarehouseProbe::fresh(Mode::SoftDelete));
}

mod append {
    use super::{Mode, WarehouseProbe};
    cdc_api::sink_conformance!(|| WarehouseProbe::fresh(Mode::Append));
}
