//! The decoder for a fuzzer: any bytes as messages of `pgoutput`.
//!
//! Beyond panics it checks what the contract says of order. The target is in `fuzz`, outside of the
//! workspace.

use std::io;

use cdc_api::testing::order::Order;
use cdc_api::{BatchLimits, Checkpoint};

use crate::decode::decoder::{Decoder, Prefixes, Step};
use crate::decode::golden;
use crate::position::{Log, Lsn};
use crate::types::TypeOptions;

/// Stands between two messages.
const BETWEEN: &[u8] = b"\xfepgo";

/// Reads a stream. The first byte says after which message the decoder is flushed, in so many; then
/// come messages, eight bytes of their place before each, [`BETWEEN`] them. Where one is empty a
/// keepalive stands in its place.
///
/// # Panics
/// Where the decoder breaks a promise.
pub fn stream(input: &[u8]) {
    let Some((&flush, mut rest)) = input.split_first() else {
        return;
    };
    let log = Log {
        system: "1".to_owned(),
        timeline: 1,
    };
    let from = Checkpoint {
        position: log.at(Lsn(0)),
        seq: 0,
        offset: 0,
        commit_time: 0,
    };
    let limits = BatchLimits {
        rows: 3,
        bytes: 1 << 20,
    };
    let files = Box::new(|| tempfile::tempfile().map_err(io::Error::other));
    let messages = Prefixes::new(&["*".to_owned()]);
    let mut decoder = Decoder::new(log, Lsn(0), &from, limits, files).with_messages(messages);
    let mut order = Order::default();
    for number in 1.. {
        let end = rest.windows(BETWEEN.len()).position(|it| it == BETWEEN);
        let part = &rest[..end.unwrap_or(rest.len())];
        if let Some((place, body)) = part.split_first_chunk::<8>() {
            let place = Lsn(u64::from_be_bytes(*place));
            if body.is_empty() {
                decoder.keepalive(place);
            } else if decoder.message(place, body).is_err() {
                return;
            }
        }
        if drain(&mut decoder, &mut order).is_err() {
            return;
        }
        let flushes = flush > 0 && number % usize::from(flush) == 0;
        if (flushes || end.is_none())
            && (decoder.flush().is_err() || drain(&mut decoder, &mut order).is_err())
        {
            return;
        }
        match end {
            Some(end) => rest = &rest[end + BETWEEN.len()..],
            None => return,
        }
    }
}

fn drain(decoder: &mut Decoder, order: &mut Order) -> cdc_api::Result<()> {
    while let Some(step) = decoder.next()? {
        match step {
            Step::Event(event) => order.check(&event),
            Step::Describe(body) => {
                let relation = body.relation()?;
                let version = golden::version(&relation, TypeOptions::default());
                decoder.answer(version)?;
            }
        }
    }
    Ok(())
}

/// Inputs for [`stream`], made of the golden logs: whole, and of a few transactions each.
pub fn seeds() -> Vec<Vec<u8>> {
    const LOGS: [&str; 4] = [
        golden::STORY_LOG,
        golden::STORY_STREAMED_LOG,
        golden::KINDS_TEXT_LOG,
        golden::KINDS_BINARY_LOG,
    ];
    let mut seeds = Vec::new();
    for log in LOGS {
        let messages = golden::messages(log);
        let relations: Vec<_> = messages
            .iter()
            .filter(|(_, body)| body.first() == Some(&b'R'))
            .collect();
        let ends = messages
            .split_inclusive(|(_, body)| matches!(body.first(), Some(b'C' | b'c')))
            .collect::<Vec<_>>();
        for transactions in [1, 4, ends.len().max(1)] {
            for some in ends.chunks(transactions) {
                let begin = some.first().and_then(|it| it.first());
                let mut seed = vec![3];
                let first = begin.map_or(0, |(place, _)| place.saturating_sub(1));
                seed.extend_from_slice(&first.to_be_bytes());
                // Each table is described once in its log, and here where its rows may be first.
                let described = match some[0].first() {
                    Some((_, body)) if body.first() == Some(&b'B') => relations.as_slice(),
                    _ => &[],
                };
                let messages = some.iter().copied().flatten();
                let with = messages.flat_map(|message| {
                    let begins = message.1.first() == Some(&b'B');
                    let after = if begins { described } else { &[] };
                    std::iter::once(message).chain(after.iter().copied())
                });
                for (place, body) in with.filter(|(_, body)| body.len() < 8_000) {
                    seed.extend_from_slice(BETWEEN);
                    seed.extend_from_slice(&place.to_be_bytes());
                    seed.extend_from_slice(body);
                }
                seeds.push(seed);
            }
        }
    }
    seeds
}
