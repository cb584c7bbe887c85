//! Authentication: SCRAM-SHA-256 with channel binding, md5, cleartext, trust and certificates.
//!
//! Invariants: a cleartext password travels only where nobody can read along; a SCRAM exchange
//! counts only when the server has proved that it knows the password too.

use bytes::BytesMut;
use cdc_api::{Error, Result};
use cdc_database::{Host, Socket};
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{
    ChannelBinding, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramSha256,
};
use postgres_protocol::escape::escape_identifier;
use postgres_protocol::message::frontend;
use tokio::io::AsyncWriteExt;

use super::inbox::Inbox;
use super::lost;
use crate::connect::{Binding, Settings, tls};
use crate::refusal::Refusal;

/// Answers the server's requests until it is content (AuthenticationOk).
pub(super) async fn authenticate(
    socket: &mut Socket,
    inbox: &mut Inbox,
    settings: &Settings,
) -> Result<()> {
    let mut scram: Option<ScramSha256> = None;
    let mut proved = false;
    let mut bound = false;
    loop {
        let (request, data) = next_request(socket, inbox, settings).await?;
        let mut out = BytesMut::new();
        match request {
            0 if scram.is_some() && !proved => {
                return Err(Error::auth(
                    "the server did not prove that it knows the password",
                ));
            }
            0 if settings.binding == Binding::Require && !bound => {
                return Err(
                    Error::auth("the server did not bind the password to the TLS session").hint(
                        "set password_encryption = 'scram-sha-256' on the server, give the role a \
                           new password, and use scram-sha-256 in pg_hba.conf",
                    ),
                );
            }
            0 => return Ok(()),
            3 if !socket.is_private() && !settings.host.is_local() => {
                return Err(Error::config(
                    "the server asks for the password in clear text over an unencrypted connection",
                )
                .hint(
                    "add sslmode=verify-full to source.url, or use scram-sha-256 in pg_hba.conf",
                ));
            }
            3 => {
                frontend::password_message(password(settings)?.as_bytes(), &mut out)
                    .map_err(unusable)?;
            }
            5 => {
                let salt = data.get(..4).and_then(|salt| salt.try_into().ok());
                let salt = salt.ok_or_else(|| protocol("md5 without salt"))?;
                let hash = md5_hash(
                    settings.user.as_bytes(),
                    password(settings)?.as_bytes(),
                    salt,
                );
                frontend::password_message(hash.as_bytes(), &mut out).map_err(unusable)?;
            }
            10 => {
                let (mechanism, binding) = choose(&data, socket, settings)?;
                bound = mechanism == SCRAM_SHA_256_PLUS;
                let exchange = ScramSha256::new(password(settings)?.as_bytes(), binding);
                frontend::sasl_initial_response(mechanism, exchange.message(), &mut out)
                    .map_err(unusable)?;
                scram = Some(exchange);
            }
            11 => {
                let exchange = scram
                    .as_mut()
                    .ok_or_else(|| protocol("SCRAM out of turn"))?;
                exchange.update(&data).map_err(|error| {
                    Error::auth("the server's part of SCRAM is not valid").caused_by(error)
                })?;
                frontend::sasl_response(exchange.message(), &mut out).map_err(unusable)?;
            }
            12 => {
                let exchange = scram
                    .as_mut()
                    .ok_or_else(|| protocol("SCRAM out of turn"))?;
                exchange.finish(&data).map_err(|error| {
                    Error::auth("the server did not prove that it knows the password")
                        .hint("make sure that source.url names your server and nobody is between")
                        .caused_by(error)
                })?;
                proved = true;
            }
            2 | 6 | 7 | 8 | 9 => {
                return Err(Error::config(
                    "the server asks for Kerberos, GSSAPI or SSPI, which cdc does not have",
                )
                .hint(format!(
                    "give the role scram-sha-256 or cert in pg_hba.conf: hostssl {} {} \
                     CLIENT_ADDRESS/32 scram-sha-256",
                    escape_identifier(&settings.database),
                    escape_identifier(&settings.user)
                )));
            }
            other => {
                return Err(Error::config(format!(
                    "the server asks for authentication method {other}, which cdc does not know"
                ))
                .hint("use scram-sha-256 in pg_hba.conf"));
            }
        }
        socket.write_all(&out).await.map_err(lost)?;
    }
}

/// The next authentication request: its number and its data.
async fn next_request(
    socket: &mut Socket,
    inbox: &mut Inbox,
    settings: &Settings,
) -> Result<(u32, Vec<u8>)> {
    loop {
        if let Some((kind, range)) = inbox.take()? {
            let body = inbox.body(range);
            match kind {
                b'R' => {
                    let (request, data) = body
                        .split_first_chunk::<4>()
                        .ok_or_else(|| protocol("an empty request"))?;
                    return Ok((u32::from_be_bytes(*request), data.to_vec()));
                }
                b'E' => return Err(Refusal::parse(body).explain(settings)),
                // Protocol negotiation (minor version, unknown options) and notices.
                b'v' | b'N' => {}
                _ => return Err(protocol("a message out of turn")),
            }
        } else if inbox
            .fill(socket)
            .await
            .map_err(|error| match &settings.host {
                // With TLS 1.3 a refused client certificate shows only here.
                Host::Tcp(name) if matches!(socket, Socket::Tls(_)) => {
                    cdc_database::tls::explain(error, name, settings.product)
                }
                _ => lost(error),
            })?
            == 0
        {
            return Err(Error::transient(
                "the server closed the connection at start-up",
            ));
        }
    }
}

fn choose(
    offered: &[u8],
    socket: &Socket,
    settings: &Settings,
) -> Result<(&'static str, ChannelBinding)> {
    let offers = |name: &str| {
        offered
            .split(|&byte| byte == 0)
            .any(|it| it == name.as_bytes())
    };
    let end_point = match settings.binding {
        Binding::Disable => None,
        Binding::Prefer | Binding::Require => tls::server_end_point(socket),
    };
    Ok(match end_point {
        Some(hash) if offers(SCRAM_SHA_256_PLUS) => (
            SCRAM_SHA_256_PLUS,
            ChannelBinding::tls_server_end_point(hash),
        ),
        // Says that we could have bound, so that nobody between can have removed the offer.
        Some(_) if offers(SCRAM_SHA_256) => (SCRAM_SHA_256, ChannelBinding::unrequested()),
        None if offers(SCRAM_SHA_256) => (SCRAM_SHA_256, ChannelBinding::unsupported()),
        _ => {
            return Err(Error::config(
                "the server offers no SASL mechanism that cdc knows (SCRAM-SHA-256)",
            )
            .hint("use scram-sha-256 in pg_hba.conf"));
        }
    })
}

fn password(settings: &Settings) -> Result<&str> {
    settings.password().ok_or_else(|| {
        Error::auth("the server asks for a password, and source.url has none")
            .hint("postgres://USER:${DB_PASSWORD}@HOST/DATABASE")
    })
}

fn unusable(error: std::io::Error) -> Error {
    Error::config("the password cannot be sent").caused_by(error)
}

fn protocol(what: &str) -> Error {
    Error::transient(format!("the server breaks the start-up protocol: {what}"))
}
