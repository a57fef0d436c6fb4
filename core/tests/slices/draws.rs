//! What draws very many elements shows them piece by piece.

use super::{Client, fill_overlapping};
use crate::driver::World;
use std::collections::BTreeSet;

/// What begins with one of these words.
fn texts(reply: &[u8], word: &str) -> Vec<String> {
    let lines = String::from_utf8_lossy(reply).into_owned();
    lines.split("\r\n").filter(|line| line.starts_with(word)).map(str::to_owned).collect()
}

#[test]
fn so_many_are_drawn_as_are_asked_for() {
    for (shards, number) in [(1, 1), (2, 1), (2, 2)] {
        for items in ["1", "30", "400", "4096"] {
            let mut client = Client::new(shards, number, items);
            fill_overlapping(&mut client);
            for at in 0..900 {
                client.ask(&format!("HSET hash member:{at} value:{at}"));
            }
            for (line, words, is_pair) in [
                ("SRANDMEMBER set:a COUNT", 1, false),
                ("ZRANDMEMBER zset:a COUNT", 1, false),
                ("ZRANDMEMBER zset:a COUNT WITHSCORES", 2, true),
                ("HRANDFIELD hash COUNT", 1, false),
                ("HRANDFIELD hash COUNT WITHVALUES", 2, true),
            ] {
                for (count, expect, are_different) in [
                    (0, 0, true),
                    (1, 1, true),
                    (500, 500, true),
                    (900, 900, true),
                    (5000, 900, true),
                    (-2000, 2000, false),
                ] {
                    for hello in ["HELLO 2", "HELLO 3"] {
                        client.ask(hello);
                        let line = line.replace("COUNT", &count.to_string());
                        let reply = client.ask(&line);
                        let is_nested = is_pair && hello == "HELLO 3";
                        let head = format!("*{}\r\n", if is_nested { expect } else { expect * words });
                        assert!(reply.starts_with(head.as_bytes()), "{line}, {items} a piece");
                        let members = texts(&reply, "member:");
                        let different: BTreeSet<&String> = members.iter().collect();
                        assert_eq!(members.len(), expect, "{line}, {items} a piece, {shards} shards");
                        assert!(!are_different || different.len() == expect, "{line}");
                        let pairs = texts(&reply, "value:");
                        let are_pairs = members.iter().zip(&pairs).all(|(one, other)| one[7..] == other[6..]);
                        assert!(are_pairs && (pairs.is_empty() || pairs.len() == expect), "{line}");
                    }
                }
            }
        }
    }
}

/// Also where fields expire, of which it is not known how many there are.
#[test]
fn fields_that_are_past_their_time_are_not_drawn() {
    let mut client = Client::new(1, 1, "10");
    for at in 0..300 {
        client.ask(&format!("HSET hash member:{at} value:{at}"));
    }
    client.ask("HPEXPIRE hash 5 FIELDS 3 member:1 member:2 member:3");
    client.world.advance(10);
    let reply = client.ask("HRANDFIELD hash 400");
    assert_eq!(texts(&reply, "member:").len(), 297);
}

/// A hash of 900 fields, every third of which is past its time and not removed.
fn fading(items: &str) -> Client {
    let settings = [("slice-items", items), ("enable-debug-command", "yes")];
    let settings: Vec<Vec<String>> =
        settings.iter().map(|(name, value)| vec![(*name).into(), (*value).into()]).collect();
    let mut client = Client { world: World::new(1, &settings), number: 1 };
    assert_eq!(client.ask("DEBUG SET-ACTIVE-EXPIRE 0"), b"+OK\r\n");
    for at in 0..900 {
        client.ask(&format!("HSET hash member:{at} value:{at}"));
        if at % 3 == 0 {
            client.ask(&format!("HPEXPIRE hash 5 FIELDS 1 member:{at}"));
        }
    }
    for at in 0..50 {
        client.ask(&format!("HSET past member:{at} value:{at}"));
        client.ask(&format!("HPEXPIRE past 5 FIELDS 1 member:{at}"));
    }
    client.world.advance(10);
    assert_eq!(client.ask("HLEN hash"), b":900\r\n", "nothing was removed");
    client
}

/// They are counted first, in pieces too.
#[test]
fn fields_that_are_past_their_time_and_not_removed_are_not_drawn() {
    for items in ["1", "30", "299", "300", "301", "599", "600", "601", "899", "900", "901", "4096"] {
        let mut client = fading(items);
        for (line, expect, are_different) in [
            ("HGETALL hash", 600, true),
            ("HKEYS hash", 600, true),
            ("HGETALL past", 0, true),
            ("HRANDFIELD hash", 1, true),
            ("HRANDFIELD hash 0", 0, true),
            ("HRANDFIELD hash 1", 1, true),
            ("HRANDFIELD hash 100 WITHVALUES", 100, true),
            ("HRANDFIELD hash 599", 599, true),
            ("HRANDFIELD hash 600 WITHVALUES", 600, true),
            ("HRANDFIELD hash 5000", 600, true),
            ("HRANDFIELD hash -1", 1, true),
            ("HRANDFIELD hash -2000 WITHVALUES", 2000, false),
            ("HRANDFIELD past", 0, true),
            ("HRANDFIELD past 7 WITHVALUES", 0, true),
            ("HRANDFIELD past -700", 0, true),
        ] {
            let reply = client.ask(line);
            let words = if line.contains("WITHVALUES") || line.contains("GETALL") { 2 } else { 1 };
            let head = match (line.matches(' ').count(), expect) {
                (1, 0) if line.starts_with("HR") => "$-1\r\n".to_owned(),
                (1, 1) => "$".to_owned(),
                _ => format!("*{}\r\n", expect * words),
            };
            assert!(reply.starts_with(head.as_bytes()), "{line}, {items} a piece: {}", reply[..9].escape_ascii());
            let members = texts(&reply, "member:");
            let different: BTreeSet<&String> = members.iter().collect();
            assert_eq!(members.len(), expect, "{line}, {items} a piece");
            assert!(!are_different || different.len() == expect, "{line}, {items} a piece");
            assert!(
                members.iter().all(|member| member[7..].parse::<u32>().expect("it has a number") % 3 > 0),
                "{line}"
            );
            let pairs = texts(&reply, "value:");
            assert!(words == 1 || members.iter().zip(&pairs).all(|(one, other)| one[7..] == other[6..]), "{line}");
            assert_eq!(pairs.len(), expect * (words - 1), "{line}");
        }
    }
}

#[test]
fn others_are_served_while_fields_are_counted_and_who_changes_one_waits() {
    for line in ["HRANDFIELD hash 500", "HRANDFIELD hash -700", "HGETALL hash", "HVALS hash"] {
        let mut client = fading("10");
        client.world.turns_max = Some(4);
        client.send(line);
        client.world.send(3, b"PING\r\n");
        assert_eq!(client.world.receive(3).0, b"+PONG\r\n");
        client.world.send(4, b"HSET hash other value\r\n");
        assert_eq!((client.world.receive(4).0, client.world.receive(1).0), (vec![], vec![]), "{line} is under way");
        client.world.turns_max = None;
        client.world.advance(1);
        assert!(client.world.receive(1).0.starts_with(b"*"), "{line}");
        assert_eq!(client.world.receive(4).0, b":1\r\n", "{line}");
    }
}

#[test]
fn each_that_lives_is_drawn_about_as_often() {
    let mut client = fading("40");
    for count in [200, -200] {
        let mut drawn = [0; 900];
        for _ in 0..150 {
            for member in texts(&client.ask(&format!("HRANDFIELD hash {count}")), "member:") {
                drawn[member[7..].parse::<usize>().expect("it has a number")] += 1;
            }
        }
        let mut live = drawn.iter().enumerate().filter(|(at, _)| at % 3 > 0);
        assert!(live.all(|(_, times)| (20..95).contains(times)), "{count}: {drawn:?}");
    }
}

#[test]
fn each_is_drawn_about_as_often() {
    let mut client = Client::new(1, 1, "10");
    for at in 0..60 {
        client.ask(&format!("SADD set member:{at:02}:{}", "x".repeat(30)));
    }
    for count in [20, -20] {
        let mut drawn = [0; 60];
        for _ in 0..300 {
            for member in texts(&client.ask(&format!("SRANDMEMBER set {count}")), "member:") {
                drawn[member[7..9].parse::<usize>().expect("it has a number")] += 1;
            }
        }
        assert!(drawn.iter().all(|times| (60..150).contains(times)), "{count}: {drawn:?}");
    }
}
