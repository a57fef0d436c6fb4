//! Changes of rows: in the engine, and in the model of what its rows ought to be.

use crate::shard::{Model, row};
use cairn_storage::engine::elements::{ALONE, BUNDLED, element, number_of, order_of, owner, owner_tail};
use cairn_storage::engine::{Engine, Stop};
use cairn_storage::error::Missing;
use cairn_storage::log::Removal;
use cairn_storage::row::OWNS;
use cairn_storage::units::{CollectionId, Lsn};
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// One change of the rows.
#[derive(Clone, Debug)]
pub enum Change {
    Put(u8, Vec<u8>, u64, Vec<u8>),
    Splice(u8, Vec<u8>, usize, Vec<u8>),
    Expire(u8, Vec<u8>, u64),
    Delete(u8, Vec<u8>),
    Clear(u8),
    Swap(u8, u8),
    /// A collection of so many elements that are rows of their own, in place of whatever is there.
    Collect(u8, Vec<u8>, u32),
    /// An element of one that is there; `None`: it goes.
    Element(u8, Vec<u8>, u32, Option<Vec<u8>>),
    /// One that is there has another key, of the same database.
    Rename(u8, Vec<u8>, Vec<u8>),
}

const COLLECTION: u8 = 3 | OWNS;

/// What the model has for a collection: this, and its elements.
const ELEMENTS: &[u8] = b"elements:";

pub fn is_collection(value: &[u8]) -> bool {
    value.starts_with(ELEMENTS)
}

fn order(at: u32) -> [u8; 6] {
    // Many have a head in common.
    let mut order = [0; 6];
    order[..3].copy_from_slice(&(at >> 7).to_be_bytes()[1..]);
    order[3..].copy_from_slice(&((at & 127) << 9).to_be_bytes()[1..]);
    order
}

/// The kind of an element of the collection at a key: those of some may stand in bundles, of others those that came later, as in a directory that an
/// earlier version has begun.
fn kind(key: &[u8], order: &[u8]) -> u8 {
    match key.last().map_or(0, |last| last % 3) {
        0 => ALONE,
        1 if order < &self::order(60)[..] => ALONE,
        _ => BUNDLED,
    }
}

fn encode(elements: &BTreeMap<Vec<u8>, Vec<u8>>) -> Vec<u8> {
    let mut value = ELEMENTS.to_vec();
    for (order, element) in elements {
        value.extend_from_slice(order);
        value.extend_from_slice(&(element.len() as u32).to_le_bytes());
        value.extend_from_slice(element);
    }
    value
}

pub fn decode(value: &[u8]) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut rest = value.strip_prefix(ELEMENTS).unwrap();
    let mut elements = BTreeMap::new();
    while let Some((order, after)) = rest.split_at_checked(6) {
        let (len, after) = after.split_first_chunk().unwrap();
        let (element, after) = after.split_at(u32::from_le_bytes(*len) as usize);
        elements.insert(order.to_vec(), element.to_vec());
        rest = after;
    }
    elements
}

fn collected(count: u32) -> BTreeMap<Vec<u8>, Vec<u8>> {
    (0..count).map(|at| (order(at).to_vec(), vec![at as u8; at as usize % 90])).collect()
}

/// A row, with its elements if it is a collection.
pub fn read_row(engine: &Engine, db: u8, key: &[u8]) -> Result<Option<(u64, Vec<u8>)>, Missing> {
    let Some(found) = engine.get(row(db, key))? else { return Ok(None) };
    let Some(number) = number_of(found.kind, found.value) else {
        return Ok(Some((found.expire_ms, found.value.to_vec())));
    };
    let mut elements = BTreeMap::new();
    engine.elements_from(db, number, 0, |head, rest, element| {
        elements.insert(order_of(head, rest), element.value.to_vec());
        ControlFlow::Continue(())
    })?;
    assert_eq!(engine.element_count(db, number)?, elements.len() as u64);
    Ok(Some((found.expire_ms, encode(&elements))))
}

fn number(engine: &Engine, db: u8, key: &[u8]) -> Result<CollectionId, Stop> {
    let found = engine.get(row(db, key))?.expect("the row is there");
    Ok(number_of(found.kind, found.value).expect("it is a collection"))
}

fn collect(engine: &mut Engine, db: u8, key: &[u8], count: u32) -> Result<Lsn, Stop> {
    let number = engine.next_collection()?;
    let (tail, elements) = (owner_tail(number), collected(count));
    let rows = elements.keys().map(|order| element(db, number, order));
    engine
        .prepare_neighbours(rows.chain([row(db, key), owner(db, &tail)]).map(|row| (row, 0)), 120 * elements.len())?;
    engine.open_group();
    for (order, value) in &elements {
        engine.put(element(db, number, order), kind(key, order), 0, value).expect("it was prepared");
    }
    engine.put_owner(row(db, key), number).expect("it was prepared");
    engine.put(row(db, key), COLLECTION, 0, &number.0.to_le_bytes()).expect("it was prepared");
    Ok(engine.close_group())
}

/// A collection whose elements are put one by one before its row names it.
pub struct Begun {
    pub db: u8,
    key: Vec<u8>,
    number: CollectionId,
    left: Vec<(Vec<u8>, Vec<u8>)>,
    count: u32,
}

impl Begun {
    pub fn begin(engine: &mut Engine, db: u8, key: &[u8], count: u32) -> Result<Begun, Stop> {
        let number = engine.begin_collection(row(db, key))?;
        Ok(Begun { db, key: key.to_vec(), number, left: collected(count).into_iter().collect(), count })
    }

    /// Puts some elements. Whether all are there.
    pub fn go_on(&mut self, engine: &mut Engine, elements: usize) -> Result<bool, Stop> {
        for _ in 0..elements {
            let Some((order, value)) = self.left.last() else { break };
            engine.put(element(self.db, self.number, order), kind(&self.key, order), 0, value)?;
            self.left.pop();
        }
        Ok(self.left.is_empty())
    }

    /// The row names it: it is what this change would have made.
    pub fn name(&self, engine: &mut Engine) -> Result<(Lsn, Change), Stop> {
        let lsn = engine.put(row(self.db, &self.key), COLLECTION, 0, &self.number.0.to_le_bytes())?;
        Ok((lsn, Change::Collect(self.db, self.key.clone(), self.count)))
    }

    pub fn end(&self, engine: &mut Engine) {
        engine.end_collection(self.db, self.number);
    }
}

fn rename(engine: &mut Engine, db: u8, from: &[u8], to: &[u8]) -> Result<Lsn, Stop> {
    let number = number(engine, db, from)?;
    let tail = owner_tail(number);
    let expire_ms = engine.get(row(db, from))?.expect("the row is there").expire_ms;
    engine.prepare_group([(row(db, from), 0), (row(db, to), expire_ms), (owner(db, &tail), 0)].into_iter())?;
    engine.open_group();
    engine.delete(row(db, from), Removal::Deleted).expect("it was prepared");
    engine.put_owner(row(db, to), number).expect("it was prepared");
    engine.put(row(db, to), COLLECTION, expire_ms, &number.0.to_le_bytes()).expect("it was prepared");
    Ok(engine.close_group())
}

impl Change {
    pub fn apply(&self, model: &mut Model) {
        match self.clone() {
            Change::Put(db, key, expire_ms, value) => {
                model.insert((db, key), (expire_ms, value));
            }
            Change::Splice(db, key, offset, bytes) => {
                let (_, value) = model.get_mut(&(db, key)).unwrap();
                value.resize(value.len().max(offset + bytes.len()), 0);
                value[offset..offset + bytes.len()].copy_from_slice(&bytes);
            }
            Change::Expire(db, key, expire_ms) => model.get_mut(&(db, key)).unwrap().0 = expire_ms,
            Change::Delete(db, key) => {
                model.remove(&(db, key));
            }
            Change::Collect(db, key, count) => {
                model.insert((db, key), (0, encode(&collected(count))));
            }
            Change::Element(db, key, at, value) => {
                let (_, row) = model.get_mut(&(db, key)).unwrap();
                let mut elements = decode(row);
                match value {
                    Some(value) => _ = elements.insert(order(at).to_vec(), value),
                    None => _ = elements.remove(&order(at)[..]),
                }
                *row = encode(&elements);
            }
            Change::Rename(db, from, to) => {
                let row = model.remove(&(db, from)).unwrap();
                model.insert((db, to), row);
            }
            Change::Clear(db) => model.retain(|id, _| id.0 != db),
            Change::Swap(one, other) => {
                let other_of = |db| {
                    if db == one {
                        other
                    } else if db == other {
                        one
                    } else {
                        db
                    }
                };
                *model = std::mem::take(model).into_iter().map(|((db, key), row)| ((other_of(db), key), row)).collect();
            }
        }
    }

    pub fn perform(&self, engine: &mut Engine) -> Result<Lsn, Stop> {
        match self {
            Change::Put(db, key, expire_ms, value) => engine.put(row(*db, key), 0, *expire_ms, value),
            Change::Splice(db, key, offset, bytes) => engine.splice(row(*db, key), *offset, bytes, None),
            Change::Expire(db, key, expire_ms) => {
                engine.set_expiry(row(*db, key), *expire_ms).map(|lsn| lsn.expect("the row is there"))
            }
            Change::Delete(db, key) => {
                engine.delete(row(*db, key), Removal::Deleted).map(|lsn| lsn.expect("the row is there"))
            }
            Change::Collect(db, key, count) => collect(engine, *db, key, *count),
            Change::Element(db, key, at, value) => {
                let (number, order) = (number(engine, *db, key)?, order(*at));
                match value {
                    Some(value) => engine.put(element(*db, number, &order), kind(key, &order), 0, value),
                    None => {
                        let removed = engine.delete(element(*db, number, &order), Removal::Deleted)?;
                        Ok(removed.unwrap_or_else(|| engine.log().appended()))
                    }
                }
            }
            Change::Rename(db, from, to) => rename(engine, *db, from, to),
            Change::Clear(db) => engine.clear(*db),
            Change::Swap(one, other) => Ok(engine.swap(*one, *other)),
        }
    }
}
