//! `struct`: numbers and strings from and to binary layouts, with the formats and messages of the library that Redis has.

use super::natives::{Arguments, Given, Raise, give};
use crate::limits::SCRIPT_VALUES_MAX;
use mlua::{Lua, MultiValue, Table, Value};

const INTEGER_BYTES_MAX: usize = 32;
/// What `!` without a number aligns to: the layout of a C structure on this machine.
const ALIGN_DEFAULT: usize = 8;

pub fn library(lua: &Lua) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    give(lua, &table, "pack", pack)?;
    give(lua, &table, "unpack", unpack)?;
    give(lua, &table, "size", size)?;
    Ok(table)
}

/// A format that is being read, with what its control characters have set.
struct Format<'a> {
    text: &'a [u8],
    at: usize,
    is_big_endian: bool,
    align: usize,
}

impl<'a> Format<'a> {
    fn new(text: &'a [u8]) -> Format<'a> {
        // As C reads it.
        let text = &text[..memchr::memchr(0, text).unwrap_or(text.len())];
        Format { text, at: 0, is_big_endian: false, align: 1 }
    }

    /// The next character, and how many bytes its element has.
    fn next(&mut self) -> Result<Option<(u8, usize)>, Raise> {
        let Some(&option) = self.text.get(self.at) else { return Ok(None) };
        self.at += 1;
        let size = match option {
            b'B' | b'b' | b'x' => 1,
            b'H' | b'h' => 2,
            b'L' | b'l' | b'T' | b'd' => 8,
            b'f' => 4,
            b'c' => self.number(1)?,
            b'i' | b'I' => match self.number(4)? {
                size @ 0..=INTEGER_BYTES_MAX => size,
                size => {
                    return Err(Raise::Text(format!(
                        "integral size {size} is larger than limit of {INTEGER_BYTES_MAX}"
                    )));
                }
            },
            _ => 0,
        };
        Ok(Some((option, size)))
    }

    fn number(&mut self, default: usize) -> Result<usize, Raise> {
        if !self.text.get(self.at).is_some_and(u8::is_ascii_digit) {
            return Ok(default);
        }
        let mut number: i32 = 0;
        while let Some(digit) = self.text.get(self.at).filter(|byte| byte.is_ascii_digit()) {
            let next = number.checked_mul(10).and_then(|number| number.checked_add((digit - b'0').into()));
            number = next.ok_or("integral size overflow")?;
            self.at += 1;
        }
        Ok(number as usize)
    }

    /// Bytes in front of an element of that size at this place.
    fn padding(&self, place: usize, option: u8, size: usize) -> usize {
        if size == 0 || option == b'c' {
            return 0;
        }
        let size = size.min(self.align);
        (size - (place & (size - 1))) & (size - 1)
    }

    /// A character that is no element.
    fn control(&mut self, option: u8) -> Result<(), Raise> {
        match option {
            b' ' => {}
            b'>' => self.is_big_endian = true,
            b'<' => self.is_big_endian = false,
            b'!' => {
                let align = self.number(ALIGN_DEFAULT)?;
                if !align.is_power_of_two() {
                    return Err(Raise::Text(format!("alignment {align} is not a power of 2")));
                }
                self.align = align;
            }
            other => {
                let shown = String::from_utf8_lossy(&[other]).into_owned();
                return Err(Raise::Argument(1, format!("invalid format option '{shown}'")));
            }
        }
        Ok(())
    }

    /// Bytes in the order of this format, from least to most significant or back.
    fn ordered(&self, bytes: &mut [u8]) {
        if self.is_big_endian {
            bytes.reverse();
        }
    }
}

fn is_integer(option: u8) -> bool {
    matches!(option, b'b' | b'B' | b'h' | b'H' | b'l' | b'L' | b'T' | b'i' | b'I')
}

fn pack(lua: &Lua, args: &Arguments) -> Given {
    let text = args.text(lua, 1)?;
    let args = &args.with_nil();
    let text = text.as_bytes();
    let mut format = Format::new(&text);
    let mut out = Vec::new();
    let mut arg = 2;
    while let Some((option, size)) = format.next()? {
        out.resize(out.len() + format.padding(out.len(), option, size), 0);
        let start = out.len();
        match option {
            _ if is_integer(option) => {
                let number = args.number(arg)?;
                let bits = if number < 0.0 { super::figures::truncated(number) as u64 } else { number as u64 };
                out.extend((0..size).map(|byte| if byte < 8 { (bits >> (8 * byte)) as u8 } else { 0 }));
            }
            b'x' => out.push(0),
            b'f' => out.extend_from_slice(&(args.number(arg)? as f32).to_le_bytes()),
            b'd' => out.extend_from_slice(&args.number(arg)?.to_le_bytes()),
            b'c' | b's' => {
                let text = args.text(lua, arg)?;
                let text = text.as_bytes();
                let size = if size == 0 { text.len() } else { size };
                if text.len() < size {
                    return Err(Raise::Argument(arg + 1, "string too short".into()));
                }
                out.extend_from_slice(&text[..size]);
                if option == b's' {
                    out.push(0);
                }
                arg += 1;
                continue;
            }
            _ => {
                format.control(option)?;
                continue;
            }
        }
        arg += usize::from(option != b'x');
        format.ordered(&mut out[start..]);
    }
    Ok(MultiValue::from_iter([Value::String(lua.create_string(out)?)]))
}

fn unpack(lua: &Lua, args: &Arguments) -> Given {
    let (text, data) = (args.text(lua, 1)?, args.text(lua, 2)?);
    let (text, data) = (text.as_bytes(), data.as_bytes());
    let mut format = Format::new(&text);
    let first = if args.get(3).is_nil() { 1 } else { args.integer(3)? };
    if first == 0 {
        return Err(Raise::Argument(3, "offset must be 1 or greater".into()));
    }
    // A negative one is far behind the end.
    let mut at = (first as u64 - 1) as usize;
    let too_short = || Raise::Argument(2, "data string too short".into());
    let part = |at: usize, size: usize| {
        let end = at.checked_add(size).filter(|end| *end <= data.len());
        end.map(|end| &data[at..end]).ok_or_else(too_short)
    };
    let mut values: Vec<Value> = Vec::new();
    while let Some((option, size)) = format.next()? {
        at = at.saturating_add(format.padding(at, option, size));
        let bytes = part(at, size)?;
        if values.len() >= SCRIPT_VALUES_MAX {
            return Err("stack overflow (too many results)".into());
        }
        let mut taken = size;
        match option {
            _ if is_integer(option) => {
                let mut bytes = bytes.to_vec();
                format.ordered(&mut bytes);
                values.push(Value::Number(integer(&bytes, option.is_ascii_lowercase())));
            }
            b'x' => {}
            b'f' | b'd' => {
                let mut bytes = bytes.to_vec();
                format.ordered(&mut bytes);
                values.push(Value::Number(match option {
                    b'f' => f32::from_le_bytes(bytes.try_into().expect("four bytes")).into(),
                    _ => f64::from_le_bytes(bytes.try_into().expect("eight bytes")),
                }));
            }
            b'c' => {
                if size == 0 {
                    let before = values.pop().and_then(|value| value.as_f64());
                    let len = before.ok_or("format 'c0' needs a previous size")?;
                    taken = if len < 0.0 { usize::MAX } else { len as usize };
                }
                values.push(Value::String(lua.create_string(part(at, taken)?)?));
            }
            b's' => {
                let rest = part(at, data.len().saturating_sub(at))?;
                let len = memchr::memchr(0, rest).ok_or("unfinished string in data")?;
                values.push(Value::String(lua.create_string(&rest[..len])?));
                taken = len + 1;
            }
            _ => format.control(option)?,
        }
        at += taken;
    }
    values.push(Value::Integer(at as i64 + 1));
    Ok(MultiValue::from_iter(values))
}

/// A number of little-endian bytes. Beyond eight of them the highest are lost, as there.
fn integer(bytes: &[u8], is_signed: bool) -> f64 {
    let bits = bytes.iter().take(8).rev().fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
    if !is_signed {
        return bits as f64;
    }
    let spare = 64 - 8 * bytes.len().clamp(1, 8) as u32;
    ((bits << spare) as i64 >> spare) as f64
}

fn size(lua: &Lua, args: &Arguments) -> Given {
    let text = args.text(lua, 1)?;
    let text = text.as_bytes();
    let mut format = Format::new(&text);
    let mut at: usize = 0;
    while let Some((option, size)) = format.next()? {
        at += format.padding(at, option, size);
        match option {
            b's' => return Err(Raise::Argument(1, "option 's' has no fixed size".into())),
            b'c' if size == 0 => return Err(Raise::Argument(1, "option 'c0' has no fixed size".into())),
            _ if !option.is_ascii_alphanumeric() => format.control(option)?,
            _ => {}
        }
        at += size;
    }
    Ok(MultiValue::from_iter([Value::Integer(at as i64)]))
}
