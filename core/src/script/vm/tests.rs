//! What the walls keep in, and that a script ends.

use super::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A clock that goes on by a microsecond each time it is read.
fn clock_ns() -> u64 {
    static NOW_NS: AtomicU64 = AtomicU64::new(0);
    NOW_NS.fetch_add(1000, Ordering::Relaxed)
}

const LIMITS: Limits = Limits { bytes: 8 << 20, ns: 1_000_000 };

/// Answers each command with its words, and says stop at `STOP`.
fn echo(args: &Args<'_>, is_resp3: bool, out: &mut Replies) -> Called {
    if args.is(0, "stop") {
        return Called::Stop;
    }
    let mut reply = Reply::new(out, is_resp3);
    reply.array(args.len());
    args.iter().for_each(|arg| reply.bulk(arg));
    Called::Replied
}

fn run(vm: &mut Vm, text: &str) -> (End, String) {
    let script: Arc<Script> = Script::new(text.as_bytes()).unwrap();
    vm.compile(&script).unwrap();
    let mut out = Replies::default();
    let none = Args::new(b"", &[]);
    let end = vm.run(Callee::Script(&script), &none, &none, LIMITS, &mut echo, &mut Reply::new(&mut out, false));
    (end, String::from_utf8_lossy(out.bytes()).into_owned())
}

/// The script's error, without what stands behind it.
fn failure(vm: &mut Vm, text: &str) -> String {
    match run(vm, text).0 {
        End::Failed(line) => line.split(" script: ").next().unwrap().to_owned(),
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn commands_are_asked_for_and_answered() {
    let mut vm = Vm::new(clock_ns);
    assert_eq!(
        run(&mut vm, "return redis.call('a', 1, 2.5, 1e15)"),
        (End::Done, "*4\r\n$1\r\na\r\n$1\r\n1\r\n$3\r\n2.5\r\n$16\r\n1000000000000000\r\n".into())
    );
    assert_eq!(run(&mut vm, "return #redis.pcall('a', 'b')"), (End::Done, ":2\r\n".into()));
    assert_eq!(failure(&mut vm, "redis.call()"), "ERR Please specify at least one argument for this redis lib call");
}

#[test]
fn nothing_is_left_behind_for_the_next_script() {
    let mut vm = Vm::new(clock_ns);
    let readonly = "Attempt to modify a readonly table";
    for text in [
        "x = 1",
        "redis.call = 1",
        "string.rep = 1",
        "getmetatable('').__index = 1",
        "getmetatable(_G).__index = nil",
        "_G.x = 1",
        "getmetatable('').__index.upper = 1",
        "cjson.new = 1",
    ] {
        assert_eq!(failure(&mut vm, text), format!("ERR user_script:1: {readonly}"), "{text}");
    }
    for text in [
        "rawset(_G, 'x', 1)",
        "rawset(redis, 1, 1)",
        "table.insert(string, 1)",
        "table.sort(table)",
        "setmetatable(_G, nil)",
        "setmetatable(math, {})",
    ] {
        assert_eq!(failure(&mut vm, text), format!("ERR {readonly}"), "{text}");
    }
    for text in [
        "for _, f in pairs(_G) do pcall(f, _G, 'x', 1) end return type(rawget(_G, 'x'))",
        "return type(rawget(_G, 'debug'))",
    ] {
        assert_eq!(run(&mut vm, text), (End::Done, "$3\r\nnil\r\n".into()), "{text}");
    }
    // What a script changes of what it is given is its own.
    assert_eq!(run(&mut vm, "KEYS[1] = 'x' return #KEYS").1, ":1\r\n");
    assert_eq!(run(&mut vm, "return #KEYS").1, ":0\r\n");
}

#[test]
fn what_reaches_out_of_lua_is_not_there() {
    let mut vm = Vm::new(clock_ns);
    for name in
        ["io", "package", "require", "dofile", "loadfile", "print", "debug", "getfenv", "setfenv", "newproxy", "module"]
    {
        let expect = format!("ERR user_script:1: Script attempted to access nonexistent global variable '{name}'");
        assert_eq!(failure(&mut vm, &format!("return {name}")), expect);
    }
    for text in [
        "return type(string.dump)",
        "return type(os.execute)",
        "return type(os.getenv)",
        "return type((loadstring('\\27Lua')))",
    ] {
        assert_eq!(run(&mut vm, text), (End::Done, "$3\r\nnil\r\n".into()), "{text}");
    }
    assert!(vm.compile(&Script::new(b"\x1bLua").unwrap()).is_err());
}

#[test]
fn a_script_that_goes_on_is_ended_whatever_it_catches() {
    let mut vm = Vm::new(clock_ns);
    for text in [
        "while true do end",
        "while true do pcall(function() while true do end end) end",
        "while true do xpcall(function() while true do end end, function() while true do end end) end",
        "while true do local co = coroutine.wrap(function() while true do end end) pcall(co) end",
        "while true do coroutine.resume(coroutine.create(function() while true do end end)) end",
        "local function f() return f() end f()",
        "while true do redis.call('a') end",
        "while true do redis.pcall('a') end",
    ] {
        assert_eq!(run(&mut vm, text).0, End::OutOfTime, "{text}");
        assert_eq!(run(&mut vm, "return 1"), (End::Done, ":1\r\n".into()), "behind {text}");
    }
}

#[test]
fn a_script_that_wants_too_much_memory_is_ended() {
    let mut vm = Vm::new(|| 0);
    for text in [
        "local t = {} while true do t[#t + 1] = ('x'):rep(1000) .. #t end",
        "return ('x'):rep(1e9)",
        "local s = 'x' while true do s = s .. s end",
    ] {
        assert_eq!(run(&mut vm, text).0, End::OutOfMemory, "{text}");
        assert_eq!(run(&mut vm, "return 1"), (End::Done, ":1\r\n".into()), "behind {text}");
        assert!(vm.memory_bytes() < 1 << 20, "{}", vm.memory_bytes());
    }
}

#[test]
fn a_script_that_has_to_stop_runs_again_as_it_was() {
    let mut vm = Vm::new(clock_ns);
    let first = run(&mut vm, "return tostring(math.random())").1;
    let before = run(&mut Vm::new(clock_ns), "return tostring(math.random())").1;
    assert_eq!(first, before);
    for text in
        ["math.random() redis.call('stop') return 1", "math.random() while true do pcall(redis.call, 'stop') end"]
    {
        assert_eq!(run(&mut vm, text), (End::Stopped, String::new()), "{text}");
    }
    let mut other = Vm::new(clock_ns);
    run(&mut other, "math.random()");
    let next = "return tostring(math.random())";
    assert_eq!(run(&mut vm, next), run(&mut other, next));
}

#[test]
fn what_is_nested_too_deeply_is_an_error_not_the_end() {
    let mut vm = Vm::new(|| 0);
    let deep = "local t = {} for _ = 1, 5000 do t = {t} end ";
    assert!(run(&mut vm, &format!("{deep} return t")).1.ends_with("-ERR reached lua stack limit\r\n"));
    assert!(failure(&mut vm, &format!("{deep} return cjson.encode(t)")).contains("excessive nesting"));
    assert!(failure(&mut vm, "return cjson.decode(('['):rep(5000))").contains("too many nested"));
    assert!(failure(&mut vm, "return cmsgpack.unpack(('\\145'):rep(5000))").contains("Bad data format"));
    assert!(failure(&mut vm, "local function f() return 1 + f() end f()").contains("stack overflow"));
    assert!(
        failure(
            &mut vm,
            "local t = setmetatable({}, {}) getmetatable(t).__index = function(t, k) return t[k] end return t.x"
        )
        .contains("overflow")
    );
}

#[test]
fn lines_for_the_log_are_kept() {
    let mut vm = Vm::new(clock_ns);
    run(&mut vm, "redis.log(redis.LOG_NOTICE, 'a', 1, 'b') for i = 1, 1000 do redis.log(0, i) end");
    let lines = vm.take_log();
    assert_eq!(lines[0], LogLine { level: 2, text: "a 1 b".into() });
    assert_eq!(lines.len(), SCRIPT_LOG_LINES_MAX);
    assert!(vm.take_log().is_empty());
}

#[test]
fn a_library_registers_its_functions_in_the_time_that_it_has() {
    use super::super::library::Heading;
    let load = |vm: &mut Vm, text: &str| vm.load(text.as_bytes(), &Heading::parse(text.as_bytes()).unwrap(), LIMITS);
    let mut vm = Vm::for_functions(clock_ns);
    let timeout = "Error registering functions: ERR FUNCTION LOAD timeout";
    assert_eq!(load(&mut vm, "#!lua name=a\nwhile true do end"), Err(timeout.into()));
    let big = "local x = 'x' while true do x = x .. x end";
    let memory = "Error registering functions: ERR not enough memory";
    assert_eq!(load(&mut vm, &format!("#!lua name=a\n{big}")), Err(memory.into()));
    let text =
        "#!lua name=a\nlocal n = 1 redis.register_function('f', function(keys, args) return {#keys, args[1], n} end)";
    let library = load(&mut vm, text).unwrap();
    assert_eq!((library.name.as_str(), library.functions[0].name.as_str()), ("a", "f"));
    let mut out = Replies::default();
    let args = Args::new(b"kx", &[(0, 1), (1, 2)]);
    let (keys, args) = args.split(1);
    let end = vm.run(Callee::Function("f"), &keys, &args, LIMITS, &mut echo, &mut Reply::new(&mut out, false));
    assert_eq!((end, out.bytes()), (End::Done, &b"*3\r\n:1\r\n$1\r\nx\r\n:1\r\n"[..]));
}
