//! How a shard keeps what the model has as collections: small ones packed in their rows, large ones spread over rows of elements
//! (`docs/decisions/0030-collections.md`). Read here by the formats alone: nothing of the product's own reading is used.

use crate::model::{Collection, Row};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// What a row of a database is, in the log's numbers, without what says that it is spread.
const LIST: u8 = 1;
const SET: u8 = 2;
const ZSET: u8 = 3;
const HASH: u8 = 4;
const OWNS: u8 = 1 << 5;

/// The bits of a head that are of the order, and bytes.
const ORDER_BITS: u32 = 24;

/// The rows of a database's elements, by head and key.
#[derive(Default)]
pub struct Elements {
    rows: BTreeMap<(u64, Vec<u8>), Vec<u8>>,
}

impl Elements {
    pub fn put(&mut self, head: u64, key: &[u8], value: &[u8]) {
        self.rows.insert((head, key.to_vec()), value.to_vec());
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
        HASH => Collection::Hash(pairs(is_spread, value, elements)?.into_iter().collect()),
        SET if is_spread => {
            Collection::Set(elements.of(number(value)?).map(|(order, _)| order[3..].to_vec()).collect())
        }
        SET => Collection::Set(entries(value)?.into_iter().collect()),
        LIST if is_spread => {
            Collection::List(elements.of(number(value)?).map(|(_, element)| element.clone()).collect())
        }
        LIST => Collection::List(entries(value)?.into()),
        ZSET => Collection::ZSet(scores(is_spread, value, elements)?),
        // A string; or a stream, of which the model knows nothing.
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

/// Behind the tag: lengths, in seven bits a byte, and bytes.
fn entries(value: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let broken = || "a packed collection is broken".to_owned();
    let (mut rest, mut entries) = (value.get(1..).ok_or_else(broken)?, Vec::new());
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
