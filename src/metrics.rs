//! Every metric and label name, once.
//!
//! Invariant: `/metrics` is a view of the [`Status`] and of nothing else, made anew for every
//! scrape: a table that is gone leaves no series behind, and both always agree.

use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};
use metrics_exporter_prometheus::PrometheusBuilder;

use crate::admin::status::{SinkStatus, Status, TableStatus};

const BUILD: &str = "cdc_build_info";
const UPTIME: &str = "cdc_uptime_seconds";
const READY: &str = "cdc_ready";
const PIPELINE_STATE: &str = "cdc_pipeline_state";
const SOURCE_STATE: &str = "cdc_source_state";
const SOURCE_LAG_BYTES: &str = "cdc_source_lag_bytes";
const SOURCE_LAG_SECONDS: &str = "cdc_source_lag_seconds";
const JOURNAL_BYTES: &str = "cdc_journal_bytes";
const JOURNAL_LAST_SEQ: &str = "cdc_journal_last_seq";
const SINK_STATE: &str = "cdc_sink_state";
const SINK_LAG_BYTES: &str = "cdc_sink_lag_bytes";
const SINK_LAG_SECONDS: &str = "cdc_sink_lag_seconds";
const SINK_CHECKPOINT_SEQ: &str = "cdc_sink_checkpoint_seq";
const SINK_COMMITS: &str = "cdc_sink_commits_total";
const ROWS: &str = "cdc_rows_total";
const TABLE_STATE: &str = "cdc_table_state";
const SNAPSHOT_ROWS: &str = "cdc_snapshot_rows";
const SNAPSHOT_ROWS_EXPECTED: &str = "cdc_snapshot_rows_expected";
const SNAPSHOT_BYTES: &str = "cdc_snapshot_bytes";
const SNAPSHOT_BYTES_EXPECTED: &str = "cdc_snapshot_bytes_expected";

/// The status in Prometheus' text format.
pub fn render(status: &Status) -> String {
    let recorder = PrometheusBuilder::new()
        .add_global_label("pipeline", &status.name)
        .build_recorder();
    metrics::with_local_recorder(&recorder, || {
        describe();
        pipeline(status);
        for sink in &status.sinks {
            self::sink(sink);
        }
    });
    recorder.handle().render()
}

fn describe() {
    describe_gauge!(BUILD, "Always 1; the version is a label");
    describe_gauge!(UPTIME, Unit::Seconds, "Since the daemon started");
    describe_gauge!(
        READY,
        "1 when source, sinks and tables all follow, as /readyz says"
    );
    describe_gauge!(PIPELINE_STATE, "1 for the state that the pipeline is in");
    describe_gauge!(SOURCE_STATE, "1 for the state that the source is in");
    describe_gauge!(
        SOURCE_LAG_BYTES,
        Unit::Bytes,
        "Log of the source that is not read yet"
    );
    describe_gauge!(
        SOURCE_LAG_SECONDS,
        Unit::Seconds,
        "Age of the last transaction read, 0 when all is read"
    );
    describe_gauge!(JOURNAL_BYTES, Unit::Bytes, "The journal on disk");
    describe_gauge!(JOURNAL_LAST_SEQ, "Last row change on disk");
    describe_gauge!(SINK_STATE, "1 for the state that the sink is in");
    describe_gauge!(
        SINK_LAG_BYTES,
        Unit::Bytes,
        "Log of the source that is read and not in the sink"
    );
    describe_gauge!(
        SINK_LAG_SECONDS,
        Unit::Seconds,
        "Age of the oldest transaction that is not in the sink"
    );
    describe_gauge!(
        SINK_CHECKPOINT_SEQ,
        "Last row change that is durable in the sink"
    );
    describe_counter!(SINK_COMMITS, "Commits since the daemon started");
    describe_counter!(ROWS, "Row changes applied since the daemon started");
    describe_gauge!(TABLE_STATE, "1 for the state that the table is in");
    describe_gauge!(SNAPSHOT_ROWS, "Rows copied, of tables on their way in");
    describe_gauge!(
        SNAPSHOT_ROWS_EXPECTED,
        "Rows to copy, by the source's statistics"
    );
    describe_gauge!(
        SNAPSHOT_BYTES,
        Unit::Bytes,
        "Bytes copied, by the source's statistics"
    );
    describe_gauge!(
        SNAPSHOT_BYTES_EXPECTED,
        Unit::Bytes,
        "Bytes to copy, by the source's statistics"
    );
}

#[expect(
    clippy::cast_precision_loss,
    reason = "Prometheus has no other numbers than f64"
)]
fn number(count: u64) -> f64 {
    count as f64
}

/// A state's name in the status' JSON, so that both say the same word.
fn word(state: impl serde::Serialize) -> String {
    match serde_json::to_value(state) {
        Ok(serde_json::Value::String(word)) => word,
        _ => "unknown".to_owned(),
    }
}

fn pipeline(status: &Status) {
    gauge!(BUILD, "version" => status.version.clone()).set(1.0);
    gauge!(UPTIME).set(number(status.uptime_seconds));
    gauge!(READY).set(if status.is_ready() { 1.0 } else { 0.0 });
    gauge!(PIPELINE_STATE, "state" => word(status.state)).set(1.0);
    let source = &status.source;
    gauge!(SOURCE_STATE, "type" => source.kind.clone(), "state" => word(source.state)).set(1.0);
    if let Some(bytes) = source.lag_bytes {
        gauge!(SOURCE_LAG_BYTES).set(number(bytes));
    }
    if let Some(seconds) = source.lag_seconds {
        gauge!(SOURCE_LAG_SECONDS).set(seconds);
    }
    gauge!(JOURNAL_BYTES).set(number(status.journal.bytes));
    gauge!(JOURNAL_LAST_SEQ).set(number(status.journal.last_seq));
}

fn sink(sink: &SinkStatus) {
    let labels = [("sink", sink.name.clone()), ("type", sink.kind.clone())];
    gauge!(SINK_STATE, "sink" => sink.name.clone(), "type" => sink.kind.clone(), "state" => word(sink.state)).set(1.0);
    if let Some(bytes) = sink.lag_bytes {
        gauge!(SINK_LAG_BYTES, &labels).set(number(bytes));
    }
    if let Some(seconds) = sink.lag_seconds {
        gauge!(SINK_LAG_SECONDS, &labels).set(seconds);
    }
    if let Some(checkpoint) = &sink.checkpoint {
        gauge!(SINK_CHECKPOINT_SEQ, &labels).set(number(checkpoint.seq));
    }
    counter!(SINK_COMMITS, &labels).absolute(sink.commits);
    counter!(ROWS, &labels).absolute(sink.rows_applied);
    for table in &sink.tables {
        self::table(&sink.name, table);
    }
}

fn table(sink: &str, table: &TableStatus) {
    let labels = [
        ("sink", sink.to_owned()),
        ("schema", table.schema.clone()),
        ("table", table.table.clone()),
    ];
    gauge!(
        TABLE_STATE,
        "sink" => sink.to_owned(),
        "schema" => table.schema.clone(),
        "table" => table.table.clone(),
        "state" => word(table.state)
    )
    .set(1.0);
    let figures = [
        (SNAPSHOT_ROWS, table.percent.map(|_| table.rows_done)),
        (SNAPSHOT_ROWS_EXPECTED, table.rows_total),
        (SNAPSHOT_BYTES, table.percent.map(|_| table.bytes_done)),
        (SNAPSHOT_BYTES_EXPECTED, table.bytes_total),
    ];
    for (name, figure) in figures {
        if let Some(figure) = figure {
            gauge!(name, &labels).set(number(figure));
        }
    }
}
