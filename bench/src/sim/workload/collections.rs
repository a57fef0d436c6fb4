//! Commands on hashes, sets, sorted sets, lists and streams. Each kind has keys of its own, few enough that they are met often; members are few or, now and then, so many
//! that the collection does not fit its row.

use super::{TAGS, Workload, across, lifetime};
use crate::sim::checks::Args;
use fastrand::Rng;

const KEYS: u32 = 3;
pub(super) const KINDS: [&str; 5] = ["hash", "set", "zset", "list", "stream"];
/// Members that a collection may have; with this many it is far beyond its row.
const MEMBERS: u32 = 120;
/// Members that are named together at most, mostly and now and then.
const SOME: usize = 4;
const MANY: usize = 60;
/// Fields that are named more often than others.
const FEW: u32 = 5;
/// Fields of one command on deadlines where memory is small.
const EXPIRING_MAX: usize = 12;

/// A key of this kind and, of all kinds, of a tag, if it is to be of one.
pub(super) fn key(kind: &str, tag: Option<u32>, rng: &mut Rng) -> Vec<u8> {
    let tag = tag.unwrap_or_else(|| rng.u32(..TAGS));
    format!("{kind}{{t{tag}}}{}", rng.u32(..KEYS)).into_bytes()
}

/// Short and long ones.
fn member(rng: &mut Rng) -> Vec<u8> {
    numbered(rng.u32(..MEMBERS))
}

fn numbered(number: u32) -> Vec<u8> {
    let mut member = format!("member:{number}").into_bytes();
    if number.is_multiple_of(7) {
        member.resize(30 + number as usize, b'm');
    }
    member
}

/// One of few, now and then, so that what expires is looked at.
fn field(rng: &mut Rng) -> Vec<u8> {
    if rng.bool() { numbered(rng.u32(..FEW)) } else { member(rng) }
}

/// Such arguments, for some members or many.
fn several(rng: &mut Rng, mut one: impl FnMut(&mut Rng) -> Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let count = if rng.u8(..8) == 0 { rng.usize(1..=MANY) } else { rng.usize(1..=SOME) };
    (0..count).flat_map(|_| one(rng)).collect()
}

pub fn command(workload: &mut Workload, rng: &mut Rng, now_ms: u64) -> Args {
    let kind = KINDS[rng.usize(..KINDS.len())];
    let tag = (!workload.is_across).then(|| rng.u32(..TAGS));
    let key = key(kind, tag, rng);
    match rng.u8(..20) {
        0..4 => whole(workload, kind, tag, &key, rng, now_ms),
        _ if kind == "hash" && rng.u8(..3) == 0 => deadlines(workload, &key, rng, now_ms),
        _ if kind == "hash" => hash(workload, &key, rng),
        _ if kind == "set" => set(&key, tag, rng),
        _ if kind == "zset" => zset(&key, rng),
        _ if kind == "list" => list(workload, &key, tag, rng),
        _ => stream(workload, &key, rng),
    }
}

/// Those that are done together where they follow each other on one key.
const REPEATED: [(&str, &str); 11] = [
    ("list", "LPUSH"),
    ("list", "RPUSH"),
    ("list", "LPOP"),
    ("list", "RPOP"),
    ("set", "SADD"),
    ("zset", "ZADD"),
    ("zset", "ZADD"),
    ("zset", "ZPOPMIN"),
    ("zset", "ZPOPMAX"),
    ("hash", "HSET"),
    ("stream", "XADD"),
];

/// One of these, mostly the one before again.
pub(super) fn again(workload: &mut Workload, rng: &mut Rng) -> Option<Args> {
    let (name, key) = match workload.repeated.take() {
        Some(last) if rng.u8(..8) > 0 => last,
        _ if rng.u8(..10) > 0 => return None,
        _ => {
            let (kind, name) = REPEATED[rng.usize(..REPEATED.len())];
            (name, key(kind, None, rng))
        }
    };
    let element = |workload: &mut Workload| {
        workload.serial += 1;
        format!("e{}", workload.serial).into_bytes()
    };
    let args = match name {
        "LPUSH" | "RPUSH" => several(rng, |_| vec![element(workload)]),
        "SADD" => several(rng, |rng| vec![member(rng)]),
        "ZADD" => {
            let option = (rng.u8(..12) == 0).then(|| b"CH".to_vec());
            let pairs = several(rng, |rng| vec![rng.i32(-20..20).to_string().into_bytes(), member(rng)]);
            option.into_iter().chain(pairs).collect()
        }
        "HSET" => several(rng, |rng| vec![member(rng), element(workload)]),
        "XADD" => {
            workload.serial += 1;
            vec![format!("{}-1", workload.serial).into_bytes(), b"field".to_vec(), element(workload)]
        }
        // A number makes it one that is done by itself.
        _ => (rng.u8(..12) == 0).then(|| b"3".to_vec()).into_iter().collect(),
    };
    let command = with(name, &key, &args);
    workload.repeated = Some((name, key));
    Some(command)
}

fn with(name: &str, key: &[u8], args: &[Vec<u8>]) -> Args {
    let args: Vec<&[u8]> = std::iter::once(key).chain(args.iter().map(Vec::as_slice)).collect();
    super::command(name, &args)
}

/// Many members, which do not fit a row.
pub(super) fn fill(workload: &mut Workload, kind: &str, key: &[u8], rng: &mut Rng) -> Args {
    let mut element = || {
        workload.serial += 1;
        format!("a long element {}", workload.serial).into_bytes()
    };
    let (name, args): (_, Vec<Vec<u8>>) = match kind {
        "hash" => ("HSET", (0..MEMBERS).flat_map(|_| [member(rng), element()]).collect()),
        "set" => ("SADD", (0..MEMBERS).map(|_| member(rng)).collect()),
        "zset" => {
            let pair = |_| [rng.i32(-20..20).to_string().into_bytes(), member(rng)];
            ("ZADD", (0..MEMBERS).flat_map(pair).collect())
        }
        "list" => ("RPUSH", (0..MEMBERS).map(|_| element()).collect()),
        _ => {
            workload.serial += 1;
            let fields = (0..MEMBERS).flat_map(|at| [format!("field:{at}").into_bytes(), b"value".to_vec()]);
            let id = format!("{}-1", workload.serial).into_bytes();
            ("XADD", std::iter::once(id).chain(fields).collect())
        }
    };
    with(name, key, &args)
}

/// Commands that tell all of what is at such a key; `None` if no collection is.
pub(super) fn looks(key: &[u8]) -> Option<Vec<Args>> {
    let kind = KINDS.into_iter().find(|kind| key.starts_with(format!("{kind}{{").as_bytes()))?;
    let all = || (0..MEMBERS).map(numbered).chain([b"count".to_vec()]).collect::<Vec<_>>();
    Some(match kind {
        "hash" => {
            let count = (MEMBERS + 1).to_string();
            let expires = [b"FIELDS".to_vec(), count.into_bytes()].into_iter().chain(all()).collect::<Vec<_>>();
            vec![with("HLEN", key, &[]), with("HMGET", key, &all()), with("HPEXPIRETIME", key, &expires)]
        }
        "set" => vec![with("SCARD", key, &[]), with("SMISMEMBER", key, &all())],
        "zset" => vec![super::command("ZRANGE", &[key, b"0", b"-1", b"WITHSCORES"])],
        "list" => vec![super::command("LRANGE", &[key, b"0", b"-1"])],
        _ => vec![super::command("XRANGE", &[key, b"-", b"+"])],
    })
}

/// A command on a key as a whole.
fn whole(workload: &Workload, kind: &str, tag: Option<u32>, key: &[u8], rng: &mut Rng, now_ms: u64) -> Args {
    let other = self::key(kind, tag, rng);
    match rng.u8(..12) {
        0 => super::command("DEL", &[key]),
        1 => super::command("UNLINK", &[key]),
        2 => super::command("RENAME", &[key, &other]),
        3 => super::command("RENAMENX", &[key, &other]),
        4 | 5 => super::command("COPY", &[key, &other, b"REPLACE"]),
        6 => super::command("COPY", &[key, key, b"DB", [&b"1"[..], b"15"][rng.usize(..2)], b"REPLACE"]),
        7 => super::command("PERSIST", &[key]),
        8 => super::command("TYPE", &[key]),
        9 if !workload.is_across => super::command("PTTL", &[key]),
        9 => super::command("PEXPIRETIME", &[key]),
        _ if workload.is_across => super::command("PEXPIREAT", &[key, &across::deadline(rng)]),
        _ => {
            let (_, ms) = lifetime(rng, now_ms);
            let ms = if ms < now_ms / 2 { now_ms + ms } else { ms };
            super::command("PEXPIREAT", &[key, ms.to_string().as_bytes()])
        }
    }
}

fn hash(workload: &mut Workload, key: &[u8], rng: &mut Rng) -> Args {
    match rng.u8(..16) {
        0..6 => {
            let pairs = several(rng, |rng| {
                workload.serial += 1;
                vec![member(rng), format!("v{}", workload.serial).into_bytes()]
            });
            with("HSET", key, &pairs)
        }
        6 => with("HSETNX", key, &[member(rng), b"new".to_vec()]),
        7..10 => {
            let fields = several(rng, |rng| vec![member(rng)]);
            with("HDEL", key, &fields)
        }
        10 => {
            let field = [b"count".to_vec(), member(rng)][usize::from(rng.u8(..8) == 0)].clone();
            with("HINCRBY", key, &[field, rng.i32(-5..9).to_string().into_bytes()])
        }
        11 => with("HLEN", key, &[]),
        12 => with(["HGET", "HEXISTS", "HSTRLEN"][rng.usize(..3)], key, &[field(rng)]),
        _ => {
            let fields = several(rng, |rng| vec![field(rng)]);
            with("HMGET", key, &fields)
        }
    }
}

/// Fields of hashes that expire.
fn deadlines(workload: &mut Workload, key: &[u8], rng: &mut Rng, now_ms: u64) -> Args {
    let word = |word: &str| word.as_bytes().to_vec();
    let (unit, amount) = match workload.is_across {
        true => ("PXAT", across::deadline(rng)),
        false => {
            let (unit, amount) = lifetime(rng, now_ms);
            (unit, amount.to_string().into_bytes())
        }
    };
    let mut fields = several(rng, |rng| vec![field(rng)]);
    if workload.is_wide && !workload.is_across {
        // A change of many deadlines at once may need more pages than a small memory has.
        fields.truncate(EXPIRING_MAX);
    }
    let (mut words, mut per) = (Vec::new(), 1);
    let name = match rng.u8(..16) {
        0..6 => {
            words.push(amount);
            words.extend((rng.u8(..3) == 0).then(|| word(["NX", "XX", "GT", "LT"][rng.usize(..4)])));
            match unit {
                "EX" => "HEXPIRE",
                "PX" => "HPEXPIRE",
                "EXAT" => "HEXPIREAT",
                _ => "HPEXPIREAT",
            }
        }
        6 | 7 => "HPERSIST",
        8..10 if workload.is_across => ["HEXPIRETIME", "HPEXPIRETIME"][rng.usize(..2)],
        8..10 => ["HTTL", "HPTTL", "HEXPIRETIME", "HPEXPIRETIME"][rng.usize(..4)],
        10 | 11 => {
            match rng.u8(..4) {
                0 => {}
                1 => words.push(word("PERSIST")),
                _ => words.extend([word(unit), amount]),
            }
            "HGETEX"
        }
        12 => "HGETDEL",
        _ => {
            words.extend((rng.u8(..4) == 0).then(|| word(["FNX", "FXX"][rng.usize(..2)])));
            match rng.u8(..4) {
                0 => {}
                1 => words.push(word("KEEPTTL")),
                _ => words.extend([word(unit), amount]),
            }
            workload.serial += 1;
            let value = format!("v{}", workload.serial).into_bytes();
            (fields, per) = (fields.into_iter().flat_map(|field| [field, value.clone()]).collect(), 2);
            "HSETEX"
        }
    };
    words.extend([word("FIELDS"), (fields.len() / per).to_string().into_bytes()]);
    with(name, key, &words.into_iter().chain(fields).collect::<Vec<_>>())
}

fn set(key: &[u8], tag: Option<u32>, rng: &mut Rng) -> Args {
    let some = several(rng, |rng| vec![member(rng)]);
    match rng.u8(..12) {
        0..5 => with("SADD", key, &some),
        5..8 => with("SREM", key, &some),
        8 => with("SMOVE", key, &[self::key("set", tag, rng), member(rng)]),
        9 => with("SCARD", key, &[]),
        10 => with("SISMEMBER", key, &[member(rng)]),
        _ => with("SMISMEMBER", key, &some),
    }
}

fn zset(key: &[u8], rng: &mut Rng) -> Args {
    let score = |rng: &mut Rng| rng.i32(-20..20).to_string().into_bytes();
    match rng.u8(..20) {
        0..7 => {
            let options = ["", "", "", "NX", "XX", "GT", "LT"][rng.usize(..7)];
            let pairs = several(rng, |rng| vec![score(rng), member(rng)]);
            let options = [options, ["", "CH"][rng.usize(..2)]].map(|option| option.as_bytes().to_vec());
            let said = options.into_iter().filter(|option| !option.is_empty());
            with("ZADD", key, &said.chain(pairs).collect::<Vec<_>>())
        }
        7..9 => {
            let some = several(rng, |rng| vec![member(rng)]);
            with("ZREM", key, &some)
        }
        9 => with("ZINCRBY", key, &[score(rng), member(rng)]),
        10 => {
            let most = [6, MEMBERS][rng.usize(..2)];
            with("ZPOPMIN", key, &[rng.u32(1..most).to_string().into_bytes()])
        }
        11 => {
            let (from, to) = (rng.i32(-3..100), rng.i32(-3..100));
            let to = if rng.bool() { to.min(from + 8) } else { to };
            with("ZREMRANGEBYRANK", key, &[from, to].map(|rank| rank.to_string().into_bytes()))
        }
        12 => with("ZCARD", key, &[]),
        13 => with("ZCOUNT", key, &[score(rng), score(rng)]),
        14 | 15 => with(["ZSCORE", "ZRANK"][rng.usize(..2)], key, &[member(rng)]),
        _ => {
            let range = [rng.i32(-20..60), rng.i32(-20..60)].map(|rank| rank.to_string().into_bytes());
            let scores = rng.bool().then(|| b"WITHSCORES".to_vec());
            with("ZRANGE", key, &range.into_iter().chain(scores).collect::<Vec<_>>())
        }
    }
}

fn list(workload: &mut Workload, key: &[u8], tag: Option<u32>, rng: &mut Rng) -> Args {
    let mut element = |rng: &mut Rng| {
        workload.serial += 1;
        let mut element = format!("e{}", workload.serial).into_bytes();
        element.resize(element.len() + rng.usize(..40), b'e');
        // Some are found again.
        if rng.u8(..3) == 0 { vec![b'x' + rng.u8(..3)] } else { element }
    };
    let end = |rng: &mut Rng| ["LEFT", "RIGHT"][rng.usize(..2)].as_bytes().to_vec();
    let index = |rng: &mut Rng| rng.i32(-40..40).to_string().into_bytes();
    match rng.u8(..20) {
        0..6 => {
            let some = several(rng, |rng| vec![element(rng)]);
            with(["LPUSH", "RPUSH"][rng.usize(..2)], key, &some)
        }
        6 => with(["LPOP", "RPOP"][rng.usize(..2)], key, &[]),
        7 => with(["LPOP", "RPOP"][rng.usize(..2)], key, &[rng.u32(..MEMBERS).to_string().into_bytes()]),
        8 => with("LLEN", key, &[]),
        9 => with("LINDEX", key, &[index(rng)]),
        10 => with("LSET", key, &[index(rng), element(rng)]),
        11 | 12 => {
            with("LINSERT", key, &[[&b"BEFORE"[..], b"AFTER"][rng.usize(..2)].to_vec(), b"x".to_vec(), element(rng)])
        }
        13 => with("LREM", key, &[rng.i32(-2..3).to_string().into_bytes(), b"y".to_vec()]),
        14 => with("LTRIM", key, &[rng.i32(0..4).to_string().into_bytes(), rng.i32(-4..120).to_string().into_bytes()]),
        15 | 16 => with("LMOVE", key, &[self::key("list", tag, rng), end(rng), end(rng)]),
        _ => with("LRANGE", key, &[index(rng), index(rng)]),
    }
}

/// Ids are named, each above those before, if nobody overtakes it.
fn stream(workload: &mut Workload, key: &[u8], rng: &mut Rng) -> Args {
    let last = workload.serial;
    let id = |rng: &mut Rng| format!("{}-1", last.saturating_sub(rng.u32(..60))).into_bytes();
    let group = [&b"g"[..], b"h"][rng.usize(..2)];
    let consumer = [&b"one"[..], b"another"][rng.usize(..2)];
    let count = rng.u32(1..8).to_string();
    match rng.u8(..20) {
        0..8 => {
            workload.serial += 1;
            let trims = if rng.u8(..12) == 0 { vec!["MAXLEN", "=", "30"] } else { Vec::new() };
            let mut args: Vec<Vec<u8>> = trims.into_iter().map(|word| word.as_bytes().to_vec()).collect();
            args.push(format!("{}-1", workload.serial).into_bytes());
            let fields = several(rng, |rng| vec![member(rng), b"value".to_vec()]);
            args.extend(fields);
            with("XADD", key, &args)
        }
        8 | 9 => with("XDEL", key, &[id(rng), id(rng), id(rng)]),
        10 => match rng.bool() {
            true => super::command("XTRIM", &[key, b"MAXLEN", b"=", rng.u32(..60).to_string().as_bytes()]),
            false => super::command("XTRIM", &[key, b"MINID", b"=", &id(rng)]),
        },
        11 if rng.u8(..6) == 0 => super::command("XGROUP", &[b"DESTROY", key, group]),
        11 | 12 => super::command("XGROUP", &[b"CREATE", key, group, [&b"0"[..], b"$"][rng.usize(..2)], b"MKSTREAM"]),
        13..16 => super::command(
            "XREADGROUP",
            &[b"GROUP", group, consumer, b"COUNT", count.as_bytes(), b"STREAMS", key, b">"],
        ),
        16 => super::command("XACK", &[key, group, &id(rng), &id(rng), &id(rng), &id(rng)]),
        17 => super::command("XAUTOCLAIM", &[key, group, consumer, b"0", &id(rng), b"COUNT", count.as_bytes()]),
        18 => super::command("XLEN", &[key]),
        _ => super::command("XRANGE", &[key, b"-", b"+"]),
    }
}
