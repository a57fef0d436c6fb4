//! `cmsgpack`: MessagePack from and to Lua values, with the choices and messages of the library that Redis has.

use super::deeper;
use super::natives::{Arguments, Given, Raise, give};
use crate::limits::{SCRIPT_NESTING_MAX, SCRIPT_VALUES_MAX};
use mlua::{Lua, MultiValue, Table, Value};

/// Tables within tables beyond this depth are packed as nil.
const PACK_DEPTH_MAX: usize = 16;

pub fn library(lua: &Lua) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    give(lua, &table, "pack", pack)?;
    give(lua, &table, "unpack", |lua, args| unpack_from(lua, args, 0, 0))?;
    give(lua, &table, "unpack_one", |lua, args| unpack_from(lua, args, 1, optional(args, 2)?))?;
    give(lua, &table, "unpack_limit", |lua, args| unpack_from(lua, args, args.integer(2)?, optional(args, 3)?))?;
    table.set("_NAME", "cmsgpack")?;
    table.set("_VERSION", "lua-cmsgpack 0.4.0")?;
    table.set("_COPYRIGHT", "Copyright (C) 2012, Redis Ltd.")?;
    table.set("_DESCRIPTION", "MessagePack C implementation for Lua")?;
    Ok(table)
}

fn optional(args: &Arguments, index: usize) -> Result<i64, Raise> {
    if args.get(index).is_nil() { Ok(0) } else { args.integer(index) }
}

fn pack(lua: &Lua, args: &Arguments) -> Given {
    if args.len() == 0 {
        return Err(Raise::Argument(0, "MessagePack pack needs input.".into()));
    }
    let mut out = Vec::new();
    for index in 1..=args.len() {
        put(&mut out, args.get(index), 0)?;
    }
    Ok(MultiValue::from_iter([Value::String(lua.create_string(out)?)]))
}

fn put(out: &mut Vec<u8>, value: &Value, depth: usize) -> Result<(), Raise> {
    match value {
        Value::String(text) => put_string(out, &text.as_bytes()),
        Value::Boolean(value) => out.push(if *value { 0xc3 } else { 0xc2 }),
        Value::Integer(number) => put_integer(out, *number),
        Value::Number(number) => put_double(out, *number),
        Value::Table(_) if depth == PACK_DEPTH_MAX => out.push(0xc0),
        Value::Table(table) => put_table(out, table, depth)?,
        _ => out.push(0xc0),
    }
    Ok(())
}

/// A head whose length takes 16 or 32 bits.
fn put_len(out: &mut Vec<u8>, len: usize, codes: [u8; 2]) {
    match u16::try_from(len) {
        Ok(len) => {
            out.push(codes[0]);
            out.extend_from_slice(&len.to_be_bytes());
        }
        Err(_) => {
            out.push(codes[1]);
            out.extend_from_slice(&(len as u32).to_be_bytes());
        }
    }
}

fn put_string(out: &mut Vec<u8>, text: &[u8]) {
    match text.len() {
        len @ 0..32 => out.push(0xa0 | len as u8),
        len @ 32..256 => out.extend_from_slice(&[0xd9, len as u8]),
        len => put_len(out, len, [0xda, 0xdb]),
    }
    out.extend_from_slice(text);
}

fn put_integer(out: &mut Vec<u8>, number: i64) {
    match number {
        0..=0x7f => out.push(number as u8),
        0x80..=0xff => out.extend_from_slice(&[0xcc, number as u8]),
        0x100..=0xffff => put_code(out, 0xcd, &(number as u16).to_be_bytes()),
        0x1_0000..=0xffff_ffff => put_code(out, 0xce, &(number as u32).to_be_bytes()),
        0x1_0000_0000.. => put_code(out, 0xcf, &number.to_be_bytes()),
        -32..=-1 => out.push(number as u8),
        -0x80..=-33 => out.extend_from_slice(&[0xd0, number as u8]),
        -0x8000..=-0x81 => put_code(out, 0xd1, &(number as i16).to_be_bytes()),
        -0x8000_0000..=-0x8001 => put_code(out, 0xd2, &(number as i32).to_be_bytes()),
        _ => put_code(out, 0xd3, &number.to_be_bytes()),
    }
}

fn put_code(out: &mut Vec<u8>, code: u8, bytes: &[u8]) {
    out.push(code);
    out.extend_from_slice(bytes);
}

/// An integer if it is one, else the shorter form that holds it.
fn put_double(out: &mut Vec<u8>, number: f64) {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    if number.fract() == 0.0 && (-LIMIT..LIMIT).contains(&number) {
        put_integer(out, number as i64);
    } else if f64::from(number as f32) == number {
        put_code(out, 0xca, &(number as f32).to_be_bytes());
    } else {
        put_code(out, 0xcb, &number.to_be_bytes());
    }
}

fn put_table(out: &mut Vec<u8>, table: &Table, depth: usize) -> Result<(), Raise> {
    let (mut count, mut max, mut is_array) = (0usize, 0i64, true);
    for pair in table.pairs::<Value, Value>() {
        count += 1;
        match pair?.0 {
            Value::Integer(index @ 1..) => max = max.max(index),
            _ => is_array = false,
        }
    }
    if is_array && max == count as i64 {
        if count < 16 {
            out.push(0x90 | count as u8)
        } else {
            put_len(out, count, [0xdc, 0xdd])
        }
        return (1..=count).try_for_each(|index| put(out, &table.raw_get(index)?, depth + 1));
    }
    if count < 16 {
        out.push(0x80 | count as u8)
    } else {
        put_len(out, count, [0xde, 0xdf])
    }
    for pair in table.pairs::<Value, Value>() {
        let (key, value) = pair?;
        put(out, &key, depth + 1)?;
        put(out, &value, depth + 1)?;
    }
    Ok(())
}

/// Values of a text from an offset on. Both zero: all of them, without the offset of the rest in front.
fn unpack_from(lua: &Lua, args: &Arguments, limit: i64, offset: i64) -> Given {
    let text = args.text(lua, 1)?;
    let text = &*text.as_bytes();
    if offset < 0 || limit < 0 {
        let len = text.len();
        return Err(Raise::Text(format!("Invalid request to unpack with offset of {offset} and limit of {len}.")));
    }
    if offset as u64 > text.len() as u64 {
        let len = text.len();
        return Err(Raise::Text(format!("Start offset {offset} greater than input length {len}.")));
    }
    let is_all = limit == 0 && offset == 0;
    let limit = if is_all { i64::MAX } else { limit };
    let mut cursor = Cursor { lua, text, at: offset as usize };
    let mut values = Vec::new();
    while cursor.at < text.len() && (values.len() as i64) < limit {
        if values.len() >= SCRIPT_VALUES_MAX {
            let why = "stack overflow (too many return values at once; use unpack_one or unpack_limit instead.)";
            return Err(why.into());
        }
        values.push(cursor.value(0)?);
    }
    if !is_all {
        let rest = if cursor.at == text.len() { -1 } else { cursor.at as i64 };
        values.insert(0, Value::Integer(rest));
    }
    Ok(MultiValue::from_iter(values))
}

struct Cursor<'a> {
    lua: &'a Lua,
    text: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], Raise> {
        let end = self.at.checked_add(len).filter(|end| *end <= self.text.len()).ok_or("Missing bytes in input.")?;
        let bytes = &self.text[self.at..end];
        self.at = end;
        Ok(bytes)
    }

    /// A big-endian number of so many bytes.
    fn number(&mut self, len: usize) -> Result<u64, Raise> {
        Ok(self.take(len)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn value(&mut self, depth: usize) -> Result<Value, Raise> {
        if depth > SCRIPT_NESTING_MAX {
            return Err("Bad data format in input.".into());
        }
        let code = self.number(1)? as u8;
        Ok(match code {
            0..0x80 => Value::Integer(code.into()),
            0xe0.. => Value::Integer((code as i8).into()),
            0x80..0x90 => deeper(|| self.map(usize::from(code & 0xf), depth))?,
            0x90..0xa0 => deeper(|| self.array(usize::from(code & 0xf), depth))?,
            0xa0..0xc0 => self.string(usize::from(code & 0x1f))?,
            0xc0 => Value::Nil,
            0xc2 => Value::Boolean(false),
            0xc3 => Value::Boolean(true),
            0xca => Value::Number(f32::from_bits(self.number(4)? as u32).into()),
            0xcb => Value::Number(f64::from_bits(self.number(8)?)),
            0xcc => Value::Number(self.number(1)? as f64),
            0xcd => Value::Number(self.number(2)? as f64),
            0xce => Value::Number(self.number(4)? as f64),
            // Above 2^63 it comes out negative, as there.
            0xcf => Value::Number(self.number(8)? as i64 as f64),
            0xd0 => Value::Number((self.number(1)? as i8).into()),
            0xd1 => Value::Number((self.number(2)? as i16).into()),
            0xd2 => Value::Number((self.number(4)? as i32).into()),
            0xd3 => Value::Number(self.number(8)? as i64 as f64),
            0xd9..=0xdb => {
                let len = self.number(1 << (code - 0xd9))? as usize;
                self.string(len)?
            }
            0xdc | 0xdd => {
                let len = self.number(2 << (code - 0xdc))? as usize;
                deeper(|| self.array(len, depth))?
            }
            0xde | 0xdf => {
                let len = self.number(2 << (code - 0xde))? as usize;
                deeper(|| self.map(len, depth))?
            }
            _ => return Err("Bad data format in input.".into()),
        })
    }

    fn string(&mut self, len: usize) -> Result<Value, Raise> {
        Ok(Value::String(self.lua.create_string(self.take(len)?)?))
    }

    fn array(&mut self, len: usize, depth: usize) -> Result<Value, Raise> {
        let table = self.lua.create_table()?;
        for index in 1..=len {
            table.raw_set(index, self.value(depth + 1)?)?;
        }
        Ok(Value::Table(table))
    }

    fn map(&mut self, len: usize, depth: usize) -> Result<Value, Raise> {
        let table = self.lua.create_table()?;
        for _ in 0..len {
            let key = self.value(depth + 1)?;
            let value = self.value(depth + 1)?;
            match key {
                Value::Nil => return Err(Raise::Bare("table index is nil".into())),
                Value::Number(number) if number.is_nan() => return Err(Raise::Bare("table index is NaN".into())),
                key => table.raw_set(key, value)?,
            }
        }
        Ok(Value::Table(table))
    }
}
