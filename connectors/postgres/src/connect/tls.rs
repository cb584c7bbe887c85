//! How this server is asked for TLS, and the channel binding that SCRAM takes from it.

use cdc_api::{Error, Result};
use cdc_database::{Socket, TlsMode, tls};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use x509_cert::der::Decode;

use super::settings::Settings;

/// Asks the server for TLS (SSLRequest) as the settings say, and shakes hands.
pub(super) async fn secure(
    mut stream: TcpStream,
    name: &str,
    settings: &Settings,
) -> Result<Socket> {
    if settings.tls == TlsMode::Disable {
        return Ok(Socket::Tcp(stream));
    }
    let mut request = bytes::BytesMut::new();
    postgres_protocol::message::frontend::ssl_request(&mut request);
    stream.write_all(&request).await.map_err(dropped)?;
    match stream.read_u8().await.map_err(dropped)? {
        b'S' => tls::secure(stream, name, settings).await,
        b'N' if settings.tls == TlsMode::Prefer => Ok(Socket::Tcp(stream)),
        b'N' => Err(tls::missing(name, settings.product)),
        _ => Err(Error::transient(
            "the server gave no answer to the request for TLS",
        )),
    }
}

/// The `tls-server-end-point` binding of a session (RFC 5929): the hash of the server's
/// certificate, by the hash of its signature. `None` where the signature names no hash, or the
/// session is not over TLS.
pub(crate) fn server_end_point(socket: &Socket) -> Option<Vec<u8>> {
    let certificate = socket.peer_certificate()?;
    let algorithm = x509_cert::Certificate::from_der(certificate)
        .ok()?
        .signature_algorithm
        .oid
        .to_string();
    let hash = match algorithm.as_str() {
        // MD5 and SHA-1 are replaced by SHA-256; then RSA and ECDSA with SHA-256.
        "1.2.840.113549.1.1.4"
        | "1.2.840.113549.1.1.5"
        | "1.2.840.10045.4.1"
        | "1.2.840.113549.1.1.11"
        | "1.2.840.10045.4.3.2" => &::ring::digest::SHA256,
        "1.2.840.113549.1.1.12" | "1.2.840.10045.4.3.3" => &::ring::digest::SHA384,
        "1.2.840.113549.1.1.13" | "1.2.840.10045.4.3.4" => &::ring::digest::SHA512,
        _ => return None,
    };
    Some(::ring::digest::digest(hash, certificate).as_ref().to_vec())
}

fn dropped(error: std::io::Error) -> Error {
    Error::transient("the server closed the connection before TLS").caused_by(error)
}
