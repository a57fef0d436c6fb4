//! Lua values to JSON.

use super::{Invalid, Settings, unencodable};
use crate::limits::SCRIPT_NESTING_MAX;
use crate::script::deeper;
use crate::script::figures::general;
use crate::script::natives::Raise;
use mlua::{Table, Value};

pub fn encode(value: &Value, settings: &Settings) -> Result<Vec<u8>, Raise> {
    let mut json = Encoder { out: Vec::new(), settings };
    json.value(value, 0)?;
    Ok(json.out)
}

struct Encoder<'a> {
    out: Vec<u8>,
    settings: &'a Settings,
}

impl Encoder<'_> {
    fn value(&mut self, value: &Value, depth: i32) -> Result<(), Raise> {
        match value {
            Value::String(text) => self.string(&text.as_bytes()),
            Value::Integer(_) | Value::Number(_) => self.number(number_of(value), value)?,
            Value::Boolean(true) => self.out.extend_from_slice(b"true"),
            Value::Boolean(false) => self.out.extend_from_slice(b"false"),
            Value::Table(table) => deeper(|| self.table(table, depth + 1))?,
            Value::Nil => self.out.extend_from_slice(b"null"),
            Value::LightUserData(pointer) if pointer.0.is_null() => self.out.extend_from_slice(b"null"),
            _ => return Err(unencodable(value, "type not supported")),
        }
        Ok(())
    }

    fn table(&mut self, table: &Table, depth: i32) -> Result<(), Raise> {
        if depth > self.settings.encode_depth.min(SCRIPT_NESTING_MAX as i32) {
            return Err(Raise::Text(format!("Cannot serialise, excessive nesting ({depth})")));
        }
        match self.array_len(table)? {
            0 => self.object(table, depth),
            len => {
                self.out.push(b'[');
                for index in 1..=len {
                    if index > 1 {
                        self.out.push(b',');
                    }
                    self.value(&table.raw_get(index)?, depth)?;
                }
                self.out.push(b']');
                Ok(())
            }
        }
    }

    /// The highest index, if all keys are such; 0 if the table is an object.
    fn array_len(&self, table: &Table) -> Result<i64, Raise> {
        let (mut max, mut items) = (0i64, 0i64);
        for pair in table.pairs::<Value, Value>() {
            match pair?.0 {
                Value::Integer(index @ 1..) => {
                    max = max.max(index);
                    items += 1;
                }
                _ => return Ok(0),
            }
        }
        let Settings { sparse_ratio, sparse_safe, sparse_convert, .. } = *self.settings;
        if sparse_ratio > 0 && max > items.saturating_mul(sparse_ratio.into()) && max > sparse_safe.into() {
            if !sparse_convert {
                return Err(unencodable(&Value::Table(table.clone()), "excessively sparse array"));
            }
            return Ok(0);
        }
        Ok(max)
    }

    fn object(&mut self, table: &Table, depth: i32) -> Result<(), Raise> {
        self.out.push(b'{');
        let mut is_first = true;
        for pair in table.pairs::<Value, Value>() {
            let (key, value) = pair?;
            if !std::mem::take(&mut is_first) {
                self.out.push(b',');
            }
            match &key {
                Value::String(text) => self.string(&text.as_bytes()),
                Value::Integer(_) | Value::Number(_) => {
                    self.out.push(b'"');
                    self.number(number_of(&key), &key)?;
                    self.out.push(b'"');
                }
                _ => return Err(unencodable(&key, "table key must be a number or string")),
            }
            self.out.push(b':');
            self.value(&value, depth)?;
        }
        self.out.push(b'}');
        Ok(())
    }

    fn number(&mut self, number: f64, value: &Value) -> Result<(), Raise> {
        if !number.is_finite() {
            match self.settings.encode_invalid {
                Invalid::Off => return Err(unencodable(value, "must not be NaN or Inf")),
                Invalid::Null => {
                    self.out.extend_from_slice(b"null");
                    return Ok(());
                }
                Invalid::On if number.is_nan() => {
                    self.out.extend_from_slice(b"nan");
                    return Ok(());
                }
                Invalid::On => {}
            }
        }
        // Most numbers are small integers.
        if number.fract() == 0.0 && number.abs() < 1e9 && number != 0.0 && self.settings.precision >= 10 {
            self.out.extend_from_slice(itoa::Buffer::new().format(number as i64).as_bytes());
        } else {
            self.out.extend_from_slice(general(number, self.settings.precision as usize).as_bytes());
        }
        Ok(())
    }

    fn string(&mut self, text: &[u8]) {
        self.out.reserve(text.len() + 2);
        self.out.push(b'"');
        for &byte in text {
            match byte {
                b'"' | b'\\' | b'/' => self.out.extend_from_slice(&[b'\\', byte]),
                0x08 => self.out.extend_from_slice(b"\\b"),
                b'\t' => self.out.extend_from_slice(b"\\t"),
                b'\n' => self.out.extend_from_slice(b"\\n"),
                0x0c => self.out.extend_from_slice(b"\\f"),
                b'\r' => self.out.extend_from_slice(b"\\r"),
                0..0x20 | 0x7f => self.out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
                _ => self.out.push(byte),
            }
        }
        self.out.push(b'"');
    }
}

fn number_of(value: &Value) -> f64 {
    match value {
        Value::Integer(number) => *number as f64,
        Value::Number(number) => *number,
        _ => unreachable!("the caller has seen that it is a number"),
    }
}
