//! What could go wrong with a lake later: looked at without changing anything.

use std::path::PathBuf;

use cdc_api::{Error, Finding, Result};
use rustix::fs::Access;

use crate::layout;
use crate::site::Site;

/// Less free space than this is worth a warning.
const FREE_BYTES: u64 = 1 << 30;

/// The findings about a lake's folder.
pub(crate) fn check(site: &Site) -> Result<Vec<Finding>> {
    let root = layout::local_path(&site.config.url)?;
    let mut findings = vec![writable(&root)];
    if let Some(existing) = existing(&root) {
        findings.push(free(&existing)?);
    }
    if root.join(layout::BOOKKEEPING).join("lock").exists() {
        findings.push(unlocked(site));
    }
    Ok(findings)
}

/// The folder, or the closest one above it that is there.
fn existing(root: &std::path::Path) -> Option<PathBuf> {
    let absolute = std::path::absolute(root).ok()?;
    absolute
        .ancestors()
        .find(|folder| folder.exists())
        .map(std::path::Path::to_path_buf)
}

fn writable(root: &std::path::Path) -> Finding {
    let subject = format!("lake folder {}", root.display());
    let Some(existing) = existing(root) else {
        return Finding::error(
            subject,
            "has no parent folder",
            "set the lake's `url` to a folder",
        );
    };
    if !existing.is_dir() {
        return Finding::error(
            subject,
            format!("{} is a file", existing.display()),
            "set the lake's `url` to a folder",
        );
    }
    let access = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
    match rustix::fs::access(&existing, access) {
        Ok(()) if root.exists() => Finding::ok(subject, "can be written"),
        Ok(()) => Finding::ok(subject, "will be created"),
        Err(_) => Finding::error(
            subject,
            format!("{} cannot be written by this user", existing.display()),
            format!(
                "chown or chmod {} for the daemon's user",
                existing.display()
            ),
        ),
    }
}

fn free(folder: &std::path::Path) -> Result<Finding> {
    let found = rustix::fs::statvfs(folder)
        .map_err(|error| Error::transient("the lake's disk cannot be asked").caused_by(error))?;
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    let subject = "free space for the lake";
    let message = format!("{} MiB", free >> 20);
    Ok(if free < FREE_BYTES {
        Finding::warning(
            subject,
            message,
            format!("free space on the disk of {}", folder.display()),
        )
    } else {
        Finding::ok(subject, message)
    })
}

fn unlocked(site: &Site) -> Finding {
    let subject = "lake lock";
    match site.storage.lock() {
        Ok(Some(_)) => Finding::ok(subject, "no other process has the lake open"),
        Ok(None) => Finding::warning(
            subject,
            "a process has the lake open: this pipeline's running daemon, or another",
            "stop the other daemon, or give this pipeline a folder of its own in `url`",
        ),
        Err(error) => Finding::error(
            subject,
            format!("cannot be taken: {}", error.kind()),
            "give the daemon's user write access to the lake's `_cdc` folder",
        ),
    }
}
