//! The status in words, tables and progress lines.

use super::format;
use super::output::{Columns, Tone, painted};
use crate::admin::status::{
    PipelineState, Problem, SinkState, SinkStatus, SourceState, Status, TableState, TableStatus,
};

fn tone_of_sink(state: SinkState) -> Tone {
    match state {
        SinkState::Running => Tone::Good,
        SinkState::Starting | SinkState::Paused => Tone::Notice,
        SinkState::Retrying | SinkState::Failed => Tone::Bad,
    }
}

fn tone_of_table(state: TableState) -> Tone {
    match state {
        TableState::Streaming => Tone::Good,
        TableState::Pending | TableState::Copying | TableState::CatchingUp => Tone::Notice,
        TableState::Failed => Tone::Bad,
    }
}

/// All of a status, for people.
pub(super) fn report(status: &Status, colour: bool) -> String {
    let mut text = heading(status, colour);
    text.push('\n');
    text.push_str(&sinks(status, colour));
    if status.sinks.iter().any(|sink| !sink.tables.is_empty()) {
        text.push('\n');
        text.push_str(&tables(&status.sinks, colour, |_| true));
    }
    text.push_str(&problems(status, colour));
    text
}

fn heading(status: &Status, colour: bool) -> String {
    let tone = match status.state {
        PipelineState::Running => Tone::Good,
        PipelineState::Failed => Tone::Bad,
        _ => Tone::Notice,
    };
    let source = &status.source;
    let source_tone = match source.state {
        SourceState::Streaming => Tone::Good,
        SourceState::Retrying | SourceState::Failed => Tone::Bad,
        _ => Tone::Notice,
    };
    let mut text = format!(
        "{}  {}  up {}  cdc {}\nsource   {}  {}  {}",
        status.name,
        painted(&status.state.to_string(), tone, colour),
        format::seconds(status.uptime_seconds),
        status.version,
        source.kind,
        painted(&source.state.to_string(), source_tone, colour),
        lag(source.lag_bytes, source.lag_seconds),
    );
    if let Some(identity) = &source.identity {
        text.push_str(&format!("  {identity}"));
    }
    text.push_str(&format!(
        "\njournal  {} on disk, changes {} to {}\n",
        format::bytes(status.journal.bytes),
        format::count(status.journal.oldest_seq),
        format::count(status.journal.last_seq),
    ));
    text
}

/// How far behind, in what is known of bytes and seconds.
fn lag(bytes: Option<u64>, seconds: Option<f64>) -> String {
    match (bytes, seconds) {
        (None, None) => "lag unknown".to_owned(),
        (Some(bytes), None) => format!("{} behind", format::bytes(bytes)),
        (None, Some(seconds)) => format!("{} behind", format::lag(seconds)),
        (Some(bytes), Some(seconds)) => {
            format!("{}, {} behind", format::bytes(bytes), format::lag(seconds))
        }
    }
}

fn sinks(status: &Status, colour: bool) -> String {
    let headings = [
        "SINK",
        "TYPE",
        "STATE",
        "LAG",
        "CHECKPOINT",
        "COMMITTED AT",
        "ROWS",
        "COMMITS",
    ];
    let mut columns = Columns::new(&headings, colour).right(&[4, 6, 7]);
    for sink in &status.sinks {
        let checkpoint = sink.checkpoint.as_ref();
        columns.row(vec![
            (sink.name.clone(), Tone::Plain),
            (sink.kind.clone(), Tone::Plain),
            (sink.state.to_string(), tone_of_sink(sink.state)),
            (lag(sink.lag_bytes, sink.lag_seconds), Tone::Plain),
            (
                checkpoint.map_or("-".to_owned(), |c| format::count(c.seq)),
                Tone::Plain,
            ),
            (
                checkpoint
                    .and_then(|checkpoint| checkpoint.commit_time.clone())
                    .unwrap_or_else(|| "-".to_owned()),
                Tone::Plain,
            ),
            (format::count(sink.rows_applied), Tone::Plain),
            (format::count(sink.commits), Tone::Plain),
        ]);
    }
    columns.render()
}

/// The tables of some sinks that `shown` picks.
pub(super) fn tables(
    sinks: &[SinkStatus],
    colour: bool,
    shown: impl Fn(&TableStatus) -> bool,
) -> String {
    let mut columns = Columns::new(&["TABLE", "SINK", "STATE", "PROGRESS"], colour);
    for sink in sinks {
        for table in sink.tables.iter().filter(|table| shown(table)) {
            columns.row(vec![
                (table.name().to_string(), Tone::Plain),
                (sink.name.clone(), Tone::Plain),
                (table.state.to_string(), tone_of_table(table.state)),
                (progress(table, true), Tone::Plain),
            ]);
        }
    }
    columns.render()
}

/// A copy's progress in one line; empty for a table that is not being copied.
pub(super) fn progress(table: &TableStatus, bar: bool) -> String {
    if !matches!(table.state, TableState::Copying | TableState::CatchingUp) {
        return String::new();
    }
    let mut parts = Vec::new();
    if let Some(percent) = table.percent {
        let figure = format!("{percent:.1} %");
        parts.push(if bar {
            format!("{} {figure}", format::bar(percent))
        } else {
            figure
        });
    }
    parts.push(match table.rows_total {
        Some(total) => format!(
            "{} of about {} rows",
            format::count(table.rows_done),
            format::count(total.max(table.rows_done))
        ),
        None => format!("{} rows", format::count(table.rows_done)),
    });
    if let Some(rate) = table.rate_rows_per_second {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rate is not negative, and the cast saturates"
        )]
        parts.push(format!("{} rows/s", format::count(rate as u64)));
    }
    if let Some(left) = table.seconds_left {
        parts.push(format!("{} left", format::seconds(left)));
    }
    parts.join(", ")
}

/// Whatever has stopped, with its remedy.
pub(super) fn problems(status: &Status, colour: bool) -> String {
    let mut text = String::new();
    let mut add = |whose: String, problem: &Option<Problem>| {
        if let Some(problem) = problem {
            let error = painted("error:", Tone::Bad, colour);
            text.push_str(&format!("\n{error} {whose}: {}\n", problem.message));
            if let Some(hint) = &problem.hint {
                let word = painted("hint:", Tone::Good, colour);
                text.push_str(&format!("{word} {hint}\n"));
            }
        }
    };
    add("source".to_owned(), &status.source.error);
    for sink in &status.sinks {
        add(format!("sink {}", sink.name), &sink.error);
        for table in &sink.tables {
            add(
                format!("table {} in {}", table.name(), sink.name),
                &table.error,
            );
        }
    }
    text
}

/// Progress as plain lines, for logs and pipes: only what has changed since the last call.
#[derive(Default)]
pub(super) struct Lines {
    seen: std::collections::HashMap<(String, u64), (TableState, u64)>,
    state: Option<PipelineState>,
}

impl Lines {
    pub(super) fn changes(&mut self, status: &Status) -> Vec<String> {
        let mut lines = Vec::new();
        if self.state.replace(status.state) != Some(status.state) {
            lines.push(format!("{} is {}", status.name, status.state));
        }
        for sink in &status.sinks {
            for table in &sink.tables {
                let now = (table.state, table.rows_done);
                let key = (sink.name.clone(), table.id);
                if self.seen.insert(key, now) == Some(now) {
                    continue;
                }
                let mut line = format!("{} {} is {}", sink.name, table.name(), table.state);
                let progress = progress(table, false);
                if !progress.is_empty() {
                    line.push_str(&format!(": {progress}"));
                }
                if let Some(problem) = &table.error {
                    line.push_str(&format!(": {}", problem.message));
                    if let Some(hint) = &problem.hint {
                        line.push_str(&format!("; {hint}"));
                    }
                }
                lines.push(line);
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests;
