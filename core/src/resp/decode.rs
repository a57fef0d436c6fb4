//! Stop 2 of 10: bytes -> arguments. Requests as RESP arrays of bulk strings, or inline.
//!
//! The decoder looks at a connection's input in place and answers ranges. When a request is incomplete it keeps
//! what it knows, so that a request of many pieces is not read again from its start with each piece. Texts of
//! protocol errors are Redis's.

use crate::limits::{ARGS_MAX, INLINE_BYTES_MAX, UNAUTHENTICATED_ARGS_MAX, UNAUTHENTICATED_BULK_BYTES_MAX};
use std::fmt;

/// What a request may be at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestLimits {
    /// `proto-max-bulk-len`.
    pub bulk_bytes_max: usize,
    pub is_authenticated: bool,
}

/// Why a connection is closed after `-ERR Protocol error: ...`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolError {
    ExpectedDollar(u8),
    MultibulkLength,
    BulkLength,
    UnauthenticatedMultibulkLength,
    UnauthenticatedBulkLength,
    InlineTooBig,
    MultibulkCountTooBig,
    BulkCountTooBig,
    UnbalancedQuotes,
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ProtocolError::ExpectedDollar(got) => return write!(f, "expected '$', got '{}'", char::from(*got)),
            ProtocolError::MultibulkLength => "invalid multibulk length",
            ProtocolError::BulkLength => "invalid bulk length",
            ProtocolError::UnauthenticatedMultibulkLength => "unauthenticated multibulk length",
            ProtocolError::UnauthenticatedBulkLength => "unauthenticated bulk length",
            ProtocolError::InlineTooBig => "too big inline request",
            ProtocolError::MultibulkCountTooBig => "too big mbulk count string",
            ProtocolError::BulkCountTooBig => "too big bulk count string",
            ProtocolError::UnbalancedQuotes => "unbalanced quotes in request",
        })
    }
}

/// What stands at the beginning of the input.
#[derive(Debug, PartialEq, Eq)]
pub enum Decoded {
    /// A request of so many bytes; its arguments' ranges were added. None were added if it is an empty one.
    Request {
        len: usize,
    },
    /// An inline request of so many bytes with quotes in it: its arguments, unquoted.
    Quoted {
        len: usize,
        args: Vec<Vec<u8>>,
    },
    /// More bytes are needed: this many at least in all, where that is known.
    Incomplete {
        need: usize,
    },
    Error(ProtocolError),
}

/// Where the decoding of an incomplete request stands.
#[derive(Debug, Default)]
pub struct Decoder {
    /// Bytes of the request that are dealt with.
    at: usize,
    /// Arguments still to come; 0 when the request's first line has not been read.
    args_left: usize,
    /// The announced length of the argument at `at`.
    bulk_len: Option<usize>,
    /// The ranges so far, while the request is incomplete.
    ranges: Vec<(u32, u32)>,
}

/// A line that announces a count: its value and the bytes it took, `None` while it is incomplete.
type Line = Option<(i64, usize)>;

impl Decoder {
    /// Looks at `input`, which starts where the last complete request ended. Ranges are added to `ranges`, relative to
    /// the start of `input`.
    pub fn decode(&mut self, input: &[u8], ranges: &mut Vec<(u32, u32)>, limits: RequestLimits) -> Decoded {
        let first = ranges.len();
        ranges.append(&mut self.ranges);
        match self.request(input, ranges, limits) {
            Ok(Some(decoded)) => {
                *self = Decoder { ranges: std::mem::take(&mut self.ranges), ..Decoder::default() };
                decoded
            }
            Ok(None) => {
                self.ranges.extend(ranges.drain(first..));
                Decoded::Incomplete { need: self.bulk_len.map_or(0, |len| self.at + len + 2) }
            }
            Err(error) => {
                ranges.truncate(first);
                Decoded::Error(error)
            }
        }
    }

    #[inline]
    fn request(
        &mut self,
        input: &[u8],
        ranges: &mut Vec<(u32, u32)>,
        limits: RequestLimits,
    ) -> Result<Option<Decoded>, ProtocolError> {
        if self.args_left == 0 {
            if input.first().is_some_and(|&byte| byte != b'*') {
                return inline(input, ranges);
            }
            let Some((count, len)) = line(input, ProtocolError::MultibulkLength, ProtocolError::MultibulkCountTooBig)?
            else {
                return Ok(None);
            };
            if count > ARGS_MAX as i64 {
                return Err(ProtocolError::MultibulkLength);
            }
            if count > UNAUTHENTICATED_ARGS_MAX as i64 && !limits.is_authenticated {
                return Err(ProtocolError::UnauthenticatedMultibulkLength);
            }
            if count <= 0 {
                return Ok(Some(Decoded::Request { len }));
            }
            self.at = len;
            self.args_left = count as usize;
        }
        while self.args_left > 0 {
            let len = match self.bulk_len {
                Some(len) => len,
                None => match bulk_line(&input[self.at..], limits)? {
                    Some((len, taken)) => {
                        self.at += taken;
                        self.bulk_len = Some(len);
                        len
                    }
                    None => return Ok(None),
                },
            };
            if input.len() < self.at + len + 2 {
                return Ok(None);
            }
            ranges.push((self.at as u32, (self.at + len) as u32));
            self.at += len + 2;
            self.bulk_len = None;
            self.args_left -= 1;
        }
        Ok(Some(Decoded::Request { len: self.at }))
    }
}

/// `$<length>`.
#[inline]
fn bulk_line(input: &[u8], limits: RequestLimits) -> Result<Option<(usize, usize)>, ProtocolError> {
    match input.first() {
        None => return Ok(None),
        Some(b'$') => {}
        Some(&other) => return Err(ProtocolError::ExpectedDollar(other)),
    }
    let Some((len, taken)) = line(input, ProtocolError::BulkLength, ProtocolError::BulkCountTooBig)? else {
        return Ok(None);
    };
    if len < 0 || len > limits.bulk_bytes_max as i64 {
        return Err(ProtocolError::BulkLength);
    }
    if len > UNAUTHENTICATED_BULK_BYTES_MAX as i64 && !limits.is_authenticated {
        return Err(ProtocolError::UnauthenticatedBulkLength);
    }
    Ok(Some((len as usize, taken)))
}

/// A kind byte, a decimal integer, a line end.
#[inline]
fn line(input: &[u8], invalid: ProtocolError, too_big: ProtocolError) -> Result<Line, ProtocolError> {
    // Nearly every line has one to three digits.
    let mut value = 0i64;
    for (i, &byte) in input.iter().enumerate().skip(1).take(4) {
        match byte {
            b'0'..=b'9' => value = value * 10 + i64::from(byte - b'0'),
            // As in Redis, a number begins with 0 only if it is 0.
            b'\r' if i == 2 || (i > 2 && input[1] != b'0') => {
                return if input.len() > i + 1 { Ok(Some((value, i + 2))) } else { Ok(None) };
            }
            _ => break,
        }
    }
    long_line(input, invalid, too_big)
}

#[cold]
fn long_line(input: &[u8], invalid: ProtocolError, too_big: ProtocolError) -> Result<Line, ProtocolError> {
    let Some(end) = memchr::memchr(b'\r', &input[..input.len().min(INLINE_BYTES_MAX + 1)]) else {
        return if input.len() > INLINE_BYTES_MAX { Err(too_big) } else { Ok(None) };
    };
    if input.len() < end + 2 {
        return Ok(None);
    }
    match crate::command::args::parse_integer(&input[1..end]) {
        Some(value) => Ok(Some((value, end + 2))),
        None => Err(invalid),
    }
}

/// A line of words.
fn inline(input: &[u8], ranges: &mut Vec<(u32, u32)>) -> Result<Option<Decoded>, ProtocolError> {
    let Some(end) = memchr::memchr(b'\n', &input[..input.len().min(INLINE_BYTES_MAX + 1)]) else {
        return if input.len() > INLINE_BYTES_MAX { Err(ProtocolError::InlineTooBig) } else { Ok(None) };
    };
    let len = end + 1;
    let text = input[..end].strip_suffix(b"\r").unwrap_or(&input[..end]);
    if text.iter().any(|byte| matches!(byte, b'"' | b'\'' | b'\\')) {
        let args = unquote(text).ok_or(ProtocolError::UnbalancedQuotes)?;
        return Ok(Some(Decoded::Quoted { len, args }));
    }
    let mut at = 0;
    for word in text.split(u8::is_ascii_whitespace) {
        if !word.is_empty() {
            ranges.push((at as u32, (at + word.len()) as u32));
        }
        at += word.len() + 1;
    }
    Ok(Some(Decoded::Request { len }))
}

/// Splits a line into words the way Redis does: `"..."` with escapes, `'...'` with `\'` only. `None`: unbalanced.
/// Also the grammar of the lines of a configuration file.
pub fn unquote(text: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut words = Vec::new();
    let mut rest = text.trim_ascii_start();
    while !rest.is_empty() {
        let (word, after) = unquote_word(rest)?;
        words.push(word);
        rest = after.trim_ascii_start();
    }
    Some(words)
}

/// One word and what follows it. A closing quote must end the word.
fn unquote_word(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut word = Vec::new();
    let mut rest = text;
    loop {
        match rest {
            [] => return Some((word, rest)),
            [byte, ..] if byte.is_ascii_whitespace() => return Some((word, rest)),
            [b'"', inside @ ..] => {
                let after = double_quoted(inside, &mut word)?;
                return after.first().is_none_or(u8::is_ascii_whitespace).then_some((word, after));
            }
            [b'\'', inside @ ..] => {
                let after = single_quoted(inside, &mut word)?;
                return after.first().is_none_or(u8::is_ascii_whitespace).then_some((word, after));
            }
            [byte, after @ ..] => {
                word.push(*byte);
                rest = after;
            }
        }
    }
}

fn double_quoted<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    let hex = |digit: u8| char::from(digit).to_digit(16).map(|value| value as u8);
    loop {
        rest = match rest {
            [] => return None,
            [b'"', after @ ..] => return Some(after),
            [b'\\', b'x', high, low, after @ ..] if hex(*high).is_some() && hex(*low).is_some() => {
                word.push(hex(*high)? << 4 | hex(*low)?);
                after
            }
            [b'\\', escaped, after @ ..] => {
                word.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 8,
                    b'a' => 7,
                    other => *other,
                });
                after
            }
            [byte, after @ ..] => {
                word.push(*byte);
                after
            }
        }
    }
}

fn single_quoted<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        rest = match rest {
            [] => return None,
            [b'\'', after @ ..] => return Some(after),
            [b'\\', b'\'', after @ ..] => {
                word.push(b'\'');
                after
            }
            [byte, after @ ..] => {
                word.push(*byte);
                after
            }
        }
    }
}

#[cfg(test)]
mod tests;
