//! MySQL and MariaDB for the demo: their programs, their data folder, their words.

use std::path::{Path, PathBuf};
use std::process::Command;

use cdc_api::{Error, Result};

use super::{Launch, command, failed, found, output};
use crate::demo::Kind;

/// Fills a data folder in `folder`; the server is yet to be started.
pub(super) fn prepare(folder: &Path, port: u16, kind: Kind) -> Result<Launch> {
    let program = program(kind).ok_or_else(|| {
        let (name, package) = match kind {
            Kind::Mariadb => ("mariadbd", "mariadb-server-core"),
            _ => ("mysqld", "mysql-server-core"),
        };
        Error::config(format!("no {} server program ({name}) on this machine", kind.name())).hint(format!(
            "install it, for example the package {package}, or set CDC_MYSQL_BIN to the folder it is in"
        ))
    })?;
    // Where `sbin`, `bin` and `share` are.
    let base = program.ancestors().nth(2).unwrap_or(Path::new("/usr"));
    let version = output(Command::new(&program).arg("--version"))?;
    let version = version.split("Ver ").nth(1).unwrap_or_default();
    let version = version.split_whitespace().next().unwrap_or_default();
    let data = format!("--datadir={}", folder.join("data").display());
    let mut initialise = match kind {
        Kind::Mariadb => {
            let installer = base.join("bin/mariadb-install-db");
            let mut command = command(&installer, folder, "KILL");
            command.args([
                "--no-defaults",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
            ]);
            command
        }
        _ => {
            let mut command = server(&program, base, folder);
            command.arg("--initialize-insecure");
            command
        }
    };
    output(initialise.arg(&data))?;
    let init = folder.join("init.sql");
    std::fs::write(
        &init,
        "SET sql_log_bin = 0;\nCREATE USER IF NOT EXISTS root@'127.0.0.1' IDENTIFIED BY '';\n\
         GRANT ALL PRIVILEGES ON *.* TO root@'127.0.0.1' WITH GRANT OPTION;\n",
    )
    .map_err(|error| failed("write the server's first statements", &error))?;
    let mut mysqld = server(&program, base, folder);
    mysqld
        .arg(data)
        .arg(format!("--port={port}"))
        .arg(format!("--socket={}", folder.join("socket").display()))
        .arg(format!("--pid-file={}", folder.join("pid").display()))
        .arg(format!("--tmpdir={}", folder.display()))
        .arg(format!("--init-file={}", init.display()))
        .args([
            "--bind-address=127.0.0.1",
            "--skip-name-resolve",
            "--server-id=1",
            "--log-bin=binlog",
            "--binlog-format=ROW",
            "--binlog-row-metadata=FULL",
            "--sync-binlog=0",
            "--innodb-flush-log-at-trx-commit=2",
            "--transaction-isolation=READ-COMMITTED",
        ]);
    match kind {
        Kind::Mariadb => mysqld.arg("--gtid-strict-mode=ON"),
        _ => mysqld.args([
            "--mysqlx=OFF",
            "--secure-file-priv=NULL",
            "--gtid-mode=ON",
            "--enforce-gtid-consistency=ON",
        ]),
    };
    Ok(Launch {
        version: version.to_owned(),
        command: mysqld,
        ready: "ready for connections",
    })
}

/// The server, told where its own files are.
fn server(program: &Path, base: &Path, folder: &Path) -> Command {
    let mut command = command(program, folder, "KILL");
    command
        .arg("--no-defaults")
        .arg(format!("--basedir={}", base.display()))
        .arg(format!(
            "--lc-messages-dir={}",
            base.join("share/mysql").display()
        ));
    command
}

/// What the server answered.
pub(super) fn said(error: mysql_async::Error) -> Error {
    let text = match error {
        mysql_async::Error::Server(server) => server.message,
        other => other.to_string(),
    };
    Error::internal(format!("the demo's server says: {text}"))
}

/// The server's program: as told, on the path, or where packages put it.
fn program(kind: Kind) -> Option<PathBuf> {
    let name = match kind {
        Kind::Mariadb => "mariadbd",
        _ => "mysqld",
    };
    let told = std::env::var_os("CDC_MYSQL_BIN").map(|folder| PathBuf::from(folder).join(name));
    let packaged = ["/usr/sbin", "/usr/libexec", "/usr/local/mysql/bin"];
    let packaged = packaged.iter().map(|folder| Path::new(folder).join(name));
    let candidates = told.into_iter().chain(found(name)).chain(packaged);
    // Links lead to where its other files are; of MariaDB `mysqld` may be another name.
    let real = candidates.filter_map(|file| file.canonicalize().ok());
    real.into_iter()
        .find(|file| file.file_name().is_some_and(|found| found == name))
}
