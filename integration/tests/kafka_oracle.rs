//! The crash oracle with Kafka as a third sink: daemon, source and broker fail in turns, and a consumer of committed
//! records that rebuilds the tables by key has the source's content at every quiesced point, and no change twice.

use cdc_integration::oracle::{Length, run_all, schedules};

#[tokio::test(flavor = "multi_thread")]
async fn topics_equal_the_source_through_a_seeded_schedule_of_crashes() {
    let few = schedules(&[(1, "postgres-15"), (2, "mysql")]);
    let length = Length {
        rounds: 2,
        faults: 6,
        kafka: true,
    };
    run_all(&few, length).await;
}
