//! The decoder for a fuzzer: any bytes as a log.

use cdc_api::{BatchLimits, Checkpoint};

use crate::decode::decoder::{Answer, Decoder, Setup, Step};
use crate::decode::definition::kept::KeptDefinitions;
use crate::decode::prepared::PreparedFiles;
use crate::position::{GtidSet, Gtids, MariaGtids, Place};
use crate::types::TypeOptions;
use crate::types::charset::Collations;

/// Reads the bytes as a log file: the first says of which family, the next four are its magic; each
/// event is as long as it says.
pub fn log(bytes: &[u8]) {
    let Some((family, rest)) = bytes.split_first() else {
        return;
    };
    let maria = family & 1 == 1;
    let gtids = match maria {
        true => Gtids::Maria(MariaGtids::default()),
        false => Gtids::MySql(GtidSet::default()),
    };
    let place = Place {
        server: String::new(),
        gtids,
        file: "binlog.000001".to_owned(),
        offset: 4,
    };
    let Ok(prepared) = PreparedFiles::open(std::env::temp_dir().join("cdc-mysql-fuzz"), &place)
    else {
        return;
    };
    let Ok(definitions) = KeptDefinitions::open(std::env::temp_dir().join("cdc-mysql-fuzz"), 0)
    else {
        return;
    };
    let collations = [
        (8, "latin1"),
        (28, "gbk"),
        (45, "utf8mb4"),
        (63, "binary"),
        (255, "utf8mb4"),
    ];
    let from = Checkpoint {
        position: place.position(),
        seq: 0,
        offset: 0,
        commit_time: 0,
    };
    let setup = Setup {
        known: Vec::new(),
        limits: BatchLimits {
            rows: 100,
            bytes: 1 << 20,
        },
        collations: Collations {
            of_geometry: maria,
            ..Collations::new(collations.map(|(id, name)| (id, name.to_owned())))
        },
        options: TypeOptions::default(),
        checksum: false,
        prepared,
        definitions,
        wants: Box::new(|_| true),
        lower_names: false,
        moved_to: None,
    };
    let mut decoder = Decoder::new(place, &from, setup);
    let mut rest = rest.get(4..).unwrap_or_default();
    while let Some(size) = rest.get(9..13) {
        let size = size
            .iter()
            .rev()
            .fold(0, |all, byte| all << 8 | usize::from(*byte));
        let Some((event, after)) = rest.split_at_checked(size.max(1)) else {
            return;
        };
        rest = after;
        if decoder.event(event).is_err() {
            return;
        }
        loop {
            match decoder.next() {
                Ok(Some(Step::Event(_))) => {}
                Ok(Some(Step::Describe(_))) => {
                    if decoder.answer(&Answer::Captured(None)).is_err() {
                        return;
                    }
                }
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
}
