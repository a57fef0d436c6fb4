//! What draws very many elements shows them piece by piece.

use super::{Client, fill_overlapping};
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
