//! What Redis answers, and the properties that every sum has.

use super::*;

fn check(value: &str, increment: &str, expect: &str) {
    let parse = |text: &str| Extended::parse(text.as_bytes()).unwrap_or_else(|| panic!("{text} is a number"));
    let sum = parse(value).plus(parse(increment)).map(Extended::format);
    assert_eq!(sum.as_deref().unwrap_or("none"), expect, "{value} + {increment}");
}

/// Each of these was answered by redis-server 7.0.15 on x86-64.
#[test]
fn sums_are_those_of_redis() {
    check("0.1", "0.2", "0.3");
    check("10.50", "0.1", "10.6");
    check("5.0e3", "2.0e2", "5200");
    check("3", "-3", "0");
    check("-0", "-0", "0");
    check("1", "1e-18", "1");
    check("12345678901.1", "0.1", "12345678901.19999999925494194");
    check("17179869184.1", "0.2", "17179869184.29999999888241291");
    check("9007199254740993", "1", "9007199254740994");
    check("18446744073709551615", "1", "18446744073709551616");
    check("36893488147419103231", "1", "36893488147419103232");
    check("1e20", "1.5", "100000000000000000000");
    check("1e-17", "0", "0.00000000000000001");
    check("1e-4950", "0", "0");
    check("-1e-20", "0", "0");
    check("0x10", "0x.8p1", "17");
    check("3.14159265358979323846", "0", "3.14159265358979324");
    check("100.75", "-200.25", "-99.5");
}

#[test]
fn the_largest_number_prints_whole_and_beyond_it_is_none() {
    let largest = Extended::parse(b"1.18973149535723176502e+4932").unwrap();
    let text = largest.format();
    assert!(text.len() == 4933 && text.starts_with("118973149535723176502126385303"), "{text}");
    assert_eq!(largest.plus(largest), None);
    assert_eq!(Extended::parse(b"1.2e4932"), None);
    let infinite = Extended::parse(b"-INFINITY").unwrap();
    assert_eq!(infinite.plus(ZERO), None);
}

#[test]
fn what_is_no_number() {
    let mut texts: Vec<Vec<u8>> = [
        "",
        " 1",
        "1 ",
        "+",
        "-",
        ".",
        "e5",
        "1e",
        "1e+",
        "1.2.3",
        "1_0",
        "nan",
        "-nan",
        "nan(1)",
        "0x",
        "0x.p1",
        "0xg",
        "1p3",
        "infinit",
        "1e5000",
        "1e-5000",
        "0x1p-20000",
        "0x1p20000",
        "--1",
        "1\0",
        "1e5.5",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into();
    texts.push(vec![b'1'; TEXT_BYTES_MAX + 1]);
    for text in texts {
        assert_eq!(Extended::parse(&text), None, "{}", String::from_utf8_lossy(&text));
    }
}

#[test]
fn what_is_a_number() {
    for (text, expect) in [
        ("+1", "1"),
        ("1.", "1"),
        (".5", "0.5"),
        ("007", "7"),
        ("1E2", "100"),
        ("0e999999999999999999999", "0"),
        ("0X1.8P1", "3"),
        ("123456789012345678901234567890", "123456789012345678899921813504"),
    ] {
        assert_eq!(Extended::parse(text.as_bytes()).unwrap().format(), expect, "{text}");
    }
}

proptest::proptest! {
    /// Sums of integers are exact as long as they have 64 bits.
    #[test]
    fn integers_add_exactly(a: i32, b: i64) {
        let sum = i128::from(a) + i128::from(b);
        check(&a.to_string(), &b.to_string(), &sum.to_string());
    }

    /// Halves, quarters and so on are exact too.
    #[test]
    fn binary_fractions_add_exactly(a in -1i64 << 40..1i64 << 40, b in -1i64 << 40..1i64 << 40) {
        // Ten places, less trailing zeros, are all that these numbers have.
        let text = |value: i64| {
            let text = format!("{:.10}", value as f64 / 1024.0);
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        };
        check(&text(a), &text(b), &text(a + b));
    }
}
