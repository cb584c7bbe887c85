//! What librdkafka reports while it works: records that failed, and why connections cannot be made.
//!
//! Invariant: of its texts only the brokers' addresses and what the system says of them are kept.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cdc_api::Error;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{DeliveryResult, ProducerContext};

use super::meaning::meaning;

/// Hang-ups before an answer that are no accident: two, since a broker that is just stopped makes one.
const HANG_UPS: u8 = 2;

/// Where a client's log lines and failed deliveries go.
#[derive(Default)]
pub(crate) struct Reports {
    pub(super) seen: Arc<Mutex<Seen>>,
}

/// What became of a producer's records, and of a client's connections.
#[derive(Default)]
pub(super) struct Seen {
    /// The first that failed in this transaction.
    pub(super) failed: Option<Failed>,
    /// Why a connection was refused, where only the operator can mend that.
    pub(super) refused: Option<Refusal>,
    /// Why the last connection could not be made, or was lost.
    pub(super) unreached: Option<String>,
    /// How often a broker hung up before it had answered.
    hung_up: u8,
    /// Whether a broker has ever answered: what was seen before may be over.
    pub(super) answered: bool,
}

impl Seen {
    /// Forgets what was seen of connections before the last answer. Until there was one all counts: a refusal is told
    /// once.
    pub(super) fn forget(&mut self) {
        if self.answered {
            (self.refused, self.unreached, self.hung_up) = (None, None, 0);
        }
    }

    /// Takes note of an error that the library tells.
    fn told(&mut self, code: Option<RDKafkaErrorCode>, reason: &str) {
        self.refused = Some(match code {
            Some(RDKafkaErrorCode::Authentication) if reason.contains("OAUTHBEARER token") => {
                Refusal::Token
            }
            Some(RDKafkaErrorCode::Authentication) => Refusal::Credentials,
            Some(RDKafkaErrorCode::SSL) if reason.contains("verify") => Refusal::Certificate,
            Some(RDKafkaErrorCode::SSL) => Refusal::Tls,
            _ => return,
        });
    }

    /// Takes note of a connection's end, as the library logs it: not all of them are told.
    fn logged(&mut self, line: &str) {
        let line = line.split_once("]: ").map_or(line, |(_, line)| line);
        self.unreached = Some(why(line));
        // Where one side speaks TLS, or asks for a user, and the other does not.
        if is_early(line) {
            self.hung_up = self.hung_up.saturating_add(1);
            if self.hung_up >= HANG_UPS && self.refused.is_none() {
                self.refused = Some(Refusal::Protocol);
            }
        }
    }
}

/// The other side ended it before there was an answer that made sense.
fn is_early(line: &str) -> bool {
    let ends = ["Disconnected", "handshake failed", "Invalid response size"];
    let Some((said, after)) = line.rsplit_once(" (after ") else {
        return false;
    };
    let Some((milliseconds, state)) = after.split_once("ms in state ") else {
        return false;
    };
    let state = state.split([')', ',']).next().unwrap_or(state);
    ends.iter().any(|end| said.contains(end))
        && match state {
            "SSL_HANDSHAKE" | "APIVERSION_QUERY" => true,
            "UP" => milliseconds.parse::<u64>().is_ok_and(|it| it < 1000),
            _ => false,
        }
}

/// `host:port: what the system said`, of `host:port/1: doing this: What the system said (after 3ms in state CONNECT)`.
fn why(line: &str) -> String {
    let text = line.split(" (after ").next().unwrap_or(line);
    let Some((broker, said)) = text.split_once(": ") else {
        return text.to_lowercase();
    };
    let address = broker.split('/').next().unwrap_or(broker);
    let said = said.rsplit(": ").next().unwrap_or(said);
    format!("{address}: {}", said.to_lowercase())
}

/// Why a broker, or we, refused a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    Credentials,
    /// Whom we ask for a token gives none.
    Token,
    Certificate,
    Tls,
    /// It hangs up on what we say.
    Protocol,
}

impl Refusal {
    pub(super) fn error(self, doing: &str) -> Error {
        match self {
            Self::Credentials => {
                meaning(doing, &KafkaError::Global(RDKafkaErrorCode::Authentication))
            }
            Self::Token => Error::auth(format!("{doing}: no token is given to us")).hint(
                "correct `sasl.oauthbearer.token.endpoint.url`, `sasl.oauthbearer.client.id` and \
                 `sasl.oauthbearer.client.secret` in `properties`, and `https.ca.location` where \
                 its certificate is signed by an authority of your own",
            ),
            Self::Certificate => Error::auth(format!(
                "{doing}: the broker's certificate cannot be verified"
            ))
            .hint(
                "set `ssl.ca.location` in `properties` to the authority that signed it, and use \
                 the names in `brokers` and in the brokers' advertised.listeners that it is for",
            ),
            Self::Tls => Error::config(format!("{doing}: the TLS handshake fails")).hint(
                "set `security.protocol` in `properties` to what the broker's listener speaks",
            ),
            Self::Protocol => Error::config(format!(
                "{doing}: what listens at `brokers` hangs up before it answers"
            ))
            .hint(
                "set `security.protocol` in `properties` to what the broker's listener speaks \
                 (plaintext, ssl, sasl_plaintext, sasl_ssl), or correct `brokers` where another \
                 program listens",
            ),
        }
    }
}

/// A record that no broker took.
#[derive(Clone)]
pub(super) struct Failed {
    pub(super) code: RDKafkaErrorCode,
    pub(super) topic: String,
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        if facility == "FAIL" {
            lock(&self.seen).logged(message);
        }
        match level {
            // Why a transaction can only be aborted: later calls tell no more than that.
            RDKafkaLogLevel::Error if facility == "TXNERR" => {
                tracing::warn!(target: "librdkafka", facility, "{message}");
            }
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::warn!(target: "librdkafka", facility, "{message}");
            }
            _ => tracing::debug!(target: "librdkafka", facility, "{message}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", %error, "{reason}");
        lock(&self.seen).told(error.rdkafka_error_code(), reason);
    }
}

impl ConsumerContext for Reports {}

impl ProducerContext for Reports {
    type DeliveryOpaque = ();

    fn delivery(&self, delivered: &DeliveryResult<'_>, (): ()) {
        let mut seen = lock(&self.seen);
        match delivered {
            Ok(_) => {}
            // Of a transaction that was aborted: that is told when the next one has begun, too.
            Err((
                KafkaError::MessageProduction(
                    RDKafkaErrorCode::PurgeQueue | RDKafkaErrorCode::PurgeInflight,
                ),
                _,
            )) => {}
            Err((error, message)) => {
                seen.failed.get_or_insert_with(|| Failed {
                    code: error
                        .rdkafka_error_code()
                        .unwrap_or(RDKafkaErrorCode::Unknown),
                    topic: message.topic().to_owned(),
                });
            }
        }
    }
}

pub(super) fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_is_kept_with_the_address_alone() {
        let refused = "localhost:9092/bootstrap: Connect to ipv4#127.0.0.1:9092 failed: \
                       Connection refused (after 0ms in state CONNECT)";
        assert_eq!(why(refused), "localhost:9092: connection refused");
        let unknown = "nowhere:1/bootstrap: Failed to resolve 'nowhere:1': Name or service not \
                       known (after 3ms in state CONNECT)";
        assert_eq!(why(unknown), "nowhere:1: name or service not known");
        assert_eq!(why("Timed out"), "timed out");
    }

    #[test]
    fn a_broker_that_hangs_up_once_is_stopping_and_twice_speaks_otherwise() {
        let lost = [
            "[thrd:h:1/1]: h:1/1: SSL handshake failed: Disconnected: connection closed by peer: \
             connecting to a PLAINTEXT broker listener? (after 3ms in state SSL_HANDSHAKE)",
            "[thrd:h:1/1]: h:1/1: Disconnected: connection closed by peer (after 3ms in state \
             APIVERSION_QUERY, 1 identical error(s) suppressed)",
            "[thrd:h:1/1]: h:1/1: Disconnected: connection closed by peer (after 3ms in state UP)",
        ];
        let others = [
            "[thrd:h:1/1]: h:1/1: Connect to ipv4#127.0.0.1:1 failed: Connection refused (after \
             0ms in state CONNECT)",
            "[thrd:h:1/1]: h:1/1: Disconnected: connection closed by peer (after 5321ms in state UP)",
        ];
        for line in lost {
            let mut seen = Seen::default();
            seen.logged(line);
            others.iter().for_each(|line| seen.logged(line));
            assert_eq!(seen.refused, None);
            seen.logged(line);
            assert_eq!(seen.refused, Some(Refusal::Protocol), "{line}");
            seen.forget();
            assert_ne!(seen.refused, None, "nobody has answered since");
            seen.answered = true;
            seen.forget();
            seen.logged(line);
            assert_eq!(seen.refused, None);
        }
    }
}
