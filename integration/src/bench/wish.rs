//! What is to be measured: the arguments of the program `bench`.

use std::path::PathBuf;

use super::target::Target;
use crate::mysql::Flavor;

/// How the program is used.
pub const USAGE: &str = "bench [--rows N] [--pairs N] [--into blackhole,parquet,duckdb,kafka] [--postgres VERSION] \
    [--mariadb] [--rates 100,1000,5000] [--seconds N] [--only AXIS] [--base COMMIT|FILE] [--results FOLDER] \
    [W1|W2|W3|W4|latency|growth|idle|huge]...";

/// Something to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Copies PostgreSQL's existing rows.
    W1,
    /// Drains what a slot of PostgreSQL has kept.
    W2,
    /// Drains a binlog.
    W3,
    /// Copies MySQL's existing rows.
    W4,
    /// From commit to visible.
    Latency,
    /// The cost of a change against tables, columns, widths, transactions, targets and sinks.
    Growth,
    /// A pipeline without work.
    Idle,
    /// One transaction that is larger than the memory it may take.
    Huge,
}

/// What is to be measured, and how often.
#[derive(Debug, Clone)]
pub struct Wish {
    /// What.
    pub works: Vec<Work>,
    /// How many rows W1 and W4 copy; W2 and W3 drain about half as many changes, huge takes twice as many.
    pub rows: u64,
    /// How many rounds.
    pub pairs: u32,
    /// What the daemon writes into.
    pub into: Vec<Target>,
    /// PostgreSQL's major version.
    pub postgres: u32,
    /// Whose server W3 and W4 read.
    pub flavor: Flavor,
    /// Transactions a second at which the latency is measured.
    pub rates: Vec<u32>,
    /// How long each rate is kept up, and how long an idle pipeline is looked at.
    pub seconds: u64,
    /// What names the shapes of growth that are measured; `None`: all.
    pub only: Option<String>,
    /// A commit or a file of an earlier run to compare with.
    pub base: Option<String>,
    /// Where the figures are kept.
    pub results: PathBuf,
}

impl Default for Wish {
    fn default() -> Self {
        Self {
            works: vec![Work::W1, Work::W2, Work::W3, Work::W4],
            rows: 5_000_000,
            pairs: 3,
            into: Target::ALL.to_vec(),
            postgres: 18,
            flavor: Flavor::MySql,
            rates: vec![100, 1_000, 5_000],
            seconds: 20,
            only: None,
            base: None,
            results: results(),
        }
    }
}

impl Wish {
    /// Reads the arguments, without the program's name.
    ///
    /// # Errors
    ///
    /// The usage.
    pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let mut wish = Self::default();
        let mut works = Vec::new();
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| USAGE.to_owned());
            match argument.as_str() {
                "--rows" => wish.rows = number(&value()?)?,
                "--pairs" => wish.pairs = number(&value()?)?,
                "--postgres" => wish.postgres = number(&value()?)?,
                "--seconds" => wish.seconds = number(&value()?)?,
                "--mariadb" => wish.flavor = Flavor::MariaDb,
                "--rates" => wish.rates = list(&value()?, number)?,
                "--into" => wish.into = list(&value()?, Target::named)?,
                "--only" => wish.only = Some(value()?),
                "--base" => wish.base = Some(value()?),
                "--results" => wish.results = value()?.into(),
                work => works.push(named(work)?),
            }
        }
        if !works.is_empty() {
            wish.works = works;
        }
        Ok(wish)
    }
}

fn named(work: &str) -> Result<Work, String> {
    Ok(match work {
        "W1" => Work::W1,
        "W2" => Work::W2,
        "W3" => Work::W3,
        "W4" => Work::W4,
        "latency" => Work::Latency,
        "growth" => Work::Growth,
        "idle" => Work::Idle,
        "huge" => Work::Huge,
        _ => return Err(USAGE.to_owned()),
    })
}

fn number<N: std::str::FromStr>(text: &str) -> Result<N, String> {
    text.parse().map_err(|_| USAGE.to_owned())
}

fn list<T>(text: &str, one: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    text.split(',').map(one).collect()
}

/// Outside the checkout, beside the servers that were fetched.
fn results() -> PathBuf {
    let home = std::env::var_os("HOME").unwrap_or_default();
    let cache = std::env::var_os("CDC_CACHE");
    cache
        .map_or_else(|| PathBuf::from(home).join(".cache/cdc"), PathBuf::from)
        .join("bench")
}
