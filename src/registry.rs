//! The only file that names connector crates: a row an implementation.
use cdc_api::{Result, TableSelection};
use crate::config::SourceConfig;
pub fn source_tables(_s: &SourceConfig) -> Result<TableSelection> { TableSelection::parse(["*.*"]) }
