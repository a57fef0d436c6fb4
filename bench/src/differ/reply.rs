//! Replies of both protocols as trees: equal trees are equal bytes, as each reply has one form on the wire.

use super::limits::{DEPTH_MAX, SHOWN_BYTES_MAX};
use std::io::{self, BufRead};

/// One reply. The kinds are the first bytes on the wire.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reply {
    /// All that stands in one line, with its first byte: `+OK`, `-ERR ...`, `:1`, `,1.5`, `#t`, `_`.
    Line(Vec<u8>),
    /// `$`, `=` or `!`; `None` for a length of -1.
    Bulk { kind: u8, bytes: Option<Vec<u8>> },
    /// `*`, `~`, `%` or `>`, a map as keys and values in turn; `None` for a length of -1.
    Many { kind: u8, items: Option<Vec<Reply>> },
}

impl Reply {
    /// Reads one reply.
    pub fn read(reader: &mut impl BufRead) -> io::Result<Reply> {
        Reply::read_at(reader, 0)
    }

    fn read_at(reader: &mut impl BufRead, depth: usize) -> io::Result<Reply> {
        let mut line = Vec::new();
        reader.read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let wrong = |line: &[u8]| io::Error::new(io::ErrorKind::InvalidData, format!("no reply: {}", shown(line)));
        if !line.ends_with(b"\r\n") || line.len() < 3 || depth > DEPTH_MAX {
            return Err(wrong(&line));
        }
        line.truncate(line.len() - 2);
        let kind = line[0];
        let count = || -> io::Result<Option<usize>> {
            let text = std::str::from_utf8(&line[1..]).map_err(|_| wrong(&line))?;
            if text == "-1" { Ok(None) } else { text.parse().map(Some).map_err(|_| wrong(&line)) }
        };
        Ok(match kind {
            b'+' | b'-' | b':' | b'_' | b',' | b'#' | b'(' => Reply::Line(line),
            b'$' | b'=' | b'!' => {
                let Some(len) = count()? else { return Ok(Reply::Bulk { kind, bytes: None }) };
                let mut bytes = vec![0; len + 2];
                reader.read_exact(&mut bytes)?;
                if !bytes.ends_with(b"\r\n") {
                    return Err(wrong(&line));
                }
                bytes.truncate(len);
                Reply::Bulk { kind, bytes: Some(bytes) }
            }
            b'*' | b'~' | b'%' | b'>' => {
                let Some(len) = count()? else { return Ok(Reply::Many { kind, items: None }) };
                let len = if kind == b'%' { 2 * len } else { len };
                let items = (0..len).map(|_| Reply::read_at(reader, depth + 1)).collect::<io::Result<_>>()?;
                Reply::Many { kind, items: Some(items) }
            }
            _ => return Err(wrong(&line)),
        })
    }

    pub fn is_error(&self) -> bool {
        matches!(self, Reply::Line(line) if line[0] == b'-') || matches!(self, Reply::Bulk { kind: b'!', .. })
    }

    /// Is it this line, its first byte included?
    pub fn is_line(&self, text: &str) -> bool {
        matches!(self, Reply::Line(line) if line == text.as_bytes())
    }

    /// Does it begin so, as a line?
    pub fn begins(&self, text: &str) -> bool {
        matches!(self, Reply::Line(line) if line.starts_with(text.as_bytes()))
    }

    pub fn integer(&self) -> Option<i64> {
        let Reply::Line(line) = self else { return None };
        std::str::from_utf8(line.strip_prefix(b":")?).ok()?.parse().ok()
    }

    pub fn items(&self) -> Option<&[Reply]> {
        let Reply::Many { items: Some(items), .. } = self else { return None };
        Some(items)
    }

    /// Its first byte on the wire.
    pub fn kind(&self) -> u8 {
        match self {
            Reply::Line(line) => line[0],
            Reply::Bulk { kind, .. } | Reply::Many { kind, .. } => *kind,
        }
    }
}

/// As redis-cli would show it, in one line.
impl std::fmt::Display for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Reply::Line(line) => write!(f, "{}", shown(line)),
            Reply::Bulk { kind, bytes: Some(bytes) } => write!(f, "{}\"{}\"", char::from(*kind), shown(bytes)),
            Reply::Bulk { kind, bytes: None } => write!(f, "{}-1", char::from(*kind)),
            Reply::Many { kind, items: None } => write!(f, "{}-1", char::from(*kind)),
            Reply::Many { kind, items: Some(items) } => {
                write!(f, "{}{}[", char::from(*kind), items.len())?;
                for (at, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if at > 0 { " " } else { "" })?;
                }
                write!(f, "]")
            }
        }
    }
}

/// Bytes for people; long ones are cut.
pub fn shown(bytes: &[u8]) -> String {
    let text = bytes[..bytes.len().min(SHOWN_BYTES_MAX)].escape_ascii().to_string();
    if bytes.len() > SHOWN_BYTES_MAX { format!("{text}... ({} bytes)", bytes.len()) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_of_both_protocols_are_read() {
        let bytes = b"%1\r\n$1\r\na\r\n*2\r\n:7\r\n$-1\r\n+OK\r\n*-1\r\n_\r\n";
        let mut reader = &bytes[..];
        let map = Reply::read(&mut reader).unwrap();
        assert_eq!(map.to_string(), "%2[$\"a\" *2[:7 $-1]]");
        assert!(Reply::read(&mut reader).unwrap().is_line("+OK"));
        assert_eq!(Reply::read(&mut reader).unwrap().items(), None);
        assert_eq!(Reply::read(&mut reader).unwrap().kind(), b'_');
        assert!(Reply::read(&mut reader).is_err());
        for wrong in ["x\r\n", "$2\r\nabc\r\n", "*1\r\n", "$-2\r\n", "+OK\n", "\r\n"] {
            assert!(Reply::read(&mut wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
