//! Long replies are shown in slices, and many commands of one client are run in shares: clients see no difference, but that others are served meanwhile.

mod draws;
mod lists;
mod looks;
mod removals;
mod shards;

use crate::driver::{World, show};
use std::sync::atomic::{AtomicU64, Ordering};

/// Elements of the collections: none, few, more than a page has, and what makes slices of all sizes.
const SIZES: [usize; 6] = [0, 1, 4, 5, 300, 2500];

struct Client {
    world: World,
    number: u32,
}

impl Client {
    /// Client 2 of two shards has the keys of the first one elsewhere.
    fn new(shards: u16, number: u32, items: &str) -> Client {
        let setting = vec!["slice-items".to_owned(), items.to_owned()];
        Client { world: World::new(shards, &[setting]), number }
    }

    fn ask(&mut self, line: &str) -> Vec<u8> {
        self.send(line);
        self.world.receive(self.number).0
    }

    fn send(&mut self, line: &str) {
        self.world.send(self.number, &show::request(&show::words(line)));
    }

    /// Collections of each kind and size.
    fn fill(&mut self) {
        for size in SIZES {
            for at in 0..size {
                self.ask(&format!("RPUSH list:{size} value:{at}"));
                self.ask(&format!("HSET hash:{size} field:{at} value:{at}"));
                self.ask(&format!("SADD set:{size} member:{at}"));
                self.ask(&format!("ZADD zset:{size} {} member:{at}", at / 3));
                self.ask(&format!("XADD stream:{size} {}-1 field value:{at}", at + 1));
            }
        }
        // One element alone is longer than a slice.
        for at in 0..3 {
            self.ask(&format!("RPUSH list:long a \"{at}\"*300000 b"));
        }
    }
}

/// What shows items of a collection of that size.
fn looks(size: usize) -> Vec<String> {
    let middle = size / 2;
    let mut looks = vec![
        format!("LRANGE list:{size} 0 -1"),
        format!("LRANGE list:{size} 1 -2"),
        format!("LRANGE list:{size} {middle} {middle}"),
        format!("LRANGE list:{size} 5 2"),
        format!("HGETALL hash:{size}"),
        format!("HKEYS hash:{size}"),
        format!("HVALS hash:{size}"),
        format!("SMEMBERS set:{size}"),
        format!("XRANGE stream:{size} - +"),
        format!("XRANGE stream:{size} 2 {middle} COUNT 3"),
        format!("XREVRANGE stream:{size} + -"),
        format!("XREVRANGE stream:{size} {middle} (1-1"),
    ];
    for command in ["ZRANGE", "ZREVRANGE"] {
        looks.push(format!("{command} zset:{size} 0 -1"));
        looks.push(format!("{command} zset:{size} 1 {middle} WITHSCORES"));
    }
    looks.push(format!("ZRANGEBYSCORE zset:{size} 1 +inf WITHSCORES LIMIT 1 100"));
    looks.push(format!("ZREVRANGEBYSCORE zset:{size} +inf (1 LIMIT 1 -1"));
    looks.push(format!("ZRANGE zset:{size} - + BYLEX"));
    looks
}

#[test]
fn slices_of_any_size_make_the_same_reply() {
    for (shards, number) in [(1, 1), (2, 1), (2, 2)] {
        let mut whole = Client::new(shards, number, "1048576");
        whole.fill();
        for items in ["1", "2", "3", "7", "299", "300", "301", "4096"] {
            let mut sliced = Client::new(shards, number, items);
            sliced.fill();
            for hello in ["HELLO 2", "HELLO 3"] {
                whole.ask(hello);
                sliced.ask(hello);
                for look in SIZES.into_iter().flat_map(looks).chain(["LRANGE list:long 0 -1".to_owned()]) {
                    assert!(whole.ask(&look) == sliced.ask(&look), "{look}, {items} a slice, {shards} shards");
                }
                let keys = |client: &mut Client| {
                    let reply = client.ask("KEYS *");
                    let mut lines: Vec<Vec<u8>> = reply.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
                    lines.sort();
                    lines
                };
                assert_eq!(keys(&mut whole), keys(&mut sliced));
            }
        }
    }
}

/// Sets and sorted sets that share members, some of them packed, and what a SORT looks up.
fn fill_overlapping(client: &mut Client) {
    for (name, members) in [("a", 0..900), ("b", 300..700), ("c", 5..9), ("d", 600..1500), ("e", 0..0)] {
        for at in members {
            client.ask(&format!("SADD set:{name} member:{at}"));
            client.ask(&format!("ZADD zset:{name} {} member:{at}", at % 7));
            client.ask(&format!("RPUSH list:{name} {}", (at * 7919) % 1000));
        }
    }
    for at in 0..1000 {
        client.ask(&format!("SET weight:{at} {}", (at * 31) % 50));
        client.ask(&format!("HSET hash:{at} field text:{}", (at * 17) % 30));
    }
}

/// What combines them; those whose reply has no order begin with `S`.
const COMBINATIONS: [&str; 39] = [
    "LPOS list:a 7",
    "LPOS list:d 100 COUNT 0",
    "LPOS list:d 100 RANK -1 COUNT 0",
    "LPOS list:a 899 RANK -1 MAXLEN 899",
    "LPOS list:a nothing",
    "LPOS list:a 0 MAXLEN 1",
    "SUNION set:a set:b set:c set:d set:e",
    "SUNION set:d set:nothing",
    "SINTER set:a set:b",
    "SINTER set:a set:b set:d",
    "SINTER set:d set:a set:e",
    "SDIFF set:a set:b set:c",
    "SDIFF set:c set:a",
    "SDIFF set:d set:e set:b",
    "SINTER set:a list:a",
    "SINTERCARD 2 set:a set:d",
    "SINTERCARD 2 set:a set:d LIMIT 123",
    "ZUNION 3 zset:a zset:d set:b WITHSCORES",
    "ZUNION 2 zset:a zset:d WEIGHTS -2 0.5 AGGREGATE MAX WITHSCORES",
    "ZINTER 3 zset:a zset:d set:b WEIGHTS 1 2 3 WITHSCORES",
    "ZINTER 2 zset:a zset:b AGGREGATE MIN",
    "ZDIFF 3 zset:d zset:b set:c WITHSCORES",
    "ZINTERCARD 2 zset:a zset:b LIMIT 5",
    "ZINTERCARD 2 zset:a zset:b",
    "ZUNION 2 zset:a list:a",
    "SORT_RO list:a",
    "SORT_RO list:d DESC LIMIT 100 350",
    "SORT list:a ALPHA LIMIT 0 3",
    "SORT list:a BY weight:* GET # GET hash:*->field",
    "SORT list:b BY hash:*->field ALPHA DESC LIMIT 2 200 GET weight:*",
    "SORT zset:a BY nosort LIMIT 10 300 GET # GET none",
    "SORT set:a BY nosort",
    "GEOSEARCH zset:a FROMLONLAT -179.9 -85 BYRADIUS 200 km WITHDIST WITHHASH",
    "GEOSEARCH zset:d FROMMEMBER member:700 BYBOX 3 3 m ASC COUNT 444",
    "GEOSEARCH zset:a FROMLONLAT -179.9 -85 BYRADIUS 200 km COUNT 100 ANY",
    "GEOSEARCH zset:a FROMLONLAT -179.9 -85 BYRADIUS 200 km DESC WITHCOORD WITHDIST",
    "GEOSEARCH zset:d FROMLONLAT -179.9 -85 BYRADIUS 200 km ASC COUNT 899 WITHHASH",
    "GEORADIUSBYMEMBER zset:d member:800 200 km DESC COUNT 2000",
    "GEOSEARCH zset:a FROMMEMBER member:nothing BYRADIUS 200 km",
];

/// What stores them, and what is there then.
const STORES: [[&str; 2]; 35] = [
    ["SUNIONSTORE to set:a set:d", "SMEMBERS to"],
    ["SDIFFSTORE to set:a set:d", "SMEMBERS to"],
    ["SINTERSTORE to set:a to set:b", "SMEMBERS to"],
    ["SUNIONSTORE to to set:d set:a", "OBJECT ENCODING to"],
    ["SINTERSTORE to to set:nothing", "EXISTS to"],
    ["SDIFFSTORE to set:c set:b", "OBJECT ENCODING to"],
    ["ZUNIONSTORE to 2 zset:a zset:d", "ZRANGE to 0 -1 WITHSCORES"],
    ["ZUNIONSTORE to 2 to zset:d WEIGHTS 2 -1", "ZRANGE to 0 -1 WITHSCORES"],
    ["ZDIFFSTORE to 2 to zset:b", "ZRANGEBYSCORE to -3 12"],
    ["ZINTERSTORE to 2 zset:a set:b", "ZRANGE to 0 -1 WITHSCORES"],
    ["ZRANGESTORE to zset:d 10 -10", "ZRANGE to 0 -1 WITHSCORES"],
    ["ZRANGESTORE to to 3 (5 BYSCORE LIMIT 2 200", "ZRANGE to 0 -1 WITHSCORES"],
    ["ZRANGESTORE to zset:c 0 -1", "OBJECT ENCODING to"],
    ["ZUNIONSTORE to 1 list:a", "ZCARD to"],
    ["COPY zset:d to REPLACE", "ZRANGE to 0 -1 WITHSCORES"],
    ["COPY set:d to REPLACE", "SMEMBERS to"],
    ["COPY list:a to REPLACE", "LRANGE to 0 -1"],
    ["COPY list:a to DB 3 REPLACE", "LLEN to"],
    ["LINSERT to BEFORE 5 new", "LINSERT to AFTER new newer"],
    ["LINSERT to AFTER nothing new", "LRANGE to 0 -1"],
    ["RPUSH to 7 7 7", "LREM to -2 7"],
    ["LREM to 0 7", "LREM to 0 nothing"],
    ["LREM to 1 new", "LRANGE to 0 -1"],
    ["SORT list:d BY weight:* STORE to", "LRANGE to 0 -1"],
    ["ZRANGESTORE to zset:a 800 10 BYSCORE REV LIMIT 0 10", "ZRANGE to 0 -1"],
    ["ZRANGESTORE to zset:d +inf -inf BYSCORE REV LIMIT 7 850", "ZRANGE to 0 -1 WITHSCORES"],
    ["ZRANGESTORE to zset:nothing 0 -1", "EXISTS to"],
    ["SORT list:a STORE to", "LRANGE to 0 -1"],
    ["SORT to DESC ALPHA LIMIT 5 600 STORE to", "LRANGE to 0 -1"],
    ["RPUSH to at-the-end", "OBJECT ENCODING to"],
    ["SORT list:nothing STORE to", "EXISTS to"],
    ["GEOSEARCHSTORE to zset:d FROMLONLAT -179.9 -85 BYRADIUS 200 km", "ZRANGE to 0 -1 WITHSCORES"],
    ["GEOSEARCHSTORE to to FROMMEMBER member:800 BYRADIUS 2 m DESC COUNT 700 STOREDIST", "ZRANGE to 0 -1 WITHSCORES"],
    ["GEORADIUSBYMEMBER zset:a member:3 200 km STORE to", "ZRANGE to 0 -1 WITHSCORES"],
    ["GEOSEARCHSTORE to zset:nothing FROMMEMBER x BYRADIUS 2 m", "EXISTS to"],
];

/// A reply, its lines in an order if those of the command have none.
fn settled(line: &str, reply: &[u8]) -> Vec<Vec<u8>> {
    let mut lines: Vec<Vec<u8>> = reply.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    if ["SUN", "SIN", "SDI", "SME", "SRA"].iter().any(|name| line.starts_with(name)) {
        lines.sort();
    }
    lines
}

#[test]
fn what_combines_or_sorts_answers_the_same_piece_by_piece() {
    for (shards, number) in [(1, 1), (2, 1), (2, 2)] {
        let mut whole = Client::new(1, 1, "1048576");
        fill_overlapping(&mut whole);
        for items in ["1", "7", "100", "899", "4096"] {
            let mut pieces = Client::new(shards, number, items);
            fill_overlapping(&mut pieces);
            for hello in ["HELLO 2", "HELLO 3"] {
                whole.ask(hello);
                pieces.ask(hello);
                for line in COMBINATIONS.iter().chain(STORES.iter().flatten()) {
                    let (expect, got) = (settled(line, &whole.ask(line)), settled(line, &pieces.ask(line)));
                    assert!(
                        got.len() > 1 && got == expect,
                        "{line}, {items} a piece, {shards} shards: {} and {} lines",
                        expect.len(),
                        got.len()
                    );
                }
            }
        }
    }
}

#[test]
fn what_is_moved_piece_by_piece_is_there_and_not_here() {
    let mut client = Client::new(1, 1, "10");
    fill_overlapping(&mut client);
    for (kind, look) in [("set", "SMEMBERS"), ("zset", "ZRANGE"), ("list", "LRANGE")] {
        let look = if kind == "set" { format!("{look} set:d") } else { format!("{look} {kind}:d 0 -1") };
        let expect = settled(&look, &client.ask(&look));
        client.ask(&format!("PEXPIRE {kind}:d 100000"));
        for (line, reply) in [
            (format!("MOVE {kind}:d 3"), ":1"),
            (format!("EXISTS {kind}:d"), ":0"),
            ("SELECT 3".to_owned(), "+OK"),
            (format!("PTTL {kind}:d"), ":100000"),
        ] {
            assert_eq!(client.ask(&line), format!("{reply}\r\n").as_bytes(), "{line}");
        }
        assert!(settled(&look, &client.ask(&look)) == expect && expect.len() > 900, "{look}");
        client.ask("SELECT 0");
    }
}

#[test]
fn others_are_served_while_sets_are_combined_and_who_changes_one_waits() {
    for (shards, number) in [(1, 1), (2, 1), (2, 2)] {
        for line in [
            "LPOS list:a nothing",
            "SUNION set:a set:d",
            "ZINTER 2 zset:a zset:b",
            "SORT list:a",
            "SORT list:a BY weight:* GET hash:*->field",
            "SDIFF set:a set:b",
            "LINSERT list:d BEFORE nothing x",
            "LREM list:a 0 nothing",
            "SUNIONSTORE to set:a set:d",
            "ZINTERSTORE zset:a 2 set:a zset:b",
            "ZRANGESTORE zset:a zset:a 5 +inf BYSCORE",
            "SORT list:a STORE to",
            "GEOSEARCHSTORE to zset:a FROMLONLAT -179.9 -85 BYRADIUS 200 km",
            "SRANDMEMBER set:a 1000",
            "GEOSEARCH zset:a FROMLONLAT -179.9 -85 BYRADIUS 200 km ASC",
        ] {
            // Whoever asks for the second time may be answered at once.
            let [mut client, mut other] = [(); 2].map(|()| Client::new(shards, number, "10"));
            fill_overlapping(&mut client);
            fill_overlapping(&mut other);
            let expect = settled(line, &other.ask(line));
            client.world.turns_max = Some(4);
            client.send(line);
            client.world.send(3, b"PING\r\n");
            assert_eq!(client.world.receive(3).0, b"+PONG\r\n");
            for change in ["SADD set:a new", "ZADD zset:a 1 new", "RPUSH list:a 5"] {
                client.world.send(4, &show::request(&show::words(change)));
            }
            assert_eq!(client.world.receive(number).0, b"", "{line} is under way");
            client.world.turns_max = None;
            client.world.advance(1);
            assert!(settled(line, &client.world.receive(number).0) == expect, "{line}, {shards} shards");
            assert_eq!(client.world.receive(4).0, b":1\r\n:1\r\n:901\r\n", "{line}");
        }
    }
}

#[test]
fn what_is_stored_piece_by_piece_is_there_as_a_whole_or_not_at_all() {
    for (store, look) in [
        ("SUNIONSTORE to set:a set:d", "SCARD to"),
        ("ZUNIONSTORE to 2 zset:a zset:d", "ZCARD to"),
        ("ZRANGESTORE to zset:many 0 -1", "ZCARD to"),
        ("SORT list:many STORE to", "LLEN to"),
    ] {
        let stored = || {
            let mut client = Client::new(1, 1, "10");
            fill_overlapping(&mut client);
            client.ask("ZUNIONSTORE zset:many 2 zset:a zset:d");
            client.ask(&format!("RPUSH list:many {}", "5 3 4 1 2 ".repeat(300)));
            client.ask("SET to before PX 1000000");
            client.world.turns_max = Some(250);
            client.send(store);
            assert_eq!(client.world.receive(1).0, b"", "{store} is under way");
            client.world.turns_max = Some(5);
            client
        };
        // Others see what was there until all is, and who changes it waits.
        let mut client = stored();
        client.world.send(3, b"GET to\r\n");
        assert_eq!(client.world.receive(3).0, b"$6\r\nbefore\r\n");
        client.world.send(3, b"PERSIST to\r\n");
        assert_eq!(client.world.receive(3).0, b"");
        client.world.turns_max = None;
        client.world.advance(1);
        assert_eq!((client.world.receive(1).0, client.world.receive(3).0), (b":1500\r\n".to_vec(), b":0\r\n".to_vec()));
        assert_eq!(client.ask(look), b":1500\r\n");
        // Who goes away has stored nothing, and leaves nothing.
        let mut client = stored();
        client.world.hang_up(1);
        client.world.turns_max = None;
        client.world.send(3, b"GET to\r\n");
        assert_eq!(client.world.receive(3).0, b"$6\r\nbefore\r\n");
    }
}

/// A world with a list and a hash of 100 elements, slices of 10, and one turn for each request.
fn slow(shards: u16, number: u32) -> Client {
    let mut client = Client::new(shards, number, "10");
    for at in 0..100 {
        client.ask(&format!("RPUSH list value:{at}"));
        client.ask(&format!("HSET hash field:{at} value:{at}"));
    }
    client.ask("PEXPIRE list 300");
    client.ask("HPEXPIRE hash 300 FIELDS 2 field:7 field:93");
    client.world.turns_max = Some(1);
    client
}

fn count(reply: &[u8], what: &str) -> usize {
    reply.windows(what.len()).filter(|window| *window == what.as_bytes()).count()
}

#[test]
fn others_are_served_meanwhile_and_who_changes_the_row_waits() {
    let mut client = slow(1, 1);
    client.send("LRANGE list 0 -1");
    client.world.send(5, b"HGETALL hash\r\n");
    client.world.send(2, b"RPUSH list later\r\n");
    client.world.send(3, b"SET other value\r\n");
    client.world.send(4, b"LLEN list\r\n");
    assert_eq!(client.world.receive(2).0, b"");
    assert_eq!(client.world.receive(3).0, b"+OK\r\n");
    assert_eq!(client.world.receive(4).0, b":100\r\n");
    assert_eq!(client.world.receive(1).0, b"", "it is still being shown");
    // What lived when it began is shown to the end.
    client.world.advance(301);
    assert_eq!(client.world.receive(1).0.len(), 0);
    client.world.turns_max = None;
    client.world.advance(1);
    let reply = client.world.receive(1).0;
    assert!(reply.starts_with(b"*100\r\n") && count(&reply, "value:") == 100 && count(&reply, "later") == 0);
    // Its time was over by then.
    assert_eq!(client.world.receive(2).0, b":1\r\n");
    let reply = client.world.receive(5).0;
    assert!(reply.starts_with(b"*200\r\n") && count(&reply, "value:") == 100);
    client.world.send(5, b"HLEN hash\r\n");
    assert_eq!(client.world.receive(5).0, b":98\r\n");
}

#[test]
fn what_is_sent_behind_it_is_done_behind_it() {
    for (shards, number) in [(1, 1), (2, 1), (2, 2)] {
        let mut client = slow(shards, number);
        client.world.turns_max = None;
        let lines = ["LRANGE list 0 -1", "RPUSH list last", "LRANGE list -1 -1", "HGETALL hash", "HLEN hash", "PING"];
        let bytes: Vec<u8> = lines.iter().flat_map(|line| show::request(&show::words(line))).collect();
        client.world.send(number, &bytes);
        let reply = client.world.receive(number).0;
        assert!(reply.starts_with(b"*100\r\n") && reply.ends_with(b":100\r\n+PONG\r\n"), "{shards} shards");
        assert_eq!((count(&reply, "value:"), count(&reply, "last")), (200, 1));
    }
}

#[test]
fn who_goes_away_leaves_nothing_locked() {
    for (shards, number) in [(1, 1), (2, 1), (2, 2)] {
        let mut client = slow(shards, number);
        client.send("LRANGE list 0 -1");
        client.world.hang_up(number);
        client.world.turns_max = None;
        client.world.send(3, b"RPUSH list later\r\n");
        assert_eq!(client.world.receive(3).0, b":101\r\n");
    }
}

#[test]
fn transactions_and_scripts_show_all_at_once() {
    let mut client = slow(1, 1);
    for line in ["MULTI", "LRANGE list 0 -1", "HGETALL hash", "KEYS *"] {
        client.send(line);
    }
    client.world.receive(1);
    assert_eq!(count(&client.ask("EXEC"), "value:"), 200);
    let script = "EVAL \"return {redis.call('LRANGE', 'list', 0, -1), redis.call('KEYS', '*')}\" 0";
    assert_eq!(count(&client.ask(script), "value:"), 100);
}

#[test]
fn slice_items_has_bounds() {
    let mut client = Client::new(1, 1, "4096");
    for (items, is_taken) in
        [("0", false), ("1", true), ("2", true), ("1048575", true), ("1048576", true), ("1048577", false)]
    {
        assert_eq!(client.ask(&format!("CONFIG SET slice-items {items}")) == b"+OK\r\n", is_taken, "{items}");
    }
}

#[test]
fn many_at_once_share_the_turn_and_all_end() {
    let mut client = slow(1, 1);
    for other in 10..40 {
        client.world.send(other, b"HGETALL hash\r\n");
        client.world.send(other + 100, b"KEYS *\r\n");
    }
    client.world.turns_max = None;
    client.world.advance(1);
    for other in 10..40 {
        assert_eq!(count(&client.world.receive(other).0, "value:"), 100);
        assert_eq!(client.world.receive(other + 100).0.len(), b"*2\r\n$4\r\nlist\r\n$4\r\nhash\r\n".len());
    }
}

#[test]
fn who_sends_very_much_at_once_has_a_share_of_the_turn() {
    // Each look at the clock is a tenth of a millisecond later.
    static CLOCK_NS: AtomicU64 = AtomicU64::new(0);
    let mut world = World::with_clock(1, &[], || CLOCK_NS.fetch_add(100_000, Ordering::Relaxed));
    world.turns_max = Some(1);
    world.send(1, &b"INCR counter\r\nPING\r\n".repeat(100));
    world.send(2, b"PING\r\n");
    assert_eq!(world.receive(2).0, b"+PONG\r\n");
    let first = count(&world.receive(1).0, "PONG");
    assert!((1..60).contains(&first), "{first} replies in two turns");
    world.turns_max = None;
    world.advance(1);
    let rest = world.receive(1).0;
    assert_eq!(count(&rest, "PONG"), 100 - first);
    assert!(rest.ends_with(b":100\r\n+PONG\r\n"));
}
