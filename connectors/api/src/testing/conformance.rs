//! The suites that every connector runs: what the contract promises, asked of a real source or
//! target.
//!
//! A sink's tests are one line, beside a [`sink::Probe`] that makes a fresh target and reads it:
//!
//! ```text
//! cdc_api::sink_conformance!(LakeProbe::fresh);
//! ```
//!
//! Invariant: each case starts with a fresh target and panics on the first breach, naming it.

pub mod sink;
pub mod source;
