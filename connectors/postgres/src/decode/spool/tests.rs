//! Spools give back what was put in, from memory and from a file.

use std::io;

use super::*;

fn files() -> SpoolFiles {
    Box::new(|| {
        let file = tempfile::tempfile()?;
        Ok(file)
    })
}

fn no_files() -> SpoolFiles {
    Box::new(|| Err(io::ErrorKind::StorageFull.into()))
}

fn fill(spool: &mut Spool, count: usize, size: usize, files: &SpoolFiles) -> Result<()> {
    for index in 0..count {
        let rest = vec![u8::try_from(index % 251).expect("small"); size];
        let xid = if index % 3 == 0 { 9 } else { 7 };
        spool.push(index as u64, xid, b'I', &rest, files)?;
    }
    Ok(())
}

fn check(spool: Spool, count: usize, size: usize) {
    let mut replay = spool.replay().expect("readable");
    for index in 0..count {
        let kept = replay.next().expect("readable").expect("not the end");
        assert_eq!(kept.lsn, index as u64);
        assert_eq!(kept.aborted, index % 3 == 0);
        assert_eq!(kept.body.len(), size + 1);
        assert_eq!(kept.body[0], b'I');
        assert!(
            kept.body[1..]
                .iter()
                .all(|byte| usize::from(*byte) == index % 251)
        );
    }
    assert_eq!(replay.next().expect("readable"), None);
}

#[test]
fn a_small_transaction_stays_in_memory() {
    let mut spool = Spool::default();
    fill(&mut spool, 100, 50, &no_files()).expect("no file is needed");
    spool.abort(9);
    assert!(spool.file.is_none());
    check(spool, 100, 50);
}

#[test]
fn a_large_transaction_goes_through_a_file_in_bounded_memory() {
    let mut spool = Spool::default();
    fill(&mut spool, 30_000, 300, &files()).expect("written");
    spool.abort(9);
    assert!(spool.file.is_some());
    assert!(spool.memory.capacity() <= 2 * PIECE);
    let mut replay = spool.replay().expect("readable");
    while replay.next().expect("readable").is_some() {
        assert!(replay.buffer.capacity() <= 4 * PIECE);
    }
    let mut spool = Spool::default();
    fill(&mut spool, 30_000, 300, &files()).expect("written");
    spool.abort(9);
    check(spool, 30_000, 300);
}

#[test]
fn a_message_larger_than_a_piece_is_kept() {
    let mut spool = Spool::default();
    fill(&mut spool, 5, 3 * PIECE, &files()).expect("written");
    spool.abort(9);
    check(spool, 5, 3 * PIECE);
}

#[test]
fn a_full_disk_is_an_error_that_passes() {
    let mut spool = Spool::default();
    let error = fill(&mut spool, 10, PIECE, &no_files()).expect_err("no room");
    assert!(error.is_transient());
    assert!(error.hint_text().is_some());
}
