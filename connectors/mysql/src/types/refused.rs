//! Values that cannot be taken: why, and what mends it. Invariant: the value itself is never named.

use std::fmt;

use crate::wire::Short;

/// Why a value cannot be taken. Says nothing about the value itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ValueError {
    /// Not in the form that the type has.
    Malformed,
    /// Bytes that are no text in the column's character set.
    Encoding,
    /// A date that no calendar has.
    ZeroDate,
    /// A value that the log gives only as a difference to the one before.
    Partial,
    /// A row without a value that it should have.
    Missing,
}

impl ValueError {
    /// What is wrong, without the value.
    pub(crate) fn message(self) -> &'static str {
        match self {
            Self::Malformed => "a value is not in the form that its type has",
            Self::Encoding => "a text is not valid in its column's character set",
            Self::ZeroDate => "a date is zero or does not exist in the calendar",
            Self::Partial => "the log holds only the changed parts of a JSON value",
            Self::Missing => "the log leaves out a value that is needed to tell the row",
        }
    }

    /// What mends it.
    pub(crate) fn hint(self) -> &'static str {
        match self {
            Self::Malformed => "report this as a defect, with the table's definition",
            Self::Encoding => "correct the value, then run cdc snapshot for the table",
            Self::ZeroDate => {
                "correct the value, or set types.zero_dates: \"null\" or text in the source's \
                 configuration, then run cdc snapshot for the table"
            }
            Self::Partial => {
                "SET PERSIST binlog_row_value_options = ''; also in sessions that set it \
                 themselves; then run cdc snapshot for the table"
            }
            Self::Missing => {
                "SET PERSIST binlog_row_image = FULL (MariaDB: SET GLOBAL, and in its option file); \
                 also in sessions that set it themselves; then run cdc snapshot for the table"
            }
        }
    }
}

impl From<Short> for ValueError {
    fn from(_: Short) -> Self {
        Self::Malformed
    }
}

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

impl std::error::Error for ValueError {}
