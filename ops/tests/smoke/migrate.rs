//! Keys move from one server to another (MIGRATE).

use crate::server::{Recipe, Server, free_port, scratch};
use redis::{Connection, RedisResult, Value, cmd};
use std::net::TcpListener;
use std::time::Instant;

fn start(dir: &std::path::Path, args: &[&str]) -> Server {
    std::fs::create_dir_all(dir).unwrap();
    Recipe::new(dir).with(args).start()
}

fn ask(connection: &mut Connection, words: &[&str]) -> RedisResult<Value> {
    let mut command = cmd(words[0]);
    words[1..].iter().for_each(|word| _ = command.arg(*word));
    command.query(connection)
}

/// What a command is refused with.
fn refused(connection: &mut Connection, words: &[&str]) -> String {
    let error = ask(connection, words).unwrap_err();
    format!("{} {}", error.code().unwrap_or("ERR"), error.detail().unwrap_or_default())
}

fn number(connection: &mut Connection, words: &[&str]) -> i64 {
    match ask(connection, words).unwrap() {
        Value::Int(number) => number,
        other => panic!("{words:?}: {other:?}"),
    }
}

#[test]
fn keys_of_all_types_go_to_another_server_and_leave_this_one() {
    let scratch = scratch();
    let source = start(&scratch.path().join("source"), &["--shards", "2"]);
    let target = start(&scratch.path().join("target"), &["--shards", "1", "--requirepass", "sesame"]);
    let (mut from, mut to) = (source.client(), target.client());
    ask(&mut to, &["AUTH", "sesame"]).unwrap();
    let port = target.port.to_string();
    ask(&mut from, &["SET", "string", "value", "PX", "100000"]).unwrap();
    for at in 0..500 {
        let member = format!("member-{at}");
        ask(&mut from, &["RPUSH", "list", &member]).unwrap();
        ask(&mut from, &["ZADD", "zset", &at.to_string(), &member]).unwrap();
    }
    ask(&mut from, &["HSETEX", "hash", "EX", "1000", "FIELDS", "1", "field", "1"]).unwrap();
    let keys = ["string", "list", "zset", "hash", "none"];
    let all: Vec<&str> =
        ["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "AUTH", "sesame", "KEYS"].into_iter().chain(keys).collect();
    let without: Vec<&str> = all.iter().filter(|word| !["AUTH", "sesame"].contains(word)).copied().collect();
    let why = refused(&mut from, &without);
    assert!(why.contains("Target instance replied with error: NOAUTH"), "{why}");
    assert_eq!(number(&mut from, &["EXISTS", "string", "list", "zset", "hash"]), 4);
    ask(&mut to, &["SET", "list", "in the way"]).unwrap();
    let why = refused(&mut from, &all);
    assert!(why.contains("Target instance replied with error: BUSYKEY"), "{why}");
    assert_eq!(number(&mut from, &["EXISTS", "string", "zset", "hash"]), 0);
    assert_eq!(number(&mut from, &["LLEN", "list"]), 500);
    let copy = ["MIGRATE", "127.0.0.1", &port, "list", "0", "5000", "COPY", "REPLACE", "AUTH2", "default", "sesame"];
    ask(&mut from, &copy).unwrap();
    assert_eq!(number(&mut from, &["LLEN", "list"]), 500);
    assert_eq!(number(&mut to, &["LLEN", "list"]), 500);
    assert_eq!(number(&mut to, &["ZCARD", "zset"]), 500);
    assert!((1..=100).contains(&number(&mut to, &["TTL", "string"])));
    let Value::Array(left) = ask(&mut to, &["HTTL", "hash", "FIELDS", "1", "field"]).unwrap() else { panic!() };
    assert!(matches!(left[..], [Value::Int(1..=1000)]), "{left:?}");
}

#[test]
fn a_server_that_does_not_answer_keeps_nobody_waiting_but_who_asks_and_takes_nothing() {
    let scratch = scratch();
    let source = start(scratch.path(), &["--shards", "1"]);
    let (mut from, mut other) = (source.client(), source.client());
    ask(&mut from, &["SET", "key", "value"]).unwrap();
    let closed = free_port().to_string();
    let why = refused(&mut from, &["MIGRATE", "127.0.0.1", &closed, "key", "0", "500"]);
    assert!(why.contains("error or timeout connecting to the client"), "{why}");
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port().to_string();
    let begin = Instant::now();
    let asking = std::thread::spawn(move || refused(&mut from, &["MIGRATE", "127.0.0.1", &port, "key", "0", "1500"]));
    let mut done = 0;
    while !asking.is_finished() {
        ask(&mut other, &["SET", "other", "value"]).unwrap();
        done += 1;
    }
    let why = asking.join().unwrap();
    assert!(why.contains("error or timeout reading to target instance"), "{why}");
    assert!(begin.elapsed().as_millis() >= 1400 && done > 10, "{done} commands meanwhile");
    assert_eq!(number(&mut other, &["EXISTS", "key"]), 1);
    ask(&mut other, &["SET", "key", "again"]).unwrap();
}
