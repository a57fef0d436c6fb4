//! The arguments of one command: ranges of a connection's input, the name first. Nothing is copied.

use crate::error::Refusal;
use std::ops::Index;
use std::sync::Arc;

/// Arguments that outlive their connection's input: a buffer that they stand in, and their starts and ends there.
pub type KeptArgs = (Arc<Vec<u8>>, Vec<(u32, u32)>);

/// The arguments, by their places.
#[derive(Clone, Copy)]
pub struct Args<'a> {
    bytes: &'a [u8],
    ranges: &'a [(u32, u32)],
}

impl<'a> Args<'a> {
    /// `ranges` are starts and ends within `bytes`.
    pub fn new(bytes: &'a [u8], ranges: &'a [(u32, u32)]) -> Args<'a> {
        Args { bytes, ranges }
    }

    #[allow(clippy::len_without_is_empty, reason = "a command has a name, so it is never empty")]
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// The argument at `index`, if there are that many.
    #[inline]
    pub fn get(&self, index: usize) -> Option<&'a [u8]> {
        let &(start, end) = self.ranges.get(index)?;
        Some(&self.bytes[start as usize..end as usize])
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = &'a [u8]> {
        self.ranges.iter().map(move |&(start, end)| &self.bytes[start as usize..end as usize])
    }

    /// The arguments from `index` on.
    pub fn skip(&self, index: usize) -> Args<'a> {
        Args { bytes: self.bytes, ranges: &self.ranges[index.min(self.ranges.len())..] }
    }

    /// The first `count` arguments, and the others.
    pub fn split(&self, count: usize) -> (Args<'a>, Args<'a>) {
        let (first, rest) = self.ranges.split_at(count);
        (Args { bytes: self.bytes, ranges: first }, Args { bytes: self.bytes, ranges: rest })
    }

    /// The starts and ends of the arguments within the buffer that they stand in; `None` if that is not this one.
    pub fn ranges_in(&self, buffer: &[u8]) -> Option<Vec<(u32, u32)>> {
        let start = (self.bytes.as_ptr() as usize).checked_sub(buffer.as_ptr() as usize)?;
        if start + self.bytes.len() > buffer.len() {
            return None;
        }
        let start = u32::try_from(start).ok()?;
        Some(self.ranges.iter().map(|(from, to)| (start + from, start + to)).collect())
    }

    /// Is the argument at `index` this word, in any case?
    pub fn is(&self, index: usize, word: &str) -> bool {
        self.get(index).is_some_and(|arg| arg.eq_ignore_ascii_case(word.as_bytes()))
    }

    /// A signed 64-bit integer in Redis's strict form: no spaces, no plus, no leading zeros.
    pub fn integer(&self, index: usize) -> Result<i64, Refusal> {
        self.get(index).and_then(parse_integer).ok_or(Refusal::NotInteger)
    }
}

impl Index<usize> for Args<'_> {
    type Output = [u8];

    #[inline]
    fn index(&self, index: usize) -> &[u8] {
        let (start, end) = self.ranges[index];
        &self.bytes[start as usize..end as usize]
    }
}

/// Arguments of one's own: their bytes, one behind the other, and their ranges, as [`Args::new`] takes them.
pub fn copied<'a>(args: impl IntoIterator<Item = &'a [u8]>) -> (Vec<u8>, Vec<(u32, u32)>) {
    let (mut bytes, mut ranges) = (Vec::new(), Vec::new());
    for arg in args {
        ranges.push((bytes.len() as u32, (bytes.len() + arg.len()) as u32));
        bytes.extend_from_slice(arg);
    }
    (bytes, ranges)
}

/// The whole text is one canonical decimal integer of 64 bits, as Redis wants it in arguments and values.
pub fn parse_integer(text: &[u8]) -> Option<i64> {
    let (is_negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    match digits {
        [b'0'] => return (!is_negative).then_some(0),
        [b'1'..=b'9', ..] if digits.len() <= 19 => {}
        _ => return None,
    }
    let mut value: u64 = 0;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
    }
    if is_negative { 0i64.checked_sub_unsigned(value) } else { i64::try_from(value).ok() }
}

#[cfg(test)]
mod tests {
    use super::parse_integer;

    #[test]
    fn only_canonical_integers_parse() {
        for value in [0, 1, -1, 42, i64::MAX, i64::MIN, i64::MIN + 1] {
            assert_eq!(parse_integer(value.to_string().as_bytes()), Some(value));
        }
        for text in [
            "",
            "-",
            "-0",
            "+1",
            "01",
            "1 ",
            " 1",
            "1a",
            "9223372036854775808",
            "-9223372036854775809",
            "99999999999999999999",
        ] {
            assert_eq!(parse_integer(text.as_bytes()), None, "{text}");
        }
    }
}
