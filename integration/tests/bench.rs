//! `make bench` on sizes that run in seconds: every work comes to its end, into every sink, and its figures are kept
//! and can be compared with. Nothing is said about time.

use std::path::Path;
use std::process::Command;

use cdc_integration::bench::report::{Figure, Report};

/// Runs the program and returns what it printed and what it kept.
fn bench(results: &Path, arguments: &[&str]) -> (String, Report) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bench"));
    command.args(["--pairs", "1", "--results"]).arg(results);
    let output = command.args(arguments).output().expect("the program runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let file = said.lines().last().expect("it says where the figures are");
    let report = Report::find(file, results).expect("they are there");
    (said, report)
}

fn tools(figure: &Figure) -> Vec<&str> {
    figure.lines.iter().map(|line| line.tool.as_str()).collect()
}

const OURS: [&str; 4] = [
    "cdc, blackhole",
    "cdc, parquet",
    "cdc, duckdb",
    "cdc, kafka",
];

#[test]
fn every_sink_is_measured_beside_the_floor() {
    let results = tempfile::tempdir().expect("a folder");
    let works = ["--rows", "50000", "W1", "W2", "W3", "W4"];
    let (said, report) = bench(results.path(), &works);
    let figures: Vec<_> = report
        .figures
        .iter()
        .map(|it| (it.rows, tools(it)))
        .collect();
    let with = |floors: &[&'static str]| [floors, &OURS].concat();
    let gulps = ["bare reader in gulps, binary", "pg_recvlogical, text"];
    let alone = vec!["librdkafka alone, the same into Kafka"];
    assert_eq!(
        figures,
        [
            (50_000, with(&["COPY, binary, to nothing"])),
            (24_000, [with(&gulps), alone.clone()].concat()),
            (
                21_000,
                [with(&["mysqlbinlog --raw, remote"]), alone].concat(),
            ),
            (50_000, with(&["SELECT to nothing"])),
        ]
    );
    for line in report.figures.iter().flat_map(|figure| &figure.lines) {
        let cost = line.costs.first().expect("one round");
        assert!(
            cost.wall_seconds > 0.0 && cost.cpu_seconds > 0.0,
            "{line:?}"
        );
        assert!(cost.peak_bytes > 1 << 20, "{line:?}");
        assert!(said.contains(&line.tool), "{said}");
    }
}

#[test]
fn figures_are_compared_with_those_of_a_file_or_a_commit() {
    let results = tempfile::tempdir().expect("a folder");
    let works = ["--rows", "10000", "--into", "blackhole", "W1"];
    let (_, first) = bench(results.path(), &works);
    let commit = first.commit.trim_end_matches('+');
    let clean = Report {
        commit: commit.to_owned(),
        ..first.clone()
    };
    let file = clean.keep(results.path()).expect("can be written");
    for base in [commit, &file.display().to_string()] {
        let (said, _) = bench(results.path(), &[&works[..], &["--base", base]].concat());
        assert!(said.contains("base ratio"), "{said}");
    }
    let unknown =
        Report::find(commit, Path::new("/nonexistent")).expect_err("nothing is kept there");
    assert!(unknown.contains("git worktree add"), "{unknown}");
}

#[test]
fn the_other_works_come_to_their_end() {
    let results = tempfile::tempdir().expect("a folder");
    let works = ["--rows", "20000", "--seconds", "2", "--rates", "100"];
    let works = [&works[..], &["latency", "idle", "huge", "growth"]].concat();
    let (_, report) = bench(results.path(), &works);
    for sink in ["parquet", "duckdb", "kafka"] {
        let of_sink = report.latencies.iter().filter(|it| it.target == sink);
        let latencies: Vec<_> = of_sink.collect();
        assert_eq!(latencies.len(), 2, "{latencies:?}");
        assert!(latencies.iter().all(|it| it.p50 > 0.0), "{latencies:?}");
    }
    let works: Vec<_> = report.figures.iter().map(|it| it.work.as_str()).collect();
    for part in [
        "idle for 2 s",
        "one transaction",
        "100 tables",
        "500 columns",
        "4 sinks",
    ] {
        assert!(works.iter().any(|work| work.contains(part)), "{works:?}");
    }
}
