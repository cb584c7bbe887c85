//! What can be told about a warehouse before it runs: folder, file, lock, disk, versions.
//!
//! Invariant: a file that is there is not changed, and one that is not there is not left behind.

use std::fs;
use std::path::Path;

use cdc_api::{Finding, Result};

use crate::bookkeeping::Bookkeeping;
use crate::config::WarehouseConfig;
use crate::database::{Database, STORAGE_VERSION, failed, is_open_here};

/// Less room than this is worth a warning.
const LITTLE_ROOM: u64 = 1 << 30;

pub(crate) fn check(config: &WarehouseConfig) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let path = &config.path;
    let shown = path.display().to_string();
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    if !folder.is_dir() {
        findings.push(Finding::error(
            shown,
            format!("the folder {} is not there", folder.display()),
            format!("mkdir -p {}", folder.display()),
        ));
        return Ok(findings);
    }
    let existed = path.exists();
    if is_open_here(path) {
        findings.push(Finding::ok(shown.clone(), "open in this process"));
    } else {
        match Database::open(config) {
            Ok(database) => {
                let connection = database.connect()?;
                let notes = Bookkeeping::new();
                if notes.exists(&connection)?
                    && let Err(error) = notes.create(&connection, config.mode)
                {
                    findings.push(Finding::from_error(shown.clone(), &error));
                }
                let version = connection
                    .version()
                    .map_err(|error| failed("asking for the version", error))?;
                let what = if existed {
                    "can be written"
                } else {
                    "can be created"
                };
                findings.push(Finding::ok(
                    shown.clone(),
                    format!(
                        "{what} by DuckDB {version}; can be read by DuckDB {STORAGE_VERSION} and later, while cdc does not run"
                    ),
                ));
            }
            // It passes by itself; and a preflight beside the running daemon meets that one's lock.
            Err(error) if error.is_transient() => findings.push(Finding::warning(
                shown.clone(),
                format!("{error}: this pipeline's running daemon, or another program"),
                error.hint_text().unwrap_or("close the other program"),
            )),
            Err(error) => findings.push(Finding::from_error(shown.clone(), &error)),
        }
        if !existed {
            // Our own attempt made them.
            let _ = fs::remove_file(path);
            let _ = fs::remove_file(format!("{shown}.wal"));
        }
    }
    if let Ok(free) = fs4::available_space(folder) {
        let subject = format!("disk of {shown}");
        let message = format!("{} MB free", free >> 20);
        findings.push(if free < LITTLE_ROOM {
            Finding::warning(
                subject,
                message,
                "make room on the disk, or set `path` to another one",
            )
        } else {
            Finding::ok(subject, message)
        });
    }
    Ok(findings)
}
