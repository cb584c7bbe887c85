//! A broker that asks for certificates and passwords: one listener speaks TLS, one SASL, one both.
//!
//! Its certificate is for `localhost` and 127.0.0.1; the listeners with TLS answer at 127.0.0.2 too, which it is not
//! for. Its user is [`USER`], who may do all; [`GUEST`] may do what [`Secured::allow`] lets him. Tokens (OAUTHBEARER) are
//! taken unsigned.

use std::path::PathBuf;

use super::Kafka;
use crate::{free_port, unprivileged};

/// Who may come in, by every mechanism.
pub const USER: &str = "alice";

/// The user's password.
pub const PASSWORD: &str = "hunter2-secret";

/// Who comes in by PLAIN with the same password, and may do nothing.
pub const GUEST: &str = "bob";

/// A running broker with its listeners' ports.
#[derive(Debug)]
pub struct Secured {
    /// The broker; what it answers at without security is for its own start.
    pub broker: Kafka,
    /// Speaks TLS.
    pub tls: u16,
    /// Asks for a user.
    pub sasl: u16,
    /// Speaks TLS and asks for a user.
    pub both: u16,
}

impl Secured {
    /// A broker that answers.
    pub async fn start() -> Self {
        let (port, tls, sasl, both) = (free_port(), free_port(), free_port(), free_port());
        let mut broker = Kafka::prepare(port, port);
        let folder = broker.folder.path().to_owned();
        let (key, certificate) = (folder.join("key.pem"), folder.join("certificate.pem"));
        unprivileged::make_certificate(&folder, &key, &certificate);
        let read = |path: &PathBuf| std::fs::read_to_string(path).expect("was made just now");
        let store = folder.join("store.pem");
        unprivileged::write(&store, &format!("{}{}", read(&key), read(&certificate)));
        let controller = broker.controller;
        let module = "org.apache.kafka.common.security";
        let mut settings = vec![
            (
                "listeners".to_owned(),
                format!(
                    "PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller},TLS://0.0.0.0:{tls},\
                     SASL://127.0.0.1:{sasl},BOTH://0.0.0.0:{both}"
                ),
            ),
            (
                "advertised.listeners".to_owned(),
                format!(
                    "PLAINTEXT://127.0.0.1:{port},TLS://localhost:{tls},SASL://127.0.0.1:{sasl},\
                     BOTH://localhost:{both}"
                ),
            ),
            (
                "listener.security.protocol.map".to_owned(),
                "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,TLS:SSL,SASL:SASL_PLAINTEXT,BOTH:SASL_SSL"
                    .to_owned(),
            ),
            ("inter.broker.listener.name".to_owned(), "PLAINTEXT".to_owned()),
            (
                "authorizer.class.name".to_owned(),
                "org.apache.kafka.metadata.authorizer.StandardAuthorizer".to_owned(),
            ),
            (
                "super.users".to_owned(),
                format!("User:ANONYMOUS;User:{USER}"),
            ),
            ("ssl.keystore.type".to_owned(), "PEM".to_owned()),
            (
                "ssl.keystore.location".to_owned(),
                store.display().to_string(),
            ),
        ];
        for listener in ["sasl", "both"] {
            let prefix = format!("listener.name.{listener}");
            settings.push((
                format!("{prefix}.sasl.enabled.mechanisms"),
                "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER".to_owned(),
            ));
            for (mechanism, jaas) in [
                (
                    "plain",
                    format!(
                        "plain.PlainLoginModule required user_{USER}=\"{PASSWORD}\" \
                         user_{GUEST}=\"{PASSWORD}\";"
                    ),
                ),
                (
                    "scram-sha-256",
                    "scram.ScramLoginModule required;".to_owned(),
                ),
                (
                    "scram-sha-512",
                    "scram.ScramLoginModule required;".to_owned(),
                ),
                (
                    "oauthbearer",
                    "oauthbearer.OAuthBearerLoginModule required \
                     unsecuredLoginStringClaim_sub=\"broker\";"
                        .to_owned(),
                ),
            ] {
                settings.push((
                    format!("{prefix}.{mechanism}.sasl.jaas.config"),
                    format!("{module}.{jaas}"),
                ));
            }
        }
        broker.settings = settings;
        let user = |mechanism| format!("{mechanism}=[name={USER},password={PASSWORD}]");
        broker.format(&[
            "--add-scram",
            &user("SCRAM-SHA-256"),
            "--add-scram",
            &user("SCRAM-SHA-512"),
        ]);
        broker.boot().await;
        Self {
            broker,
            tls,
            sasl,
            both,
        }
    }

    /// Lets [`GUEST`] do all with what is of this kind (`topic`, `transactional-id`) and has a name that begins so.
    ///
    /// # Panics
    ///
    /// Where the broker does not take it.
    pub fn allow(&self, kind: &str, name: &str) {
        let mut command = self.broker.java();
        command
            .args(["org.apache.kafka.tools.AclCommand", "--bootstrap-server"])
            .arg(self.broker.brokers())
            .args(["--add", "--allow-principal", &format!("User:{GUEST}")])
            .args(["--operation", "All", &format!("--{kind}"), name])
            .args(["--resource-pattern-type", "prefixed"]);
        unprivileged::succeed(&mut command);
    }

    /// The authority that vouches for the broker.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.broker.folder.path().join("certificate.pem")
    }

    /// An authority that vouches for somebody else.
    #[must_use]
    pub fn foreign_authority(&self) -> PathBuf {
        let folder = self.broker.folder.path();
        let certificate = folder.join("foreign.pem");
        unprivileged::make_certificate(folder, &folder.join("foreign-key.pem"), &certificate);
        certificate
    }
}
