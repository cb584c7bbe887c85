//! Where a pipeline stands: opaque positions and the checkpoints that carry them.

use std::fmt;

/// A place in the source's log: always a transaction boundary, versioned, owned by the source
/// crate, opaque to everyone else.
///
/// The text is JSON with a version (`{"v":1,"lsn":"0/16B3748",…}`), so that operators can read
/// it. The engine and the sinks store it and give it back; they never compare positions.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Position(Box<str>);

impl Position {
    /// Wraps the source crate's own text.
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// The source crate's own text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Everything up to here is complete: restarting from a checkpoint yields the same later rows
/// with the same `seq` (invariant 3).
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Checkpoint {
    /// The end of a transaction in the source's log.
    pub position: Position,
    /// The `seq` of the last row change (or truncate) up to `position`, or one after it that was
    /// left out; the next one's is larger.
    pub seq: u64,
    /// `position` on the source's own scale of bytes (as in [`crate::ChangeBatch::offset`]): for
    /// lag figures only, never for ordering.
    pub offset: u64,
    /// When the last covered transaction committed, in microseconds since the Unix epoch, by the
    /// source's clock; 0 when not known.
    pub commit_time: i64,
}
