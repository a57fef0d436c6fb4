//! Fields that expire, beside a map that knows when: random commands, moments and crashes; and very many at once.

use crate::driver::{Rng, World, show};
use cairn_core::limits::EXPIRE_ROWS_PER_TURN_MAX;
use std::collections::BTreeMap;

const KEYS: u64 = 3;
const FIELDS: u64 = 6;

/// When the driver's clock begins.
const BEGIN_MS: u64 = 1_700_000_000_000;

/// A field's value, and its deadline (0: none).
type Field = (String, u64);

/// What ought to be there.
#[derive(Default)]
struct Model {
    keys: BTreeMap<u64, BTreeMap<u64, Field>>,
    now_ms: u64,
}

impl Model {
    fn advance(&mut self, ms: u64) {
        self.now_ms += ms;
        let now_ms = self.now_ms;
        for fields in self.keys.values_mut() {
            fields.retain(|_, (_, deadline)| *deadline == 0 || *deadline >= now_ms);
        }
        self.keys.retain(|_, fields| !fields.is_empty());
    }

    fn fields(&mut self, key: u64) -> &mut BTreeMap<u64, Field> {
        self.keys.entry(key).or_default()
    }

    fn field(&self, key: u64, field: u64) -> Option<&Field> {
        self.keys.get(&key)?.get(&field)
    }

    /// A hash that has become empty is none.
    fn settle(&mut self) {
        self.keys.retain(|_, fields| !fields.is_empty());
    }

    /// Sets a deadline, or removes the field if that is not ahead.
    fn expire(&mut self, key: u64, field: u64, at_ms: u64) {
        let is_over = at_ms <= self.now_ms;
        let fields = self.fields(key);
        match is_over {
            true => drop(fields.remove(&field)),
            false => fields.get_mut(&field).unwrap().1 = at_ms,
        }
    }
}

struct Play {
    world: World,
    model: Model,
    rng: Rng,
    /// Values are so long.
    value_len: usize,
}

impl Play {
    fn ask(&mut self, words: &[String]) -> String {
        let words: Vec<Vec<u8>> = words.iter().map(|word| word.as_bytes().to_vec()).collect();
        self.world.send(1, &show::request(&words));
        let (received, _) = self.world.receive(1);
        let (replies, rest) = show::replies(&received);
        assert!(rest.is_empty() && replies.len() == 1, "{words:?}: {replies:?}");
        replies[0].join(" ").replace("   ", " ").replace("  ", " ")
    }

    fn expect(&mut self, command: &str, expect: &str) {
        let words: Vec<String> = command.split(' ').map(str::to_string).collect();
        let reply = self.ask(&words);
        assert_eq!(reply, expect, "{command} at {}", self.model.now_ms - BEGIN_MS);
    }

    fn value(&mut self) -> String {
        let number = self.rng.below(1000).to_string();
        number.repeat(self.value_len / number.len() + 1)
    }

    /// A deadline, now and then one that is not ahead.
    fn deadline(&mut self) -> u64 {
        (self.model.now_ms + self.rng.below(120)).saturating_sub(20)
    }

    fn step(&mut self) {
        let (key, field) = (self.rng.below(KEYS), self.rng.below(FIELDS));
        let (name, found) = (format!("k{key}"), self.model.field(key, field).cloned());
        match self.rng.below(16) {
            0..3 => {
                let value = self.value();
                self.expect(&format!("HSET {name} f{field} {value}"), &format!(":{}", u8::from(found.is_none())));
                self.model.fields(key).insert(field, (value, 0));
            }
            3..6 => self.set_deadline(key, field, found),
            6 => {
                let persisted = found.as_ref().map_or(-2, |(_, at)| if *at == 0 { -1 } else { 1 });
                self.expect(&format!("HPERSIST {name} FIELDS 1 f{field}"), &format!("*1 :{persisted}"));
                if persisted == 1 {
                    self.model.fields(key).get_mut(&field).unwrap().1 = 0;
                }
            }
            7 => {
                let (value, at_ms) = (self.value(), self.deadline());
                self.expect(&format!("HSETEX {name} PXAT {at_ms} FIELDS 1 f{field} {value}"), ":1");
                self.model.fields(key).insert(field, (value, 0));
                self.model.expire(key, field, at_ms);
            }
            8 => {
                let at_ms = self.deadline();
                let shown = found.as_ref().map_or("nil".into(), |(value, _)| format!("{value:?}"));
                self.expect(&format!("HGETEX {name} PXAT {at_ms} FIELDS 1 f{field}"), &format!("*1 {shown}"));
                if found.is_some() {
                    self.model.expire(key, field, at_ms);
                }
            }
            9 => {
                let value = self.value();
                self.expect(&format!("HSETEX {name} KEEPTTL FIELDS 1 f{field} {value}"), ":1");
                self.model.fields(key).insert(field, (value, found.map_or(0, |(_, at)| at)));
            }
            10 => {
                self.expect(&format!("HDEL {name} f{field}"), &format!(":{}", u8::from(found.is_some())));
                self.model.fields(key).remove(&field);
            }
            11 => self.move_key(key),
            12 if self.rng.below(20) == 0 => self.world.crash(),
            _ => {
                let ms = self.rng.below(30);
                self.world.advance(ms);
                self.model.advance(ms);
            }
        }
        self.model.settle();
        self.look(key);
    }

    fn set_deadline(&mut self, key: u64, field: u64, found: Option<Field>) {
        let at_ms = self.deadline();
        let condition = ["", "NX ", "XX ", "GT ", "LT "][self.rng.below(5) as usize];
        let result = match found {
            None => -2,
            Some((_, 0)) if ["XX ", "GT "].contains(&condition) => 0,
            Some((_, at)) if at != 0 && condition == "NX " => 0,
            Some((_, at)) if at != 0 && (condition == "GT " && at >= at_ms || condition == "LT " && at <= at_ms) => 0,
            Some(_) if at_ms <= self.model.now_ms => 2,
            Some(_) => 1,
        };
        self.expect(&format!("HPEXPIREAT k{key} {at_ms} {condition}FIELDS 1 f{field}"), &format!("*1 :{result}"));
        if result > 0 {
            self.model.expire(key, field, at_ms);
        }
    }

    /// By a copy over shards, a payload, or another name.
    fn move_key(&mut self, key: u64) {
        let (target, is_there) = (self.rng.below(KEYS), self.model.keys.contains_key(&key));
        if target == key || !is_there {
            return;
        }
        if self.rng.below(2) == 0 {
            self.expect(&format!("COPY k{key} k{target} REPLACE"), ":1");
            let fields = self.model.keys[&key].clone();
            self.model.keys.insert(target, fields);
        } else {
            self.expect(&format!("RENAME k{key} k{target}"), "+OK");
            let fields = self.model.keys.remove(&key).unwrap();
            self.model.keys.insert(target, fields);
        }
    }

    /// All that can be seen of a hash.
    fn look(&mut self, key: u64) {
        let fields = self.model.keys.get(&key).cloned().unwrap_or_default();
        let names: Vec<String> = (0..FIELDS).map(|field| format!("f{field}")).collect();
        let names = names.join(" ");
        let values: Vec<String> = (0..FIELDS)
            .map(|field| fields.get(&field).map_or("nil".into(), |(value, _)| format!("{value:?}")))
            .collect();
        let times = |field| fields.get(&field).map_or(-2, |(_, at)| if *at == 0 { -1 } else { *at as i64 });
        let times: Vec<String> = (0..FIELDS).map(|field| format!(":{}", times(field))).collect();
        self.expect(&format!("HMGET k{key} {names}"), &format!("*{FIELDS} {}", values.join(" ")));
        self.expect(&format!("HPEXPIRETIME k{key} FIELDS {FIELDS} {names}"), &format!("*{FIELDS} {}", times.join(" ")));
        self.expect(&format!("HLEN k{key}"), &format!(":{}", fields.len()));
        self.expect(&format!("EXISTS k{key}"), &format!(":{}", u8::from(!fields.is_empty())));
        let all = self.ask(&["HGETALL".into(), format!("k{key}")]);
        assert_eq!(all.split(' ').next(), Some(&format!("*{}", 2 * fields.len())[..]), "{all}");
    }
}

#[test]
fn random_commands_on_fields_that_expire_do_as_a_map_does() {
    for (shards, value_len, seed) in [(1, 1, 1), (1, 1, 2), (2, 1, 3), (1, 300, 4), (2, 300, 5)] {
        let mut play = Play {
            world: World::new(shards, &[]),
            model: Model { keys: BTreeMap::new(), now_ms: BEGIN_MS },
            rng: Rng(seed),
            value_len,
        };
        (0..600).for_each(|_| play.step());
    }
}

#[test]
fn many_fields_that_are_due_at_once_go_some_in_a_turn_and_nobody_sees_them_meanwhile() {
    const COUNT: usize = 20 * EXPIRE_ROWS_PER_TURN_MAX - 10;
    let mut play = Play {
        world: World::new(1, &[vec!["enable-debug-command".into(), "yes".into()]]),
        model: Model { keys: BTreeMap::new(), now_ms: BEGIN_MS },
        rng: Rng(1),
        value_len: 1,
    };
    let fields: Vec<String> = (0..COUNT).map(|field| format!("f{field} 1")).collect();
    play.expect("DEBUG SET-ACTIVE-EXPIRE 0", "+OK");
    play.expect(&format!("HSETEX h PX 10 FIELDS {COUNT} {}", fields.join(" ")), ":1");
    play.world.advance(11);
    play.expect("HLEN h", &format!(":{COUNT}"));
    play.expect("HGETALL h", "*0");
    play.expect("HRANDFIELD h 3", "*0");
    play.expect("HGET h f7", "nil");
    // While no write of the log ends, few turns follow each other.
    play.world.is_disk_held = true;
    play.world.send(1, b"DEBUG SET-ACTIVE-EXPIRE 1\r\nHGETALL h\r\n");
    let mut times = 0;
    while play.world.rows(0) > 0 {
        assert!(times < COUNT, "nothing goes");
        play.world.advance(1);
        times += 1;
    }
    assert!(times * 4 > COUNT / EXPIRE_ROWS_PER_TURN_MAX, "{COUNT} fields have gone in {times} times");
    play.world.is_disk_held = false;
    play.world.release_disks();
    assert_eq!(show::replies(&play.world.receive(1).0).0, [["+OK"], ["*0"]]);
    play.expect("EXISTS h", ":0");
    play.world.crash();
    play.expect("EXISTS h", ":0");
}
