//! `cdc init URL`: a starting configuration from a live source.
//!
//! Invariant: the file never holds the URL's password; it refers to `$CDC_SOURCE_PASSWORD`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use cdc_api::{Error, FoundTable, Result, TableName};

use super::{Context, check, format, log, output};
use crate::config::load::parse;
use crate::registry;

/// The variable that stands for the URL's password.
const PASSWORD: &str = "CDC_SOURCE_PASSWORD";

/// Write a starting configuration from a live database.
///
/// Looks which tables there are and what they need, and writes FILE of -c, else $CDC_CONFIG, else
/// ./cdc.yaml. The password stays out of the file: put it into the environment.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  cdc init postgres://cdc:secret@localhost:5432/shop\n  cdc init 'postgres://cdc@/shop?host=/run/postgresql' -c shop.yaml\n  cdc init mysql://cdc:secret@localhost:3306/shop"
)]
pub(super) struct Args {
    /// Where the database is.
    url: String,
    /// The pipeline's name; the database's by default.
    #[arg(long)]
    name: Option<String>,
    /// Replace the file if it is there.
    #[arg(long)]
    force: bool,
}

pub(super) async fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    let file = &context.file;
    if file.exists() && !args.force {
        return Err(
            Error::config(format!("{} is there already", file.display()))
                .hint("name another with -c FILE, or replace it with --force"),
        );
    }
    let (url, password) = without_password(&args.url)?;
    let name = args.name.clone().unwrap_or_else(|| name_of(&args.url));
    let variable = |name: &str| match (name, &password) {
        (PASSWORD, Some(password)) => Some(password.clone()),
        _ => std::env::var(name).ok(),
    };
    let draft = write(&name, &url, &[]);
    let config = parse(&draft, file, &variable)?;
    log::start(&config.log, "warn")?;
    let source = registry::source(&config)?;
    let tables = source.discover().await?;
    let mut found = Vec::new();
    check::add(&mut found, "source", source.check().await);
    save(file, &write(&name, &url, &tables), args.force)?;
    output::note(&check::report(&found, output::colour_on_stderr()));
    output::note(&format!(
        "{} written, tables found: {}.",
        file.display(),
        tables.len()
    ));
    if password.is_some() {
        output::note(&format!(
            "The password is not in it: set {PASSWORD} to what stood in the URL, percent-encoded \
             as it was."
        ));
    }
    output::note("Next: `cdc check`, then `cdc run`.");
    Ok(ExitCode::SUCCESS)
}

fn save(file: &Path, text: &str, replace: bool) -> Result<()> {
    let mut options = OpenOptions::new();
    options.write(true);
    if replace {
        options.create(true).truncate(true);
    } else {
        options.create_new(true);
    }
    options
        .open(file)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|error| {
            Error::config(format!("cannot write {}: {error}", file.display()))
                .hint("name another file with -c FILE")
        })
}

/// The URL with a reference in its password's place, and the password as it stood there.
fn without_password(url: &str) -> Result<(String, Option<String>)> {
    let scheme = url.split_once("://").map(|(scheme, _)| scheme);
    if kind_of(url).is_none() {
        return Err(
            Error::config("the URL does not begin with postgres:// or mysql://").hint(
                "cdc init postgres://user:password@host:5432/database, or cdc init \
                 mysql://user:password@host:3306/database",
            ),
        );
    }
    let reference = format!("${{{PASSWORD}}}");
    // What looks like a reference in the URL itself is none.
    let escape = |text: &str| text.replace("${", "$${");
    let start = scheme.map_or(0, |scheme| scheme.len() + 3);
    let end = url[start..]
        .find(['/', '?'])
        .map_or(url.len(), |at| start + at);
    if let Some((credentials, _)) = url[start..end].rsplit_once('@')
        && let Some((user, password)) = credentials.split_once(':')
        && !password.is_empty()
    {
        let before = start + user.len() + 1;
        let after = before + password.len();
        let text = escape(&url[..before]) + &reference + &escape(&url[after..]);
        return Ok((text, Some(password.to_owned())));
    }
    for marker in ["?password=", "&password="] {
        if let Some(at) = url.find(marker) {
            let before = at + marker.len();
            let after = url[before..]
                .find('&')
                .map_or(url.len(), |end| before + end);
            let text = escape(&url[..before]) + &reference + &escape(&url[after..]);
            return Ok((text, Some(url[before..after].to_owned())));
        }
    }
    Ok((escape(url), None))
}

/// The connector that a URL is for.
fn kind_of(url: &str) -> Option<&'static str> {
    match url.split_once("://")?.0 {
        "postgres" | "postgresql" => Some("postgres"),
        "mysql" | "mariadb" => Some("mysql"),
        _ => None,
    }
}

/// The URL's database, percent-encoded; empty where it names none.
fn database_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = rest.split('?').next().unwrap_or_default();
    rest.split_once('/').map_or("", |(_, database)| database)
}

/// A pipeline's name from the URL's database.
fn name_of(url: &str) -> String {
    let name: String = database_of(url)
        .to_lowercase()
        .chars()
        .map(|char| {
            if char.is_ascii_alphanumeric() {
                char
            } else {
                '_'
            }
        })
        .skip_while(|char| !char.is_ascii_lowercase())
        .take(40)
        .collect();
    if name.is_empty() {
        "pipeline".to_owned()
    } else {
        name
    }
}

/// A text in YAML's double quotes, which are JSON's.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The file: what everyone writes, and as comments what was found.
fn write(name: &str, url: &str, tables: &[FoundTable]) -> String {
    let schemas: BTreeSet<_> = tables
        .iter()
        .map(|found| &found.table.name.schema)
        .collect();
    let kind = kind_of(url).unwrap_or("postgres");
    let patterns: Vec<_> = if schemas.is_empty() {
        // A server of MySQL has many databases, one of PostgreSQL has many schemas.
        match database_of(url) {
            database if kind == "mysql" && !database.is_empty() && !database.contains('%') => {
                let whole = TableName::new(database, "t").to_string();
                vec![quoted(&format!(
                    "{}*",
                    whole.strip_suffix('t').unwrap_or(&whole)
                ))]
            }
            _ => vec![quoted("*.*")],
        }
    } else {
        schemas
            .iter()
            .map(|schema| {
                let whole = TableName::new(schema.as_str(), "t").to_string();
                quoted(&format!("{}*", whole.strip_suffix('t').unwrap_or(&whole)))
            })
            .collect()
    };
    let mut text = format!(
        "# Every other key and its default: config/reference.yaml.\n\
         name: {name}                       # names the slot, the publication and the checkpoints\n\
         data_dir: ./data                 # journal and state\n\
         source:\n  type: {kind}\n  url: {}\n  tables: [{}]    # `!schema.table` excludes\n",
        quoted(url),
        patterns.join(", "),
    );
    if !tables.is_empty() {
        text.push_str("  # Found:\n");
    }
    for found in tables {
        let size = format!(
            "about {} rows, {}",
            format::count(found.size.rows),
            format::bytes(found.size.bytes)
        );
        let name = found.table.name.to_string();
        let _ = writeln!(text, "  #   {}: {size}", output::escaped(&name));
        if let Some(refused) = &found.refused {
            let _ = writeln!(
                text,
                "  #     cannot be captured: {}",
                output::escaped(&refused.to_string())
            );
            for line in refused.hint_text().unwrap_or_default().lines() {
                let _ = writeln!(text, "  #     {}", output::escaped(line));
            }
        }
    }
    let _ = write!(
        text,
        "sinks:\n  warehouse:\n    type: duckdb\n    path: {name}.duckdb\n    mode: upsert                 # upsert | soft_delete | append\n  \
         # lake:\n  #   type: parquet\n  #   url: ./lake\nadmin:\n  listen: 127.0.0.1:7010\n",
    );
    text
}

#[cfg(test)]
mod tests;
