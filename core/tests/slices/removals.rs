//! What removes very many elements does it piece by piece: all of it, or nothing.

use super::{Client, count, fill_overlapping, settled};
use crate::driver::show;

/// What is removed of a copy: of a list of 900, of sorted sets of 900 and 400.
const REMOVALS: [(&str, &str); 34] = [
    ("list:a", "LTRIM to 10 -10"),
    ("list:a", "LTRIM to 0 99"),
    ("list:a", "LTRIM to 800 -1"),
    ("list:a", "LTRIM to 450 450"),
    ("list:a", "LTRIM to 1 -1"),
    ("list:a", "LTRIM to 300 200"),
    ("list:c", "LTRIM to 1 2"),
    ("list:a", "LPOP to 0"),
    ("list:a", "LPOP to 1"),
    ("list:a", "LPOP to 20"),
    ("list:a", "LPOP to 500"),
    ("list:a", "LPOP to 899"),
    ("list:a", "LPOP to 900"),
    ("list:a", "RPOP to 5"),
    ("list:a", "RPOP to 600"),
    ("list:a", "RPOP to 1000"),
    ("list:a", "LMPOP 2 nothing to RIGHT COUNT 321"),
    ("list:a", "LMPOP 1 to LEFT COUNT 900"),
    ("list:same", "LREM to 0 a"),
    ("list:same", "LREM to -300 b"),
    ("list:same", "LREM to 299 a"),
    ("list:same", "LREM to 0 c"),
    ("zset:a", "ZREMRANGEBYRANK to 0 -11"),
    ("zset:a", "ZREMRANGEBYRANK to 100 -100"),
    ("zset:a", "ZREMRANGEBYRANK to 5 5"),
    ("zset:a", "ZREMRANGEBYRANK to 0 -1"),
    ("zset:d", "ZREMRANGEBYSCORE to (0 5"),
    ("zset:c", "ZREMRANGEBYSCORE to 0 (6"),
    ("zset:even", "ZREMRANGEBYLEX to [member:1 (member:7"),
    ("zset:a", "ZPOPMIN to 500"),
    ("zset:a", "ZPOPMAX to 30"),
    ("zset:a", "ZPOPMAX to 899"),
    ("zset:a", "ZPOPMIN to 1000"),
    ("zset:a", "ZMPOP 2 nothing to MAX COUNT 333"),
];

/// What is left, in all of its orders.
const LEFT: [&str; 8] = [
    "EXISTS to",
    "LLEN to",
    "LRANGE to 0 -1",
    "ZCARD to",
    "ZRANGE to 0 -1 WITHSCORES",
    "ZMSCORE to member:5 member:250 member:700",
    "OBJECT ENCODING to",
    "PTTL to",
];

fn fill(client: &mut Client) {
    fill_overlapping(client);
    for at in 0..600 {
        client.ask(&format!("RPUSH list:same {}", if at % 2 == 0 { "a" } else { "b" }));
        client.ask(&format!("ZADD zset:even 7 member:{at}"));
    }
}

#[test]
fn what_is_removed_piece_by_piece_leaves_the_same() {
    for (shards, number) in [(1, 1), (2, 1), (2, 2)] {
        let mut whole = Client::new(1, 1, "1048576");
        fill(&mut whole);
        for items in ["1", "30", "100", "899", "4096"] {
            let mut pieces = Client::new(shards, number, items);
            fill(&mut pieces);
            for (of, removal) in REMOVALS {
                let hello = if of.len() % 2 == 0 { "HELLO 2" } else { "HELLO 3" };
                let copy = format!("COPY {of} to REPLACE");
                for line in [hello, &copy, "PEXPIRE to 1000000", removal].into_iter().chain(LEFT) {
                    let (expect, got) = (whole.ask(line), pieces.ask(line));
                    let texts = (String::from_utf8_lossy(&expect), String::from_utf8_lossy(&got));
                    assert!(
                        line == hello || got == expect,
                        "{removal}, {line}, {items} a piece, {shards} shards: {texts:?}"
                    );
                }
            }
        }
    }
}

fn members(reply: &[u8]) -> Vec<Vec<u8>> {
    let lines = reply.split(|byte| *byte == b'\n').map(<[u8]>::to_vec);
    let mut members: Vec<Vec<u8>> = lines.filter(|line| line.starts_with(b"member:")).collect();
    members.sort();
    members
}

#[test]
fn members_that_are_popped_are_the_others() {
    for (shards, number) in [(1, 1), (2, 1), (2, 2)] {
        for items in ["1", "30", "400", "4096"] {
            let mut client = Client::new(shards, number, items);
            fill_overlapping(&mut client);
            let all = members(&client.ask("SMEMBERS set:a"));
            for gone in [1, 20, 100, 450, 899, 900, 1000] {
                client.ask("COPY set:a to REPLACE");
                let reply = client.ask(&format!("SPOP to {gone}"));
                let mut popped = members(&reply);
                assert!(reply.starts_with(format!("*{}\r\n", gone.min(900)).as_bytes()), "{gone}");
                let left = members(&client.ask("SMEMBERS to"));
                assert_eq!((popped.len(), left.len()), (gone.min(900), 900 - gone.min(900)), "{items} a piece");
                popped.extend(left);
                popped.sort();
                assert!(popped == all, "{gone} of them, {items} a piece, {shards} shards");
            }
        }
    }
}

#[test]
fn who_pops_many_draws_each_about_as_often() {
    let mut client = Client::new(1, 1, "10");
    for at in 0..60 {
        client.ask(&format!("SADD set member:{at:02}:{}", "x".repeat(30)));
    }
    let mut drawn = [0; 60];
    for _ in 0..300 {
        client.ask("COPY set to REPLACE");
        for member in members(&client.ask("SPOP to 20")) {
            let at: usize = String::from_utf8_lossy(&member[7..9]).parse().expect("it has a number");
            drawn[at] += 1;
        }
    }
    assert!(drawn.iter().all(|times| (60..150).contains(times)), "{drawn:?}");
}

/// Whatever is under way, others see what was there; who changes it waits; who goes away has removed nothing.
#[test]
fn what_is_removed_piece_by_piece_is_gone_as_a_whole_or_not_at_all() {
    for (removal, look, push, after) in [
        ("LTRIM list:d 0 99", "LLEN list:d", "RPUSH list:d x", "101"),
        ("LREM list:same 0 a", "LLEN list:same", "RPUSH list:same x", "301"),
        ("RPOP list:d 800", "LLEN list:d", "RPUSH list:d x", "101"),
        ("ZREMRANGEBYRANK zset:d 0 -101", "ZCARD zset:d", "ZADD zset:d 1 x", "101"),
        ("ZPOPMIN zset:d 800", "ZCARD zset:d", "ZADD zset:d 1 x", "101"),
        ("SPOP set:d 800", "SCARD set:d", "SADD set:d x", "101"),
    ] {
        for (shards, number) in [(1, 1), (2, 1), (2, 2)] {
            let begun = || {
                let mut client = Client::new(shards, number, "10");
                fill(&mut client);
                let before = client.ask(look);
                client.world.turns_max = Some(60);
                client.send(removal);
                assert_eq!(client.world.receive(number).0, b"", "{removal} is under way");
                client.world.turns_max = Some(5);
                client.world.send(3, &show::request(&show::words(look)));
                assert_eq!(client.world.receive(3).0, before, "{removal}");
                client
            };
            let mut client = begun();
            client.world.send(4, &show::request(&show::words(push)));
            assert_eq!(client.world.receive(4).0, b"", "{push} waits");
            client.world.turns_max = None;
            client.world.advance(1);
            assert!(!client.world.receive(number).0.is_empty(), "{removal}");
            assert!(!client.world.receive(4).0.is_empty(), "{push}");
            assert_eq!(client.ask(look), format!(":{after}\r\n").as_bytes(), "{removal}");

            let mut client = begun();
            client.world.hang_up(number);
            client.world.turns_max = None;
            let before = client.world.receive(3).0;
            client.world.send(3, &show::request(&show::words(look)));
            let left = client.world.receive(3).0;
            assert!(before.is_empty() && [&b":900\r\n"[..], b":600\r\n"].contains(&left.as_slice()), "{removal}");
        }
    }
}

/// Those who wait for a list, who watch it, who have it in a cache, and who are told of what happens to keys.
#[test]
fn others_are_told_of_what_is_removed_piece_by_piece_once() {
    for removal in ["LTRIM list:a 0 9", "LPOP list:a 890", "LREM list:same 0 a"] {
        let key = removal.split(' ').nth(1).expect("it has a key");
        let name = removal.split(' ').next().expect("it has a name").to_lowercase();
        let mut client = Client::new(1, 1, "10");
        fill(&mut client);
        client.ask("CONFIG SET notify-keyspace-events KEA");
        client.world.send(5, b"SUBSCRIBE __keyspace@0__:list:a __keyspace@0__:list:same\r\n");
        client.world.receive(5);
        client.world.send(6, &show::request(&show::words("HELLO 3")));
        client.world.send(6, &show::request(&show::words("CLIENT TRACKING ON")));
        client.world.send(6, &show::request(&show::words(&format!("LRANGE {key} 0 0"))));
        client.world.receive(6);
        for line in [format!("WATCH {key}"), "MULTI".to_owned(), "PING".to_owned()] {
            client.world.send(7, &show::request(&show::words(&line)));
        }
        client.world.receive(7);
        client.ask(removal);
        let told = client.world.receive(5).0;
        assert_eq!((count(&told, &name), count(&told, "message")), (1, 1), "{removal}: {}", told.escape_ascii());
        assert_eq!(count(&client.world.receive(6).0, "invalidate"), 1, "{removal}");
        client.world.send(7, b"EXEC\r\n");
        assert_eq!(client.world.receive(7).0, b"*-1\r\n", "{removal}");
    }
}

#[test]
fn transactions_and_scripts_remove_all_at_once() {
    let mut client = Client::new(1, 1, "10");
    fill(&mut client);
    client.world.turns_max = Some(2);
    for line in ["MULTI", "LTRIM list:a 0 9", "LLEN list:a", "ZPOPMIN zset:a 800", "SPOP set:a 800", "EXEC"] {
        client.send(line);
    }
    let reply = client.world.receive(1).0;
    assert!(count(&reply, "\n:10\r\n") == 1 && count(&reply, "member:") == 1600, "{}", settled("", &reply).len());
    let script = "EVAL \"return {redis.call('LPOP', 'list:d', 800), redis.call('LLEN', 'list:d')}\" 1 list:d";
    assert!(client.ask(script).ends_with(b":100\r\n"));
}
