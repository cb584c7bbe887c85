//! Values that cannot be taken: why, and what mends it. Invariant: the value itself is never named.

use std::fmt;

/// Why a value cannot be taken. Says nothing about the value itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ValueError {
    /// Not in the form that the type has.
    Malformed,
    /// The binary form of a type that only the server understands.
    Opaque,
    /// Text that is not UTF-8.
    Encoding,
    /// NaN or infinity in a decimal column.
    NotANumber,
    /// A number with more digits than the decimal column has.
    Precision,
    /// A timestamp or an interval that Arrow's 64 bits do not reach.
    Range,
    /// An array of several dimensions, or that does not count from 1.
    Dimensions,
    /// A row without a value that the server should have sent.
    Missing,
}

impl ValueError {
    /// What is wrong, without the value.
    pub(crate) fn message(self) -> &'static str {
        match self {
            Self::Malformed => "a value is not in the form that its type has",
            Self::Opaque => "a value came in a binary form that only the server understands",
            Self::Encoding => "a text is not UTF-8",
            Self::NotANumber => "a numeric value is NaN or infinite, which a decimal cannot hold",
            Self::Precision => "a numeric value has more digits than its decimal column",
            Self::Range => "a timestamp or interval is beyond what 64 bits can count",
            Self::Dimensions => {
                "an array has several dimensions, or does not count from 1, which a list cannot \
                 hold"
            }
            Self::Missing => "the server left out a value of a row that should be whole",
        }
    }

    /// What mends it.
    pub(crate) fn hint(self) -> &'static str {
        match self {
            Self::Malformed | Self::Missing => {
                "report this as a defect, with the table's definition"
            }
            Self::Opaque => "set binary: false in the source's configuration",
            Self::Encoding => {
                "correct the value, or move the database from SQL_ASCII to UTF8, then run cdc \
                 snapshot for the table"
            }
            Self::NotANumber => {
                "correct the value, or set types.not_a_number: \"null\" in the source's \
                 configuration, then run cdc snapshot for the table"
            }
            Self::Precision => {
                "set types.numeric: text in the source's configuration, then run cdc snapshot for \
                 the table"
            }
            Self::Range => "correct the value, then run cdc snapshot for the table",
            Self::Dimensions => {
                "set types.arrays: text in the source's configuration, then run cdc snapshot for \
                 the table"
            }
        }
    }
}

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

impl std::error::Error for ValueError {}
