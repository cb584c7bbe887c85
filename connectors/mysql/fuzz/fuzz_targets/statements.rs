//! Any text as statements of a log.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &[u8]| cdc_mysql::fuzzing::statements(text));
