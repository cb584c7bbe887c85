//! `cdc verify`: source against sinks, by content.

use std::process::ExitCode;

use cdc_api::{Result, TableName};

use super::output::{self, Columns, Tone};
use super::{Context, format};
use crate::admin::control::Verdict;
use crate::admin::serve::SnapshotRequest;

/// Compare source and sinks by content, row by row, at one commit each.
///
/// Reads every row of the tables from the source; replication goes on meanwhile. Ends with 1 when
/// anything differs or could not be compared.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  cdc verify\n  cdc verify 'public.*' --sink warehouse --json")]
pub(super) struct Args {
    /// Table patterns as in the configuration; all tables where none is given.
    #[arg(value_name = "TABLE")]
    tables: Vec<String>,
    /// Only this sink.
    #[arg(long, value_name = "NAME")]
    sink: Option<String>,
    /// A JSON array of {sink, schema, table, rows, missing, extra, examples, error}.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    let request = SnapshotRequest {
        tables: args.tables.clone(),
        sink: args.sink.clone(),
    };
    let verdicts = context.daemon().await?.verify(&request).await?;
    if args.json {
        let text = serde_json::to_vec_pretty(&verdicts).map_err(super::status::not_json)?;
        output::data(&[text.as_slice(), b"\n"].concat())?;
    } else {
        output::data(report(&verdicts, output::colour_on_stdout()).as_bytes())?;
    }
    Ok(if verdicts.iter().all(Verdict::is_equal) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn report(verdicts: &[Verdict], colour: bool) -> String {
    let headings = ["SINK", "TABLE", "ROWS", "MISSING", "EXTRA", "VERDICT"];
    let mut columns = Columns::new(&headings, colour).right(&[2, 3, 4]);
    let mut details = String::new();
    for verdict in verdicts {
        let name = TableName::new(&verdict.schema, &verdict.table).to_string();
        let (word, tone) = match (&verdict.error, verdict.is_equal()) {
            (Some(_), _) => ("not compared", Tone::Bad),
            (None, true) => ("equal", Tone::Good),
            (None, false) => ("different", Tone::Bad),
        };
        if let Some(problem) = &verdict.error {
            details.push_str(&format!(
                "\n{name} in {}: {}\n",
                verdict.sink, problem.message
            ));
            if let Some(hint) = &problem.hint {
                details.push_str(&format!("  hint: {hint}\n"));
            }
        }
        if !verdict.examples.is_empty() {
            details.push_str(&format!("\n{name} in {} differs in:\n", verdict.sink));
            for example in &verdict.examples {
                details.push_str(&format!("  {}\n", output::escaped(example)));
            }
        }
        columns.row(vec![
            (verdict.sink.clone(), Tone::Plain),
            (name, Tone::Plain),
            (format::count(verdict.rows), Tone::Plain),
            (format::count(verdict.missing), Tone::Plain),
            (format::count(verdict.extra), Tone::Plain),
            (word.to_owned(), tone),
        ]);
    }
    columns.render() + &details
}

#[cfg(test)]
mod tests {
    use cdc_api::{Difference, Error};

    use super::*;

    #[test]
    fn verdicts_name_what_differs_and_what_could_not_be_compared() {
        let difference = |rows, missing, extra, examples: &[&str]| Difference {
            rows,
            missing,
            extra,
            examples: examples.iter().map(ToString::to_string).collect(),
        };
        let verdicts = [
            Verdict::compared(
                "warehouse",
                "public",
                "orders",
                difference(1_200_345, 0, 0, &[]),
            ),
            Verdict::compared(
                "warehouse",
                "public",
                "Items",
                difference(12, 1, 2, &["id=7", "id=9"]),
            ),
            Verdict::failed(
                "lake",
                "public",
                "orders",
                &Error::unsupported("this sink cannot compare content").hint("use a warehouse"),
            ),
        ];
        insta::assert_snapshot!(report(&verdicts, false));
    }
}
