//! Libraries run once, to register their functions; `redis.register_function`.

use super::super::library::{Function, Heading, Library, NAMES, is_name};
use super::super::natives::{Arguments, Given, Raise, give, is_memory, raised};
use super::super::source::ScriptFlags;
use super::{CompileError, Limits, Shared, Vm};
use mlua::{Lua, MultiValue, Table, Value};
use std::rc::Rc;
use std::sync::Arc;

/// What a library has registered so far.
#[derive(Default)]
pub(super) struct Loading {
    functions: Vec<Registered>,
}

/// A function and its code.
type Registered = (Arc<Function>, mlua::Function);

const TIMEOUT: &str = "Error registering functions: ERR FUNCTION LOAD timeout";

impl Vm {
    /// Runs a library's code and keeps what it registers. If that goes wrong, why, without an error's code; nothing of it is kept then.
    /// `heading` is that of `text`.
    pub fn load(&mut self, text: &[u8], heading: &Heading, limits: Limits) -> Result<Arc<Library>, String> {
        let (library, functions) = self.examine(text, heading, limits)?;
        self.registered.extend(functions.into_iter().map(|(function, code)| (function.name.clone(), code)));
        Ok(library)
    }

    /// The library that this code would be.
    pub fn judge(&mut self, text: &[u8], heading: &Heading, limits: Limits) -> Result<Arc<Library>, String> {
        self.examine(text, heading, limits).map(|(library, _)| library)
    }

    fn examine(
        &mut self,
        text: &[u8],
        heading: &Heading,
        limits: Limits,
    ) -> Result<(Arc<Library>, Vec<Registered>), String> {
        let compiled = self.compile_chunk(&text[heading.bytes..], "@user_function");
        let chunk = compiled.map_err(|CompileError(why)| format!("Error compiling function: {why}"))?;
        self.begin(limits);
        *self.shared.loading.borrow_mut() = Some(Loading::default());
        let ran = self.run_chunk(&chunk);
        self.shared.is_running.set(false);
        let loading = self.shared.loading.take().expect("it was put there");
        let failure = self.shared.failure.take();
        if self.shared.is_late.get() {
            return Err(TIMEOUT.into());
        }
        match (ran, failure) {
            (Ok(true), _) => {}
            (Ok(false), Some(failure)) => return Err(format!("Error registering functions: {}", failure.line)),
            (Ok(false), None) => return Err("Error registering functions: ERR not enough memory".into()),
            (Err(error), _) if is_memory(&error) => {
                return Err("Error registering functions: ERR not enough memory".into());
            }
            (Err(error), _) => return Err(format!("Error registering functions: ERR {error}")),
        }
        let mut functions = loading.functions;
        if functions.is_empty() {
            return Err("No functions registered".into());
        }
        functions.sort_by(|(one, _), (other, _)| one.name.cmp(&other.name));
        let library = Library {
            name: heading.name.clone(),
            text: text.to_vec(),
            functions: functions.iter().map(|(function, _)| Arc::clone(function)).collect(),
        };
        Ok((Arc::new(library), functions))
    }

    /// Whether it has returned.
    fn run_chunk(&mut self, chunk: &mlua::Function) -> mlua::Result<bool> {
        self.set_loading.call::<()>(true)?;
        self.shared.limit_memory(&self.lua, true);
        let ran = self.run.call(chunk);
        self.shared.limit_memory(&self.lua, false);
        self.set_loading.call::<()>(false)?;
        let (is_ok, _): (bool, Value) = ran?;
        Ok(is_ok)
    }
}

/// `redis.register_function`, which the prelude puts where libraries find it.
pub(super) fn give_registration(lua: &Lua, host: &Table, shared: &Rc<Shared>) -> mlua::Result<()> {
    let state = Rc::clone(shared);
    give(lua, host, "register_function", move |lua, args| {
        // What is made here is bounded by the library's text.
        state.limit_memory(lua, false);
        let registered = register(lua, args, &state);
        state.limit_memory(lua, true);
        registered
    })
}

fn wrong(why: &str) -> Raise {
    Raise::Lua(raised(format!("ERR {why}"), true))
}

fn register(lua: &Lua, args: &Arguments, shared: &Shared) -> Given {
    let mut loading = shared.loading.borrow_mut();
    let loading =
        loading.as_mut().ok_or_else(|| wrong("redis.register_function can only be called on FUNCTION LOAD command"))?;
    let (function, code) = match args.len() {
        1 => named(lua, args.get(1))?,
        2 => positional(lua, args)?,
        _ => return Err(wrong("wrong number of arguments to redis.register_function")),
    };
    if !is_name(function.name.as_bytes()) {
        return Err(wrong(NAMES));
    }
    if loading.functions.iter().any(|(known, _)| known.name.eq_ignore_ascii_case(&function.name)) {
        return Err(wrong("Function already exists in the library"));
    }
    loading.functions.push((Arc::new(function), code));
    Ok(MultiValue::new())
}

/// A string, or a number as Lua writes it.
fn text_of(lua: &Lua, value: &Value) -> mlua::Result<Option<Vec<u8>>> {
    Ok(match value {
        Value::String(text) => Some(text.as_bytes().to_vec()),
        Value::Integer(_) | Value::Number(_) => lua.coerce_string(value.clone())?.map(|text| text.as_bytes().to_vec()),
        _ => None,
    })
}

/// Names that are none are refused as such later.
fn name_of(text: Vec<u8>) -> String {
    String::from_utf8(text).unwrap_or_default()
}

fn positional(lua: &Lua, args: &Arguments) -> Result<(Function, mlua::Function), Raise> {
    let name = text_of(lua, args.get(1))?
        .ok_or_else(|| wrong("first argument to redis.register_function must be a string"))?;
    let Value::Function(code) = args.get(2) else {
        return Err(wrong("second argument to redis.register_function must be a function"));
    };
    let flags = ScriptFlags::default();
    Ok((Function { name: name_of(name), description: None, flags }, code.clone()))
}

fn named(lua: &Lua, value: &Value) -> Result<(Function, mlua::Function), Raise> {
    let Value::Table(table) = value else {
        return Err(wrong(
            "calling redis.register_function with a single argument is only applicable to Lua table (representing \
             named arguments).",
        ));
    };
    let (mut name, mut description, mut code, mut flags) = (None, None, None, ScriptFlags::default());
    for pair in table.pairs::<Value, Value>() {
        let (key, value) = pair?;
        let Some(key) = text_of(lua, &key)? else {
            return Err(wrong("named argument key given to redis.register_function is not a string"));
        };
        let must = |what: &str| wrong(&format!("{what} argument given to redis.register_function must be a string"));
        match key.to_ascii_lowercase().as_slice() {
            b"function_name" => name = Some(text_of(lua, &value)?.ok_or_else(|| must("function_name"))?),
            b"description" => description = Some(text_of(lua, &value)?.ok_or_else(|| must("description"))?),
            b"callback" => match value {
                Value::Function(function) => code = Some(function),
                _ => return Err(wrong("callback argument given to redis.register_function must be a function")),
            },
            b"flags" => match value {
                Value::Table(names) => flags = flags_of(lua, &names)?,
                _ => {
                    return Err(wrong(
                        "flags argument to redis.register_function must be a table representing function flags",
                    ));
                }
            },
            _ => return Err(wrong("unknown argument given to redis.register_function")),
        }
    }
    let name = name.ok_or_else(|| wrong("redis.register_function must get a function name argument"))?;
    let code = code.ok_or_else(|| wrong("redis.register_function must get a callback argument"))?;
    Ok((Function { name: name_of(name), description, flags }, code))
}

fn flags_of(lua: &Lua, names: &Table) -> Result<ScriptFlags, Raise> {
    let mut flags = ScriptFlags::default();
    for index in 1.. {
        let name: Value = names.raw_get(index)?;
        if name.is_nil() {
            break;
        }
        let name = text_of(lua, &name)?.map(|name| name.to_ascii_lowercase());
        if !name.is_some_and(|name| flags.set(&name)) {
            return Err(wrong("unknown flag given"));
        }
    }
    Ok(flags)
}
