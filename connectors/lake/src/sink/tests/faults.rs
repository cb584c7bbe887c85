//! Every operation of a lake's life fails, one after the other, in every way: whatever happens,
//! readers see a commit's content, and a lake that is opened again goes on from there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use cdc_api::{ErrorKind, Sink};
use tempfile::TempDir;

use super::script::{self, Content, Script, Seen};
use crate::copy::Notes;
use crate::current;
use crate::layout;
use crate::manifest::log;
use crate::site::Site;
use crate::storage::Storage;
use crate::storage::faulty::{Cue, Fault, FaultyDisk};
use crate::storage::local::LocalDisk;
use crate::{Compression, Lake, LakeConfig};

fn lake(root: &Path, cue: &Arc<Cue>) -> Lake {
    let mut config = LakeConfig::new(root.display().to_string());
    config.compaction.min_files = 2;
    config.compression = Compression::None;
    // Each batch is a file of its own.
    config.target_file_bytes = 1 << 20;
    Lake::on(
        Box::new(FaultyDisk::new(root.to_owned(), cue)),
        config,
        "shop",
    )
    .expect("a lake")
}

/// A reader's view between two commits, or while one of them is being shown.
fn check_any_time(script: &Script, seen: &Content, reached: usize, when: &str) {
    let before = script.content(reached);
    let after = script.content((reached + 1).min(script.len()));
    let folders: BTreeSet<&String> = seen
        .keys()
        .chain(before.keys())
        .chain(after.keys())
        .collect();
    for folder in folders {
        let rows = seen.get(folder);
        if script.renames(reached) {
            // Files go to the new folder one by one: some may be missing, none is there twice.
            let known: Vec<&Seen> = before
                .get(folder)
                .into_iter()
                .chain(after.get(folder))
                .flatten()
                .collect();
            let times = |rows: &[&Seen], row: &Seen| rows.iter().filter(|it| **it == row).count();
            let all: Vec<&Seen> = rows.into_iter().flatten().collect();
            for row in &all {
                assert!(
                    times(&all, row) <= times(&known, row),
                    "{when}: {folder} has {row:?} too often"
                );
            }
            continue;
        }
        assert!(
            rows == before.get(folder) || rows == after.get(folder),
            "{when}, commit {reached}: {folder} is neither before nor after\n{rows:?}\n{before:?}"
        );
    }
}

/// Nothing lies about: folders hold the manifest's files, staging holds what copies have noted, and of each table with
/// files, and of no other, there is the statement that reads them.
fn check_tidy(root: &Path, when: &str) {
    let disk = LocalDisk::new(root.to_owned());
    let state = log::load(&disk)
        .expect("reads")
        .map(|it| it.state)
        .unwrap_or_default();
    for table in state.tables.values() {
        let found: Vec<String> = disk
            .list(&table.folder)
            .expect("lists")
            .into_iter()
            .map(|it| it.name)
            .collect();
        let mut named: Vec<String> = table.files.iter().map(|it| it.name.clone()).collect();
        named.sort();
        assert_eq!(found, named, "{when}: {}", table.folder);
        for earlier in &table.earlier {
            for file in &earlier.files {
                let path = format!("{}/{}", earlier.folder, file.name);
                assert!(disk.exists(&path).expect("asked"), "{when}: {path} is gone");
            }
        }
    }
    let site = Site::new(
        Box::new(LocalDisk::new(root.to_owned())),
        LakeConfig::new(root.display().to_string()),
        "shop",
    )
    .expect("a site");
    let wanted = state.tables.values().filter_map(|table| {
        let query = current::query(&site, table).expect("is written")?;
        Some((layout::query(&table.folder), query))
    });
    assert_eq!(queries(&disk, layout::QUERIES), wanted.collect(), "{when}");
    let mut noted = BTreeSet::new();
    for copy in Notes::all(&disk).expect("lists") {
        let notes = Notes::load(&disk, copy).expect("reads");
        noted.extend(
            notes
                .iter()
                .flat_map(Notes::files)
                .map(|it| layout::staged(&it.name)),
        );
    }
    for listed in disk.list(layout::STAGED).expect("lists") {
        let path = format!("{}/{}", layout::STAGED, listed.name);
        assert!(noted.contains(&path), "{when}: {path} is left over");
    }
}

/// All statements below a folder, by path.
fn queries(disk: &LocalDisk, folder: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for listed in disk.list(folder).expect("lists") {
        let path = format!("{folder}/{}", listed.name);
        if listed.is_folder {
            found.extend(queries(disk, &path));
        } else {
            let text = disk.read(&path).expect("reads");
            found.insert(path, String::from_utf8(text).expect("text"));
        }
    }
    found
}

/// The process ends, and another one opens the lake.
async fn restarted(sink: Lake, cue: &Cue, root: &Path, when: &str) -> (Lake, Arc<Cue>) {
    // A merge that goes on in the background ends with its process.
    cue.kill();
    drop(sink);
    let cue = Cue::after(i64::MAX, Fault::CrashBefore);
    let mut sink = lake(root, &cue);
    sink.open()
        .await
        .unwrap_or_else(|error| panic!("{when}: {error}"));
    (sink, cue)
}

/// Fails operation `at`; whether there was one.
async fn fail(at: i64, fault: Fault) -> bool {
    let when = format!("operation {at}, {fault:?}");
    let folder = TempDir::new().expect("a folder");
    let root = folder.path().join("lake");
    let script = Script::new();
    let cue = Cue::after(at, fault);
    let mut reached = 0;

    let mut sink = lake(&root, &cue);
    let mut ended = sink.open().await;
    if ended.is_ok() {
        ended = script.run(&mut sink, &mut reached).await;
    }
    let hit = cue.was_hit();
    if ended.is_err() {
        check_any_time(&script, &script::read(&root), reached, &when);
    }
    let goes_on = matches!(fault, Fault::OnceBefore | Fault::OnceAfter | Fault::Full);
    if fault == Fault::Full {
        cue.clear();
    }
    let mut cue = cue;
    if goes_on && ended.is_err() && sink.committed().await.is_ok() {
        // The engine's way without a restart.
        sink.rollback()
            .await
            .unwrap_or_else(|error| panic!("{when}: {error}"));
        sink.discard_copies(&[1, 2, 3].map(cdc_api::CopyId))
            .await
            .expect("kept");
        cue.clear();
    } else {
        (sink, cue) = restarted(sink, &cue, &root, &when).await;
        check_tidy(&root, &when);
    }
    let again = script.reached(&mut sink).await.expect("asked");
    assert!(
        again == reached || again == reached + 1,
        "{when}: {again} after {reached}"
    );
    reached = again;
    assert_eq!(
        script::read(&root),
        script.content(reached),
        "{when}: recovered"
    );
    script
        .run(&mut sink, &mut reached)
        .await
        .unwrap_or_else(|error| panic!("{when}: going on: {error}"));
    assert_eq!(
        script::read(&root),
        script.content(script.len()),
        "{when}: at the end"
    );
    let (_sink, _cue) = restarted(sink, &cue, &root, &when).await;
    check_tidy(&root, &when);
    assert_eq!(
        script::read(&root),
        script.content(script.len()),
        "{when}: after reopening"
    );
    hit
}

async fn fail_each(fault: Fault) {
    let mut at = 0;
    while fail(at, fault).await {
        at += 1;
    }
    assert!(at > 100, "the script has only {at} operations");
}

#[tokio::test]
async fn a_crash_before_any_operation_loses_and_doubles_nothing() {
    fail_each(Fault::CrashBefore).await;
}

#[tokio::test]
async fn a_crash_after_any_operation_loses_and_doubles_nothing() {
    fail_each(Fault::CrashAfter).await;
}

#[tokio::test]
async fn an_operation_that_fails_once_is_rolled_back() {
    fail_each(Fault::OnceBefore).await;
}

#[tokio::test]
async fn an_answer_that_is_lost_is_found_again() {
    fail_each(Fault::OnceAfter).await;
}

#[tokio::test]
async fn a_full_disk_is_waited_out() {
    fail_each(Fault::Full).await;
}

#[tokio::test]
async fn a_full_disk_is_named_with_its_remedy_and_leaves_nothing_behind() {
    let folder = TempDir::new().expect("a folder");
    let root = folder.path().join("lake");
    let script = Script::new();
    let cue = Cue::after(60, Fault::Full);
    let mut config = LakeConfig::new(root.display().to_string());
    config.compaction.enabled = false;
    let disk = FaultyDisk::new(root.clone(), &cue);
    let mut sink = Lake::on(Box::new(disk), config, "shop").expect("a lake");
    sink.open().await.expect("opens");
    let error = script.run(&mut sink, &mut 0).await.expect_err("is full");
    assert_eq!(error.kind(), ErrorKind::Transient);
    assert!(error.to_string().contains("no space"), "{error}");
    assert!(
        error
            .hint_text()
            .is_some_and(|hint| hint.contains("free space"))
    );
    sink.rollback().await.expect("needs no space");
    check_tidy(&root, "after the rollback");
}

#[tokio::test]
async fn a_second_daemon_is_refused_while_the_first_lives() {
    let folder = TempDir::new().expect("a folder");
    let root = folder.path().join("lake");
    let cue = Cue::after(i64::MAX, Fault::CrashBefore);
    let mut first = lake(&root, &cue);
    first.open().await.expect("opens");
    let mut second = lake(&root, &cue);
    let error = second.open().await.expect_err("is refused");
    assert_eq!(error.kind(), ErrorKind::Transient);
    assert!(error.hint_text().is_some());
    drop(first);
    second.open().await.expect("the lock is free");
}

#[tokio::test]
async fn where_there_are_no_locks_the_slower_writer_is_fenced() {
    let folder = TempDir::new().expect("a folder");
    let root = folder.path().join("lake");
    let cue = Cue::after(i64::MAX, Fault::CrashBefore);
    let open = || async {
        let disk = FaultyDisk::new(root.clone(), &cue).without_locks();
        let config = LakeConfig::new(root.display().to_string());
        let mut sink = Lake::on(Box::new(disk), config, "shop").expect("a lake");
        sink.open().await.expect("opens");
        sink
    };
    let script = Script::new();
    let mut first = open().await;
    let mut second = open().await;
    // Far enough that old entries are gone, too.
    for number in 0..3 * log::WHOLE_EVERY {
        let mut checkpoint = script.checkpoint(0);
        checkpoint.offset = number;
        second
            .commit(&checkpoint)
            .await
            .expect("the only one so far");
    }
    let error = first
        .commit(&script.checkpoint(0))
        .await
        .expect_err("is fenced");
    assert_eq!(error.kind(), ErrorKind::Fenced, "{error}");
    let mut reached = 1;
    script
        .run(&mut second, &mut reached)
        .await
        .expect("goes on");
    assert_eq!(script::read(&root), script.content(script.len()));
}

#[tokio::test]
async fn idle_commits_do_not_litter() {
    let folder = TempDir::new().expect("a folder");
    let root = folder.path().join("lake");
    let cue = Cue::after(i64::MAX, Fault::CrashBefore);
    let mut sink = lake(&root, &cue);
    sink.open().await.expect("opens");
    let script = Script::new();
    let mut checkpoint = script.checkpoint(0);
    for offset in 0..10 * log::WHOLE_EVERY {
        checkpoint.offset = offset;
        sink.commit(&checkpoint).await.expect("holds");
    }
    let entries = LocalDisk::new(root).list(layout::MANIFEST).expect("lists");
    assert!(
        entries.len() as u64 <= 2 * log::WHOLE_EVERY + 1,
        "{}",
        entries.len()
    );
    assert_eq!(sink.committed().await.expect("asked"), Some(checkpoint));
}

#[tokio::test]
async fn another_pipelines_lake_is_refused() {
    let folder = TempDir::new().expect("a folder");
    let root = folder.path().join("lake").display().to_string();
    let mut sink = Lake::new(LakeConfig::new(&root), "shop").expect("a lake");
    sink.open().await.expect("opens");
    sink.commit(&Script::new().checkpoint(0))
        .await
        .expect("holds");
    drop(sink);
    let mut sink = Lake::new(LakeConfig::new(&root), "bank").expect("a lake");
    let error = sink.open().await.expect_err("is refused");
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("shop"), "{error}");
}
