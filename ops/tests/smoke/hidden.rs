//! What no client sees as keys survives as keys do: libraries of functions, and what IDEMPOTENT has answered. The server is killed between
//! a commit and its reply.

use crate::server::{Recipe, run, scratch, until};
use redis::cmd;
use std::io::Write;
use std::net::TcpStream;

const LIBRARY: &str = "#!lua name=lib\nredis.register_function('pay', function(keys, args)
  redis.call('DECRBY', keys[1], args[1])
  return redis.call('INCRBY', keys[2], args[1])
end)";

#[test]
fn libraries_and_answers_survive_a_kill_and_are_sound() {
    let scratch = scratch();
    let recipe = Recipe::new(scratch.path()).with(&["--shards", "2"]);
    let mut server = recipe.start();
    let mut client = server.client();
    cmd("FUNCTION").arg("LOAD").arg(LIBRARY).exec(&mut client).unwrap();
    let pay = |client: &mut redis::Connection, token: &str| {
        let mut pay = cmd("IDEMPOTENT");
        pay.arg(token).arg(600_000).arg("FCALL").arg("pay").arg(2).arg("a").arg("b").arg(7);
        pay.query::<i64>(client).unwrap()
    };
    assert_eq!(pay(&mut client, "first"), 7);
    cmd("SAVE").exec(&mut client).unwrap();
    // Nobody reads the reply of this one: the server is killed as soon as its effect can be seen.
    let mut silent = TcpStream::connect(("127.0.0.1", recipe.port)).unwrap();
    silent.write_all(b"IDEMPOTENT second 600000 FCALL pay 2 a b 7\r\n").unwrap();
    until("the command was done", || cmd("GET").arg("b").query::<i64>(&mut client).unwrap() == 14);
    server.kill();
    let (status, text) = run(&["check", recipe.dir.join("data").to_str().unwrap()]);
    assert!(status.success() && text.contains("hidden rows"), "{text}");
    let server = recipe.start();
    let mut client = server.client();
    assert_eq!((pay(&mut client, "second"), pay(&mut client, "first")), (14, 7));
    let balances: (i64, i64) = cmd("MGET").arg("a").arg("b").query(&mut client).unwrap();
    assert_eq!(balances, (-14, 14));
    assert_eq!(pay(&mut client, "third"), 21);
}
