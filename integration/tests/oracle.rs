//! The crash oracle. A few seeds here; `make torture SEEDS=1..100 SOURCE=postgres` for as long as you doubt.

use cdc_integration::oracle::{Length, run_all, schedules};

#[tokio::test(flavor = "multi_thread")]
async fn the_sinks_equal_the_source_through_a_seeded_schedule_of_crashes() {
    let few = schedules(&[
        (1, "postgres-15"),
        (2, "postgres-18"),
        (3, "mysql"),
        (4, "mariadb"),
    ]);
    let length = Length {
        rounds: 2,
        faults: 6,
        kafka: false,
    };
    run_all(&few, length).await;
}
