//! `cdc query`: a look into a sink while the daemon runs.
//!
//! JSON is one object a line with every column, NULL as `null`; numbers are exact, decimals and
//! times are texts, binary is hexadecimal, NaN and infinities are texts. CSV has a heading; NULL
//! is an empty field and the empty text is `""`.

use std::process::ExitCode;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Float32Type, Float64Type, Schema};
use arrow::error::ArrowError;
use arrow::json::writer::{LineDelimited, WriterBuilder};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use cdc_api::{Error, Result};
use clap::ValueEnum;

use super::Context;
use super::output::{self, Columns, Tone};
use crate::admin::serve::QueryRequest;

/// Run one read-only statement inside the daemon, at one committed state.
///
/// The embedded warehouse lets one process at a time open its file: so the daemon runs it.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  cdc query \"SELECT status, count(*) FROM public.orders GROUP BY 1\"\n  cdc query --format csv 'FROM public.orders' > orders.csv\n  cdc query --format json --sink warehouse 'FROM public.orders LIMIT 3' | jq ."
)]
pub(super) struct Args {
    /// On this sink; needed only where several can be queried.
    #[arg(long, value_name = "NAME")]
    sink: Option<String>,
    /// How rows are written; json is one object a line.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// The statement, in the sink's own dialect.
    sql: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
    Csv,
}

/// Rows that are aligned together; later ones get a table of their own, so that memory stays
/// bounded.
const TABLE_ROWS: usize = 10_000;

pub(super) async fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    let request = QueryRequest {
        sink: args.sink.clone(),
        sql: args.sql.clone(),
    };
    let mut rows = context.daemon().await?.query(&request).await?;
    let mut heading = true;
    let mut table: Option<(Columns, usize)> = None;
    while let Some(batch) = rows.next().await? {
        match args.format {
            Format::Json => output::data(&json(&batch).map_err(unprintable)?)?,
            Format::Csv => {
                output::data(csv(&batch, heading).map_err(unprintable)?.as_bytes())?;
                heading = false;
            }
            Format::Table => {
                for start in (0..batch.num_rows().max(1)).step_by(TABLE_ROWS) {
                    let part = batch.slice(start, TABLE_ROWS.min(batch.num_rows() - start));
                    let (columns, count) = table.get_or_insert_with(|| (columns(&part), 0));
                    add_rows(columns, &part).map_err(unprintable)?;
                    *count += part.num_rows();
                    if *count >= TABLE_ROWS
                        && let Some((columns, _)) = table.take()
                    {
                        output::data(columns.render().as_bytes())?;
                    }
                }
            }
        }
    }
    if let Some((columns, _)) = table {
        output::data(columns.render().as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn unprintable(error: ArrowError) -> Error {
    Error::unsupported("the rows cannot be written")
        .caused_by(error)
        .hint("cast the column to VARCHAR in the statement")
}

fn options() -> FormatOptions<'static> {
    FormatOptions::default().with_display_error(true)
}

fn columns(batch: &RecordBatch) -> Columns {
    let schema = batch.schema();
    let names: Vec<_> = schema
        .fields()
        .iter()
        .map(|field| output::escaped(field.name()))
        .collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let numbers: Vec<_> = (0..names.len())
        .filter(|&column| schema.field(column).data_type().is_numeric())
        .collect();
    Columns::new(&names, output::colour_on_stdout()).right(&numbers)
}

fn add_rows(columns: &mut Columns, batch: &RecordBatch) -> std::result::Result<(), ArrowError> {
    let options = options().with_null("NULL");
    let formatters = formatters(batch, &options)?;
    for row in 0..batch.num_rows() {
        let cells = formatters
            .iter()
            .zip(batch.columns())
            .map(|(formatter, column)| {
                let tone = if column.is_null(row) {
                    Tone::Notice
                } else {
                    Tone::Plain
                };
                (formatter.value(row).to_string(), tone)
            });
        columns.row(cells.collect());
    }
    Ok(())
}

fn formatters<'a>(
    batch: &'a RecordBatch,
    options: &FormatOptions<'a>,
) -> std::result::Result<Vec<ArrayFormatter<'a>>, ArrowError> {
    batch
        .columns()
        .iter()
        .map(|column| ArrayFormatter::try_new(column.as_ref(), options))
        .collect()
}

fn csv(batch: &RecordBatch, heading: bool) -> std::result::Result<String, ArrowError> {
    let mut text = String::new();
    let mut line = |fields: &mut dyn Iterator<Item = Option<String>>| {
        for (index, field) in fields.enumerate() {
            if index > 0 {
                text.push(',');
            }
            match field {
                Some(field) if field.is_empty() || field.contains([',', '"', '\n', '\r']) => {
                    text.push_str(&format!("\"{}\"", field.replace('"', "\"\"")));
                }
                Some(field) => text.push_str(&field),
                None => {}
            }
        }
        text.push('\n');
    };
    if heading {
        line(
            &mut batch
                .schema()
                .fields()
                .iter()
                .map(|field| Some(field.name().clone())),
        );
    }
    let options = options();
    let formatters = formatters(batch, &options)?;
    for row in 0..batch.num_rows() {
        line(
            &mut formatters
                .iter()
                .zip(batch.columns())
                .map(|(formatter, column)| {
                    (!column.is_null(row)).then(|| formatter.value(row).to_string())
                }),
        );
    }
    Ok(text)
}

fn json(batch: &RecordBatch) -> std::result::Result<Vec<u8>, ArrowError> {
    let batch = with_texts(batch)?;
    let mut writer = WriterBuilder::new()
        .with_explicit_nulls(true)
        .build::<_, LineDelimited>(Vec::new());
    writer.write(&batch)?;
    writer.finish()?;
    Ok(writer.into_inner())
}

/// JSON has no NaN, no infinities and no exact decimals: such columns become texts.
fn with_texts(batch: &RecordBatch) -> std::result::Result<RecordBatch, ArrowError> {
    let mut fields = Vec::with_capacity(batch.num_columns());
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(batch.num_columns());
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        let column = match column.data_type() {
            DataType::Decimal32(..)
            | DataType::Decimal64(..)
            | DataType::Decimal128(..)
            | DataType::Decimal256(..) => cast(column, &DataType::Utf8)?,
            DataType::Float32
                if has_no_number(column.as_primitive::<Float32Type>(), |value| {
                    value.is_finite()
                }) =>
            {
                texts(column)?
            }
            DataType::Float64
                if has_no_number(column.as_primitive::<Float64Type>(), |value| {
                    value.is_finite()
                }) =>
            {
                texts(column)?
            }
            DataType::Interval(_) | DataType::Duration(_) => texts(column)?,
            _ => Arc::clone(column),
        };
        fields.push(Field::new(field.name(), column.data_type().clone(), true));
        columns.push(column);
    }
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
}

fn has_no_number<T: arrow::datatypes::ArrowPrimitiveType>(
    array: &arrow::array::PrimitiveArray<T>,
    is_number: impl Fn(T::Native) -> bool,
) -> bool {
    array.iter().flatten().any(|value| !is_number(value))
}

fn texts(column: &ArrayRef) -> std::result::Result<ArrayRef, ArrowError> {
    let options = options();
    let formatter = ArrayFormatter::try_new(column.as_ref(), &options)?;
    let texts: StringArray = (0..column.len())
        .map(|row| (!column.is_null(row)).then(|| formatter.value(row).to_string()))
        .collect();
    Ok(Arc::new(texts))
}

#[cfg(test)]
mod tests;
