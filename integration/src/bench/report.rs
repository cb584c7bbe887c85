//! The figures of a run: a table for people, a file that keeps every single run, and the comparison of two files.
//!
//! Invariant: whatever is printed follows from the file alone.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::machine;
use super::wish::Wish;
use crate::measure::{Cost, median};

/// All figures of one run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// The checkout's commit; a plus sign at its end says that there were changes beside it.
    pub commit: String,
    /// When it began, in seconds since the Unix epoch.
    pub began: u64,
    /// Processor, cores and memory.
    pub machine: String,
    /// Threads that ran or wanted to when it began, and when it ended.
    pub load: (f64, f64),
    /// Of each work.
    pub figures: Vec<Figure>,
    /// From commit to visible.
    pub latencies: Vec<Latency>,
}

/// One work, done by several tools.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Figure {
    /// What was done.
    pub work: String,
    /// Rows copied or changes drained.
    pub rows: u64,
    /// The tools; the first is the floor.
    pub lines: Vec<Line>,
}

/// One tool.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Line {
    /// Its name.
    pub tool: String,
    /// Round by round.
    pub costs: Vec<Cost>,
}

/// From the moment at which a commit was asked for to the moment at which a reader had its row, in milliseconds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Latency {
    /// What the daemon writes into.
    pub target: String,
    /// The work.
    pub work: String,
    /// Transactions that were waited for.
    pub transactions: usize,
    /// Half of them were faster.
    pub p50: f64,
    /// All but a hundredth.
    pub p99: f64,
    /// All but a thousandth.
    pub p999: f64,
    /// The slowest.
    pub max: f64,
    /// Of all that, until the source had answered the commit: all but a hundredth.
    #[serde(default)]
    pub source_p99: f64,
}

impl Report {
    pub(super) fn begin(_: &Wish) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            commit: commit(),
            began: now.map_or(0, |since| since.as_secs()),
            machine: machine::kind(),
            load: (machine::load(), 0.0),
            figures: Vec::new(),
            latencies: Vec::new(),
        }
    }

    pub(super) fn end(&mut self) {
        self.load.1 = machine::load();
    }

    /// Keeps it as JSON in `folder` and returns the file.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn keep(&self, folder: &Path) -> Result<PathBuf, String> {
        let short = self.commit.chars().take(12).collect::<String>();
        let path = folder.join(format!("{}-{short}.json", self.began));
        let text = serde_json::to_string_pretty(self).map_err(|e| e.to_string())?;
        fs::create_dir_all(folder)
            .and_then(|()| fs::write(&path, text))
            .map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(path)
    }

    /// An earlier report: a file, or the latest that is kept of a commit.
    ///
    /// # Errors
    ///
    /// When there is none, with what to do.
    pub fn find(base: &str, folder: &Path) -> Result<Self, String> {
        let path = if Path::new(base).is_file() {
            PathBuf::from(base)
        } else {
            latest(base, folder)?
        };
        let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        serde_json::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))
    }

    /// The table, beside an earlier one's figures where it has the same work and tool.
    #[must_use]
    pub fn table(&self, base: Option<&Self>) -> String {
        let mut text = format!(
            "{}; load {:.1} at the beginning, {:.1} at the end; commit {}\n",
            self.machine, self.load.0, self.load.1, self.commit
        );
        if let Some(base) = base {
            let _ = writeln!(
                text,
                "base: commit {}, {}; load {:.1} and {:.1}",
                base.commit, base.machine, base.load.0, base.load.1
            );
        }
        text + &self.since((0, 0), base)
    }

    /// Of that table the lines after so many figures and latencies.
    #[must_use]
    pub fn since(&self, told: (usize, usize), base: Option<&Self>) -> String {
        let mut text = String::new();
        for figure in self.figures.iter().skip(told.0) {
            let earlier =
                base.and_then(|base| base.figures.iter().find(|it| it.work == figure.work));
            figure.print(earlier, &mut text);
        }
        if self.latencies.len() > told.1 {
            let _ = writeln!(
                text,
                "\n{:<44} {:<12} {:>9} {:>9} {:>9} {:>9} {:>9} {:>12}",
                "commit to visible, ms", "sink", "tx", "p50", "p99", "p99.9", "max", "source's p99"
            );
        }
        for it in self.latencies.iter().skip(told.1) {
            let _ = writeln!(
                text,
                "{:<44} {:<12} {:>9} {:>9.1} {:>9.1} {:>9.1} {:>9.1} {:>12.1}",
                it.work, it.target, it.transactions, it.p50, it.p99, it.p999, it.max, it.source_p99
            );
        }
        text
    }
}

impl Figure {
    fn print(&self, base: Option<&Self>, text: &mut String) {
        let _ = write!(
            text,
            "\n{:<44} {:>8} {:>7} {:>10} {:>11} {:>11} {:>8}",
            self.work, "s", "ratio", "rows/s", "µs CPU/row", "server µs", "peak MB"
        );
        if base.is_some() {
            let _ = write!(text, " {:>11} {:>11}", "base ratio", "base µs/row");
        }
        text.push('\n');
        for line in &self.lines {
            let wall = line.median(|cost| cost.wall_seconds);
            let _ = write!(
                text,
                "  {:<42} {wall:>8.2} {:>7.2} {:>10.0} {:>11.3} {:>11.3} {:>8}",
                line.tool,
                self.ratio(line),
                self.rows as f64 / wall,
                self.micros(line),
                line.median(|cost| cost.server_cpu_seconds) * 1e6 / self.rows.max(1) as f64,
                line.median(|cost| cost.peak_bytes as f64) as u64 >> 20
            );
            let earlier = base.and_then(|base| {
                let line = base.lines.iter().find(|it| it.tool == line.tool)?;
                Some((base.ratio(line), base.micros(line)))
            });
            if let Some((ratio, micros)) = earlier {
                let _ = write!(text, " {ratio:>11.2} {micros:>11.3}");
            }
            text.push('\n');
        }
    }

    /// How many times as long as the floor, round by round.
    fn ratio(&self, line: &Line) -> f64 {
        let floor = self.lines.first().map_or(&[][..], |line| &line.costs);
        let rounds = line.costs.iter().zip(floor);
        median(rounds.map(|(ours, floor)| ours.wall_seconds / floor.wall_seconds))
    }

    fn micros(&self, line: &Line) -> f64 {
        line.median(|cost| cost.micros_per_row(self.rows))
    }
}

impl Line {
    fn median(&self, figure: impl Fn(&Cost) -> f64) -> f64 {
        median(self.costs.iter().map(figure))
    }
}

impl Latency {
    /// Of milliseconds: until a reader saw each transaction, and until the source had answered it.
    pub(super) fn of(work: &str, target: &str, seen: Vec<f64>, answered: Vec<f64>) -> Self {
        let (seen, answered) = (sorted(seen), sorted(answered));
        Self {
            target: target.to_owned(),
            work: work.to_owned(),
            transactions: seen.len(),
            p50: quantile(&seen, 0.5),
            p99: quantile(&seen, 0.99),
            p999: quantile(&seen, 0.999),
            max: quantile(&seen, 1.0),
            source_p99: quantile(&answered, 0.99),
        }
    }
}

fn sorted(mut millis: Vec<f64>) -> Vec<f64> {
    millis.sort_by(f64::total_cmp);
    millis
}

/// That share of the values, which are in order, is smaller.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let index = (sorted.len() as f64 * share) as usize;
    let last = sorted.len().saturating_sub(1);
    sorted.get(index.min(last)).copied().unwrap_or_default()
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .args(["-C", env!("CARGO_MANIFEST_DIR")])
        .args(arguments)
        .output()
        .ok()?;
    let said = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !said.is_empty()).then_some(said)
}

fn commit() -> String {
    let mut commit = git(&["rev-parse", "HEAD"]).unwrap_or_else(|| "unknown".to_owned());
    if git(&["status", "--porcelain", "--untracked-files=no"]).is_some() {
        commit.push('+');
    }
    commit
}

fn latest(base: &str, folder: &Path) -> Result<PathBuf, String> {
    let commit = git(&["rev-parse", "--verify", &format!("{base}^{{commit}}")])
        .ok_or_else(|| format!("{base} is neither a file nor a commit"))?;
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let reports = entries.filter_map(|entry| {
        let text = fs::read_to_string(entry.path()).ok()?;
        let report: Report = serde_json::from_str(&text).ok()?;
        (report.commit == commit).then(|| (report.began, entry.path()))
    });
    let latest = reports.max_by_key(|(began, _)| *began);
    latest.map(|(_, path)| path).ok_or_else(|| {
        format!(
            "no figures of {base} are kept in {}: git worktree add /tmp/base {base} && make -C /tmp/base bench",
            folder.display()
        )
    })
}
