//! Numbers as text, in the forms that scripts meet: Redis's shortest form, and C's `%g`.

/// A number as Redis 7.2 writes it in replies and commands: an integer if it is one, else the fewest digits that tell it from
/// others.
pub fn shortest(number: f64) -> String {
    if let Some(integer) = integer(number) {
        return integer.to_string();
    }
    if number.is_nan() {
        return "nan".into();
    }
    if number.is_infinite() {
        return if number > 0.0 { "inf" } else { "-inf" }.into();
    }
    let mut buffer = zmij::Buffer::new();
    let (negative, digits, exponent) = decimal(buffer.format_finite(number));
    let sign = if negative { "-" } else { "" };
    format!("{sign}{}", layout(&digits, exponent, negative))
}

/// The integer that a number is, if 64 bits hold it for certain. Negative zero is none.
pub fn integer(number: f64) -> Option<i64> {
    const EXACT_MAX: f64 = (1i64 << 52) as f64;
    let fits = number.abs() <= EXACT_MAX && number.fract() == 0.0 && !(number == 0.0 && number.is_sign_negative());
    fits.then_some(number as i64)
}

/// What C makes of a double that becomes a `long long` on this machine.
pub fn truncated(number: f64) -> i64 {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    if (-LIMIT..LIMIT).contains(&number) { number as i64 } else { i64::MIN }
}

/// Sign, significant digits without zeros at either end, and the power of ten of the last of them.
fn decimal(text: &str) -> (bool, String, i32) {
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let mut exponent: i32 = exponent.parse().expect("a number's exponent is one");
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    exponent -= fraction.len() as i32;
    let all = format!("{whole}{fraction}");
    let digits = all.trim_start_matches('0').trim_end_matches('0');
    exponent += (all.len() - all.trim_end_matches('0').len()) as i32;
    if digits.is_empty() { (negative, "0".into(), 0) } else { (negative, digits.into(), exponent) }
}

/// Digits times a power of ten, as the library that Redis 7.2 uses lays them out.
fn layout(digits: &str, exponent: i32, negative: bool) -> String {
    const DIGITS_MAX: usize = 18;
    let len = digits.len() as i32;
    let scientific = exponent + len - 1;
    if exponent >= 0 && scientific.abs() < len + 7 {
        return format!("{digits}{}", "0".repeat(exponent as usize));
    }
    if exponent < 0 && (exponent > -7 || scientific.abs() < 4) {
        let point = len + exponent;
        if point <= 0 {
            return format!("0.{}{digits}", "0".repeat(-point as usize));
        }
        let (whole, fraction) = digits.split_at(point as usize);
        return format!("{whole}.{fraction}");
    }
    let shown = &digits[..digits.len().min(DIGITS_MAX - usize::from(negative))];
    let (first, rest) = shown.split_at(1);
    let point = if rest.is_empty() { "" } else { "." };
    let scientific = exponent + len - 1;
    format!("{first}{point}{rest}e{}{}", if scientific < 0 { '-' } else { '+' }, scientific.abs())
}

/// As C's `%.<precision>g`.
pub fn general(number: f64, precision: usize) -> String {
    if number.is_nan() {
        return if number.is_sign_negative() { "-nan" } else { "nan" }.into();
    }
    if number.is_infinite() {
        return if number > 0.0 { "inf" } else { "-inf" }.into();
    }
    let precision = precision.max(1);
    let text = format!("{number:.*e}", precision - 1);
    let (mantissa, exponent) = text.split_once('e').expect("it is written with an exponent");
    let exponent: i32 = exponent.parse().expect("an exponent is a number");
    if exponent < -4 || exponent >= precision as i32 {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", trimmed(mantissa), exponent.abs());
    }
    let decimals = (precision as i32 - 1 - exponent) as usize;
    trimmed(&format!("{number:.decimals$}")).into()
}

/// Without zeros behind the point, and without a point that has nothing behind it.
fn trimmed(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_redis_writes_them() {
        let check = |number: f64, text: &str| assert_eq!(shortest(number), text);
        check(0.1, "0.1");
        check(5e-324, "5e-324");
        check(1e15, "1000000000000000");
        check(1e21, "1e+21");
        check(1e17, "1e+17");
        check(123_456_789.123_456_79, "1.2345678912345679e+8");
        check(1e-5, "0.00001");
        check(1e-7, "1e-7");
        check(1.5e300, "1.5e+300");
        check(-3.25, "-3.25");
        check(-0.0, "-0");
        check(3.0, "3");
        check(f64::NEG_INFINITY, "-inf");
    }

    #[test]
    fn numbers_are_written_as_c_writes_them() {
        let check = |number: f64, precision, text: &str| assert_eq!(general(number, precision), text);
        check(0.1, 14, "0.1");
        check(100000000000000.0, 14, "1e+14");
        check(12345678901234.0, 14, "12345678901234");
        check(0.0001, 14, "0.0001");
        check(0.00001, 14, "1e-05");
        check(2.34567, 3, "2.35");
        check(-0.0, 14, "-0");
        check(1e300, 14, "1e+300");
        check(999999.5, 6, "1e+06");
    }

    #[test]
    fn what_does_not_fit_is_what_c_makes_of_it() {
        assert_eq!(truncated(1.9), 1);
        assert_eq!(truncated(-1.9), -1);
        assert_eq!(truncated(1e20), i64::MIN);
        assert_eq!(truncated(f64::NAN), i64::MIN);
        assert_eq!(truncated(-9.3e18), i64::MIN);
    }
}
