//! Who looks for a value in a large list passes over what is known not to have it, and finds what a look at all of it finds.

use super::Client;
use crate::driver::Rng;
use cairn_core::limits::FILTERED_SLICES_MIN;

/// Lists of that name and kin; one shard has two of them, and two shards have one each.
const LISTS: [&str; 2] = ["list:{a}", "list:{b}"];

/// A value: few are there often, some now and then.
fn value(rng: &mut Rng) -> String {
    let value = rng.below(40) * rng.below(40);
    if rng.below(200) == 0 { format!("\"{value}\"*700") } else { value.to_string() }
}

/// One command that changes a list, or looks for something in it.
fn command(rng: &mut Rng) -> String {
    let list = LISTS[rng.below(2) as usize];
    let (one, other) = (value(rng), value(rng));
    let at = rng.below(300) as i64 - 150;
    let side = ["BEFORE", "AFTER"][rng.below(2) as usize];
    match rng.below(24) {
        0..6 => format!("LINSERT {list} {side} {one} {other}"),
        6..8 => format!("LREM {list} {} {one}", rng.below(7) as i64 - 3),
        8..11 => format!("LPOS {list} {one} RANK {}", [1, -1, 2, -3][rng.below(4) as usize]),
        11 => format!("LPOS {list} {one} COUNT 0"),
        12 => format!("LPOS {list} {one} RANK -1 COUNT 3 MAXLEN {}", rng.below(400)),
        13 => format!("LPOS {list} {one} COUNT 2 MAXLEN {}", rng.below(400)),
        14..16 => format!("LSET {list} {at} {one}"),
        16 => format!("LPUSH {list} {one} {other} {one}"),
        17..19 => format!("RPUSH {list} {one} {other}"),
        19 => format!("LPOP {list} {}", rng.below(5)),
        20 => format!("RPOP {list} {}", rng.below(5)),
        21 => format!("LMOVE {list} {} LEFT RIGHT", LISTS[rng.below(2) as usize]),
        22 if rng.below(20) == 0 => format!("LTRIM {list} 5 -5"),
        22 if rng.below(20) == 0 => format!("COPY {list} {} REPLACE", LISTS[rng.below(2) as usize]),
        _ => format!(
            "EVAL \"redis.call('LREM', KEYS[1], 1, ARGV[1]) return redis.call('LINSERT', KEYS[1], 'AFTER', ARGV[2], ARGV[1])\" 1 {list} {one} {other}"
        ),
    }
}

/// The same commands to both, some of them in transactions that are undone: every reply is the same, and so are the lists in the end.
fn compare(shards: u16, items: &str, rng: &mut Rng) {
    // Nothing is remembered of lists that are shorter than some slices.
    let mut clients = ["1048576", items].map(|items| Client::new(shards, 1, items));
    let mut ask = |line: &str| {
        let [all, some] = clients.each_mut().map(|client| client.ask(line));
        let shown = [&all, &some].map(|reply| String::from_utf8_lossy(reply).into_owned());
        assert!(all == some, "{line}, {items} a slice, {shards} shards: {shown:?}");
    };
    for list in LISTS {
        (0..300).for_each(|_| ask(&format!("RPUSH {list} {}", value(rng))));
    }
    for _ in 0..400 {
        let (begin, end) = [
            (&[][..], &[][..]),
            (&["MULTI"], &["EXEC"]),
            (&["MULTI ROLLBACK"], &["INCR list:{a}", "EXEC"]),
            (&["BEGIN"], &["COMMIT"]),
            (&["BEGIN"], &["ROLLBACK"]),
            (&["BEGIN", "SAVEPOINT one"], &["ROLLBACK TO one", "COMMIT"]),
        ][rng.below(12).saturating_sub(6) as usize];
        begin.iter().for_each(|line| ask(line));
        let count = if begin.is_empty() { 1 } else { 1 + rng.below(4) };
        (0..count).for_each(|_| ask(&command(rng)));
        end.iter().for_each(|line| ask(line));
    }
    LISTS.iter().for_each(|list| ask(&format!("LRANGE {list} 0 -1")));
}

#[test]
fn what_is_passed_over_is_not_there() {
    let mut rng = Rng(1);
    for (shards, rounds) in [(1, 12), (2, 4)] {
        for round in 0..rounds {
            compare(shards, ["1", "3", "10", "60"][round % 4], &mut rng);
        }
    }
}

/// Turns that a command takes.
fn turns(client: &mut Client, line: &str, expect: &str) -> u32 {
    client.world.turns_max = Some(1);
    client.send(line);
    let mut reply = Vec::new();
    for turn in 1..1000 {
        reply.extend(client.world.receive(client.number).0);
        if !reply.is_empty() {
            assert_eq!(String::from_utf8_lossy(&reply), expect, "{line}");
            return turn;
        }
        client.world.advance(1);
    }
    panic!("{line} is not answered");
}

fn numbers(count: u64, items: u64) -> Client {
    let mut client = Client::new(1, 1, &items.to_string());
    for at in 0..count {
        client.ask(&format!("RPUSH list {at}"));
    }
    assert_eq!(client.ask("LSET list -1 last"), b"+OK\r\n");
    client
}

#[test]
fn a_list_is_looked_through_once() {
    let mut client = numbers(2000, 50);
    let first = turns(&mut client, "LINSERT list BEFORE 1500 new", ":2001\r\n");
    assert!((30..40).contains(&first), "{first} turns");
    for (line, reply) in [
        ("LINSERT list AFTER 1400 new", ":2002\r\n"),
        ("LINSERT list BEFORE 1500 new", ":2003\r\n"),
        ("LPOS list 7", ":7\r\n"),
        ("LREM list 1 1300", ":1\r\n"),
        ("LPOS list 1300 MAXLEN 1400", "$-1\r\n"),
    ] {
        let again = turns(&mut client, line, reply);
        assert!(again <= 4, "{line}: {again} turns");
    }
    // What is behind what has been looked at is not known, from either end.
    let behind = turns(&mut client, "LPOS list nothing", "$-1\r\n");
    assert!((8..15).contains(&behind), "{behind} turns");
    for line in ["LPOS list nothing", "LPOS list nothing RANK -1", "LREM list -1 nothing", "LREM list 0 nothing"] {
        let reply = if line.starts_with("LREM") { ":0\r\n" } else { "$-1\r\n" };
        let again = turns(&mut client, line, reply);
        assert!(again <= 4, "{line}: {again} turns");
    }
    // Those that come behind are the ones to look at.
    for at in 0..100 {
        client.send(&format!("RPUSH list {at}"));
    }
    client.world.turns_max = None;
    client.world.advance(1);
    client.world.receive(client.number);
    let more = turns(&mut client, "LPOS list nothing", "$-1\r\n");
    assert!((2..8).contains(&more), "{more} turns");
}

#[test]
fn lists_of_some_slices_are_remembered() {
    for (count, is_known) in [(-1, false), (0, true), (1, true)] {
        let mut client = numbers((FILTERED_SLICES_MIN * 200).wrapping_add_signed(count), 200);
        turns(&mut client, "LPOS list nothing", "$-1\r\n");
        let again = turns(&mut client, "LPOS list nothing", "$-1\r\n");
        assert_eq!(again < FILTERED_SLICES_MIN as u32 - 1, is_known, "{count} beyond: {again} turns");
    }
}

/// Where something of a list may be undone it is looked through, and nothing is remembered of it; nor of one as it was.
#[test]
fn what_may_be_undone_is_not_remembered() {
    for (lines, is_known) in [
        (&["MULTI", "LSET list 3 other", "LPOS list nothing", "EXEC"][..], false),
        (&["BEGIN", "LSET list 3 other", "LPOS list nothing", "COMMIT"], false),
        (&["EVAL \"redis.call('LSET', 'list', 3, 'other') return redis.call('LPOS', 'list', 'nothing')\" 0"], false),
        (&["BEGIN READ ONLY", "LPOS list nothing", "COMMIT"], false),
        (&["MULTI", "LPOS list nothing", "EXEC"], true),
    ] {
        let mut client = numbers(600, 50);
        lines.iter().for_each(|line| drop(client.ask(line)));
        let first = turns(&mut client, "LPOS list nothing", "$-1\r\n");
        assert_eq!(first <= 2, is_known, "{lines:?}: {first} turns");
    }
}

#[test]
fn what_is_there_again_is_found() {
    for (begin, end) in [
        (&["MULTI ROLLBACK"][..], &["INCR list", "EXEC"][..]),
        (&["BEGIN"], &["ROLLBACK"]),
        (&["BEGIN", "SAVEPOINT one"], &["ROLLBACK TO one", "COMMIT"]),
    ] {
        for shards in [1, 2] {
            let mut client = Client::new(shards, 1, "50");
            (0..600).for_each(|at| drop(client.ask(&format!("RPUSH list {at}"))));
            for line in [begin, &["LREM list 1 300", "LPOS list nothing"], end].concat() {
                client.ask(line);
            }
            for value in [299, 300, 301] {
                assert_eq!(
                    client.ask(&format!("LPOS list {value}")),
                    format!(":{value}\r\n").into_bytes(),
                    "{begin:?}"
                );
            }
        }
    }
}
