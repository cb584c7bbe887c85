//! How a running daemon is watched and steered from outside.
//!
//! Invariant: whatever reads table data or changes anything goes over the Unix socket in the data
//! directory, which only its owner may open; the TCP listener answers health, metrics and status.
//!
//! Code map: [`control`] what the pipeline is asked · [`status`] what it tells · `serve` HTTP over
//! both listeners · `client` the command line's end of the socket.

pub mod control;
pub mod status;

pub use control::{Command, Control, ControlEnd, channel};
pub use status::Status;
