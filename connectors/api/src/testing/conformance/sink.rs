//! What every sink must do, mirror or log. Run all of it with [`crate::sink_conformance!`].

mod commits;
mod copies;
mod drive;
mod random;
mod rows;
mod shapes;
mod types;

use arrow::array::RecordBatch;
use async_trait::async_trait;

use crate::{Result, Sink, TableSchema};

pub use crate::testing::content::Flavour;
pub use commits::*;
pub use copies::*;
pub use drive::Drive;
pub use random::*;
pub use rows::*;
pub use shapes::*;
pub use types::*;

/// A connector's own way to its target.
#[async_trait]
pub trait Probe: Send {
    /// What the target makes of changes.
    fn flavour(&self) -> Flavour;

    /// A sink on this probe's target, not opened. The sink made before was dropped, perhaps with
    /// writes that were never committed.
    fn sink(&mut self) -> Box<dyn Sink>;

    /// What readers of the target see of the table now: rows of the last commit, none that was
    /// only accepted. `None` when there is no such table. The columns have the source's names; of
    /// a [`Flavour::Log`] `_cdc_op` (text) and `_cdc_seq` (a number) stand beside them. The order
    /// of rows does not matter; other columns are passed over.
    ///
    /// # Errors
    /// When the target cannot be read.
    async fn read(
        &mut self,
        sink: &mut dyn Sink,
        table: &TableSchema,
    ) -> Result<Option<Vec<RecordBatch>>>;

    /// Whether rows from before a column was renamed show their values under the new name.
    fn renames(&self) -> bool {
        self.flavour() == Flavour::Mirror
    }
}

/// Makes one test of each case of the sink suite; `$fresh` is called without arguments and gives
/// a [`sink::Probe`](crate::testing::conformance::sink::Probe) on a fresh target. The crate needs
/// tokio with `macros` and `rt-multi-thread`.
#[macro_export]
macro_rules! sink_conformance {
    ($fresh:expr) => {
        $crate::sink_conformance! { $fresh;
            a_fresh_target_has_no_checkpoint_and_keeps_the_first
            an_idle_commit_moves_the_position_alone
            writes_are_seen_after_their_commit_and_not_before
            a_commit_is_all_tables_or_none
            what_was_rolled_back_is_given_again_once
            what_was_not_committed_is_gone_after_reopening
            committing_the_same_checkpoint_again_changes_nothing
            a_table_that_left_keeps_its_rows_until_a_new_copy_joins
            a_copy_is_seen_when_it_joined_and_not_before
            an_empty_table_joins
            a_table_is_taken_as_it_is_or_refused
            finished_chunks_survive_reopening_and_unfinished_ones_leave_nothing
            chunks_are_written_side_by_side
            a_copy_catches_up_and_joins
            a_catch_up_survives_reopening
            chunks_of_two_points_are_whole_after_the_newer
            an_unchanged_column_without_a_row_to_hold_it_is_log_lost
            a_second_copy_leaves_the_content_until_it_joins
            discarded_copies_are_gone_and_kept_ones_are_not
            two_tables_join_in_one_commit
            a_table_added_later_joins
            a_table_without_identity_is_taken_or_refused
            inserts_updates_and_deletes
            many_changes_of_one_row_in_one_commit
            absent_columns_keep_their_value
            absent_columns_follow_a_key_change
            a_key_change_moves_the_row
            keys_are_swapped
            a_composite_key_in_another_order_than_the_columns
            a_truncate_within_a_commit
            a_table_without_a_key_keeps_its_duplicates
            full_old_rows_with_a_key
            empty_and_large_batches
            null_is_not_absent_and_not_empty
            odd_names
            a_column_is_added_with_the_value_of_existing_rows
            a_column_is_added_between_rows_of_one_commit
            a_column_is_renamed
            two_columns_swap_names
            a_type_is_widened
            a_column_is_dropped_and_added_again
            not_null_is_dropped
            a_shape_that_was_not_committed_comes_again
            a_copy_follows_shapes_while_it_catches_up
            every_type_is_kept
            keys_of_every_type
            random_transactions
            random_crashes
        }
    };
    ($fresh:expr; $($case:ident)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let fresh = $fresh;
                $crate::testing::conformance::sink::$case(&mut || Box::new(fresh())).await;
            }
        )+
    };
}

/// Makes a probe on a fresh target.
pub type Fresh<'a> = &'a mut (dyn FnMut() -> Box<dyn Probe> + Send);

#[cfg(test)]
mod tests;
