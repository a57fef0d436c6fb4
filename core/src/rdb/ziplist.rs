//! The small encodings before listpacks: ziplists, zipmaps, and sets of integers. They are only read.
//!
//! | ziplist | |
//! | --- | --- |
//! | 4, 4, 2 | all bytes, where the last element begins, elements (65535: not known); little-endian |
//! | .. | each element: the length of the one before (1 byte, or 254 and 4), then as below |
//! | 1 | 255 |
//!
//! | first byte of an element | |
//! | --- | --- |
//! | `00xxxxxx`, `01xxxxxx` and one more, 128 and 4 | the length of a string, big-endian |
//! | 192, 208, 224, 240, 254 | an integer of 16, 32, 64, 24, 8 bits, little-endian |
//! | 241 to 253 | an integer from 0 to 12 |
//!
//! | zipmap | |
//! | --- | --- |
//! | 1 | fields, if fewer than 254 |
//! | .. | each field and value: a length (1 byte, or 254 and 4), behind a value's one byte with the number of those that nobody uses behind it |
//! | 1 | 255 |
//!
//! | set of integers | |
//! | --- | --- |
//! | 4, 4 | bytes of an integer (2, 4, 8), integers; little-endian |
//! | .. | the integers, little-endian, ascending |

use super::listpack::{Item, integer_24};
use super::{Input, Invalid, What};

const END: u8 = 0xff;
const LONG: u8 = 0xfe;
const COUNT_UNKNOWN: u16 = u16::MAX;

/// Visits the elements of an input that is one ziplist.
pub fn visit<'a>(
    mut input: Input<'a>,
    len: usize,
    mut visit: impl FnMut(Item<'a>, u64) -> Result<(), Invalid>,
) -> Result<(), Invalid> {
    let broken = input.invalid(What::Ziplist);
    let read = |input: &mut Input<'a>| -> Result<(u32, u16), Invalid> {
        let total = u32::from_le_bytes(input.array()?);
        input.array::<4>()?;
        Ok((total, u16::from_le_bytes(input.array()?)))
    };
    let (total, count) = read(&mut input).map_err(|_| broken.clone())?;
    if total as usize != len {
        return Err(broken);
    }
    let mut seen = 0usize;
    loop {
        let broken = input.invalid(What::Ziplist);
        match element(&mut input).map_err(|_| broken.clone())? {
            Some(item) => visit(item, broken.at)?,
            None if input.is_at_end() && (count == COUNT_UNKNOWN || usize::from(count) == seen) => return Ok(()),
            None => return Err(broken),
        }
        seen += 1;
    }
}

fn element<'a>(input: &mut Input<'a>) -> Result<Option<Item<'a>>, Invalid> {
    match input.byte()? {
        END => return Ok(None),
        LONG => _ = input.array::<4>()?,
        _ => {}
    }
    let start = input.invalid(What::Ziplist);
    let first = input.byte()?;
    Ok(Some(match first {
        0..0x40 => Item::Bytes(input.take(usize::from(first))?),
        0x40..0x80 => {
            let len = usize::from(first & 0x3f) << 8 | usize::from(input.byte()?);
            Item::Bytes(input.take(len)?)
        }
        0x80 => {
            let len = u32::from_be_bytes(input.array()?);
            Item::Bytes(input.take(len as usize)?)
        }
        0xc0 => Item::Integer(i16::from_le_bytes(input.array()?).into()),
        0xd0 => Item::Integer(i32::from_le_bytes(input.array()?).into()),
        0xe0 => Item::Integer(i64::from_le_bytes(input.array()?)),
        0xf0 => Item::Integer(integer_24(input.array()?)),
        0xfe => Item::Integer(i8::from_le_bytes(input.array()?).into()),
        0xf1..=0xfd => Item::Integer(i64::from(first) - 0xf1),
        _ => return Err(start),
    }))
}

/// Visits the fields and values, in turn, of an input that is one zipmap.
pub fn visit_map<'a>(mut input: Input<'a>, mut visit: impl FnMut(Item<'a>)) -> Result<(), Invalid> {
    let broken = |input: &Input<'_>| input.invalid(What::Zipmap);
    let start = broken(&input);
    input.byte().map_err(|_| start)?;
    loop {
        let here = broken(&input);
        let mut pair = || -> Result<Option<[&'a [u8]; 2]>, Invalid> {
            let Some(len) = map_length(&mut input)? else { return Ok(None) };
            let field = input.take(len)?;
            let len = map_length(&mut input)?.ok_or(here.clone())?;
            let unused = input.byte()?;
            let value = input.take(len)?;
            input.take(usize::from(unused))?;
            Ok(Some([field, value]))
        };
        match pair().map_err(|_| here.clone())? {
            Some([field, value]) => {
                visit(Item::Bytes(field));
                visit(Item::Bytes(value));
            }
            None if input.is_at_end() => return Ok(()),
            None => return Err(here),
        }
    }
}

fn map_length(input: &mut Input<'_>) -> Result<Option<usize>, Invalid> {
    Ok(match input.byte()? {
        END => None,
        LONG => Some(u32::from_le_bytes(input.array()?) as usize),
        len => Some(usize::from(len)),
    })
}

/// Visits the members of an input that is one set of integers.
pub fn visit_integers(mut input: Input<'_>, len: usize, mut visit: impl FnMut(i64)) -> Result<(), Invalid> {
    let broken = input.invalid(What::Intset);
    let mut header = || -> Result<(u32, u32), Invalid> {
        Ok((u32::from_le_bytes(input.array()?), u32::from_le_bytes(input.array()?)))
    };
    let (width, count) = header().map_err(|_| broken.clone())?;
    let rest = u64::from(width) * u64::from(count);
    if !matches!(width, 2 | 4 | 8) || rest + 8 != len as u64 {
        return Err(broken);
    }
    let mut last = None;
    for _ in 0..count {
        let value = match width {
            2 => i16::from_le_bytes(input.array()?).into(),
            4 => i32::from_le_bytes(input.array()?).into(),
            _ => i64::from_le_bytes(input.array()?),
        };
        if last.is_some_and(|last| last >= value) {
            return Err(input.invalid(What::Intset));
        }
        last = Some(value);
        visit(value);
    }
    Ok(())
}
