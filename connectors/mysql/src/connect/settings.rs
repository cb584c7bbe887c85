//! Where and how to connect: the mysql URL, taken apart.
//!
//! Invariant: the password is never printed, neither by `Debug` nor by an error. Everything that
//! the URL does not say has a safe default: a server that is not on this machine is reached over
//! TLS with its certificate and name verified.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use cdc_api::{Error, Result};
use percent_encoding::percent_decode_str;

/// Where the server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A name or an address.
    Tcp(String),
    /// The file of a Unix socket.
    Unix(PathBuf),
}

impl Host {
    /// Whether the traffic stays on this machine.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Tcp(name) => {
                name == "localhost"
                    || name
                        .parse::<std::net::IpAddr>()
                        .is_ok_and(|address| address.is_loopback())
            }
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(name) => f.write_str(name),
            Self::Unix(file) => file.display().fmt(f),
        }
    }
}

/// How far the server's identity is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    /// No TLS.
    Disable,
    /// TLS where the server has it, nothing verified; plain otherwise.
    Prefer,
    /// TLS, nothing verified: no protection against an active attacker.
    Require,
    /// TLS, and the certificate is signed by a known authority.
    VerifyCa,
    /// TLS, the certificate is signed by a known authority and names the host.
    VerifyFull,
}

/// Connection settings, from a URL like
/// `mysql://user:password@host:3306/database?sslmode=verify-full&sslrootcert=ca.pem`; `mariadb://` is
/// the same. The database is only a default and may be left out.
///
/// A Unix socket is named by its file, `mysql://user@/database?socket=/run/mysqld/mysqld.sock`.
/// Parameters: `host`, `port`, `user`, `password`, `dbname`, `socket`, `sslmode` (`disable`, `prefer`,
/// `require`, `verify-ca`, `verify-full`), `sslrootcert` (a file, or `system`), `sslcert`, `sslkey`,
/// `connect_timeout`. Without `sslmode`: plain on a loopback address or Unix socket where no other
/// TLS parameter is given, otherwise `verify-full`.
#[derive(Clone)]
pub struct Settings {
    /// Where the server listens.
    pub host: Host,
    /// The port.
    pub port: u16,
    /// The user's name.
    pub user: String,
    /// The default database; may be empty.
    pub database: String,
    /// How TLS is used.
    pub tls: TlsMode,
    /// File with the authorities to trust instead of the system's.
    pub root_certificate: Option<PathBuf>,
    /// Client certificate (chain) and its key.
    pub client_certificate: Option<(PathBuf, PathBuf)>,
    /// How long connecting, with authentication, may take.
    pub connect_timeout: Duration,
    password: Option<String>,
}

impl Settings {
    /// Takes a URL apart.
    ///
    /// # Errors
    /// `Config`, without the URL's password in it.
    pub fn parse(url: &str) -> Result<Self> {
        let rest = url
            .strip_prefix("mysql://")
            .or_else(|| url.strip_prefix("mariadb://"))
            .ok_or_else(|| malformed("it does not begin with mysql:// or mariadb://"))?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (credentials, address) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = match credentials.split_once(':') {
            Some((user, password)) => (user, Some(decode(password)?)),
            None => (credentials, None),
        };
        let (host, port) = split_port(address)?;
        let mut draft = Draft {
            host: decode(host)?,
            port,
            user: decode(user)?,
            password,
            database: decode(database)?,
            ..Draft::default()
        };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            draft.set(&decode(key)?, decode(value)?)?;
        }
        draft.finish()
    }

    /// The password, for authentication only.
    pub(crate) fn password(&self) -> Option<&str> {
        self.password.as_deref()
    }

    /// Where the server is, for messages: never the password.
    pub(crate) fn place(&self) -> String {
        match &self.host {
            Host::Tcp(name) => format!("{name}:{}", self.port),
            Host::Unix(file) => file.display().to_string(),
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("user", &self.user)
            .field("place", &self.place())
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Draft {
    host: String,
    socket: String,
    port: Option<u16>,
    user: String,
    password: Option<String>,
    database: String,
    mode: Option<TlsMode>,
    ssl: bool,
    root_certificate: Option<String>,
    certificate: Option<String>,
    key: Option<String>,
    timeout: Option<u64>,
}

impl Draft {
    fn set(&mut self, key: &str, value: String) -> Result<()> {
        match key {
            "host" => self.host = value,
            "socket" => self.socket = value,
            "port" => self.port = Some(number(key, &value)?),
            "user" => self.user = value,
            "password" => self.password = Some(value),
            "dbname" => self.database = value,
            "ssl" => self.ssl = value == "true",
            "sslmode" => self.mode = Some(tls_mode(&value)?),
            "sslrootcert" => self.root_certificate = Some(value),
            "sslcert" => self.certificate = Some(value),
            "sslkey" => self.key = Some(value),
            "connect_timeout" => self.timeout = Some(number(key, &value)?),
            _ => {
                return Err(malformed(&format!("parameter {key:?} is not known")).hint(
                    "known parameters: host, port, user, password, dbname, socket, sslmode, \
                     sslrootcert, sslcert, sslkey, connect_timeout",
                ));
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<Settings> {
        if self.host.contains(',') {
            return Err(malformed("it names several hosts")
                .hint("name one server in source.url: positions are looked up on it alone"));
        }
        if self.user.is_empty() {
            return Err(
                malformed("it names no user").hint("mysql://USER:PASSWORD@HOST:3306/DATABASE")
            );
        }
        let host = if !self.socket.is_empty() {
            Host::Unix(PathBuf::from(self.socket))
        } else if self.host.starts_with('/') {
            Host::Unix(PathBuf::from(self.host))
        } else if self.host.is_empty() {
            return Err(malformed("it names no host")
                .hint("for a Unix socket: mysql://user@/?socket=/run/mysqld/mysqld.sock"));
        } else {
            Host::Tcp(self.host)
        };
        let client_certificate = match (self.certificate, self.key) {
            (None, None) => None,
            (Some(certificate), Some(key)) => Some((certificate.into(), key.into())),
            _ => return Err(malformed("sslcert and sslkey go together")),
        };
        let tls_asked = self.ssl || self.root_certificate.is_some() || client_certificate.is_some();
        let tls = match self.mode {
            // An authority that is named is also used.
            Some(TlsMode::Require) if self.root_certificate.is_some() => TlsMode::VerifyCa,
            Some(mode) => mode,
            None if host.is_local() && !tls_asked => TlsMode::Disable,
            None => TlsMode::VerifyFull,
        };
        let tls = match (&host, self.mode, tls) {
            // A Unix socket needs no TLS; only who asks for it is told so.
            (Host::Unix(_), Some(TlsMode::Disable | TlsMode::Prefer) | None, _) => TlsMode::Disable,
            (Host::Unix(_), _, _) => {
                return Err(malformed("TLS is not used over a Unix socket").hint("remove sslmode"));
            }
            (Host::Tcp(_), _, tls) => tls,
        };
        Ok(Settings {
            host,
            port: self.port.unwrap_or(3306),
            user: self.user,
            database: self.database,
            tls,
            root_certificate: self
                .root_certificate
                .filter(|file| file != "system")
                .map(PathBuf::from),
            client_certificate,
            connect_timeout: Duration::from_secs(self.timeout.unwrap_or(10).max(1)),
            password: self.password.filter(|password| !password.is_empty()),
        })
    }
}

fn tls_mode(value: &str) -> Result<TlsMode> {
    Ok(match value {
        "disable" => TlsMode::Disable,
        "prefer" => TlsMode::Prefer,
        "require" => TlsMode::Require,
        "verify-ca" => TlsMode::VerifyCa,
        "verify-full" => TlsMode::VerifyFull,
        _ => {
            return Err(malformed("sslmode is not known")
                .hint("sslmode is disable, prefer, require, verify-ca or verify-full"));
        }
    })
}

/// `host:port`, `[v6]:port`, either without the port.
fn split_port(address: &str) -> Result<(&str, Option<u16>)> {
    let (host, port) = match address.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest
                .split_once(']')
                .ok_or_else(|| malformed("the bracket of the address is not closed"))?;
            (host, rest.strip_prefix(':'))
        }
        None => match address.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (address, None),
        },
    };
    let port = match port {
        None | Some("") => None,
        Some(port) => Some(number("port", port)?),
    };
    Ok((host, port))
}

fn number<T: std::str::FromStr>(key: &str, value: &str) -> Result<T> {
    value
        .parse()
        .map_err(|_| malformed(&format!("{key} is not a number in range")))
}

fn decode(text: &str) -> Result<String> {
    Ok(percent_decode_str(text)
        .decode_utf8()
        .map_err(|_| malformed("a percent-encoded part is not UTF-8"))?
        .into_owned())
}

fn malformed(what: &str) -> Error {
    Error::config(format!("source.url cannot be used: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_url_is_taken_apart() {
        let settings = Settings::parse(
            "mysql://c%40c:p%3Aw%2Fd@db.example.com:6543/shop?sslmode=verify-ca&sslrootcert=/ca.pem&connect_timeout=3",
        )
        .expect("well-formed");
        assert_eq!(settings.host, Host::Tcp("db.example.com".to_owned()));
        assert_eq!(settings.port, 6543);
        assert_eq!(settings.user, "c@c");
        assert_eq!(settings.password(), Some("p:w/d"));
        assert_eq!(settings.database, "shop");
        assert_eq!(settings.tls, TlsMode::VerifyCa);
        assert_eq!(settings.connect_timeout, Duration::from_secs(3));
    }

    #[test]
    fn tls_without_a_mode_verifies_everything() {
        let mode = |url| Settings::parse(url).expect("well-formed").tls;
        assert_eq!(mode("mysql://u@10.0.0.1/d"), TlsMode::VerifyFull);
        assert_eq!(mode("mysql://u@localhost/d"), TlsMode::Disable);
        assert_eq!(mode("mysql://u@[::1]:5433/d"), TlsMode::Disable);
        assert_eq!(mode("mysql://u@localhost/d?ssl=true"), TlsMode::VerifyFull);
        assert_eq!(
            mode("mysql://u@127.0.0.1/d?sslrootcert=ca.pem"),
            TlsMode::VerifyFull
        );
        assert_eq!(
            mode("mysql://u@h/d?sslmode=require&sslrootcert=ca.pem"),
            TlsMode::VerifyCa
        );
        assert_eq!(mode("mysql://u@h/d?sslmode=require"), TlsMode::Require);
    }

    #[test]
    fn a_unix_socket_is_named_by_its_file() {
        for url in [
            "mysql://u@/?socket=/run/my.sock",
            "mysql://u@localhost/d?socket=/run/my.sock",
            "mariadb://u@%2Frun%2Fmy.sock/d",
        ] {
            let settings = Settings::parse(url).expect("well-formed");
            assert_eq!(settings.host, Host::Unix("/run/my.sock".into()));
            assert_eq!(settings.tls, TlsMode::Disable);
        }
    }

    #[test]
    fn what_cannot_be_used_is_refused_without_the_password() {
        for url in [
            "postgres://u:hunter2@h/d",
            "mysql://u:hunter2@h,g/d",
            "mysql://u:hunter2@h:port/d",
            "mysql://u:hunter2@h/d?sslmode=maybe",
            "mysql://u:hunter2@h/d?wings=2",
            "mysql://u:hunter2@h/d?sslcert=a",
            "mysql://:hunter2@h/d",
            "mysql://u:hunter2@/d",
            "mysql://u:hunter2@/d?socket=/run&sslmode=require",
        ] {
            let error = Settings::parse(url).expect_err("must be refused");
            assert_eq!(error.kind(), cdc_api::ErrorKind::Config, "{url}");
            assert!(!format!("{error:?}").contains("hunter2"), "{url}");
        }
        let settings = Settings::parse("mysql://u:hunter2@h/d").expect("well-formed");
        assert!(!format!("{settings:?}").contains("hunter2"));
    }
}
