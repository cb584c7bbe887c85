//! Any bytes as messages of `pgoutput`.
#![no_main]

libfuzzer_sys::fuzz_target!(|stream: &[u8]| cdc_postgres::fuzzing::stream(stream));
