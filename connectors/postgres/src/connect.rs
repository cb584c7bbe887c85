//! Getting to the server: the URL's settings, the socket, TLS.
//!
//! Owns everything below the PostgreSQL protocol that is not every database's. One way for every
//! session, plain or replication, so that all of them have the same security. What is said over the
//! socket is `session`'s.

pub(crate) mod settings;
pub(crate) mod tls;

pub(crate) use settings::{Binding, Settings};

use cdc_api::Result;
use cdc_database::{Host, Socket, socket};

/// Connects and secures, without authentication.
pub(crate) async fn dial(settings: &Settings) -> Result<Socket> {
    match &settings.host {
        Host::Unix(folder) => {
            let path = folder.join(format!(".s.PGSQL.{}", settings.port));
            let stream = socket::dial_unix(&path, settings.product).await?;
            Ok(Socket::Unix(stream))
        }
        Host::Tcp(name) => {
            let stream = socket::dial_tcp(name, settings).await?;
            tls::secure(stream, name, settings).await
        }
    }
}
