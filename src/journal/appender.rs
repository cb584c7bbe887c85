//! The end of the journal on disk: encodes events into the last segment.
//!
//! Invariant: a failed call changes nothing that counts. What a failed write has left behind lies
//! after `offset` and is written over; after a failed sync the segment is read again up to what
//! was durable ([`Appender::restore`]) and the rest is written anew.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cdc_api::{ChangeEvent, Checkpoint, Result};

use super::Compression;
use super::directory::{self, Mark, MarkFile, damaged, unreadable, unwritable};
use super::disk::Disk;
use super::event::{self, Schemas};
use super::frame::FrameWriter;
use super::recovery::Recovery;
use super::retention::Segment;
use super::segment::{Scan, SegmentHeader, scan};

pub(super) struct Appender {
    dir: PathBuf,
    disk: Arc<dyn Disk>,
    frames: FrameWriter,
    mark: MarkFile,
    path: Arc<Path>,
    file: File,
    generation: u64,
    first_index: u64,
    /// Where the segment's frames begin.
    start: u64,
    /// Where the next frame goes.
    pub(super) offset: u64,
    /// Index of the next event.
    pub(super) next_index: u64,
    /// Up to here the segment is durable.
    durable: u64,
    /// The last commit written.
    pub(super) tail: Checkpoint,
    /// Index of the event after the first commit with its `seq`.
    pub(super) tail_index: u64,
    schemas: Schemas,
    buffer: Vec<u8>,
}

impl Appender {
    /// Goes on at the end of a recovered journal.
    pub(super) fn resume(
        dir: &Path,
        disk: Arc<dyn Disk>,
        compression: Compression,
        recovery: Recovery,
    ) -> Result<Self> {
        let Recovery {
            segments,
            last,
            mark,
            ..
        } = recovery;
        let path = segments
            .last()
            .map(|segment| segment.path.clone())
            .ok_or_else(|| directory::missing(dir, "its segments are not there"))?;
        let file = reopen(&path)?;
        Ok(Self::over(dir, disk, compression, mark, path, file, last))
    }

    fn over(
        dir: &Path,
        disk: Arc<dyn Disk>,
        compression: Compression,
        mark: MarkFile,
        path: Arc<Path>,
        file: File,
        scan: Scan,
    ) -> Self {
        Self {
            dir: dir.to_owned(),
            disk,
            frames: FrameWriter::new(compression),
            mark,
            path,
            file,
            generation: scan.header.generation,
            first_index: scan.header.first_index,
            start: scan.start,
            offset: scan.end,
            next_index: scan.next_index,
            durable: scan.end,
            tail: scan.tail().clone(),
            tail_index: scan.tail_index,
            schemas: scan.schemas,
            buffer: Vec::new(),
        }
    }

    /// Starts a journal, or starts it anew: a first segment whose events follow `start`. When this
    /// has succeeded, what was there before counts no more and is to be removed.
    pub(super) fn begin(
        dir: &Path,
        disk: Arc<dyn Disk>,
        compression: Compression,
        generation: u64,
        first_index: u64,
        start: &Checkpoint,
    ) -> Result<(Self, Segment)> {
        let header = SegmentHeader {
            generation,
            first_index,
            previous: None,
            base: start.clone(),
            base_index: first_index,
            schemas: Vec::new(),
        };
        let (path, file, offset) = create(dir, &*disk, &header)?;
        let marked = MarkFile::open(dir).and_then(|mark| {
            mark.set_durably(Mark {
                generation,
                segment: first_index,
                offset,
            })
            .map(|()| mark)
        });
        let mark = match marked {
            Ok(mark) => mark,
            Err(error) => {
                // Left there, it would replace the old generation when the journal is opened.
                let _ = fs::remove_file(&path);
                return Err(error);
            }
        };
        let segment = segment(&path, &header, offset);
        let scan = Scan {
            header,
            start: offset,
            end: offset,
            next_index: first_index,
            last_commit: None,
            tail_index: first_index,
            schemas: Schemas::new(),
            bad: None,
        };
        let appender = Self::over(dir, disk, compression, mark, path, file, scan);
        Ok((appender, segment))
    }

    /// Whether the segment is to be closed before the next event.
    pub(super) fn is_grown(&self, segment_bytes: u64) -> bool {
        self.offset > self.start && self.offset >= segment_bytes
    }

    /// Writes events; not durable.
    pub(super) fn write(&mut self, events: &[Arc<ChangeEvent>]) -> Result<()> {
        self.buffer.clear();
        let mut index = self.next_index;
        let mut tail = (&self.tail, self.tail_index);
        for event in events {
            let (label, body) = event::encode(event)?;
            self.frames.write(&mut self.buffer, index, label, &body)?;
            index += 1;
            if let ChangeEvent::Commit(checkpoint) = &**event {
                let same = checkpoint.seq == tail.0.seq;
                tail = (checkpoint, if same { tail.1 } else { index });
            }
        }
        if let Err(error) = self.disk.write(&self.file, &self.buffer, self.offset) {
            // What is half written would be found as a torn tail; without it the space is free.
            let _ = self.file.set_len(self.offset);
            return Err(unwritable(&self.path, error));
        }
        self.offset += self.buffer.len() as u64;
        self.next_index = index;
        (self.tail, self.tail_index) = (tail.0.clone(), tail.1);
        for event in events {
            if let ChangeEvent::Schema(schema) = &**event {
                self.schemas.insert(schema.id, Arc::clone(schema));
            }
        }
        // One huge batch must not keep its memory for ever.
        self.buffer.shrink_to(8 << 20);
        Ok(())
    }

    /// Makes everything written durable.
    pub(super) fn sync(&mut self) -> Result<()> {
        self.disk
            .sync(&self.file)
            .map_err(|error| unwritable(&self.path, error))?;
        self.durable = self.offset;
        // A mark that stays behind claims less than is true: harmless, and the next one mends it.
        let _ = self.mark.set(Mark {
            generation: self.generation,
            segment: self.first_index,
            offset: self.durable,
        });
        Ok(())
    }

    /// After a failed sync: back to what was durable before.
    pub(super) fn restore(&mut self) -> Result<()> {
        let file = reopen(&self.path)?;
        file.set_len(self.durable)
            .map_err(|error| unwritable(&self.path, error))?;
        let scan = scan(&self.path, Some(self.durable))?
            .filter(|scan| scan.bad.is_none() && scan.end == self.durable)
            .ok_or_else(|| damaged(&self.path, self.durable, "what was durable is not there"))?;
        self.file = file;
        self.offset = scan.end;
        self.next_index = scan.next_index;
        self.tail = scan.tail().clone();
        self.tail_index = scan.tail_index;
        self.schemas = scan.schemas;
        Ok(())
    }

    /// Begins the next segment; everything written must be durable.
    pub(super) fn roll(&mut self) -> Result<Segment> {
        let header = SegmentHeader {
            generation: self.generation,
            first_index: self.next_index,
            previous: Some(self.first_index),
            base: self.tail.clone(),
            base_index: self.tail_index,
            schemas: self.schemas.values().cloned().collect(),
        };
        let (path, file, offset) = create(&self.dir, &*self.disk, &header)?;
        let segment = segment(&path, &header, offset);
        self.path = path;
        self.file = file;
        self.first_index = header.first_index;
        self.start = offset;
        self.offset = offset;
        self.durable = offset;
        Ok(segment)
    }
}

fn segment(path: &Arc<Path>, header: &SegmentHeader, offset: u64) -> Segment {
    Segment {
        path: path.clone(),
        first_index: header.first_index,
        base_seq: header.base.seq,
        base_index: header.base_index,
        durable: offset,
        written: offset,
        closed: None,
    }
}

fn reopen(path: &Path) -> Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .map_err(|error| unreadable(path, error))
}

/// Creates a segment, durable with its header and its directory entry, or none at all.
fn create(dir: &Path, disk: &dyn Disk, header: &SegmentHeader) -> Result<(Arc<Path>, File, u64)> {
    let bytes = header.to_bytes()?;
    let path = directory::segment_path(dir, header.generation, header.first_index);
    let made = disk.create(&path).and_then(|file| {
        disk.write(&file, &bytes, 0)?;
        disk.sync(&file)?;
        directory::sync(dir)?;
        Ok(file)
    });
    match made {
        Ok(file) => Ok((path, file, bytes.len() as u64)),
        Err(error) => {
            // A left-over is emptied by the next attempt, or removed when the journal is opened.
            let _ = fs::remove_file(&path);
            Err(unwritable(&path, error))
        }
    }
}
