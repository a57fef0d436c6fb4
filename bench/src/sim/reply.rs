//! RESP2 as a client reads it.

use std::str;

/// One reply.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// `+` or `-`, with its sign.
    Line(&'a [u8]),
    Integer(i64),
    Bulk(&'a [u8]),
    Null,
    Array(Vec<Frame<'a>>),
}

/// The length of the first reply in `bytes`; `None` if it is not all there.
pub fn frame_len(bytes: &[u8]) -> Result<Option<usize>, String> {
    let Some(line) = memchr::memchr(b'\n', bytes).map(|at| at + 1) else { return Ok(None) };
    let number = || str::from_utf8(&bytes[1..line - 2]).ok().and_then(|text| text.parse::<i64>().ok());
    match bytes[0] {
        b'+' | b'-' | b':' => Ok(Some(line)),
        b'$' => match number() {
            Some(-1) => Ok(Some(line)),
            Some(len) => Ok(Some(line + len as usize + 2).filter(|len| *len <= bytes.len())),
            None => Err(format!("no reply: {}", shown(bytes))),
        },
        b'*' => {
            let mut at = line;
            for _ in 0..number().ok_or_else(|| format!("no reply: {}", shown(bytes)))? {
                match frame_len(&bytes[at..])? {
                    Some(len) => at += len,
                    None => return Ok(None),
                }
            }
            Ok(Some(at))
        }
        _ => Err(format!("no reply: {}", shown(bytes))),
    }
}

/// The first reply in `bytes`.
pub fn parse(bytes: &[u8]) -> Option<Frame<'_>> {
    let len = frame_len(bytes).ok()??;
    let line = memchr::memchr(b'\n', bytes)? + 1;
    let number = str::from_utf8(&bytes[1..line - 2]).ok().and_then(|text| text.parse::<i64>().ok());
    Some(match bytes[0] {
        b':' => Frame::Integer(number?),
        b'$' if number? < 0 => Frame::Null,
        b'$' => Frame::Bulk(&bytes[line..len - 2]),
        b'*' if number? < 0 => Frame::Null,
        b'*' => Frame::Array(elements(&bytes[..len]).into_iter().map(parse).collect::<Option<_>>()?),
        _ => Frame::Line(&bytes[..line - 2]),
    })
}

/// The elements of an array, encoded.
pub fn elements(bytes: &[u8]) -> Vec<&[u8]> {
    let mut rest = memchr::memchr(b'\n', bytes).map_or(&b""[..], |at| &bytes[at + 1..]);
    let mut elements = Vec::new();
    while let Ok(Some(len)) = frame_len(rest) {
        let (element, after) = rest.split_at(len);
        elements.push(element);
        rest = after;
    }
    elements
}

/// A reply for people.
pub fn shown(bytes: &[u8]) -> String {
    const SHOWN_BYTES: usize = 100;
    let text = bytes[..bytes.len().min(SHOWN_BYTES)].escape_ascii().to_string();
    if bytes.len() > SHOWN_BYTES { format!("{text}... ({} bytes)", bytes.len()) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_cut_where_they_end() {
        let all = b"*3\r\n$2\r\nab\r\n$-1\r\n:7\r\n+OK\r\n";
        for end in 0..all.len() - 5 {
            assert_eq!(frame_len(&all[..end]), Ok(None), "{end}");
        }
        assert_eq!(frame_len(all), Ok(Some(all.len() - 5)));
        assert_eq!(parse(all), Some(Frame::Array(vec![Frame::Bulk(b"ab"), Frame::Null, Frame::Integer(7)])));
        assert!(frame_len(b"$x\r\n").is_err());
        assert_eq!((frame_len(b"*-1\r\n"), parse(b"*-1\r\n")), (Ok(Some(5)), Some(Frame::Null)));
    }
}
