//! Placeholder.

pub mod admin;
pub mod config;
pub mod journal;
pub mod state;
