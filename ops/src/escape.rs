//! Bytes of keys and values for human eyes: as redis-cli prints them, so that what is shown can be pasted back.

/// The bytes in quotes. What is beyond `max` bytes is cut off, and said to be.
pub fn quoted(bytes: &[u8], max: usize) -> String {
    let mut text = String::with_capacity(bytes.len().min(max) + 2);
    text.push('"');
    for byte in &bytes[..bytes.len().min(max)] {
        match byte {
            b'"' | b'\\' => text.extend(['\\', char::from(*byte)]),
            b'\n' => text += "\\n",
            b'\r' => text += "\\r",
            b'\t' => text += "\\t",
            7 => text += "\\a",
            8 => text += "\\b",
            0x20..0x7f => text.push(char::from(*byte)),
            _ => text += &format!("\\x{byte:02x}"),
        }
    }
    text.push('"');
    if bytes.len() > max {
        text += &format!("... ({} bytes)", bytes.len());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn bytes_are_quoted_as_redis_cli_does() {
        assert_eq!(quoted(b"a\"b\\c\n\r\t\x07\x08\x00\xff~", 99), r#""a\"b\\c\n\r\t\a\b\x00\xff~""#);
        assert_eq!(quoted(b"abcdef", 3), "\"abc\"... (6 bytes)");
        assert_eq!(quoted(b"", 3), "\"\"");
    }
}
