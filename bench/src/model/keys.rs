//! Keys and databases as a whole in the reference model: rows that go elsewhere, and databases that are emptied or change places.

use super::{Change, Command, DATABASES, Refused, SYNTAX, Step, integer};
use std::rc::Rc;

impl Command<'_> {
    /// COPY source target [DB n] [REPLACE], the options in this order.
    pub(super) fn copy(&mut self, args: &[&[u8]]) -> Result<(), Refused> {
        let (mut target_db, mut is_replacing) = (self.db, false);
        let mut rest = args[3..].iter();
        while let Some(word) = rest.next() {
            match word.to_ascii_lowercase().as_slice() {
                b"replace" => is_replacing = true,
                b"db" => target_db = integer(rest.next().ok_or(SYNTAX)?)? as u8,
                _ => return Err(SYNTAX),
            }
        }
        if target_db == self.db && args[1] == args[2] {
            return Err("ERR source and destination objects are the same");
        }
        let is_copied = match self.look(args[1]) {
            None => false,
            Some(_) if self.look_in(target_db, args[2]).is_some() && !is_replacing => false,
            Some(row) => {
                self.out.seen.push((target_db, args[2].to_vec()));
                self.step(vec![Change::Put { db: target_db, key: args[2].into(), row }]);
                true
            }
        };
        self.integer(i64::from(is_copied));
        Ok(())
    }

    pub(super) fn rename(&mut self, args: &[&[u8]], is_replacing: bool) -> Result<bool, Refused> {
        let row = self.look(args[1]).ok_or("ERR no such key")?;
        if args[1] == args[2] || (self.look(args[2]).is_some() && !is_replacing) {
            return Ok(false);
        }
        self.out.seen.push((self.db, args[2].to_vec()));
        let (db, from, to) = (self.db, Rc::from(args[1]), Rc::from(args[2]));
        self.step(vec![Change::Put { db, key: to, row }, Change::Delete { db, key: from }]);
        Ok(true)
    }

    /// MOVE key db
    pub(super) fn move_to(&mut self, args: &[&[u8]]) -> Result<(), Refused> {
        let (key, other) = (args[1], integer(args[2])? as u8);
        if other == self.db {
            return Err("ERR source and destination objects are the same");
        }
        let row = self.look(key);
        let is_moved = row.is_some() && self.look_in(other, key).is_none();
        if let Some(row) = row.filter(|_| is_moved) {
            let (db, key) = (self.db, Rc::<[u8]>::from(key));
            self.step(vec![Change::Put { db: other, key: key.clone(), row }, Change::Delete { db, key }]);
        }
        self.integer(i64::from(is_moved));
        Ok(())
    }

    /// FLUSHDB, FLUSHALL, SWAPDB index index
    pub(super) fn databases(&mut self, name: &[u8], args: &[&[u8]]) -> Result<(), Refused> {
        let step: Step = match name {
            b"flushdb" => vec![Change::Clear { db: self.db }],
            b"flushall" => (0..DATABASES).map(|db| Change::Clear { db }).collect(),
            _ => {
                let (one, other) = (integer(args[1])? as u8, integer(args[2])? as u8);
                if one == other { Vec::new() } else { vec![Change::Swap { one, other }] }
            }
        };
        if !step.is_empty() {
            self.step(step);
        }
        self.simple("OK");
        Ok(())
    }
}
