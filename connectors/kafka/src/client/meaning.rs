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
        "start the brokers; if they run, correct `brokers` of the sink and advertised.listeners of \
         the brokers, which is where they send clients to",
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
    let (code, said) = match error {
        KafkaError::Transaction(inner) => (inner.code(), inner.string()),
        KafkaError::AdminOp(code) => (*code, code.to_string()),
        other => match other.rdkafka_error_code() {
            Some(code) => (code, code.to_string()),
            None => (Code::Unknown, "the client refused".to_owned()),
        },
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
        Code::TopicAuthorizationFailed => error.hint(
            "allow the daemon's user to Create, Describe, Read and Write the topics of its prefix \
             and of `checkpoint_topic`",
        ),
        Code::TransactionalIdAuthorizationFailed => error.hint(
            "allow the daemon's user to Describe and Write the sink's `transactional_id`, and that \
             id with `.copies` behind it",
        ),
        Code::Authentication | Code::SaslAuthenticationFailed => {
            error.hint("set `sasl.username` and `sasl.password` in `properties`")
        }
        _ => error,
    }
}

fn lower(text: &str) -> String {
    let text = text.trim_end_matches('.');
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| {
        first.to_lowercase().collect::<String>() + characters.as_str()
    })
}
