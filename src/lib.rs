//! Placeholder.

pub mod admin;
pub mod config;
pub mod journal;
pub mod metrics;
pub mod state;

pub mod pipeline;
pub mod registry;
