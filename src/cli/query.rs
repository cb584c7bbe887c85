//! `cdc query`: a look into a sink while the daemon runs.
//!
//! JSON is one object a line with every column, NULL as `null`; numbers are exact, decimals and
//! times are texts, binary is hexadecimal, NaN and infinities are texts. CSV has a heading; NULL
//! is an empty field and the empty text is `""`.

use std::process::ExitCode;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Date32Type, FieldRef, TimeUnit, TimestampMicrosecondType};
use arrow::error::ArrowError;
use arrow::json::writer::{LineDelimited, NullableEncoder, WriterBuilder};
use arrow::json::{Encoder, EncoderFactory, EncoderOptions};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use cdc_api::Error;
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

pub(super) async fn run(args: &Args, context: &Context) -> Result<ExitCode, Error> {
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

fn add_rows(columns: &mut Columns, batch: &RecordBatch) -> Result<(), ArrowError> {
    let texts = texts(batch)?;
    for row in 0..batch.num_rows() {
        let cells = texts.iter().map(|texts| match texts.value(row) {
            Some(text) => (text, Tone::Plain),
            None => ("NULL".to_owned(), Tone::Notice),
        });
        columns.row(cells.collect());
    }
    Ok(())
}

fn csv(batch: &RecordBatch, heading: bool) -> Result<String, ArrowError> {
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
        let schema = batch.schema();
        line(
            &mut schema
                .fields()
                .iter()
                .map(|field| Some(field.name().clone())),
        );
    }
    let texts = texts(batch)?;
    for row in 0..batch.num_rows() {
        line(&mut texts.iter().map(|texts| texts.value(row)));
    }
    Ok(text)
}

fn json(batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
    let mut writer = WriterBuilder::new()
        .with_explicit_nulls(true)
        .with_encoder_factory(Arc::new(ExactJson))
        .build::<_, LineDelimited>(Vec::new());
    writer.write(batch)?;
    writer.finish()?;
    Ok(writer.into_inner())
}

/// The values of a column as texts.
struct Texts<'a> {
    array: &'a dyn Array,
    formatter: ArrayFormatter<'a>,
}

fn texts(batch: &RecordBatch) -> Result<Vec<Texts<'_>>, ArrowError> {
    batch
        .columns()
        .iter()
        .map(|column| Texts::new(column.as_ref()))
        .collect()
}

impl<'a> Texts<'a> {
    fn new(array: &'a dyn Array) -> Result<Self, ArrowError> {
        let options = FormatOptions::new()
            .with_display_error(true)
            .with_null("NULL");
        Ok(Self {
            array,
            formatter: ArrayFormatter::try_new(array, &options)?,
        })
    }

    /// The value of a row; `None` for NULL.
    fn value(&self, row: usize) -> Option<String> {
        if self.array.is_null(row) {
            return None;
        }
        Some(match self.infinity(row) {
            Some(true) => "infinity".to_owned(),
            Some(false) => "-infinity".to_owned(),
            None => self.formatter.value(row).to_string(),
        })
    }

    /// Whether a date or timestamp is the sentinel of +infinity, or that of -infinity: Arrow has
    /// no such value, PostgreSQL and DuckDB have.
    fn infinity(&self, row: usize) -> Option<bool> {
        let (value, most) = match self.array.data_type() {
            DataType::Date32 => (
                i64::from(self.array.as_primitive::<Date32Type>().value(row)),
                i64::from(i32::MAX),
            ),
            DataType::Timestamp(TimeUnit::Microsecond, _) => (
                self.array
                    .as_primitive::<TimestampMicrosecondType>()
                    .value(row),
                i64::MAX,
            ),
            _ => return None,
        };
        if value == most {
            Some(true)
        } else if value <= -most {
            Some(false)
        } else {
            None
        }
    }
}

/// JSON of what JSON has no exact value for: texts.
#[derive(Debug)]
struct ExactJson;

impl EncoderFactory for ExactJson {
    fn make_default_encoder<'a>(
        &self,
        _: &'a FieldRef,
        array: &'a dyn Array,
        _: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        let data_type = array.data_type();
        let always = data_type.is_decimal() || data_type.is_temporal();
        if !always && !data_type.is_floating() {
            return Ok(None);
        }
        let encoder = Quoted {
            texts: Texts::new(array)?,
            always,
        };
        Ok(Some(NullableEncoder::new(
            Box::new(encoder),
            array.nulls().cloned(),
        )))
    }
}

/// Numbers and times, which never need escaping.
struct Quoted<'a> {
    texts: Texts<'a>,
    /// Else only what is no number, such as NaN.
    always: bool,
}

impl Encoder for Quoted<'_> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        let text = self.texts.value(row).unwrap_or_default();
        let is_number = text.ends_with(|char: char| char.is_ascii_digit());
        if is_number && !self.always {
            out.extend_from_slice(text.as_bytes());
        } else {
            out.push(b'"');
            out.extend_from_slice(text.as_bytes());
            out.push(b'"');
        }
    }
}

#[cfg(test)]
mod tests;
