//! The ids of entries: milliseconds and a number within them, as clients write them.

use crate::command::args::parse_integer;
use crate::error::Refusal;
use std::fmt;

/// What an entry is found by; each is above the one before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct EntryId {
    pub ms: u64,
    pub seq: u64,
}

/// The id that XADD is to give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewId {
    /// `*`: by the clock.
    Auto,
    /// `ms-*`: the next one of this millisecond.
    OfMs(u64),
    Exact(EntryId),
}

pub const INVALID: &str = "ERR Invalid stream ID specified as stream command argument";

const TEXT_BYTES_MAX: usize = 127;

impl EntryId {
    pub const MIN: EntryId = EntryId { ms: 0, seq: 0 };
    pub const MAX: EntryId = EntryId { ms: u64::MAX, seq: u64::MAX };
    pub const BYTES: usize = 16;

    pub fn next(self) -> Option<EntryId> {
        match self.seq.checked_add(1) {
            Some(seq) => Some(EntryId { seq, ..self }),
            None => Some(EntryId { ms: self.ms.checked_add(1)?, seq: 0 }),
        }
    }

    pub fn previous(self) -> Option<EntryId> {
        match self.seq.checked_sub(1) {
            Some(seq) => Some(EntryId { seq, ..self }),
            None => Some(EntryId { ms: self.ms.checked_sub(1)?, seq: u64::MAX }),
        }
    }

    /// Bytes that sort as ids do: its order among the elements.
    pub fn bytes(self) -> [u8; EntryId::BYTES] {
        (u128::from(self.ms) << 64 | u128::from(self.seq)).to_be_bytes()
    }

    pub fn of_bytes(bytes: [u8; EntryId::BYTES]) -> EntryId {
        let number = u128::from_be_bytes(bytes);
        EntryId { ms: (number >> 64) as u64, seq: number as u64 }
    }

    /// The id at the beginning of these bytes, and what is behind it.
    pub fn split(bytes: &[u8]) -> (EntryId, &[u8]) {
        let (id, rest) = bytes.split_first_chunk().expect("an entry begins with its id");
        (EntryId::of_bytes(*id), rest)
    }

    /// `ms-seq` or `ms`, for which `seq` is what is missing.
    pub fn parse(text: &[u8], seq: u64) -> Result<EntryId, Refusal> {
        match parts(text)? {
            (ms, None) => Ok(EntryId { ms, seq }),
            (ms, Some(text)) => Ok(EntryId { ms, seq: number(text)? }),
        }
    }

    /// The same, or `-` or `+` for the first and the last one there can be.
    pub fn parse_any(text: &[u8], seq: u64) -> Result<EntryId, Refusal> {
        match text {
            b"-" => Ok(EntryId::MIN),
            b"+" => Ok(EntryId::MAX),
            _ => EntryId::parse(text, seq),
        }
    }

    /// The beginning of a range; behind `(` it is not part of it.
    pub fn parse_start(text: &[u8]) -> Result<EntryId, Refusal> {
        match text {
            [b'(', id @ ..] if !id.is_empty() => {
                EntryId::parse(id, 0)?.next().ok_or(Refusal::text("ERR invalid start ID for the interval"))
            }
            _ => EntryId::parse_any(text, 0),
        }
    }

    /// The end of a range, likewise.
    pub fn parse_end(text: &[u8]) -> Result<EntryId, Refusal> {
        match text {
            [b'(', id @ ..] if !id.is_empty() => {
                EntryId::parse(id, u64::MAX)?.previous().ok_or(Refusal::text("ERR invalid end ID for the interval"))
            }
            _ => EntryId::parse_any(text, u64::MAX),
        }
    }
}

impl NewId {
    pub fn parse(text: &[u8]) -> Result<NewId, Refusal> {
        if text == b"*" {
            return Ok(NewId::Auto);
        }
        match parts(text)? {
            (ms, None) => Ok(NewId::Exact(EntryId { ms, seq: 0 })),
            (ms, Some(b"*")) => Ok(NewId::OfMs(ms)),
            (ms, Some(text)) => Ok(NewId::Exact(EntryId { ms, seq: number(text)? })),
        }
    }

    /// The id that follows `last` at this time; `None` if it would not be above it.
    pub fn after(self, last: EntryId, unix_ms: u64) -> Option<EntryId> {
        let id = match self {
            NewId::Auto if unix_ms > last.ms => EntryId { ms: unix_ms, seq: 0 },
            NewId::Auto => last.next()?,
            NewId::OfMs(ms) if ms == last.ms => EntryId { ms, seq: last.seq.checked_add(1)? },
            NewId::OfMs(ms) => EntryId { ms, seq: 0 },
            NewId::Exact(id) => id,
        };
        (id > last).then_some(id)
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

/// The milliseconds, and the text behind the first dash, if there is one.
fn parts(text: &[u8]) -> Result<(u64, Option<&[u8]>), Refusal> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(Refusal::text(INVALID));
    }
    match memchr::memchr(b'-', text) {
        Some(dash) => Ok((number(&text[..dash])?, Some(&text[dash + 1..]))),
        None => Ok((number(text)?, None)),
    }
}

/// A number as Redis reads it here: first as it reads all integers, and what is none of those as C's `strtoull` does, with white space in front, a
/// sign, and leading zeros.
fn number(text: &[u8]) -> Result<u64, Refusal> {
    if let Some(value) = parse_integer(text) {
        return u64::try_from(value).map_err(|_| Refusal::text(INVALID));
    }
    let text = &text[text.iter().take_while(|byte| byte.is_ascii_whitespace() || **byte == 0x0b).count()..];
    let (is_negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    let value = digits.iter().try_fold(0u64, |value, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    });
    match value {
        Some(value) if !digits.is_empty() => Ok(if is_negative { value.wrapping_neg() } else { value }),
        _ => Err(Refusal::text(INVALID)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(ms: u64, seq: u64) -> EntryId {
        EntryId { ms, seq }
    }

    #[test]
    fn ids_sort_as_their_bytes_and_step_over_milliseconds() {
        let ids = [EntryId::MIN, id(0, u64::MAX), id(1, 0), id(1, 1), id(256, 0), id(u64::MAX, 0), EntryId::MAX];
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1] && pair[0].bytes() < pair[1].bytes()));
        assert!(ids.iter().all(|id| EntryId::of_bytes(id.bytes()) == *id));
        assert_eq!(id(0, u64::MAX).next(), Some(id(1, 0)));
        assert_eq!(id(1, 0).previous(), Some(id(0, u64::MAX)));
        assert_eq!((EntryId::MAX.next(), EntryId::MIN.previous()), (None, None));
    }

    #[test]
    fn texts_are_read_as_redis_reads_them() {
        for (text, expect) in [
            ("5", Some(id(5, 9))),
            ("5-3", Some(id(5, 3))),
            ("18446744073709551615-18446744073709551615", Some(EntryId::MAX)),
            ("18446744073709551616-1", None),
            ("1-18446744073709551616", None),
            ("01-1", Some(id(1, 1))),
            ("1--0", Some(id(1, 0))),
            ("1--5", None),
            ("1-*", None),
            ("-", None),
            ("+", None),
            ("", None),
            ("-5", None),
            ("a-1", None),
            ("1-1-1", None),
        ] {
            assert_eq!(EntryId::parse(text.as_bytes(), 9).ok(), expect, "{text}");
        }
        assert_eq!(EntryId::parse(&[b'0'; 127], 0), Ok(EntryId::MIN));
        assert!(EntryId::parse(&[b'0'; 128], 0).is_err());
        assert_eq!(EntryId::parse_start(b"(1-1"), Ok(id(1, 2)));
        assert_eq!(EntryId::parse_end(b"(1"), Ok(id(1, u64::MAX - 1)));
        assert!(EntryId::parse_start(b"(18446744073709551615-18446744073709551615").is_err());
        assert!(EntryId::parse_end(b"(0-0").is_err() && EntryId::parse_start(b"(-").is_err());
    }

    #[test]
    fn new_ids_are_above_the_last() {
        assert_eq!(NewId::Auto.after(id(7, 3), 9), Some(id(9, 0)));
        assert_eq!(NewId::Auto.after(id(9, 3), 9), Some(id(9, 4)));
        assert_eq!(NewId::Auto.after(id(9, u64::MAX), 9), Some(id(10, 0)));
        assert_eq!(NewId::Auto.after(EntryId::MAX, 9), None);
        assert_eq!(NewId::OfMs(7).after(id(7, 3), 9), Some(id(7, 4)));
        assert_eq!(NewId::OfMs(7).after(id(7, u64::MAX), 9), None);
        assert_eq!(NewId::OfMs(6).after(id(7, 3), 9), None);
        assert_eq!(NewId::OfMs(0).after(EntryId::MIN, 9), Some(id(0, 1)));
        assert_eq!(NewId::Exact(id(7, 3)).after(id(7, 3), 9), None);
    }
}
