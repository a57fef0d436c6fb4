//! What the clients ask: commands on a few hot keys, so that they meet each other often.

pub mod across;
mod collections;

use super::checks::Args;
use fastrand::Rng;

/// Hash tags of keys that one command may name together.
const TAGS: u32 = 3;

/// One run in so many is a flood.
const FLOOD_IN: u32 = 60;

/// Of the four kinds of runs the one whose commands of collections are repeated.
const REPEATS: u8 = 0;

/// How a run's clients behave, drawn from its seed.
#[derive(Clone, Debug, Default)]
pub struct Workload {
    pub clients: usize,
    /// Requests that a client has under way at most.
    pub pipeline_max: usize,
    /// Commands between two crashes.
    pub commands_max: u32,
    /// Keys of each tag, and keys without one.
    keys: u32,
    /// A value in so many is longer than a row may be, and one in `huge_in` than a flush may be.
    long_in: u32,
    huge_in: u32,
    /// Every second value is a few megabytes: more than the disks can write in time.
    pub is_flood: bool,
    /// Many rows of a kilobyte or two, none very long: more than a small memory holds.
    pub is_wide: bool,
    /// All clients connect to the first shard.
    pub is_one_sided: bool,
    /// A command in so many is on a collection.
    collected_in: u32,
    /// What was counted last, if it is likely to be counted again: increments that follow each other are done together.
    counted: Option<Vec<u8>>,
    /// Whether commands of collections come in runs: they are done together.
    repeats: bool,
    /// The last one of those, on which key.
    repeated: Option<(&'static str, Vec<u8>)>,
    /// There is one shard only: of transactions over several the model knows nothing.
    is_alone: bool,
    /// Commands are to span shards, and none tells of time.
    is_across: bool,
    /// Rows expire while they are asked for.
    pub is_timed: bool,
    /// Mostly large collections, which are stored piece by piece.
    pub is_bulky: bool,
    /// Makes values differ, so that what survives tells when it was written.
    serial: u32,
}

impl Workload {
    pub fn draw(rng: &mut Rng, has_pages: bool, shards: usize) -> Workload {
        let is_flood = rng.u32(..FLOOD_IN) == 0;
        let is_wide = has_pages && !is_flood && rng.bool();
        Workload {
            clients: rng.usize(1..8),
            pipeline_max: if is_flood { 40 } else { [1, 2, 8, 40][rng.usize(..4)] },
            commands_max: match (is_flood, is_wide) {
                (true, _) => 200,
                (_, true) => [300, 1000][rng.usize(..2)],
                _ => [30, 100, 300, 1000][rng.usize(..4)],
            },
            is_flood,
            is_wide,
            is_alone: shards == 1,
            is_across: false,
            is_timed: false,
            is_bulky: false,
            is_one_sided: rng.u8(..4) == 0,
            keys: if is_wide { 400 } else { [1, 4, 20][rng.usize(..3)] },
            long_in: [10, 100, 1000][rng.usize(..3)],
            huge_in: [300, 10_000, 10_000, 10_000][rng.usize(..4)],
            // Collections are small: they would keep a flood from coming.
            collected_in: if is_flood { 1000 } else { [3, 6, 20][rng.usize(..3)] },
            counted: None,
            // Drawn aside: seeds that once failed are the runs that they were.
            repeats: rng.clone().u8(..4) == REPEATS,
            repeated: None,
            serial: 0,
        }
    }

    /// A command for a connection on database `db`. `now_ms` is about what the machine's clock shows.
    pub fn command(&mut self, rng: &mut Rng, db: u8, now_ms: u64) -> Args {
        if self.counted.is_some() && rng.u8(..3) > 0 {
            return self.count(rng);
        }
        self.counted = None;
        if self.repeats
            && let Some(args) = collections::again(self, rng)
        {
            return args;
        }
        if rng.u32(..self.collected_in) == 0 {
            return collections::command(self, rng, now_ms);
        }
        match rng.u32(..100) {
            0..12 if self.is_wide => self.fill(rng),
            0..24 => self.set(rng, now_ms),
            24..43 => self.read(rng),
            43..55 => self.count(rng),
            55..66 => self.splice(rng),
            66..76 => self.several(rng),
            76..84 => self.expire(rng, now_ms),
            84..90 => self.exchange(rng, now_ms),
            90..95 => self.rename(rng, db),
            95..97 => words(&["DBSIZE"]),
            97 => words(&["SELECT", ["0", "0", "0", "1", "15"][rng.usize(..5)]]),
            98 => self.wait(rng),
            _ if !self.is_alone || self.is_wide && rng.u32(..8) > 0 => words(&["DBSIZE"]),
            _ if rng.bool() => words(&["SWAPDB", ["0", "1"][rng.usize(..2)], ["0", "1", "15"][rng.usize(..3)]]),
            _ => words(&[["FLUSHDB", "FLUSHDB", "FLUSHDB", "FLUSHALL"][rng.usize(..4)]]),
        }
    }

    /// A command that tells nothing of any row; some make all clients wait.
    fn wait(&self, rng: &mut Rng) -> Args {
        let ms = rng.u32(1..300).to_string();
        match rng.u32(..8) {
            0 => words(&["CLIENT", "PAUSE", &ms]),
            1 => words(&["CLIENT", "PAUSE", &ms, "WRITE"]),
            2 => words(&["CLIENT", "UNPAUSE"]),
            3 => words(&[["SAVE", "BGSAVE"][rng.usize(..2)]]),
            4 => words(&["LASTSAVE"]),
            _ => words(&["PING"]),
        }
    }

    /// A step of a walk with SCAN.
    pub fn scan(&mut self, rng: &mut Rng, cursor: u64) -> Args {
        let cursor = cursor.to_string();
        match rng.u32(..3) {
            0 => words(&["SCAN", &cursor]),
            _ => words(&["SCAN", &cursor, "COUNT", ["1", "2", "5", "100"][rng.usize(..4)]]),
        }
    }

    fn key(&self, rng: &mut Rng) -> Vec<u8> {
        let number = rng.u32(..self.keys);
        match rng.u32(..40) {
            // Longer than a key may be in a leaf.
            0 => format!("long:{number}:{}", "x".repeat(600)).into_bytes(),
            1..20 => {
                let tag = rng.u32(..TAGS);
                self.tagged(rng, tag)
            }
            _ => format!("k{number}").into_bytes(),
        }
    }

    /// A key whose slot is that of all keys of the tag.
    fn tagged(&self, rng: &mut Rng, tag: u32) -> Vec<u8> {
        format!("{{t{tag}}}{}", rng.u32(..self.keys)).into_bytes()
    }

    fn value(&mut self, rng: &mut Rng) -> Vec<u8> {
        self.serial += 1;
        let mut value = match rng.u32(..4) {
            0 => return self.serial.to_string().into_bytes(),
            _ => format!("v{}", self.serial).into_bytes(),
        };
        if self.is_wide {
            // Up to what a leaf takes, and now and then more.
            let len = if rng.u32(..self.long_in) == 0 { rng.usize(2000..9000) } else { rng.usize(500..2000) };
            value.resize(len, b'w');
        } else if self.is_flood && rng.bool() {
            value.resize(rng.usize(500_000..3_000_000), b'f');
        } else if rng.u32(..self.huge_in) == 0 {
            value.resize(rng.usize(1000..700_000), b'h');
        } else if rng.u32(..self.long_in) == 0 {
            value.resize(rng.usize(1500..9000), b'l');
        } else if rng.u8(..3) == 0 {
            value.resize(rng.usize(1..200), b's');
        }
        value
    }

    /// Many rows at once.
    fn fill(&mut self, rng: &mut Rng) -> Args {
        let tag = rng.u32(..TAGS);
        let pairs: Vec<Vec<u8>> = (0..10).flat_map(|_| [self.tagged(rng, tag), self.value(rng)]).collect();
        command("MSET", &pairs.iter().map(Vec::as_slice).collect::<Vec<_>>())
    }

    fn set(&mut self, rng: &mut Rng, now_ms: u64) -> Args {
        let (key, value) = (self.key(rng), self.value(rng));
        match rng.u32(..14) {
            0 => return command("SETNX", &[&key, &value]),
            1 => return command("SETEX", &[&key, rng.u32(1..4).to_string().as_bytes(), &value]),
            2 => return command("PSETEX", &[&key, rng.u32(1..1500).to_string().as_bytes(), &value]),
            _ => {}
        }
        let mut args = command("SET", &[&key, &value]);
        let mut push = |words: &[&str]| args.extend(words.iter().map(|word| word.as_bytes().to_vec()));
        match rng.u32(..8) {
            0 => push(&["NX"]),
            1 => push(&["XX"]),
            _ => {}
        }
        if rng.u32(..6) == 0 {
            push(&["GET"]);
        }
        match rng.u32(..10) {
            0 => push(&["KEEPTTL"]),
            1 | 2 => {
                let (unit, amount) = lifetime(rng, now_ms);
                push(&[unit, &amount.to_string()]);
            }
            _ => {}
        }
        args
    }

    fn read(&self, rng: &mut Rng) -> Args {
        let key = self.key(rng);
        match rng.u32(..12) {
            0 => command("STRLEN", &[&key]),
            1 => command("GETRANGE", &[&key, b"-5", b"-1"]),
            2 => command("TYPE", &[&key]),
            3 => command(["TTL", "PTTL", "EXPIRETIME", "PEXPIRETIME"][rng.usize(..4)], &[&key]),
            _ => command("GET", &[&key]),
        }
    }

    fn count(&mut self, rng: &mut Rng) -> Args {
        let key = self.counted.clone().unwrap_or_else(|| self.key(rng));
        self.counted = (rng.u8(..4) == 0 || self.counted.is_some()).then(|| key.clone());
        let amount = [1, -3, 1000, i64::MAX, i64::MIN][rng.usize(..5)].to_string();
        match rng.u32(..8) {
            0 => command("INCRBY", &[&key, amount.as_bytes()]),
            1 => command("DECRBY", &[&key, amount.as_bytes()]),
            2 => command("DECR", &[&key]),
            3 => command("INCRBYFLOAT", &[&key, b"0.25"]),
            _ => command("INCR", &[&key]),
        }
    }

    fn splice(&mut self, rng: &mut Rng) -> Args {
        let (key, value) = (self.key(rng), self.value(rng));
        let offset = [rng.u32(..40), rng.u32(..3000)][usize::from(rng.u8(..10) == 0)];
        match rng.u32(..3) {
            0 => command("SETRANGE", &[&key, offset.to_string().as_bytes(), &value]),
            1 => command("APPEND", &[&key, b"tail"]),
            _ => command("APPEND", &[&key, &value]),
        }
    }

    /// Commands on several keys: some on any shards, those that change together on one.
    fn several(&mut self, rng: &mut Rng) -> Args {
        let count = if self.is_wide { rng.usize(1..11) } else { rng.usize(1..6) };
        let spread: Vec<Vec<u8>> = (0..count).map(|_| self.key(rng)).collect();
        let keys: Vec<&[u8]> = spread.iter().map(Vec::as_slice).collect();
        match rng.u32(..8) {
            0 | 1 => command("MGET", &keys),
            2 => command("DEL", &keys),
            3 => command("UNLINK", &keys[..1]),
            4 => command(["EXISTS", "TOUCH"][rng.usize(..2)], &keys),
            way => {
                let tag = rng.u32(..TAGS);
                let mut pairs: Vec<Vec<u8>> =
                    (0..count).flat_map(|_| [self.tagged(rng, tag), self.value(rng)]).collect();
                if !self.is_wide && rng.u32(..30) == 0 {
                    // Then it takes several flushes, and a crash may come between them.
                    pairs[1].resize(rng.usize(200_000..400_000), b'm');
                }
                let pairs: Vec<&[u8]> = pairs.iter().map(Vec::as_slice).collect();
                command(if way == 5 { "MSETNX" } else { "MSET" }, &pairs)
            }
        }
    }

    fn expire(&self, rng: &mut Rng, now_ms: u64) -> Args {
        let key = self.key(rng);
        if rng.u32(..6) == 0 {
            return command("PERSIST", &[&key]);
        }
        let (unit, amount) = lifetime(rng, now_ms);
        let name = match unit {
            "EX" => "EXPIRE",
            "PX" => "PEXPIRE",
            "EXAT" => "EXPIREAT",
            _ => "PEXPIREAT",
        };
        let amount = if rng.u8(..10) == 0 { "-1".to_owned() } else { amount.to_string() };
        let mut args = command(name, &[&key, amount.as_bytes()]);
        if rng.u8(..3) == 0 {
            args.push(["NX", "XX", "GT", "LT"][rng.usize(..4)].into());
        }
        args
    }

    fn exchange(&mut self, rng: &mut Rng, now_ms: u64) -> Args {
        let key = self.key(rng);
        let (unit, amount) = lifetime(rng, now_ms);
        match rng.u32(..5) {
            0 => command("GETDEL", &[&key]),
            1 => command("GETEX", &[&key]),
            2 => command("GETEX", &[&key, b"PERSIST"]),
            3 => command("GETEX", &[&key, unit.as_bytes(), amount.to_string().as_bytes()]),
            _ => command("GETSET", &[&key, &self.value(rng)]),
        }
    }

    fn rename(&self, rng: &mut Rng, db: u8) -> Args {
        let tag = rng.u32(..TAGS);
        let (from, to) = (self.tagged(rng, tag), self.tagged(rng, tag));
        let other = if db == 0 { "1" } else { "0" };
        match rng.u32(..6) {
            0 => command("RENAMENX", &[&from, &to]),
            1 => command("COPY", &[&from, &to]),
            2 => command("COPY", &[&from, &to, b"REPLACE"]),
            3 => command("COPY", &[&from, &to, b"DB", other.as_bytes(), b"REPLACE"]),
            _ => command("RENAME", &[&from, &to]),
        }
    }
}

/// An option that names a lifetime, and its amount: mostly short, now and then past.
fn lifetime(rng: &mut Rng, now_ms: u64) -> (&'static str, u64) {
    match rng.u32(..6) {
        0 => ("EX", rng.u64(1..3)),
        1 => ("EXAT", now_ms / 1000 + rng.u64(..4)),
        2 => ("PXAT", now_ms + rng.u64(..600) - 100),
        3 => ("PX", rng.u64(1..20)),
        _ => ("PX", rng.u64(1..500)),
    }
}

fn command(name: &str, args: &[&[u8]]) -> Args {
    let name = std::iter::once(name.as_bytes());
    name.chain(args.iter().copied()).map(<[u8]>::to_vec).collect()
}

fn words(words: &[&str]) -> Args {
    words.iter().map(|word| word.as_bytes().to_vec()).collect()
}

/// Appends a request as it is on the wire.
pub fn encode(args: &Args, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("*{}\r\n", args.len()).as_bytes());
    for arg in args {
        out.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
}
