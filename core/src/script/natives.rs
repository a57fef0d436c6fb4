//! What scripts call and Lua does not have: their arguments, their errors, and the small functions among them.

use super::source::Sha;
use crate::limits::SCRIPT_RANDOM_MAX;
use mlua::{Error, Lua, LuaString, MultiValue, Table, Value};
use std::cell::Cell;
use std::fmt;
use std::rc::Rc;

/// An error that a script may catch: a string with the place it was raised at, or a table.
#[derive(Clone, Debug)]
pub struct Raised {
    pub text: Vec<u8>,
    pub is_table: bool,
}

impl fmt::Display for Raised {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&String::from_utf8_lossy(&self.text))
    }
}

impl std::error::Error for Raised {}

/// Why a function does not return.
pub enum Raise {
    /// A message, which the place of its caller is put in front of.
    Text(String),
    /// A message as it is.
    Bare(String),
    /// `bad argument #n to 'x' (...)`.
    Argument(usize, String),
    Lua(Error),
}

impl From<Error> for Raise {
    fn from(error: Error) -> Raise {
        Raise::Lua(error)
    }
}

impl From<String> for Raise {
    fn from(text: String) -> Raise {
        Raise::Text(text)
    }
}

impl From<&str> for Raise {
    fn from(text: &str) -> Raise {
        Raise::Text(text.into())
    }
}

pub type Given = Result<MultiValue, Raise>;
pub type Native = fn(&Lua, &Arguments) -> Given;

/// What a function was called with. Arguments are numbered from 1.
pub struct Arguments(Vec<Value>);

impl Arguments {
    pub fn new(values: MultiValue) -> Arguments {
        Arguments(values.into_iter().collect())
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The same and a nil behind: what some functions see in place of an argument that is not there.
    pub fn with_nil(&self) -> Arguments {
        Arguments(self.0.iter().cloned().chain([Value::Nil]).collect())
    }

    pub fn get(&self, index: usize) -> &Value {
        self.0.get(index - 1).unwrap_or(&Value::Nil)
    }

    fn wrong(&self, index: usize, expected: &str) -> Raise {
        let got = self.0.get(index - 1).map_or("no value", type_name);
        Raise::Argument(index, format!("{expected} expected, got {got}"))
    }

    /// A number, or a string that reads as one.
    pub fn number(&self, index: usize) -> Result<f64, Raise> {
        match self.get(index) {
            Value::Number(number) => Ok(*number),
            Value::Integer(number) => Ok(*number as f64),
            Value::String(text) => parse_number(&text.as_bytes()).ok_or_else(|| self.wrong(index, "number")),
            _ => Err(self.wrong(index, "number")),
        }
    }

    /// The same, cut off behind the point.
    pub fn integer(&self, index: usize) -> Result<i64, Raise> {
        self.number(index).map(super::figures::truncated)
    }

    /// A string, or a number as Lua writes it.
    pub fn text(&self, lua: &Lua, index: usize) -> Result<LuaString, Raise> {
        match self.get(index) {
            Value::String(text) => Ok(text.clone()),
            value @ (Value::Number(_) | Value::Integer(_)) => {
                Ok(lua.coerce_string(value.clone())?.expect("a number has a text"))
            }
            _ => Err(self.wrong(index, "string")),
        }
    }
}

/// A number as Lua 5.1 reads it.
pub fn parse_number(text: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(text).ok()?.trim_matches([' ', '\t', '\n', '\r', '\u{b}', '\u{c}']);
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => (-1.0, &text[1..]),
        b'+' => (1.0, &text[1..]),
        _ => (1.0, text),
    };
    if let Some(hex) = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        return u64::from_str_radix(hex, 16).ok().map(|number| sign * number as f64);
    }
    if !digits.starts_with(|first: char| first.is_ascii_digit() || first == '.') {
        return None;
    }
    digits.parse::<f64>().ok().map(|number| sign * number)
}

pub fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Nil => "nil",
        Value::Boolean(_) => "boolean",
        Value::LightUserData(_) | Value::UserData(_) | Value::Error(_) | Value::Other(_) => "userdata",
        Value::Integer(_) | Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Table(_) => "table",
        Value::Function(_) => "function",
        Value::Thread(_) => "thread",
    }
}

/// The place of the code that has called the running function, in front of a message: `user_script:1: `.
fn place(lua: &Lua) -> String {
    let place = lua.inspect_stack(1, |caller| {
        let source = caller.source();
        caller.current_line().map(|line| format!("{}:{line}: ", source.short_src.as_deref().unwrap_or("?")))
    });
    place.flatten().unwrap_or_default()
}

/// An error as mlua wants it.
pub fn raised(text: impl Into<Vec<u8>>, is_table: bool) -> Error {
    Error::external(Raised { text: text.into(), is_table })
}

fn into_error(lua: &Lua, raise: Raise) -> Error {
    match raise {
        Raise::Text(text) => raised(place(lua) + &text, false),
        Raise::Bare(text) => raised(text, false),
        Raise::Argument(index, why) => {
            // As its caller knows it.
            let known = lua.inspect_stack(0, |native| native.names().name.map(|name| name.into_owned())).flatten();
            let name = known.as_deref().unwrap_or("?");
            raised(format!("{}bad argument #{index} to '{name}' ({why})", place(lua)), false)
        }
        Raise::Lua(error) => error,
    }
}

/// Puts a function into a table.
pub fn give(
    lua: &Lua,
    table: &Table,
    name: &'static str,
    native: impl Fn(&Lua, &Arguments) -> Given + 'static,
) -> mlua::Result<()> {
    let function = lua.create_function(move |lua, values: MultiValue| {
        native(lua, &Arguments::new(values)).map_err(|raise| into_error(lua, raise))
    })?;
    table.raw_set(name, function)
}

/// What a script has raised, made one of Lua's own values: natives raise what only Rust can read.
pub fn plain_error(lua: &Lua, error: Value) -> mlua::Result<Value> {
    let Value::Error(error) = error else { return Ok(error) };
    if let Some(raised) = error.downcast_ref::<Raised>() {
        let text = lua.create_string(&raised.text)?;
        if !raised.is_table {
            return Ok(Value::String(text));
        }
        let table = lua.create_table_with_capacity(0, 3)?;
        table.raw_set("err", text)?;
        return Ok(Value::Table(table));
    }
    let text = if is_memory(&error) { "not enough memory".to_owned() } else { error.to_string() };
    Ok(Value::String(lua.create_string(text)?))
}

/// Whether memory has come to its limit.
pub fn is_memory(error: &Error) -> bool {
    match error {
        Error::MemoryError(_) => true,
        Error::CallbackError { cause, .. } | Error::WithContext { cause, .. } => is_memory(cause),
        _ => false,
    }
}

/// The generator of `math.random`: that of `drand48`, so that it gives the same numbers everywhere.
#[derive(Default)]
pub struct Random(Cell<u64>);

impl Random {
    /// As `srand48`.
    pub fn seed(&self, seed: i32) {
        self.0.set(u64::from(seed as u32) << 16 | 0x330e);
    }

    pub fn state(&self) -> u64 {
        self.0.get()
    }

    pub fn restore(&self, state: u64) {
        self.0.set(state);
    }

    fn next(&self) -> f64 {
        let state = self.0.get().wrapping_mul(0x5_deec_e66d).wrapping_add(0xb) & 0xffff_ffff_ffff;
        self.0.set(state);
        ((state >> 17) % SCRIPT_RANDOM_MAX) as f64 / SCRIPT_RANDOM_MAX as f64
    }
}

/// `math.random` and `math.randomseed`.
pub fn give_random(lua: &Lua, math: &Table, random: &Rc<Random>) -> mlua::Result<()> {
    let number = |number: f64| Ok(MultiValue::from_iter([Value::Number(number)]));
    let seeded = Rc::clone(random);
    give(lua, math, "randomseed", move |_, args| {
        seeded.seed(args.integer(1)? as i32);
        Ok(MultiValue::new())
    })?;
    let random = Rc::clone(random);
    give(lua, math, "random", move |_, args| {
        let drawn = random.next();
        match args.len() {
            0 => number(drawn),
            1 => {
                let high = args.integer(1)? as i32;
                if high < 1 {
                    return Err(Raise::Argument(1, "interval is empty".into()));
                }
                number((drawn * f64::from(high)).floor() + 1.0)
            }
            2 => {
                let (low, high) = (args.integer(1)? as i32, args.integer(2)? as i32);
                if low > high {
                    return Err(Raise::Argument(2, "interval is empty".into()));
                }
                let width = f64::from(high.wrapping_sub(low).wrapping_add(1));
                number((drawn * width).floor() + f64::from(low))
            }
            _ => Err("wrong number of arguments".into()),
        }
    })
}

/// `redis.sha1hex`.
pub fn sha1hex(lua: &Lua, args: &Arguments) -> Given {
    if args.len() != 1 {
        return Err(Raise::Lua(raised("ERR wrong number of arguments", true)));
    }
    // What is neither string nor number counts as empty, as in Redis.
    let text = args.text(lua, 1).map(|text| text.as_bytes().to_vec()).unwrap_or_default();
    Ok(MultiValue::from_iter([Value::String(lua.create_string(Sha::of(&text).hex())?)]))
}
