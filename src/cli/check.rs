//! `cdc check`: the preflight.

use std::process::ExitCode;

use cdc_api::{Finding, Result, Severity};
use serde::Serialize;

use super::output::{self, Columns, Tone, painted};
use super::{Context, log};
use crate::registry;

/// Look for everything that would go wrong later, and how to mend it.
///
/// Asks the source and every sink, changes nothing. Ends with 1 when anything would not work.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  cdc check\n  cdc check --json | jq '.[] | select(.severity != \"ok\")'"
)]
pub(super) struct Args {
    /// A JSON array of {part, severity, subject, message, remedy}; severity is ok, warning or
    /// error.
    #[arg(long)]
    json: bool,
}

/// A finding and whose it is.
#[derive(Serialize)]
pub(super) struct Found {
    /// `source`, or a sink's name.
    part: String,
    #[serde(flatten)]
    finding: Finding,
}

pub(super) async fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    let config = context.config()?;
    log::start(&config.log, "warn")?;
    let source = registry::source(&config)?;
    let mut found = Vec::new();
    add(&mut found, "source", source.check().await);
    for sink in &config.sinks {
        let mut connector = registry::sink(sink, &config.name)?.sink;
        add(&mut found, &sink.name, connector.check().await);
    }
    if args.json {
        let text = serde_json::to_vec_pretty(&found).map_err(super::status::not_json)?;
        output::data(&[text.as_slice(), b"\n"].concat())?;
    } else {
        output::data(report(&found, output::colour_on_stdout()).as_bytes())?;
    }
    Ok(match worst(&found) {
        Some(Severity::Error) => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    })
}

/// Adds one part's findings; a part that cannot be asked is a finding, too.
pub(super) fn add(found: &mut Vec<Found>, part: &str, findings: Result<Vec<Finding>>) {
    let findings = findings.unwrap_or_else(|error| vec![Finding::from_error("connection", &error)]);
    found.extend(findings.into_iter().map(|finding| Found {
        part: part.to_owned(),
        finding,
    }));
}

fn worst(found: &[Found]) -> Option<Severity> {
    found.iter().map(|found| found.finding.severity).max()
}

/// The findings as a table, then the remedies, each whole so that it can be copied.
pub(super) fn report(found: &[Found], colour: bool) -> String {
    let mut columns = Columns::new(&["", "PART", "SUBJECT", "FOUND"], colour);
    for Found { part, finding } in found {
        let (word, tone) = match finding.severity {
            Severity::Ok => ("ok", Tone::Good),
            Severity::Warning => ("warning", Tone::Notice),
            Severity::Error => ("error", Tone::Bad),
        };
        columns.row(vec![
            (word.to_owned(), tone),
            (part.clone(), Tone::Plain),
            (finding.subject.clone(), Tone::Plain),
            (finding.message.clone(), Tone::Plain),
        ]);
    }
    let mut text = columns.render();
    for Found { part, finding } in found {
        if let Some(remedy) = &finding.remedy {
            let heading = format!("{part}: {}", finding.subject);
            text.push_str(&format!(
                "\nTo mend {}:\n",
                painted(&heading, Tone::Notice, colour)
            ));
            for line in remedy.lines() {
                text.push_str(&format!("  {line}\n"));
            }
        }
    }
    let count = |severity| {
        found
            .iter()
            .filter(|found| found.finding.severity == severity)
            .count()
    };
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    text.push_str(&match (errors, warnings) {
        (0, 0) => "\nAll is well.\n".to_owned(),
        (0, warnings) => format!("\nIt will work; warnings: {warnings}.\n"),
        (errors, warnings) => {
            format!("\nIt will not work; errors: {errors}, warnings: {warnings}.\n")
        }
    });
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_shows_every_finding_and_every_remedy() {
        let mut found = Vec::new();
        add(
            &mut found,
            "source",
            Ok(vec![
                Finding::ok("version", "PostgreSQL 15.18"),
                Finding::error(
                    "wal_level",
                    "replica",
                    "ALTER SYSTEM SET wal_level = logical;\n-- and restart",
                ),
                Finding::warning(
                    "max_slot_wal_keep_size",
                    "-1: no bound",
                    "ALTER SYSTEM SET max_slot_wal_keep_size = '50GB';",
                ),
            ]),
        );
        add(
            &mut found,
            "warehouse",
            Err(cdc_api::Error::transient("the file is locked").hint("stop the other process")),
        );
        insta::assert_snapshot!(report(&found, false));
    }

    #[test]
    fn nothing_wrong_is_said_plainly() {
        let mut found = Vec::new();
        add(
            &mut found,
            "source",
            Ok(vec![Finding::ok("version", "PostgreSQL 18.0")]),
        );
        assert!(report(&found, false).ends_with("All is well.\n"));
        assert_eq!(worst(&found), Some(Severity::Ok));
    }
}
