//! What SCAN, HSCAN, SSCAN and ZSCAN have in common: cursors and options.

use super::Call;
use crate::error::Refusal;
use crate::glob;
use crate::shard::Kind;

/// A kind that no row has: SCAN with an unknown TYPE finds nothing.
const NO_KIND: u8 = u8::MAX;

/// Keys, or elements, that a scan looks at when no COUNT is given.
const COUNT: usize = 10;

/// As C's `strtoul` reads a text to its end: a sign is fine, and nothing at all is zero.
pub(super) fn parse_cursor(text: &[u8]) -> Option<u64> {
    let (is_negative, digits) = match text {
        [] => return Some(0),
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    let value = digits.iter().try_fold(0u64, |value, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })?;
    Some(if is_negative { value.wrapping_neg() } else { value })
}

/// What follows the cursor of SCAN and its like.
pub(super) struct ScanOptions {
    pub count: usize,
    pub pattern: Option<Vec<u8>>,
    /// Only of SCAN.
    pub kind: Option<u8>,
}

impl ScanOptions {
    /// `at`: where they begin.
    pub fn parse(call: &Call<'_>, at: usize, takes_kind: bool) -> Result<ScanOptions, Refusal> {
        let args = call.args;
        let mut options = ScanOptions { count: COUNT, pattern: None, kind: None };
        let mut at = at;
        while at < args.len() {
            let value = args.get(at + 1).ok_or(Refusal::Syntax)?;
            if args.is(at, "count") {
                let count = args.integer(at + 1)?;
                options.count = usize::try_from(count).ok().filter(|&count| count > 0).ok_or(Refusal::Syntax)?;
            } else if args.is(at, "match") {
                options.pattern = (value != b"*").then(|| value.to_vec());
            } else if takes_kind && args.is(at, "type") {
                let kind = Kind::ALL.iter().find(|kind| value.eq_ignore_ascii_case(kind.name().as_bytes()));
                options.kind = Some(kind.map_or(NO_KIND, |kind| *kind as u8));
            } else {
                return Err(Refusal::Syntax);
            }
            at += 2;
        }
        Ok(options)
    }

    /// Whether a name is to be answered.
    pub fn wants(&self, name: &[u8]) -> bool {
        self.pattern.as_ref().is_none_or(|pattern| glob::is_match(pattern, name))
    }
}
