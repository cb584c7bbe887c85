//! What the user decides about types that Arrow has no exact equal of: the keys under `types:` of
//! the source's configuration.

use serde::{Deserialize, Deserializer};

/// What the user decides about types that Arrow has no exact equal of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TypeOptions {
    /// What a `numeric` without precision, or of more than 76 digits, becomes.
    pub numeric: NumericOption,
    /// What NaN and ±infinity become in a decimal column.
    pub not_a_number: NotANumber,
    /// What arrays become.
    pub arrays: ArrayOption,
}

/// What a `numeric` without precision, or of more than 76 digits, becomes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum NumericOption {
    /// Exact text: `text`.
    #[default]
    Text,
    /// The nearest double: `double`.
    Double,
    /// A decimal, `decimal(38,10)`; a value that does not fit exactly stops its table.
    Decimal {
        /// Digits, 1 to 76.
        precision: u8,
        /// Digits after the point, 0 to the precision.
        scale: u8,
    },
}

impl<'de> Deserialize<'de> for NumericOption {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let text = String::deserialize(deserializer)?;
        let decimal = || {
            let (precision, scale) = text
                .strip_prefix("decimal(")?
                .strip_suffix(')')?
                .split_once(',')?;
            let precision = precision.trim().parse().ok()?;
            let scale = scale.trim().parse().ok()?;
            ((1..=76).contains(&precision) && scale <= precision)
                .then_some(Self::Decimal { precision, scale })
        };
        match text.as_str() {
            "text" => Ok(Self::Text),
            "double" => Ok(Self::Double),
            _ => decimal().ok_or_else(|| {
                D::Error::custom(
                    "write text, double or decimal(p,s) with p up to 76 and s up to p, for \
                     example decimal(38,10)",
                )
            }),
        }
    }
}

/// What NaN and ±infinity become in a decimal column.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NotANumber {
    /// The table stops.
    #[default]
    Error,
    /// NULL.
    Null,
}

/// What arrays become.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ArrayOption {
    /// Lists; a value of several dimensions, or that does not count from 1, stops its table.
    #[default]
    List,
    /// The server's array literals as text, for every array.
    Text,
}
