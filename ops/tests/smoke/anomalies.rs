//! What cannot happen between BEGIN and COMMIT, over two shards. Each course is also taken without them, where it does happen: so
//! the course is one that shows it.

use crate::server::{Recipe, Server, scratch};
use redis::{RedisResult, Value};

/// On different shards of two.
const KEYS: [&str; 2] = ["foo", "bar"];

/// How a transaction begins; `None` if there is none.
type Level = Option<&'static str>;

const LEVELS: [&str; 3] = ["BEGIN", "BEGIN ISOLATION SERIALIZABLE", "BEGIN ISOLATION SNAPSHOT TIMEOUT 60000"];

struct Client {
    connection: redis::Connection,
    level: Level,
}

impl Client {
    fn new(server: &Server, level: Level) -> Client {
        let mut client = Client { connection: server.client(), level };
        if let Some(begin) = level {
            assert_eq!(client.ask(begin), "OK");
        }
        client
    }

    fn send(&mut self, line: &str) {
        let mut command = redis::Cmd::new();
        for word in line.split(' ') {
            command.arg(word);
        }
        self.connection.send_packed_command(&command.get_packed_command()).unwrap();
    }

    fn hear(&mut self) -> String {
        let heard: RedisResult<Value> = self.connection.recv_response().and_then(Value::extract_error);
        match heard {
            Ok(value) => redis::from_redis_value::<Option<String>>(value).unwrap().unwrap_or_default(),
            Err(error) => format!("-{}", error.code().unwrap_or_default()),
        }
    }

    fn ask(&mut self, line: &str) -> String {
        self.send(line);
        self.hear()
    }

    fn number(&mut self, key: &str) -> i64 {
        self.ask(&format!("GET {key}")).parse().unwrap_or(0)
    }

    /// Whether it has happened.
    fn commit(&mut self) -> bool {
        self.level.is_none() || self.ask("COMMIT") == "OK"
    }
}

/// Both workers have taken what was sent to them before, unless it waits.
fn settle(server: &Server) {
    for _ in 0..8 {
        let mut client = server.client();
        for _ in 0..50 {
            redis::cmd("MGET").arg(&KEYS).exec(&mut client).unwrap();
        }
    }
}

/// Runs a course with each level, and with none. It answers whether there was an anomaly.
fn check(what: &str, course: impl Fn(&Server, Level) -> bool) {
    let dir = scratch();
    let server = Recipe::new(dir.path()).with(&["--shards", "2"]).start();
    for level in [None].into_iter().chain(LEVELS.map(Some)) {
        let mut client = server.client();
        redis::cmd("FLUSHALL").exec(&mut client).unwrap();
        redis::cmd("MSET").arg(&[(KEYS[0], 50), (KEYS[1], 50)]).exec(&mut client).unwrap();
        assert_eq!(course(&server, level), level.is_none(), "{what} with {level:?}");
    }
    assert!(redis::cmd("PING").query::<String>(&mut server.client()).is_ok());
}

#[test]
fn dirty_read() {
    check("a read of what is not committed", |server, level| {
        let (mut writer, mut reader) = (Client::new(server, level), Client::new(server, level));
        assert_eq!(writer.ask("SET foo 1"), "OK");
        reader.send("GET foo");
        settle(server);
        // Who has begun a transaction too waits for this end.
        let end = if level.is_some() { ["ROLLBACK", "OK"] } else { ["PING", "PONG"] };
        assert_eq!(writer.ask(end[0]), end[1]);
        let seen = reader.hear();
        assert!(reader.commit());
        seen != "50"
    });
}

#[test]
fn dirty_read_by_one_who_has_begun_nothing() {
    check("a read of what is not committed", |server, level| {
        let (mut writer, mut reader) = (Client::new(server, level), Client::new(server, None));
        assert_eq!([writer.ask("SET foo 1"), writer.ask("SET bar 1")], ["OK", "OK"]);
        // It does not wait.
        let seen = [reader.number("foo"), reader.number("bar")];
        assert!(writer.commit());
        assert_eq!([reader.number("foo"), reader.number("bar")], [1, 1]);
        seen != [50, 50]
    });
}

#[test]
fn lost_update() {
    check("an update that is lost", |server, level| {
        let (mut one, mut other) = (Client::new(server, level), Client::new(server, level));
        let sums = [one.number("bar") + 1, other.number("bar") + 10];
        one.send(&format!("SET bar {}", sums[0]));
        settle(server);
        other.send(&format!("SET bar {}", sums[1]));
        let heard = [one.hear(), other.hear()];
        let done = [one.commit(), other.commit()];
        assert_eq!(heard.map(|line| line == "OK"), done, "what is refused is not committed");
        let expect = 50 + i64::from(done[0]) + 10 * i64::from(done[1]);
        Client::new(server, None).number("bar") != expect
    });
}

#[test]
fn non_repeatable_read() {
    check("a read that does not repeat", |server, level| {
        let (mut reader, mut writer) = (Client::new(server, level), Client::new(server, None));
        let first = reader.number("foo");
        writer.send("SET foo 1");
        settle(server);
        let second = reader.number("foo");
        assert!(reader.commit());
        assert_eq!(writer.hear(), "OK");
        first != second
    });
}

#[test]
fn phantom() {
    check("a row that appears", |server, level| {
        let (mut reader, mut writer) = (Client::new(server, level), Client::new(server, None));
        let count = |reader: &mut Client| ["foo", "bar", "ghost"].map(|key| reader.ask(&format!("GET {key}")));
        let first = count(&mut reader);
        writer.send("SET ghost 1");
        settle(server);
        let second = count(&mut reader);
        assert!(reader.commit());
        assert_eq!(writer.hear(), "OK");
        first != second
    });
}

#[test]
fn read_skew() {
    check("a sum that never was", |server, level| {
        let (mut reader, mut writer) = (Client::new(server, level), Client::new(server, None));
        // In the order in which EXEC locks its keys: in the other one each would wait for the other, and the reader be told so.
        let first = reader.number("bar");
        for line in ["MULTI", "DECRBY foo 10", "INCRBY bar 10", "EXEC"] {
            writer.send(line);
        }
        settle(server);
        let second = reader.number("foo");
        assert!(reader.commit());
        first + second != 100
    });
}

#[test]
fn write_skew() {
    check("two who each rely on the other", |server, level| {
        let (mut one, mut other) = (Client::new(server, level), Client::new(server, level));
        // Each may go to 0 while the other does not.
        assert!([&mut one, &mut other].into_iter().all(|client| client.number("foo") + client.number("bar") == 100));
        one.send("SET foo 0");
        settle(server);
        other.send("SET bar 0");
        let heard = [one.hear(), other.hear()];
        let done = [one.commit(), other.commit()];
        assert_eq!(heard.map(|line| line == "OK"), done, "what is refused is not committed");
        assert!(done[0] || done[1], "one of them goes on");
        let mut client = Client::new(server, None);
        client.number("foo") + client.number("bar") == 0
    });
}

/// A set on each shard, with nothing in common.
fn fill_sets(server: &Server) {
    let mut client = Client::new(server, None);
    assert_eq!([client.ask("SADD {foo}s a b"), client.ask("SADD {bar}s c d")], ["2", "2"]);
}

#[test]
fn phantom_in_what_is_combined() {
    check("a member that appears", |server, level| {
        fill_sets(server);
        let (mut reader, mut writer) = (Client::new(server, level), Client::new(server, None));
        let common = "SINTERCARD 2 {foo}s {bar}s";
        let first = reader.ask(common);
        writer.send("SADD {bar}s a");
        settle(server);
        let second = reader.ask(common);
        assert!(reader.commit());
        assert_eq!(writer.hear(), "1");
        first != second
    });
}

#[test]
fn write_skew_of_what_is_combined() {
    check("two who each rely on the union", |server, level| {
        fill_sets(server);
        let (mut one, mut other) = (Client::new(server, level), Client::new(server, level));
        // Each may empty its set as long as the other's is not.
        let union = "ZUNION 2 {foo}s {bar}s";
        for client in [&mut one, &mut other] {
            client.send(union);
            let members: RedisResult<Vec<String>> =
                client.connection.recv_response().and_then(|it| redis::from_redis_value(it).map_err(Into::into));
            assert_eq!(members.unwrap().len(), 4);
        }
        one.send("SDIFFSTORE {foo}s {foo}s {foo}s");
        settle(server);
        other.send("SDIFFSTORE {bar}s {bar}s {bar}s");
        let heard = [one.hear(), other.hear()];
        let done = [one.commit(), other.commit()];
        assert_eq!(heard.map(|line| line == "0"), done, "what is refused is not committed");
        let mut client = Client::new(server, None);
        client.ask("EXISTS {foo}s {bar}s") == "0"
    });
}

#[test]
fn what_nobody_committed_is_gone() {
    let dir = scratch();
    let recipe = Recipe::new(dir.path()).with(&["--shards", "2"]);
    let mut server = recipe.start();
    let mut client = Client::new(&server, None);
    assert_eq!(client.ask("MSET foo 1 bar 1"), "OK");
    // A connection that is lost.
    let mut lost = Client::new(&server, Some("BEGIN"));
    assert_eq!([lost.ask("SET foo 2"), lost.ask("SET bar 2")], ["OK", "OK"]);
    client.send("SET foo 3");
    drop(lost);
    assert_eq!(client.hear(), "OK");
    // A stop in good order, and a crash, in the middle of one and behind one.
    for is_kill in [false, true] {
        let mut open = Client::new(&server, Some("BEGIN"));
        let expect = if is_kill { ["5", "3", "OK"] } else { ["4", "2", "OK"] };
        assert_eq!([open.ask("INCR foo"), open.ask("INCR bar"), open.ask("COMMIT")], expect);
        let mut open = Client::new(&server, Some("BEGIN"));
        assert_eq!([open.ask("SET foo 0"), open.ask("SET bar 0")], ["OK", "OK"]);
        if is_kill {
            server.kill();
        } else {
            server.signal(rustix::process::Signal::TERM);
            assert!(server.wait().success());
        }
        server = recipe.start();
        let mut client = Client::new(&server, None);
        assert_eq!([client.number("foo"), client.number("bar")], if is_kill { [5, 3] } else { [4, 2] });
    }
}
