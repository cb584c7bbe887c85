//! What is kept, what is removed, and how large the journal may grow.

use cdc_api::ErrorKind;
use proptest::prelude::*;

use super::*;

fn seqs_of(told: &[String]) -> usize {
    told.iter()
        .filter(|event| event.starts_with("rows"))
        .count()
}

#[tokio::test]
async fn what_a_pin_needs_stays_and_the_rest_goes() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let config = small(dir.path());
    let (journal, _) = open(&config).await;
    fill(&journal, 1..=200).await;
    journal.flush().await.expect("flush");
    let whole = journal.bytes();
    assert_eq!(
        journal.oldest_seq(),
        0,
        "everything is kept while nobody has said otherwise"
    );

    let slow = journal.pin("slow", 50);
    let fast = journal.pin("fast", 60);
    fast.advance(200);
    eventually("segments before the slow pin go", || {
        journal.bytes() < whole
    })
    .await;
    assert!(journal.oldest_seq() <= 50);
    assert_eq!(journal.stats().oldest_pin, Some(("slow".to_owned(), 50)));
    let given = drain(&mut journal.cursor(50).expect("kept")).await;
    assert_eq!(seqs_of(&given), 150);
    let gone = journal.cursor(0).err().expect("removed");
    assert_eq!(gone.kind(), ErrorKind::LogLost);

    slow.advance(40);
    assert_eq!(journal.stats().oldest_pin, Some(("slow".to_owned(), 50)));
    drop(slow);
    eventually("the rest goes", || journal.oldest_seq() > 150).await;
    assert_eq!(
        seqs_of(&drain(&mut journal.cursor(200).expect("tail")).await),
        0
    );
    drop(fast);
    drop(journal);
    let (journal, recovered) = open(&config).await;
    assert_eq!(recovered.tail, Some(checkpoint(200)));
    assert_eq!(recovered.oldest_seq, journal.oldest_seq());
    assert!(recovered.oldest_seq > 0);
}

#[tokio::test]
async fn memory_holds_what_a_cursor_has_not_taken() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let config = JournalConfig {
        memory_bytes: 16 << 20,
        ..small(dir.path())
    };
    let (journal, _) = open(&config).await;
    let _kept = journal.pin("kept", 0);
    let mut fast = journal.cursor(0).expect("from the start");
    let mut slow = journal.cursor(0).expect("from the start");
    fill(&journal, 1..=50).await;
    journal.flush().await.expect("flush");
    drain(&mut fast).await;
    assert!(journal.stats().memory_bytes > 0, "for the slow one");
    assert_eq!(seqs_of(&drain(&mut slow).await), 50);
    assert_eq!(journal.stats().memory_bytes, 0);

    fill(&journal, 51..=100).await;
    drain(&mut fast).await;
    drain(&mut slow).await;
    journal.flush().await.expect("flush");
    assert_eq!(
        journal.stats().memory_bytes,
        0,
        "also what was taken before"
    );
    let again = drain(&mut journal.cursor(0).expect("kept on disk")).await;
    assert_eq!(seqs_of(&again), 100);
}

#[tokio::test]
async fn no_more_is_read_ahead_of_what_packs_well() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let config = JournalConfig {
        segment_bytes: 64 << 20,
        ..small(dir.path())
    };
    let (journal, _) = open(&config).await;
    let table = table(1, 1, 1);
    let wide: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(1 << 20)]));
    for seq in 1..=40 {
        let ChangeEvent::Rows(mut batch) = rows(&table, &[seq]) else {
            unreachable!("rows are asked for");
        };
        let columns = vec![Arc::clone(batch.rows.column(0)), Arc::clone(&wide)];
        batch.rows = RecordBatch::try_new(batch.rows.schema(), columns).expect("columns fit");
        let event = ChangeEvent::Rows(batch);
        journal.append(event).await.expect("append");
    }
    journal.append(commit(40)).await.expect("append");
    journal.flush().await.expect("flush");
    assert!(journal.bytes() < 1 << 20, "{} bytes", journal.bytes());
    let mut cursor = journal.cursor(0).expect("kept on disk");
    let begin = cursor.position();
    cursor.try_next().await.expect("cursor reads");
    let ahead = cursor.position() - begin;
    assert!(ahead <= 6, "{ahead} events");
    assert_eq!(seqs_of(&drain(&mut cursor).await), 40);
}

#[tokio::test]
async fn sinks_that_end_one_after_another_lose_nothing_to_each_other() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let config = small(dir.path());
    let (journal, _) = open_with(&config, PIN_GRACE).await;
    let slow = journal.pin("slow", 0);
    let fast = journal.pin("fast", 0);
    fill(&journal, 1..=100).await;
    journal.flush().await.expect("flush");
    drop(slow);
    fast.advance(100);
    // The writer looks at retention before it writes.
    fill(&journal, 101..=102).await;
    journal.flush().await.expect("flush");
    assert_eq!(journal.oldest_seq(), 0);
    drop(fast);
    journal.close().await.expect("close");
    drop(journal);
    let (journal, _) = open(&config).await;
    assert_eq!(
        seqs_of(&drain(&mut journal.cursor(0).expect("kept")).await),
        102
    );
}

#[tokio::test]
async fn a_cursor_keeps_what_it_has_not_read() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let config = small(dir.path());
    let (journal, _) = open(&config).await;
    let mut cursor = journal.cursor(0).expect("cursor");
    let pin = journal.pin("sink", 0);
    fill(&journal, 1..=300).await;
    journal.flush().await.expect("flush");
    pin.advance(300);
    assert_eq!(seqs_of(&drain(&mut cursor).await), 300);
    eventually("segments go once it has read them", || {
        segment_files(&config).len() <= 2
    })
    .await;
}

#[tokio::test]
async fn a_transaction_over_many_segments_is_kept_from_its_beginning() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let config = small(dir.path());
    let (journal, _) = open(&config).await;
    fill(&journal, 1..=100).await;
    let pin = journal.pin("sink", 100);
    let table = table(1, 1, 1);
    for seq in 101..=300 {
        journal.append(rows(&table, &[seq])).await.expect("append");
    }
    journal.flush().await.expect("flush");
    pin.advance(100);
    let given = drain(&mut journal.cursor(100).expect("kept")).await;
    assert_eq!(seqs_of(&given), 200);
    journal.append(commit(300)).await.expect("append");
    drop(pin);
    drop(journal);
    let (journal, recovered) = open(&config).await;
    assert_eq!(recovered.tail, Some(checkpoint(300)));
    let given = drain(&mut journal.cursor(100).expect("kept")).await;
    assert_eq!(seqs_of(&given), 200);
}

#[tokio::test]
async fn a_journal_at_its_bound_makes_the_source_wait_for_the_sinks() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let config = JournalConfig {
        max_bytes: Some(64 << 10),
        ..small(dir.path())
    };
    let (journal, _) = open(&config).await;
    let pin = journal.pin("sink", 0);
    let writing = tokio::spawn({
        let journal = journal.clone();
        async move { fill(&journal, 1..=1000).await }
    });
    eventually("the journal is full", || journal.stats().full).await;
    assert!(!writing.is_finished());
    let (mut cursor, mut read) = (journal.cursor(0).expect("cursor"), 0);
    while read < 1000 {
        assert!(journal.bytes() < config.max_bytes.expect("set") + (32 << 10));
        match &*cursor.next().await.expect("cursor reads") {
            ChangeEvent::Rows(batch) => {
                assert_eq!(batch.seq[..], [read + 1]);
                read += 1;
            }
            ChangeEvent::Commit(checkpoint) => pin.advance(checkpoint.seq),
            _ => {}
        }
    }
    writing.await.expect("writer");
}

#[tokio::test]
async fn a_transaction_larger_than_the_bound_goes_through() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let config = JournalConfig {
        max_bytes: Some(32 << 10),
        ..small(dir.path())
    };
    let (journal, _) = open(&config).await;
    let pin = journal.pin("sink", 0);
    let table = table(1, 1, 1);
    for seq in 1..=1000 {
        journal.append(rows(&table, &[seq])).await.expect("append");
    }
    assert!(journal.bytes() > config.max_bytes.expect("set"));
    journal.append(commit(1000)).await.expect("append");
    // The next one waits until the sink has it.
    let next = tokio::spawn({
        let journal = journal.clone();
        async move { fill(&journal, 1001..=1050).await }
    });
    eventually("the journal is full", || journal.stats().full).await;
    assert!(!next.is_finished());
    journal.flush().await.expect("flush");
    // The sink follows, as sinks do: the segments of the transaction go when a later one begins.
    let tail = journal.tail();
    while !next.is_finished() {
        let reached = tail.borrow().as_ref().map_or(0, |at| at.seq);
        pin.advance(reached);
        tokio::task::yield_now().await;
    }
    next.await.expect("goes on");
    pin.advance(1050);
    eventually("the transaction's segments are gone", || {
        journal.bytes() < config.max_bytes.expect("set")
    })
    .await;
}

#[tokio::test]
async fn segments_are_kept_for_their_age_within_the_bound() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let config = JournalConfig {
        keep: Duration::from_secs(3600),
        max_bytes: Some(48 << 10),
        ..small(dir.path())
    };
    let (journal, _) = open(&config).await;
    let pin = journal.pin("sink", 0);
    fill(&journal, 1..=100).await;
    journal.flush().await.expect("flush");
    pin.advance(100);
    fill(&journal, 101..=102).await;
    journal.flush().await.expect("flush");
    assert_eq!(
        seqs_of(&drain(&mut journal.cursor(0).expect("kept")).await),
        102
    );
    for seq in 103..=1000 {
        fill(&journal, seq..=seq).await;
        pin.advance(seq);
    }
    assert!(journal.bytes() < config.max_bytes.expect("set") + (16 << 10));
    assert!(journal.oldest_seq() > 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn whatever_is_pinned_can_be_read(
        moves in prop::collection::vec((0usize..3, 1u64..40, 1u64..30, any::<bool>()), 1..40),
    ) {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("runtime")
            .block_on(async {
                let dir = tempfile::tempdir().expect("temporary directory");
                let config = small(dir.path());
                let (mut journal, _) = open(&config).await;
                let mut at = [0u64; 3];
                let mut pins: Vec<Pin> = at.iter().map(|&seq| journal.pin("p", seq)).collect();
                let (mut tail, mut commits) = (0, vec![0]);
                let table = table(1, 1, 1);
                for (which, advance, count, reopen) in moves {
                    for seq in tail + 1..=tail + count {
                        journal.append(rows(&table, &[seq])).await.expect("append");
                    }
                    tail += count;
                    journal.append(commit(tail)).await.expect("append");
                    commits.push(tail);
                    let reach = (at[which] + advance).min(tail);
                    at[which] = *commits.iter().rfind(|&&seq| seq <= reach).expect("the start");
                    pins[which].advance(at[which]);
                    if reopen && advance % 5 == 0 {
                        // As at a crash: the pins are not let go one by one.
                        drop(journal);
                        journal = open(&config).await.0;
                        pins = at.iter().map(|&seq| journal.pin("p", seq)).collect();
                    }
                    for &seq in &at {
                        let mut cursor = journal.cursor(seq).expect("pinned");
                        let mut next = seq + 1;
                        while let Some(event) = cursor.try_next().await.expect("cursor reads") {
                            if let ChangeEvent::Rows(batch) = &*event {
                                assert_eq!(batch.seq[..], [next]);
                                next += 1;
                            }
                        }
                        assert_eq!(next, tail + 1);
                    }
                }
            });
    }
}
