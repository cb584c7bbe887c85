//! Rows into Parquet files: one open file a table, rolled at the target size.
//!
//! Invariant: the unfinished row groups of all open files together stay within the buffer setting
//! (one batch aside), whatever is written; nothing is visible, and all is removed on drop, until
//! the caller keeps what [`Encoder::finish`] gave.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use cdc_api::{ChangeBatch, Error, Result, TableId, TableSchema};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression as Codec, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{WriterProperties, WriterVersion};
use parquet::schema::types::ColumnPath;

use crate::config::Compression;
use crate::manifest::DataFile;
use crate::rows;
use crate::site::{Site, Staged};
use crate::storage::{StoredFile, failed};

/// More files than this are not kept open at once.
const OPEN_FILES: usize = 128;

/// A dictionary that grows beyond this is given up: a column of so many values gains little by one,
/// and looking each value up is what costs most in writing a file.
const DICTIONARY: usize = 64 << 10;

/// A finished, durable file in staging.
pub(crate) struct Finished {
    pub(crate) table: TableId,
    pub(crate) file: DataFile,
    pub(crate) staged: Staged,
}

/// Encodes rows of any number of tables.
pub(crate) struct Encoder {
    site: Arc<Site>,
    open: BTreeMap<TableId, OpenFile>,
    finished: Vec<Finished>,
}

impl Encoder {
    pub(crate) fn new(site: &Arc<Site>) -> Self {
        Self {
            site: Arc::clone(site),
            open: BTreeMap::new(),
            finished: Vec::new(),
        }
    }

    /// Takes a batch's rows, in this shape of the table. An error that names the table has changed
    /// nothing; after any other the encoder is to be given up.
    pub(crate) fn write(&mut self, shape: &Arc<TableSchema>, batch: &ChangeBatch) -> Result<()> {
        let Some((first, last)) = batch.seq_range() else {
            return Ok(());
        };
        let schema = self.schema_for(shape);
        let rows = rows::encode(shape, &schema, batch)?;
        self.append(shape, schema, &rows, (first, last))
    }

    /// Takes a truncate.
    pub(crate) fn truncate(
        &mut self,
        shape: &Arc<TableSchema>,
        seq: u64,
        commit_time: i64,
    ) -> Result<()> {
        let schema = self.schema_for(shape);
        let row = rows::truncate(shape, &schema, seq, commit_time)?;
        self.append(shape, schema, &row, (seq, seq))
    }

    /// Takes rows that are in the file's form already.
    pub(crate) fn append(
        &mut self,
        shape: &Arc<TableSchema>,
        schema: SchemaRef,
        rows: &RecordBatch,
        seq: (u64, u64),
    ) -> Result<()> {
        if self
            .open
            .get(&shape.id)
            .is_some_and(|file| file.shape != shape.version)
        {
            self.close(shape.id)?;
        }
        if self.open.len() >= OPEN_FILES && !self.open.contains_key(&shape.id) {
            let largest = self
                .open
                .iter()
                .max_by_key(|(_, file)| file.bytes())
                .map(|(id, _)| *id);
            if let Some(largest) = largest {
                self.close(largest)?;
            }
        }
        let file = match self.open.entry(shape.id) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(OpenFile::create(&self.site, shape, schema, seq.0)?)
            }
        };
        file.append(rows, seq)?;
        if file.bytes() as u64 >= self.site.config.target_file_bytes {
            self.close(shape.id)?;
        }
        self.bound_memory()
    }

    /// Closes all files, durably. The caller keeps them once a durable note names them.
    pub(crate) fn finish(&mut self) -> Result<Vec<Finished>> {
        let tables: Vec<TableId> = self.open.keys().copied().collect();
        for table in tables {
            self.close(table)?;
        }
        Ok(std::mem::take(&mut self.finished))
    }

    fn schema_for(&self, shape: &Arc<TableSchema>) -> SchemaRef {
        match self.open.get(&shape.id) {
            Some(file) if file.shape == shape.version => Arc::clone(&file.schema),
            _ => rows::file_schema(shape),
        }
    }

    fn close(&mut self, table: TableId) -> Result<()> {
        if let Some(file) = self.open.remove(&table) {
            self.finished.push(file.finish(table)?);
        }
        Ok(())
    }

    /// Writes out the largest unfinished row groups until the rest is small enough.
    fn bound_memory(&mut self) -> Result<()> {
        let mut all: usize = self
            .open
            .values()
            .map(|file| file.writer.memory_size())
            .sum();
        while all as u64 > self.site.config.buffer_bytes {
            let Some(largest) = self
                .open
                .values_mut()
                .max_by_key(|file| file.writer.memory_size())
            else {
                return Ok(());
            };
            let before = largest.writer.memory_size();
            if largest.writer.in_progress_rows() == 0 {
                return Ok(());
            }
            largest.writer.flush().map_err(broken)?;
            all -= before.saturating_sub(largest.writer.memory_size()).min(all);
        }
        Ok(())
    }
}

struct OpenFile {
    staged: Staged,
    writer: ArrowWriter<Box<dyn StoredFile>>,
    schema: SchemaRef,
    shape: u32,
    rows: u64,
    first_seq: u64,
    last_seq: u64,
}

impl OpenFile {
    fn create(
        site: &Arc<Site>,
        shape: &TableSchema,
        schema: SchemaRef,
        first_seq: u64,
    ) -> Result<Self> {
        let (staged, file) = Staged::create(site, first_seq)?;
        // Without Arrow's own schema in the footer every reader sees the plain Parquet types.
        let options = ArrowWriterOptions::new()
            .with_properties(properties(site, shape))
            .with_skip_arrow_metadata(true);
        let writer = ArrowWriter::try_new_with_options(file, Arc::clone(&schema), options)
            .map_err(|error| {
                Error::unsupported(format!("the shape of {} has no Parquet form", shape.name))
                    .caused_by(error)
                    .hint(format!(
                        "leave the table out with `tables: [\"!{}\"]`",
                        shape.name
                    ))
                    .for_table(shape.id)
            })?;
        Ok(Self {
            staged,
            writer,
            schema,
            shape: shape.version,
            rows: 0,
            first_seq,
            last_seq: first_seq,
        })
    }

    fn append(&mut self, rows: &RecordBatch, (first, last): (u64, u64)) -> Result<()> {
        self.writer.write(rows).map_err(broken)?;
        self.rows += rows.num_rows() as u64;
        self.first_seq = self.first_seq.min(first);
        self.last_seq = self.last_seq.max(last);
        Ok(())
    }

    /// Bytes that the file would have if it were closed now, about.
    fn bytes(&self) -> usize {
        self.writer.bytes_written() + self.writer.in_progress_size()
    }

    fn finish(mut self, table: TableId) -> Result<Finished> {
        self.writer.finish().map_err(broken)?;
        let bytes = self.writer.bytes_written() as u64;
        // All of it was flushed to the file by now.
        self.writer
            .inner_mut()
            .sync()
            .map_err(|error| failed("syncing a data file", error))?;
        let file = DataFile {
            name: self.staged.name().to_owned(),
            shape: self.shape,
            rows: self.rows,
            bytes,
            first_seq: self.first_seq,
            last_seq: self.last_seq,
        };
        Ok(Finished {
            table,
            file,
            staged: self.staged,
        })
    }
}

fn properties(site: &Site, shape: &TableSchema) -> WriterProperties {
    let config = &site.config;
    let codec = match config.compression {
        Compression::Zstd => Codec::ZSTD(ZstdLevel::default()),
        Compression::Snappy => Codec::SNAPPY,
        Compression::Lz4 => Codec::LZ4_RAW,
        Compression::None => Codec::UNCOMPRESSED,
    };
    let size = |bytes: u64| usize::try_from(bytes).ok();
    let seq = ColumnPath::from(rows::SEQ);
    let mut properties = WriterProperties::builder()
        .set_writer_version(WriterVersion::PARQUET_1_0)
        .set_created_by(concat!("cdc ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(codec)
        .set_max_row_group_row_count(size(config.row_group_rows))
        .set_max_row_group_bytes(size(config.row_group_bytes))
        .set_dictionary_page_size_limit(DICTIONARY)
        .set_column_dictionary_enabled(seq.clone(), false)
        .set_column_encoding(seq, Encoding::DELTA_BINARY_PACKED);
    // No value of a key is there twice, mostly.
    if let [key] = &shape.key[..]
        && let Some(column) = shape.columns.get(*key)
    {
        let path = ColumnPath::from(column.name.as_str());
        properties = properties.set_column_dictionary_enabled(path.clone(), false);
        if column.data_type.is_integer() {
            properties = properties.set_column_encoding(path, Encoding::DELTA_BINARY_PACKED);
        }
    }
    if config.bloom_filters {
        for column in shape.key_columns() {
            let path = ColumnPath::from(column.name.as_str());
            properties = properties.set_column_bloom_filter_enabled(path, true);
        }
    }
    properties.build()
}

/// A Parquet writer's error. Its words may quote a value, so only a storage's are passed on.
pub(crate) fn broken(error: ParquetError) -> Error {
    match error {
        ParquetError::External(cause) => match cause.downcast::<std::io::Error>() {
            Ok(error) => failed("writing a data file", *error),
            Err(_) => Error::internal("a data file cannot be encoded"),
        },
        _ => Error::internal("a data file cannot be encoded"),
    }
}
