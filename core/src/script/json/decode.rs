//! JSON to Lua values.

use super::Settings;
use crate::limits::SCRIPT_NESTING_MAX;
use crate::script::deeper;
use crate::script::natives::{Raise, parse_number};
use mlua::{Lua, Table, Value};

pub fn decode(lua: &Lua, text: &[u8], settings: &Settings) -> Result<Value, Raise> {
    if text.len() >= 2 && (text[0] == 0 || text[1] == 0) {
        return Err("JSON parser does not support UTF-16 or UTF-32".into());
    }
    let mut parser = Parser { lua, text, at: 0, depth: 0, settings };
    let token = parser.next();
    let value = parser.value(token)?;
    let end = parser.next();
    match end.kind {
        Kind::End => Ok(value),
        _ => Err(wrong("the end", &end)),
    }
}

enum Kind {
    ObjectBegin,
    ObjectEnd,
    ArrayBegin,
    ArrayEnd,
    Text(Vec<u8>),
    Number(f64),
    Boolean(bool),
    Null,
    Colon,
    Comma,
    End,
    Error(&'static str),
}

impl Kind {
    /// As the messages call it.
    fn name(&self) -> &'static str {
        match self {
            Kind::ObjectBegin => "T_OBJ_BEGIN",
            Kind::ObjectEnd => "T_OBJ_END",
            Kind::ArrayBegin => "T_ARR_BEGIN",
            Kind::ArrayEnd => "T_ARR_END",
            Kind::Text(_) => "T_STRING",
            Kind::Number(_) => "T_NUMBER",
            Kind::Boolean(_) => "T_BOOLEAN",
            Kind::Null => "T_NULL",
            Kind::Colon => "T_COLON",
            Kind::Comma => "T_COMMA",
            Kind::End => "T_END",
            Kind::Error(what) => what,
        }
    }
}

/// A token, and where it begins.
struct Token {
    kind: Kind,
    at: usize,
}

fn wrong(expected: &str, token: &Token) -> Raise {
    Raise::Text(format!("Expected {expected} but found {} at character {}", token.kind.name(), token.at + 1))
}

struct Parser<'a> {
    lua: &'a Lua,
    text: &'a [u8],
    at: usize,
    depth: i32,
    settings: &'a Settings,
}

impl Parser<'_> {
    /// The byte at a place; 0 behind the end.
    fn byte(&self, at: usize) -> u8 {
        self.text.get(at).copied().unwrap_or(0)
    }

    fn next(&mut self) -> Token {
        while matches!(self.byte(self.at), b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
        let at = self.at;
        let single = match self.byte(at) {
            b'{' => Some(Kind::ObjectBegin),
            b'}' => Some(Kind::ObjectEnd),
            b'[' => Some(Kind::ArrayBegin),
            b']' => Some(Kind::ArrayEnd),
            b',' => Some(Kind::Comma),
            b':' => Some(Kind::Colon),
            // A zero byte ends the text, as in C.
            0 => return Token { kind: Kind::End, at },
            _ => None,
        };
        if let Some(kind) = single {
            self.at += 1;
            return Token { kind, at };
        }
        let rest = &self.text[at..];
        let words = [("true", Kind::Boolean(true)), ("false", Kind::Boolean(false)), ("null", Kind::Null)];
        match rest[0] {
            b'"' => return self.string(),
            b'-' | b'0'..=b'9' => return self.number(),
            _ => {}
        }
        for (word, kind) in words {
            if rest.starts_with(word.as_bytes()) {
                self.at += word.len();
                return Token { kind, at };
            }
        }
        if self.settings.decode_invalid && self.is_invalid_number() {
            return self.number();
        }
        Token { kind: Kind::Error("invalid token"), at }
    }

    /// Whether a number begins here that JSON does not have: hexadecimal, with a plus, with a leading zero, infinite, none.
    fn is_invalid_number(&self) -> bool {
        let mut at = self.at;
        if self.byte(at) == b'+' {
            return true;
        }
        at += usize::from(self.byte(at) == b'-');
        match self.byte(at) {
            b'0' => matches!(self.byte(at + 1) | 0x20, b'x' | b'0'..=b'9'),
            byte if byte <= b'9' => false,
            _ => {
                let word: Vec<u8> = (at..at + 3).map(|at| self.byte(at).to_ascii_lowercase()).collect();
                word == b"inf" || word == b"nan"
            }
        }
    }

    fn number(&mut self) -> Token {
        let at = self.at;
        if !self.settings.decode_invalid && self.is_invalid_number() {
            return Token { kind: Kind::Error("invalid number"), at };
        }
        match c_number(&self.text[at..]) {
            Some((number, len)) => {
                self.at += len;
                Token { kind: Kind::Number(number), at }
            }
            None => Token { kind: Kind::Error("invalid number"), at },
        }
    }

    fn string(&mut self) -> Token {
        let begin = self.at;
        let mut text = Vec::new();
        self.at += 1;
        loop {
            // What needs no look at each byte.
            let plain = self.text[self.at..].iter().take_while(|byte| !matches!(byte, b'"' | b'\\' | 0)).count();
            text.extend_from_slice(&self.text[self.at..self.at + plain]);
            self.at += plain;
            match self.byte(self.at) {
                b'"' => break,
                0 => return Token { kind: Kind::Error("unexpected end of string"), at: self.at },
                _ => {}
            }
            let escaped = match self.byte(self.at + 1) {
                byte @ (b'"' | b'\\' | b'/') => byte,
                b'b' => 0x08,
                b't' => b'\t',
                b'n' => b'\n',
                b'f' => 0x0c,
                b'r' => b'\r',
                b'u' => match self.unicode(&mut text) {
                    Some(len) => {
                        self.at += len;
                        continue;
                    }
                    None => return Token { kind: Kind::Error("invalid unicode escape code"), at: self.at },
                },
                _ => return Token { kind: Kind::Error("invalid escape code"), at: self.at },
            };
            text.push(escaped);
            self.at += 2;
        }
        self.at += 1;
        Token { kind: Kind::Text(text), at: begin }
    }

    /// The character of an escape, `\uXXXX` or two of them. Their length.
    fn unicode(&self, text: &mut Vec<u8>) -> Option<usize> {
        let unit = |at: usize| {
            let digits = self.text.get(at..at + 4)?;
            digits.iter().try_fold(0, |unit, digit| Some(unit << 4 | char::from(*digit).to_digit(16)?))
        };
        let first = unit(self.at + 2)?;
        let (code, len) = match first {
            0xd800..0xdc00 => {
                if self.byte(self.at + 6) != b'\\' || self.byte(self.at + 7) != b'u' {
                    return None;
                }
                let second = unit(self.at + 8).filter(|second| (0xdc00..0xe000).contains(second))?;
                (((first & 0x3ff) << 10 | second & 0x3ff) + 0x10000, 12)
            }
            0xdc00..0xe000 => return None,
            code => (code, 6),
        };
        let mut bytes = [0; 4];
        text.extend_from_slice(char::from_u32(code)?.encode_utf8(&mut bytes).as_bytes());
        Some(len)
    }

    fn value(&mut self, token: Token) -> Result<Value, Raise> {
        Ok(match token.kind {
            Kind::Text(text) => Value::String(self.lua.create_string(text)?),
            Kind::Number(number) => Value::Number(number),
            Kind::Boolean(value) => Value::Boolean(value),
            Kind::ObjectBegin => Value::Table(deeper(|| self.object())?),
            Kind::ArrayBegin => Value::Table(deeper(|| self.array())?),
            Kind::Null => Value::NULL,
            _ => return Err(wrong("value", &token)),
        })
    }

    fn descend(&mut self) -> Result<(), Raise> {
        self.depth += 1;
        if self.depth > self.settings.decode_depth.min(SCRIPT_NESTING_MAX as i32) {
            let (depth, at) = (self.depth, self.at);
            return Err(Raise::Text(format!("Found too many nested data structures ({depth}) at character {at}")));
        }
        Ok(())
    }

    fn object(&mut self) -> Result<Table, Raise> {
        self.descend()?;
        let table = self.lua.create_table()?;
        let mut token = self.next();
        if !matches!(token.kind, Kind::ObjectEnd) {
            loop {
                let Kind::Text(key) = token.kind else { return Err(wrong("object key string", &token)) };
                let colon = self.next();
                if !matches!(colon.kind, Kind::Colon) {
                    return Err(wrong("colon", &colon));
                }
                let first = self.next();
                let value = self.value(first)?;
                table.raw_set(self.lua.create_string(key)?, value)?;
                let after = self.next();
                match after.kind {
                    Kind::ObjectEnd => break,
                    Kind::Comma => token = self.next(),
                    _ => return Err(wrong("comma or object end", &after)),
                }
            }
        }
        self.depth -= 1;
        Ok(table)
    }

    fn array(&mut self) -> Result<Table, Raise> {
        self.descend()?;
        let table = self.lua.create_table()?;
        let mut token = self.next();
        if !matches!(token.kind, Kind::ArrayEnd) {
            for index in 1.. {
                let value = self.value(token)?;
                table.raw_set(index, value)?;
                let after = self.next();
                match after.kind {
                    Kind::ArrayEnd => break,
                    Kind::Comma => token = self.next(),
                    _ => return Err(wrong("comma or array end", &after)),
                }
            }
        }
        self.depth -= 1;
        Ok(table)
    }
}

/// The longest number that C finds at the beginning of a text, and its length.
fn c_number(text: &[u8]) -> Option<(f64, usize)> {
    let digits = |at: usize, is_digit: fn(&u8) -> bool| {
        text[at.min(text.len())..].iter().take_while(|byte| is_digit(byte)).count()
    };
    let sign = usize::from(matches!(text.first(), Some(b'-' | b'+')));
    let lower: Vec<u8> = text[sign..].iter().take(8).map(u8::to_ascii_lowercase).collect();
    let signed = |number: f64| if text[0] == b'-' { -number } else { number };
    if lower.starts_with(b"infinity") {
        return Some((signed(f64::INFINITY), sign + 8));
    }
    if lower.starts_with(b"inf") {
        return Some((signed(f64::INFINITY), sign + 3));
    }
    if lower.starts_with(b"nan") {
        return Some((f64::NAN, sign + 3));
    }
    if lower.starts_with(b"0x") {
        let hex = digits(sign + 2, u8::is_ascii_hexdigit);
        if hex > 0 {
            let number = text[sign + 2..sign + 2 + hex]
                .iter()
                .fold(0.0, |number, digit| number * 16.0 + f64::from(char::from(*digit).to_digit(16).unwrap_or(0)));
            return Some((signed(number), sign + 2 + hex));
        }
    }
    let whole = digits(sign, u8::is_ascii_digit);
    let mut len = sign + whole;
    let mut fraction = 0;
    if text.get(len) == Some(&b'.') {
        fraction = digits(len + 1, u8::is_ascii_digit);
        if whole + fraction > 0 {
            len += 1 + fraction;
        }
    }
    if whole + fraction == 0 {
        return None;
    }
    if matches!(text.get(len), Some(b'e' | b'E')) {
        let signed = usize::from(matches!(text.get(len + 1), Some(b'-' | b'+')));
        let power = digits(len + 1 + signed, u8::is_ascii_digit);
        if power > 0 {
            len += 1 + signed + power;
        }
    }
    parse_number(&text[..len]).map(|number| (number, len))
}

#[cfg(test)]
mod tests {
    use super::c_number;

    #[test]
    fn numbers_end_where_c_ends_them() {
        let check = |text: &str, number: f64, len: usize| assert_eq!(c_number(text.as_bytes()), Some((number, len)));
        check("12,", 12.0, 2);
        check("-1.5e3x", -1500.0, 6);
        check("1e", 1.0, 1);
        check("1.", 1.0, 2);
        check("0x1F]", 31.0, 4);
        check("-infx", f64::NEG_INFINITY, 4);
        check("0xg", 0.0, 1);
        assert_eq!(c_number(b"-"), None);
        assert_eq!(c_number(b"-x"), None);
    }
}
