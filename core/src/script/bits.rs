//! `bit`: operations on 32-bit integers, after the Lua BitOp library that Redis has.

use super::natives::{Arguments, Given, Raise};
use mlua::{Lua, MultiValue, Value};

/// The integer modulo 2^32 that a number stands for, rounded to even as that library does.
fn bits_of(args: &Arguments, index: usize) -> Result<u32, Raise> {
    let number = args.number(index)?;
    // Adding this puts the integer into the lowest bits of the mantissa.
    const SHIFT: f64 = 6_755_399_441_055_744.0;
    Ok((number + SHIFT).to_bits() as u32)
}

fn answer(bits: u32) -> Given {
    Ok(MultiValue::from_iter([Value::Number(f64::from(bits as i32))]))
}

fn fold(args: &Arguments, with: impl Fn(u32, u32) -> u32) -> Given {
    let mut bits = bits_of(args, 1)?;
    for index in 2..=args.len() {
        bits = with(bits, bits_of(args, index)?);
    }
    answer(bits)
}

fn shift(args: &Arguments, with: impl Fn(u32, u32) -> u32) -> Given {
    let bits = bits_of(args, 1)?;
    answer(with(bits, bits_of(args, 2)? & 31))
}

pub fn tobit(_: &Lua, args: &Arguments) -> Given {
    answer(bits_of(args, 1)?)
}

pub fn bnot(_: &Lua, args: &Arguments) -> Given {
    answer(!bits_of(args, 1)?)
}

pub fn band(_: &Lua, args: &Arguments) -> Given {
    fold(args, |one, other| one & other)
}

pub fn bor(_: &Lua, args: &Arguments) -> Given {
    fold(args, |one, other| one | other)
}

pub fn bxor(_: &Lua, args: &Arguments) -> Given {
    fold(args, |one, other| one ^ other)
}

pub fn lshift(_: &Lua, args: &Arguments) -> Given {
    shift(args, |bits, by| bits << by)
}

pub fn rshift(_: &Lua, args: &Arguments) -> Given {
    shift(args, |bits, by| bits >> by)
}

pub fn arshift(_: &Lua, args: &Arguments) -> Given {
    shift(args, |bits, by| ((bits as i32) >> by) as u32)
}

pub fn rol(_: &Lua, args: &Arguments) -> Given {
    shift(args, u32::rotate_left)
}

pub fn ror(_: &Lua, args: &Arguments) -> Given {
    shift(args, u32::rotate_right)
}

pub fn bswap(_: &Lua, args: &Arguments) -> Given {
    answer(bits_of(args, 1)?.swap_bytes())
}

/// Hexadecimal digits, eight or as many as asked for; upper-case ones if that is negative.
pub fn tohex(lua: &Lua, args: &Arguments) -> Given {
    const DIGITS: i32 = 8;
    let bits = bits_of(args, 1)?;
    let wanted = if args.len() < 2 { DIGITS } else { bits_of(args, 2)? as i32 };
    let digits = wanted.unsigned_abs().min(DIGITS as u32) as usize;
    let text = if wanted < 0 { format!("{bits:08X}") } else { format!("{bits:08x}") };
    let text = lua.create_string(&text[DIGITS as usize - digits..])?;
    Ok(MultiValue::from_iter([Value::String(text)]))
}
