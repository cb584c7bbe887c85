//! A Parquet lake: the change log of every table, as plain Parquet files in plain folders on local
//! disk. DuckDB, pyarrow and Spark read them as they are.
//!
//! # What it guarantees
//!
//! - **A commit is one file of the manifest**, put under the next number only if that number is
//!   free; it carries the checkpoint. All data files that it names were synced before. So the lake
//!   holds a commit of all tables or nothing of it, a commit whose answer was lost is found again,
//!   and after a crash at any moment the lake is at the last entry: nothing twice, nothing missing.
//! - **A reader with a glob** (`<url>/<schema>/<table>/*.parquet`) sees only rows that are
//!   committed, only whole files, and none twice. Files are shown *after* their entry is written,
//!   within the same call; a crash in between leaves them hidden until the daemon starts again.
//!   Its limits: tables are shown one after the other, so for a moment one may be a commit ahead of
//!   another; a file may go while a reader that has listed it is about to open it (merged files, a
//!   new snapshot, a renamed table), which is an error in the reader, to be tried again. Files that
//!   replace others come in one exchange of the two folders (Linux, where the file system has it:
//!   ext4, XFS, Btrfs, tmpfs and more); elsewhere the old ones go first, so that a reader may miss
//!   their rows for a moment. While a table is being renamed its files move one by one.
//! - **A reader of the manifest** sees one commit across all tables, always: see below.
//! - One daemon writes: a second one is refused by the lock in `_cdc/lock`; where a shared file
//!   system has no locks, the slower of two writers finds its number taken and is fenced.
//!
//! # What lies where
//!
//! | path below `url` | |
//! |---|---|
//! | `<schema>/<table>/<first seq>-<random>.parquet` | the table's files; names are percent-encoded where a path or a glob needs it, and a leading `_` or `.` is, since readers skip such folders. Files by other names are left alone |
//! | `_cdc/manifest/<number>.json` | entries: checkpoint, what changed; at least every 64th holds the whole state, and those before the last but one such are removed |
//! | `_cdc/staged/` | files that are not shown yet, as `<name>.staged` |
//! | `_cdc/copies/<id>/` | notes of tables that are being copied: one for each finished chunk, one for the catch-up |
//! | `_cdc/earlier/<schema>/<table>/<copy>/` | earlier generations (`keep_snapshots`) |
//! | `_cdc/current/<schema>/<table>.sql` | DuckDB's statement for the table as it is now |
//!
//! To read at one commit: take the entry with the highest number, go down to the first one with a
//! `state`, apply `changes` upwards. A table's files are its `files` in its `folder`; one that is
//! not there is in `_cdc/staged/`, and if not, the manifest has gone on: read it again.
//!
//! # Rows
//!
//! A file has the table's columns under their own names, then:
//!
//! | column | type | |
//! |---|---|---|
//! | `_cdc_op` | text | `read`, `insert`, `update`, `delete`, `truncate`; a changed key is a delete and, as the very next row of the table, an insert |
//! | `_cdc_seq` | unsigned 64 bits | the order of all changes; existing rows have that of their snapshot |
//! | `_cdc_commit_time` | timestamp, UTC | null in existing rows |
//! | `_cdc_transaction` | text | null in existing rows and truncates |
//! | `_cdc_schema_version` | unsigned 32 bits | which shape the row has |
//! | `_cdc_absent` | list of text | columns whose value the source did not send: it is what it was. They are NULL here; NULL in a column that is not named is NULL |
//! | `_cdc_special` | map of text to text | by column, values that the column's type has no place for: dates and timestamps that are `infinity` or `-infinity`. The column is NULL there |
//!
//! A delete carries the key alone, unless the source gives whole old rows. A table with a column
//! that begins with `_cdc_` is refused.
//!
//! Types: integers of all widths (unsigned ones too), floats, booleans, text, bytes, dates,
//! timestamps in µs (with time zone: UTC), decimals up to 38 digits and lists are what they are.
//! Text, since readers differ on them: decimals beyond 38 digits, UUIDs, JSON, times of day
//! (`24:00:00` is one), intervals (`1 year 2 mons -3 days 00:00:04.5`), durations (`-838:59:59`).
//! An infinite date or timestamp *within an array* stops the table.
//!
//! # The table as it is now
//!
//! In short, for a table with key `id` that no one truncates, whose columns are all sent:
//!
//! ```sql
//! SELECT * FROM read_parquet('lake/public/orders/*.parquet', union_by_name = true)
//! QUALIFY row_number() OVER (PARTITION BY id ORDER BY _cdc_seq DESC, _cdc_op = 'read' DESC) = 1
//!     AND _cdc_op <> 'delete'
//! ```
//!
//! Exactly, for every table: `_cdc/current/<schema>/<table>.sql`, rewritten whenever the table's
//! shape changes. It takes the last truncate into account, gives absent columns the value that
//! they had (also across a changed key), puts special values back, follows renamed columns, gives
//! rows from before `ADD COLUMN … DEFAULT` their value, and in a table without a key lets each
//! delete take away one equal row. See `current.rs` for its rules.
//!
//! # When the source's table changes
//!
//! Files are never rewritten: each has the shape of its time, readers unite them by name, and a
//! column that a file lacks is NULL to them (what old rows really hold in it the manifest knows,
//! and the statement above). Added, dropped, renamed and widened columns and a renamed table are
//! followed; another key or an incompatible type stops the table with `cdc snapshot SCHEMA.TABLE`
//! as the remedy. Setting `schema_changes` may say `ignore` or `fail` instead.
//!
//! # Snapshots and the log
//!
//! A table begins with a copy of its existing rows (`read`), followed by its changes: a snapshot
//! and the log from there on. `cdc snapshot TABLE`, or the schedule, makes the next copy beside
//! it, in hiding, and swaps the two in one commit: the table's folder then holds the new existing
//! rows and the log from there on. The earlier generation stays readable, whole, under
//! `_cdc/earlier/`, for as many generations as `keep_snapshots` says.
//!
//! Code map: `sink` the contract's calls · `core` pending writes and the commit · `copy` tables on
//! their way in · `encode`, `rows` rows into files · `manifest` what the lake holds · `publish`
//! what readers see · `compact` small files into larger ones · `evolve` new shapes · `current` the
//! statement · `layout` paths · `storage` the disk, and the seam for others.

mod compact;
mod config;
mod copy;
mod core;
mod current;
mod encode;
mod evolve;
mod layout;
mod manifest;
mod preflight;
mod publish;
mod rows;
mod sink;
mod site;
mod storage;

pub use config::{CompactionConfig, Compression, LakeConfig, SchemaPolicy};
pub use sink::Lake;
