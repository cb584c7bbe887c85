//! Where a flavor's programs are, and the data folder that every server's is a copy of. MariaDB's are the system's, or
//! those in the tree that `$CDC_MARIADB` names (`TREE/usr`).

use std::path::{Path, PathBuf};
use std::process::Command;

use super::Flavor;
use crate::unprivileged;

/// Where the programs of a flavor are.
#[derive(Debug, Clone)]
pub(super) struct Programs {
    flavor: Flavor,
    server: PathBuf,
    /// What stands before `bin`, `share` and `lib`.
    base: PathBuf,
}

impl Programs {
    pub(super) fn of(flavor: Flavor) -> Self {
        let (server, base) = match flavor {
            Flavor::MySql => {
                let base = unprivileged::servers().join("mysql-9/usr");
                (base.join("sbin/mysqld"), base)
            }
            Flavor::MariaDb => {
                let base = std::env::var_os("CDC_MARIADB").map_or("/usr".into(), PathBuf::from);
                (base.join("sbin/mariadbd"), base)
            }
        };
        assert!(
            server.exists(),
            "{flavor} is not here ({}): integration/setup",
            server.display()
        );
        Self {
            flavor,
            server,
            base,
        }
    }

    /// The server without any setting but where its own files are.
    pub(super) fn server(&self, folder: &Path) -> Command {
        let mut command = unprivileged::command(&self.server, folder, "KILL");
        command.arg("--no-defaults");
        self.unpacked(&mut command);
        command
    }

    /// Tells a program of a tree that is not the system's where its files are.
    fn unpacked(&self, command: &mut Command) {
        if self.base == Path::new("/usr") {
            return;
        }
        let share = match self.flavor {
            Flavor::MySql => "share/mysql",
            Flavor::MariaDb => "share/mariadb",
        };
        for (name, folder) in [
            ("basedir", self.base.clone()),
            ("lc-messages-dir", self.base.join(share)),
            ("character-sets-dir", self.base.join(share).join("charsets")),
            ("plugin-dir", self.base.join("lib/mysql/plugin")),
        ] {
            command.arg(format!("--{name}={}", folder.display()));
        }
    }

    pub(super) fn program(&self, name: &str, folder: &Path) -> Command {
        unprivileged::command(&self.base.join("bin").join(name), folder, "KILL")
    }

    /// A data folder as the server initialises it. Made once for a version; who comes meanwhile waits.
    pub(super) fn template(&self) -> PathBuf {
        let version = Command::new(&self.server)
            .arg("--version")
            .env_remove("LD_LIBRARY_PATH")
            .output()
            .expect("the server tells its version");
        let version = String::from_utf8_lossy(&version.stdout).into_owned();
        let version = version.split("Ver ").nth(1).unwrap_or_default();
        let version = version.split_whitespace().next().unwrap_or("unknown");
        let within = unprivileged::servers().join("templates");
        std::fs::create_dir_all(&within).expect("the servers' folder can be written");
        let template = within.join(format!("{}-{version}", self.flavor));
        let lock = std::fs::File::create(within.join(format!("{}.lock", self.flavor)));
        let lock = lock.expect("a file to lock");
        lock.lock().expect("the file can be locked");
        if !template.exists() {
            let folder = unprivileged::folder(&format!("cdc-{}-template-", self.flavor));
            let data = folder.path().join("data");
            let to = format!("--datadir={}", data.display());
            let mut initialise = match self.flavor {
                Flavor::MySql => {
                    let mut command = self.server(folder.path());
                    command.args([
                        "--initialize-insecure",
                        "--innodb-redo-log-capacity=33554432",
                    ]);
                    command
                }
                Flavor::MariaDb => {
                    let mut command = self.program("mariadb-install-db", folder.path());
                    command.args([
                        "--no-defaults",
                        "--auth-root-authentication-method=normal",
                        "--skip-test-db",
                        "--innodb-log-file-size=32M",
                    ]);
                    if self.base != Path::new("/usr") {
                        command.arg(format!("--basedir={}", self.base.display()));
                    }
                    command
                }
            };
            unprivileged::succeed(initialise.arg(to));
            // Whole under its name, or not there.
            let whole = tempfile::Builder::new().prefix("new-").tempdir_in(&within);
            let whole = whole.expect("the servers' folder can be written").keep();
            copy(&data, &whole.join("data"));
            std::fs::rename(whole.join("data"), &template).expect("nobody else makes it");
            let _ = std::fs::remove_dir(whole);
        }
        template
    }
}

/// Copies a data folder with its owner and without its holes.
pub(super) fn copy(from: &Path, to: &Path) {
    let mut command = Command::new("cp");
    command.args(["-a", "--sparse=always", "--reflink=auto"]);
    unprivileged::succeed(command.arg(from).arg(to));
}
