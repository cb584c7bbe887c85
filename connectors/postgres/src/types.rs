//! PostgreSQL's types and what they become in Arrow.
//!
//! Invariant: a column's Arrow type depends on its catalog type and the options alone, never on a
//! value, and its text and its binary form give the same Arrow value: so snapshot and stream
//! agree, whichever form each of them gets. A value that the Arrow type cannot hold is an error of
//! its table, never another value. Leaves the catalog's query to `catalog`.
//!
//! | PostgreSQL | Arrow | notes |
//! |---|---|---|
//! | bool, int2/4/8, float4/8, oid | Boolean, Int16/32/64, Float32/64, UInt32 | |
//! | numeric(p,s) | Decimal128 to 38 digits, Decimal256 to 76 | scale below 0: `(p-s, 0)`; scale above p: `(s, s)`, for Arrow's readers know neither; NaN and infinities are refused, or null by option |
//! | numeric, or of more digits | Utf8, the server's text with all its digits | or double, or `decimal(p,s)` by option; what does not fit exactly is refused |
//! | date | Date32 | ±infinity are `i32::MAX` and `i32::MIN`, as in the server |
//! | timestamp, timestamptz | Timestamp µs, the latter in UTC | ±infinity are `i64::MAX` and `i64::MIN`; what lies after 294247-01-10 does not fit the Unix epoch and is refused |
//! | time | Time64 µs | `24:00:00` is 86,400,000,000 |
//! | interval | IntervalMonthDayNano | time beyond ±292 years is refused; ±infinity (17) are the maximum, the minimum of all three parts |
//! | uuid | FixedSizeBinary(16), `arrow.uuid` | |
//! | bytea | Binary | |
//! | bit, varbit | Utf8, `1010` | |
//! | json, jsonb | Utf8, `arrow.json` | the server's own text |
//! | arrays | List of the element | of one dimension that counts from 1, other values are refused; Utf8, the array literal, where the column is declared with more dimensions, or by option |
//! | domains | as their base | |
//! | all others | Utf8, the server's own text | |

pub(crate) mod append;
pub(crate) mod array;
pub(crate) mod numeric;
mod options;
mod refused;
mod scalar;
pub(crate) mod temporal;

use std::collections::HashMap;
use std::sync::Arc;

use append::Appender;
use arrow::datatypes::{DataType, Field, IntervalUnit, TimeUnit};
use cdc_api::{Error, ExistingValue, Result};
use cdc_database::rows::Column as _;
pub use options::{ArrayOption, NotANumber, NumericOption, TypeOptions};
pub(crate) use refused::ValueError;

/// `pg_type.typtype`, arrays told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PgTypeKind {
    /// `b`, and the true array of another type (`typarray` of `typelem` names it).
    Array,
    /// `b`, not an array; also `p`, which no column has.
    Base,
    /// `d`.
    Domain,
    /// `e`.
    Enum,
    /// `c`.
    Composite,
    /// `r`, `m`.
    Range,
}

/// A row of the catalog's `pg_type`, as [`PgType::QUERY`] gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PgType {
    /// `oid`.
    pub(crate) oid: u32,
    /// `typname`.
    pub(crate) name: String,
    /// See there.
    pub(crate) kind: PgTypeKind,
    /// `typelem`, of arrays.
    pub(crate) element: u32,
    /// `typbasetype`, of domains.
    pub(crate) base: u32,
    /// `typtypmod`, of domains.
    pub(crate) typmod: i32,
    /// `typdelim`, which parts the elements in an array of this type.
    pub(crate) delimiter: u8,
    /// The output function (`typoutput`), schema-qualified and quoted.
    pub(crate) output: String,
}

impl PgType {
    /// Every type of the database: oid, name, kind (see [`Self::kind`]), element, base, typmod,
    /// delimiter, output function. All columns are text.
    pub(crate) const QUERY: &str = "SELECT t.oid, t.typname, \
         CASE WHEN e.oid IS NOT NULL THEN 'a' ELSE t.typtype::text END, \
         t.typelem, t.typbasetype, t.typtypmod, t.typdelim, \
         pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(p.proname) \
         FROM pg_catalog.pg_type t \
         JOIN pg_catalog.pg_proc p ON p.oid = t.typoutput \
         JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace \
         LEFT JOIN pg_catalog.pg_type e ON e.oid = t.typelem AND e.typarray = t.oid";

    /// The kind of the query's third column.
    pub(crate) fn kind(text: &str) -> PgTypeKind {
        match text {
            "a" => PgTypeKind::Array,
            "d" => PgTypeKind::Domain,
            "e" => PgTypeKind::Enum,
            "c" => PgTypeKind::Composite,
            "r" | "m" => PgTypeKind::Range,
            _ => PgTypeKind::Base,
        }
    }
}

/// The types of one database.
#[derive(Debug, Clone, Default)]
pub(crate) struct TypeTable {
    types: HashMap<u32, PgType>,
    options: TypeOptions,
}

impl TypeTable {
    /// A table of these types.
    pub(crate) fn new(types: impl IntoIterator<Item = PgType>, options: TypeOptions) -> Self {
        Self {
            types: types.into_iter().map(|each| (each.oid, each)).collect(),
            options,
        }
    }

    /// Whether the type is known; if not, the catalog is to be read again: it is younger.
    pub(crate) fn knows(&self, oid: u32) -> bool {
        self.types.contains_key(&oid)
    }

    /// What a column of type `oid` with `typmod` (-1: none) becomes. `dimensions` is its
    /// `attndims`.
    ///
    /// # Errors
    /// `Unsupported` when the type is not in the table.
    pub(crate) fn resolve(&self, oid: u32, typmod: i32, dimensions: i32) -> Result<ColumnType> {
        let (found, typmod) = self.base(oid, typmod)?;
        let opaque = || ColumnType::new(Scalar::Opaque.into(), Some(found.output.clone()));
        if found.kind != PgTypeKind::Array {
            let scalar = self.scalar(found, typmod);
            return Ok(match scalar {
                Scalar::Opaque => opaque(),
                scalar => ColumnType::new(scalar.into(), None),
            });
        }
        if self.options.arrays == ArrayOption::Text || dimensions > 1 {
            return Ok(opaque());
        }
        let (element, element_typmod) = self.base(found.element, typmod)?;
        if element.kind == PgTypeKind::Array {
            // An array of a domain over arrays.
            return Ok(opaque());
        }
        let scalar = self.scalar(element, element_typmod);
        let value = ValueType::List {
            element: scalar,
            delimiter: element.delimiter,
        };
        Ok(ColumnType::new(
            value,
            (scalar == Scalar::Opaque).then(|| found.output.clone()),
        ))
    }

    /// The type below all domains, with its modifier.
    fn base(&self, oid: u32, mut typmod: i32) -> Result<(&PgType, i32)> {
        let mut oid = oid;
        // Domains over domains end; a broken catalog must not hang us.
        for _ in 0..64 {
            let found = self.types.get(&oid).ok_or_else(|| {
                Error::unsupported(format!("the catalog has no type with oid {oid}"))
                    .hint("the type was dropped meanwhile: run cdc snapshot for the table")
            })?;
            if found.kind != PgTypeKind::Domain {
                return Ok((found, typmod));
            }
            oid = found.base;
            if found.typmod != -1 {
                typmod = found.typmod;
            }
        }
        Err(Error::unsupported(format!(
            "type {oid} is a domain without end"
        )))
    }

    fn scalar(&self, found: &PgType, typmod: i32) -> Scalar {
        if found.kind == PgTypeKind::Enum {
            return Scalar::Text;
        }
        match found.oid {
            16 => Scalar::Bool,
            17 => Scalar::Bytea,
            20 => Scalar::Int8,
            21 => Scalar::Int2,
            23 => Scalar::Int4,
            // name, text, bpchar, varchar: the binary form is the text.
            19 | 25 | 1042 | 1043 => Scalar::Text,
            26 => Scalar::Oid,
            114 => Scalar::Json,
            700 => Scalar::Float4,
            701 => Scalar::Float8,
            1082 => Scalar::Date,
            1083 => Scalar::Time,
            1114 => Scalar::Timestamp { utc: false },
            1184 => Scalar::Timestamp { utc: true },
            1186 => Scalar::Interval,
            1560 | 1562 => Scalar::Bits,
            1700 => self.numeric(typmod),
            2950 => Scalar::Uuid,
            3802 => Scalar::Jsonb,
            _ => Scalar::Opaque,
        }
    }

    fn numeric(&self, typmod: i32) -> Scalar {
        let null = self.options.not_a_number == NotANumber::Null;
        let decimal = |precision: i32, scale: i32| {
            let precision = precision.max(scale) - scale.min(0);
            let scale = scale.max(0);
            Some(Scalar::Decimal {
                precision: u8::try_from(precision)
                    .ok()
                    .filter(|digits| *digits <= 76)?,
                scale: u8::try_from(scale).ok()?,
                null,
            })
        };
        // A modifier is 4 more than the precision above 16 bits, the scale in 11 with a sign.
        let declared = typmod.checked_sub(4).filter(|modifier| *modifier >= 0);
        declared
            .and_then(|modifier| {
                let scale = ((modifier & 0x7ff) ^ 0x400) - 0x400;
                decimal((modifier >> 16) & 0xffff, scale)
            })
            .unwrap_or(match self.options.numeric {
                NumericOption::Text => Scalar::NumericText,
                NumericOption::Double => Scalar::NumericDouble,
                NumericOption::Decimal { precision, scale } => Scalar::Decimal {
                    precision,
                    scale,
                    null,
                },
            })
    }
}

/// How one value is read, and what it becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scalar {
    /// `bool`.
    Bool,
    /// `int2`.
    Int2,
    /// `int4`.
    Int4,
    /// `int8`.
    Int8,
    /// `oid`.
    Oid,
    /// `float4`.
    Float4,
    /// `float8`.
    Float8,
    /// `numeric` of at most 76 digits.
    Decimal {
        /// Arrow's precision.
        precision: u8,
        /// Arrow's scale.
        scale: u8,
        /// Whether NaN and infinities are null.
        null: bool,
    },
    /// `numeric` as exact text.
    NumericText,
    /// `numeric` as the nearest double.
    NumericDouble,
    /// `date`.
    Date,
    /// `time`.
    Time,
    /// `timestamp`, `timestamptz`.
    Timestamp {
        /// The latter.
        utc: bool,
    },
    /// `interval`.
    Interval,
    /// `uuid`.
    Uuid,
    /// `bytea`.
    Bytea,
    /// `bit`, `varbit`.
    Bits,
    /// `json`.
    Json,
    /// `jsonb`, whose binary form is a version byte and its text.
    Jsonb,
    /// Whose binary form is its text.
    Text,
    /// Everything else: text, and a binary form that only the server understands.
    Opaque,
}

impl Scalar {
    fn data_type(self) -> DataType {
        match self {
            Self::Bool => DataType::Boolean,
            Self::Int2 => DataType::Int16,
            Self::Int4 => DataType::Int32,
            Self::Int8 => DataType::Int64,
            Self::Oid => DataType::UInt32,
            Self::Float4 => DataType::Float32,
            Self::Float8 | Self::NumericDouble => DataType::Float64,
            Self::Decimal {
                precision, scale, ..
            } => {
                let scale = i8::try_from(scale).unwrap_or(i8::MAX);
                if precision <= 38 {
                    DataType::Decimal128(precision, scale)
                } else {
                    DataType::Decimal256(precision, scale)
                }
            }
            Self::Date => DataType::Date32,
            Self::Time => DataType::Time64(TimeUnit::Microsecond),
            Self::Timestamp { utc } => {
                DataType::Timestamp(TimeUnit::Microsecond, utc.then(|| "UTC".into()))
            }
            Self::Interval => DataType::Interval(IntervalUnit::MonthDayNano),
            Self::Uuid => DataType::FixedSizeBinary(16),
            Self::Bytea => DataType::Binary,
            Self::NumericText
            | Self::Bits
            | Self::Json
            | Self::Jsonb
            | Self::Text
            | Self::Opaque => DataType::Utf8,
        }
    }

    fn extension(self) -> Option<&'static str> {
        match self {
            Self::Uuid => Some("arrow.uuid"),
            Self::Json | Self::Jsonb => Some("arrow.json"),
            _ => None,
        }
    }
}

/// One value, or a list of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ValueType {
    /// One.
    Scalar(Scalar),
    /// An array of one dimension.
    List {
        /// Of what.
        element: Scalar,
        /// What parts the elements in text.
        delimiter: u8,
    },
}

impl From<Scalar> for ValueType {
    fn from(scalar: Scalar) -> Self {
        Self::Scalar(scalar)
    }
}

/// What a column's values become, and how they are to be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ColumnType {
    /// The Arrow type.
    pub(crate) data_type: DataType,
    /// The Arrow extension type's name, for [`cdc_api::Column::extension`].
    pub(crate) extension: Option<&'static str>,
    value: ValueType,
    /// The output function, where COPY must send text.
    output: Option<String>,
}

impl ColumnType {
    fn new(value: ValueType, output: Option<String>) -> Self {
        let (data_type, extension) = match value {
            ValueType::Scalar(scalar) => (scalar.data_type(), scalar.extension()),
            ValueType::List { element, .. } => {
                (DataType::List(Arc::new(element_field(element))), None)
            }
        };
        Self {
            data_type,
            extension,
            value,
            output,
        }
    }

    /// What COPY in binary is to select for the column, given its quoted name: itself, or the
    /// text of its own output function. A cast to text would be another text for some types:
    /// inet gains a netmask, character loses its padding, xml keeps its declaration.
    pub(crate) fn copy_expression(&self, column: &str) -> String {
        match &self.output {
            None => column.to_owned(),
            Some(output) => format!("pg_catalog.textin({output}({column}))"),
        }
    }

    /// Whether the binary form can be read. If not for every captured column of a stream, the
    /// stream must ask for text.
    pub(crate) fn reads_binary(&self) -> bool {
        self.output.is_none()
    }

    /// Bytes that a value keeps in an array at least: its own where they are of fixed number, null
    /// or not, else those of its place. Decides how many rows of a wide table fit a batch.
    pub(crate) fn width(&self) -> usize {
        match &self.data_type {
            DataType::FixedSizeBinary(width) => usize::try_from(*width).unwrap_or(0),
            DataType::Boolean => 1,
            other => other.primitive_width().unwrap_or(4),
        }
    }

    /// A column of this type.
    pub(crate) fn column(
        &self,
        name: impl Into<String>,
        id: u64,
        source_type: impl Into<String>,
    ) -> cdc_api::Column {
        let mut column = cdc_api::Column::new(name, self.data_type.clone(), source_type);
        column.id = Some(id);
        column.extension = self.extension.map(str::to_owned);
        column
    }

    /// What rows hold that are older than the column, given its text form; in SQL
    /// `(attmissingval::text::text[])[1]`.
    ///
    /// # Errors
    /// `Unsupported` when the value cannot be represented.
    pub(crate) fn existing(&self, text: &str) -> Result<ExistingValue> {
        let mut appender = Appender::new(self, 1);
        appender
            .append_text(text.as_bytes())
            .map_err(|error| Error::unsupported(error.message()).hint(error.hint()))?;
        Ok(ExistingValue(appender.finish(1)))
    }
}

fn element_field(element: Scalar) -> Field {
    let field = Field::new("item", element.data_type(), true);
    match element.extension() {
        Some(extension) => field.with_metadata(HashMap::from([(
            "ARROW:extension:name".to_owned(),
            extension.to_owned(),
        )])),
        None => field,
    }
}

#[cfg(test)]
mod tests;
