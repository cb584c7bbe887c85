//! Getting to the server: the URL's settings, the socket, TLS.
//!
//! Owns everything below the PostgreSQL protocol. One way for every session, plain or
//! replication, so that all of them have the same security. What is said over the socket is
//! `session`'s.

pub(crate) mod settings;
pub(crate) mod socket;
pub(crate) mod tls;

pub use settings::{Binding, Host, Settings, TlsMode};

use cdc_api::Result;
use socket::Socket;

/// Connects and secures, without authentication.
pub(crate) async fn dial(settings: &Settings) -> Result<Socket> {
    match &settings.host {
        Host::Unix(folder) => Ok(Socket::Unix(socket::dial_unix(settings, folder).await?)),
        Host::Tcp(name) => {
            let stream = socket::dial_tcp(settings, name).await?;
            tls::secure(stream, name, settings).await
        }
    }
}
