//! The sink as a whole, on real files: what is in a file after each commit is what a plain model
//! of the source says.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod conformance;
mod copies;
mod evolution;
mod failures;
mod reading;
mod replay;
mod scene;
mod types;
