//! Full and failing disks: a clear stop, nothing lost, and on it goes.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use cdc_api::ErrorKind;

use super::super::disk::Disk;
use super::*;

/// A disk that can be made to fail.
#[derive(Default)]
struct Failing {
    create: AtomicBool,
    write: AtomicBool,
    sync: AtomicBool,
    failures: AtomicU64,
    /// How much of each file is durable, by inode.
    durable: Mutex<HashMap<u64, u64>>,
}

impl Failing {
    fn fails(&self, what: &AtomicBool) -> bool {
        let fails = what.load(Ordering::SeqCst);
        self.failures.fetch_add(u64::from(fails), Ordering::SeqCst);
        fails
    }
}

impl Disk for Failing {
    fn create(&self, path: &Path) -> io::Result<File> {
        if self.fails(&self.create) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        disk::LocalDisk.create(path)
    }

    fn write(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        if self.fails(&self.write) {
            // What fitted is there.
            file.write_all_at(&bytes[..bytes.len() / 2], offset)?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        file.write_all_at(bytes, offset)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        let (file_id, length) = (file.metadata()?.ino(), file.metadata()?.len());
        let mut durable = self.durable.lock().expect("no test panics here");
        if self.fails(&self.sync) {
            // The pages never reached the disk, and read as zeros later.
            let kept = durable.get(&file_id).copied().unwrap_or(0);
            let lost = length.saturating_sub(500).max(kept);
            file.write_all_at(&vec![0; (length - lost) as usize], lost)?;
            return Err(io::Error::from_raw_os_error(5));
        }
        durable.insert(file_id, length);
        file.sync_data()
    }
}

async fn opened(config: &JournalConfig) -> (Arc<Failing>, Journal) {
    let disk = Arc::new(Failing::default());
    let (journal, _) = Journal::open_on(disk.clone(), PIN_GRACE, config.clone(), &identity())
        .await
        .expect("journal opens");
    journal.reset(&checkpoint(0)).await.expect("journal starts");
    (disk, journal)
}

/// Appends transactions until the journal refuses; the number of the refused one.
async fn fill_until_refused(journal: &Journal, from: u64) -> (u64, Error) {
    let table = table(1, 1, 1);
    for seq in from.. {
        for event in [rows(&table, &[seq]), commit(seq)] {
            if let Err(error) = journal.append(event).await {
                return (seq, error);
            }
        }
    }
    unreachable!("there are numbers enough")
}

async fn seqs(cursor: &mut Cursor) -> Vec<u64> {
    let mut seqs = Vec::new();
    while let Some(event) = cursor.try_next().await.expect("cursor reads") {
        if let ChangeEvent::Rows(batch) = &*event {
            seqs.extend_from_slice(&batch.seq);
        }
    }
    seqs
}

async fn stops_and_goes_on(fault: fn(&Failing) -> &AtomicBool) {
    let dir = tempfile::tempdir().expect("temporary directory");
    let config = small(dir.path());
    let (disk, journal) = opened(&config).await;
    let _pin = journal.pin("everything", 0);
    fill(&journal, 1..=100).await;
    journal.flush().await.expect("flush");

    fault(&disk).store(true, Ordering::SeqCst);
    let (refused, error) = fill_until_refused(&journal, 101).await;
    assert_eq!(error.kind(), ErrorKind::Transient, "{error}");
    assert!(error.hint_text().is_some(), "{error}");
    assert!(journal.stats().problem.is_some());
    assert!(journal.flush().await.is_err(), "nothing more is durable");
    // What was taken is there for the sinks all the same.
    let taken = seqs(&mut journal.cursor(0).expect("cursor")).await;
    assert!(taken.iter().copied().eq(1..=taken.len() as u64));
    assert!(taken.len() as u64 >= refused - 1);

    // A crash now loses nothing that was durable.
    let durable = journal.durable().borrow().clone().expect("started").seq;
    let copy = dir.path().join("copy");
    copy_dir(&config.dir, &copy);
    let crashed = JournalConfig {
        dir: copy,
        ..config.clone()
    };
    let (again, recovered) = open(&crashed).await;
    assert!(recovered.tail.expect("started").seq >= durable);
    drop(again);

    // It is tried again, and mended.
    let failures = disk.failures.load(Ordering::SeqCst);
    eventually("another attempt", || {
        disk.failures.load(Ordering::SeqCst) > failures
    })
    .await;
    fault(&disk).store(false, Ordering::SeqCst);
    eventually("no problem any more", || journal.stats().problem.is_none()).await;
    fill(&journal, refused..=refused + 50).await;
    assert_eq!(journal.flush().await.expect("flush").seq, refused + 50);
    let all = seqs(&mut journal.cursor(0).expect("cursor")).await;
    assert!(all.iter().copied().eq(1..=refused + 50));
    drop(journal);
    let (journal, recovered) = open(&config).await;
    assert_eq!(recovered.tail, Some(checkpoint(refused + 50)));
    let all = seqs(&mut journal.cursor(0).expect("cursor")).await;
    assert!(all.iter().copied().eq(1..=refused + 50));
}

#[tokio::test]
async fn a_full_disk_stops_the_source_and_loses_nothing() {
    stops_and_goes_on(|disk| &disk.write).await;
}

#[tokio::test]
async fn a_disk_too_full_for_a_new_segment_stops_the_source_and_loses_nothing() {
    stops_and_goes_on(|disk| &disk.create).await;
}

#[tokio::test]
async fn pages_lost_by_a_failed_sync_are_written_again() {
    stops_and_goes_on(|disk| &disk.sync).await;
}

#[tokio::test]
async fn a_full_disk_names_the_setting() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let (disk, journal) = opened(&small(dir.path())).await;
    disk.write.store(true, Ordering::SeqCst);
    let (_, error) = fill_until_refused(&journal, 1).await;
    assert!(
        error
            .hint_text()
            .is_some_and(|hint| hint.contains("journal.max_bytes")),
        "{error}"
    );
    let closed = journal
        .close()
        .await
        .expect_err("not everything is durable");
    assert_eq!(closed.kind(), ErrorKind::Transient);
}

#[tokio::test]
async fn a_full_disk_at_the_first_start_is_told_and_passes() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let disk = Arc::new(Failing::default());
    let (journal, _) = Journal::open_on(disk.clone(), PIN_GRACE, small(dir.path()), &identity())
        .await
        .expect("journal opens");
    disk.write.store(true, Ordering::SeqCst);
    let error = journal.reset(&checkpoint(0)).await.expect_err("full");
    assert_eq!(error.kind(), ErrorKind::Transient);
    disk.write.store(false, Ordering::SeqCst);
    journal.reset(&checkpoint(0)).await.expect("room again");
    fill(&journal, 1..=3).await;
    assert_eq!(journal.flush().await.expect("flush").seq, 3);
}
