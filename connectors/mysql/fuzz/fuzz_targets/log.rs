//! Any bytes as events of a log.
#![no_main]

libfuzzer_sys::fuzz_target!(|log: &[u8]| cdc_mysql::fuzzing::log(log));
