//! What a script has not caught: its line, and where it was raised.

use super::super::natives::{self, Raised, is_memory};
use mlua::{Lua, Value};

/// What a script has not caught.
pub(super) struct Failure {
    pub line: String,
    pub is_memory: bool,
    pub place: Option<(String, i64)>,
}

/// Where the script was when something was raised: source and line of its innermost code.
pub(super) fn script_place(lua: &Lua) -> Option<(String, i64)> {
    const LEVELS_MAX: usize = 16;
    for level in 1..LEVELS_MAX {
        let seen = lua.inspect_stack(level, |debug| {
            let source = debug.source();
            let name = source.source.as_deref().unwrap_or_default().to_owned();
            (source.what == "C" || name == "=prelude", name, debug.current_line())
        });
        match seen {
            Some((true, ..)) => {}
            Some((false, name, line)) => return Some((name, line.map_or(-1, |line| line as i64))),
            None => return None,
        }
    }
    None
}

pub(super) fn failure(error: Value, place: Option<(String, i64)>) -> Failure {
    let mut is_memory_error = false;
    let line = match &error {
        Value::String(text) => {
            let text = text.to_string_lossy();
            is_memory_error = text == "not enough memory";
            format!("ERR {text}")
        }
        Value::Error(error) => match error.downcast_ref::<Raised>() {
            Some(Raised { text, is_table: true }) => String::from_utf8_lossy(text).into_owned(),
            Some(Raised { text, .. }) => format!("ERR {}", String::from_utf8_lossy(text)),
            None => {
                is_memory_error = is_memory(error);
                format!("ERR {error}")
            }
        },
        Value::Table(table) => match table.raw_get("err") {
            Ok(Value::String(text)) => text.to_string_lossy(),
            _ => "ERR unknown error".into(),
        },
        Value::Nil => "ERR nil".into(),
        Value::Boolean(value) => format!("ERR {value}"),
        Value::Integer(number) => format!("ERR {number}"),
        Value::Number(number) => format!("ERR {}", super::super::figures::general(*number, 14)),
        other => format!("ERR {}: {:p}", natives::type_name(other), other.to_pointer()),
    };
    Failure { line, is_memory: is_memory_error, place }
}
