//! Owns the recognition of replies (RESP2 and RESP3) in a byte stream that may be cut anywhere.
//!
//! It answers only what a load generator needs: where a reply ends, whether it is an error, nil or a push, and
//! on demand the bytes of a bulk string. It never holds more than one line and, when asked to, one bulk.
//!
//! ```text
//! Type --line types--> Line --> (reply ends | Bulk | elements follow: Type)
//!                                     Bulk --> Tail (CR LF) --> reply ends
//! ```
//!
//! `step` is behind every arrow; `close` ends a value and the aggregates that it completes.

use super::limits::{BULK_BYTES_MAX, DEPTH_MAX, LINE_BYTES_MAX};

/// What one whole reply was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Anything but the below.
    Value,
    /// The nil of RESP2 or RESP3, as the whole reply.
    Nil,
    /// An error, as the whole reply or within it; the text is in [`Scanner::error_text`].
    Error,
    /// A RESP3 push: belongs to no request.
    Push,
}

/// Bytes that are no RESP: the text says what was met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed(pub String);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Type,
    Line(u8),
    Bulk { left: u64 },
    Tail { seen: u8 },
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    left: u64,
    /// Attributes describe the value that follows; they are no element themselves.
    attribute: bool,
}

/// The scanner of one connection.
#[derive(Debug)]
pub struct Scanner {
    state: State,
    frames: Vec<Frame>,
    line: Vec<u8>,
    reply: Reply,
    error: Vec<u8>,
    bulk_error: bool,
    keep: bool,
    kept: Vec<u8>,
}

impl Scanner {
    /// With `keep`, the payload of the last bulk of each reply can be read with [`Scanner::payload`].
    #[must_use]
    pub fn new(keep: bool) -> Self {
        Self {
            state: State::Type,
            frames: Vec::new(),
            line: Vec::new(),
            reply: Reply::Value,
            error: Vec::new(),
            bulk_error: false,
            keep,
            kept: Vec::new(),
        }
    }

    /// Takes bytes from the front of `input` up to the end of one reply, and says what it was; `None` when the
    /// input ends before the reply does.
    ///
    /// # Errors
    /// [`Malformed`] when the bytes cannot be a reply; the stream is then of no more use.
    #[inline]
    pub fn next(&mut self, input: &mut &[u8]) -> Result<Option<Reply>, Malformed> {
        while !input.is_empty() {
            if self.step(input)? {
                return Ok(Some(core::mem::replace(&mut self.reply, Reply::Value)));
            }
        }
        Ok(None)
    }

    /// The bytes of the last bulk string, if the scanner keeps them.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.kept
    }

    /// The text of the last error reply, without its `-`.
    #[must_use]
    pub fn error_text(&self) -> String {
        String::from_utf8_lossy(&self.error).into_owned()
    }

    /// Whether the stream stands between two replies.
    #[cfg(test)]
    fn is_idle(&self) -> bool {
        self.state == State::Type && self.frames.is_empty()
    }

    /// One arrow of the diagram; true when it completed a reply.
    #[inline]
    fn step(&mut self, input: &mut &[u8]) -> Result<bool, Malformed> {
        match self.state {
            State::Type => {
                let kind = input[0];
                *input = &input[1..];
                self.begin(kind)?;
                Ok(false)
            }
            State::Line(kind) => self.step_line(kind, input),
            State::Bulk { left } => {
                let taken = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
                let (head, rest) = input.split_at(taken);
                if self.keep {
                    self.kept.extend_from_slice(head);
                }
                if self.bulk_error && self.error.len() < LINE_BYTES_MAX {
                    self.error.extend_from_slice(head);
                }
                *input = rest;
                let left = left - taken as u64;
                self.state = if left == 0 { State::Tail { seen: 0 } } else { State::Bulk { left } };
                Ok(false)
            }
            State::Tail { seen } => {
                let expected = if seen == 0 { b'\r' } else { b'\n' };
                if input[0] != expected {
                    return Err(Malformed(format!("byte {:#04x} after a bulk string's last", input[0])));
                }
                *input = &input[1..];
                if seen == 0 {
                    self.state = State::Tail { seen: 1 };
                    return Ok(false);
                }
                Ok(self.close())
            }
        }
    }

    #[inline]
    fn begin(&mut self, kind: u8) -> Result<(), Malformed> {
        match kind {
            b'+' | b':' | b'$' | b'*' | b'_' | b',' | b'#' | b'(' | b'=' | b'~' | b'%' | b'|' => {}
            b'-' | b'!' => {
                self.reply = Reply::Error;
                self.error.clear();
            }
            b'>' if self.frames.is_empty() => self.reply = Reply::Push,
            other => return Err(Malformed(format!("a reply cannot begin with the byte {other:#04x}"))),
        }
        self.state = State::Line(kind);
        Ok(())
    }

    #[inline]
    fn step_line(&mut self, kind: u8, input: &mut &[u8]) -> Result<bool, Malformed> {
        let Some(end) = memchr::memchr(b'\n', input) else {
            if self.line.len() + input.len() > LINE_BYTES_MAX {
                return Err(Malformed(format!("a line of more than {LINE_BYTES_MAX} bytes")));
            }
            self.line.extend_from_slice(input);
            *input = &[];
            return Ok(false);
        };
        let (head, rest) = input.split_at(end + 1);
        *input = rest;
        if self.line.is_empty() {
            return self.on_line(kind, head);
        }
        let mut line = core::mem::take(&mut self.line);
        line.extend_from_slice(head);
        let done = self.on_line(kind, &line);
        line.clear();
        self.line = line;
        done
    }

    #[inline]
    fn on_line(&mut self, kind: u8, line: &[u8]) -> Result<bool, Malformed> {
        let Some(text) = line.strip_suffix(b"\r\n") else {
            return Err(Malformed("a line that ends without a carriage return".to_owned()));
        };
        match kind {
            b'$' | b'=' | b'!' => match length(text)? {
                None => Ok(self.close_nil()),
                Some(left) if left > BULK_BYTES_MAX => Err(Malformed(format!("a bulk string of {left} bytes"))),
                Some(left) => {
                    self.kept.clear();
                    self.bulk_error = kind == b'!';
                    self.state = if left == 0 { State::Tail { seen: 0 } } else { State::Bulk { left } };
                    Ok(false)
                }
            },
            b'*' | b'~' | b'>' | b'%' | b'|' => match length(text)? {
                None => Ok(self.close_nil()),
                Some(count) => self.open(kind, count),
            },
            b'_' => Ok(self.close_nil()),
            b'-' => {
                self.error.extend_from_slice(text);
                Ok(self.close())
            }
            _ => Ok(self.close()),
        }
    }

    /// An aggregate of `count` elements (pairs, for maps) begins.
    fn open(&mut self, kind: u8, count: u64) -> Result<bool, Malformed> {
        let pairs = matches!(kind, b'%' | b'|');
        let left = if pairs { count.saturating_mul(2) } else { count };
        let attribute = kind == b'|';
        if left == 0 {
            if attribute {
                self.state = State::Type;
                return Ok(false);
            }
            return Ok(self.close());
        }
        if self.frames.len() == DEPTH_MAX {
            return Err(Malformed(format!("arrays nested deeper than {DEPTH_MAX}")));
        }
        self.frames.push(Frame { left, attribute });
        self.state = State::Type;
        Ok(false)
    }

    fn close_nil(&mut self) -> bool {
        if self.frames.is_empty() && self.reply == Reply::Value {
            self.reply = Reply::Nil;
        }
        self.close()
    }

    /// A value ended; true when it was, or completed, the whole reply.
    #[inline]
    fn close(&mut self) -> bool {
        self.state = State::Type;
        while let Some(frame) = self.frames.last_mut() {
            frame.left -= 1;
            if frame.left > 0 {
                return false;
            }
            let attribute = frame.attribute;
            self.frames.pop();
            if attribute {
                return false;
            }
        }
        true
    }
}

/// A length line: `None` for -1.
#[inline]
fn length(text: &[u8]) -> Result<Option<u64>, Malformed> {
    if text == b"-1" {
        return Ok(None);
    }
    let digits = !text.is_empty() && text.len() <= 18 && text.iter().all(u8::is_ascii_digit);
    if !digits {
        return Err(Malformed(format!("the length {:?}", String::from_utf8_lossy(text))));
    }
    Ok(Some(text.iter().fold(0, |n, d| n * 10 + u64::from(d - b'0'))))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The replies of `input` fed in pieces that end at `cuts`.
    fn scan(input: &[u8], cuts: &[usize]) -> Result<Vec<(Reply, Vec<u8>, String)>, Malformed> {
        let mut scanner = Scanner::new(true);
        let mut found = Vec::new();
        let mut from = 0;
        for to in cuts.iter().copied().chain([input.len()]) {
            let mut piece = &input[from..to];
            while let Some(reply) = scanner.next(&mut piece)? {
                found.push((reply, scanner.payload().to_vec(), scanner.error_text()));
            }
            from = to;
        }
        assert!(scanner.is_idle(), "the input ends within a reply");
        Ok(found)
    }

    #[test]
    fn every_cut_gives_the_same_replies() {
        let input = b"+OK\r\n$5\r\nhe\r\no\r\n-ERR no such\r\n$-1\r\n*-1\r\n:12\r\n*2\r\n$1\r\na\r\n*1\r\n-WRONG x\r\n_\r\n%1\r\n+k\r\n,1.5\r\n>2\r\n+invalidate\r\n*0\r\n|1\r\n+ttl\r\n:3\r\n#t\r\n!5\r\nERR z\r\n$0\r\n\r\n*0\r\n~1\r\n(123\r\n=7\r\ntxt:abc\r\n";
        let whole = scan(input, &[]).unwrap();
        let kinds: Vec<Reply> = whole.iter().map(|(r, ..)| *r).collect();
        use Reply::{Error, Nil, Push, Value};
        assert_eq!(
            kinds,
            [Value, Value, Error, Nil, Nil, Value, Error, Nil, Value, Push, Value, Error, Value, Value, Value, Value]
        );
        assert_eq!(whole[1].1, b"he\r\no");
        assert_eq!(whole[2].2, "ERR no such");
        assert_eq!(whole[6].2, "WRONG x");
        assert_eq!(whole[11].2, "ERR z");
        for one in 0..=input.len() {
            assert_eq!(scan(input, &[one]).unwrap(), whole, "cut at {one}");
            for two in one..=input.len() {
                assert_eq!(scan(input, &[one, two]).unwrap(), whole, "cut at {one} and {two}");
            }
        }
        let each: Vec<usize> = (1..input.len()).collect();
        assert_eq!(scan(input, &each).unwrap(), whole, "byte by byte");
    }

    #[test]
    fn what_is_no_reply_is_refused() {
        let refused: [&[u8]; 9] = [
            b"OK\r\n",
            b"+OK\n",
            b"$x\r\n",
            b"$-2\r\n",
            b"$\r\n",
            b"$3\r\nabcd\r\n",
            b"$2\r\nab\rx",
            b"*1\r\n>1\r\n",
            b"$9999999999\r\n",
        ];
        for input in refused {
            assert!(scan(input, &[]).is_err(), "{:?}", String::from_utf8_lossy(input));
        }
        let mut deep = b"*1\r\n".repeat(DEPTH_MAX);
        deep.extend_from_slice(b":1\r\n");
        assert!(scan(&deep, &[]).is_ok());
        let mut deeper = b"*1\r\n".repeat(DEPTH_MAX + 1);
        deeper.extend_from_slice(b":1\r\n");
        assert!(scan(&deeper, &[]).is_err());
    }
}
