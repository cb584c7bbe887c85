//! Where and how to connect: the postgres URL, and what an operator of such a server mends by which
//! of its settings.

use std::fmt;
use std::ops::Deref;

use cdc_api::Result;
use cdc_database::settings::malformed;
use cdc_database::{Product, Url};

static POSTGRES: Product = Product {
    schemes: &["postgres://", "postgresql://"],
    port: 5432,
    parameters: &[
        "host",
        "port",
        "user",
        "password",
        "dbname",
        "sslmode",
        "sslrootcert",
        "sslcert",
        "sslkey",
        "channel_binding",
        "connect_timeout",
        "application_name",
    ],
    example: "postgres://USER:PASSWORD@HOST/DATABASE",
    socket_example: "postgres://user@/database?host=/run/postgresql",
    one_server: "name the primary alone in source.url; a standby cannot hold the slot",
    no_socket: "check that the server runs, and that host and port in source.url name its \
                unix_socket_directories and port",
    no_listener: "check that the server runs and listens there (listen_addresses, port), and that \
                  no firewall is between",
    no_tls: "set ssl = on, ssl_cert_file and ssl_key_file in the server's postgresql.conf, or add \
             sslmode=disable to source.url where the network is trusted",
    expired: "renew the certificate in ssl_cert_file, then SELECT pg_reload_conf()",
    refused_certificate: "where pg_hba.conf asks for clientcert, give sslcert and sslkey of a \
                          certificate that the server's ssl_ca_file has signed",
    no_common_version: "set ssl_min_protocol_version = 'TLSv1.2' or later on the server",
};

/// Whether SCRAM is bound to the TLS session (`tls-server-end-point`, RFC 5929).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Binding {
    /// Never.
    Disable,
    /// Where the server offers it.
    Prefer,
    /// Anything else is refused.
    Require,
}

/// Connection settings, from a URL like
/// `postgres://user:password@host:5432/database?sslmode=verify-full&sslrootcert=ca.pem`.
///
/// A Unix socket is named by its folder, `postgres://user@/database?host=/run/postgresql`.
/// Parameters are those of libpq that make sense here: those of [`Url`], `channel_binding` and
/// `application_name`.
#[derive(Clone)]
pub(crate) struct Settings {
    server: cdc_database::Settings,
    /// Whether SCRAM is bound to the TLS session.
    pub(crate) binding: Binding,
    /// The name in `pg_stat_activity`.
    pub(crate) application_name: String,
}

impl Settings {
    /// Takes a URL apart.
    ///
    /// # Errors
    /// `Config`, without the URL's password in it.
    pub(crate) fn parse(url: &str) -> Result<Self> {
        let mut url = Url::parse(url, &POSTGRES)?;
        let binding = match url.take("channel_binding").as_deref() {
            Some("disable") => Binding::Disable,
            None | Some("prefer") => Binding::Prefer,
            Some("require") => Binding::Require,
            Some(_) => return Err(malformed("channel_binding is disable, prefer or require")),
        };
        if binding == Binding::Require {
            url.ask_for_tls();
        }
        let application_name = url.take("application_name");
        let mut server = url.settings()?;
        if server.database.is_empty() {
            server.database.clone_from(&server.user);
        }
        Ok(Self {
            server,
            binding,
            application_name: application_name.unwrap_or_else(|| "cdc".to_owned()),
        })
    }

    /// The host and database, for messages: never the password.
    pub(crate) fn place(&self) -> String {
        format!("{}:{}/{}", self.host, self.port, self.database)
    }
}

impl Deref for Settings {
    type Target = cdc_database::Settings;

    fn deref(&self) -> &Self::Target {
        &self.server
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.server.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use cdc_database::{Host, TlsMode};

    use super::*;

    #[test]
    fn the_database_is_the_roles_unless_it_is_named() {
        let settings = Settings::parse("postgresql://u@db.example.com").expect("well-formed");
        assert_eq!(settings.place(), "db.example.com:5432/u");
        let settings = Settings::parse("postgres://u@h/d?application_name=a").expect("well-formed");
        assert_eq!(settings.place(), "h:5432/d");
        assert_eq!(settings.application_name, "a");
    }

    #[test]
    fn a_unix_socket_is_named_by_its_folder() {
        for url in [
            "postgres://u@/d?host=/run/pg&port=5433",
            "postgres://u@%2Frun%2Fpg:5433/d",
        ] {
            let settings = Settings::parse(url).expect("well-formed");
            assert_eq!(settings.host, Host::Unix("/run/pg".into()));
            assert_eq!(settings.port, 5433);
            assert_eq!(settings.tls, TlsMode::Disable);
        }
    }

    #[test]
    fn a_required_binding_asks_for_tls() {
        let settings = Settings::parse("postgres://u@localhost/d?channel_binding=require")
            .expect("well-formed");
        assert_eq!(settings.binding, Binding::Require);
        assert_eq!(settings.tls, TlsMode::VerifyFull);
    }

    #[test]
    fn what_cannot_be_used_is_refused() {
        for url in [
            "mysql://u@h/d",
            "postgres://u@h,g/d",
            "postgres://u@h/d?channel_binding=maybe",
            "postgres://u@/d",
            "postgres://u@/d?host=/run&sslmode=require",
        ] {
            let error = Settings::parse(url).expect_err("must be refused");
            assert_eq!(error.kind(), cdc_api::ErrorKind::Config, "{url}");
        }
    }
}
