//! A Lua state of a shard, of which it has one for scripts and one for functions: made at the first, walled in by `prelude.lua`, bounded in memory and in time.
//!
//! - **V1** Nothing that a script leaves behind is seen by the next one: the tables that all share refuse writes.
//! - **V2** What a script does follows from its text, its arguments, what it is answered, and the state of [`Random`], which
//!   is put back when it has to run again.
//! - **V3** A script ends: after [`Limits::ns`] its code is interrupted, again and again if it catches that.

use self::failure::{Failure, failure, script_place};
use self::library::Loading;
use super::convert::{error_table, to_lua, to_reply};
use super::figures::shortest;
use super::natives::{self, Raise, Random, give, is_memory, plain_error, raised};
use super::source::{Script, Sha};
use super::{binary, bits, json, msgpack};
use crate::acl::Subject;
use crate::command::args::{Args, copied};
use crate::command::connection::{REDIS_VERSION, REDIS_VERSION_NUMBER};
use crate::command::table;
use crate::limits::{SCRIPT_HOOK_INSTRUCTIONS, SCRIPT_LOG_LINES_MAX};
use crate::resp::encode::Reply;
use crate::resp::replies::Replies;
use bstr::BStr;
use hashbrown::HashMap;
use mlua::{Error, Function, HookTriggers, Lua, LuaOptions, LuaString, MultiValue, StdLib, Table, Value, VmState};
use scoped_tls_hkt::scoped_thread_local;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

/// What a script may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Of the whole Lua state.
    pub bytes: usize,
    /// By the clock of the machine.
    pub ns: u64,
}

/// How a command of a script went.
pub enum Called {
    /// Its reply is encoded.
    Replied,
    /// It was not run: the error's line.
    Refused(String),
    /// The script cannot go on now, whatever it does about that.
    Stop,
}

/// What is run.
#[derive(Clone, Copy)]
pub enum Callee<'a> {
    /// It was compiled.
    Script(&'a Script),
    /// A library has registered it.
    Function(&'a str),
}

impl Callee<'_> {
    /// As errors name it.
    fn name(self) -> String {
        match self {
            Callee::Script(script) => script.sha.hex(),
            Callee::Function(name) => name.to_owned(),
        }
    }
}

/// Runs a script's commands: the words, whether the reply is to be RESP3's, and where it goes.
pub type Host<'a> = &'a mut (dyn FnMut(&Args<'_>, bool, &mut Replies) -> Called + 'a);

// Of the script that this thread runs: `redis.call` is made once for each state, and outlives them all.
scoped_thread_local!(static mut HOST: for<'a> Host<'a>);

/// How a script ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// What it has returned is encoded.
    Done,
    /// It has raised this, an error's line.
    Failed(String),
    /// A command of it said stop.
    Stopped,
    OutOfTime,
    OutOfMemory,
    /// It is not to be, for this reason, an error's line: nothing of it stays.
    Refused(String),
}

/// A line for the server's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// 0 debug, 1 verbose, 2 notice, 3 warning.
    pub level: u8,
    pub text: String,
}

/// What the state's functions share with who runs it.
struct Shared {
    clock_ns: fn() -> u64,
    until_ns: Cell<u64>,
    bytes_max: Cell<usize>,
    is_late: Cell<bool>,
    is_stopped: Cell<bool>,
    is_resp3: Cell<bool>,
    is_running: Cell<bool>,
    failure: RefCell<Option<Failure>>,
    log: RefCell<Vec<LogLine>>,
    random: Rc<Random>,
    /// Whose rights its commands have.
    subject: RefCell<Option<Arc<Subject>>>,
    /// A library registers its functions.
    loading: RefCell<Option<Loading>>,
}

impl Shared {
    fn is_over(&self) -> bool {
        self.is_late.get() || self.is_stopped.get()
    }

    /// The limit of memory is for the script's own code: with one, each value that is made for it from outside costs twice as
    /// much. What comes from outside is bounded by requests and replies.
    fn limit_memory(&self, lua: &Lua, is_on: bool) {
        let bytes = if is_on { self.bytes_max.get() } else { 0 };
        lua.set_memory_limit(bytes).expect("the state is not a module of another");
    }

    /// Between instructions.
    fn check_time(&self) -> mlua::Result<VmState> {
        if self.is_running.get() && !self.is_over() && (self.clock_ns)() >= self.until_ns.get() {
            self.is_late.set(true);
        }
        if self.is_over() { Err(raised("Script ended", false)) } else { Ok(VmState::Continue) }
    }
}

/// Words of a command, one behind the other. Kept to be used again.
#[derive(Default)]
struct Words {
    bytes: Vec<u8>,
    ranges: Vec<(u32, u32)>,
}

pub struct Vm {
    lua: Lua,
    /// What stands behind the fronts of that name.
    globals: Table,
    run: Function,
    run_function: Function,
    set_loading: Function,
    names: Names,
    functions: HashMap<Sha, Function>,
    /// Functions of libraries, by name.
    registered: HashMap<String, Function>,
    shared: Rc<Shared>,
}

/// Names that each run sets.
struct Names {
    keys: LuaString,
    args: LuaString,
}

/// A script that does not compile: what Lua says.
#[derive(Debug)]
pub struct CompileError(pub String);

const ALWAYS: &str = "the state is new and has memory";

impl Vm {
    /// A state for scripts.
    pub fn new(clock_ns: fn() -> u64) -> Vm {
        Vm::with(clock_ns, false)
    }

    /// A state for functions of libraries.
    pub fn for_functions(clock_ns: fn() -> u64) -> Vm {
        Vm::with(clock_ns, true)
    }

    fn with(clock_ns: fn() -> u64, has_functions: bool) -> Vm {
        let libraries = StdLib::TABLE | StdLib::STRING | StdLib::MATH;
        let lua = Lua::new_with(libraries, LuaOptions::default()).expect("these libraries are safe");
        let shared = Rc::new(Shared {
            clock_ns,
            until_ns: Cell::new(u64::MAX),
            bytes_max: Cell::new(0),
            is_late: Cell::new(false),
            is_stopped: Cell::new(false),
            is_resp3: Cell::new(false),
            is_running: Cell::new(false),
            failure: RefCell::new(None),
            log: RefCell::new(Vec::new()),
            random: Rc::default(),
            subject: RefCell::default(),
            loading: RefCell::new(None),
        });
        shared.random.seed(0);
        let globals = lua.globals();
        give_libraries(&lua, &globals, &shared).expect(ALWAYS);
        let host = give_host(&lua, &shared).expect(ALWAYS);
        if has_functions {
            library::give_registration(&lua, &host, &shared).expect(ALWAYS);
        }
        let prelude = lua.load(include_str!("prelude.lua")).set_name("=prelude");
        let (walled, run, run_function, set_loading): (Table, Function, Function, Function) =
            prelude.call(host).expect("it is correct");
        lua.set_globals(walled).expect(ALWAYS);
        let hook = Rc::clone(&shared);
        let triggers = HookTriggers::new().every_nth_instruction(SCRIPT_HOOK_INSTRUCTIONS);
        lua.set_global_hook(triggers, move |_, _| hook.check_time()).expect(ALWAYS);
        let name = |name: &str| lua.create_string(name).expect(ALWAYS);
        let names = Names { keys: name("KEYS"), args: name("ARGV") };
        let (functions, registered) = (HashMap::new(), HashMap::new());
        Vm { lua, globals, run, run_function, set_loading, names, functions, registered, shared }
    }

    /// Bytes that the state takes.
    pub fn memory_bytes(&self) -> usize {
        self.lua.used_memory()
    }

    /// Sees that the script is compiled.
    pub fn compile(&mut self, script: &Script) -> Result<(), CompileError> {
        if self.functions.contains_key(&script.sha) {
            return Ok(());
        }
        let function = self.compile_chunk(script.code(), "@user_script")?;
        self.functions.insert(script.sha, function);
        Ok(())
    }

    fn compile_chunk(&self, code: &[u8], name: &str) -> Result<Function, CompileError> {
        let chunk = self.lua.load(code).set_name(name).set_mode(mlua::chunk::ChunkMode::Text);
        chunk.into_function().map_err(|error| {
            CompileError(match error {
                Error::SyntaxError { message, .. } => message,
                error => error.to_string(),
            })
        })
    }

    /// The script will not be run soon.
    pub fn forget(&mut self, sha: Sha) {
        self.functions.remove(&sha);
    }

    /// The state of `math.random`.
    pub fn random(&self) -> u64 {
        self.shared.random.state()
    }

    pub fn set_random(&self, state: u64) {
        self.shared.random.restore(state);
    }

    /// Whose rights the commands of the next run have; `None`: all.
    pub fn set_subject(&self, subject: Option<Arc<Subject>>) {
        self.shared.subject.replace(subject);
    }

    /// Lines that scripts have logged.
    pub fn take_log(&mut self) -> Vec<LogLine> {
        self.shared.log.take()
    }

    /// What it returns goes to `reply`.
    pub fn run(
        &mut self,
        callee: Callee<'_>,
        keys: &Args<'_>,
        args: &Args<'_>,
        limits: Limits,
        host: Host<'_>,
        reply: &mut Reply<'_>,
    ) -> End {
        self.begin(limits);
        let random = self.shared.random.state();
        let ran = HOST.set(host, || self.run_callee(callee, keys, args, reply));
        self.shared.is_running.set(false);
        let failure = self.shared.failure.take();
        if self.shared.is_stopped.get() {
            // Keeps V2.
            self.shared.random.restore(random);
            return End::Stopped;
        }
        if self.shared.is_late.get() {
            return End::OutOfTime;
        }
        match (ran, failure) {
            (Ok(true), _) => End::Done,
            (Ok(false), Some(failure)) if failure.is_memory => self.out_of_memory(),
            (Ok(false), Some(Failure { line, place, .. })) => End::Failed(match place {
                Some((source, at)) => format!("{line} script: {}, on {source}:{at}.", callee.name()),
                None => line,
            }),
            (Ok(false), None) => self.out_of_memory(),
            (Err(error), _) if is_memory(&error) => self.out_of_memory(),
            (Err(error), _) => End::Failed(format!("ERR {error}")),
        }
    }

    fn out_of_memory(&mut self) -> End {
        // What can be had back is.
        let _ = self.lua.gc_collect();
        End::OutOfMemory
    }

    fn begin(&mut self, limits: Limits) {
        let shared = &self.shared;
        shared.bytes_max.set(limits.bytes);
        if self.lua.used_memory() > limits.bytes / 2 {
            // Lua does not collect when memory has come to its limit. What goes wrong here goes wrong in the script.
            let _ = self.lua.gc_collect();
        }
        shared.until_ns.set((shared.clock_ns)().saturating_add(limits.ns));
        shared.is_late.set(false);
        shared.is_stopped.set(false);
        shared.is_resp3.set(false);
        shared.is_running.set(true);
    }

    /// Whether it has returned. If not, its failure stands in `shared`.
    fn run_callee(
        &mut self,
        callee: Callee<'_>,
        keys: &Args<'_>,
        args: &Args<'_>,
        reply: &mut Reply<'_>,
    ) -> mlua::Result<bool> {
        let lua = &self.lua;
        let (keys, args) = (texts(lua, keys)?, texts(lua, args)?);
        if let Callee::Script(_) = callee {
            self.globals.raw_set(&self.names.keys, &keys)?;
            self.globals.raw_set(&self.names.args, &args)?;
        }
        self.shared.limit_memory(lua, true);
        let ran = match callee {
            Callee::Script(script) => self.run.call(self.functions.get(&script.sha).expect("it was compiled")),
            Callee::Function(name) => {
                self.run_function.call((self.registered.get(name).expect("it was registered"), keys, args))
            }
        };
        self.shared.limit_memory(lua, false);
        let (is_ok, value): (bool, Value) = ran?;
        if is_ok {
            to_reply(&value, self.shared.is_resp3.get(), 0, reply)?;
        }
        Ok(is_ok)
    }
}

fn texts(lua: &Lua, args: &Args<'_>) -> mlua::Result<Table> {
    lua.create_sequence_from(args.iter().map(BStr::new))
}

/// `redis.call`.
fn give_call(lua: &Lua, redis: &Table, shared: &Rc<Shared>) -> mlua::Result<()> {
    let (words, replies) = (Words::default(), Replies::default());
    let caller = RefCell::new(Caller { shared: Rc::clone(shared), words, replies });
    let call = lua.create_function(move |lua, words: MultiValue| {
        let (value, is_error) = caller.borrow_mut().call(lua, words)?;
        if !is_error {
            return Ok(value);
        }
        let Value::Table(table) = value else { unreachable!("an error is a table") };
        let line: LuaString = table.raw_get("err")?;
        Err(raised(line.as_bytes().to_vec(), true))
    })?;
    redis.raw_set("call", call)
}

/// Does what `redis.call` is asked.
struct Caller {
    shared: Rc<Shared>,
    words: Words,
    replies: Replies,
}

impl Caller {
    /// The reply, and whether it is an error.
    fn call(&mut self, lua: &Lua, values: MultiValue) -> mlua::Result<(Value, bool)> {
        self.shared.limit_memory(lua, false);
        let called = self.call_freely(lua, values);
        self.shared.limit_memory(lua, true);
        called
    }

    fn call_freely(&mut self, lua: &Lua, values: MultiValue) -> mlua::Result<(Value, bool)> {
        self.shared.check_time()?;
        let refused = |line: &str| Ok((Value::Table(error_table(lua, line.as_bytes())?), true));
        if values.is_empty() {
            return refused("ERR Please specify at least one argument for this redis lib call");
        }
        self.words.bytes.clear();
        self.words.ranges.clear();
        for value in values {
            let start = self.words.bytes.len() as u32;
            match value {
                Value::String(text) => self.words.bytes.extend_from_slice(&text.as_bytes()),
                Value::Integer(number) => {
                    self.words.bytes.extend_from_slice(itoa::Buffer::new().format(number).as_bytes())
                }
                Value::Number(number) => self.words.bytes.extend_from_slice(shortest(number).as_bytes()),
                _ => return refused("ERR Lua redis lib command arguments must be strings or integers"),
            }
            self.words.ranges.push((start, self.words.bytes.len() as u32));
        }
        self.replies.truncate(0);
        let args = Args::new(&self.words.bytes, &self.words.ranges);
        match HOST.with(|host| host(&args, self.shared.is_resp3.get(), &mut self.replies)) {
            Called::Replied => to_lua(lua, &self.replies),
            Called::Refused(line) => refused(&line),
            Called::Stop => {
                self.shared.is_stopped.set(true);
                Err(raised("Script ended", false))
            }
        }
    }
}

/// Everything that scripts find and Lua does not have.
fn give_libraries(lua: &Lua, globals: &Table, shared: &Rc<Shared>) -> mlua::Result<()> {
    natives::give_random(lua, &globals.get("math")?, &shared.random)?;
    let clock_ns = shared.clock_ns;
    let os = lua.create_table()?;
    give(lua, &os, "clock", move |_, _| Ok(MultiValue::from_iter([Value::Number(clock_ns() as f64 / 1e9)])))?;
    globals.set("os", os)?;
    let bit = lua.create_table()?;
    let operations: [(&'static str, natives::Native); 12] = [
        ("tobit", bits::tobit),
        ("bnot", bits::bnot),
        ("band", bits::band),
        ("bor", bits::bor),
        ("bxor", bits::bxor),
        ("lshift", bits::lshift),
        ("rshift", bits::rshift),
        ("arshift", bits::arshift),
        ("rol", bits::rol),
        ("ror", bits::ror),
        ("bswap", bits::bswap),
        ("tohex", bits::tohex),
    ];
    for (name, operation) in operations {
        give(lua, &bit, name, operation)?;
    }
    globals.set("bit", bit)?;
    globals.set("cjson", json::library(lua)?)?;
    globals.set("cmsgpack", msgpack::library(lua)?)?;
    globals.set("struct", binary::library(lua)?)?;
    let redis = lua.create_table()?;
    give_redis(lua, &redis, shared)?;
    give_call(lua, &redis, shared)?;
    globals.set("redis", &redis)
}

fn give_redis(lua: &Lua, redis: &Table, shared: &Rc<Shared>) -> mlua::Result<()> {
    let numbers = [
        ("LOG_DEBUG", 0),
        ("LOG_VERBOSE", 1),
        ("LOG_NOTICE", 2),
        ("LOG_WARNING", 3),
        ("REPL_NONE", 0),
        ("REPL_AOF", 1),
        ("REPL_SLAVE", 2),
        ("REPL_REPLICA", 2),
        ("REPL_ALL", 3),
        ("REDIS_VERSION_NUM", REDIS_VERSION_NUMBER),
    ];
    for (name, number) in numbers {
        redis.set(name, number)?;
    }
    redis.set("REDIS_VERSION", REDIS_VERSION)?;
    give(lua, redis, "sha1hex", natives::sha1hex)?;
    let table_error = |line: &str| Err(Raise::Lua(raised(line, true)));
    let state = Rc::clone(shared);
    give(lua, redis, "setresp", move |_, args| {
        if args.len() != 1 {
            return table_error("ERR redis.setresp() requires one argument.");
        }
        match args.number(1).unwrap_or_default() {
            2.0 => state.is_resp3.set(false),
            3.0 => state.is_resp3.set(true),
            _ => return table_error("ERR RESP version must be 2 or 3."),
        }
        Ok(MultiValue::new())
    })?;
    give(lua, redis, "set_repl", move |_, args| {
        if args.len() != 1 {
            return table_error("ERR redis.set_repl() requires two arguments.");
        }
        match args.integer(1).unwrap_or_default() {
            0..=3 => Ok(MultiValue::new()),
            _ => table_error("ERR Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE."),
        }
    })?;
    give_log(lua, redis, shared)?;
    let state = Rc::clone(shared);
    give(lua, redis, "acl_check_cmd", move |lua, args| {
        if args.len() == 0 {
            return table_error("ERR Please specify at least one argument for this redis lib call");
        }
        let mut words: Vec<Vec<u8>> = Vec::with_capacity(args.len());
        for index in 1..=args.len() {
            let Ok(word) = args.text(lua, index) else {
                return table_error("ERR Lua redis lib command arguments must be strings or integers");
            };
            words.push(word.as_bytes().to_vec());
        }
        let (bytes, ranges) = copied(words.iter().map(Vec::as_slice));
        let words = Args::new(&bytes, &ranges);
        let Some(entry) = table::lookup(&words) else {
            return table_error("ERR Invalid command passed to redis.acl_check_cmd()");
        };
        let subject = state.subject.borrow();
        let is_allowed = subject.as_ref().is_none_or(|subject| subject.user.check(entry, &words).is_ok());
        Ok(MultiValue::from_iter([Value::Boolean(is_allowed)]))
    })
}

/// `redis.log`.
fn give_log(lua: &Lua, redis: &Table, shared: &Rc<Shared>) -> mlua::Result<()> {
    let table_error = |line: &str| Err(Raise::Lua(raised(line, true)));
    let state = Rc::clone(shared);
    give(lua, redis, "log", move |lua, args| {
        if args.len() < 2 {
            return table_error("ERR redis.log() requires two arguments or more.");
        }
        let Ok(level) = args.number(1) else {
            return table_error("ERR First argument must be a number (log level).");
        };
        let level = match level as i64 {
            level @ 0..=3 => level as u8,
            _ => return table_error("ERR Invalid debug level."),
        };
        let words: Vec<String> = (2..=args.len())
            .filter_map(|index| Some(String::from_utf8_lossy(&args.text(lua, index).ok()?.as_bytes()).into_owned()))
            .collect();
        let mut log = state.log.borrow_mut();
        if log.len() < SCRIPT_LOG_LINES_MAX {
            log.push(LogLine { level, text: words.join(" ") });
        }
        Ok(MultiValue::new())
    })
}

/// What the prelude needs.
fn give_host(lua: &Lua, shared: &Rc<Shared>) -> mlua::Result<Table> {
    let host = lua.create_table()?;
    host.set("plain", lua.create_function(|lua, error: Value| plain_error(lua, error))?)?;
    let state = Rc::clone(shared);
    host.set("is_over", lua.create_function(move |_, ()| Ok(state.is_over()))?)?;
    let state = Rc::clone(shared);
    let handler = lua.create_function(move |lua, error: Value| {
        let place = script_place(lua);
        *state.failure.borrow_mut() = Some(failure(error, place));
        Ok(())
    })?;
    host.set("handler", handler)?;
    Ok(host)
}

mod failure;
mod library;

#[cfg(test)]
mod tests;
