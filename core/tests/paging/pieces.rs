//! Commands that are done piece by piece, in memory that is too small for what they are about: pages have to come in any of their steps.

use super::world::{CLIENTS, World};
use cairn_core::event::{ConnId, Event};
use cairn_storage::engine::elements::elements_of;

/// A world with a collection at `{a}from`, made by `lines` of a word and the words that follow it 1000 times over.
fn world(fill: impl Fn(usize) -> Vec<String>) -> World {
    filled(World::new(7), fill)
}

fn filled(mut world: World, fill: impl Fn(usize) -> Vec<String>) -> World {
    world.connect();
    assert_eq!(world.ask(0, &["CONFIG", "SET", "slice-items", "64"]), "+OK\r\n");
    for number in 0..1000 {
        let words = fill(number);
        let reply = world.ask(0, &words.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(reply.starts_with(':'), "{reply}");
    }
    world
}

/// Members with scores, elements, or members of a set, four at a time.
fn four(command: &str, number: usize) -> Vec<String> {
    let of = |at: usize| {
        let score = (command == "ZADD").then(|| (number * 4 + at).to_string());
        score.into_iter().chain([format!("member:{number:03}:{at:02}")])
    };
    [command.to_owned(), "{a}from".to_owned()].into_iter().chain((0..4).flat_map(of)).collect()
}

impl World {
    fn others(&mut self, turns: usize) {
        for _ in 0..turns {
            (1..CLIENTS).for_each(|client| self.send(client));
            self.turn();
        }
    }

    /// A command of the first client, while others want the memory for other pages.
    fn ask_beside(&mut self, words: &[&str], expect: &[u8]) {
        self.others(4);
        self.settle();
        (1..CLIENTS).for_each(|client| self.send(client));
        let request = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len())).collect::<String>();
        let bytes = format!("*{}\r\n{request}", words.len());
        self.clients[0].expected.extend_from_slice(expect);
        self.nodes[0].machine.handle(self.now, Event::Received { conn: ConnId(0), bytes: bytes.as_bytes() });
        self.others(100);
        self.settle();
    }

    /// The keys go: no element is left that nobody can find.
    fn end(mut self, keys: &[&str]) {
        let words: Vec<&str> = ["DEL"].iter().chain(keys).copied().collect();
        assert_eq!(self.ask(0, &words), format!(":{}\r\n", keys.len()));
        while self.nodes.iter().any(|node| node.machine.shard.engine().collections_gone() > 0) {
            self.nodes.iter_mut().for_each(|node| node.machine.handle(self.now, Event::Tick));
            self.turn();
        }
        let engines = self.nodes.iter().map(|node| node.machine.shard.engine());
        assert_eq!(engines.map(|engine| engine.row_count(elements_of(0))).sum::<u64>(), 0);
    }
}

/// What it has begun is named in the end or removed, whatever page has to come for its last step.
#[test]
fn a_copy_in_pieces_in_small_memory_leaves_nothing_behind() {
    let mut world = world(|number| four("ZADD", number));
    for round in 0..12 {
        let to = format!("{{a}}to:{}", round % 2);
        world.ask_beside(&["COPY", "{a}from", &to, "REPLACE"], b":1\r\n");
        assert_eq!(world.ask(0, &["ZCARD", &to]), ":4000\r\n");
    }
    world.end(&["{a}from", "{a}to:0", "{a}to:1"]);
}

/// The same of what stores what it has found.
#[test]
fn a_store_in_pieces_in_small_memory_leaves_nothing_behind() {
    for (push, len, store) in [
        ("ZADD", "ZCARD", &["ZRANGESTORE", "{a}to", "{a}from", "500", "2999"][..]),
        ("ZADD", "LLEN", &["SORT", "{a}from", "BY", "none", "DESC", "LIMIT", "7", "2500", "STORE", "{a}to"]),
        ("RPUSH", "LLEN", &["SORT", "{a}from", "ALPHA", "LIMIT", "7", "2500", "STORE", "{a}to"]),
        (
            "ZADD",
            "ZCARD",
            &[
                "GEOSEARCHSTORE",
                "{a}to",
                "{a}from",
                "FROMLONLAT",
                "-179.9",
                "-85",
                "BYRADIUS",
                "200",
                "km",
                "COUNT",
                "2500",
            ],
        ),
    ] {
        let mut world = world(|number| four(push, number));
        for _ in 0..4 {
            world.ask_beside(store, b":2500\r\n");
            assert_eq!(world.ask(0, &[len, "{a}to"]), ":2500\r\n", "{store:?}");
        }
        world.end(&["{a}from", "{a}to"]);
    }
}

/// The same of what removes many elements, more than half of them or less.
#[test]
fn a_removal_in_pieces_in_small_memory_leaves_nothing_behind() {
    let list: Vec<String> = (0..4000).map(|at| format!("member:{:03}:{:02}", at / 4, at % 4)).collect();
    let popped = |words: &[String]| {
        let texts: String = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len())).collect();
        format!("*{}\r\n{texts}", words.len())
    };
    let cases = [
        ("RPUSH", "LLEN", vec!["LTRIM", "300", "2299"], "+OK\r\n".to_owned(), 2000),
        ("RPUSH", "LLEN", vec!["LPOP", "1500"], popped(&list[..1500]), 2500),
        ("RPUSH", "LLEN", vec!["LREM", "0", "member:500:00"], ":1\r\n".to_owned(), 3999),
        ("ZADD", "ZCARD", vec!["ZREMRANGEBYRANK", "1000", "-1001"], ":2000\r\n".to_owned(), 2000),
        ("ZADD", "ZCARD", vec!["ZREMRANGEBYSCORE", "0", "2999"], ":3000\r\n".to_owned(), 1000),
    ];
    for (push, len, removal, reply, left) in cases {
        let mut world = world(|number| four(push, number));
        for _ in 0..4 {
            world.ask_beside(&["COPY", "{a}from", "{a}to", "REPLACE"], b":1\r\n");
            let words: Vec<&str> = [removal[0], "{a}to"].iter().chain(&removal[1..]).copied().collect();
            world.ask_beside(&words, reply.as_bytes());
            assert_eq!(world.ask(0, &[len, "{a}to"]), format!(":{left}\r\n"), "{removal:?}");
        }
        world.end(&["{a}from", "{a}to"]);
    }
}

/// Those that were found are known when a page is missing for the change of them.
#[test]
fn elements_that_are_found_in_small_memory_go() {
    let like = |number: usize| {
        let value =
            if number.is_multiple_of(200) { "gone".to_owned() } else { format!("{number}:{}", "x".repeat(1500)) };
        vec!["RPUSH".to_owned(), "{a}from".to_owned(), value]
    };
    let mut world = world(like);
    world.ask_beside(&["LREM", "{a}from", "0", "gone"], b":5\r\n");
    assert_eq!(world.ask(0, &["LLEN", "{a}from"]), ":995\r\n");
    world.end(&["{a}from"]);
}

/// Each element of a SORT looks for a page of its own, while others change what it looks at. On several shards that is a transaction.
#[test]
fn what_a_sort_looks_up_in_small_memory_is_found() {
    for (shards, items) in [(1, "64"), (2, "16")] {
        let mut world = filled(World::of(7, shards), |number| four("RPUSH", number));
        assert_eq!(world.ask(0, &["CONFIG", "SET", "slice-items", items]), "+OK\r\n");
        let weight = |number: usize| format!("{:03}{}", 999 - number, "x".repeat(300));
        for number in 0..1000 {
            let key = format!("{{a}}weight:member:{number:03}:00");
            assert_eq!(world.ask(0, &["SET", &key, &weight(number)]), "+OK\r\n");
        }
        // Those without a weight come first.
        let others = (3867..4000).filter(|at| at % 4 > 0).map(|at| format!("member:{:03}:{:02}", at / 4, at % 4));
        let weighed = (0..100).map(|at| format!("member:{:03}:00", 999 - at));
        let found: Vec<String> = others.chain(weighed).collect();
        let texts: String = found.iter().map(|member| format!("${}\r\n{member}\r\n", member.len())).collect();
        let answer = format!("*200\r\n{texts}");
        let sort = ["SORT", "{a}from", "BY", "{a}weight:*", "ALPHA", "LIMIT", "2900", "200", "GET", "#"];
        for _ in 0..3 {
            world.ask_beside(&sort, answer.as_bytes());
            world.ask_beside(&[&sort[..], &["STORE", "{a}to"]].concat(), b":200\r\n");
            assert_eq!(world.ask(0, &["LRANGE", "{a}to", "0", "-1"]), answer);
        }
        world.end(&["{a}from", "{a}to"]);
    }
}

/// What is answered piece by piece is the same whatever pages have to come.
#[test]
fn what_is_put_in_order_or_counted_in_small_memory_is_answered() {
    let shape = ["FROMLONLAT", "-179.9", "-85", "BYRADIUS", "200", "km", "DESC", "COUNT", "3000", "WITHDIST"];
    let search = [&["GEOSEARCH", "{a}from"], &shape[..]].concat();
    let mut world = world(|number| four("ZADD", number));
    let found = world.ask(0, &search);
    assert!(found.starts_with("*3000\r\n"));
    for _ in 0..4 {
        world.ask_beside(&search, found.as_bytes());
    }
    world.end(&["{a}from"]);

    let field = |number: usize| {
        let words = ["HSET", "{a}from", &format!("field:{number}"), &"v".repeat(1500)].map(str::to_owned);
        words.to_vec()
    };
    let mut world = filled(World::new(7), field);
    assert_eq!(world.ask(0, &["HPEXPIRE", "{a}from", "1000000000", "FIELDS", "1", "field:7"]), "*1\r\n:1\r\n");
    let fields = world.ask(0, &["HKEYS", "{a}from"]);
    assert!(fields.starts_with("*1000\r\n"));
    for _ in 0..4 {
        world.ask_beside(&["HRANDFIELD", "{a}from", "5000"], fields.as_bytes());
        world.ask_beside(&["HKEYS", "{a}from"], fields.as_bytes());
    }
    world.end(&["{a}from"]);
}
