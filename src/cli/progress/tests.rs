//! A status of every kind of state, as people see it.

use cdc_api::{Checkpoint, Error, Position};

use super::*;
use crate::admin::status::{JournalStatus, SourceStatus};

fn table(name: &str, state: TableState) -> TableStatus {
    TableStatus {
        id: name.len() as u64,
        schema: "public".to_owned(),
        table: name.to_owned(),
        state,
        rows_done: 0,
        rows_total: None,
        bytes_done: 0,
        bytes_total: None,
        percent: None,
        rate_rows_per_second: None,
        seconds_left: None,
        error: None,
    }
}

pub(crate) fn status() -> Status {
    let copying = TableStatus {
        rows_done: 1_200_000,
        rows_total: Some(5_000_000),
        bytes_done: 132 << 20,
        bytes_total: Some(550 << 20),
        percent: Some(24.0),
        rate_rows_per_second: Some(812_345.6),
        seconds_left: Some(4),
        ..table("order lines", TableState::Copying)
    };
    let failed = TableStatus {
        error: Some(
            (&Error::unsupported("the type of column `n` has changed from integer to text")
                .hint("cdc snapshot public.odd"))
                .into(),
        ),
        ..table("odd", TableState::Failed)
    };
    let sink = SinkStatus {
        name: "warehouse".to_owned(),
        kind: "duckdb".to_owned(),
        state: SinkState::Running,
        lag_bytes: Some(4096),
        lag_seconds: Some(0.25),
        checkpoint: Some(
            (&Checkpoint {
                position: Position::new("{\"v\":1,\"lsn\":\"0/16B3748\"}"),
                seq: 123_456,
                offset: 23_803_720,
                commit_time: 1_763_712_000_123_456,
            })
                .into(),
        ),
        rows_applied: 123_000,
        commits: 77,
        error: None,
        tables: vec![table("customers", TableState::Streaming), copying, failed],
    };
    let retrying = SinkStatus {
        name: "lake".to_owned(),
        kind: "parquet".to_owned(),
        state: SinkState::Retrying,
        lag_bytes: None,
        lag_seconds: None,
        checkpoint: None,
        rows_applied: 0,
        commits: 0,
        error: Some((&Error::transient("no space left on device").hint("make room")).into()),
        tables: Vec::new(),
    };
    Status {
        name: "shop".to_owned(),
        state: PipelineState::Running,
        version: "0.1.0".to_owned(),
        uptime_seconds: 3 * 3600 + 125,
        source: SourceStatus {
            kind: "postgres".to_owned(),
            state: SourceState::Streaming,
            identity: Some("PostgreSQL 15.18, database shop".to_owned()),
            lag_bytes: Some(0),
            lag_seconds: Some(0.0),
            position: None,
            error: None,
        },
        journal: JournalStatus {
            bytes: 12_900_000,
            oldest_seq: 1,
            last_seq: 123_500,
        },
        sinks: vec![sink, retrying],
    }
}

#[test]
fn a_report_shows_states_progress_and_remedies() {
    insta::assert_snapshot!(report(&status(), false));
}

#[test]
fn colour_is_there_only_when_asked_for() {
    assert!(report(&status(), true).contains('\u{1b}'));
    assert!(!report(&status(), false).contains('\u{1b}'));
}

#[test]
fn plain_lines_tell_changes_only() {
    let mut lines = Lines::default();
    let mut status = status();
    insta::assert_snapshot!(lines.changes(&status).join("\n"));
    assert!(lines.changes(&status).is_empty());
    status.sinks[0].tables[1].rows_done += 1000;
    assert_eq!(lines.changes(&status).len(), 1);
}

#[test]
fn json_keeps_its_shape() {
    let text = serde_json::to_string_pretty(&status()).expect("a status is JSON");
    insta::assert_snapshot!(text);
    let back: Status = serde_json::from_str(&text).expect("and back");
    assert_eq!(back, status());
}

#[test]
fn metrics_follow_the_status() {
    let text = crate::metrics::render(&status());
    let mut lines: Vec<_> = text.lines().filter(|line| !line.is_empty()).collect();
    lines.sort_unstable();
    insta::assert_snapshot!(lines.join("\n"));
}
