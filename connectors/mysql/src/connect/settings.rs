//! Where and how to connect: the mysql URL, and what an operator of such a server mends by which of
//! its settings.

use cdc_api::Result;
use cdc_database::{Product, Settings, Url};

/// MySQL and MariaDB.
static MYSQL: Product = Product {
    schemes: &["mysql://", "mariadb://"],
    port: 3306,
    parameters: &[
        "host",
        "port",
        "user",
        "password",
        "dbname",
        "socket",
        "sslmode",
        "sslrootcert",
        "sslcert",
        "sslkey",
        "connect_timeout",
    ],
    example: "mysql://USER:PASSWORD@HOST:3306/DATABASE",
    socket_example: "mysql://user@/?socket=/run/mysqld/mysqld.sock",
    one_server: "name one server in source.url: positions are looked up on it alone",
    no_socket: "check that the server runs, and that socket in source.url is its @@socket",
    no_listener: "check that the server runs and listens there (bind_address, port), and that no \
                  firewall is between",
    no_tls: "set ssl_cert and ssl_key in the server's configuration, or add sslmode=disable to \
             source.url where the network is trusted",
    expired: "renew the certificate in ssl_cert, then ALTER INSTANCE RELOAD TLS (MariaDB: FLUSH SSL)",
    refused_certificate: "where the user has REQUIRE X509, give sslcert and sslkey of a certificate \
                          that the server's ssl_ca has signed",
    no_common_version: "set tls_version = 'TLSv1.2,TLSv1.3' on the server",
};

/// Settings from a URL like
/// `mysql://user:password@host:3306/database?sslmode=verify-full&sslrootcert=ca.pem`; `mariadb://` is
/// the same. The database is only a default and may be left out.
///
/// A Unix socket is named by its file, `mysql://user@/database?socket=/run/mysqld/mysqld.sock`. The
/// other parameters are those of [`Url`].
///
/// # Errors
/// `Config`, without the URL's password in it.
pub(crate) fn parse(url: &str) -> Result<Settings> {
    let mut url = Url::parse(url, &MYSQL)?;
    if let Some(file) = url.take("socket").filter(|file| !file.is_empty()) {
        url.listens_at(file.into());
    }
    url.settings()
}

#[cfg(test)]
mod tests {
    use cdc_database::{Host, TlsMode};

    use super::*;

    #[test]
    fn mariadb_is_the_same_and_the_database_may_be_left_out() {
        for url in ["mysql://u@db.example.com", "mariadb://u@db.example.com/"] {
            let settings = parse(url).expect("well-formed");
            assert_eq!(settings.host, Host::Tcp("db.example.com".to_owned()));
            assert_eq!((settings.port, settings.database.as_str()), (3306, ""));
        }
    }

    #[test]
    fn a_unix_socket_is_named_by_its_file() {
        for url in [
            "mysql://u@/?socket=/run/my.sock",
            "mysql://u@localhost/d?socket=/run/my.sock",
            "mariadb://u@%2Frun%2Fmy.sock/d",
        ] {
            let settings = parse(url).expect("well-formed");
            assert_eq!(settings.host, Host::Unix("/run/my.sock".into()));
            assert_eq!(settings.address(), "/run/my.sock");
            assert_eq!(settings.tls, TlsMode::Disable);
        }
    }

    #[test]
    fn what_cannot_be_used_is_refused() {
        for url in [
            "postgres://u@h/d",
            "mysql://u@h,g/d",
            "mysql://u@h/d?channel_binding=require",
            "mysql://u@/d",
            "mysql://u@/d?socket=/run&sslmode=require",
        ] {
            let error = parse(url).expect_err("must be refused");
            assert_eq!(error.kind(), cdc_api::ErrorKind::Config, "{url}");
        }
    }
}
