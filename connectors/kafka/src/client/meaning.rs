//! What an error of librdkafka means here: its kind, and what mends it.
//!
//! Invariant: an error says neither a value nor a setting: librdkafka's own text about settings is
//! not passed on.

use cdc_api::{Error, ErrorKind};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// No broker can be reached, as far as is known since one of them said `why`.
pub(super) fn unreachable(doing: &str, why: Option<&str>) -> Error {
    let why = why.map_or_else(String::new, |why| format!(": {why}"));
    Error::transient(format!("{doing}: no broker can be reached{why}")).hint(
        "start the brokers; if they run, correct `brokers` of the sink, `security.protocol` in its \
         `properties`, and the brokers' advertised.listeners, which is where they send clients to",
    )
}

/// The brokers are connected and say nothing.
pub(super) fn silent(doing: &str) -> Error {
    Error::transient(format!("{doing}: the brokers do not answer")).hint(
        "look at the brokers' log and load; the names in their advertised.listeners have to lead \
         to them from here",
    )
}

/// Nobody could be asked.
pub(super) fn is_unreachable(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::Resolve
        )
    )
}

pub(super) fn is_passing(error: &KafkaError) -> bool {
    is_unreachable(error)
        || matches!(
            error.rdkafka_error_code(),
            Some(
                RDKafkaErrorCode::UnknownTopicOrPartition
                    | RDKafkaErrorCode::UnknownPartition
                    | RDKafkaErrorCode::LeaderNotAvailable
                    | RDKafkaErrorCode::NotLeaderForPartition
                    | RDKafkaErrorCode::OperationTimedOut
            )
        )
}

/// The error that a failure of librdkafka means here.
pub(crate) fn meaning(doing: &str, error: &KafkaError) -> Error {
    use RDKafkaErrorCode as Code;
    let (code, said) = match (error, code(error)) {
        (KafkaError::Transaction(inner), _) => (inner.code(), inner.string()),
        (_, Some(code)) => (code, words(code)),
        (_, None) => (Code::Unknown, "the client refused".to_owned()),
    };
    let kind = match code {
        Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch => ErrorKind::Fenced,
        Code::Authentication
        | Code::SaslAuthenticationFailed
        | Code::TopicAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::TransactionalIdAuthorizationFailed => ErrorKind::Auth,
        Code::UnsupportedSASLMechanism | Code::InvalidTransactionTimeout => ErrorKind::Config,
        _ => ErrorKind::Transient,
    };
    let error = Error::new(kind, format!("{doing}: {}", lower(&said)));
    match code {
        Code::BrokerTransportFailure | Code::AllBrokersDown | Code::Resolve => {
            unreachable(doing, None)
        }
        Code::OperationTimedOut | Code::RequestTimedOut => silent(doing),
        Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch => error.hint(
            "stop the other daemon of this pipeline, or give this sink a `transactional_id` of \
             its own",
        ),
        Code::InvalidTransactionTimeout => error.hint(
            "lower `transaction_timeout_seconds`, or raise the broker's \
             transaction.max.timeout.ms",
        ),
        Code::TopicAuthorizationFailed => error.hint(allow("topic", "PREFIX")),
        Code::TransactionalIdAuthorizationFailed => {
            error.hint(allow("transactional-id", "TRANSACTIONAL_ID"))
        }
        Code::ClusterAuthorizationFailed => error.hint(
            "allow the daemon's user that: kafka-acls.sh --bootstrap-server HOST:9092 --add \
             --allow-principal User:NAME --operation IdempotentWrite --operation Create --cluster",
        ),
        Code::UnsupportedSASLMechanism => error.hint(
            "set `sasl.mechanism` in `properties` to one of the listener's \
             sasl.enabled.mechanisms",
        ),
        Code::Authentication | Code::SaslAuthenticationFailed => {
            error.hint("set `sasl.username` and `sasl.password` in `properties`")
        }
        _ => error,
    }
}

/// [`meaning`], of what concerns this topic.
pub(crate) fn of_topic(doing: &str, topic: &str, error: &KafkaError) -> Error {
    let meant = meaning(&format!("{doing} topic {topic}"), error);
    match code(error) {
        Some(RDKafkaErrorCode::TopicAuthorizationFailed) => meant.hint(allow("topic", topic)),
        _ => meant,
    }
}

/// [`meaning`], of taking this transactional id.
pub(super) fn of_id(id: &str, error: &KafkaError) -> Error {
    use RDKafkaErrorCode as Code;
    let meant = meaning(&format!("taking transactional id {id}"), error);
    match error.rdkafka_error_code() {
        Some(Code::TransactionalIdAuthorizationFailed) => meant.hint(allow("transactional-id", id)),
        Some(Code::OperationTimedOut | Code::RequestTimedOut) => meant.hint(
            "the brokers have no coordinator for it: start as many brokers as their setting \
             transaction.state.log.replication.factor says, or lower that; the names in their \
             advertised.listeners have to lead to them from here",
        ),
        _ => meant,
    }
}

/// The command that lets the daemon in. Those of its names that begin with this one are meant, too.
fn allow(kind: &str, name: &str) -> String {
    format!(
        "allow the daemon's user that: kafka-acls.sh --bootstrap-server HOST:9092 --add \
         --allow-principal User:NAME --operation All --{kind} {name} --resource-pattern-type prefixed"
    )
}

fn code(error: &KafkaError) -> Option<RDKafkaErrorCode> {
    match error {
        KafkaError::AdminOp(code) => Some(*code),
        other => other.rdkafka_error_code(),
    }
}

/// What the library calls an error, without the name of its code and of who says so.
fn words(code: RDKafkaErrorCode) -> String {
    let text = code.to_string();
    let inner = text
        .split_once('(')
        .map_or(text.as_str(), |(_, inner)| inner);
    let inner = inner.strip_suffix(')').unwrap_or(inner);
    let said = inner.split_once(": ").map_or(inner, |(_, said)| said);
    said.to_owned()
}

fn lower(text: &str) -> String {
    let text = text.trim_end_matches('.');
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| {
        first.to_lowercase().collect::<String>() + characters.as_str()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use RDKafkaErrorCode as Code;

    #[test]
    fn who_is_not_let_in_is_told_the_command() {
        for error in [
            KafkaError::AdminOp(Code::TopicAuthorizationFailed),
            KafkaError::MetadataFetch(Code::TopicAuthorizationFailed),
        ] {
            let error = of_topic("creating", "shop.a", &error);
            assert_eq!(error.kind(), ErrorKind::Auth);
            assert_eq!(
                error.message(),
                "creating topic shop.a: topic authorization failed"
            );
            let hint = error.hint_text().expect("a remedy");
            assert!(hint.contains("--topic shop.a "), "{hint}");
        }
        let refused = KafkaError::Global(Code::TransactionalIdAuthorizationFailed);
        let error = of_id("cdc.shop.events", &refused);
        let hint = error.hint_text().expect("a remedy");
        assert!(
            hint.contains("--transactional-id cdc.shop.events "),
            "{hint}"
        );
    }

    #[test]
    fn who_is_not_there_is_told_otherwise_than_who_is_silent() {
        let gone = meaning("writing", &KafkaError::Global(Code::AllBrokersDown));
        assert_eq!(gone.message(), "writing: no broker can be reached");
        let silent = meaning("writing", &KafkaError::Global(Code::OperationTimedOut));
        assert_eq!(silent.message(), "writing: the brokers do not answer");
    }
}
