//! Readings taken in, and what survives a restart.

use super::*;
use crate::storage::LeafStorage;

fn sighting(lsn: u64, file: u32) -> Sighting {
    let leaf = LeafStorage {
        name: "t".to_owned(),
        file,
        writers: [file].into(),
        attached: Vec::new(),
        columns: std::collections::BTreeMap::new(),
    };
    Sighting {
        lsn,
        horizon: 200,
        storage: Storage {
            partitioned: false,
            leaves: [(7, leaf)].into(),
        },
    }
}

fn sightings(notes: &Notes) -> Vec<u64> {
    let notes = notes.lock();
    notes[&7].sightings.iter().map(|it| it.lsn).collect()
}

#[test]
fn readings_stand_in_the_order_of_the_log_and_equal_ones_are_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let notes = Notes::new(folder.path().join("tables"));
    notes.see([(7, sighting(10, 1))]).expect("is written");
    notes.see([(7, sighting(20, 1))]).expect("is written");
    assert_eq!(sightings(&notes), [20], "the later of two equal ones");
    notes.see([(7, sighting(40, 3))]).expect("is written");
    notes.see([(7, sighting(30, 2))]).expect("is written");
    notes.see([(7, sighting(15, 1))]).expect("is written");
    assert_eq!(sightings(&notes), [20, 30, 40]);
    let first = notes.generation(7).expect("known");
    assert_eq!(first.number, 10, "of unknown rows before");
}

#[test]
fn a_truncate_that_a_reading_may_have_missed_is_kept_although_the_log_was_beyond_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let notes = Notes::new(folder.path().to_owned());
    notes.see([(7, sighting(20, 1))]).expect("is written");
    // Not at its end when the reading was made, and then committed before the log's end was asked for.
    notes.truncated(7, Lsn(15), 200).expect("is written");
    notes.truncated(7, Lsn(14), 199).expect("was seen");
    assert!(notes.has_truncate(7, &[200].into()));
    assert!(!notes.has_truncate(7, &[199].into()));
    let later = Sighting {
        horizon: 201,
        ..sighting(30, 1)
    };
    notes.see([(7, later)]).expect("is written");
    assert!(!notes.has_truncate(7, &[200].into()), "this one has it");
}

#[test]
fn what_is_in_doubt_and_the_truncates_of_the_log_survive_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let notes = Notes::new(folder.path().to_owned());
    notes.truncated(7, Lsn(5), 99).expect("nothing to note yet");
    notes.see([(7, sighting(10, 1))]).expect("is written");
    notes.see([(7, sighting(20, 2))]).expect("is written");
    notes.truncated(7, Lsn(15), 100).expect("is written");
    let notes = Notes::new(folder.path().to_owned());
    notes.see([(7, sighting(30, 2))]).expect("is written");
    assert_eq!(sightings(&notes), [10, 20]);
    assert!(notes.has_truncate(7, &[100].into()));
    assert!(!notes.has_truncate(7, &[99].into()));
    let (before, after) = notes.oldest_doubt(7).expect("in doubt");
    notes
        .close(7, (&before, &after), Some("it changed".to_owned()))
        .expect("is written");
    let changed = notes.generation(7).expect("known");
    assert_eq!((changed.number, changed.cause.as_str()), (20, "it changed"));
    assert!(
        !notes.has_truncate(7, &[100].into()),
        "the settled reading has it"
    );
    notes.retain(&BTreeSet::new());
    assert!(notes.generation(7).is_none());
    assert!(!folder.path().join("7.json").exists());
}

#[test]
fn rows_read_before_or_after_a_settled_reading_without_a_change_are_of_its_generation() {
    let folder = tempfile::tempdir().expect("a folder");
    let notes = Notes::new(folder.path().to_owned());
    notes.see([(7, sighting(20, 1))]).expect("is written");
    let storage = |file| sighting(0, file).storage;
    assert_eq!(notes.generation_at(7, Lsn(15), &storage(1)), 20);
    assert_eq!(notes.generation_at(7, Lsn(25), &storage(1)), 25);
    assert_eq!(notes.generation_at(7, Lsn(15), &storage(2)), 15);
}

#[test]
fn a_damaged_note_is_as_none() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("7.json"), "{").expect("is written");
    let notes = Notes::new(folder.path().to_owned());
    notes.see([(7, sighting(20, 1))]).expect("is written");
    assert_eq!(notes.generation(7).expect("known").number, 20);
}

#[test]
fn many_readings_are_written_together_and_outlive_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let notes = Notes::new(folder.path().join("tables"));
    let all = 1..=2 * TOGETHER as u32;
    let seen = |file| {
        all.clone()
            .map(move |oid| (oid, sighting(10 * u64::from(file), file)))
    };
    notes.see(seen(1)).expect("is written");
    notes.see(seen(2)).expect("is written");
    notes.see([(7, sighting(30, 3))]).expect("is written");
    let notes = Notes::new(folder.path().join("tables"));
    notes.see(seen(2)).expect("is read");
    for oid in all {
        assert_eq!(notes.generation(oid).expect("known").number, 10, "{oid}");
        let doubts = notes.lock()[&oid].sightings.len();
        assert_eq!(doubts, if oid == 7 { 3 } else { 2 }, "{oid}");
    }
    let files = std::fs::read_dir(folder.path().join("tables")).expect("a folder");
    let names = files.map(|file| file.expect("a file").file_name());
    assert!(
        names
            .into_iter()
            .all(|name| name.to_string_lossy().ends_with(".json"))
    );
}
