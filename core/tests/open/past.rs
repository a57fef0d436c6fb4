//! Large collections as they were: transactions that only read are told of them what they were told when they began, whatever others do to them.

use crate::driver::{World, show};

const ROUNDS: usize = 40;
const CHANGES: u64 = 30;

/// Looks, and what was told then.
type Told = Vec<(String, Vec<u8>)>;

struct Course {
    world: World,
    random: u64,
}

impl Course {
    fn below(&mut self, end: u64) -> u64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % end
    }

    fn ask(&mut self, client: u32, line: &str) -> Vec<u8> {
        self.world.send(client, &show::request(&show::words(line)));
        self.world.receive(client).0
    }

    fn fill(&mut self) {
        for at in 0..400 {
            self.ask(1, &format!("RPUSH list value:{at}"));
            self.ask(1, &format!("HSET hash field:{at} value:{at}"));
            self.ask(1, &format!("SADD set member:{at}"));
            self.ask(1, &format!("ZADD zset {} member:{at}", at / 3));
            self.ask(1, &format!("XADD stream {}-1 field value:{at}", at + 1));
        }
        self.ask(1, "XGROUP CREATE stream group 0");
        self.ask(1, "XREADGROUP GROUP group one COUNT 150 STREAMS stream >");
        self.ask(1, "HPEXPIRE hash 100000 FIELDS 2 field:1 field:2");
    }

    /// One of them changes.
    fn change(&mut self, last: &mut u64) {
        let (at, to) = (self.below(450), self.below(450));
        *last += 1;
        let line = match self.below(22) {
            0 => format!("RPUSH list new:{last}"),
            1 => format!("LPUSH list new:{last} newer:{last}"),
            2 => "LPOP list".to_owned(),
            3 => "RPOP list".to_owned(),
            4 => format!("LINSERT list BEFORE value:{at} new:{last}"),
            5 => format!("LSET list {} new:{last}", at % 200),
            6 => format!("LREM list 0 value:{at}"),
            7 => format!("HSET hash field:{at} new:{last}"),
            8 => format!("HSET hash new:{last} x"),
            9 => format!("HDEL hash field:{at}"),
            10 => format!("SADD set new:{last}"),
            11 => format!("SMOVE set other member:{at}"),
            12 => format!("SADD set member:{at}"),
            13 => format!("ZADD zset {to} member:{at}"),
            14 => format!("ZREM zset member:{at}"),
            15 => format!("ZINCRBY zset 0.5 new:{to}"),
            16 => "ZPOPMIN zset".to_owned(),
            17 => format!("XADD stream {}-1 field new", 400 + *last),
            18 => format!("XDEL stream {at}-1"),
            19 => "XREADGROUP GROUP group two COUNT 3 STREAMS stream >".to_owned(),
            20 => format!("XACK stream group {at}-1"),
            _ => format!("HPEXPIRE hash 100000 FIELDS 1 field:{at}"),
        };
        self.ask(1, &line);
    }

    /// What is told of all of them.
    fn looks(&mut self) -> Vec<String> {
        let (at, to) = (self.below(400), self.below(400));
        let mut looks: Vec<String> =
            ["list", "hash", "set", "zset", "stream"].map(|key| format!("DUMP {key}")).into_iter().collect();
        let ranges = [(0, -1), (at as i64, to as i64), (-(at as i64), -1)];
        looks.extend(ranges.map(|(from, to)| format!("LRANGE list {from} {to}")));
        looks.extend(ranges.map(|(from, to)| format!("ZRANGE zset {from} {to} WITHSCORES")));
        looks.extend(ranges.map(|(from, to)| format!("ZRANGE zset {from} {to} REV")));
        looks.push(format!("ZRANGEBYSCORE zset {} ({} LIMIT 2 10", at / 3, to / 3));
        looks.push(format!("ZREVRANGEBYSCORE zset {} {}", to / 3, at / 3));
        looks.push(format!("ZCOUNT zset {} {}", at / 3, to / 3));
        looks.push(format!("XRANGE stream {at} {to}"));
        looks.push(format!("XREVRANGE stream {to} {at} COUNT 20"));
        looks.push(format!("XPENDING stream group - + 500 {}", if at % 2 == 0 { "one" } else { "two" }));
        for at in 0..40 {
            let at = at * 11;
            looks.push(format!("LINDEX list {at}"));
            looks.push(format!("LINDEX list -{at}"));
            looks.push(format!("LPOS list value:{at} RANK -1"));
            looks.push(format!("ZRANK zset member:{at}"));
            looks.push(format!("ZREVRANK zset member:{at}"));
        }
        let others =
            ["HGETALL hash", "SMEMBERS set", "HLEN hash", "LLEN list", "SCARD set", "ZCARD zset", "XLEN stream"];
        looks.extend(others.map(str::to_owned));
        looks.extend(["XPENDING stream group", "XINFO STREAM stream FULL"].map(str::to_owned));
        looks.push("HSCAN hash 0 COUNT 1000".to_owned());
        looks.push("HPTTL hash FIELDS 2 field:1 field:2".to_owned());
        looks
    }
}

#[test]
fn who_only_reads_is_told_of_large_collections_as_they_were() {
    for (shards, items) in [(1, "1048576"), (1, "7"), (2, "64")] {
        let setting = vec!["slice-items".to_owned(), items.to_owned()];
        let mut course = Course { world: World::new(shards, &[setting]), random: 17 };
        course.fill();
        let mut last = 0;
        // Each has begun at another moment.
        let mut open: [Option<Told>; 3] = [const { None }; 3];
        for round in 0..ROUNDS {
            let reader = course.below(3) as u32;
            let client = reader + 2;
            match open[reader as usize].take() {
                None => {
                    let looks = course.looks();
                    let told = looks.into_iter().map(|look| (look.clone(), course.ask(1, &look))).collect();
                    assert_eq!(course.ask(client, "BEGIN READ ONLY"), b"+OK\r\n");
                    open[reader as usize] = Some(told);
                }
                Some(told) => {
                    for (look, expect) in &told {
                        let got = course.ask(client, look);
                        let text = String::from_utf8_lossy;
                        assert!(got == *expect, "round {round}, {look}: {}\nnot {}", text(&got), text(expect));
                    }
                    if course.below(2) == 0 {
                        assert_eq!(course.ask(client, "COMMIT"), b"+OK\r\n");
                    } else {
                        open[reader as usize] = Some(told);
                    }
                }
            }
            for _ in 0..course.below(CHANGES) {
                course.change(&mut last);
            }
        }
    }
}
