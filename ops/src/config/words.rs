//! Words of a configuration line, as Redis splits them: blanks separate, quotes join, escapes in double quotes.
//!
//! `"..."` knows `\n \r \t \b \a`, `\xHH` and, before any other character, a backslash that stands for it.
//! `'...'` knows only `\'`. After a closing quote there must be a blank or the end.

/// The words of a line, or nothing if its quotes are not balanced.
pub fn split(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut words = Vec::new();
    let mut at = 0;
    loop {
        while at < line.len() && is_blank(line[at]) {
            at += 1;
        }
        if at == line.len() {
            return Some(words);
        }
        let (word, end) = word(line, at)?;
        words.push(word);
        at = end;
    }
}

/// The word that begins at `at`, and where it ends.
fn word(line: &[u8], mut at: usize) -> Option<(Vec<u8>, usize)> {
    let mut word = Vec::new();
    let mut quote = None;
    loop {
        let Some(&byte) = line.get(at) else { return quote.is_none().then_some((word, at)) };
        match quote {
            None if is_blank(byte) => return Some((word, at)),
            None if byte == b'"' || byte == b'\'' => quote = Some(byte),
            None => word.push(byte),
            Some(mark) if byte == mark => {
                return line.get(at + 1).is_none_or(|&next| is_blank(next)).then_some((word, at + 1));
            }
            Some(b'"') if byte == b'\\' && at + 1 < line.len() => {
                let (escaped, length) = escape(&line[at + 1..]);
                word.push(escaped);
                at += length;
            }
            Some(_) if byte == b'\\' && line.get(at + 1) == Some(&b'\'') => {
                word.push(b'\'');
                at += 1;
            }
            Some(_) => word.push(byte),
        }
        at += 1;
    }
}

/// What stands after a backslash in double quotes: the byte that is meant, and how many were used.
fn escape(rest: &[u8]) -> (u8, usize) {
    if let [b'x', high, low, ..] = *rest
        && let (Some(high), Some(low)) = ((high as char).to_digit(16), (low as char).to_digit(16))
    {
        return ((high * 16 + low) as u8, 3);
    }
    let byte = match rest[0] {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 8,
        b'a' => 7,
        other => other,
    };
    (byte, 1)
}

/// A value as it can stand in a configuration file: plain where that is unambiguous, else in double quotes.
pub fn quote(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\'' | b'\\' | b'#');
    if !word.is_empty() && word.bytes().all(is_plain) {
        return word.to_string();
    }
    let mut quoted = String::from("\"");
    for char in word.chars() {
        match char {
            '"' | '\\' => {
                quoted.push('\\');
                quoted.push(char);
            }
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            _ if char.is_ascii_control() => quoted.push_str(&format!("\\x{:02x}", char as u32)),
            _ => quoted.push(char),
        }
    }
    quoted.push('"');
    quoted
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c | 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expect: Option<&[&str]>) {
        let found = split(line.as_bytes());
        let found: Option<Vec<String>> =
            found.map(|words| words.into_iter().map(|word| String::from_utf8(word).unwrap()).collect());
        assert_eq!(found.as_deref(), expect.map(|e| e.iter().map(|s| s.to_string()).collect::<Vec<_>>()).as_deref());
    }

    #[test]
    fn lines_split_as_redis_splits_them() {
        check("", Some(&[]));
        check("  save  900 1\t", Some(&["save", "900", "1"]));
        check(r#"save """#, Some(&["save", ""]));
        check(r#"requirepass "a b\x41\n\"" "#, Some(&["requirepass", "a bA\n\""]));
        check(r"requirepass 'it\'s \n'", Some(&["requirepass", r"it's \n"]));
        check(r#"key va"lue"#, None);
        check(r#"key "a"b"#, None);
        check("key 'a", None);
        check(r#"key "\xzz""#, Some(&["key", "xzz"]));
        check(r#"key "a\"#, None);
    }

    #[test]
    fn quoted_words_read_back() {
        for word in ["", "a", "a b", "\"q\"", "back\\slash", "line\nbreak\r\t\u{1}", "#hash", "it's", "päss"] {
            let line = format!("key {}", quote(word));
            assert_eq!(split(line.as_bytes()), Some(vec![b"key".to_vec(), word.as_bytes().to_vec()]), "{line}");
        }
        assert_eq!(quote("900"), "900");
    }
}
