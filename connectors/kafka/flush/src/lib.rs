//! librdkafka's flush, with its wait.
//!
//! While `rd_kafka_flush` waits, records do not linger: that is what a commit needs, whose last records are few. The flush
//! of the crate `rdkafka` never waits in it: it calls it for no time at all, which the threads that send do not notice, and
//! then polls for up to 100 ms for answers that another thread may have taken. A short `linger.ms` instead costs
//! processor time: under load a record that has lingered and waits for the answers to those before it makes
//! librdkafka's thread spin. So this is a crate of its own, for the one line that is unsafe.
//!
//! Leaves to the caller to serve the producer's answers meanwhile, on another thread.

use std::time::Duration;

use rdkafka::bindings::{rd_kafka_flush, rd_kafka_resp_err_t};
use rdkafka::producer::{BaseProducer, Producer as _, ProducerContext};

/// Sends what lingers, and waits until every record is answered for, at most `limit`. Whether that came about.
pub fn flush<C: ProducerContext + 'static>(producer: &BaseProducer<C>, limit: Duration) -> bool {
    let limit = i32::try_from(limit.as_millis()).unwrap_or(i32::MAX);
    let client = producer.client().native_ptr();
    #[expect(
        unsafe_code,
        reason = "the pointer is that of a client which lives as long as the borrowed producer, and the function may be \
                  called from any thread"
    )]
    let answer = unsafe { rd_kafka_flush(client, limit) };
    answer == rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
}
