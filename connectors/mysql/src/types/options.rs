//! What the configuration says about types.

use serde::{Deserialize, Serialize};

/// What becomes of dates that no calendar has: `0000-00-00`, `2024-00-10`, `2024-02-31`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ZeroDates {
    /// The table stops.
    #[default]
    Error,
    /// They are NULL.
    Null,
    /// Every DATE, DATETIME and TIMESTAMP column is text, as the server prints it.
    Text,
}

/// How types are represented.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TypeOptions {
    /// Dates that no calendar has.
    pub zero_dates: ZeroDates,
}
