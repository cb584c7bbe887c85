//! Any bytes as events of a log: `cargo +nightly fuzz run events`. Seeds: the log files in
//! `../src/decode/testdata`.
#![no_main]

libfuzzer_sys::fuzz_target!(|log: &[u8]| cdc_mysql::fuzzing::log(log));
