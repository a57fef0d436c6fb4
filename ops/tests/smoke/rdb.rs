//! Data goes from redis-server to Cairn and back: payloads, files, and a server that is followed.

use crate::server::{BINARY, Recipe, Server, free_port, has_program, run, scratch, until};
use redis::{Connection, Value, cmd};
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// A redis-server. Killed when it is dropped.
pub struct Redis {
    child: Child,
    pub port: u16,
}

impl Redis {
    pub fn start(dir: &Path, args: &[&str]) -> Redis {
        let port = free_port();
        let mut command = Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--dir", dir.to_str().unwrap(), "--save", ""]);
        command.args(["--enable-debug-command", "yes", "--repl-diskless-sync-delay", "0"]).args(args);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        let redis = Redis { child, port };
        until("redis-server answers", || redis.try_client().is_ok());
        redis
    }

    fn try_client(&self) -> redis::RedisResult<Connection> {
        let client = redis::Client::open(format!("redis://127.0.0.1:{}/", self.port))?;
        let mut connection = client.get_connection()?;
        // While it loads it answers with errors.
        cmd("DBSIZE").query::<Value>(&mut connection)?;
        Ok(connection)
    }

    pub fn client(&self) -> Connection {
        self.try_client().unwrap()
    }

    fn digest(&self) -> String {
        cmd("DEBUG").arg("DIGEST").query(&mut self.client()).unwrap()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One that writes what redis-server 7.0 reads.
fn cairn(dir: &Path, shards: &str) -> Server {
    Recipe::new(dir).with(&["--shards", shards, "--dump-payload-version", "10"]).start()
}

fn ask(connection: &mut Connection, line: &str) -> Value {
    let mut words = line.split(' ');
    let mut command = cmd(words.next().unwrap());
    words.for_each(|word| _ = command.arg(word));
    command.query(connection).unwrap_or_else(|error| panic!("{line}: {error}"))
}

/// What somebody draws who always draws the same.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn bytes(&mut self) -> Vec<u8> {
        match self.below(6) {
            0 => (self.below(1 << 40) as i64 - (1 << 39)).to_string().into_bytes(),
            1 => self.below(300).to_string().into_bytes(),
            2 => vec![b'a'; self.below(3000) as usize],
            3 => (0..self.below(40)).map(|_| self.below(256) as u8).collect(),
            4 => (0..self.below(200)).map(|_| self.below(256) as u8).collect(),
            _ => format!("text-{}", self.below(1000)).into_bytes(),
        }
    }

    fn score(&mut self) -> String {
        match self.below(5) {
            0 => "inf".to_string(),
            1 => "-inf".to_string(),
            // Redis 7.0 writes others with more digits.
            2 => (self.below(1000) as f64 / 8.0).to_string(),
            _ => self.below(1 << 50).to_string(),
        }
    }
}

/// Fills a key with something of any type.
fn fill(connection: &mut Connection, dice: &mut Dice, key: &str) {
    let size = match dice.below(4) {
        0 => 600,
        1 => 130,
        _ => 1 + dice.below(20),
    };
    let kind = dice.below(7);
    let mut command = cmd(["SET", "RPUSH", "SADD", "HSET", "ZADD", "XADD", "SADD"][kind as usize]);
    command.arg(key);
    match kind {
        0 => _ = command.arg(dice.bytes()),
        3 => (0..size).for_each(|_| _ = command.arg(dice.bytes()).arg(dice.bytes())),
        // Members that begin differently: of very long ones Cairn does not compare the ends.
        4 => (0..size).for_each(|at| {
            let member = [format!("{at:05}").into_bytes(), dice.bytes()].concat();
            _ = command.arg(dice.score()).arg(member);
        }),
        5 => return fill_stream(connection, dice, key, size),
        6 => (0..size).for_each(|_| _ = command.arg(dice.below(1 << 40) as i64 - (1 << 20))),
        _ => (0..size).for_each(|_| _ = command.arg(dice.bytes())),
    }
    command.query::<Value>(connection).unwrap();
}

fn fill_stream(connection: &mut Connection, dice: &mut Dice, key: &str, size: u64) {
    let mut id = dice.below(5);
    for _ in 0..size {
        id += 1 + dice.below(1000);
        let mut command = cmd("XADD");
        command.arg(key).arg(format!("{id}-{}", dice.below(3) + 1)).arg("field").arg(dice.bytes());
        if dice.below(3) == 0 {
            command.arg(dice.bytes()).arg("x");
        }
        command.query::<Value>(connection).unwrap();
        if dice.below(10) == 0 {
            ask(connection, &format!("XDEL {key} {id}-1 {id}-2"));
        }
    }
    for group in 0..dice.below(3) {
        ask(connection, &format!("XGROUP CREATE {key} group{group} {}", dice.below(id)));
        for consumer in 0..dice.below(3) {
            let count = 1 + dice.below(20);
            ask(connection, &format!("XREADGROUP GROUP group{group} c{consumer} COUNT {count} STREAMS {key} >"));
        }
    }
}

/// All that commands tell of a value.
fn told(connection: &mut Connection, key: &str) -> Vec<Value> {
    let kind: String = cmd("TYPE").arg(key).query(connection).unwrap();
    let sorted = |value: Value, per: usize| {
        let Value::Array(items) = value else { panic!("{value:?}") };
        let mut groups: Vec<String> = items.chunks(per).map(|group| format!("{group:?}")).collect();
        groups.sort();
        Value::SimpleString(groups.join(" "))
    };
    match &kind[..] {
        "string" => vec![ask(connection, &format!("GET {key}"))],
        "list" => vec![ask(connection, &format!("LRANGE {key} 0 -1"))],
        "set" => vec![sorted(ask(connection, &format!("SMEMBERS {key}")), 1)],
        "hash" => vec![sorted(ask(connection, &format!("HGETALL {key}")), 2)],
        "zset" => vec![ask(connection, &format!("ZRANGE {key} 0 -1 WITHSCORES"))],
        "stream" => {
            let mut all = vec![ask(connection, &format!("XRANGE {key} - +"))];
            all.push(ask(connection, &format!("XINFO GROUPS {key}")));
            for group in 0..3 {
                let pending = cmd("XPENDING").arg(key).arg(format!("group{group}")).query::<Value>(connection);
                all.extend(pending.ok());
            }
            all
        }
        other => panic!("{other}"),
    }
}

#[test]
fn payloads_are_understood_both_ways() {
    if !has_program("redis-server") {
        return;
    }
    let dir = scratch();
    let (redis, server) = (Redis::start(dir.path(), &[]), cairn(dir.path(), "2"));
    let (mut theirs, mut ours) = (redis.client(), server.client());
    let mut dice = Dice(17);
    for round in 0..300 {
        let key = format!("key-{round}");
        fill(&mut theirs, &mut dice, &key);
        let payload: Vec<u8> = cmd("DUMP").arg(&key).query(&mut theirs).unwrap();
        let restored = cmd("RESTORE").arg(&key).arg(0).arg(&payload).query::<Value>(&mut ours);
        assert!(restored.is_ok(), "{key}: {restored:?}");
        let expect = told(&mut theirs, &key);
        assert_eq!(told(&mut ours, &key), expect, "{key}");
        let payload: Vec<u8> = cmd("DUMP").arg(&key).query(&mut ours).unwrap();
        let restored = cmd("RESTORE").arg("back").arg(0).arg(&payload).arg("REPLACE").query::<Value>(&mut theirs);
        assert!(restored.is_ok(), "{key}: {restored:?}");
        assert_eq!(told(&mut theirs, "back"), expect, "{key}");
    }
}

/// Some of everything, in several databases.
fn fill_all(redis: &Redis) {
    let mut connection = redis.client();
    let mut dice = Dice(7);
    for db in [0, 3] {
        ask(&mut connection, &format!("SELECT {db}"));
        for round in 0..200 {
            fill(&mut connection, &mut dice, &format!("key-{round}"));
            if dice.below(4) == 0 {
                ask(&mut connection, &format!("PEXPIREAT key-{round} {}", 4_000_000_000_000 + dice.below(1000)));
            }
        }
    }
    // Too large to go at once.
    for (name, words) in [("RPUSH", 1), ("SADD", 1), ("HSET", 2), ("ZADD", 2)] {
        for chunk in 0..15 {
            let mut command = cmd(name);
            command.arg(format!("large-{name}"));
            for number in chunk * 10_000..(chunk + 1) * 10_000 {
                (0..words).for_each(|_| _ = command.arg(number));
            }
            command.query::<Value>(&mut connection).unwrap();
        }
    }
    ask(&mut connection, "PEXPIREAT large-HSET 4000000000000");
    ask(&mut connection, "SET gone x PX 1");
    let text = "#!lua name=l\nredis.register_function('f', function() return 17 end)";
    cmd("FUNCTION").arg("LOAD").arg(text).query::<Value>(&mut connection).unwrap();
}

#[test]
fn files_are_imported_and_exported() {
    if !has_program("redis-server") {
        return;
    }
    let dir = scratch();
    let redis = Redis::start(dir.path(), &[]);
    fill_all(&redis);
    ask(&mut redis.client(), "SAVE");
    let server = cairn(dir.path(), "2");
    let (file, to) = (dir.path().join("dump.rdb"), format!("redis://127.0.0.1:{}", server.port));
    let file = file.to_str().unwrap();
    let (status, text) = run(&["import", file, "--to", &to]);
    assert!(status.success() && text.contains("404 keys were sent") && text.contains("checksum agrees"), "{text}");
    let mut ours = server.client();
    assert_eq!(ask(&mut ours, "FCALL f 0"), Value::Int(17));

    let (status, text) = run(&["import", file, "--to", &to]);
    assert!(!status.success() && text.contains("has 404 keys: --replace overwrites"), "{text}");
    ask(&mut ours, "SET other x");
    let (status, text) = run(&["import", file, "--to", &to, "--replace"]);
    assert!(status.success(), "{text}");
    assert_eq!(ask(&mut ours, "DBSIZE"), Value::Int(201));
    let (status, text) = run(&["import", file, "--to", &to, "--flush"]);
    assert!(status.success() && text.contains("404 keys were sent"), "{text}");
    assert_eq!(ask(&mut ours, "DBSIZE"), Value::Int(200));

    // The same back: Redis finds in it what it had.
    let back = dir.path().join("back.rdb");
    let (status, text) = run(&["export", back.to_str().unwrap(), "--from", &to]);
    assert!(status.success() && text.contains("404 keys were written"), "{text}");
    let other = Redis::start(dir.path(), &["--dbfilename", "back.rdb"]);
    assert_eq!(other.digest(), redis.digest());
    assert_eq!(ask(&mut other.client(), "FCALL f 0"), Value::Int(17));
    let (status, text) = run(&["export", back.to_str().unwrap(), "--from", &to]);
    assert!(!status.success() && text.contains("is there already"), "{text}");
}

#[test]
fn files_that_are_broken_are_refused_by_name() {
    if !has_program("redis-server") {
        return;
    }
    let dir = scratch();
    let redis = Redis::start(dir.path(), &[]);
    ask(&mut redis.client(), "SET key value");
    ask(&mut redis.client(), "SAVE");
    let server = cairn(dir.path(), "1");
    let to = format!("redis://127.0.0.1:{}", server.port);
    let bytes = fs::read(dir.path().join("dump.rdb")).unwrap();
    let file = dir.path().join("broken.rdb");
    let check = |bytes: &[u8], expect: &str| {
        fs::write(&file, bytes).unwrap();
        let (status, text) = run(&["import", file.to_str().unwrap(), "--to", &to, "--flush"]);
        assert!(!status.success() && text.contains(expect) && text.contains("broken.rdb"), "{text}");
    };
    check(&bytes[..bytes.len() - 1], "it ends at byte");
    check(&bytes[..20], "more ought to follow");
    let mut other = bytes.clone();
    let at = other.windows(5).position(|word| word == b"value").unwrap();
    other[at] = b'V';
    check(&other, "the checksum at byte");
    check(b"REDIS0099", "version 99 of the format is not known");
    check(b"something else", "does not begin with REDIS");
}

#[test]
fn a_server_is_followed_until_its_clients_can_be_moved() {
    if !has_program("redis-server") {
        return;
    }
    for is_diskless in ["yes", "no"] {
        let dir = scratch();
        let redis = Redis::start(dir.path(), &["--repl-diskless-sync", is_diskless]);
        fill_all(&redis);
        let server = cairn(dir.path(), "2");
        let to = format!("redis://127.0.0.1:{}", server.port);
        let mut import = Command::new(BINARY);
        import.args(["import", &format!("redis://127.0.0.1:{}", redis.port), "--to", &to]);
        let is_done = AtomicBool::new(false);
        let output = thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let (mut connection, mut number) = (redis.client(), 0u64);
                while !is_done.load(Ordering::Relaxed) {
                    number += 1;
                    let key = number % 50;
                    ask(&mut connection, &format!("INCR counter-{key}"));
                    ask(&mut connection, &format!("RPUSH list-{key} {number}"));
                    ask(&mut connection, &format!("SET short-{key} x PX 5"));
                    ask(&mut connection, &format!("XADD stream-{key} * f {number}"));
                    ask(&mut connection, &format!("EVAL redis.call('ZADD',KEYS[1],1,{number})return(1) 1 zset-{key}"));
                    ask(&mut connection, "MULTI");
                    ask(&mut connection, &format!("SET a-{key} {number}"));
                    ask(&mut connection, "SPOP large-SADD");
                    ask(&mut connection, "EXEC");
                }
            });
            let mut child = import.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            let mut ours = server.client();
            until("changes arrive", || ask(&mut ours, "EXISTS a-1") == Value::Int(1));
            is_done.store(true, Ordering::Relaxed);
            writer.join().unwrap();
            // Nobody writes any more: the operator says so.
            std::io::Write::write_all(child.stdin.as_mut().unwrap(), b"\n").unwrap();
            child.wait_with_output().unwrap()
        });
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(output.status.success() && text.contains("clients can be moved now"), "{text}");
        let back = dir.path().join("back.rdb");
        let (status, said) = run(&["export", back.to_str().unwrap(), "--from", &to]);
        assert!(status.success(), "{said}");
        let other = Redis::start(dir.path(), &["--dbfilename", "back.rdb"]);
        assert_eq!(other.digest(), redis.digest(), "{text}");
    }
}
