//! How a running daemon is watched and steered from outside.
//!
//! Invariant: whatever reads table data or changes anything goes over the Unix socket in the data
//! directory, which only its owner may open; the TCP listener answers health, metrics and status.
//!
//! Code map: [`control`] what the pipeline is asked · [`status`] what it tells · [`serve`] HTTP
//! over both listeners · [`client`] the command line's end of the socket · `socket` where it is.

pub mod client;
pub mod control;
pub mod serve;
mod socket;
pub mod status;

pub use client::Client;
pub use control::{Command, Control, ControlEnd, channel};
pub use serve::Server;
pub use status::Status;
