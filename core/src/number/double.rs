//! Doubles as Redis reads and writes them in scores, weights and ranges: C's `strtod`, and the shortest text that reads back as the same number.

use super::{Scanned, scan, shift_right_even, sign};
use std::fmt::{self, Write};

/// Integers of this magnitude are written without an exponent (Redis: `double2ll`).
const INTEGER_MAX: f64 = (i64::MAX / 2) as f64;

/// The whole text is one number as C reads it, infinities included. `None` for anything else, not a number included, and for finite texts that are
/// too large or round to zero.
pub fn parse(text: &[u8]) -> Option<f64> {
    let value = read(text)?;
    let is_word = text.iter().any(|byte| byte.eq_ignore_ascii_case(&b'i'));
    let is_hexadecimal = text.iter().any(|byte| byte.eq_ignore_ascii_case(&b'x'));
    // The digits in front of an exponent.
    let end = text.iter().position(|byte| byte.eq_ignore_ascii_case(if is_hexadecimal { &b'p' } else { &b'e' }));
    let is_zero = || {
        text[..end.unwrap_or(text.len())].iter().all(|byte| !matches!(byte, b'1'..=b'9' | b'a'..=b'f' | b'A'..=b'F'))
    };
    (value.is_finite() && value != 0.0 || value.is_infinite() && is_word || value == 0.0 && is_zero()).then_some(value)
}

/// One end of a range of scores, as C reads it with less care: space in front is fine, nothing at all is zero, and what is too large is infinite.
pub fn parse_bound(text: &[u8]) -> Option<f64> {
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    if text.is_empty() {
        return Some(0.0);
    }
    let start = text.iter().position(|byte| !matches!(byte, b' ' | b'\t'..=b'\r'))?;
    read(&text[start..])
}

/// Not a number has no value.
fn read(text: &[u8]) -> Option<f64> {
    let (is_negative, rest) = sign(text);
    if let [b'0', b'x' | b'X', hex @ ..] = rest {
        return hexadecimal(hex).map(|value| if is_negative { -value } else { value });
    }
    let value: f64 = str::from_utf8(text).ok()?.parse().ok()?;
    (!value.is_nan()).then_some(value)
}

/// What follows `0x`: hexadecimal digits with or without a point, `p` and a binary exponent.
fn hexadecimal(text: &[u8]) -> Option<f64> {
    let Scanned { digits, places, exponent } = scan(text, |byte| byte.is_ascii_hexdigit(), b'p')?;
    let (mut significand, mut power, mut has_more) = (0u128, exponent - 4 * places as i64, false);
    for digit in digits {
        let digit = char::from(digit).to_digit(16).expect("the scan took hexadecimal digits only");
        if significand >> 120 == 0 {
            significand = significand << 4 | u128::from(digit);
        } else {
            has_more |= digit != 0;
            power += 4;
        }
    }
    if significand == 0 {
        return Some(0.0);
    }
    let (bits, power) = (128 - i64::from(significand.leading_zeros()), power.clamp(-100_000, 100_000));
    let excess = (bits - i64::from(f64::MANTISSA_DIGITS)).max(EXPONENT_MIN - power).max(0);
    let rounded = shift_right_even(significand, excess.min(127) as u32, has_more);
    let power = power + excess;
    // Nothing is lost from here on: what is multiplied has 53 bits, or ends where the numbers next to zero do.
    let scale = match power {
        ..EXPONENT_MIN => unreachable!("it was shifted"),
        EXPONENT_MIN..-1022 => f64::from_bits(1 << (power - EXPONENT_MIN)),
        -1022..=1023 => f64::from_bits(((power + 1023) as u64) << (f64::MANTISSA_DIGITS - 1)),
        _ => f64::INFINITY,
    };
    Some(rounded as f64 * scale)
}

/// Of the smallest positive number.
const EXPONENT_MIN: i64 = -1074;

/// The text of a number, in a buffer of its own.
#[derive(Clone, Copy)]
pub struct Text {
    bytes: [u8; TEXT_BYTES_MAX],
    len: usize,
}

/// A sign, 17 digits, a point, leading zeros or an exponent.
const TEXT_BYTES_MAX: usize = 40;

impl Text {
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn push(&mut self, bytes: &[u8]) {
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    fn push_zeros(&mut self, count: usize) {
        (0..count).for_each(|_| self.push(b"0"));
    }
}

impl Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text.as_bytes());
        Ok(())
    }
}

/// The text of a number: integers as such, others with the fewest digits that read back, as Redis 7.2 places point and exponent.
pub fn format(value: f64) -> Text {
    let mut text = Text { bytes: [0; TEXT_BYTES_MAX], len: 0 };
    if value.is_infinite() {
        text.push(if value > 0.0 { b"inf" } else { b"-inf" });
    } else if value == 0.0 {
        text.push(if value.is_sign_negative() { b"-0" } else { b"0" });
    } else if value.abs() <= INTEGER_MAX && value == value.trunc() {
        text.push(itoa::Buffer::new().format(value as i64).as_bytes());
    } else {
        push_shortest(&mut text, value);
    }
    text
}

/// A number that is no small integer.
fn push_shortest(text: &mut Text, value: f64) {
    let mut scientific = Text { bytes: [0; TEXT_BYTES_MAX], len: 0 };
    write!(scientific, "{:e}", value.abs()).expect("it has 17 digits at most");
    let scientific = scientific.as_bytes();
    let e = scientific.iter().position(|byte| *byte == b'e').expect("it has an exponent");
    let mut digits = [0; TEXT_BYTES_MAX];
    let mut count = 0;
    for digit in scientific[..e].iter().filter(|byte| **byte != b'.') {
        digits[count] = *digit;
        count += 1;
    }
    let digits = &digits[..count];
    let exponent: i32 =
        str::from_utf8(&scientific[e + 1..]).ok().and_then(|text| text.parse().ok()).expect("it is one");
    // Of the last digit.
    let power = exponent - (count as i32 - 1);
    if value < 0.0 {
        text.push(b"-");
    }
    if power >= 0 && exponent.unsigned_abs() < count as u32 + 7 {
        text.push(digits);
        text.push_zeros(power as usize);
    } else if power < 0 && (power > -7 || exponent.unsigned_abs() < 4) {
        match usize::try_from(exponent + 1) {
            Ok(whole) if whole > 0 => {
                text.push(&digits[..whole]);
                text.push(b".");
                text.push(&digits[whole..]);
            }
            _ => {
                text.push(b"0.");
                text.push_zeros((-exponent - 1) as usize);
                text.push(digits);
            }
        }
    } else {
        text.push(&digits[..1]);
        if count > 1 {
            text.push(b".");
            text.push(&digits[1..]);
        }
        text.push(if exponent < 0 { b"e-" } else { b"e+" });
        text.push(itoa::Buffer::new().format(exponent.unsigned_abs()).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_redis_writes_them() {
        // What valkey-server 9.0 answers to ZADD and ZSCORE.
        for (value, expect) in [
            (3.1, "3.1"),
            (0.1 + 0.2, "0.30000000000000004"),
            (-0.0, "-0"),
            (1e18, "1000000000000000000"),
            (1e19, "1e+19"),
            (12345678901234567890.0, "12345678901234567000"),
            (1e30, "1e+30"),
            (1.5e-7, "1.5e-7"),
            (0.000012, "0.000012"),
            (1.0 / 3.0, "0.3333333333333333"),
            (1e-5, "0.00001"),
            (5e-324, "5e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(str::from_utf8(format(value).as_bytes()).unwrap(), expect);
            assert_eq!(parse(expect.as_bytes()).map(f64::to_bits), Some(value.to_bits()), "{expect}");
        }
    }

    #[test]
    fn texts_are_read_as_c_reads_them() {
        for (text, expect) in [
            ("1", Some(1.0)),
            ("+1.5e3", Some(1500.0)),
            (".5", Some(0.5)),
            ("5.", Some(5.0)),
            ("inf", Some(f64::INFINITY)),
            ("-Infinity", Some(f64::NEG_INFINITY)),
            ("0x10", Some(16.0)),
            ("-0x1.8p1", Some(-3.0)),
            ("0x1p-1074", Some(5e-324)),
            ("0x1.00000000000008p0", Some(1.0)),
            ("0x1.000000000000080001p0", Some(1.0 + f64::EPSILON)),
            ("0x0p5", Some(0.0)),
            ("0e5", Some(0.0)),
            ("0x1p1024", None),
            ("0x1p-1080", None),
            ("1e400", None),
            ("1e-400", None),
            ("nan", None),
            ("", None),
            (" 1", None),
            ("1 ", None),
            ("1e", None),
            ("0x", None),
            ("(1", None),
        ] {
            assert_eq!(parse(text.as_bytes()), expect, "{text}");
        }
        for (text, expect) in
            [("", Some(0.0)), (" \t1", Some(1.0)), ("1e400", Some(f64::INFINITY)), (" ", None), ("1 ", None)]
        {
            assert_eq!(parse_bound(text.as_bytes()), expect, "{text}");
        }
    }
}
