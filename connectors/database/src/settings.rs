//! Where and how to connect: a database's URL, taken apart.
//!
//! Invariant: the password is never printed, neither by `Debug` nor by an error. Everything that
//! the URL does not say has a safe default: a server that is not on this machine is reached over
//! TLS with its certificate and name verified.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use cdc_api::{Error, Result};
use percent_encoding::percent_decode_str;

use crate::product::Product;

/// Where the server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A name or an address.
    Tcp(String),
    /// A Unix socket, or the folder that it is in: as the product names it.
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
            Self::Unix(path) => path.display().fmt(f),
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

/// Connection settings, from a [`Url`].
#[derive(Clone)]
pub struct Settings {
    /// What kind of server it is.
    pub product: &'static Product,
    /// Where the server listens.
    pub host: Host,
    /// The port.
    pub port: u16,
    /// The user's name.
    pub user: String,
    /// The database; may be empty.
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
    /// The password, for authentication only; `None` where it is empty.
    pub fn password(&self) -> Option<&str> {
        self.password.as_deref()
    }

    /// Where the server listens, for messages: `host:port`, or the Unix socket.
    pub fn address(&self) -> String {
        match &self.host {
            Host::Tcp(name) => format!("{name}:{}", self.port),
            Host::Unix(path) => path.display().to_string(),
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("user", &self.user)
            .field("address", &self.address())
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

/// A URL like `scheme://user:password@host:port/database?sslmode=verify-full&sslrootcert=ca.pem`,
/// taken apart.
///
/// Parameters of every product: `host`, `port`, `user`, `password`, `dbname`, `sslmode` (`disable`,
/// `prefer`, `require`, `verify-ca`, `verify-full`), `sslrootcert` (a file, or `system`), `sslcert`,
/// `sslkey`, `connect_timeout` (seconds, 10 by default); also `ssl=true`. A host that begins with
/// `/` is a Unix socket's. Without `sslmode`: plain on a loopback address or Unix socket where
/// no other TLS parameter is given, otherwise `verify-full`.
pub struct Url {
    product: &'static Product,
    host: String,
    socket: Option<PathBuf>,
    port: Option<u16>,
    user: String,
    password: Option<String>,
    database: String,
    mode: Option<TlsMode>,
    asks_for_tls: bool,
    root_certificate: Option<String>,
    certificate: Option<String>,
    key: Option<String>,
    timeout: Option<u64>,
    own: Vec<(String, String)>,
}

impl Url {
    /// Takes a URL apart.
    ///
    /// # Errors
    /// `Config`, without the URL's password in it.
    pub fn parse(url: &str, product: &'static Product) -> Result<Self> {
        let rest = product
            .schemes
            .iter()
            .find_map(|scheme| url.strip_prefix(scheme))
            .ok_or_else(|| {
                let schemes = product.schemes.join(" or ");
                malformed(&format!("it does not begin with {schemes}"))
            })?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (credentials, address) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = match credentials.split_once(':') {
            Some((user, password)) => (user, Some(decode(password)?)),
            None => (credentials, None),
        };
        let (host, port) = split_port(address)?;
        let mut url = Self {
            product,
            host: decode(host)?,
            socket: None,
            port,
            user: decode(user)?,
            password,
            database: decode(database)?,
            mode: None,
            asks_for_tls: false,
            root_certificate: None,
            certificate: None,
            key: None,
            timeout: None,
            own: Vec::new(),
        };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            url.set(decode(key)?, decode(value)?)?;
        }
        Ok(url)
    }

    /// Takes the value of a parameter that is the product's own out.
    pub fn take(&mut self, parameter: &str) -> Option<String> {
        let place = self.own.iter().rposition(|(key, _)| key == parameter)?;
        Some(self.own.swap_remove(place).1)
    }

    /// The server listens at this Unix socket, whatever the host is.
    pub fn listens_at(&mut self, socket: PathBuf) {
        self.socket = Some(socket);
    }

    /// Something else asks for TLS, so that it is not left out on this machine either.
    pub fn ask_for_tls(&mut self) {
        self.asks_for_tls = true;
    }

    fn set(&mut self, key: String, value: String) -> Result<()> {
        match key.as_str() {
            "host" => self.host = value,
            "port" => self.port = Some(number(&key, &value)?),
            "user" => self.user = value,
            "password" => self.password = Some(value),
            "dbname" => self.database = value,
            "ssl" => self.asks_for_tls = value == "true",
            "sslmode" => self.mode = Some(tls_mode(&value)?),
            "sslrootcert" => self.root_certificate = Some(value),
            "sslcert" => self.certificate = Some(value),
            "sslkey" => self.key = Some(value),
            "connect_timeout" => self.timeout = Some(number(&key, &value)?),
            own if self.product.parameters.contains(&own) => self.own.push((key, value)),
            _ => {
                let known = self.product.parameters.join(", ");
                return Err(malformed(&format!("parameter {key:?} is not known"))
                    .hint(format!("known parameters: {known}")));
            }
        }
        Ok(())
    }

    /// The settings, with a default for everything that was not said.
    ///
    /// # Errors
    /// `Config` where something is missing or does not go together.
    pub fn settings(self) -> Result<Settings> {
        let product = self.product;
        if self.host.contains(',') {
            return Err(malformed("it names several hosts").hint(product.one_server));
        }
        if self.user.is_empty() {
            return Err(malformed("it names no user").hint(product.example));
        }
        let host = if let Some(socket) = self.socket {
            Host::Unix(socket)
        } else if self.host.starts_with('/') {
            Host::Unix(PathBuf::from(self.host))
        } else if self.host.is_empty() {
            return Err(malformed("it names no host")
                .hint(format!("for a Unix socket: {}", product.socket_example)));
        } else {
            Host::Tcp(self.host)
        };
        let client_certificate = match (self.certificate, self.key) {
            (None, None) => None,
            (Some(certificate), Some(key)) => Some((certificate.into(), key.into())),
            _ => return Err(malformed("sslcert and sslkey go together")),
        };
        let asks_for_tls =
            self.asks_for_tls || self.root_certificate.is_some() || client_certificate.is_some();
        let tls = match self.mode {
            // As libpq: an authority that is named is also used.
            Some(TlsMode::Require) if self.root_certificate.is_some() => TlsMode::VerifyCa,
            Some(mode) => mode,
            None if host.is_local() && !asks_for_tls => TlsMode::Disable,
            None => TlsMode::VerifyFull,
        };
        let tls = match (&host, self.mode, tls) {
            // A Unix socket needs no TLS; only who asks for it is told so.
            (Host::Unix(_), Some(TlsMode::Disable | TlsMode::Prefer) | None, _) => TlsMode::Disable,
            (Host::Unix(_), _, _) => {
                return Err(malformed("there is no TLS over a Unix socket").hint("remove sslmode"));
            }
            (Host::Tcp(_), _, tls) => tls,
        };
        Ok(Settings {
            product,
            host,
            port: self.port.unwrap_or(product.port),
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

/// A URL that cannot be used, and why: without the URL in it.
pub fn malformed(what: &str) -> Error {
    Error::config(format!("source.url cannot be used: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    static STORE: Product = Product {
        schemes: &["store://", "shop://"],
        port: 7000,
        parameters: &["host", "port", "shelf"],
        example: "store://USER@HOST",
        socket_example: "store://USER@/run/store",
        one_server: "name one",
        no_socket: "",
        no_listener: "",
        no_tls: "",
        expired: "",
        refused_certificate: "",
        no_common_version: "",
    };

    fn settings(url: &str) -> Result<Settings> {
        Url::parse(url, &STORE)?.settings()
    }

    #[test]
    fn a_full_url_is_taken_apart() {
        let settings = settings(
            "store://c%40c:p%3Aw%2Fd@db.example.com:6543/shop?sslmode=verify-ca&sslrootcert=/ca.pem&connect_timeout=3",
        )
        .expect("well-formed");
        assert_eq!(settings.host, Host::Tcp("db.example.com".to_owned()));
        assert_eq!(settings.port, 6543);
        assert_eq!(settings.user, "c@c");
        assert_eq!(settings.password(), Some("p:w/d"));
        assert_eq!(settings.database, "shop");
        assert_eq!(settings.tls, TlsMode::VerifyCa);
        assert_eq!(settings.connect_timeout, Duration::from_secs(3));
        assert_eq!(settings.address(), "db.example.com:6543");
    }

    #[test]
    fn tls_without_a_mode_verifies_everything() {
        let mode = |url| settings(url).expect("well-formed").tls;
        assert_eq!(mode("store://u@10.0.0.1/d"), TlsMode::VerifyFull);
        assert_eq!(mode("shop://u@localhost/d"), TlsMode::Disable);
        assert_eq!(mode("store://u@[::1]:5433/d"), TlsMode::Disable);
        assert_eq!(mode("store://u@localhost/d?ssl=true"), TlsMode::VerifyFull);
        assert_eq!(
            mode("store://u@127.0.0.1/d?sslrootcert=ca.pem"),
            TlsMode::VerifyFull
        );
        assert_eq!(
            mode("store://u@h/d?sslmode=require&sslrootcert=ca.pem"),
            TlsMode::VerifyCa
        );
        assert_eq!(mode("store://u@h/d?sslmode=require"), TlsMode::Require);
    }

    #[test]
    fn a_product_has_parameters_of_its_own() {
        let mut url = Url::parse("store://u@h/d?shelf=1&shelf=2", &STORE).expect("well-formed");
        assert_eq!(url.take("shelf").as_deref(), Some("2"));
        assert_eq!(url.take("drawer"), None);
        url.listens_at("shelf/2".into());
        let settings = url.settings().expect("settings");
        assert_eq!(settings.host, Host::Unix("shelf/2".into()));
        assert_eq!((settings.port, settings.tls), (7000, TlsMode::Disable));
        let mut url = Url::parse("store://u@localhost", &STORE).expect("well-formed");
        url.ask_for_tls();
        let settings = url.settings().expect("settings");
        assert_eq!(settings.tls, TlsMode::VerifyFull);
    }

    #[test]
    fn what_cannot_be_used_is_refused_without_the_password() {
        for (url, why) in [
            ("postgres://u:hunter2@h/d", "store:// or shop://"),
            ("store://u:hunter2@h,g/d", "several hosts"),
            ("store://u:hunter2@h:port/d", "port is not a number"),
            (
                "store://u:hunter2@h/d?sslmode=maybe",
                "sslmode is not known",
            ),
            ("store://u:hunter2@h/d?wings=2", "\"wings\" is not known"),
            ("store://u:hunter2@h/d?sslcert=a", "go together"),
            ("store://:hunter2@h/d", "no user"),
            ("store://u:hunter2@/d", "no host"),
            ("store://u:hunter2@[::1/d", "not closed"),
            ("store://u:hunter2@%2Frun/d?sslmode=require", "no TLS"),
        ] {
            let error = settings(url).expect_err("must be refused");
            assert_eq!(error.kind(), cdc_api::ErrorKind::Config, "{url}");
            assert!(error.message().contains(why), "{url}: {error}");
            assert!(!format!("{error:?}").contains("hunter2"), "{url}");
        }
        let settings = settings("store://u:hunter2@h/d").expect("well-formed");
        assert!(!format!("{settings:?}").contains("hunter2"));
    }
}
