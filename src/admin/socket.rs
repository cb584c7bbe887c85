//! The Unix socket in the data directory, whose owner alone may open it.
//!
//! Invariant: a live daemon's socket is never taken away; one that nobody listens on any more is
//! replaced. A data directory with a path too long for a socket address (108 bytes) is reached
//! through `/proc/self/fd`, so that its length does not matter.

use std::fs::{File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use cdc_api::{Error, Result};
use tokio::net::{UnixListener, UnixSocket, UnixStream};

/// The socket's name in the data directory.
pub(super) const NAME: &str = "cdc.sock";

/// What the kernel takes as a socket's path, without the closing zero byte.
const MAX_PATH: usize = 107;

/// A path that is short enough, and the directory that has to stay open for it to be valid.
struct Address {
    path: PathBuf,
    _directory: Option<File>,
}

fn address(data_dir: &Path) -> io::Result<Address> {
    let path = data_dir.join(NAME);
    if path.as_os_str().as_bytes().len() <= MAX_PATH {
        return Ok(Address {
            path,
            _directory: None,
        });
    }
    let directory = File::open(data_dir)?;
    Ok(Address {
        path: PathBuf::from(format!("/proc/self/fd/{}/{NAME}", directory.as_raw_fd())),
        _directory: Some(directory),
    })
}

/// Listens in a data directory, which is created when missing.
///
/// # Errors
/// `Config` when another daemon listens there, or the directory cannot be written.
pub(super) async fn listen(data_dir: &Path) -> Result<OwnerSocket> {
    let failed = |error: io::Error| {
        Error::config(format!("cannot listen on the control socket: {error}"))
            .context(data_dir.join(NAME).display().to_string())
            .hint("data_dir has to be a folder that the daemon's user may write to")
    };
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(data_dir)
        .map_err(failed)?;
    let address = address(data_dir).map_err(failed)?;
    match UnixStream::connect(&address.path).await {
        Ok(_) => {
            return Err(Error::config("another daemon runs on this data directory")
                .context(data_dir.display().to_string())
                .hint("stop it first, or give this pipeline a data_dir of its own"));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        // Left behind by a daemon that was killed.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(&address.path).map_err(failed)?;
        }
        Err(error) => return Err(failed(error)),
    }
    let socket = UnixSocket::new_stream().map_err(failed)?;
    socket.bind(&address.path).map_err(failed)?;
    // Nobody can connect before `listen`, so nobody slips in before the mode is set.
    std::fs::set_permissions(&address.path, Permissions::from_mode(0o600)).map_err(failed)?;
    let listener = socket.listen(64).map_err(failed)?;
    Ok(OwnerSocket {
        _file: SocketFile(data_dir.join(NAME)),
        listener,
    })
}

/// The listening socket. Its file goes before it does: so it is never a later daemon's that is
/// removed.
#[derive(Debug)]
pub(super) struct OwnerSocket {
    _file: SocketFile,
    listener: UnixListener,
}

#[derive(Debug)]
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Failing only leaves the file behind, which the next start replaces.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl axum::serve::Listener for OwnerSocket {
    type Io = UnixStream;
    type Addr = tokio::net::unix::SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        axum::serve::Listener::accept(&mut self.listener).await
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// Connects to the daemon of a data directory; `None` when there is none.
///
/// # Errors
/// `Auth` when the socket belongs to another user.
pub(super) async fn connect(data_dir: &Path) -> Result<Option<UnixStream>> {
    let connected = match address(data_dir) {
        Ok(address) => UnixStream::connect(&address.path).await,
        Err(error) => Err(error),
    };
    match connected {
        Ok(stream) => Ok(Some(stream)),
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::NotADirectory => Ok(None),
            io::ErrorKind::PermissionDenied => {
                Err(Error::auth("the control socket belongs to another user")
                    .context(data_dir.join(NAME).display().to_string())
                    .hint("run the command as the daemon's user, for example with `sudo -u cdc`"))
            }
            _ => Err(
                Error::transient(format!("cannot reach the daemon: {error}"))
                    .context(data_dir.join(NAME).display().to_string()),
            ),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let data_dir = folder.path().join("data");
        assert!(
            connect(&data_dir)
                .await
                .expect("no daemon is no error")
                .is_none()
        );
        let first = listen(&data_dir).await.expect("a new socket");
        let error = listen(&data_dir).await.expect_err("the socket is alive");
        assert!(error.to_string().contains("another daemon"), "{error}");
        drop(first);
        assert!(!data_dir.join(NAME).exists());
        // As a daemon that was killed leaves it.
        drop(std::os::unix::net::UnixListener::bind(data_dir.join(NAME)).expect("a socket"));
        assert!(
            connect(&data_dir)
                .await
                .expect("a stale socket is no error")
                .is_none()
        );
        let _second = listen(&data_dir).await.expect("the stale one is replaced");
        assert!(connect(&data_dir).await.expect("connects").is_some());
        let mode = std::fs::metadata(data_dir.join(NAME))
            .expect("it exists")
            .permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
    }

    #[tokio::test]
    async fn a_path_longer_than_a_socket_address_works() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let data_dir = folder.path().join("a".repeat(200));
        let _listener = listen(&data_dir).await.expect("a new socket");
        assert!(connect(&data_dir).await.expect("connects").is_some());
    }
}
