//! Restarts: torn tails are cut, damage is told, nothing durable is lost.

use std::fs;

use cdc_api::ErrorKind;

use super::*;

/// What a journal in `dir` holds, or the error of opening or reading it.
async fn content(dir: &Path) -> Result<(u64, Vec<String>)> {
    let config = JournalConfig {
        dir: dir.to_owned(),
        ..small(dir)
    };
    let (journal, recovered) = Journal::open(config, &identity()).await?;
    let tail = recovered.tail.expect("it was started").seq;
    let mut cursor = journal.cursor(0)?;
    let mut all = Vec::new();
    while let Some(event) = cursor.try_next().await? {
        all.push(told(&event));
    }
    Ok((tail, all))
}

/// What a journal with the transactions 1..=last of [`fill`] gives.
fn filled(last: u64) -> Vec<String> {
    let table = table(1, 1, 1);
    let mut all = vec![told(&ChangeEvent::Schema(Arc::clone(&table)))];
    for seq in 1..=last {
        all.extend([told(&rows(&table, &[seq])), told(&commit(seq))]);
    }
    all.truncate(if last == 0 { 0 } else { all.len() });
    all
}

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let config = small(dir.path());
    let (journal, recovered) = open(&config).await;
    assert_eq!(recovered.tail, None);
    fill(&journal, 1..=100).await;
    assert_eq!(journal.flush().await.expect("flush"), checkpoint(100));
    assert_eq!(journal.durable().borrow().clone(), Some(checkpoint(100)));
    assert!(segment_files(&config).len() > 3, "several segments");
    drop(journal);
    let (journal, recovered) = open(&config).await;
    assert_eq!(recovered.tail, Some(checkpoint(100)));
    assert_eq!(recovered.schemas, [table(1, 1, 1)]);
    assert_eq!(recovered.cut_bytes, 0);
    assert_eq!(journal.tail().borrow().clone(), Some(checkpoint(100)));
    assert_eq!(journal.durable().borrow().clone(), Some(checkpoint(100)));
    assert_eq!(
        drain(&mut journal.cursor(0).expect("cursor")).await,
        filled(100)
    );
}

#[tokio::test]
async fn rows_without_their_commit_are_cut_off_across_segments() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let config = small(dir.path());
    let (journal, _) = open(&config).await;
    fill(&journal, 1..=10).await;
    let wide = table(1, 2, 3);
    journal
        .append(ChangeEvent::Schema(Arc::clone(&wide)))
        .await
        .expect("append");
    for seq in 11..=300 {
        journal.append(rows(&wide, &[seq])).await.expect("append");
    }
    let durable = journal.flush().await.expect("flush");
    assert_eq!(durable, checkpoint(10));
    let segments = segment_files(&config).len();
    assert!(segments > 4);
    drop(journal);
    let (journal, recovered) = open(&config).await;
    assert_eq!(recovered.tail, Some(checkpoint(10)));
    assert_eq!(recovered.schemas, [table(1, 1, 1)], "as of the tail");
    assert!(recovered.cut_bytes > 4096);
    assert!(segment_files(&config).len() < segments);
    fill(&journal, 11..=40).await;
    drop(journal);
    assert_eq!(content(&config.dir).await.expect("whole"), (40, filled(40)));
}

#[tokio::test]
async fn a_tail_torn_at_any_byte_goes_back_to_the_last_whole_commit() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let config = JournalConfig {
        segment_bytes: 1 << 20,
        ..small(dir.path())
    };
    let (journal, _) = open(&config).await;
    fill(&journal, 1..=20).await;
    journal.flush().await.expect("flush");
    // The mark as a power failure may leave it: behind what was written since.
    let mark = fs::read(config.dir.join("durable")).expect("mark");
    let segment = segment_files(&config).pop().expect("one");
    let proven = fs::metadata(&segment).expect("segment").len() as usize;
    let mut ends = vec![proven];
    for seq in 21..=22 {
        fill(&journal, seq..=seq).await;
        journal.flush().await.expect("flush");
        ends.push(fs::metadata(&segment).expect("segment").len() as usize);
    }
    drop(journal);
    let whole = fs::read(&segment).expect("segment");
    let copy = dir.path().join("copy");
    copy_dir(&config.dir, &copy);
    let torn = copy.join(segment.file_name().expect("name"));
    for end in proven..whole.len() {
        let expected = 20 + ends.iter().skip(1).filter(|&&commit| commit <= end).count() as u64;
        let zeroed = whole.len() - end;
        let rests = [vec![], vec![0; zeroed], vec![0xA5; zeroed]];
        for rest in rests.iter().skip(end % 3) {
            fs::write(&torn, [&whole[..end], rest].concat()).expect("write");
            fs::write(copy.join("durable"), &mark).expect("write");
            let (tail, all) = content(&copy)
                .await
                .unwrap_or_else(|error| panic!("cut at {end}: {error}"));
            assert_eq!((tail, all), (expected, filled(expected)), "cut at {end}");
        }
    }
}

#[tokio::test]
async fn what_was_durable_and_is_cut_short_is_told() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let config = small(dir.path());
    let (journal, _) = open(&config).await;
    fill(&journal, 1..=60).await;
    drop(journal);
    let segments = segment_files(&config);
    let copy = dir.path().join("copy");
    for segment in &segments {
        let whole = fs::read(segment).expect("segment");
        for end in (0..whole.len()).step_by(61) {
            copy_dir(&config.dir, &copy);
            fs::write(copy.join(segment.file_name().expect("name")), &whole[..end]).expect("write");
            let error = content(&copy).await.expect_err("it is cut short");
            assert_eq!(error.kind(), ErrorKind::LogLost, "{error}");
            assert!(error.message().contains("byte") || error.message().contains("gap"));
            assert!(
                error
                    .hint_text()
                    .is_some_and(|hint| hint.contains("move the directory"))
            );
        }
    }
}

#[tokio::test]
async fn a_flipped_bit_anywhere_is_told() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let config = small(dir.path());
    let (journal, _) = open(&config).await;
    fill(&journal, 1..=60).await;
    drop(journal);
    let mut files = segment_files(&config);
    assert!(files.len() > 2);
    files.push(config.dir.join("durable"));
    let copy = dir.path().join("copy");
    for file in &files {
        let whole = fs::read(file).expect("file");
        for (round, at) in (0..whole.len()).step_by(23).enumerate() {
            copy_dir(&config.dir, &copy);
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (round % 8);
            fs::write(copy.join(file.file_name().expect("name")), bytes).expect("write");
            let error = content(&copy)
                .await
                .err()
                .unwrap_or_else(|| panic!("{} byte {at} goes unnoticed", file.display()));
            assert_eq!(error.kind(), ErrorKind::LogLost, "{error}");
            assert!(error.message().contains("byte"), "{error}");
        }
    }
}

#[tokio::test]
async fn a_missing_file_is_told() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let config = small(dir.path());
    let (journal, _) = open(&config).await;
    fill(&journal, 1..=60).await;
    drop(journal);
    let mut files = segment_files(&config);
    files.push(config.dir.join("durable"));
    files.push(config.dir.join("identity.json"));
    let copy = dir.path().join("copy");
    for file in &files {
        copy_dir(&config.dir, &copy);
        fs::remove_file(copy.join(file.file_name().expect("name"))).expect("remove");
        let error = content(&copy).await.expect_err("something is missing");
        assert_eq!(
            error.kind(),
            ErrorKind::LogLost,
            "{}: {error}",
            file.display()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_moment_leaves_a_prefix_with_all_that_was_durable() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let config = small(dir.path());
    let (journal, _) = open(&config).await;
    let writing = tokio::spawn({
        let journal = journal.clone();
        async move { fill(&journal, 1..=1500).await }
    });
    let mut tail = journal.tail();
    let copy = dir.path().join("copy");
    for moment in 1..=30 {
        while tail.borrow_and_update().as_ref().expect("started").seq < moment * 50 {
            tail.changed().await.expect("journal is open");
        }
        let durable = journal.durable().borrow().clone().expect("started").seq;
        copy_dir(&config.dir, &copy);
        let appended = journal.tail().borrow().clone().expect("started").seq;
        let (tail, all) = content(&copy).await.expect("recovers");
        assert!(
            (durable..=appended).contains(&tail),
            "{durable} {tail} {appended}"
        );
        assert_eq!(all, filled(tail));
    }
    writing.await.expect("writer");
}

#[tokio::test]
async fn a_journal_of_an_earlier_format_goes_on_in_the_present_one() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let config = small(dir.path());
    let (journal, _) = open(&config).await;
    fill(&journal, 1..=3).await;
    journal.close().await.expect("close");
    let path = config.dir.join("identity.json");
    let present = std::fs::read_to_string(&path).expect("identity");
    assert!(present.contains("\"format\":2"), "{present}");
    let stored = |format: u32| present.replace("\"format\":2", &format!("\"format\":{format}"));
    std::fs::write(&path, stored(1)).expect("is written");
    let (journal, recovered) = open(&config).await;
    assert_eq!(recovered.tail.expect("what was there").seq, 3);
    // Earlier programs must not take what follows for a torn end.
    assert_eq!(std::fs::read_to_string(&path).expect("identity"), present);
    journal.append(notice(4)).await.expect("append");
    journal.append(commit(4)).await.expect("append");
    journal.close().await.expect("close");
    std::fs::write(&path, stored(3)).expect("is written");
    let refused = Journal::open(config, &identity()).await.err();
    assert_eq!(refused.expect("newer").kind(), ErrorKind::Config);
}

#[tokio::test]
async fn a_journal_of_another_pipeline_is_refused() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let config = small(dir.path());
    drop(open(&config).await);
    for other in [
        JournalIdentity {
            pipeline: "other".to_owned(),
            ..identity()
        },
        JournalIdentity {
            source: "another server".to_owned(),
            ..identity()
        },
    ] {
        let error = Journal::open(config.clone(), &other)
            .await
            .err()
            .expect("refused");
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(
            error
                .hint_text()
                .is_some_and(|hint| hint.contains("data_dir"))
        );
    }
}

#[tokio::test]
async fn a_reset_that_broke_off_leaves_the_old_or_the_new() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let config = small(dir.path());
    let (journal, _) = open(&config).await;
    fill(&journal, 1..=60).await;
    journal.flush().await.expect("flush");
    let old = dir.path().join("old");
    copy_dir(&config.dir, &old);
    journal.reset(&checkpoint(900)).await.expect("reset");
    drop(journal);
    let new = segment_files(&config).pop().expect("one");
    let name = new.file_name().expect("name");
    let whole = fs::read(&new).expect("segment");
    let mixed = dir.path().join("mixed");
    for end in (0..=whole.len()).step_by(7).chain([whole.len()]) {
        copy_dir(&old, &mixed);
        fs::write(mixed.join(name), &whole[..end]).expect("write");
        let config = JournalConfig {
            dir: mixed.clone(),
            ..config.clone()
        };
        let (journal, recovered) = open(&config).await;
        if end == whole.len() {
            assert_eq!(recovered.tail, Some(checkpoint(900)));
            assert_eq!(segment_files(&config).len(), 1);
        } else {
            assert_eq!(recovered.tail, Some(checkpoint(60)));
            assert_eq!(
                drain(&mut journal.cursor(0).expect("cursor")).await,
                filled(60)
            );
        }
    }
}

#[tokio::test]
async fn the_first_start_may_break_off_anywhere() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let config = small(dir.path());
    let (journal, _) = open(&config).await;
    drop(journal);
    let first = segment_files(&config).pop().expect("one");
    let whole = fs::read(&first).expect("segment");
    fs::remove_file(config.dir.join("durable")).expect("remove");
    for end in 0..=whole.len() {
        fs::write(&first, &whole[..end]).expect("write");
        let (journal, recovered) = Journal::open(config.clone(), &identity())
            .await
            .expect("journal opens");
        assert_eq!(recovered.tail, None);
        let refused = journal.append(commit(1)).await.expect_err("not started");
        assert_eq!(refused.kind(), ErrorKind::Internal);
        drop(journal);
        assert!(segment_files(&config).is_empty());
    }
}

#[tokio::test]
async fn closing_makes_everything_durable_and_ends_cursors() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let config = small(dir.path());
    let (journal, _) = open(&config).await;
    let mut cursor = journal.cursor(0).expect("cursor");
    fill(&journal, 1..=30).await;
    journal.close().await.expect("close");
    assert_eq!(journal.durable().borrow().clone(), Some(checkpoint(30)));
    assert_eq!(drain(&mut cursor).await, filled(30));
    assert_eq!(
        cursor.next().await.expect_err("ended").kind(),
        ErrorKind::Transient
    );
    let refused = journal.append(commit(31)).await.expect_err("closed");
    assert_eq!(refused.kind(), ErrorKind::Transient);
    assert_eq!(content(&config.dir).await.expect("whole"), (30, filled(30)));
}
