//! PostgreSQL for the demo: its programs, its data folder, its words.

use std::path::{Path, PathBuf};
use std::process::Command;

use cdc_api::{Error, Result};

use super::{Launch, command, found, output};

/// Fills a data folder in `folder`; the server is yet to be started.
pub(super) fn prepare(folder: &Path, port: u16) -> Result<Launch> {
    let programs = programs().ok_or_else(|| {
        Error::config("no PostgreSQL server programs (initdb, postgres) on this machine")
            .hint("install them, for example `apt-get install postgresql`, or set CDC_POSTGRES_BIN to their folder")
    })?;
    let version = output(Command::new(programs.join("postgres")).arg("--version"))?;
    let version = version.trim().rsplit(") ").next().unwrap_or_default();
    let data = folder.join("data");
    let mut initdb = command(&programs.join("initdb"), folder, "QUIT");
    initdb.arg("-D").arg(&data).args([
        "-U",
        "postgres",
        "-A",
        "trust",
        "-E",
        "UTF8",
        "--locale=C",
        "--no-sync",
    ]);
    output(&mut initdb)?;
    let mut postgres = command(&programs.join("postgres"), folder, "QUIT");
    postgres
        .arg("-D")
        .arg(&data)
        .args(["-p", &port.to_string(), "-h", "127.0.0.1", "-k"])
        .arg(folder)
        .args([
            "-c",
            "wal_level=logical",
            "-c",
            "fsync=off",
            "-c",
            "max_wal_senders=10",
        ]);
    Ok(Launch {
        version: version.to_owned(),
        command: postgres,
        ready: "ready to accept connections",
    })
}

/// What the server answered.
pub(super) fn said(error: tokio_postgres::Error) -> Error {
    let text = error
        .as_db_error()
        .map_or_else(|| error.to_string(), |db| db.message().to_owned());
    Error::internal(format!("the demo's server says: {text}"))
}

/// The folder of the server's programs: as told, on the path, or where packages put them; the newest there.
fn programs() -> Option<PathBuf> {
    let complete =
        |folder: &PathBuf| folder.join("postgres").exists() && folder.join("initdb").exists();
    if let Some(told) = std::env::var_os("CDC_POSTGRES_BIN") {
        return Some(PathBuf::from(told)).filter(complete);
    }
    let on_path = ["postgres", "pg_ctl"].iter().filter_map(|name| found(name));
    let on_path =
        on_path.filter_map(|program| Some(program.canonicalize().ok()?.parent()?.to_owned()));
    let mut packaged: Vec<PathBuf> = ["/usr/lib/postgresql", "/usr/pgsql", "/opt/homebrew/opt"]
        .iter()
        .filter_map(|folder| std::fs::read_dir(folder).ok())
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .collect();
    packaged.sort();
    on_path.chain(packaged.into_iter().rev()).find(complete)
}
