//! Authentication: the plugins of MySQL and MariaDB.
//!
//! Invariant: the password itself goes only over TLS or a Unix socket; over a plain connection it is
//! hashed with the server's nonce or encrypted with the server's RSA key. Plugins that would need
//! more (`mysql_old_password`, `mysql_clear_password` over a plain connection) are refused.

use cdc_api::{Error, Result};
use cdc_database::Settings;
use mysql_common::crypto;
use mysql_common::io::ParseBuf;
use mysql_common::packets::{AuthPlugin, AuthSwitchRequest};

use super::wire::Wire;
use crate::refusal::Refusal;

/// What the first answer to the server's handshake carries: the plugin, and the response to it.
pub(super) fn first(offered: Option<AuthPlugin<'_>>) -> AuthPlugin<'static> {
    match offered {
        Some(AuthPlugin::CachingSha2Password) => AuthPlugin::CachingSha2Password,
        _ => AuthPlugin::MysqlNativePassword,
    }
}

/// The response of a plugin to a nonce; empty without a password.
pub(super) fn response(plugin: &AuthPlugin<'_>, password: Option<&str>, nonce: &[u8]) -> Vec<u8> {
    match plugin.gen_data(password, nonce) {
        Some(data) => {
            let mut bytes = Vec::new();
            mysql_common::proto::MySerialize::serialize(&data, &mut bytes);
            bytes
        }
        None => Vec::new(),
    }
}

/// Goes on after the first response until the server is content.
///
/// # Errors
/// `Auth` where the server refuses, or asks for what is not done here.
pub(super) async fn go_on(
    wire: &mut Wire,
    settings: &Settings,
    mut plugin: AuthPlugin<'static>,
    mut nonce: Vec<u8>,
) -> Result<()> {
    let password = settings.password();
    let private = wire.socket.is_private();
    let mut switched = false;
    loop {
        let packet = wire.next().await?;
        match packet {
            [0x00, ..] => return Ok(()),
            [0xff, ..] => return Err(Refusal::parse(packet).explain(settings)),
            [0xfe] => return Err(refused_plugin("mysql_old_password", settings)),
            [0xfe, ..] if !switched => {
                switched = true;
                let request = ParseBuf(packet)
                    .parse::<AuthSwitchRequest<'_>>(())
                    .map_err(|error| odd().caused_by(error))?;
                plugin = request.auth_plugin().into_owned();
                nonce = request.plugin_data().to_vec();
                let answer = match &plugin {
                    AuthPlugin::MysqlClearPassword if private => {
                        [password.unwrap_or_default().as_bytes(), &[0]].concat()
                    }
                    // Old accounts; also what MySQL pretends of users that it does not have.
                    AuthPlugin::Other(name) if **name == *b"sha256_password" => {
                        let whole = [password.unwrap_or_default().as_bytes(), &[0]].concat();
                        match private {
                            true => whole,
                            false => encrypted(wire, 0x01, whole, &nonce).await?,
                        }
                    }
                    AuthPlugin::CachingSha2Password
                    | AuthPlugin::MysqlNativePassword
                    | AuthPlugin::Ed25519 => response(&plugin, password, &nonce),
                    other => {
                        let name = String::from_utf8_lossy(other.as_bytes());
                        return Err(refused_plugin(&name, settings));
                    }
                };
                wire.send(&answer).await?;
            }
            // caching_sha2_password: known to the server's cache.
            [0x01, 0x03] if plugin == AuthPlugin::CachingSha2Password => {}
            // caching_sha2_password: the whole password is wanted.
            [0x01, 0x04] if plugin == AuthPlugin::CachingSha2Password => {
                let mut whole = password.unwrap_or_default().as_bytes().to_vec();
                whole.push(0);
                if !private {
                    whole = encrypted(wire, 0x02, whole, &nonce).await?;
                }
                wire.send(&whole).await?;
            }
            _ => return Err(odd()),
        }
    }
}

/// The password for a plain connection: masked with the nonce, encrypted with the server's key.
/// `request` asks for the key, each plugin by another byte.
async fn encrypted(
    wire: &mut Wire,
    request: u8,
    mut password: Vec<u8>,
    nonce: &[u8],
) -> Result<Vec<u8>> {
    wire.send(&[request]).await?;
    let key = match wire.next().await? {
        [0x01, key @ ..] => key.to_vec(),
        _ => {
            return Err(Error::auth("the server gave no RSA key for the password")
                .hint("connect with sslmode=require or better in source.url"));
        }
    };
    for (byte, mask) in password.iter_mut().zip(nonce.iter().cycle()) {
        *byte ^= mask;
    }
    // A key that is none makes the library panic; what the server sends may be anything.
    std::panic::catch_unwind(|| crypto::encrypt(&password, &key)).map_err(|_| {
        Error::auth("the server's RSA key cannot be read")
            .hint("connect with sslmode=require or better in source.url")
    })
}

fn refused_plugin(name: &str, settings: &Settings) -> Error {
    let user = &settings.user;
    Error::auth(format!(
        "the user {user:?} is authenticated by {name}, which is not done here"
    ))
    .hint(format!(
        "ALTER USER '{user}'@'%' IDENTIFIED WITH caching_sha2_password BY '…' (MariaDB: IDENTIFIED \
         VIA ed25519 USING PASSWORD('…'), or mysql_native_password)"
    ))
}

fn odd() -> Error {
    Error::transient("the server's part of the authentication cannot be read")
        .hint("name a MySQL or MariaDB server in source.url, not a proxy of another protocol")
}
