//! How a shard keeps what the model has as collections: small ones packed in their rows, large ones spread over rows of elements
//! (`docs/decisions/0030-collections.md`). Read here by the formats alone: nothing of the product's own reading is used.

use crate::model::{Collection, Field, Group, Id, Row, Stream};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// What a row of a database is, in the log's numbers, without what says that it is spread.
const LIST: u8 = 1;
const SET: u8 = 2;
const ZSET: u8 = 3;
const HASH: u8 = 4;
const STREAM: u8 = 5;
const OWNS: u8 = 1 << 5;

/// The bits of a head that are of the order, and bytes.
const ORDER_BITS: u32 = 24;

/// The rows of a database's elements, by head and key.
#[derive(Default)]
pub struct Elements {
    rows: BTreeMap<(u64, Vec<u8>), Vec<u8>>,
    /// When those of them go that do.
    deadlines: BTreeMap<(u64, Vec<u8>), u64>,
}

impl Elements {
    pub fn put(&mut self, head: u64, key: &[u8], value: &[u8], expire_ms: u64) {
        if expire_ms != 0 {
            self.deadlines.insert((head, key.to_vec()), expire_ms);
        }
        self.rows.insert((head, key.to_vec()), value.to_vec());
    }

    /// Members of one number, by when they go.
    fn deadlines(&self, number: u64) -> impl Iterator<Item = (&[u8], u64)> {
        let heads = (number << ORDER_BITS, Vec::new())..((number + 1) << ORDER_BITS, Vec::new());
        self.deadlines.range(heads).map(|((_, member), ms)| (&member[..], *ms))
    }

    /// Of one number: the orders, in their order, and values.
    fn of(&self, number: u64) -> impl Iterator<Item = (Vec<u8>, &Vec<u8>)> {
        let heads = (number << ORDER_BITS, Vec::new())..((number + 1) << ORDER_BITS, Vec::new());
        self.rows.range(heads).map(|((head, key), value)| ([&head.to_be_bytes()[5..], key].concat(), value))
    }
}

/// The row that stands so. An error says what is wrong with it.
pub fn row(kind: u8, value: &[u8], expire_ms: u64, elements: &Elements) -> Result<Row, String> {
    let is_spread = kind & OWNS != 0;
    let collection = match kind & !OWNS {
        HASH => Collection::Hash(fields(is_spread, value, elements)?),
        SET if is_spread => {
            Collection::Set(elements.of(number(value)?).map(|(order, _)| order[3..].to_vec()).collect())
        }
        SET => Collection::Set(entries(value)?.into_iter().collect()),
        LIST if is_spread => {
            Collection::List(elements.of(number(value)?).map(|(_, element)| element.clone()).collect())
        }
        LIST => Collection::List(entries(value)?.into()),
        ZSET => Collection::ZSet(scores(is_spread, value, elements)?),
        STREAM => Collection::Stream(stream(is_spread, value, elements)?),
        // A string.
        _ => return Ok(Row { value: Rc::new(value.to_vec()), collection: None, expire_ms }),
    };
    if collection.is_empty() {
        return Err("a collection is empty".to_owned());
    }
    Ok(Row { value: Rc::default(), collection: Some(Rc::new(collection)), expire_ms })
}

fn number(value: &[u8]) -> Result<u64, String> {
    let number = value.first_chunk().map(|number| u64::from_le_bytes(*number));
    number.ok_or_else(|| "a row that is spread names no number".to_owned())
}

/// Behind the tag: entries.
fn entries(value: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    each(value.get(1..).ok_or("a packed collection is broken")?)
}

/// Lengths, in seven bits a byte, and bytes.
fn each(mut rest: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let broken = || "a packed collection is broken".to_owned();
    let mut entries = Vec::new();
    while !rest.is_empty() {
        let (mut len, mut shift) = (0, 0);
        loop {
            let (byte, behind) = rest.split_first().ok_or_else(broken)?;
            rest = behind;
            len |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let (entry, behind) = rest.split_at_checked(len).ok_or_else(broken)?;
        entries.push(entry.to_vec());
        rest = behind;
    }
    Ok(entries)
}

/// A member, and what belongs to it.
type Pair = (Vec<u8>, Vec<u8>);

fn pairs(is_spread: bool, value: &[u8], elements: &Elements) -> Result<Vec<Pair>, String> {
    if is_spread {
        let of = elements.of(number(value)?);
        return Ok(of.map(|(order, value)| (order[3..].to_vec(), value.clone())).collect());
    }
    let entries = entries(value)?;
    let pairs: Vec<_> = entries.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect();
    if pairs.len() * 2 == entries.len() { Ok(pairs) } else { Err("a packed collection has half a pair".to_owned()) }
}

/// A hash. Only where it is spread its fields have deadlines, and then its row says so.
fn fields(is_spread: bool, value: &[u8], elements: &Elements) -> Result<BTreeMap<Vec<u8>, Field>, String> {
    let all = pairs(is_spread, value, elements)?.into_iter();
    let mut fields: BTreeMap<_, _> = all.map(|(name, value)| (name, Field { value, expire_ms: 0 })).collect();
    if is_spread {
        for (name, expire_ms) in elements.deadlines(number(value)?) {
            fields.get_mut(name).ok_or("a field that is not there expires")?.expire_ms = expire_ms;
            if value.get(9..) != Some(&[1]) {
                return Err("a field expires of a hash that does not say so".to_owned());
            }
        }
    }
    Ok(fields)
}

/// A sorted set; one that is spread has a second order, of scores, which must agree.
fn scores(is_spread: bool, value: &[u8], elements: &Elements) -> Result<BTreeMap<Vec<u8>, i64>, String> {
    let all = pairs(is_spread, value, elements)?;
    let scores = all.into_iter().map(|(member, bytes)| Ok((member, score(&bytes)?)));
    let scores: BTreeMap<Vec<u8>, i64> = scores.collect::<Result<_, String>>()?;
    if !is_spread {
        return Ok(scores);
    }
    let sortable = |score: i64| {
        let bits = (score as f64).to_bits();
        if score < 0 { !bits } else { bits | 1 << 63 }
    };
    let expected: BTreeSet<Vec<u8>> =
        scores.iter().map(|(member, score)| [&sortable(*score).to_be_bytes()[..], member].concat()).collect();
    let ranked: BTreeSet<Vec<u8>> = elements.of(number(value)? + 1).map(|(order, _)| order).collect();
    if ranked == expected { Ok(scores) } else { Err("both orders of a sorted set differ".to_owned()) }
}

/// Eight bytes are a double; fewer an integer in two's complement. Both are little-endian.
fn score(bytes: &[u8]) -> Result<i64, String> {
    if let Ok(double) = bytes.try_into() {
        let double = f64::from_le_bytes(double);
        return if double.fract() == 0.0 {
            Ok(double as i64)
        } else {
            Err(format!("nobody has set a score of {double}"))
        };
    }
    if bytes.len() > 8 {
        return Err("a score is longer than one is".to_owned());
    }
    let sign = bytes.last().map_or(0, |last| if last & 0x80 == 0 { 0 } else { 0xff });
    let mut wide = [sign; 8];
    wide[..bytes.len()].copy_from_slice(bytes);
    Ok(i64::from_le_bytes(wide))
}

/// Of a stream that is packed, the first entry is its state, which a spread one has in its row; an entry begins with its id.
fn stream(is_spread: bool, value: &[u8], elements: &Elements) -> Result<Stream, String> {
    let broken = || "a stream is broken".to_owned();
    let (state, rows) = match is_spread {
        true => {
            let rows = elements.of(number(value)?).map(|(order, fields)| [&order[..], fields].concat()).collect();
            (value.get(9..).ok_or_else(broken)?.to_vec(), rows)
        }
        false => {
            let mut all = entries(value)?;
            (if all.is_empty() { return Err(broken()) } else { all.remove(0) }, all)
        }
    };
    let [removed, last_ms, last_seq, deleted_ms, deleted_seq, from_ms, from_seq, _] = numbers(&state);
    let mut entries = BTreeMap::new();
    for row in rows {
        let (id, fields) = row.split_at_checked(16).ok_or_else(broken)?;
        entries.insert(id_of(id), each(fields)?);
    }
    // What was trimmed may still be there.
    entries.retain(|id, _| *id >= (from_ms, from_seq));
    let top = entries.last_key_value().map_or((0, 0), |(id, _)| *id);
    let groups = if is_spread { groups(number(value)? + 1, elements)? } else { BTreeMap::new() };
    Ok(Stream {
        last: top.max((last_ms, last_seq)),
        added: removed + entries.len() as u64,
        max_deleted: (deleted_ms, deleted_seq),
        entries,
        groups,
    })
}

/// In seven bits a byte; those that are missing are 0.
fn numbers(bytes: &[u8]) -> [u64; 8] {
    let (mut numbers, mut at, mut shift) = ([0; 8], 0, 0);
    for byte in bytes {
        numbers[at] |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            (at, shift) = (at + 1, 0);
        }
    }
    numbers
}

fn id_of(bytes: &[u8]) -> Id {
    let wide = bytes.iter().fold(0, |wide, byte| wide << 8 | u128::from(*byte));
    ((wide >> 64) as u64, wide as u64)
}

/// The consumer groups of a stream: groups by name, then of each by its number its consumers, their names, and what is pending, twice.
fn groups(number: u64, elements: &Elements) -> Result<BTreeMap<Vec<u8>, Group>, String> {
    let broken = || "the groups of a stream are broken".to_owned();
    let small = |bytes: &[u8]| bytes.iter().rev().fold(0, |wide, byte| wide << 8 | u64::from(*byte));
    let (mut names, mut groups) = (BTreeMap::new(), BTreeMap::<u64, Group>::new());
    let (mut consumers, mut owned) = (BTreeMap::new(), BTreeSet::new());
    let mut pending = Vec::new();
    for (order, value) in elements.of(number) {
        match (order[0], order.get(1..)) {
            (1, Some(rest)) => {
                let (name, last) = (rest.get(2..).ok_or_else(broken)?, value.get(4..20).ok_or_else(broken)?);
                let group = Group { last: id_of(last), ..Group::default() };
                groups.insert(small(&value[..4]), group);
                names.insert(name.to_vec(), small(&value[..4]));
            }
            (2, Some(rest)) if rest.len() > 4 => {
                let group = id_of(&rest[..4]).1;
                let (part, rest) = (rest[4], &rest[5..]);
                match part {
                    1 => _ = consumers.insert((group, small(&value[..4])), rest.to_vec()),
                    2 if consumers.get(&(group, id_of(rest).1)) == Some(value) => {}
                    3 => pending.push((group, id_of(rest), small(&value[..4]), small(&value[12..]) as i64)),
                    4 => _ = owned.insert((group, id_of(&rest[..4]).1, id_of(&rest[4..]))),
                    _ => return Err(broken()),
                }
            }
            _ => return Err(broken()),
        }
    }
    for ((group, _), name) in &consumers {
        groups.get_mut(group).ok_or_else(broken)?.consumers.insert(name.clone());
    }
    for (group, id, consumer, count) in pending {
        let name = consumers.get(&(group, consumer)).ok_or_else(broken)?;
        if !owned.remove(&(group, consumer, id)) {
            return Err("what is pending is not its consumer's".to_owned());
        }
        groups.get_mut(&group).ok_or_else(broken)?.pending.insert(id, (name.clone(), count));
    }
    if !owned.is_empty() {
        return Err("a consumer has what is not pending".to_owned());
    }
    names.into_iter().map(|(name, number)| Ok((name, groups.remove(&number).ok_or_else(broken)?))).collect()
}
