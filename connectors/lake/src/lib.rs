//! A Parquet lake: every change of every table as rows of Parquet files in plain folders, on local
//! disk.
mod compact;
mod config;
mod copy;
mod core;
mod current;
mod encode;
mod evolve;
mod site;
mod layout;
mod manifest;
mod offload;
mod preflight;
mod publish;
mod rows;
mod sink;
mod storage;

pub use config::{CompactionConfig, Compression, LakeConfig, SchemaPolicy};
pub use sink::Lake;
