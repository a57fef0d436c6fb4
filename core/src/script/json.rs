//! `cjson`: JSON from and to Lua values, with the settings, the rules and the messages of the Lua CJSON library that Redis has.
//!
//! Settings last as long as the Lua state, as there. How deep values may be nested has a bound of our own above the settings'.

mod decode;
mod encode;

use super::natives::{Arguments, Raise, give, type_name};
use mlua::{Lua, MultiValue, Table, Value};
use std::cell::Cell;
use std::ops::RangeInclusive;
use std::rc::Rc;

const VERSION: &str = "2.1.0";

/// What is done with numbers that JSON does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Invalid {
    Off,
    On,
    Null,
}

#[derive(Clone, Copy, Debug)]
struct Settings {
    sparse_convert: bool,
    sparse_ratio: i32,
    sparse_safe: i32,
    encode_depth: i32,
    decode_depth: i32,
    precision: i32,
    encode_invalid: Invalid,
    decode_invalid: bool,
    keep_buffer: bool,
}

const DEFAULT: Settings = Settings {
    sparse_convert: false,
    sparse_ratio: 2,
    sparse_safe: 10,
    encode_depth: 1000,
    decode_depth: 1000,
    precision: 14,
    encode_invalid: Invalid::Off,
    decode_invalid: true,
    keep_buffer: true,
};

/// The library, with settings of its own.
pub fn library(lua: &Lua) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    let settings = Rc::new(Cell::new(DEFAULT));
    let shared = Rc::clone(&settings);
    give(lua, &table, "encode", move |lua, args| {
        one_argument(args)?;
        let text = encode::encode(args.get(1), &shared.get())?;
        Ok(MultiValue::from_iter([Value::String(lua.create_string(text)?)]))
    })?;
    let shared = Rc::clone(&settings);
    give(lua, &table, "decode", move |lua, args| {
        one_argument(args)?;
        let text = args.text(lua, 1)?;
        Ok(MultiValue::from_iter([decode::decode(lua, &text.as_bytes(), &shared.get())?]))
    })?;
    give(lua, &table, "new", |lua, _| Ok(MultiValue::from_iter([Value::Table(library(lua)?)])))?;
    give_options(lua, &table, &settings)?;
    table.set("null", Value::NULL)?;
    table.set("_NAME", "cjson")?;
    table.set("_VERSION", VERSION)?;
    Ok(table)
}

fn one_argument(args: &Arguments) -> Result<(), Raise> {
    if args.len() == 1 { Ok(()) } else { Err(Raise::Argument(1, "expected 1 argument".into())) }
}

type Option = fn(&Lua, &Arguments, &mut Settings) -> Result<Vec<Value>, Raise>;

/// The functions that read and change settings: their names, and how many arguments they take.
const OPTIONS: [(&str, usize, Option); 7] = [
    ("encode_sparse_array", 3, |lua, args, settings| {
        Ok(vec![
            switch(lua, args, 1, &mut settings.sparse_convert)?,
            integer(args, 2, &mut settings.sparse_ratio, 0..=i32::MAX)?,
            integer(args, 3, &mut settings.sparse_safe, 0..=i32::MAX)?,
        ])
    }),
    ("encode_max_depth", 1, |_, args, settings| Ok(vec![integer(args, 1, &mut settings.encode_depth, 1..=i32::MAX)?])),
    ("decode_max_depth", 1, |_, args, settings| Ok(vec![integer(args, 1, &mut settings.decode_depth, 1..=i32::MAX)?])),
    ("encode_number_precision", 1, |_, args, settings| Ok(vec![integer(args, 1, &mut settings.precision, 1..=14)?])),
    ("encode_keep_buffer", 1, |lua, args, settings| Ok(vec![switch(lua, args, 1, &mut settings.keep_buffer)?])),
    ("decode_invalid_numbers", 1, |lua, args, settings| Ok(vec![switch(lua, args, 1, &mut settings.decode_invalid)?])),
    ("encode_invalid_numbers", 1, |lua, args, settings| {
        match args.get(1) {
            Value::Nil => {}
            Value::Boolean(is_on) => settings.encode_invalid = if *is_on { Invalid::On } else { Invalid::Off },
            _ => {
                settings.encode_invalid = match &*args.text(lua, 1)?.as_bytes() {
                    b"off" => Invalid::Off,
                    b"on" => Invalid::On,
                    b"null" => Invalid::Null,
                    other => return Err(no_option(other)),
                }
            }
        }
        Ok(vec![match settings.encode_invalid {
            Invalid::Null => Value::String(lua.create_string("null")?),
            set => Value::Boolean(set == Invalid::On),
        }])
    }),
];

fn give_options(lua: &Lua, table: &Table, settings: &Rc<Cell<Settings>>) -> mlua::Result<()> {
    for (name, count, option) in OPTIONS {
        let shared = Rc::clone(settings);
        give(lua, table, name, move |lua, args| {
            if args.len() > count {
                return Err(Raise::Argument(count + 1, "found too many arguments".into()));
            }
            let mut settings = shared.get();
            let values = option(lua, args, &mut settings)?;
            shared.set(settings);
            Ok(MultiValue::from_iter(values))
        })?;
    }
    Ok(())
}

/// An integer, changed if there is an argument.
fn integer(args: &Arguments, index: usize, setting: &mut i32, range: RangeInclusive<i32>) -> Result<Value, Raise> {
    if !args.get(index).is_nil() {
        let value = i32::try_from(args.integer(index)?).ok().filter(|value| range.contains(value));
        let (min, max) = range.into_inner();
        let wrong = || Raise::Argument(1, format!("expected integer between {min} and {max}"));
        *setting = value.ok_or_else(wrong)?;
    }
    Ok(Value::Integer(i64::from(*setting)))
}

/// On or off, changed if there is an argument.
fn switch(lua: &Lua, args: &Arguments, index: usize, setting: &mut bool) -> Result<Value, Raise> {
    match args.get(index) {
        Value::Nil => {}
        Value::Boolean(is_on) => *setting = *is_on,
        _ => {
            *setting = match &*args.text(lua, index)?.as_bytes() {
                b"off" => false,
                b"on" => true,
                other => return Err(no_option(other)),
            }
        }
    }
    Ok(Value::Boolean(*setting))
}

fn no_option(given: &[u8]) -> Raise {
    Raise::Argument(1, format!("invalid option '{}'", String::from_utf8_lossy(given)))
}

/// What cannot be encoded, and why.
fn unencodable(value: &Value, why: &str) -> Raise {
    Raise::Text(format!("Cannot serialise {}: {why}", type_name(value)))
}
