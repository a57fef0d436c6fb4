//! Commands and transactions on rows of any shards, as [`super::super::across`] asks for them. Deadlines are long past or far away, so that nobody
//! has to know when exactly a command was run; but for those of runs in which rows expire. There nothing is asked between BEGIN and COMMIT, where each
//! command has its own time.

use super::{TAGS, Workload, collections, command, words};
use crate::sim::across::{Shape, Unit};
use crate::sim::checks::Args;
use crate::sim::restart::VARIED;
use fastrand::Rng;

/// Beyond the end of every run, in Unix milliseconds.
const FAR_MS: u64 = 10_000_000_000_000;

/// In so many milliseconds a row expires that does so soon.
const SOON_MS: u64 = 6;

/// Databases that are asked for.
const DATABASES: [u8; 4] = [0, 0, 0, 1];

/// Keys that are met often, of those of a tag.
const HOT_KEYS: u32 = 3;

/// Members of one transaction.
const COMMANDS_MAX: usize = 5;

/// Pairs of one MSET where rows are many.
const FILL: usize = 10;

impl Workload {
    pub fn draw_across(rng: &mut Rng, is_wide: bool) -> Workload {
        Workload {
            clients: rng.usize(2..6),
            commands_max: if is_wide { 400 } else { [30, 100, 300][rng.usize(..3)] },
            keys: if is_wide { 300 } else { [2, 4][rng.usize(..2)] },
            is_wide,
            is_across: true,
            is_bulky: !is_wide && rng.u8(..3) == 0,
            long_in: [10, 100, 1000][rng.usize(..3)],
            huge_in: 10_000,
            ..Workload::default()
        }
    }

    /// What a client asks next.
    pub fn unit(&mut self, rng: &mut Rng, now_ms: u64) -> Unit {
        let db = DATABASES[rng.usize(..DATABASES.len())];
        let one = |command| Unit { db, commands: vec![command], shape: Shape::One };
        match rng.u32(..100) {
            _ if self.is_timed && rng.u8(..6) == 0 => one(self.end_soon(rng, now_ms)),
            0 => one(whole(rng)),
            1 => {
                let (name, values) = VARIED[rng.usize(..VARIED.len())];
                one(words(&["CONFIG", "SET", name, values[rng.usize(..values.len())]]))
            }
            2..12 if self.is_wide => one(self.fill_across(rng)),
            2..40 if !self.is_bulky || rng.u8(..4) == 0 => {
                let shape = match [Shape::Multi, Shape::Multi, Shape::Open, Shape::Script][rng.usize(..4)] {
                    Shape::Open if self.is_timed => Shape::Script,
                    shape => shape,
                };
                let count = rng.usize(1..=COMMANDS_MAX);
                let command = |_| match shape {
                    // Replies of others look otherwise when they have been Lua's.
                    Shape::Script => self.string(rng),
                    _ => self.across(rng, db),
                };
                let mut commands: Vec<Args> = (0..count).map(command).collect();
                // It counts what has expired and is not removed yet.
                if !self.is_timed && rng.u8(..10) == 0 {
                    commands.insert(rng.usize(..=commands.len()), words(&["DBSIZE"]));
                }
                if rng.u8(..16) == 0 {
                    commands.insert(rng.usize(..=commands.len()), whole(rng));
                }
                Unit { db, commands, shape }
            }
            _ => one(self.across(rng, db)),
        }
    }

    /// A command on rows of any shards.
    fn across(&mut self, rng: &mut Rng, db: u8) -> Args {
        if self.is_bulky && rng.u8(..3) > 0 {
            return self.bulky(rng, db);
        }
        match rng.u32(..100) {
            0..14 => self.set_several(rng),
            14..26 => {
                let (from, to) = (self.any(rng), self.any(rng));
                elsewhere(rng, db, &from, &to)
            }
            26..50 => self.string(rng),
            50..58 => algebra(rng),
            58..62 => {
                let kind = collections::KINDS[rng.usize(..collections::KINDS.len())];
                let (from, to) = (collections::key(kind, None, rng), collections::key(kind, None, rng));
                elsewhere(rng, db, &from, &to)
            }
            _ => collections::command(self, rng, 0),
        }
    }

    /// A large collection, or what is made of some.
    fn bulky(&mut self, rng: &mut Rng, db: u8) -> Args {
        let kind = collections::KINDS[rng.usize(..collections::KINDS.len())];
        let (from, to) = (collections::key(kind, None, rng), collections::key(kind, None, rng));
        match rng.u8(..8) {
            0..3 => collections::fill(self, kind, &from, rng),
            3..6 => algebra(rng),
            _ => elsewhere(rng, db, &from, &to),
        }
    }

    /// A row is to expire before long.
    fn end_soon(&self, rng: &mut Rng, now_ms: u64) -> Args {
        let key = match rng.u8(..4) {
            0 => self.any(rng),
            1 => collections::key(collections::KINDS[rng.usize(..collections::KINDS.len())], None, rng),
            _ => collections::key(["set", "zset"][rng.usize(..2)], None, rng),
        };
        command("PEXPIREAT", &[&key, (now_ms + rng.u64(..SOON_MS)).to_string().as_bytes()])
    }

    fn any(&self, rng: &mut Rng) -> Vec<u8> {
        let (tag, is_hot) = (rng.u32(..TAGS), rng.bool());
        format!("{{t{tag}}}{}", rng.u32(..if is_hot { HOT_KEYS.min(self.keys) } else { self.keys })).into_bytes()
    }

    fn set_several(&mut self, rng: &mut Rng) -> Args {
        let count = rng.usize(2..6);
        let pairs: Vec<Vec<u8>> = (0..count).flat_map(|_| [self.any(rng), self.value(rng)]).collect();
        command(if rng.u8(..4) == 0 { "MSETNX" } else { "MSET" }, &pairs.iter().map(Vec::as_slice).collect::<Vec<_>>())
    }

    fn fill_across(&mut self, rng: &mut Rng) -> Args {
        let pairs: Vec<Vec<u8>> = (0..FILL).flat_map(|_| [self.any(rng), self.value(rng)]).collect();
        command("MSET", &pairs.iter().map(Vec::as_slice).collect::<Vec<_>>())
    }

    fn string(&mut self, rng: &mut Rng) -> Args {
        let (key, value) = (self.any(rng), self.value(rng));
        match rng.u32(..16) {
            0..6 => command("GET", &[&key]),
            6 => command("SET", &[&key, &value, b"GET"]),
            7 => command("SET", &[&key, &value, [&b"NX"[..], b"XX"][rng.usize(..2)]]),
            8 => command("SET", &[&key, &value]),
            9 => command("APPEND", &[&key, b"tail"]),
            10 => command("INCR", &[&key]),
            11 => command("GETDEL", &[&key]),
            12 => command(["DEL", "PERSIST", "PEXPIRETIME"][rng.usize(..3)], &[&key]),
            13 => command("PEXPIREAT", &[&key, &deadline(rng)]),
            14 => command("GETEX", &[&key, b"PXAT", &deadline(rng)]),
            _ => command("STRLEN", &[&key]),
        }
    }
}

/// Far away, now and then past.
pub fn deadline(rng: &mut Rng) -> Vec<u8> {
    let ms = if rng.u8(..6) == 0 { rng.u64(1..1000) } else { FAR_MS + rng.u64(..1000) };
    ms.to_string().into_bytes()
}

/// Databases are emptied, or change places.
fn whole(rng: &mut Rng) -> Args {
    match rng.u8(..6) {
        0..3 => words(&["SWAPDB", "0", "1"]),
        3 | 4 => words(&["FLUSHDB"]),
        _ => words(&["FLUSHALL"]),
    }
}

/// A script that runs commands, and answers what they answer.
pub fn script(commands: &[Args]) -> Args {
    let text = "local r, i = {}, 1 while ARGV[i] do local n = tonumber(ARGV[i]) r[#r + 1] = redis.pcall(unpack(ARGV, i + 1, i + n)) i = i + n + 1 end return r";
    let mut args = words(&["EVAL", text, "0"]);
    for command in commands {
        args.push(command.len().to_string().into_bytes());
        args.extend(command.iter().cloned());
    }
    args
}

/// A row gets another name, or is copied, to any shard or database.
fn elsewhere(rng: &mut Rng, db: u8, from: &[u8], to: &[u8]) -> Args {
    let other = if db == 0 { &b"1"[..] } else { b"0" };
    match rng.u32(..9) {
        0 | 1 => command("RENAMENX", &[from, to]),
        2 | 3 => command("COPY", &[from, to]),
        4 => command("COPY", &[from, to, b"REPLACE"]),
        5 => command("COPY", &[from, to, b"DB", other, b"REPLACE"]),
        6 => command("MOVE", &[from, other]),
        _ => command("RENAME", &[from, to]),
    }
}

/// What some collections come to, in another one.
fn algebra(rng: &mut Rng) -> Args {
    let is_set = rng.u8(..3) > 0;
    let keys: Vec<Vec<u8>> =
        (0..rng.usize(2..5)).map(|_| collections::key(if is_set { "set" } else { "zset" }, None, rng)).collect();
    let mut args: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
    if is_set {
        return command(["SUNIONSTORE", "SINTERSTORE", "SDIFFSTORE"][rng.usize(..3)], &args);
    }
    let count = (args.len() - 1).to_string();
    args.insert(1, count.as_bytes());
    command("ZUNIONSTORE", &args)
}

/// Looks at these rows of a database: nothing of them can be in doubt then.
pub fn look(db: u8, keys: &[Vec<u8>]) -> Unit {
    let mut commands = Vec::new();
    for key in keys {
        commands.extend(collections::looks(key).unwrap_or_else(|| vec![command("GET", &[key])]));
        commands.push(command("PEXPIRETIME", &[key]));
    }
    Unit { db, commands, shape: Shape::Multi }
}
