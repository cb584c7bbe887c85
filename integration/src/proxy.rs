//! A TCP path between daemon and server that can be cut, reset, stalled and slowed.
//!
//! Faults act on bytes in flight: what has been read from one side and not yet written to the other is lost
//! by a cut, as on a real network. The proxy never changes a byte.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What happens to bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    /// They pass.
    Open,
    /// They wait, and connections stay up.
    Stalled,
    /// At most so many bytes per second and direction pass.
    Slow(u64),
    /// New connections are closed at once; see also [`Proxy::cut`].
    Refused,
}

/// A listening proxy. Dropped: all its connections end.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    path: watch::Sender<Path>,
    /// Connections of an older generation end: by FIN when it is even, by RST when it is odd.
    generation: watch::Sender<u64>,
    accepted: Arc<AtomicU64>,
    accept: JoinHandle<()>,
}

impl Proxy {
    /// Listens on a free port and connects every caller to `upstream`.
    pub async fn to(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        let (path, path_seen) = watch::channel(Path::Open);
        let (generation, generation_seen) = watch::channel(0);
        let accepted = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&accepted);
        let accept = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                if *path_seen.borrow() == Path::Refused {
                    continue;
                }
                count.fetch_add(1, Ordering::Relaxed);
                let path_seen = path_seen.clone();
                let mut generation_seen = generation_seen.clone();
                generation_seen.mark_unchanged();
                tokio::spawn(carry(near, upstream, path_seen, generation_seen));
            }
        });
        Self {
            address,
            path,
            generation,
            accepted,
            accept,
        }
    }

    /// The port to connect to, on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Connections carried so far.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Changes what happens to bytes, of open connections too.
    pub fn set(&self, path: Path) {
        self.path.send_replace(path);
    }

    /// Ends every open connection in order (FIN); bytes on their way are lost.
    pub fn cut(&self) {
        self.generation.send_modify(|g| *g = (*g | 1) + 1);
    }

    /// Ends every open connection by RST.
    pub fn reset(&self) {
        self.generation.send_modify(|g| *g = (*g + 1) | 1);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accept.abort();
        self.cut();
    }
}

async fn carry(
    mut near: TcpStream,
    upstream: SocketAddr,
    path: watch::Receiver<Path>,
    mut generation: watch::Receiver<u64>,
) {
    let Ok(mut far) = TcpStream::connect(upstream).await else {
        return;
    };
    let _ = near.set_nodelay(true);
    let _ = far.set_nodelay(true);
    let reset = {
        let (near_read, near_write) = near.split();
        let (far_read, far_write) = far.split();
        tokio::select! {
            _ = async { tokio::join!(
                    pass(near_read, far_write, path.clone()),
                    pass(far_read, near_write, path.clone()),
                ) } => false,
            changed = generation.changed() => changed.is_ok() && *generation.borrow() % 2 == 1,
        }
    };
    if reset {
        let _ = near.set_zero_linger();
        let _ = far.set_zero_linger();
    }
}

async fn pass(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mut path: watch::Receiver<Path>,
) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let state = *path.borrow_and_update();
        let gulp = match state {
            Path::Stalled => {
                if path.changed().await.is_err() {
                    return;
                }
                continue;
            }
            // A tenth of a second's worth at a time.
            Path::Slow(bytes) => usize::try_from(bytes / 10)
                .unwrap_or(usize::MAX)
                .clamp(1, buffer.len()),
            Path::Open | Path::Refused => buffer.len(),
        };
        let read = tokio::select! {
            read = from.read(&mut buffer[..gulp]) => read,
            changed = path.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
        };
        match read {
            Ok(0) | Err(_) => {
                let _ = to.shutdown().await;
                return;
            }
            Ok(n) => {
                if matches!(state, Path::Slow(_)) {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                if to.write_all(&buffer[..n]).await.is_err() {
                    return;
                }
            }
        }
    }
}
