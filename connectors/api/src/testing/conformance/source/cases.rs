//! The source suite's cases.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::history::{History, Told, start};
use super::{Action, Database};
use crate::testing::canonical::{self, Row};
use crate::{BatchLimits, Checkpoint, Op, Snapshot, Source, TableId, TableName, TableSchema};

use Action::{AddColumn, Create, Delete, Insert, SetBody, SetId, SetQty, Truncate};

/// A database under test with a table, captured from its beginning.
struct Stage {
    database: Box<dyn Database>,
    source: Arc<dyn Source>,
    items: TableName,
    table: Arc<TableSchema>,
    origin: Checkpoint,
}

async fn found(source: &dyn Source) -> BTreeMap<String, Arc<TableSchema>> {
    let found = source.discover().await.expect("tables are found");
    found
        .into_iter()
        .map(|found| {
            assert!(found.refused.is_none(), "{:?}", found.refused);
            (found.table.name.table.clone(), found.table)
        })
        .collect()
}

async fn capture(source: &dyn Source) -> BTreeMap<String, Arc<TableSchema>> {
    let tables = found(source).await;
    let all: Vec<_> = tables.values().cloned().collect();
    source.capture(&all).await.expect("the tables are captured");
    tables
}

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

/// A text too large for its row, that does not compress.
fn large(seed: u64) -> String {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..20_000)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            char::from(b'a' + u8::try_from(state % 26).unwrap_or(0))
        })
        .collect()
}

impl Stage {
    async fn begin(mut database: Box<dyn Database>) -> Self {
        let items = TableName::new(database.schema(), "items");
        let create = Create(items.clone());
        database
            .commit(&[create])
            .await
            .expect("a table is created");
        let source = database.source();
        let tables = capture(source.as_ref()).await;
        let origin = source.origin().await.expect("there is an origin");
        Self {
            database,
            source,
            table: Arc::clone(&tables["items"]),
            items,
            origin,
        }
    }

    async fn commit(&mut self, actions: &[Action]) {
        self.database
            .commit(actions)
            .await
            .expect("the database takes it");
    }

    fn insert(&self, id: i64) -> Action {
        Insert(self.items.clone(), id, text(&format!("body {id}")), Some(1))
    }

    /// Everything from the origin on.
    async fn history(&self) -> History {
        let source = self.source.as_ref();
        let mut stream = start(source, &self.origin, &[Arc::clone(&self.table)]).await;
        let mut history = History::from(&self.origin);
        history.read_all(source, stream.as_mut()).await;
        stream.close().await.expect("the stream is closed");
        history
    }

    /// Some transactions of every kind.
    async fn traffic(&mut self, first: i64) {
        let items = self.items.clone();
        for id in first..first + 5 {
            self.commit(&[
                self.insert(id),
                self.insert(id + 100),
                SetQty(items.clone(), id, Some(2)),
            ])
            .await;
        }
        self.commit(&[
            SetId(items.clone(), first, first + 1000),
            Delete(items.clone(), first + 1),
            SetBody(items.clone(), first + 2, None),
        ])
        .await;
        self.commit(&[]).await;
        let many: Vec<Action> = (0..40).map(|n| self.insert(first + 2000 + n)).collect();
        self.commit(&many).await;
        self.commit(&[Delete(items, first + 2003)]).await;
    }
}

/// What rows did, in their order: the numbers themselves may have gaps.
fn ops(history: &History) -> Vec<Op> {
    history
        .told
        .values()
        .filter_map(|told| match told {
            Told::Row { op, .. } => Some(*op),
            _ => None,
        })
        .collect()
}

/// What was told in this place, from 1.
fn nth(history: &History, place: usize) -> &Told {
    let told = history.told.values().nth(place - 1);
    told.expect("so much was told")
}

fn cells(values: &[Option<&str>]) -> Row {
    values.iter().map(|value| value.map(Into::into)).collect()
}

/// Tables have their key and columns; the origin has `seq` 0 and can be asked for again.
pub async fn tables_are_found_and_the_origin_is_the_beginning(database: Box<dyn Database>) {
    let stage = Stage::begin(database).await;
    let table = &stage.table;
    assert_eq!(table.name, stage.items);
    let names: Vec<&str> = table.columns.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["id", "body", "qty"]);
    assert_eq!(table.key, [0], "the primary key is the key");
    assert_eq!(stage.origin.seq, 0);
    let again = stage.source.origin().await.expect("asked again");
    assert_eq!(again.seq, 0);
    let who = stage.source.identify().await.expect("asked");
    assert!(!who.id.is_empty() && !who.version.is_empty() && !who.database.is_empty());
    capture(stage.source.as_ref()).await;
    let first = found(stage.source.as_ref()).await;
    assert!(
        first["items"].same_shape(table),
        "a shape is found the same again"
    );
}

/// Rows come in commit order, each transaction's before its commit.
pub async fn transactions_come_whole_and_in_order(database: Box<dyn Database>) {
    let mut stage = Stage::begin(database).await;
    let items = stage.items.clone();
    stage.commit(&[stage.insert(1), stage.insert(2)]).await;
    stage.commit(&[SetQty(items.clone(), 1, Some(5))]).await;
    stage
        .commit(&[
            Delete(items.clone(), 2),
            stage.insert(3),
            Delete(items.clone(), 3),
        ])
        .await;
    stage.commit(&[SetBody(items, 1, None)]).await;
    let history = stage.history().await;
    assert_eq!(
        ops(&history),
        [
            Op::Insert,
            Op::Insert,
            Op::Update,
            Op::Delete,
            Op::Insert,
            Op::Delete,
            Op::Update,
        ]
    );
    assert_eq!(
        history.rows(stage.table.id),
        [cells(&[Some("1"), None, Some("5")])]
    );
    let seqs: Vec<u64> = history.commits.iter().map(|commit| commit.seq).collect();
    assert!(seqs.is_sorted(), "commits go forward: {seqs:?}");
    let before = |seq: u64| history.told.range(..=seq).count();
    assert!(
        seqs.iter()
            .all(|seq| [0, 2, 3, 6, 7].contains(&before(*seq))),
        "commits stand between transactions: {seqs:?}"
    );
}

/// From every checkpoint the same rows come with the same `seq`, by this source and another.
pub async fn a_restart_gives_the_same_rows_the_same_seq(database: Box<dyn Database>) {
    let mut stage = Stage::begin(database).await;
    stage.traffic(1).await;
    let whole = stage.history().await;
    assert!(whole.told.keys().next() > Some(&stage.origin.seq));
    for from in whole.commits.clone() {
        let source = stage.database.source();
        let known = [Arc::clone(&stage.table)];
        let mut stream = start(source.as_ref(), &from, &known).await;
        let mut later = History::from(&from);
        later.read_all(source.as_ref(), stream.as_mut()).await;
        drop(stream);
        let expected: BTreeMap<u64, Told> = whole
            .told
            .range(from.seq + 1..)
            .map(|(seq, told)| (*seq, told.clone()))
            .collect();
        assert_eq!(later.told, expected, "from seq {}", from.seq);
        assert_eq!(later.seq(), whole.seq());
    }
}

/// A call of `next` that is dropped while it waits has taken nothing.
pub async fn dropping_next_loses_nothing(database: Box<dyn Database>) {
    let mut stage = Stage::begin(database).await;
    stage.traffic(1).await;
    let whole = stage.history().await;
    let source = Arc::clone(&stage.source);
    let known = [Arc::clone(&stage.table)];
    let mut stream = start(source.as_ref(), &stage.origin, &known).await;
    let mut history = History::from(&stage.origin);
    let mark = source.mark().await.expect("a mark is taken");
    let mut pause = 0;
    while !history.marks.iter().any(|(id, _)| *id == mark) {
        pause = (pause + 37) % 1000;
        if let Ok(event) = timeout(Duration::from_micros(pause), stream.next()).await {
            history.take(event.expect("the stream goes on"));
        }
    }
    assert_eq!(history.told, whole.told);
}

/// A mark stands after everything committed when it was asked for, on an idle source too.
pub async fn a_mark_comes_after_all_that_was_committed(database: Box<dyn Database>) {
    let mut stage = Stage::begin(database).await;
    let source = Arc::clone(&stage.source);
    let mut stream = start(source.as_ref(), &stage.origin, &[]).await;
    let mut history = History::from(&stage.origin);
    history.read_all(source.as_ref(), stream.as_mut()).await;
    history.read_all(source.as_ref(), stream.as_mut()).await;
    for id in 1..4 {
        stage.commit(&[stage.insert(id)]).await;
        history.read_all(source.as_ref(), stream.as_mut()).await;
        assert_eq!(
            history.told.len() as i64,
            id,
            "the mark comes after the row"
        );
    }
    let mark = source.mark().await.expect("a mark is taken");
    drop(stream);
    let from = history.commits.last().expect("committed").clone();
    let mut stream = start(source.as_ref(), &from, &[]).await;
    history
        .read(stream.as_mut(), "a mark outlives its stream", |history| {
            history.marks.iter().any(|(id, _)| *id == mark)
        })
        .await;
}

async fn read_chunks(snapshot: &dyn Snapshot, table: TableId, bytes: u64) -> Vec<Row> {
    let mut rows = Vec::new();
    let chunks = snapshot.chunks(table, bytes).await.expect("chunks are cut");
    for (index, chunk) in chunks.iter().enumerate() {
        assert_eq!(chunk.index as usize, index, "chunks are numbered from 0");
        rows.extend(read_chunk(snapshot, table, chunk).await);
    }
    rows.sort();
    rows
}

async fn read_chunk(snapshot: &dyn Snapshot, table: TableId, chunk: &crate::Chunk) -> Vec<Row> {
    let limits = BatchLimits {
        rows: 7,
        bytes: 1 << 20,
    };
    let mut reader = snapshot
        .read(table, chunk, limits)
        .await
        .expect("a chunk is read");
    let mut rows = Vec::new();
    while let Some(batch) = reader.next().await.expect("rows are read") {
        assert!(batch.num_rows() <= 7, "batches keep to the limit");
        rows.extend((0..batch.num_rows()).map(|row| canonical::row(&batch, row)));
    }
    rows
}

/// What the chunks hold is what the stream's rows amount to at the snapshot's mark.
pub async fn a_snapshot_is_what_the_stream_has_given_at_its_mark(database: Box<dyn Database>) {
    let mut stage = Stage::begin(database).await;
    let source = Arc::clone(&stage.source);
    let id = stage.table.id;
    let mut stream = start(source.as_ref(), &stage.origin, &[]).await;
    let mut history = History::from(&stage.origin);
    for round in 0..3 {
        stage.traffic(1 + round * 10_000).await;
        let tables = [Arc::clone(&stage.table)];
        let opening = source.snapshot(&tables);
        tokio::pin!(opening);
        // The contract has the stream polled meanwhile.
        let snapshot = loop {
            tokio::select! {
                biased;
                opened = &mut opening => break opened.expect("a snapshot is opened"),
                event = stream.next() => history.take(event.expect("the stream goes on")),
            }
        };
        stage.traffic(5_001 + round * 10_000).await;
        assert!(snapshot.tables()[0].same_shape(&stage.table));
        snapshot.size(id).await.expect("the size is told");
        let mark = snapshot.id();
        history
            .read(stream.as_mut(), "the snapshot's mark", |history| {
                history.marks.iter().any(|(id, _)| *id == mark)
            })
            .await;
        let streamed = history.rows(id);
        for bytes in [1, 2_000, 1 << 30] {
            let rows = read_chunks(snapshot.as_ref(), id, bytes).await;
            assert_eq!(rows, streamed, "round {round}, chunks of {bytes} bytes");
        }
        drop(snapshot);
        history.read_all(source.as_ref(), stream.as_mut()).await;
    }
}

/// Chunks cut in one snapshot can be read in a later one, and hold every row once, as long as
/// their epoch is the table's.
pub async fn chunks_of_a_later_snapshot_hold_the_table_too(database: Box<dyn Database>) {
    let mut stage = Stage::begin(database).await;
    let source = Arc::clone(&stage.source);
    let id = stage.table.id;
    stage.traffic(1).await;
    let mut stream = start(source.as_ref(), &stage.origin, &[]).await;
    let mut history = History::from(&stage.origin);
    let mut chunks = Vec::new();
    for round in 0..2 {
        let tables = [Arc::clone(&stage.table)];
        let opening = source.snapshot(&tables);
        tokio::pin!(opening);
        let snapshot = loop {
            tokio::select! {
                biased;
                opened = &mut opening => break opened.expect("a snapshot is opened"),
                event = stream.next() => history.take(event.expect("the stream goes on")),
            }
        };
        if round == 0 {
            chunks = snapshot.chunks(id, 1_000).await.expect("chunks are cut");
        }
        let mark = snapshot.id();
        history
            .read(stream.as_mut(), "the snapshot's mark", |history| {
                history.marks.iter().any(|(id, _)| *id == mark)
            })
            .await;
        let mut rows = Vec::new();
        for chunk in &chunks {
            rows.extend(read_chunk(snapshot.as_ref(), id, chunk).await);
        }
        rows.sort();
        assert_eq!(rows, history.rows(id), "round {round}");
        drop(snapshot);
        stage.traffic(5_001 + round * 10_000).await;
    }
}

/// An update of another column leaves a large value out, or gives it whole: never NULL.
pub async fn unchanged_large_values_are_absent_or_whole(database: Box<dyn Database>) {
    let mut stage = Stage::begin(database).await;
    let items = stage.items.clone();
    let (first, second) = (large(1), large(2));
    stage
        .commit(&[Insert(items.clone(), 1, text(&first), Some(1))])
        .await;
    stage.commit(&[SetQty(items.clone(), 1, Some(2))]).await;
    stage.commit(&[SetId(items.clone(), 1, 10)]).await;
    stage
        .commit(&[SetBody(items.clone(), 10, text(&second))])
        .await;
    stage.commit(&[SetQty(items.clone(), 10, None)]).await;
    stage.commit(&[SetBody(items, 10, None)]).await;
    let history = stage.history().await;
    let body = |place: usize| match nth(&history, place) {
        Told::Row { row, absent, .. } => (row[1].clone(), absent[1]),
        other => panic!("{other:?}"),
    };
    let whole_or_absent = |place: usize, expected: &str| match body(place) {
        (None, true) => {}
        (Some(body), false) => assert_eq!(&*body, expected, "row {place}"),
        other => panic!("row {place}: {other:?}"),
    };
    assert_eq!(body(1), (Some(first.as_str().into()), false));
    whole_or_absent(2, &first);
    whole_or_absent(4, &first);
    assert_eq!(body(5), (Some(second.as_str().into()), false));
    whole_or_absent(6, &second);
    assert_eq!(body(7), (None, false), "NULL is sent");
    assert_eq!(
        history.rows(stage.table.id),
        [cells(&[Some("10"), None, None])]
    );
}

/// The old key and the new row are neighbours.
pub async fn a_key_change_is_a_pair(database: Box<dyn Database>) {
    let mut stage = Stage::begin(database).await;
    let items = stage.items.clone();
    stage.commit(&[stage.insert(1), stage.insert(2)]).await;
    stage
        .commit(&[
            SetId(items.clone(), 1, 3),
            SetId(items.clone(), 2, 1),
            SetId(items, 3, 2),
        ])
        .await;
    let history = stage.history().await;
    let pairs = [Op::MoveOut, Op::MoveIn];
    assert_eq!(
        ops(&history),
        [[Op::Insert; 2], pairs, pairs, pairs].concat()
    );
    let seqs: Vec<u64> = history.told.keys().copied().collect();
    for pair in seqs[2..].chunks(2) {
        assert_eq!(pair[0] + 1, pair[1], "nothing stands between them");
    }
    assert_eq!(
        history.rows(stage.table.id),
        [
            cells(&[Some("1"), Some("body 2"), Some("1")]),
            cells(&[Some("2"), Some("body 1"), Some("1")]),
        ]
    );
}

/// A truncate takes a `seq`, between the rows before and after it.
pub async fn a_truncate_has_its_place(database: Box<dyn Database>) {
    let mut stage = Stage::begin(database).await;
    let items = stage.items.clone();
    stage.commit(&[stage.insert(1)]).await;
    stage
        .commit(&[
            stage.insert(2),
            Truncate(vec![items.clone()]),
            stage.insert(3),
        ])
        .await;
    stage.commit(&[Truncate(vec![items])]).await;
    stage.commit(&[stage.insert(4)]).await;
    let history = stage.history().await;
    let id = stage.table.id;
    assert_eq!(*nth(&history, 3), Told::Truncate(vec![id]));
    assert_eq!(*nth(&history, 5), Told::Truncate(vec![id]));
    assert_eq!(history.told.len(), 6);
    assert_eq!(
        history.rows(id),
        [cells(&[Some("4"), Some("body 4"), Some("1")])]
    );
}

/// A new column is told with the value of existing rows before the first row that has it, from
/// every checkpoint.
pub async fn an_added_column_is_told_before_its_rows(database: Box<dyn Database>) {
    let mut stage = Stage::begin(database).await;
    let items = stage.items.clone();
    let id = stage.table.id;
    stage.commit(&[stage.insert(1), stage.insert(2)]).await;
    stage
        .commit(&[AddColumn(items.clone(), "added".to_owned(), 42)])
        .await;
    stage
        .commit(&[SetQty(items, 1, Some(9)), stage.insert(3)])
        .await;
    let history = stage.history().await;
    let shape = &history.shapes[&id];
    let added = shape.columns.last().expect("columns");
    assert_eq!((added.name.as_str(), shape.columns.len()), ("added", 4));
    assert!(shape.version > stage.table.version, "the version rises");
    let rows = history.rows(id);
    assert_eq!(rows.len(), 3);
    for row in rows {
        assert_eq!(
            row[3].as_deref(),
            Some("42"),
            "existing and new rows have the default"
        );
    }
    for from in &history.commits {
        let source = stage.source.as_ref();
        let mut stream = start(source, from, &[Arc::clone(&stage.table)]).await;
        let mut later = History::from(from);
        later.read_all(source, stream.as_mut()).await;
        for (seq, told) in &later.told {
            assert_eq!(told, &history.told[seq], "seq {seq}");
        }
        drop(stream);
    }
}

/// A transaction rolled back is nothing.
pub async fn what_was_rolled_back_is_not_given(database: Box<dyn Database>) {
    let mut stage = Stage::begin(database).await;
    stage.commit(&[stage.insert(1)]).await;
    let lost: Vec<Action> = (100..400).map(|id| stage.insert(id)).collect();
    stage.database.roll_back(&lost).await.expect("rolled back");
    stage.commit(&[stage.insert(2)]).await;
    let history = stage.history().await;
    assert_eq!(ops(&history), [Op::Insert, Op::Insert]);
}

/// A table's changes come from when it was captured on. Where the log has those of every table, the
/// earlier ones may come too, which the engine passes over.
pub async fn a_table_captured_later_comes_from_then_on(database: Box<dyn Database>) {
    let mut stage = Stage::begin(database).await;
    let later = TableName::new(stage.database.schema(), "later");
    stage.commit(&[stage.insert(1)]).await;
    stage.commit(&[Create(later.clone())]).await;
    stage
        .commit(&[Insert(later.clone(), 1, None, None), stage.insert(2)])
        .await;
    let tables = capture(stage.source.as_ref()).await;
    assert_eq!(tables.len(), 2);
    stage
        .commit(&[Insert(later.clone(), 2, None, Some(2)), stage.insert(3)])
        .await;
    let history = stage.history().await;
    let rows = history.rows(tables["later"].id);
    assert_eq!(history.told.len(), 3 + rows.len(), "{:#?}", history.told);
    assert_eq!(rows.last(), Some(&cells(&[Some("2"), None, Some("2")])));
    assert!(rows.len() <= 2);
}

/// After an acknowledgement the stream goes on from that checkpoint; the server is told at close.
pub async fn an_acknowledged_checkpoint_can_be_started_from(database: Box<dyn Database>) {
    let mut stage = Stage::begin(database).await;
    stage.traffic(1).await;
    let source = Arc::clone(&stage.source);
    let mut stream = start(source.as_ref(), &stage.origin, &[]).await;
    let mut history = History::from(&stage.origin);
    history.read_all(source.as_ref(), stream.as_mut()).await;
    let upto = history.commits.last().expect("committed").clone();
    stream
        .acknowledge(&upto.position)
        .expect("its own position");
    stream
        .acknowledge(&upto.position)
        .expect("twice is no harm");
    assert!(stream.progress().read <= stream.progress().server.max(stream.progress().read));
    stream.close().await.expect("closed");
    stage.commit(&[stage.insert(50_000)]).await;
    let mut stream = start(source.as_ref(), &upto, &[]).await;
    let mut later = History::from(&upto);
    later.read_all(source.as_ref(), stream.as_mut()).await;
    assert_eq!(ops(&later), [Op::Insert]);
    assert!(later.told.keys().next() > Some(&upto.seq));
}

/// Nothing but idle commits come while nothing happens.
pub async fn an_idle_source_says_nothing(database: Box<dyn Database>) {
    let mut stage = Stage::begin(database).await;
    stage.commit(&[stage.insert(1)]).await;
    let source = Arc::clone(&stage.source);
    let mut stream = start(source.as_ref(), &stage.origin, &[]).await;
    let mut history = History::from(&stage.origin);
    history.read_all(source.as_ref(), stream.as_mut()).await;
    let quiet = timeout(Duration::from_millis(300), async {
        loop {
            history.take(stream.next().await.expect("the stream goes on"));
        }
    });
    assert!(quiet.await.is_err());
    assert_eq!(history.told.len(), 1);
}
