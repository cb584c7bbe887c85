//! Asking the server for its log, as a replica does: COM_BINLOG_DUMP_GTID of MySQL,
//! COM_BINLOG_DUMP after MariaDB's handshake by user variables.
//!
//! Invariant: the server is told all that it needs to send every event as it is in its log: that we
//! know checksums, and of MariaDB every kind of event.

use std::time::Duration;

use cdc_api::{Error, Result};

use crate::connect::{Flavour, Session};
use crate::position::{Gtids, Place};

const COM_BINLOG_DUMP: u8 = 0x12;
const COM_BINLOG_DUMP_GTID: u8 = 0x1e;

/// BINLOG_THROUGH_GTID.
const THROUGH_GTID: u16 = 4;

/// How often an idle server tells that it is there.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// How long nothing may come at all.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// Starts the dump after `place`. Returns whether events have checksums until the log says so
/// itself.
///
/// # Errors
/// When the server refuses, with the remedy; of the log itself only with the first packet.
pub(super) async fn begin(session: &mut Session, place: &Place, server_id: u32) -> Result<bool> {
    let checksum = session.variable("binlog_checksum").await?;
    // Backpressure may keep the server waiting for as long as it lasts.
    session
        .execute("SET SESSION net_write_timeout = 31536000")
        .await?;
    let nanoseconds = HEARTBEAT.as_nanos();
    session
        .execute(&format!(
            "SET @master_binlog_checksum = @@GLOBAL.binlog_checksum, \
                 @source_binlog_checksum = @@GLOBAL.binlog_checksum, \
                 @master_heartbeat_period = {nanoseconds}, @source_heartbeat_period = {nanoseconds}"
        ))
        .await?;
    match (&place.gtids, session.flavour()) {
        (Gtids::Maria(gtids), Flavour::MariaDb) => {
            session
                .execute("SET @mariadb_slave_capability = 4, @slave_gtid_ignore_duplicates = 0")
                .await?;
            if gtids.iter().next().is_none() {
                by_place(session, place, server_id).await?;
            } else {
                session
                    .execute(&format!(
                        "SET @slave_connect_state = '{gtids}', @slave_gtid_strict_mode = 1"
                    ))
                    .await?;
                dump(session, "", 4, server_id).await?;
            }
        }
        (Gtids::MySql(gtids), Flavour::MySql) => {
            let set = gtids.encode();
            let mut body = Vec::with_capacity(set.len() + 22);
            body.extend_from_slice(&THROUGH_GTID.to_le_bytes());
            body.extend_from_slice(&server_id.to_le_bytes());
            // No file: the set alone says where.
            body.extend_from_slice(&0u32.to_le_bytes());
            body.extend_from_slice(&4u64.to_le_bytes());
            body.extend_from_slice(&u32::try_from(set.len()).unwrap_or(u32::MAX).to_le_bytes());
            body.extend_from_slice(&set);
            session.command(COM_BINLOG_DUMP_GTID, &body).await?;
        }
        (Gtids::Off, Flavour::MySql) => by_place(session, place, server_id).await?,
        _ => {
            return Err(
                Error::log_lost("the stored position is of the other family of servers")
                    .hint("cdc teardown, then start again: the tables are loaded anew"),
            );
        }
    }
    Ok(checksum.is_some_and(|method| method.eq_ignore_ascii_case("CRC32")))
}

async fn by_place(session: &mut Session, place: &Place, server_id: u32) -> Result<()> {
    // The command has 32 bits for the place. Beyond them lies at most the end of one huge
    // transaction, after which the server goes on in another file: what comes before it is read
    // again from the start of the file and passed over.
    let offset = u32::try_from(place.offset).unwrap_or(4).max(4);
    dump(session, &place.file, offset, server_id).await
}

async fn dump(session: &mut Session, file: &str, offset: u32, server_id: u32) -> Result<()> {
    let mut body = Vec::with_capacity(file.len() + 10);
    body.extend_from_slice(&offset.to_le_bytes());
    body.extend_from_slice(&0u16.to_le_bytes());
    body.extend_from_slice(&server_id.to_le_bytes());
    body.extend_from_slice(file.as_bytes());
    session.command(COM_BINLOG_DUMP, &body).await
}
