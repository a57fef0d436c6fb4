//! What is stored of rows of several shards, piece by piece, and the ends of a transaction that does so.

use super::{Client, fill_overlapping, settled};

/// What is stored, and what is there then.
const STORES: [[&str; 2]; 6] = [
    ["SUNIONSTORE x set:a set:d", "SMEMBERS x"],
    ["ZUNIONSTORE x 2 zset:a zset:d", "ZRANGE x 0 -1 WITHSCORES"],
    ["SORT list:many STORE x", "LRANGE x 0 -1"],
    ["SDIFFSTORE x set:d set:b", "SMEMBERS x"],
    ["ZRANGESTORE x {set}many 0 -1", "ZRANGE x 0 -1 WITHSCORES"],
    ["GEOSEARCHSTORE x {set}many FROMLONLAT -179.9 -85 BYRADIUS 200 km", "ZRANGE x 0 -1 WITHSCORES"],
];

/// Two shards, and pieces of ten items; who asks is at the first or the second one.
fn filled(number: u32) -> Client {
    let mut client = Client::new(2, number, "10");
    fill_overlapping(&mut client);
    client.ask(&format!("RPUSH list:many {}", "5 3 4 1 2 ".repeat(300)));
    client.ask("ZUNIONSTORE {set}many 2 zset:a zset:d");
    client.ask("SET x before");
    client
}

/// How many collections transactions have begun so far.
fn begun(client: &Client) -> u64 {
    (0..2).map(|shard| client.world.counters(shard).begun_collections).sum()
}

/// Nobody has begun a collection and not ended it, and none is left behind: what was is removed in the end.
fn check_nothing_left(client: &mut Client) {
    client.world.turns_max = None;
    client.world.advance(1000);
    for shard in 0..2 {
        let engine = client.world.engine(shard);
        assert_eq!((engine.collections_begun(), engine.collections_gone()), (0, 0), "shard {shard}");
        engine.check().unwrap();
    }
}

/// What it comes to where all is done at once.
fn expected(store: &str, look: &str) -> Vec<Vec<u8>> {
    let mut whole = Client::new(1, 1, "1048576");
    fill_overlapping(&mut whole);
    whole.ask(&format!("RPUSH list:many {}", "5 3 4 1 2 ".repeat(300)));
    whole.ask("ZUNIONSTORE {set}many 2 zset:a zset:d");
    whole.ask(store);
    settled(look, &whole.ask(look))
}

#[test]
fn others_see_what_was_there_until_all_is() {
    for ([store, look], number) in STORES.into_iter().flat_map(|store| [(store, 1), (store, 2)]) {
        let mut client = filled(number);
        let elements = expected(store, look).len();
        assert!(elements > 700);
        let before = begun(&client);
        client.world.turns_max = Some(1);
        client.send(store);
        let mut turns = 0;
        while begun(&client) == before {
            client.world.advance(1);
            turns += 1;
            assert!(turns < 100_000, "{store} is never stored piece by piece");
        }
        // It is being stored now.
        client.world.turns_max = Some(5);
        client.world.send(3, b"GET x\r\n");
        assert_eq!(client.world.receive(3).0, b"$6\r\nbefore\r\n", "{store}");
        client.world.send(3, b"PERSIST x\r\n");
        assert_eq!(client.world.receive(3).0, b"", "{store}");
        assert_eq!(client.world.receive(number).0, b"", "{store} is under way");
        client.world.turns_max = None;
        client.world.advance(1);
        assert!(client.world.receive(number).0.starts_with(b":"), "{store}");
        assert_eq!(client.world.receive(3).0, b":0\r\n");
        assert!(settled(look, &client.ask(look)) == expected(store, look), "{store}");
        check_nothing_left(&mut client);
    }
}

/// What looks on one shard and stores on the other.
const RANGES: [&str; 18] = [
    "ZRANGESTORE x zset:d 10 -10",
    "ZRANGESTORE x zset:d 5 2",
    "ZRANGESTORE x zset:d 3 (5 BYSCORE LIMIT 2 200",
    "ZRANGESTORE x zset:d 800 10 BYSCORE REV LIMIT 0 10",
    "ZRANGESTORE x zset:d +inf -inf BYSCORE REV LIMIT 7 850",
    "ZRANGESTORE x zset:d 7 850 REV",
    "ZRANGESTORE x zset:nothing 0 -1",
    "ZRANGESTORE x list:many 0 -1",
    "ZRANGESTORE x zset:d 0 nothing",
    "GEOSEARCHSTORE x zset:d FROMLONLAT -179.9 -85 BYRADIUS 200 km COUNT 600 ANY",
    "GEOSEARCHSTORE x zset:d FROMMEMBER member:800 BYRADIUS 2 m DESC COUNT 700 STOREDIST",
    "GEOSEARCHSTORE x zset:d FROMMEMBER nothing BYRADIUS 2 m",
    "GEOSEARCHSTORE x zset:nothing FROMMEMBER nothing BYBOX 2 2 m",
    "GEOSEARCHSTORE x list:many FROMMEMBER nothing BYBOX 2 2 m",
    "GEOSEARCHSTORE x zset:d FROMMEMBER member:800 BYBOX 3 3 m ASC COUNT 444",
    "GEORADIUS zset:d -179.9 -85 200 km STORE x",
    "GEORADIUS zset:d -179.9 -85 200 km DESC COUNT 123 STOREDIST x",
    "GEORADIUSBYMEMBER zset:d member:800 200 km STOREDIST x",
];

#[test]
fn what_is_looked_for_on_another_shard_than_it_is_stored_on_is_the_same_piece_by_piece() {
    let mut whole = Client::new(1, 1, "1048576");
    fill_overlapping(&mut whole);
    whole.ask("RPUSH list:many a b");
    for (items, number) in [("1", 1), ("7", 1), ("7", 2), ("100", 2), ("4096", 1)] {
        let mut pieces = Client::new(2, number, items);
        fill_overlapping(&mut pieces);
        pieces.ask("RPUSH list:many a b");
        for line in RANGES {
            let looks = ["ZRANGE x 0 -1 WITHSCORES", "EXISTS x"];
            for ask in std::iter::once(line).chain(looks) {
                let (expect, got) = (whole.ask(ask), pieces.ask(ask));
                assert!(
                    expect == got,
                    "{ask} of {line}, {items} a piece: {}",
                    got[..got.len().min(100)].escape_ascii()
                );
            }
        }
        assert_eq!(begun(&pieces) > 0, items != "4096");
        check_nothing_left(&mut pieces);
    }
}

#[test]
fn a_transaction_that_ends_leaves_nothing_that_it_does_not_name() {
    let ends: [&[&str]; 7] = [
        &["ROLLBACK"],
        &["SAVEPOINT s", "SUNIONSTORE x set:d set:b", "ROLLBACK TO s", "COMMIT"],
        &["DEL x", "COMMIT"],
        &["SUNIONSTORE x set:d set:b", "ROLLBACK"],
        &["SADD x more", "SPOP x", "SDIFFSTORE x set:d set:b", "ROLLBACK"],
        &["SUNIONSTORE x set:d set:b list:a", "ROLLBACK"],
        &["RENAME x y", "SUNIONSTORE x set:d set:b", "RENAME y x", "COMMIT"],
    ];
    for (end, number) in ends.into_iter().flat_map(|end| [(end, 1), (end, 2)]) {
        let mut client = filled(number);
        let look = "SCARD x";
        for line in ["BEGIN", "SUNIONSTORE x set:a set:d"].iter().chain(end) {
            client.ask(line);
        }
        assert!(begun(&client) > 0, "{end:?}");
        let expect: &[u8] = match end {
            [.., "ROLLBACK"] => b"-WRONGTYPE",
            ["DEL x", ..] => b":0\r\n",
            _ => b":1500\r\n",
        };
        let seen = client.ask(look);
        assert!(seen.starts_with(expect), "{end:?}: {}", seen.escape_ascii());
        check_nothing_left(&mut client);
    }
}

#[test]
fn so_does_one_whose_client_goes_or_waits_for_too_long() {
    for number in [1, 2] {
        for end in ["hangs up", "waits", "is refused"] {
            let mut client = filled(number);
            client.ask("CONFIG SET txn-lock-timeout 300");
            client.world.send(7, b"BEGIN\r\nSET free:1 1\r\nSET free:2 1\r\n");
            client.world.receive(7);
            for line in ["BEGIN", "SUNIONSTORE x set:a set:d"] {
                client.ask(line);
            }
            match end {
                "hangs up" => client.world.hang_up(number),
                "waits" => {
                    client.send("MSET free:1 2 free:2 2");
                    client.world.advance(1000);
                }
                _ => {
                    client.ask("SUNIONSTORE x set:a set:d list:a");
                    client.ask("LOCK NOWAIT free:1");
                    client.ask("ROLLBACK");
                }
            }
            assert!(begun(&client) > 0, "{end}");
            client.world.send(8, b"GET x\r\n");
            assert_eq!(client.world.receive(8).0, b"$6\r\nbefore\r\n", "{end}");
            client.world.send(7, b"ROLLBACK\r\n");
            check_nothing_left(&mut client);
        }
    }
}

/// Large collections of all kinds on the first shard, some of them with deadlines.
fn fill_kinds(client: &mut Client) {
    for at in 0..250 {
        client.ask(&format!("RPUSH {{set}}list value:{at}"));
        client.ask(&format!("HSET {{set}}hash field:{at} value:{at}"));
        client.ask(&format!("HSET {{set}}timed field:{at} value:{at}"));
        client.ask(&format!("SADD {{set}}set member:{at}"));
        client.ask(&format!("ZADD {{set}}zset {} member:{at}", at / 3));
        client.ask(&format!("XADD {{set}}stream {}-1 field value:{at}", at + 1));
    }
    client.ask("RPUSH {set}long a \"x\"*300000 b \"y\"*300000 c");
    for line in [
        "PEXPIRE {set}zset 1000000",
        "HPEXPIRE {set}timed 2000000 FIELDS 2 field:7 field:93",
        "XGROUP CREATE {set}stream group 7-1",
        "XREADGROUP GROUP group consumer COUNT 20 STREAMS {set}stream >",
        "XTRIM {set}stream MAXLEN 200",
        "SET {x}string before",
    ] {
        client.ask(line);
    }
}

const KINDS: [&str; 7] = ["list", "hash", "timed", "set", "zset", "stream", "long"];

/// Rows on their way from shard to shard; `KIND` stands for one of them.
const MOVES: [&str; 17] = [
    "RENAME {set}KIND {x}KIND",
    "RENAME {set}KIND {x}KIND",
    "COPY {x}KIND {set}KIND",
    "COPY {x}KIND {set}KIND",
    "COPY {x}KIND {set}KIND REPLACE",
    "RENAMENX {x}KIND {set}KIND",
    "COPY {x}KIND {set}KIND DB 3",
    "COPY {x}KIND {set}KIND DB 3",
    "RENAMENX {x}KIND {set}new",
    "RENAME {set}new {x}string",
    "COPY {x}string {set}KIND REPLACE",
    "BEGIN",
    "RENAME {set}KIND {x}KIND",
    "COPY {x}KIND {set}KIND",
    "DEL {x}string",
    "COPY {set}KIND {x}KIND REPLACE",
    "COMMIT",
];

#[test]
fn what_is_moved_to_another_shard_piece_by_piece_is_what_it_was() {
    for (items, number) in [("1", 1), ("7", 1), ("7", 2), ("100", 2)] {
        let mut whole = Client::new(2, number, "1048576");
        let mut pieces = Client::new(2, number, items);
        fill_kinds(&mut whole);
        fill_kinds(&mut pieces);
        let begun_at_first = begun(&pieces);
        for (kind, line) in KINDS.into_iter().flat_map(|kind| MOVES.map(|line| (kind, line.replace("KIND", kind)))) {
            let looks = ["{set}KIND", "{x}KIND", "{x}string", "{set}new"].into_iter().flat_map(|key| {
                let key = key.replace("KIND", kind);
                [format!("DUMP {key}"), format!("PTTL {key}"), format!("OBJECT ENCODING {key}")]
            });
            for ask in std::iter::once(line.clone()).chain(looks) {
                assert!(whole.ask(&ask) == pieces.ask(&ask), "{ask} behind {line}, {items} a piece");
            }
        }
        assert!(begun(&pieces) >= begun_at_first + 50, "{}", begun(&pieces));
        assert_eq!(begun(&whole), 0);
        check_nothing_left(&mut pieces);
    }
}
