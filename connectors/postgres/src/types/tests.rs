//! Every type: text, binary and COPY give one value, and it is the right one.

use std::fmt::Write as _;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{
    Date32Type, Decimal128Type, Decimal256Type, Float32Type, Float64Type, Int16Type, Int32Type,
    Int64Type, IntervalMonthDayNanoType, Time64MicrosecondType, TimestampMicrosecondType,
    UInt32Type, i256,
};
use cdc_api::{BatchLimits, Identity};
use proptest::prelude::*;

use super::*;
use crate::decode::copy::CopyDecoder;
use crate::decode::golden::{
    KINDS_BINARY_LOG, KINDS_COPY, KINDS_TEXT_LOG, bytes, columns, first_relation, messages, schema,
};
use crate::decode::pgoutput::Message;
use crate::decode::table::{RowChange, TableVersion, Transaction};

/// The inserted rows of a log, with those columns that `keep` keeps.
fn streamed(log: &str, keep: impl Fn(&ColumnType) -> bool) -> RecordBatch {
    let messages = messages(log);
    let relation = first_relation(&messages);
    let mut columns = columns("kinds", TypeOptions::default());
    columns.retain(|(_, kind)| keep(kind));
    let schema = schema(relation.oid, "kinds", &columns, vec![0], Identity::Key);
    let types = columns.into_iter().map(|(_, kind)| kind).collect();
    let version = TableVersion::new(schema, types, &relation).expect("fits");
    let mut rows = version.rows(0);
    let transaction = Transaction {
        xid: 1,
        commit_lsn: 1,
        commit_time: 1,
        first_seq: 1,
        known: false,
    };
    for (seq, (lsn, body)) in (0..).zip(&messages) {
        if let Message::Insert { new, .. } = Message::parse(body).expect("valid") {
            version
                .append(&mut rows, RowChange::Insert(new), transaction, seq, *lsn)
                .expect("representable");
        }
    }
    rows.finish().expect("sound").expect("rows").rows
}

fn copied() -> RecordBatch {
    let columns = columns("kinds", TypeOptions::default());
    let schema = schema(1, "kinds", &columns, vec![0], Identity::Key);
    let types = columns.into_iter().map(|(_, kind)| kind).collect();
    let mut copy = CopyDecoder::new(schema, types, BatchLimits::default());
    copy.push(&bytes(KINDS_COPY)).expect("valid");
    copy.finish().expect("whole").expect("rows")
}

fn column(batch: &RecordBatch, name: &str) -> ArrayRef {
    Arc::clone(batch.column_by_name(name).expect("a column"))
}

#[test]
fn snapshot_text_stream_and_binary_stream_give_the_same_values() {
    let copied = copied();
    let text = streamed(KINDS_TEXT_LOG, |_| true);
    assert_eq!(text.num_rows(), 6);
    assert_eq!(text.num_columns(), copied.num_columns());
    for (index, field) in text.schema().fields().iter().enumerate() {
        assert_eq!(text.column(index), copied.column(index), "{}", field.name());
    }
    let binary = streamed(KINDS_BINARY_LOG, ColumnType::reads_binary);
    assert!(binary.num_columns() > 40);
    for field in binary.schema().fields() {
        let name = field.name();
        assert_eq!(&column(&binary, name), &column(&copied, name), "{name}");
    }
}

#[test]
fn numbers_keep_their_value_to_the_ends_of_their_range() {
    let rows = copied();
    let int8 = column(&rows, "c_int8");
    assert_eq!(int8.as_primitive::<Int64Type>().value(2), i64::MIN);
    assert_eq!(int8.as_primitive::<Int64Type>().value(3), i64::MAX);
    let int2 = column(&rows, "c_int2");
    assert_eq!(int2.as_primitive::<Int16Type>().value(2), i16::MIN);
    let oid = column(&rows, "c_oid");
    assert_eq!(oid.as_primitive::<UInt32Type>().value(3), u32::MAX);
    let float4 = column(&rows, "c_float4");
    let float4 = float4.as_primitive::<Float32Type>();
    assert_eq!(float4.value(2), f32::NEG_INFINITY);
    assert!(float4.value(3).is_nan());
    assert_eq!(float4.value(4), f32::MAX);
    assert_eq!(float4.value(5), 1e-45);
    let float8 = column(&rows, "c_float8");
    assert_eq!(float8.as_primitive::<Float64Type>().value(5), 5e-324);
    assert!(rows.columns()[1..].iter().all(|column| column.is_null(1)));
}

#[test]
fn decimals_of_any_scale_are_exact() {
    let rows = copied();
    let decimal = |name: &str| {
        let array = column(&rows, name);
        let array = array.as_primitive::<Decimal128Type>();
        (
            array.data_type().clone(),
            array
                .iter()
                .map(|value| value.unwrap_or(-7))
                .collect::<Vec<_>>(),
        )
    };
    assert_eq!(
        decimal("c_num"),
        (
            DataType::Decimal128(12, 3),
            vec![123_456, -7, -999_999_999_999, 999_999_999_999, 1, -1]
        )
    );
    assert_eq!(
        decimal("c_num_neg"),
        (
            DataType::Decimal128(7, 0),
            vec![12_300, -7, -9_999_900, 9_999_900, 0, 100]
        )
    );
    assert_eq!(
        decimal("c_num_small"),
        (DataType::Decimal128(5, 5), vec![12, -7, -99, 99, 0, 1])
    );
    let wide = column(&rows, "c_num_wide");
    let wide = wide.as_primitive::<Decimal256Type>();
    assert_eq!(wide.data_type(), &DataType::Decimal256(60, 20));
    let nines = i256::from_string(&"9".repeat(60)).expect("fits");
    assert_eq!(wide.value(3), nines);
    assert_eq!(wide.value(2), nines.wrapping_neg());
    assert_eq!(wide.value(4), i256::from_i128(1));
    assert_eq!(
        decimal("c_nested").0,
        DataType::Decimal128(10, 2),
        "a domain over a domain"
    );
}

#[test]
fn times_keep_infinities_as_the_ends_of_the_range() {
    let rows = copied();
    let date = column(&rows, "c_date");
    let date = date.as_primitive::<Date32Type>();
    assert_eq!(date.value(0), 19_782);
    assert_eq!(
        date_text(i64::from(date.value(2))),
        ("4713-01-01".to_owned(), " BC")
    );
    assert_eq!((date.value(4), date.value(5)), (i32::MAX, i32::MIN));
    let time = column(&rows, "c_time");
    let time = time.as_primitive::<Time64MicrosecondType>();
    assert_eq!(time.value(0), 45_296_789_000);
    assert_eq!(time.value(3), 86_400_000_000);
    let stamp = column(&rows, "c_ts");
    let stamp = stamp.as_primitive::<TimestampMicrosecondType>();
    assert_eq!(stamp.value(0), 1_709_210_096_789_000);
    assert_eq!((stamp.value(4), stamp.value(5)), (i64::MAX, i64::MIN));
    let zoned = column(&rows, "c_tstz");
    assert_eq!(
        zoned.data_type(),
        &DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
    );
    let zoned = zoned.as_primitive::<TimestampMicrosecondType>();
    assert_eq!(zoned.value(0), 1_709_202_896_789_000);
    let interval = column(&rows, "c_interval");
    let interval = interval.as_primitive::<IntervalMonthDayNanoType>();
    let parts = |row: usize| {
        let value = interval.value(row);
        (value.months, value.days, value.nanoseconds)
    };
    assert_eq!(parts(0), (14, -3, 14_706_789_000_000));
    assert_eq!(parts(2), (-2_136_001, -5, -86_399_999_999_000));
    assert_eq!(parts(5), (-1, 1, -1_000_000_000));
}

#[test]
fn all_other_types_keep_the_servers_text() {
    let rows = copied();
    for (name, row, expected) in [
        ("c_num_any", 0, "10.00"),
        ("c_num_any", 2, "-0.000000000000000000000000000000000000001"),
        ("c_num_any", 3, "NaN"),
        ("c_num_any", 4, "Infinity"),
        ("c_num_any", 5, "123456789012345678901234567890.0001000"),
        ("c_timetz", 0, "12:34:56+05:30"),
        ("c_bit", 0, "1010101010"),
        ("c_varbit", 0, "101"),
        ("c_varbit", 2, ""),
        ("c_json", 0, r#"{"a" : 1}"#),
        ("c_jsonb", 0, r#"{"b": [1, 2]}"#),
        ("c_bpchar", 0, "pad   "),
        ("c_text", 3, "é€𝄞"),
        ("c_mood", 0, "so \"so\""),
        ("c_xml", 0, "<a/>"),
        ("c_inet", 0, "10.1.2.3"),
        ("c_cidr", 0, "10.0.0.0/8"),
        ("c_range", 0, "[1,5)"),
        ("c_money", 0, "$12.50"),
        ("c_tsv", 0, "'a' 'cat' 'fat'"),
        ("c_pair", 0, "(1,\"x,y\")"),
        ("c_pair", 2, "(,)"),
        ("c_lsn", 0, "16/B374D848"),
        ("a_grid", 0, "{{1,2},{3,4}}"),
        ("v_int", 0, "1 2 3"),
    ] {
        let array = column(&rows, name);
        assert_eq!(array.as_string::<i32>().value(row), expected, "{name}");
    }
    let uuid = column(&rows, "c_uuid");
    assert_eq!(uuid.as_fixed_size_binary().value(0)[..3], [0, 0x11, 0x22]);
    let bytea = column(&rows, "c_bytea");
    assert_eq!(bytea.as_binary::<i32>().value(0), b"\xde\xad\xbe\xef");
    let schema = rows.schema();
    let field = schema.field_with_name("c_uuid").expect("a column");
    assert_eq!(field.metadata()["ARROW:extension:name"], "arrow.uuid");
}

#[test]
fn arrays_are_lists_of_their_element() {
    let rows = copied();
    let texts = column(&rows, "a_text");
    let texts = texts.as_list::<i32>().value(0);
    let texts: Vec<_> = texts.as_string::<i32>().iter().collect();
    assert_eq!(
        texts,
        [
            Some("a"),
            Some("b,c"),
            Some("d\"e\\f"),
            Some(""),
            None,
            Some("NULL"),
            Some(" x ")
        ]
    );
    let numbers = column(&rows, "a_int");
    let numbers = numbers.as_list::<i32>();
    let first: Vec<_> = numbers
        .value(0)
        .as_primitive::<Int32Type>()
        .iter()
        .collect();
    assert_eq!(first, [Some(1), None, Some(3)]);
    assert!(numbers.is_null(1));
    assert_eq!(numbers.value(2).len(), 0);
    let boxes = column(&rows, "a_box");
    let boxes = boxes.as_list::<i32>().value(0);
    let boxes = boxes.as_string::<i32>();
    assert_eq!(boxes.value(1), "(2,2),(1,1)", "parted by semicolons");
    let padded = column(&rows, "a_bpchar");
    let padded = padded.as_list::<i32>().value(0);
    assert_eq!(padded.as_string::<i32>().value(0), "ab  ");
}

fn of(scalar: Scalar) -> Appender {
    Appender::new(&ColumnType::new(scalar.into(), None), 0)
}

const CENTS: Scalar = Scalar::Decimal {
    precision: 5,
    scale: 2,
    null: false,
};

#[test]
fn what_a_decimal_cannot_hold_is_refused_or_null_by_option_but_never_zero() {
    let nan = bytes("00000000c0000000");
    for text in ["NaN", "Infinity", "-Infinity"] {
        let refused = of(CENTS).append_text(text.as_bytes());
        assert_eq!(refused, Err(ValueError::NotANumber));
    }
    assert_eq!(of(CENTS).append_binary(&nan), Err(ValueError::NotANumber));
    let mut lenient = of(Scalar::Decimal {
        precision: 5,
        scale: 2,
        null: true,
    });
    lenient.append_text(b"NaN").expect("null");
    lenient.append_binary(&nan).expect("null");
    assert_eq!(lenient.finish(2).null_count(), 2);
    for text in ["1000", "1.001", "99999999999999999999999999999999999999999"] {
        let refused = of(CENTS).append_text(text.as_bytes());
        assert_eq!(refused, Err(ValueError::Precision), "{text}");
    }
    of(CENTS).append_text(b"-999.9900").expect("fits");
}

#[test]
fn what_the_unix_epoch_cannot_count_is_refused() {
    let stamp = || of(Scalar::Timestamp { utc: false });
    let last = 9_223_371_331_199_999_999i64;
    assert_eq!(
        stamp().append_binary(&last.to_be_bytes()),
        Err(ValueError::Range)
    );
    assert_eq!(
        stamp().append_text(b"294276-12-31 23:59:59.999999"),
        Err(ValueError::Range)
    );
    assert_eq!(
        of(Scalar::Interval).append_text(b"2562048:00:00"),
        Err(ValueError::Range)
    );
    let mut never = of(Scalar::Interval);
    never.append_text(b"infinity").expect("kept");
    never
        .append_binary(&bytes("7fffffffffffffff7fffffff7fffffff"))
        .expect("kept");
    let never = never.finish(2);
    let never = never.as_primitive::<IntervalMonthDayNanoType>();
    assert_eq!(never.value(0).nanoseconds, i64::MAX);
    assert_eq!(never.value(0), never.value(1));
}

#[test]
fn arrays_that_no_list_can_hold_are_refused_in_both_forms() {
    let types = types_with_int_array();
    let list = || Appender::new(&types, 0);
    for text in ["{{1,2},{3,4}}", "[0:1]={1,2}", "[2:2]={7}"] {
        let refused = list().append_text(text.as_bytes());
        assert_eq!(refused, Err(ValueError::Dimensions), "{text}");
    }
    for hex in [
        "00000002000000000000001700000001000000010000000100000001",
        "00000001000000000000001700000001000000000000000400000001",
    ] {
        let refused = list().append_binary(&bytes(hex));
        assert_eq!(refused, Err(ValueError::Dimensions), "{hex}");
    }
    for text in ["", "{", "{1", "{1,}", "{,1}", "{1}x", "{\"1", "{\"1\\", "1"] {
        assert!(list().append_text(text.as_bytes()).is_err(), "{text}");
    }
}

fn types_with_int_array() -> ColumnType {
    let columns = columns("kinds", TypeOptions::default());
    let (_, kind) = columns
        .into_iter()
        .find(|(name, _)| *name == "a_int")
        .expect("a column");
    kind
}

#[test]
fn arrays_are_text_by_option() {
    let columns = columns(
        "kinds",
        TypeOptions {
            arrays: ArrayOption::Text,
            ..TypeOptions::default()
        },
    );
    let (_, kind) = columns
        .iter()
        .find(|(name, _)| *name == "a_int")
        .expect("a column");
    assert_eq!(kind.data_type, DataType::Utf8);
    assert_eq!(
        kind.copy_expression("\"a\""),
        "pg_catalog.textin(pg_catalog.array_out(\"a\"))"
    );
}

#[test]
fn unconstrained_numerics_follow_their_option() {
    let resolve = |numeric| {
        let options = TypeOptions {
            numeric,
            ..TypeOptions::default()
        };
        crate::decode::golden::types(options)
            .resolve(1700, -1, 0)
            .expect("numeric")
            .data_type
    };
    assert_eq!(resolve(NumericOption::Text), DataType::Utf8);
    assert_eq!(resolve(NumericOption::Double), DataType::Float64);
    assert_eq!(
        resolve(NumericOption::Decimal {
            precision: 50,
            scale: 10
        }),
        DataType::Decimal256(50, 10)
    );
    // numeric(77,0) and numeric(1000,-1000)
    for modifier in [77 << 16, 1000 << 16 | (2048 - 1000)] {
        let types = crate::decode::golden::types(TypeOptions::default());
        let wide = types.resolve(1700, modifier + 4, 0).expect("numeric");
        assert_eq!(wide.data_type, DataType::Utf8);
    }
}

#[test]
fn options_are_read_and_nonsense_is_refused() {
    let options: TypeOptions = serde_json::from_str(
        r#"{"numeric": "decimal(38, 10)", "not_a_number": "null", "arrays": "text"}"#,
    )
    .expect("valid");
    assert_eq!(
        options,
        TypeOptions {
            numeric: NumericOption::Decimal {
                precision: 38,
                scale: 10
            },
            not_a_number: NotANumber::Null,
            arrays: ArrayOption::Text,
        }
    );
    for wrong in [
        "decimal(77,1)",
        "decimal(5,6)",
        "decimal(0,0)",
        "float",
        "decimal(5)",
    ] {
        let json = format!(r#"{{"numeric": "{wrong}"}}"#);
        assert!(
            serde_json::from_str::<TypeOptions>(&json).is_err(),
            "{wrong}"
        );
    }
}

#[test]
fn an_unknown_type_is_an_error_and_an_existing_value_is_decoded() {
    let types = crate::decode::golden::types(TypeOptions::default());
    assert!(!types.knows(999_999));
    assert!(types.resolve(999_999, -1, 0).is_err());
    let int = types.resolve(23, -1, 0).expect("int4");
    let existing = int.existing("42").expect("a number");
    assert_eq!(existing.0.as_primitive::<Int32Type>().value(0), 42);
    assert!(int.existing("x").is_err());
}

/// A decimal as the server writes and sends it.
fn numeric_forms(negative: bool, whole: &str, fraction: &str) -> (String, Vec<u8>) {
    let whole = whole.trim_start_matches('0');
    let nonzero = whole
        .bytes()
        .chain(fraction.bytes())
        .any(|digit| digit != b'0');
    let negative = negative && nonzero;
    let mut text = String::new();
    if negative {
        text.push('-');
    }
    text.push_str(if whole.is_empty() { "0" } else { whole });
    if !fraction.is_empty() {
        write!(text, ".{fraction}").expect("a string");
    }
    // Pad both sides to groups of four.
    let mut digits = "0".repeat((4 - whole.len() % 4) % 4) + whole;
    let mut weight = i16::try_from(digits.len() / 4).expect("small") - 1;
    digits.push_str(fraction);
    digits.push_str(&"0".repeat((4 - fraction.len() % 4) % 4));
    let mut groups: Vec<u16> = digits
        .as_bytes()
        .chunks(4)
        .map(|group| {
            std::str::from_utf8(group)
                .expect("ASCII")
                .parse()
                .expect("digits")
        })
        .collect();
    while groups.last() == Some(&0) {
        groups.pop();
    }
    while groups.first() == Some(&0) {
        groups.remove(0);
        weight -= 1;
    }
    if groups.is_empty() {
        weight = 0;
    }
    let mut binary = Vec::new();
    binary.extend(u16::try_from(groups.len()).expect("small").to_be_bytes());
    binary.extend(weight.to_be_bytes());
    binary.extend(if negative { 0x4000u16 } else { 0 }.to_be_bytes());
    binary.extend(u16::try_from(fraction.len()).expect("small").to_be_bytes());
    for group in groups {
        binary.extend(group.to_be_bytes());
    }
    (text, binary)
}

/// Year, month and day of days since 1970, counted one year at a time.
fn civil(days: i64) -> (i64, usize, i64) {
    let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    // 400 years have 146,097 days.
    let (mut year, mut rest) = (
        1970 + days.div_euclid(146_097) * 400,
        days.rem_euclid(146_097),
    );
    while rest >= 365 + i64::from(leap(year)) {
        rest -= 365 + i64::from(leap(year));
        year += 1;
    }
    let lengths = [
        31,
        28 + i64::from(leap(year)),
        31,
        30,
        31,
        30,
        31,
        31,
        30,
        31,
        30,
        31,
    ];
    let mut month = 0;
    while rest >= lengths[month] {
        rest -= lengths[month];
        month += 1;
    }
    (year, month + 1, rest + 1)
}

fn date_text(days: i64) -> (String, &'static str) {
    let (year, month, day) = civil(days);
    let (year, era) = if year > 0 {
        (year, "")
    } else {
        (1 - year, " BC")
    };
    (format!("{year:04}-{month:02}-{day:02}"), era)
}

fn clock_text(micros: u64) -> String {
    let seconds = micros / 1_000_000;
    let mut text = format!(
        "{:02}:{:02}:{:02}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    );
    if !micros.is_multiple_of(1_000_000) {
        write!(text, ".{:06}", micros % 1_000_000).expect("a string");
        text.truncate(text.trim_end_matches('0').len());
    }
    text
}

/// As the server writes it with `intervalstyle` postgres.
fn interval_text(months: i32, days: i32, micros: i64) -> String {
    let mut text = String::new();
    let mut negative = false;
    for (value, unit) in [(months / 12, "year"), (months % 12, "mon"), (days, "day")] {
        if value != 0 {
            let gap = if text.is_empty() { "" } else { " " };
            let plus = if negative && value > 0 { "+" } else { "" };
            let plural = if value == 1 { "" } else { "s" };
            write!(text, "{gap}{plus}{value} {unit}{plural}").expect("a string");
            negative = value < 0;
        }
    }
    if micros != 0 || text.is_empty() {
        let gap = if text.is_empty() { "" } else { " " };
        let sign = match (micros < 0, negative) {
            (true, _) => "-",
            (false, true) => "+",
            (false, false) => "",
        };
        write!(text, "{gap}{sign}{}", clock_text(micros.unsigned_abs())).expect("a string");
    }
    text
}

fn both(scalar: Scalar, text: &str, binary: &[u8]) -> ArrayRef {
    let mut column = of(scalar);
    column.append_text(text.as_bytes()).expect("valid text");
    column.append_binary(binary).expect("valid binary");
    let column = column.finish(2);
    assert_eq!(
        column.slice(0, 1).as_ref(),
        column.slice(1, 1).as_ref(),
        "{text}"
    );
    column
}

proptest! {
    #[test]
    fn numerics_agree_in_both_forms(
        negative: bool, whole in "[0-9]{0,40}", fraction in "[0-9]{0,25}", scale in 0u8..30,
    ) {
        let (text, binary) = numeric_forms(negative, &whole, &fraction);
        let mut written = Vec::new();
        numeric::write_text(&binary, &mut written).expect("valid");
        prop_assert_eq!(std::str::from_utf8(&written).expect("ASCII"), text.as_str());
        let limit: i128 = numeric::limit(38);
        prop_assert_eq!(
            numeric::decimal_of_text(text.as_bytes(), scale, limit),
            numeric::decimal_of_binary(&binary, scale, limit)
        );
        let limit: i256 = numeric::limit(76);
        let wide = numeric::decimal_of_text(text.as_bytes(), scale, limit);
        prop_assert_eq!(wide, numeric::decimal_of_binary(&binary, scale, limit));
        // Against integers of arrow's own.
        if fraction.len() <= usize::from(scale) {
            let digits = format!("{}{fraction}{}", if text.starts_with('-') { format!("-{whole}") }
                else { whole }, "0".repeat(usize::from(scale) - fraction.len()));
            let expected = i256::from_string(&digits).unwrap_or(i256::ZERO);
            prop_assert_eq!(wide, Ok(Some(expected)));
        }
        both(Scalar::NumericText, &text, &binary);
        both(Scalar::NumericDouble, &text, &binary);
    }

    #[test]
    fn timestamps_agree_in_both_forms(
        micros in -211_813_488_000_000_000i64..9_222_424_646_400_000_000, hours in -15i64..16,
    ) {
        let unix = micros + 946_684_800_000_000;
        let (date, era) = date_text(unix.div_euclid(86_400_000_000));
        let clock = clock_text(u64::try_from(unix.rem_euclid(86_400_000_000)).expect("positive"));
        let utc = format!("{date} {clock}{era}");
        let array = both(Scalar::Timestamp { utc: false }, &utc, &micros.to_be_bytes());
        prop_assert_eq!(array.as_primitive::<TimestampMicrosecondType>().value(0), unix);
        let zoned = format!("{date} {clock}{hours:+03}:30{era}");
        let offset = hours * 60 + if zoned.contains(" -") || hours < 0 { -30 } else { 30 };
        if let Some(binary) = micros.checked_sub(offset * 60_000_000) {
            both(Scalar::Timestamp { utc: true }, &zoned, &binary.to_be_bytes());
        }
    }

    #[test]
    fn dates_agree_in_both_forms(days in -2_451_545i32..2_145_031_949) {
        let (date, era) = date_text(i64::from(days) + 10_957);
        let array = both(Scalar::Date, &format!("{date}{era}"), &days.to_be_bytes());
        prop_assert_eq!(array.as_primitive::<Date32Type>().value(0), days + 10_957);
    }

    #[test]
    fn intervals_agree_in_both_forms(
        months in any::<i32>(), days in any::<i32>(),
        micros in -9_223_372_036_854_775i64..9_223_372_036_854_775,
    ) {
        let mut binary = micros.to_be_bytes().to_vec();
        binary.extend(days.to_be_bytes());
        binary.extend(months.to_be_bytes());
        both(Scalar::Interval, &interval_text(months, days, micros), &binary);
    }

    #[test]
    fn fixed_width_values_agree_in_both_forms(
        int8: i64, int4: i32, int2: i16, float8: f64, float4: f32, uuid: [u8; 16],
        blob in prop::collection::vec(any::<u8>(), 0..40),
        bits in prop::collection::vec(any::<bool>(), 0..40),
    ) {
        both(Scalar::Int8, &int8.to_string(), &int8.to_be_bytes());
        both(Scalar::Int4, &int4.to_string(), &int4.to_be_bytes());
        both(Scalar::Int2, &int2.to_string(), &int2.to_be_bytes());
        both(Scalar::Float8, &format!("{float8:e}"), &float8.to_be_bytes());
        both(Scalar::Float4, &format!("{float4:e}"), &float4.to_be_bytes());
        let hex = |bytes: &[u8]| bytes.iter().fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").expect("a string");
            text
        });
        both(Scalar::Uuid, &hex(&uuid), &uuid);
        both(Scalar::Bytea, &format!("\\x{}", hex(&blob)), &blob);
        let text: String = bits.iter().map(|bit| if *bit { '1' } else { '0' }).collect();
        let mut binary = i32::try_from(bits.len()).expect("few").to_be_bytes().to_vec();
        binary.extend(bits.chunks(8).map(|chunk| {
            chunk.iter().zip([128, 64, 32, 16, 8, 4, 2, 1])
                .filter(|(bit, _)| **bit).map(|(_, value)| value).sum::<u8>()
        }));
        both(Scalar::Bits, &text, &binary);
    }

    #[test]
    fn lists_agree_in_both_forms(
        elements in prop::collection::vec(prop::option::of("[a-z\"\\\\,{} é]{0,6}"), 0..8),
    ) {
        let kind = ColumnType::new(
            ValueType::List { element: Scalar::Text, delimiter: b',' }, None,
        );
        let mut binary = bytes("000000010000000000000019");
        binary.extend(i32::try_from(elements.len()).expect("few").to_be_bytes());
        binary.extend(1i32.to_be_bytes());
        let mut texts = Vec::new();
        for element in &elements {
            match element {
                None => {
                    binary.extend((-1i32).to_be_bytes());
                    texts.push("NULL".to_owned());
                }
                Some(text) => {
                    binary.extend(i32::try_from(text.len()).expect("short").to_be_bytes());
                    binary.extend(text.as_bytes());
                    texts.push(format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")));
                }
            }
        }
        let mut column = Appender::new(&kind, 0);
        column.append_text(format!("{{{}}}", texts.join(",")).as_bytes()).expect("valid");
        column.append_null();
        column.append_binary(&binary).expect("valid");
        let column = column.finish(3);
        let lists = column.as_list::<i32>();
        for row in [0, 2] {
            let found: Vec<_> = lists.value(row).as_string::<i32>().iter()
                .map(|text| text.map(str::to_owned)).collect();
            prop_assert_eq!(&found, &elements);
        }
        prop_assert!(lists.is_null(1));
    }

    #[test]
    fn garbage_is_refused_or_read_and_never_panics(
        garbage in prop::collection::vec(any::<u8>(), 0..60),
        digits in "[-+0-9.: BCyearmonsday{}\"\\\\,NULL]{0,40}",
    ) {
        thread_local! {
            static KINDS: Vec<(&'static str, ColumnType)> =
                columns("kinds", TypeOptions::default());
        }
        for (name, kind) in KINDS.with(Clone::clone) {
            for value in [garbage.as_slice(), digits.as_bytes()] {
                let mut column = Appender::new(&kind, 0);
                column.append_null();
                let text = column.append_text(value);
                prop_assert_eq!(column.finish(1 + usize::from(text.is_ok())).is_null(0), true, "{}", name);
                column.append_null();
                let binary = column.append_binary(value);
                column.finish(1 + usize::from(binary.is_ok()));
            }
        }
    }
}
