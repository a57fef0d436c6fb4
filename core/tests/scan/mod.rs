//! SCAN is exact: whatever else comes and goes, a key that is there throughout is answered once.

use crate::driver::{World, show};
use std::collections::BTreeMap;

struct Client {
    world: World,
    random: u64,
}

impl Client {
    fn new(shards: u16) -> Client {
        Client { world: World::new(shards, &[]), random: 1 }
    }

    /// Below `bound`.
    fn random(&mut self, bound: u64) -> u64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % bound
    }

    fn ask(&mut self, line: &str) -> Vec<String> {
        self.world.send(1, &show::request(&show::words(line)));
        let (bytes, _) = self.world.receive(1);
        let (mut replies, rest) = show::replies(&bytes);
        assert!(replies.len() == 1 && rest.is_empty(), "one reply to {line}");
        replies.pop().unwrap()
    }

    /// One step: the next cursor, and the keys.
    fn scan(&mut self, cursor: &str, options: &str) -> (String, Vec<String>) {
        let lines = self.ask(&format!("SCAN {cursor} {options}"));
        let text = |line: &String| line.trim().trim_matches('"').to_owned();
        (text(&lines[1]), lines[3..].iter().map(text).collect())
    }
}

#[test]
fn keys_that_stay_are_answered_once_whatever_comes_and_goes() {
    for shards in [1, 3] {
        let mut client = Client::new(shards);
        for number in 0..2000 {
            client.ask(&format!("SET stays:{number} v"));
            client.ask(&format!("SET goes:{number} v"));
        }
        let mut times: BTreeMap<String, u32> = BTreeMap::new();
        let mut cursor = String::from("0");
        loop {
            let count = 1 + client.random(50);
            let (next, keys) = client.scan(&cursor, &format!("COUNT {count}"));
            for key in keys {
                *times.entry(key).or_default() += 1;
            }
            for _ in 0..30 {
                let number = client.random(4000);
                let change = client.random(3);
                client.ask(&if change == 0 { format!("SET goes:{number} v") } else { format!("DEL goes:{number}") });
            }
            // A client that keeps it as a double does no harm.
            cursor = (next.parse::<f64>().unwrap() as u64).to_string();
            if cursor == "0" {
                break;
            }
        }
        let stayed = times.iter().filter(|(key, _)| key.starts_with("stays:"));
        assert_eq!(stayed.clone().count(), 2000, "{shards} shards");
        assert!(stayed.into_iter().all(|(_, &count)| count == 1), "{shards} shards");
    }
}

/// COUNT keys are looked at in a step, neither many more nor fewer, but where a shard ends.
#[test]
fn a_step_looks_at_as_many_keys_as_it_was_asked_to() {
    let mut client = Client::new(1);
    for number in 0..500 {
        client.ask(&format!("SET key:{number} v"));
    }
    let (mut cursor, mut steps) = (String::from("0"), 0);
    loop {
        let (next, keys) = client.scan(&cursor, "COUNT 10");
        assert_eq!(keys.len(), 10);
        steps += 1;
        cursor = next;
        if cursor == "0" {
            break;
        }
    }
    assert_eq!(steps, 50);
    let (_, keys) = client.scan("0", "COUNT 500 MATCH key:1?");
    assert_eq!(keys.len(), 10);
    let (_, keys) = client.scan("0", "");
    assert_eq!(keys.len(), 10);
}

#[test]
fn every_key_is_drawn_by_randomkey() {
    let mut client = Client::new(3);
    for number in 0..20 {
        client.ask(&format!("SET key:{number} v"));
    }
    let mut drawn: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..2000 {
        *drawn.entry(client.ask("RANDOMKEY")[0].clone()).or_default() += 1;
    }
    assert_eq!(drawn.len(), 20, "{drawn:?}");
}
