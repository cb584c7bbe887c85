//! One byte stream to the server, whatever carries it: TCP, a Unix socket, or TLS over TCP.
//!
//! Owns how the sockets are tuned. Leaves the TLS handshake to `tls`, the protocol to the sources.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use cdc_api::{Error, Result};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;

use crate::product::Product;
use crate::settings::Settings;

/// What the receive buffer is asked to hold: enough for a gulp every ten milliseconds at the
/// speed of the server's sender.
const RECEIVE_BUFFER: u32 = 4 << 20;

/// A connected byte stream.
pub enum Socket {
    /// Plain TCP.
    Tcp(TcpStream),
    /// A Unix socket.
    Unix(UnixStream),
    /// TLS over TCP.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Socket {
    /// What the kernel holds for us at most before the sender blocks, in bytes.
    pub fn kernel_buffer(&self) -> usize {
        let now = match self {
            Self::Tcp(socket) => SockRef::from(socket).recv_buffer_size(),
            Self::Tls(socket) => SockRef::from(socket.get_ref().0).recv_buffer_size(),
            // It is the sender's buffer that counts; both have the same default.
            Self::Unix(socket) => SockRef::from(socket).recv_buffer_size(),
        };
        let now = now.unwrap_or(128 << 10);
        match self {
            Self::Tcp(_) | Self::Tls(_) => now.max(grown_buffer()),
            Self::Unix(_) => now,
        }
    }

    /// Whether nobody on a network path could read along.
    pub fn is_private(&self) -> bool {
        matches!(self, Self::Tls(_) | Self::Unix(_))
    }

    /// The server's certificate, in DER; `None` without TLS.
    pub fn peer_certificate(&self) -> Option<&[u8]> {
        match self {
            Self::Tls(stream) => stream
                .get_ref()
                .1
                .peer_certificates()?
                .first()
                .map(AsRef::as_ref),
            Self::Tcp(_) | Self::Unix(_) => None,
        }
    }
}

/// Opens a Unix socket.
///
/// # Errors
/// `Transient`, with the remedy.
pub async fn dial_unix(path: &Path, product: &Product) -> Result<UnixStream> {
    UnixStream::connect(path).await.map_err(|error| {
        Error::transient(format!(
            "cannot open the socket {}: {error}",
            path.display()
        ))
        .hint(product.no_socket)
        .caused_by(error)
    })
}

/// Opens a TCP connection to the first address of the host that answers.
///
/// # Errors
/// `Transient`, with the remedy.
pub async fn dial_tcp(name: &str, settings: &Settings) -> Result<TcpStream> {
    let addresses = tokio::net::lookup_host((name, settings.port))
        .await
        .map_err(|error| {
            Error::transient(format!("the host {name:?} is unknown"))
                .hint("correct the host in source.url, or this machine's name service")
                .caused_by(error)
        })?;
    let mut last = None;
    for address in addresses {
        match dial_address(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Some(error),
        }
    }
    let why = last
        .as_ref()
        .map_or_else(|| "it has no address".to_owned(), ToString::to_string);
    let error = Error::transient(format!("cannot connect to {name}:{}: {why}", settings.port))
        .hint(settings.product.no_listener);
    Err(match last {
        Some(cause) => error.caused_by(cause),
        None => error,
    })
}

async fn dial_address(address: std::net::SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    // Setting the size ends the kernel's own growth of the buffer, so it is set only where the
    // kernel grants a large one.
    if granted_buffer() >= RECEIVE_BUFFER {
        socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    }
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(30))
        .with_interval(Duration::from_secs(10));
    SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
    Ok(stream)
}

fn granted_buffer() -> u32 {
    std::fs::read_to_string("/proc/sys/net/core/rmem_max")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(0)
}

/// What the kernel lets a TCP socket's buffer grow to by itself, where its size was not set. It
/// grows with what is read at a time, so gulps have to be larger than the buffer is at first.
fn grown_buffer() -> usize {
    let limits = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_rmem").unwrap_or_default();
    let most = limits.split_whitespace().nth(2);
    most.and_then(|bytes| bytes.parse().ok()).unwrap_or(0)
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_read(cx, buf),
            Self::Unix(socket) => Pin::new(socket).poll_read(cx, buf),
            Self::Tls(socket) => Pin::new(socket.as_mut()).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_write(cx, buf),
            Self::Unix(socket) => Pin::new(socket).poll_write(cx, buf),
            Self::Tls(socket) => Pin::new(socket.as_mut()).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_flush(cx),
            Self::Unix(socket) => Pin::new(socket).poll_flush(cx),
            Self::Tls(socket) => Pin::new(socket.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Unix(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Tls(socket) => Pin::new(socket.as_mut()).poll_shutdown(cx),
        }
    }
}
