//! Replies as a script shows them, and requests as it writes them.

/// Takes whole replies from the front of `bytes`; each becomes lines. What is left is not a whole reply.
pub fn replies(mut bytes: &[u8]) -> (Vec<Vec<String>>, &[u8]) {
    let mut all = Vec::new();
    let mut lines = Vec::new();
    while let Some(rest) = reply(bytes, 0, &mut lines) {
        all.push(std::mem::take(&mut lines));
        bytes = rest;
    }
    (all, bytes)
}

fn reply<'a>(bytes: &'a [u8], depth: usize, lines: &mut Vec<String>) -> Option<&'a [u8]> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    let (line, rest) = (std::str::from_utf8(&bytes[..end]).expect("a reply's first line is text"), &bytes[end + 2..]);
    let (kind, value) = line.split_at_checked(1).expect("a reply has a type");
    let mut show = |text: String| lines.push(format!("{:indent$}{text}", "", indent = 2 * depth));
    match kind {
        "$" | "*" if value == "-1" => show(if kind == "$" { "nil".into() } else { "nil array".into() }),
        "_" => show("null".into()),
        "$" | "=" => {
            let len: usize = value.parse().expect("a length");
            let bulk = rest.get(..len)?;
            assert_eq!(rest.get(len..len + 2)?, b"\r\n", "a bulk string ends with a line end");
            show(format!("{}{}", if kind == "=" { "=" } else { "" }, quote(bulk)));
            return Some(&rest[len + 2..]);
        }
        "*" | "%" | "~" | ">" => {
            show(if kind == ">" { format!("push {value}") } else { line.into() });
            let len: usize = value.parse().expect("a length");
            let mut rest = rest;
            for _ in 0..if kind == "%" { 2 * len } else { len } {
                rest = reply(rest, depth + 1, lines)?;
            }
            return Some(rest);
        }
        "|" => {
            show(line.into());
            let len: usize = value.parse().expect("a length");
            let mut rest = rest;
            // And what it is about.
            for _ in 0..2 * len + 1 {
                rest = reply(rest, depth + 1, lines)?;
            }
            return Some(rest);
        }
        "+" | "-" | ":" | "#" | "," | "(" => show(line.into()),
        _ => panic!("not a reply: {line:?}"),
    }
    Some(rest)
}

fn quote(bytes: &[u8]) -> String {
    let mut text = String::from("\"");
    for &byte in bytes {
        match byte {
            b'"' | b'\\' => text.extend(['\\', char::from(byte)]),
            b'\r' => text.push_str("\\r"),
            b'\n' => text.push_str("\\n"),
            b'\t' => text.push_str("\\t"),
            b' '..=b'~' => text.push(char::from(byte)),
            _ => text.push_str(&format!("\\x{byte:02x}")),
        }
    }
    text + "\""
}

/// Splits a line into words. A word in quotes may hold `\r \n \t \" \\ \xHH` and, after the closing quote, `*N`: so many times.
pub fn words(line: &str) -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while !rest.is_empty() {
        let (word, after) = match rest.strip_prefix('"') {
            Some(quoted) => unquote(quoted),
            None => {
                let (word, after) = rest.split_at(rest.find(' ').unwrap_or(rest.len()));
                (word.as_bytes().to_vec(), after)
            }
        };
        words.push(word);
        rest = after.trim_start();
    }
    words
}

/// What stands before the closing quote, and what is left behind it.
fn unquote(text: &str) -> (Vec<u8>, &str) {
    let mut bytes = Vec::new();
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return repeat(bytes, &text[at + 1..]),
            '\\' => match chars.next().expect("an escape is complete").1 {
                'r' => bytes.push(b'\r'),
                'n' => bytes.push(b'\n'),
                't' => bytes.push(b'\t'),
                'x' => {
                    let hex = &text[at + 2..at + 4];
                    bytes.push(u8::from_str_radix(hex, 16).expect("two hexadecimal digits"));
                    chars.nth(1);
                }
                other => bytes.extend(other.to_string().bytes()),
            },
            other => bytes.extend(other.to_string().bytes()),
        }
    }
    panic!("a quoted word has no end: {text}");
}

fn repeat(bytes: Vec<u8>, rest: &str) -> (Vec<u8>, &str) {
    let Some(count) = rest.strip_prefix('*') else { return (bytes, rest) };
    let (count, rest) = count.split_at(count.find(' ').unwrap_or(count.len()));
    (bytes.repeat(count.parse().expect("how many times")), rest)
}

/// A request as clients send it.
pub fn request(words: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend(format!("${}\r\n", word.len()).bytes());
        bytes.extend(word);
        bytes.extend(b"\r\n");
    }
    bytes
}
