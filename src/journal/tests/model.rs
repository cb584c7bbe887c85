//! Cursors against a plain list of events, under random operations.

use std::collections::{BTreeMap, HashMap};

use cdc_api::ErrorKind;
use proptest::prelude::*;

use super::*;

/// What the journal is to hold, as a list.
#[derive(Default)]
struct Model {
    events: Vec<ChangeEvent>,
    next_seq: u64,
    commits: Vec<u64>,
    versions: HashMap<u64, u32>,
}

impl Model {
    fn table(&self, id: u64) -> Arc<TableSchema> {
        let version = self.versions.get(&id).copied().unwrap_or(1);
        super::table(id, version, version as usize)
    }

    /// What a cursor after `after` is to give: without lazily given schemas.
    fn after(&self, after: u64) -> Vec<String> {
        let is_start =
            |event: &ChangeEvent| matches!(event, ChangeEvent::Commit(c) if c.seq == after);
        let start = match after {
            0 => 0,
            _ => self.events.iter().position(is_start).expect("a commit") + 1,
        };
        self.events[start..]
            .iter()
            .filter(|event| !matches!(event, ChangeEvent::Schema(_)))
            .map(told)
            .collect()
    }
}

#[derive(Debug, Clone)]
enum Step {
    /// Rows of these tables in turn; the number in each.
    Rows(u64, usize),
    Wide(u64),
    Evolve(u64),
    Truncate(u64),
    Failed(u64),
    Notice,
    Commit,
    Idle,
    Flush,
    /// Opens a cursor at one of the commits.
    Open(prop::sample::Index),
    /// Reads some events with one of the cursors.
    Read(prop::sample::Index, usize),
    Close(prop::sample::Index),
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let table = 1u64..4;
    prop::collection::vec(
        prop_oneof![
            8 => (table.clone(), 1usize..20).prop_map(|(table, n)| Step::Rows(table, n)),
            1 => table.clone().prop_map(Step::Wide),
            1 => table.clone().prop_map(Step::Evolve),
            1 => table.clone().prop_map(Step::Truncate),
            1 => table.prop_map(Step::Failed),
            1 => Just(Step::Notice),
            6 => Just(Step::Commit),
            1 => Just(Step::Idle),
            2 => Just(Step::Flush),
            3 => any::<prop::sample::Index>().prop_map(Step::Open),
            8 => (any::<prop::sample::Index>(), 0usize..40)
                .prop_map(|(cursor, n)| Step::Read(cursor, n)),
            1 => any::<prop::sample::Index>().prop_map(Step::Close),
            1 => Just(Step::Reopen),
        ],
        1..120,
    )
}

struct Reading {
    cursor: Cursor,
    expected: Vec<String>,
    given: usize,
    shapes: BTreeMap<u64, u32>,
}

impl Reading {
    /// Takes one event and compares it; `false` at the end.
    async fn step(&mut self, model: &Model, after: u64) -> bool {
        let Some(event) = self.cursor.try_next().await.expect("cursor reads") else {
            return false;
        };
        match &*event {
            ChangeEvent::Schema(schema) => {
                self.shapes.insert(schema.id.0, schema.version);
                return true;
            }
            ChangeEvent::Rows(batch) => {
                let given = self.shapes.get(&batch.table.id.0);
                assert_eq!(given, Some(&batch.table.version), "schema before its rows");
            }
            _ => {}
        }
        self.expected = model.after(after);
        assert_eq!(
            self.expected.get(self.given),
            Some(&told(&event)),
            "event {}",
            self.given
        );
        self.given += 1;
        true
    }
}

async fn play(steps: Vec<Step>) {
    let dir = tempfile::tempdir().expect("temporary directory");
    let config = small(dir.path());
    let (mut journal, _) = open(&config).await;
    let mut pin = journal.pin("all", 0);
    let mut model = Model {
        next_seq: 1,
        commits: vec![0],
        ..Model::default()
    };
    let mut cursors: Vec<(u64, Reading)> = Vec::new();
    for step in steps {
        match step {
            Step::Rows(id, count) => {
                let seqs: Vec<u64> = (model.next_seq..).take(count).collect();
                model.next_seq += count as u64;
                let event = rows(&model.table(id), &seqs);
                append(&journal, &mut model, event).await;
            }
            Step::Wide(id) => {
                let seqs: Vec<u64> = (model.next_seq..).take(700).collect();
                model.next_seq += 700;
                let event = rows(&model.table(id), &seqs);
                append(&journal, &mut model, event).await;
            }
            Step::Evolve(id) => {
                let version = model.versions.get(&id).copied().unwrap_or(1) + 1;
                model.versions.insert(id, version);
                let event = ChangeEvent::Schema(model.table(id));
                append(&journal, &mut model, event).await;
            }
            Step::Truncate(id) => {
                let event = ChangeEvent::Truncate {
                    tables: vec![TableId(id)],
                    seq: model.next_seq,
                    commit_time: 3,
                };
                model.next_seq += 1;
                append(&journal, &mut model, event).await;
            }
            Step::Failed(id) => {
                let event = ChangeEvent::Failed {
                    table: TableId(id),
                    seq: model.next_seq - 1,
                    message: "m".to_owned(),
                    hint: "h".to_owned(),
                };
                append(&journal, &mut model, event).await;
            }
            Step::Notice => {
                let seq = model.next_seq;
                model.next_seq += 1;
                append(&journal, &mut model, notice(seq)).await;
            }
            Step::Commit => {
                let seq = model.next_seq - 1;
                model.commits.push(seq);
                append(&journal, &mut model, commit(seq)).await;
            }
            Step::Idle => {
                let seq = *model.commits.last().expect("the start");
                if seq + 1 == model.next_seq {
                    append(&journal, &mut model, commit(seq)).await;
                }
            }
            Step::Flush => {
                let durable = journal.flush().await.expect("flush");
                assert_eq!(durable.seq, *model.commits.last().expect("the start"));
            }
            Step::Open(at) => {
                let after = *at.get(&model.commits);
                let reading = Reading {
                    cursor: journal.cursor(after).expect("nothing is removed"),
                    expected: Vec::new(),
                    given: 0,
                    shapes: BTreeMap::new(),
                };
                cursors.push((after, reading));
            }
            Step::Read(at, count) if !cursors.is_empty() => {
                let at = at.index(cursors.len());
                let (after, reading) = &mut cursors[at];
                for _ in 0..count {
                    if !reading.step(&model, *after).await {
                        break;
                    }
                }
            }
            Step::Close(at) if !cursors.is_empty() => {
                cursors.swap_remove(at.index(cursors.len()));
            }
            Step::Read(..) | Step::Close(_) => {}
            Step::Reopen => {
                cursors.clear();
                drop(pin);
                drop(journal);
                let (again, recovered) = Journal::open(config.clone(), &identity())
                    .await
                    .expect("journal opens");
                journal = again;
                pin = journal.pin("all", 0);
                // What no commit covers is gone, and comes again.
                let seq = *model.commits.last().expect("the start");
                assert_eq!(recovered.tail.expect("started").seq, seq);
                let cut = model
                    .events
                    .iter()
                    .rposition(|event| matches!(event, ChangeEvent::Commit(_)))
                    .map_or(0, |at| at + 1);
                for event in model.events.split_off(cut) {
                    append(&journal, &mut model, event).await;
                }
            }
        }
    }
    cursors.extend(model.commits.clone().into_iter().map(|after| {
        let reading = Reading {
            cursor: journal.cursor(after).expect("nothing is removed"),
            expected: Vec::new(),
            given: 0,
            shapes: BTreeMap::new(),
        };
        (after, reading)
    }));
    for (after, mut reading) in cursors {
        while reading.step(&model, after).await {}
        assert_eq!(
            reading.given,
            model.after(after).len(),
            "cursor after {after} is complete"
        );
    }
    drop(pin);
}

async fn append(journal: &Journal, model: &mut Model, event: ChangeEvent) {
    journal.append(event.clone()).await.expect("append");
    model.events.push(event);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn cursors_give_what_was_appended(steps in steps()) {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("runtime")
            .block_on(play(steps));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_keep_up_with_a_writer_without_gap_or_repeat() {
    const LAST: u64 = 3000;
    let dir = tempfile::tempdir().expect("temporary directory");
    let config = small(dir.path());
    let (journal, _) = open(&config).await;
    let readers: Vec<_> = (0..4u64)
        .map(|reader| {
            let mut cursor = journal.cursor(0).expect("cursor");
            let mut tail = journal.tail();
            tokio::spawn(async move {
                let mut seqs: Vec<u64> = Vec::new();
                while seqs.last() != Some(&LAST) {
                    let event = cursor.next().await.expect("cursor reads");
                    let ChangeEvent::Rows(batch) = &*event else {
                        continue;
                    };
                    seqs.extend_from_slice(&batch.seq);
                    let read = seqs[seqs.len() - 1];
                    if reader > 0 && read.is_multiple_of(reader * 311) {
                        // Falls behind, further than memory reaches, and comes back.
                        let ahead = (read + reader * 100).min(LAST);
                        while tail.borrow_and_update().as_ref().expect("started").seq < ahead {
                            tail.changed().await.expect("journal is open");
                        }
                    }
                }
                seqs
            })
        })
        .collect();
    fill(&journal, 1..=LAST).await;
    for reader in readers {
        let seqs = reader.await.expect("reader");
        assert!(
            seqs.iter().copied().eq(1..=LAST),
            "every row once and in order"
        );
    }
}

#[tokio::test]
async fn a_cursor_within_a_batch_gives_the_rest_of_it() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let (journal, _) = open(&small(dir.path())).await;
    let (a, b) = (table(1, 1, 1), table(2, 1, 1));
    journal.append(rows(&a, &[1, 3, 5])).await.expect("append");
    journal.append(rows(&b, &[2, 4, 6])).await.expect("append");
    journal.append(commit(6)).await.expect("append");
    for flushed in [false, true] {
        if flushed {
            journal.flush().await.expect("flush");
        }
        let mut cursor = journal.cursor(3).expect("cursor");
        let expected = [
            told(&ChangeEvent::Schema(Arc::clone(&a))),
            told(&rows(&a, &[5])),
            told(&ChangeEvent::Schema(Arc::clone(&b))),
            told(&rows(&b, &[4, 6])),
            told(&commit(6)),
        ];
        assert_eq!(drain(&mut cursor).await, expected);
    }
    // A sink that is ahead of the journal waits for what it has not seen.
    let mut ahead = journal.cursor(8).expect("cursor");
    assert!(drain(&mut ahead).await.is_empty());
    journal.append(rows(&a, &[7, 8, 9])).await.expect("append");
    journal.append(commit(9)).await.expect("append");
    let given = drain(&mut ahead).await;
    assert_eq!(given[1..], [told(&rows(&a, &[9])), told(&commit(9))]);
}

#[tokio::test]
async fn a_stream_started_again_adds_only_what_is_new() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let (journal, _) = open(&small(dir.path())).await;
    let (a, b, a2) = (table(1, 1, 1), table(2, 1, 1), table(1, 2, 2));
    let schema = |table: &Arc<TableSchema>| ChangeEvent::Schema(Arc::clone(table));
    let truncate = |seq| ChangeEvent::Truncate {
        tables: vec![TableId(2)],
        seq,
        commit_time: 0,
    };
    for event in [schema(&a), rows(&a, &[1]), commit(1)] {
        journal.append(event).await.expect("append");
    }
    // The stream breaks off within a transaction, after a change of shape.
    for event in [
        rows(&a, &[2, 4]),
        rows(&b, &[3]),
        truncate(5),
        schema(&a2),
        rows(&a2, &[6]),
    ] {
        journal.append(event).await.expect("append");
    }
    assert_eq!(journal.schemas(), [Arc::clone(&a)], "as of the last commit");
    // It comes again, cut in another way.
    for event in [
        schema(&a),
        rows(&a, &[2]),
        commit(2),
        rows(&b, &[3]),
        rows(&a, &[4]),
        truncate(5),
        commit(5),
        schema(&a2),
        rows(&a2, &[6, 7]),
        rows(&b, &[8]),
        commit(8),
    ] {
        journal.append(event).await.expect("append");
    }
    let expected = [
        told(&schema(&a)),
        told(&rows(&a, &[1])),
        told(&commit(1)),
        told(&rows(&a, &[2, 4])),
        told(&schema(&b)),
        told(&rows(&b, &[3])),
        told(&truncate(5)),
        told(&schema(&a2)),
        told(&rows(&a2, &[6])),
        told(&rows(&a2, &[7])),
        told(&rows(&b, &[8])),
        told(&commit(8)),
    ];
    assert_eq!(
        drain(&mut journal.cursor(0).expect("cursor")).await,
        expected
    );
    assert_eq!(journal.schemas(), [a2, b]);
}

#[tokio::test]
async fn waiting_for_the_next_event_can_be_given_up_and_taken_up() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let (journal, _) = open(&small(dir.path())).await;
    fill(&journal, 1..=300).await;
    let mut cursor = journal.cursor(0).expect("cursor");
    let mut seqs = Vec::new();
    while seqs.last() != Some(&300) {
        // Polled once and dropped, in the middle of whatever it does.
        let polled = {
            let mut next = std::pin::pin!(cursor.next());
            std::future::poll_fn(|context| {
                std::task::Poll::Ready(match next.as_mut().poll(context) {
                    std::task::Poll::Ready(event) => Some(event.expect("cursor reads")),
                    std::task::Poll::Pending => None,
                })
            })
            .await
        };
        match polled.as_deref() {
            Some(ChangeEvent::Rows(batch)) => seqs.extend_from_slice(&batch.seq),
            Some(_) => {}
            None => tokio::task::yield_now().await,
        }
    }
    assert!(seqs.iter().copied().eq(1..=300));
}

#[tokio::test]
async fn a_mark_and_a_malformed_batch_are_refused() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let (journal, _) = open(&small(dir.path())).await;
    let refused = journal.append(ChangeEvent::Mark { id: 1 }).await;
    assert_eq!(refused.expect_err("refused").kind(), ErrorKind::Internal);
    let ChangeEvent::Rows(mut batch) = rows(&table(1, 1, 1), &[1, 2]) else {
        panic!("rows");
    };
    batch.ops = vec![1].into();
    let refused = journal.append(ChangeEvent::Rows(batch)).await;
    assert_eq!(refused.expect_err("refused").kind(), ErrorKind::Internal);
    assert_eq!(journal.stats().events, 0);
}

#[tokio::test]
async fn reset_begins_anew_and_ends_the_cursors() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let config = small(dir.path());
    let (journal, _) = open(&config).await;
    fill(&journal, 1..=200).await;
    let mut old = journal.cursor(0).expect("cursor");
    journal.reset(&checkpoint(500)).await.expect("reset");
    assert_eq!(
        old.next().await.expect_err("ended").kind(),
        ErrorKind::Transient
    );
    assert!(journal.schemas().is_empty());
    assert_eq!(journal.oldest_seq(), 500);
    assert_eq!(
        journal.cursor(200).err().expect("gone").kind(),
        ErrorKind::LogLost
    );
    assert_eq!(segment_files(&config).len(), 1);
    fill(&journal, 501..=503).await;
    let mut cursor = journal.cursor(500).expect("cursor");
    let given = drain(&mut cursor).await;
    assert_eq!(given.len(), 7, "{given:?}");
    drop(journal);
    let (journal, recovered) = open(&config).await;
    assert_eq!(recovered.tail, Some(checkpoint(503)));
    assert_eq!(recovered.oldest_seq, 500);
    assert_eq!(
        drain(&mut journal.cursor(500).expect("cursor")).await,
        given
    );
}
