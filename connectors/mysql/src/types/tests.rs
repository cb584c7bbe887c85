use arrow::array::{Array, AsArray};
use arrow::datatypes::i256;
use cdc_api::testing::canonical;
use cdc_database::rows::Column as _;
use proptest::prelude::*;

use super::append::{Appender, Form, FormKind, Size};
use super::*;
use crate::wire::Wire;

fn column(text: &str) -> ColumnType {
    ColumnType::of_catalog(text, Some("utf8mb4"), TypeOptions::default()).expect("a type")
}

fn form(kind: FormKind, width: usize) -> Form {
    Form {
        size: Size::Fixed(width),
        kind,
    }
}

/// The value of both paths as text.
fn both(column: &ColumnType, form: Form, logged: &[u8], protocol: &[u8]) -> [Option<String>; 2] {
    let mut log = Appender::new(column, 0);
    log.append_logged(form, logged).expect("a logged value");
    let mut rows = Appender::new(column, 0);
    let mut wire = Wire(protocol);
    rows.append_protocol(&mut wire)
        .expect("a value of the protocol");
    assert!(wire.is_empty(), "bytes are left");
    [log, rows].map(|mut appender| {
        let array = appender.finish(1);
        assert_eq!(array.data_type(), &column.data_type());
        canonical::cell(&array, 0).map(|text| text.to_string())
    })
}

/// A type, the form and the bytes of a value in the log, its bytes in the protocol, its text.
type Case<'a> = (&'a str, Form, &'a [u8], &'a [u8], &'a str);

#[test]
fn log_and_protocol_give_the_same_value() {
    let plain = |width| form(FormKind::Plain, width);
    let cases: [Case<'_>; 14] = [
        (
            "mediumint",
            plain(3),
            b"\x00\x00\x80",
            b"\x00\x00\x80\xff",
            "-8388608",
        ),
        (
            "mediumint unsigned",
            plain(3),
            b"\xff\xff\xff",
            b"\xff\xff\xff\0",
            "16777215",
        ),
        (
            "bigint unsigned",
            plain(8),
            &[0xff; 8],
            &[0xff; 8],
            "18446744073709551615",
        ),
        ("year", plain(1), b"\x00", b"\x00\x00", "0"),
        ("year", plain(1), b"\xff", b"\x6b\x08", "2155"),
        (
            "decimal(10,2)",
            plain(5),
            b"\x80\x00\x00\x01\x32",
            b"\x041.50",
            "1.5",
        ),
        (
            "decimal(10,2)",
            plain(5),
            b"\x7f\xff\xff\xfe\xcd",
            b"\x05-1.50",
            "-1.5",
        ),
        (
            "bit(9)",
            plain(2),
            b"\x01\x55",
            b"\x02\x01\x55",
            "101010101",
        ),
        (
            "date",
            plain(3),
            b"\x5d\xd0\x0f",
            b"\x04\xe8\x07\x02\x1d",
            "19782",
        ),
        (
            "datetime(3)",
            form(FormKind::Fraction(3), 7),
            b"\x99\xb2\xba\xc8\xb8\x1e\xd2",
            b"\x0b\xe8\x07\x02\x1d\x0c\x22\x38\x08\x0a\x0c\x00",
            "1709210096789000",
        ),
        (
            "time(1)",
            form(FormKind::Fraction(1), 4),
            b"\x7f\x37\x47\xba",
            b"\x0c\x01\x00\x00\x00\x00\x0c\x22\x38\x60\xae\x0a\x00",
            "-45296700000",
        ),
        (
            "timestamp",
            form(FormKind::Fraction(0), 4),
            b"\xff\xff\xff\xff",
            b"\x07\x3a\x08\x02\x07\x06\x1c\x0f",
            "4294967295000000",
        ),
        (
            "binary(4)",
            plain(2),
            b"\x01\x02",
            b"\x04\x01\x02\0\0",
            "01020000",
        ),
        (
            "uuid",
            plain(2),
            b"\xab",
            b"\x24ab000000-0000-0000-0000-000000000000",
            "ab000000000000000000000000000000",
        ),
    ];
    for (name, form, logged, protocol, wanted) in cases {
        let [log, rows] = both(&column(name), form, logged, protocol);
        assert_eq!(log.as_deref(), Some(wanted), "{name} by the log");
        assert_eq!(rows.as_deref(), Some(wanted), "{name} by the protocol");
    }
}

#[test]
fn old_temporal_forms_keep_their_sign_and_range() {
    let old = |width| form(FormKind::OldTemporal, width);
    let mut times = Appender::new(&column("time"), 0);
    let minus = (-8_385_959_i32).to_le_bytes();
    times.append_logged(old(3), &minus[..3]).expect("a time");
    assert_eq!(
        canonical::cell(&times.finish(1), 0).as_deref(),
        Some("-3020399000000")
    );
    let mut moments = Appender::new(&column("timestamp"), 0);
    moments.append_logged(old(4), &[0xff; 4]).expect("a moment");
    assert_eq!(
        canonical::cell(&moments.finish(1), 0).as_deref(),
        Some("4294967295000000")
    );
    let mut moments = Appender::new(&column("datetime"), 0);
    let number = 99_991_231_235_959_u64.to_le_bytes();
    moments.append_logged(old(8), &number).expect("a moment");
    assert_eq!(
        canonical::cell(&moments.finish(1), 0).as_deref(),
        Some("253402300799000000")
    );
}

#[test]
fn dates_that_no_calendar_has_go_by_the_policy() {
    for policy in [ZeroDates::Error, ZeroDates::Null, ZeroDates::Text] {
        let options = TypeOptions { zero_dates: policy };
        let date = ColumnType::of_catalog("date", None, options).expect("a type");
        let mut appender = Appender::new(&date, 0);
        let plain = form(FormKind::Plain, 3);
        let result = appender.append_logged(plain, &[0, 0, 0]);
        match policy {
            ZeroDates::Error => assert_eq!(result, Err(ValueError::ZeroDate)),
            ZeroDates::Null => {
                assert_eq!(result, Ok(()));
                assert!(appender.finish(1).is_null(0));
            }
            ZeroDates::Text => {
                assert_eq!(result, Ok(()));
                assert_eq!(appender.finish(1).as_string::<i32>().value(0), "0000-00-00");
            }
        }
    }
}

#[test]
fn the_widest_decimal_is_exact() {
    let digits = "9".repeat(35) + "." + &"9".repeat(30);
    let mut appender = Appender::new(&column("decimal(65,30)"), 0);
    let mut protocol = vec![66];
    protocol.extend_from_slice(digits.as_bytes());
    appender
        .append_protocol(&mut Wire(&protocol))
        .expect("65 digits");
    assert_eq!(
        canonical::cell(&appender.finish(1), 0).as_deref(),
        Some(digits.as_str())
    );
}

/// A number in the log's form: the reverse of what is read.
fn packed(number: i128, precision: u8, scale: u8) -> Vec<u8> {
    const WIDTH: [usize; 10] = [0, 1, 1, 2, 2, 3, 3, 4, 4, 4];
    let digits = format!(
        "{:0width$}",
        number.unsigned_abs(),
        width = usize::from(precision)
    );
    let (whole, fraction) = digits.split_at(usize::from(precision - scale));
    let mut bytes = Vec::new();
    let mut group = |text: &str| {
        let value: u32 = text.parse().expect("digits");
        bytes.extend_from_slice(&value.to_be_bytes()[4 - WIDTH[text.len()]..]);
    };
    let (head, rest) = whole.split_at(whole.len() % 9);
    if !head.is_empty() {
        group(head);
    }
    for nine in rest.as_bytes().chunks(9) {
        group(std::str::from_utf8(nine).expect("digits"));
    }
    for nine in fraction.as_bytes().chunks(9) {
        group(std::str::from_utf8(nine).expect("digits"));
    }
    bytes[0] ^= 0x80;
    if number < 0 {
        bytes.iter_mut().for_each(|byte| *byte = !*byte);
    }
    bytes
}

proptest! {
    #[test]
    fn packed_decimals_are_exact(
        number in -(10i128.pow(37))..10i128.pow(37),
        precision in 38u8..=38,
        scale in 0u8..=30,
    ) {
        let bytes = packed(number, precision, scale);
        prop_assert_eq!(number::of_packed::<i128>(&bytes, precision, scale), Ok(number));
        let wide = i256::from_i128(number);
        prop_assert_eq!(number::of_packed::<i256>(&bytes, precision, scale), Ok(wide));
        let mut text = String::new();
        number::write_packed(&bytes, precision, scale, &mut text).expect("a number");
        prop_assert_eq!(number::of_text::<i128>(text.as_bytes(), scale), Ok(number));
    }

    #[test]
    fn days_are_those_of_the_calendar(seconds in 0u64..=u64::from(u32::MAX)) {
        let civil = temporal::Civil::of_unix(seconds, 0);
        prop_assert_eq!(civil.micros(), i64::try_from(seconds).ok().map(|it| it * 1_000_000));
    }

    #[test]
    fn json_of_random_bytes_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
        let _ = json::write(&bytes, &mut String::new());
    }

    #[test]
    fn values_of_random_bytes_never_panic(
        place in any::<prop::sample::Index>(),
        bytes in prop::collection::vec(any::<u8>(), 0..40),
        digits in 0u8..=6,
    ) {
        let names = [
            "tinyint", "smallint unsigned", "mediumint", "int", "bigint", "float", "double",
            "decimal(65,30)", "decimal(9,9)", "bit(64)", "year", "date", "datetime(6)", "timestamp(3)",
            "time(6)", "char(3)", "binary(3)", "blob", "enum('a')", "set('a','b')", "json", "point",
            "vector(2)", "uuid", "inet6", "inet4",
        ];
        let column = column(names[place.index(names.len())]);
        for kind in [FormKind::Plain, FormKind::Fraction(digits), FormKind::OldTemporal, FormKind::Compressed] {
            let mut appender = Appender::new(&column, 0);
            let _ = appender.append_logged(form(kind, bytes.len()), &bytes);
        }
        let _ = Appender::new(&column, 0).append_protocol(&mut Wire(&bytes));
    }
}
