//! An encoded reply in the other version of the protocol, as far as it can be told: one that was kept for a client of RESP3 and is
//! wanted by one of RESP2, or the other way round.
//!
//! To RESP2 all types have their counterparts. To RESP3 only nulls change: whether an array was a map nobody knows any more.

use super::read::{Line, length, next_line};

/// The same reply, or replies, in RESP2.
pub fn to_resp2(reply: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(reply.len());
    let mut rest = reply;
    while let Some(Line { kind, text: line, rest: after }) = next_line(rest) {
        rest = after;
        match kind {
            b'_' => out.extend_from_slice(b"$-1\r\n"),
            b'#' => out.extend_from_slice(if line == b"t" { b":1\r\n" } else { b":0\r\n" }),
            b',' | b'(' => push_bulk(&mut out, line),
            b'%' => push_line(&mut out, b'*', (2 * length(line)).to_string().as_bytes()),
            b'~' | b'>' => push_line(&mut out, b'*', line),
            b'=' => {
                let (text, after) = rest.split_at(length(line));
                // In front of the text stand its kind and a colon.
                push_bulk(&mut out, &text[4..]);
                rest = &after[2..];
            }
            b'$' if line != b"-1" => {
                let (text, after) = rest.split_at(length(line));
                push_bulk(&mut out, text);
                rest = &after[2..];
            }
            kind => push_line(&mut out, kind, line),
        }
    }
    out
}

/// The same reply, or replies, in RESP3.
pub fn to_resp3(reply: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(reply.len());
    let mut rest = reply;
    while let Some(Line { kind, text: line, rest: after }) = next_line(rest) {
        rest = after;
        match kind {
            b'$' | b'*' if line == b"-1" => out.extend_from_slice(b"_\r\n"),
            b'$' => {
                let (text, after) = rest.split_at(length(line));
                push_bulk(&mut out, text);
                rest = &after[2..];
            }
            kind => push_line(&mut out, kind, line),
        }
    }
    out
}

fn push_line(out: &mut Vec<u8>, kind: u8, line: &[u8]) {
    out.push(kind);
    out.extend_from_slice(line);
    out.extend_from_slice(b"\r\n");
}

fn push_bulk(out: &mut Vec<u8>, text: &[u8]) {
    push_line(out, b'$', text.len().to_string().as_bytes());
    out.extend_from_slice(text);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_become_their_counterparts() {
        let check = |resp3: &str, resp2: &str| {
            assert_eq!(String::from_utf8(to_resp2(resp3.as_bytes())).unwrap(), resp2);
            assert_eq!(to_resp2(resp2.as_bytes()), resp2.as_bytes());
        };
        check("_\r\n", "$-1\r\n");
        check("#t\r\n", ":1\r\n");
        check("*2\r\n#f\r\n$3\r\na\r\n\r\n", "*2\r\n:0\r\n$3\r\na\r\n\r\n");
        check("%1\r\n+k\r\n,1.5\r\n", "*2\r\n+k\r\n$3\r\n1.5\r\n");
        check("~2\r\n(12\r\n=7\r\ntxt:abc\r\n", "*2\r\n$2\r\n12\r\n$3\r\nabc\r\n");
        check("-ERR x\r\n", "-ERR x\r\n");
        check("$0\r\n\r\n", "$0\r\n\r\n");
    }

    #[test]
    fn nulls_become_the_one_null() {
        let check = |resp2: &str, resp3: &str| assert_eq!(to_resp3(resp2.as_bytes()), resp3.as_bytes());
        check("*3\r\n$-1\r\n*-1\r\n$2\r\n\r\n\r\n", "*3\r\n_\r\n_\r\n$2\r\n\r\n\r\n");
        check(":-1\r\n", ":-1\r\n");
        check("+OK\r\n", "+OK\r\n");
    }
}
