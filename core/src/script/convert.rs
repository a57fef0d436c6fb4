//! Replies that become Lua values, and Lua values that become replies. Redis's rules, of which its documentation has a table.

use super::deeper;
use super::figures::{shortest, truncated};
use crate::command::args::parse_integer;
use crate::limits::SCRIPT_REPLY_DEPTH_MAX;
use crate::resp::encode::Reply;
use crate::resp::replies::Replies;
use cairn_storage::blob::Blob;
use mlua::{Lua, Table, Value};

const WHOLE: &str = "a reply is whole";

/// Reads one encoded reply.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Long values that are still to come, each with its place.
    blobs: Vec<(usize, &'a Blob)>,
}

/// An encoded reply as a script sees it, and whether it is an error.
pub fn to_lua(lua: &Lua, replies: &Replies) -> mlua::Result<(Value, bool)> {
    let mut blobs: Vec<_> = if replies.has_blobs() { replies.blobs().collect() } else { Vec::new() };
    blobs.reverse();
    let bytes = replies.bytes();
    let is_error = bytes.first() == Some(&b'-');
    let value = Reader { bytes, at: 0, blobs }.value(lua)?;
    Ok((value, is_error))
}

/// The line of an error reply as it stands in a script's error table.
pub fn error_table(lua: &Lua, line: &[u8]) -> mlua::Result<Table> {
    let table = lua.create_table_with_capacity(0, 2)?;
    // A line without a second word is a message without a code.
    if line.contains(&b' ') {
        table.raw_set("err", lua.create_string(line)?)?;
    } else {
        table.raw_set("err", lua.create_string([b"ERR ", line].concat())?)?;
    }
    Ok(table)
}

impl<'a> Reader<'a> {
    fn line(&mut self) -> &'a [u8] {
        let len = memchr::memchr(b'\r', &self.bytes[self.at..]).expect(WHOLE);
        let line = &self.bytes[self.at..self.at + len];
        self.at += len + 2;
        line
    }

    fn count(line: &[u8]) -> i64 {
        parse_integer(line).expect(WHOLE)
    }

    /// The bytes of a bulk string of that length.
    fn bulk(&mut self, len: usize) -> &'a [u8] {
        if self.blobs.last().is_some_and(|(place, _)| *place == self.at) {
            self.at += 2;
            return self.blobs.pop().map(|(_, blob)| &blob[..]).unwrap_or_default();
        }
        let bytes = &self.bytes[self.at..self.at + len];
        self.at += len + 2;
        bytes
    }

    fn value(&mut self, lua: &Lua) -> mlua::Result<Value> {
        let line = self.line();
        let (kind, rest) = line.split_first().expect(WHOLE);
        Ok(match kind {
            b':' => Value::Number(Reader::count(rest) as f64),
            b'$' | b'*' if rest == b"-1" => Value::Boolean(false),
            b'$' => Value::String(lua.create_string(self.bulk(Reader::count(rest) as usize))?),
            b'+' => {
                let table = lua.create_table_with_capacity(0, 1)?;
                table.raw_set("ok", lua.create_string(rest)?)?;
                Value::Table(table)
            }
            b'-' => Value::Table(error_table(lua, rest)?),
            b'*' | b'>' => {
                let len = Reader::count(rest) as usize;
                let table = lua.create_table_with_capacity(len, 0)?;
                for index in 1..=len {
                    table.raw_set(index, self.value(lua)?)?;
                }
                Value::Table(table)
            }
            b'%' => {
                let map = lua.create_table()?;
                for _ in 0..Reader::count(rest) {
                    let (key, value) = (self.value(lua)?, self.value(lua)?);
                    map.raw_set(key, value)?;
                }
                wrapped(lua, "map", Value::Table(map))?
            }
            b'~' => {
                let set = lua.create_table()?;
                for _ in 0..Reader::count(rest) {
                    set.raw_set(self.value(lua)?, true)?;
                }
                wrapped(lua, "set", Value::Table(set))?
            }
            b'_' => Value::Nil,
            b'#' => Value::Boolean(rest == b"t"),
            b',' => {
                let number = std::str::from_utf8(rest).ok().and_then(|text| text.parse().ok()).expect(WHOLE);
                wrapped(lua, "double", Value::Number(number))?
            }
            b'(' => wrapped(lua, "big_number", Value::String(lua.create_string(rest)?))?,
            b'=' => {
                let text = self.bulk(Reader::count(rest) as usize);
                let table = lua.create_table()?;
                table.raw_set("format", lua.create_string(&text[..3])?)?;
                table.raw_set("string", lua.create_string(&text[4..])?)?;
                wrapped(lua, "verbatim_string", Value::Table(table))?
            }
            // Scripts do not see attributes.
            b'|' => {
                (0..2 * Reader::count(rest)).try_for_each(|_| self.value(lua).map(drop))?;
                self.value(lua)?
            }
            _ => unreachable!("replies have no other kinds"),
        })
    }
}

fn wrapped(lua: &Lua, name: &str, value: Value) -> mlua::Result<Value> {
    let table = lua.create_table_with_capacity(0, 1)?;
    table.raw_set(name, value)?;
    Ok(Value::Table(table))
}

/// Writes what a script has returned. `is_script_resp3`: the script has asked for RESP3, so its booleans are such.
pub fn to_reply(value: &Value, is_script_resp3: bool, depth: usize, reply: &mut Reply<'_>) -> mlua::Result<()> {
    if depth > SCRIPT_REPLY_DEPTH_MAX {
        reply.error("ERR reached lua stack limit");
        return Ok(());
    }
    match value {
        Value::String(text) => reply.bulk(&text.as_bytes()),
        Value::Boolean(value) if is_script_resp3 => reply.bool(*value),
        Value::Boolean(true) => reply.integer(1),
        Value::Integer(number) => reply.integer(*number),
        Value::Number(number) => reply.integer(truncated(*number)),
        Value::Table(table) => deeper(|| table_to_reply(table, is_script_resp3, depth, reply))?,
        _ => reply.null(),
    }
    Ok(())
}

/// A line that may hold no line ends.
fn flat(text: &[u8]) -> Vec<u8> {
    text.iter().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte }).collect()
}

fn push_line(reply: &mut Reply<'_>, kind: u8, text: &[u8]) {
    reply.out.push(kind);
    reply.out.extend_from_slice(&flat(text));
    reply.out.extend_from_slice(b"\r\n");
}

/// Up to the first zero byte, as C reads a string.
fn c_text(text: &[u8]) -> &[u8] {
    &text[..memchr::memchr(0, text).unwrap_or(text.len())]
}

fn table_to_reply(table: &Table, is_resp3: bool, depth: usize, reply: &mut Reply<'_>) -> mlua::Result<()> {
    for (name, kind) in [("err", b'-'), ("ok", b'+')] {
        if let Some(line) = text_of(table.raw_get(name)?) {
            push_line(reply, kind, c_text(&line));
            return Ok(());
        }
    }
    if special_to_reply(table, is_resp3, depth, reply)? {
        return Ok(());
    }
    // Up to the first nil, wherever that is.
    let mut len = 0;
    while !table.raw_get::<Value>(len + 1)?.is_nil() {
        len += 1;
    }
    reply.array(len);
    (1..=len).try_for_each(|index| to_reply(&table.raw_get(index)?, is_resp3, depth + 1, reply))
}

fn text_of(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::String(text) => Some(text.as_bytes().to_vec()),
        _ => None,
    }
}

/// RESP3's types. Whether the table is one of them.
fn special_to_reply(table: &Table, is_resp3: bool, depth: usize, reply: &mut Reply<'_>) -> mlua::Result<bool> {
    let number = match table.raw_get("double")? {
        Value::Number(number) => Some(number),
        Value::Integer(number) => Some(number as f64),
        _ => None,
    };
    if let Some(number) = number {
        let text = shortest(number);
        if reply.is_resp3 {
            push_line(reply, b',', text.as_bytes())
        } else {
            reply.bulk(text.as_bytes())
        }
        return Ok(true);
    }
    if let Some(text) = text_of(table.raw_get("big_number")?) {
        if reply.is_resp3 {
            push_line(reply, b'(', &text)
        } else {
            reply.bulk(&flat(&text))
        }
        return Ok(true);
    }
    if let Value::Table(verbatim) = table.raw_get("verbatim_string")?
        && let Some(format) = text_of(verbatim.raw_get("format")?)
        && let Some(text) = text_of(verbatim.raw_get("string")?)
    {
        if !reply.is_resp3 {
            reply.bulk(&text);
            return Ok(true);
        }
        let format: Vec<u8> = c_text(&format).iter().copied().chain([b' '; 3]).take(3).collect();
        push_line(reply, b'=', (text.len() + 4).to_string().as_bytes());
        for part in [&format[..], b":", &text, b"\r\n"] {
            reply.out.extend_from_slice(part);
        }
        return Ok(true);
    }
    if let Value::Table(map) = table.raw_get("map")? {
        let pairs = map.pairs().collect::<mlua::Result<Vec<(Value, Value)>>>()?;
        reply.map(pairs.len());
        for (key, value) in &pairs {
            to_reply(key, is_resp3, depth + 1, reply)?;
            to_reply(value, is_resp3, depth + 1, reply)?;
        }
        return Ok(true);
    }
    if let Value::Table(set) = table.raw_get("set")? {
        let keys = set.pairs::<Value, Value>().map(|pair| Ok(pair?.0)).collect::<mlua::Result<Vec<Value>>>()?;
        reply.set(keys.len());
        keys.iter().try_for_each(|key| to_reply(key, is_resp3, depth + 1, reply))?;
        return Ok(true);
    }
    Ok(false)
}
