//! Numbers as Redis reads and writes them in INCRBYFLOAT: the 80-bit extended precision of x86's `long double`.
//!
//! Redis parses with `strtold`, adds, and prints with `%.17Lf` less the trailing zeros. Clients see that precision
//! (5.0e3 + 2.0e2 is 5200, 0.1 + 0.2 is 0.3, 12345678901.1 + 0.1 is not what one would like), so the type is
//! rebuilt here bit by bit: 64 bits of significand, round to nearest, ties to even, the same range. A finite number
//! is `significand * 2^exponent` with bit 63 of the significand set, unless it is zero or below the normal range.

mod big;
pub mod double;

use big::Big;

/// The longest text that is read as a number.
const TEXT_BYTES_MAX: usize = 5 * 1024 - 1;

/// Of the smallest positive number.
const EXPONENT_MIN: i32 = -16445;

/// Numbers of 2 to this power and above are infinite.
const MAGNITUDE_BITS_MAX: i32 = 16384;

/// Digits before the decimal point of the largest finite number.
const DECIMAL_POINT_MAX: i64 = 4933;

/// A number below 10 to this power rounds to zero.
const DECIMAL_POINT_MIN: i64 = -4951;

/// Digits after the decimal point that are printed.
const PLACES: usize = 17;

/// A number of extended precision. Never NaN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extended {
    is_negative: bool,
    is_infinite: bool,
    significand: u64,
    exponent: i32,
}

impl Extended {
    /// The whole text is one number as C reads them: decimal or hexadecimal, with or without exponent, or `inf`.
    /// `None` for anything else, NaN included, and for finite texts that are too large or round to zero.
    pub fn parse(text: &[u8]) -> Option<Extended> {
        if text.len() > TEXT_BYTES_MAX {
            return None;
        }
        let (is_negative, rest) = sign(text);
        if rest.eq_ignore_ascii_case(b"inf") || rest.eq_ignore_ascii_case(b"infinity") {
            return Some(Extended { is_negative, is_infinite: true, significand: 0, exponent: 0 });
        }
        let magnitude = match rest {
            [b'0', b'x' | b'X', hex @ ..] => hexadecimal(hex),
            _ => decimal(rest),
        }?;
        (!magnitude.is_infinite).then_some(Extended { is_negative, ..magnitude })
    }

    pub fn is_finite(self) -> bool {
        !self.is_infinite
    }

    /// Near it as a double: at least the smallest one there is, unless it is zero.
    pub fn nearest(self) -> f64 {
        let magnitude = match (self.is_infinite, self.significand) {
            (true, _) => f64::INFINITY,
            (false, 0) => 0.0,
            (false, bits) => (bits as f64 * 2f64.powi(self.exponent)).max(f64::MIN_POSITIVE),
        };
        if self.is_negative { -magnitude } else { magnitude }
    }

    /// A double, which is finite.
    pub fn of(value: f64) -> Extended {
        assert!(value.is_finite(), "only finite numbers are written");
        let bits = value.to_bits();
        let (power, fraction) = ((bits >> 52 & 0x7ff) as i32, bits & ((1 << 52) - 1));
        let significand = if power == 0 { fraction } else { fraction | 1 << 52 };
        Extended { is_negative: value < 0.0, ..round(significand.into(), power.max(1) - 1075, false) }
    }

    /// The sum, or `None` if it is infinite or not a number.
    pub fn plus(self, other: Extended) -> Option<Extended> {
        if self.is_infinite || other.is_infinite {
            return None;
        }
        let (large, small) = if self.order() >= other.order() { (self, other) } else { (other, self) };
        if small.significand == 0 {
            return Some(large);
        }
        // Two bits of room above, 62 below. If the smaller one is moved by more than those, at most one bit cancels, and
        // whether it had any bits further below is all that rounding asks.
        let distance = large.exponent.abs_diff(small.exponent);
        let a = u128::from(large.significand) << 62;
        let whole = u128::from(small.significand) << 62;
        let moved = whole.checked_shr(distance).unwrap_or(0);
        let b = moved | u128::from(moved.checked_shl(distance) != Some(whole));
        let sum = if large.is_negative == small.is_negative { a + b } else { a - b };
        let result = round(sum, large.exponent - 62, false);
        (!result.is_infinite).then_some(Extended { is_negative: large.is_negative && sum != 0, ..result })
    }

    /// For a comparison of magnitudes: numbers below the normal range all have the least exponent.
    fn order(self) -> (bool, i32, u64) {
        (self.significand != 0, self.exponent, self.significand)
    }

    /// As `%.17Lf` prints it, less trailing zeros and a trailing point.
    pub fn format(self) -> String {
        assert!(!self.is_infinite, "only finite results are written");
        let mut text = String::from(if self.is_negative { "-" } else { "" });
        if self.exponent >= 0 {
            text.push_str(&Big::from(self.significand).shifted(self.exponent.unsigned_abs()).decimal());
        } else {
            self.push_fraction(&mut text);
        }
        if text == "-0" { "0".into() } else { text }
    }

    /// The magnitude of a number with a negative exponent.
    fn push_fraction(self, text: &mut String) {
        // 121 bits at most.
        let scaled = u128::from(self.significand) * 10u128.pow(PLACES as u32);
        let digits =
            itoa::Buffer::new().format(shift_right_even(scaled, self.exponent.unsigned_abs(), false)).to_owned();
        let padded = format!("{digits:0>width$}", width = PLACES + 1);
        let (whole, places) = padded.split_at(padded.len() - PLACES);
        text.push_str(whole);
        let places = places.trim_end_matches('0');
        if !places.is_empty() {
            text.push('.');
            text.push_str(places);
        }
    }
}

fn sign(text: &[u8]) -> (bool, &[u8]) {
    match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    }
}

/// `digits[.digits][e[sign]digits]` with at least one digit in front of the exponent.
fn decimal(text: &[u8]) -> Option<Extended> {
    let Scanned { digits, places, exponent } = scan(text, |byte| byte.is_ascii_digit(), b'e')?;
    let Some(first) = digits.iter().position(|&digit| digit != b'0') else {
        return Some(ZERO);
    };
    let kept = digits.iter().rposition(|&digit| digit != b'0').expect("one of them is not a zero") + 1;
    let power = exponent - places as i64 + (digits.len() - kept) as i64;
    let digits = &digits[first..kept];
    let point = digits.len() as i64 + power;
    if !(DECIMAL_POINT_MIN + 1..=DECIMAL_POINT_MAX).contains(&point) {
        return None;
    }
    let mut numerator = Big::from_decimal(digits);
    let mut denominator = Big::from(1);
    // The bounds on `point` and on the length of the text keep this below eleven thousand.
    let scaled = if power < 0 { &mut denominator } else { &mut numerator };
    scaled.multiply_power_of_ten(power.unsigned_abs() as u32);
    let number = quotient(numerator, denominator);
    (number.significand != 0).then_some(number)
}

/// What follows `0x`: hexadecimal digits with or without a point, `p` and a binary exponent.
fn hexadecimal(text: &[u8]) -> Option<Extended> {
    let Scanned { digits, places, exponent } = scan(text, |byte| byte.is_ascii_hexdigit(), b'p')?;
    let mut significand = 0u128;
    let mut power = exponent - 4 * places as i64;
    let mut has_more = false;
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
        return Some(ZERO);
    }
    let number = round(significand, power.clamp(-100_000, 100_000) as i32, has_more);
    (number.significand != 0).then_some(number)
}

struct Scanned {
    digits: Vec<u8>,
    /// How many of the digits stand after the point.
    places: usize,
    exponent: i64,
}

/// Takes a text apart at its point and its exponent's letter. `None` if it is not a number.
fn scan(text: &[u8], is_digit: impl Fn(&u8) -> bool, letter: u8) -> Option<Scanned> {
    let end = text.iter().position(|byte| byte.eq_ignore_ascii_case(&letter) && !is_digit(byte));
    let (front, exponent) = match end {
        Some(end) => (&text[..end], power(&text[end + 1..])?),
        None => (text, 0),
    };
    let point = front.iter().position(|&byte| byte == b'.').unwrap_or(front.len());
    let after = front.get(point + 1..).unwrap_or_default();
    let digits = [&front[..point], after].concat();
    if digits.is_empty() || !digits.iter().all(is_digit) {
        return None;
    }
    Some(Scanned { digits, places: after.len(), exponent })
}

/// `[sign]digits`, limited to what is certainly too large or too small.
fn power(text: &[u8]) -> Option<i64> {
    let (is_negative, digits) = sign(text);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = digits.iter().fold(0i64, |value, digit| (value * 10 + i64::from(digit - b'0')).min(1_000_000));
    Some(if is_negative { -value } else { value })
}

const ZERO: Extended = Extended { is_negative: false, is_infinite: false, significand: 0, exponent: EXPONENT_MIN };

/// The number nearest to a quotient of two positive integers.
fn quotient(numerator: Big, denominator: Big) -> Extended {
    // 66 or 67 bits of quotient: the significand, and enough below it to round.
    let shift = 66 - (numerator.bits() as i32 - denominator.bits() as i32);
    let mut rest = numerator.shifted(shift.max(0).unsigned_abs());
    let divisor = denominator.shifted((-shift).max(0).unsigned_abs() + 66);
    let mut result = 0u128;
    for _ in 0..=66 {
        result = result << 1 | u128::from(rest.subtract_if_not_less(&divisor));
        rest.double();
    }
    round(result, -shift, !rest.is_zero())
}

/// The number nearest to `value * 2^exponent`, ties to even. `has_more`: the true value is a little larger; then
/// `value` must have more than 65 bits.
fn round(value: u128, exponent: i32, has_more: bool) -> Extended {
    if value == 0 {
        return ZERO;
    }
    let excess = (64 - value.leading_zeros() as i32).max(EXPONENT_MIN - exponent);
    let mut exponent = exponent + excess;
    let rounded = if excess <= 0 {
        value << excess.unsigned_abs()
    } else {
        shift_right_even(value, excess.unsigned_abs(), has_more)
    };
    let significand = u64::try_from(rounded).unwrap_or_else(|_| {
        exponent += 1;
        1 << 63
    });
    let is_infinite = exponent + 64 > MAGNITUDE_BITS_MAX;
    Extended { is_negative: false, is_infinite, significand, exponent }
}

/// `value / 2^shift` to the nearest integer, ties to even.
fn shift_right_even(value: u128, shift: u32, has_more: bool) -> u128 {
    let whole = value.checked_shr(shift).unwrap_or(0);
    let Some(half) = shift.checked_sub(1).and_then(|bit| 1u128.checked_shl(bit)) else {
        return whole;
    };
    let is_up = value & half != 0 && (has_more || value & (half - 1) != 0 || whole & 1 == 1);
    whole + u128::from(is_up)
}

#[cfg(test)]
mod tests;
