//! A file system that gets full: a tmpfs of some megabytes, which only root can mount.
//!
//! Others get the nearest thing that needs no privilege: a limit on the size of a file, under which writes fail too.

use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::geteuid;

/// A mounted file system. Dropped: unmounted, once nobody uses it.
#[derive(Debug)]
pub struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    /// Mounts one at a folder that exists; `None` where that is not allowed.
    #[must_use]
    pub fn mount(path: &Path, megabytes: u32) -> Option<Self> {
        if !geteuid().is_root() {
            return None;
        }
        let size = format!("size={megabytes}m");
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", &size, "cdc-small-disk"])
            .arg(path);
        let mounted = mount.status().is_ok_and(|status| status.success());
        mounted.then(|| Self {
            path: path.to_owned(),
        })
    }

    /// Gives it another size, with all that is in it.
    ///
    /// # Panics
    ///
    /// When the system refuses.
    pub fn resize(&self, megabytes: u32) {
        let option = format!("remount,size={megabytes}m");
        let status = Command::new("mount")
            .args(["-o", &option])
            .arg(&self.path)
            .status();
        assert!(
            status.is_ok_and(|s| s.success()),
            "remount of {}",
            self.path.display()
        );
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a daemon that is being killed may still hold files in it.
        let _ = Command::new("umount").arg("-l").arg(&self.path).status();
    }
}
