//! A walk with SCAN: a key that is there from its beginning to its end must come once; any other at most while it is there.

use super::reply::{self, Frame};
use crate::model::{Change, Rows};
use std::collections::BTreeSet;

/// One client's walk through a database.
pub struct Walk {
    db: u8,
    /// Keys that were there from its beginning until now.
    throughout: BTreeSet<Vec<u8>>,
    seen: BTreeSet<Vec<u8>>,
}

impl Walk {
    /// Begins a walk through a database of these shards.
    pub fn new<'a>(db: u8, shards: impl Iterator<Item = &'a Rows>) -> Walk {
        let lasting = |rows: &'a Rows| rows.iter(db).filter(|(_, row)| row.expire_ms == 0).map(|(key, _)| key.to_vec());
        Walk { db, throughout: shards.flat_map(lasting).collect(), seen: BTreeSet::new() }
    }

    /// Something has changed: what is gone, or may go by itself, is not there throughout.
    pub fn note(&mut self, step: &[Change]) {
        for change in step {
            match change {
                Change::Put { db, key, row } if *db == self.db && row.expire_ms != 0 => {
                    self.throughout.remove(&**key);
                }
                Change::Delete { db, key } if *db == self.db => {
                    self.throughout.remove(&**key);
                }
                Change::Clear { db } if *db == self.db => self.throughout.clear(),
                Change::Swap { one, other } if [*one, *other].contains(&self.db) => self.throughout.clear(),
                _ => {}
            }
        }
    }

    /// Takes one answer, given while the keys `live` were there. Its cursor: the walk is over at 0.
    pub fn take(&mut self, live: &BTreeSet<Vec<u8>>, frame: &[u8]) -> Result<u64, String> {
        let (cursor, keys) = parse(frame)?;
        for key in keys {
            let name = key.escape_ascii();
            if !live.contains(key) {
                return Err(format!("{name} is not there"));
            }
            if !self.seen.insert(key.to_vec()) && self.throughout.contains(key) {
                return Err(format!("{name} comes twice"));
            }
        }
        let missed = self.throughout.difference(&self.seen).next();
        match missed {
            Some(missed) if cursor == 0 => {
                Err(format!("{} was there throughout and never came", missed.escape_ascii()))
            }
            _ => Ok(cursor),
        }
    }
}

/// The cursor and the keys of an answer.
pub fn parse(frame: &[u8]) -> Result<(u64, Vec<&[u8]>), String> {
    let no_scan = || "it is no answer to SCAN".to_owned();
    let Some(Frame::Array(parts)) = reply::parse(frame) else { return Err(no_scan()) };
    let [Frame::Bulk(cursor), Frame::Array(keys)] = &parts[..] else { return Err(no_scan()) };
    let cursor = std::str::from_utf8(cursor).ok().and_then(|text| text.parse().ok()).ok_or_else(no_scan)?;
    let keys = keys.iter().map(|key| if let Frame::Bulk(key) = key { Some(*key) } else { None });
    Ok((cursor, keys.collect::<Option<_>>().ok_or_else(no_scan)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Row;
    use std::rc::Rc;

    fn rows(keys: &[&str]) -> Rows {
        let mut rows = Rows::default();
        for key in keys {
            rows.put(0, key.as_bytes().into(), Row { value: Rc::default(), collection: None, expire_ms: 0 });
        }
        rows
    }

    /// Answers with these keys, one after the other; `!key` says that the key was removed in between.
    fn check(answers: &[&[&str]], expect: Result<(), &str>) {
        let keys = ["a", "b", "c"];
        let mut walk = Walk::new(0, [rows(&keys)].iter());
        let mut live: BTreeSet<Vec<u8>> = keys.iter().map(|key| key.as_bytes().to_vec()).collect();
        let mut result = Ok(());
        for (at, words) in answers.iter().enumerate() {
            let (gone, named): (Vec<&str>, Vec<&str>) = words.iter().partition(|word| word.starts_with('!'));
            for key in gone.iter().map(|word| &word.as_bytes()[1..]) {
                live.remove(key);
                walk.note(&[Change::Delete { db: 0, key: key.into() }]);
            }
            let cursor = if at + 1 == answers.len() { 0 } else { at + 1 };
            let bulks: String = named.iter().map(|key| format!("${}\r\n{key}\r\n", key.len())).collect();
            let frame = format!("*2\r\n$1\r\n{cursor}\r\n*{}\r\n{bulks}", named.len());
            result = result.and(walk.take(&live, frame.as_bytes()).map(drop));
        }
        assert_eq!(result, expect.map_err(str::to_owned), "{answers:?}");
    }

    #[test]
    fn what_is_there_throughout_comes_once() {
        check(&[&["a"], &["b", "c"]], Ok(()));
        check(&[&["a"], &["b"]], Err("c was there throughout and never came"));
        check(&[&["a"], &["!c", "b"]], Ok(()));
        check(&[&["a", "b"], &["b", "c"]], Err("b comes twice"));
        check(&[&["a", "b", "c"], &["!b", "b"]], Err("b is not there"));
    }
}
