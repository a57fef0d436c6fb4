//! The reference model: what the commands on strings, keys and collections do to rows, written to be read, not to be fast.
//!
//! It knows one shard's rows and nothing of logs, pages or connections. A command is run on [`Rows`] and answers its
//! reply in RESP2, the *steps* that it took and the keys that it looked at. A step is what a crash takes or leaves as
//! a whole. Texts and the order of checks are those of Redis 7.2.

mod collections;
mod hashes;
mod keys;
mod streams;
#[cfg(test)]
mod tests;

pub use collections::Collection;
pub use hashes::Field;
pub use streams::{Group, Id, Stream};

use cairn_core::number::Extended;
use cairn_storage::engine::elements::elements_of;
use cairn_storage::spaces::Spaces;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Databases.
pub const DATABASES: u8 = 16;

/// A string, or a collection, and its time to live: Unix milliseconds, 0 for ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Of a collection: nothing.
    pub value: Rc<Vec<u8>>,
    pub collection: Option<Rc<Collection>>,
    pub expire_ms: u64,
}

/// One row's change, a database's end, or two that change places.
#[derive(Clone, Debug)]
pub enum Change {
    Put { db: u8, key: Rc<[u8]>, row: Row },
    Delete { db: u8, key: Rc<[u8]> },
    Clear { db: u8 },
    Swap { one: u8, other: u8 },
}

/// What is done together or not at all.
pub type Step = Vec<Change>;

/// All rows of one shard, or of several, those past their time included until they are removed. A copy shares what neither has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    databases: [Rc<BTreeMap<Rc<[u8]>, Row>>; DATABASES as usize],
    /// What decides in which database rows expire first that expire at the same time.
    spaces: Spaces,
}

impl Rows {
    pub fn get(&self, db: u8, key: &[u8]) -> Option<&Row> {
        self.databases[usize::from(db)].get(key)
    }

    /// The row if its time has not passed. As in Redis, a row lives through the millisecond that is its deadline.
    pub fn live(&self, now_ms: u64, db: u8, key: &[u8]) -> Option<&Row> {
        self.get(db, key).filter(|row| row.expire_ms == 0 || row.expire_ms >= now_ms)
    }

    pub fn put(&mut self, db: u8, key: Rc<[u8]>, row: Row) {
        self.database(db).insert(key, row);
    }

    fn database(&mut self, db: u8) -> &mut BTreeMap<Rc<[u8]>, Row> {
        Rc::make_mut(&mut self.databases[usize::from(db)])
    }

    pub fn spaces(&self) -> Spaces {
        self.spaces
    }

    /// A shard has these.
    pub fn set_spaces(&mut self, spaces: Spaces) {
        self.spaces = spaces;
    }

    pub fn len(&self, db: u8) -> usize {
        self.databases[usize::from(db)].len()
    }

    pub fn is_empty(&self, db: u8) -> bool {
        self.len(db) == 0
    }

    /// The rows of a database in the order of their keys.
    pub fn iter(&self, db: u8) -> impl Iterator<Item = (&Rc<[u8]>, &Row)> {
        self.databases[usize::from(db)].iter()
    }

    /// The same rows, whatever decides which of them expire first.
    pub fn equals(&self, other: &Rows) -> bool {
        self.databases == other.databases
    }

    pub fn collections(&self) -> impl Iterator<Item = &Collection> {
        self.databases.iter().flat_map(|database| database.values()).filter_map(|row| row.collection.as_deref())
    }

    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::Put { db, key, row } => self.put(*db, key.clone(), row.clone()),
            Change::Delete { db, key } => {
                self.database(*db).remove(key);
            }
            Change::Clear { db } => self.databases[usize::from(*db)] = Rc::default(),
            Change::Swap { one, other } => {
                self.databases.swap(usize::from(*one), usize::from(*other));
                self.spaces.swap(*one, *other);
                self.spaces.swap(elements_of(*one), elements_of(*other));
            }
        }
    }
}

/// What a command came to.
#[derive(Debug, Default)]
pub struct Outcome {
    pub reply: Vec<u8>,
    pub steps: Vec<Step>,
    /// Database and key of every row that the reply may tell something about.
    pub seen: Vec<(u8, Vec<u8>)>,
}

/// A refusal: the error line without its dash.
type Refused = &'static str;

const SYNTAX: Refused = "ERR syntax error";
const NOT_INTEGER: Refused = "ERR value is not an integer or out of range";

/// Runs a command on the rows of the shard that has all its keys.
pub fn run<A: AsRef<[u8]>>(rows: &mut Rows, now_ms: u64, db: u8, args: &[A]) -> Outcome {
    let args: Vec<&[u8]> = args.iter().map(AsRef::as_ref).collect();
    let mut command = Command { rows, now_ms, db, out: Outcome::default() };
    if let Err(line) = command.run(&args) {
        // What it began to say does not count.
        command.out.reply = format!("-{line}\r\n").into_bytes();
    }
    command.out
}

struct Command<'a> {
    rows: &'a mut Rows,
    now_ms: u64,
    db: u8,
    out: Outcome,
}

impl Command<'_> {
    fn run(&mut self, args: &[&[u8]]) -> Result<(), Refused> {
        let name = args[0].to_ascii_lowercase();
        match name.as_slice() {
            b"get" => self.get(args[1]),
            b"mget" => self.mget(&args[1..]),
            b"strlen" => self.strlen(args[1]),
            b"getrange" => self.getrange(args)?,
            b"dbsize" => self.size(),
            b"exists" | b"touch" => self.exists(&args[1..]),
            b"type" => self.kind(args[1]),
            b"ttl" => self.ttl(args[1], |ms, now_ms| (ms - now_ms + 500) / 1000),
            b"pttl" => self.ttl(args[1], |ms, now_ms| ms - now_ms),
            b"expiretime" => self.ttl(args[1], |ms, _| (ms + 500) / 1000),
            b"pexpiretime" => self.ttl(args[1], |ms, _| ms),
            b"set" => self.set(args)?,
            b"setnx" => self.setnx(args),
            b"getset" => self.getset(args),
            b"getdel" => self.getdel(args[1]),
            b"getex" => self.getex(args)?,
            b"setex" => self.set_for(args, 1000)?,
            b"psetex" => self.set_for(args, 1)?,
            b"append" => self.append(args[1], args[2]),
            b"setrange" => self.setrange(args)?,
            b"incr" => self.add(args[1], 1)?,
            b"decr" => self.add(args[1], -1)?,
            b"incrby" => self.add(args[1], integer(args[2])?)?,
            b"decrby" => self.add(args[1], integer(args[2])?.checked_neg().ok_or("ERR decrement would overflow")?)?,
            b"incrbyfloat" => self.add_float(args)?,
            b"mset" => {
                self.write_all(args);
                self.simple("OK");
            }
            b"msetnx" => self.msetnx(args),
            b"del" | b"unlink" => self.del(&args[1..]),
            b"expire" => self.expire(args, 1000, self.now_ms)?,
            b"pexpire" => self.expire(args, 1, self.now_ms)?,
            b"expireat" => self.expire(args, 1000, 0)?,
            b"pexpireat" => self.expire(args, 1, 0)?,
            b"persist" => self.persist(args[1]),
            b"copy" => self.copy(args)?,
            b"rename" => {
                self.rename(args, true)?;
                self.simple("OK");
            }
            b"renamenx" => {
                let is_moved = self.rename(args, false)?;
                self.integer(i64::from(is_moved));
            }
            // To the model a collection has one shape only.
            b"config" => self.simple("OK"),
            b"move" => self.move_to(args)?,
            b"flushdb" | b"flushall" | b"swapdb" => self.databases(&name, args)?,
            name if self.run_collection(name, args)? => {}
            name => panic!("the model does not know {}", String::from_utf8_lossy(name)),
        }
        Ok(())
    }

    /// The live row of a key, which the reply may now tell about.
    fn look(&mut self, key: &[u8]) -> Option<Row> {
        self.look_in(self.db, key)
    }

    fn look_in(&mut self, db: u8, key: &[u8]) -> Option<Row> {
        self.out.seen.push((db, key.to_vec()));
        self.rows.live(self.now_ms, db, key).cloned()
    }

    fn step(&mut self, step: Step) {
        step.iter().for_each(|change| self.rows.apply(change));
        self.out.steps.push(step);
    }

    fn put(&self, db: u8, key: &[u8], value: Vec<u8>, expire_ms: u64) -> Change {
        Change::Put { db, key: key.into(), row: Row { value: Rc::new(value), collection: None, expire_ms } }
    }

    fn write(&mut self, key: &[u8], value: Vec<u8>, expire_ms: u64) {
        self.out.seen.push((self.db, key.to_vec()));
        self.step(vec![self.put(self.db, key, value, expire_ms)]);
    }

    /// A row has another time to live.
    fn live_until(&mut self, key: &[u8], row: Row, expire_ms: u64) {
        self.out.seen.push((self.db, key.to_vec()));
        self.step(vec![Change::Put { db: self.db, key: key.into(), row: Row { expire_ms, ..row } }]);
    }

    /// Removes the row, whether its time has come or not. Whether a live one was there.
    fn remove(&mut self, key: &[u8]) -> bool {
        let was_live = self.look(key).is_some();
        if self.rows.get(self.db, key).is_some() {
            self.step(vec![Change::Delete { db: self.db, key: key.into() }]);
        }
        was_live
    }

    fn get(&mut self, key: &[u8]) {
        let row = self.look(key);
        self.bulk(row.as_ref().map(|row| &row.value[..]));
    }

    fn mget(&mut self, keys: &[&[u8]]) {
        self.array(keys.len());
        keys.iter().for_each(|key| self.get(key));
    }

    fn strlen(&mut self, key: &[u8]) {
        let len = self.look(key).map_or(0, |row| row.value.len());
        self.integer(len as i64);
    }

    fn getrange(&mut self, args: &[&[u8]]) -> Result<(), Refused> {
        let (start, end) = (integer(args[2])?, integer(args[3])?);
        let value = self.look(args[1]).map_or_else(Rc::default, |row| row.value);
        let len = value.len() as i64;
        let at = |index: i64| if index < 0 { (len + index).max(0) } else { index };
        let (from, to) = (at(start), at(end).min(len - 1));
        let is_empty = from > to || (start < 0 && end < 0 && start > end);
        self.bulk(Some(if is_empty { b"" } else { &value[from as usize..=to as usize] }));
        Ok(())
    }

    fn size(&mut self) {
        let live = self.rows.iter(self.db).filter(|(key, _)| self.rows.live(self.now_ms, self.db, key).is_some());
        self.integer(live.count() as i64);
    }

    fn exists(&mut self, keys: &[&[u8]]) {
        let there = keys.iter().filter(|key| self.look(key).is_some()).count();
        self.integer(there as i64);
    }

    fn kind(&mut self, key: &[u8]) {
        let kind = |row: Row| row.collection.map_or("string", |collection| collection.name());
        let kind = self.look(key).map_or("none", kind);
        self.simple(kind);
    }

    fn ttl(&mut self, key: &[u8], show: fn(u64, u64) -> u64) {
        let shown = match self.look(key) {
            None => -2,
            Some(row) if row.expire_ms == 0 => -1,
            Some(row) => show(row.expire_ms, self.now_ms) as i64,
        };
        self.integer(shown);
    }

    fn set(&mut self, args: &[&[u8]]) -> Result<(), Refused> {
        let (mut if_none, mut if_some, mut is_get, mut is_kept) = (false, false, false, false);
        let mut expire_ms = 0;
        let mut rest = args[3..].iter();
        while let Some(word) = rest.next() {
            match word.to_ascii_lowercase().as_slice() {
                b"nx" => if_none = true,
                b"xx" => if_some = true,
                b"get" => is_get = true,
                b"keepttl" => is_kept = true,
                unit => {
                    let amount = integer(rest.next().ok_or(SYNTAX)?)?;
                    let deadline = self.deadline(unit, amount)?;
                    expire_ms = deadline.ok_or("ERR invalid expire time in 'set' command")?;
                }
            }
        }
        let key = args[1];
        let before = if is_get || if_none || if_some || is_kept { self.look(key) } else { None };
        if is_get {
            self.bulk(before.as_ref().map(|row| &row.value[..]));
        }
        if (if_none && before.is_some()) || (if_some && before.is_none()) {
            if !is_get {
                self.bulk(None);
            }
            return Ok(());
        }
        if expire_ms != 0 && expire_ms <= self.now_ms {
            self.remove(key);
        } else if is_kept {
            // Whatever that is: a row may be in the last millisecond of its life.
            self.write(key, args[2].to_vec(), before.map_or(0, |row| row.expire_ms));
        } else {
            self.write(key, args[2].to_vec(), expire_ms);
        }
        if !is_get {
            self.simple("OK");
        }
        Ok(())
    }

    /// When a lifetime ends that is given as EX, PX, EXAT or PXAT and an amount; `None` if that is no time.
    fn deadline(&self, unit: &[u8], amount: i64) -> Result<Option<u64>, Refused> {
        let Some(amount) = u64::try_from(amount).ok().filter(|amount| *amount > 0) else { return Ok(None) };
        Ok(Some(match unit {
            b"ex" => self.now_ms + 1000 * amount,
            b"px" => self.now_ms + amount,
            b"exat" => 1000 * amount,
            b"pxat" => amount,
            _ => return Err(SYNTAX),
        }))
    }

    /// SETEX and PSETEX.
    fn set_for(&mut self, args: &[&[u8]], scale: u64) -> Result<(), Refused> {
        let amount = u64::try_from(integer(args[2])?).ok().filter(|amount| *amount > 0);
        let amount = amount.ok_or(if scale == 1 {
            "ERR invalid expire time in 'psetex' command"
        } else {
            "ERR invalid expire time in 'setex' command"
        })?;
        self.write(args[1], args[3].to_vec(), self.now_ms + scale * amount);
        self.simple("OK");
        Ok(())
    }

    fn setnx(&mut self, args: &[&[u8]]) {
        let is_free = self.look(args[1]).is_none();
        if is_free {
            self.write(args[1], args[2].to_vec(), 0);
        }
        self.integer(i64::from(is_free));
    }

    fn getset(&mut self, args: &[&[u8]]) {
        self.get(args[1]);
        self.write(args[1], args[2].to_vec(), 0);
    }

    fn getdel(&mut self, key: &[u8]) {
        self.get(key);
        if self.rows.live(self.now_ms, self.db, key).is_some() {
            self.remove(key);
        }
    }

    /// GETEX key [PERSIST | EX seconds | ...]
    fn getex(&mut self, args: &[&[u8]]) -> Result<(), Refused> {
        let key = args[1];
        let Some(row) = self.look(key) else {
            self.bulk(None);
            return Ok(());
        };
        self.bulk(Some(&row.value));
        let Some(word) = args.get(2) else { return Ok(()) };
        let expire_ms = match word.to_ascii_lowercase().as_slice() {
            b"persist" if row.expire_ms == 0 => return Ok(()),
            b"persist" => 0,
            unit => {
                let deadline = self.deadline(unit, integer(args.get(3).ok_or(SYNTAX)?)?)?;
                deadline.ok_or("ERR invalid expire time in 'getex' command")?
            }
        };
        if expire_ms != 0 && expire_ms <= self.now_ms {
            self.remove(key);
        } else {
            self.write(key, row.value.to_vec(), expire_ms);
        }
        Ok(())
    }

    fn append(&mut self, key: &[u8], tail: &[u8]) {
        let len = match self.look(key) {
            None => {
                self.write(key, tail.to_vec(), 0);
                tail.len()
            }
            Some(row) => {
                let mut value = row.value.to_vec();
                value.extend_from_slice(tail);
                let len = value.len();
                if !tail.is_empty() {
                    self.write(key, value, row.expire_ms);
                }
                len
            }
        };
        self.integer(len as i64);
    }

    fn setrange(&mut self, args: &[&[u8]]) -> Result<(), Refused> {
        let (key, patch) = (args[1], args[3]);
        let offset = usize::try_from(integer(args[2])?).map_err(|_| "ERR offset is out of range")?;
        let (mut value, expire_ms) = self.look(key).map_or((Vec::new(), 0), |row| (row.value.to_vec(), row.expire_ms));
        if !patch.is_empty() {
            let end = offset + patch.len();
            value.resize(value.len().max(end), 0);
            value[offset..end].copy_from_slice(patch);
            self.write(key, value.clone(), expire_ms);
        }
        self.integer(value.len() as i64);
        Ok(())
    }

    fn add(&mut self, key: &[u8], increment: i64) -> Result<(), Refused> {
        let row = self.look(key);
        let before = row.as_ref().map_or(Ok(0), |row| integer(&row.value))?;
        let after = before.checked_add(increment).ok_or("ERR increment or decrement would overflow")?;
        self.write(key, after.to_string().into_bytes(), row.map_or(0, |row| row.expire_ms));
        self.integer(after);
        Ok(())
    }

    /// The arithmetic is the product's own, which has tests of its own: here it matters what becomes of the row.
    fn add_float(&mut self, args: &[&[u8]]) -> Result<(), Refused> {
        let row = self.look(args[1]);
        let parse = |text: &[u8]| Extended::parse(text).ok_or("ERR value is not a valid float");
        let before = parse(row.as_ref().map_or(b"0", |row| &row.value[..]))?;
        let after = before.plus(parse(args[2])?).ok_or("ERR increment would produce NaN or Infinity")?.format();
        self.write(args[1], after.as_bytes().to_vec(), row.map_or(0, |row| row.expire_ms));
        self.bulk(Some(after.as_bytes()));
        Ok(())
    }

    fn write_all(&mut self, args: &[&[u8]]) {
        let step = args[1..].chunks(2).map(|pair| self.put(self.db, pair[0], pair[1].to_vec(), 0)).collect();
        self.out.seen.extend(args[1..].chunks(2).map(|pair| (self.db, pair[0].to_vec())));
        self.step(step);
    }

    fn msetnx(&mut self, args: &[&[u8]]) {
        let taken = args[1..].chunks(2).filter(|pair| self.look(pair[0]).is_some()).count();
        if taken == 0 {
            self.write_all(args);
        }
        self.integer(i64::from(taken == 0));
    }

    fn del(&mut self, keys: &[&[u8]]) {
        let removed = keys.iter().filter(|key| self.remove(key)).count();
        self.integer(removed as i64);
    }

    fn expire(&mut self, args: &[&[u8]], scale: i64, from_ms: u64) -> Result<(), Refused> {
        let when = integer(args[2])? * scale + from_ms as i64;
        let Some(row) = self.look(args[1]) else {
            self.integer(0);
            return Ok(());
        };
        let current = (row.expire_ms != 0).then_some(row.expire_ms as i64);
        let is_allowed = match args.get(3).map(|word| word.to_ascii_lowercase()).as_deref() {
            None => true,
            Some(b"nx") => current.is_none(),
            Some(b"xx") => current.is_some(),
            Some(b"gt") => current.is_some_and(|current| when > current),
            Some(b"lt") => current.is_none_or(|current| when < current),
            Some(_) => return Err(SYNTAX),
        };
        if is_allowed && when <= self.now_ms as i64 {
            self.remove(args[1]);
        } else if is_allowed {
            self.live_until(args[1], row, when as u64);
        }
        self.integer(i64::from(is_allowed));
        Ok(())
    }

    fn persist(&mut self, key: &[u8]) {
        let row = self.look(key).filter(|row| row.expire_ms != 0);
        let is_there = row.is_some();
        if let Some(row) = row {
            self.live_until(key, row, 0);
        }
        self.integer(i64::from(is_there));
    }

    fn simple(&mut self, text: &str) {
        self.out.reply.extend_from_slice(format!("+{text}\r\n").as_bytes());
    }

    fn integer(&mut self, value: i64) {
        self.out.reply.extend_from_slice(format!(":{value}\r\n").as_bytes());
    }

    fn array(&mut self, len: usize) {
        self.out.reply.extend_from_slice(format!("*{len}\r\n").as_bytes());
    }

    fn bulk(&mut self, bytes: Option<&[u8]>) {
        let Some(bytes) = bytes else { return self.out.reply.extend_from_slice(b"$-1\r\n") };
        self.out.reply.extend_from_slice(format!("${}\r\n", bytes.len()).as_bytes());
        self.out.reply.extend_from_slice(bytes);
        self.out.reply.extend_from_slice(b"\r\n");
    }
}

/// The canonical decimal form of an `i64`, and nothing else.
fn integer(text: &[u8]) -> Result<i64, Refused> {
    let parsed = std::str::from_utf8(text).ok().and_then(|text| text.parse::<i64>().ok());
    parsed.filter(|value| value.to_string().as_bytes() == text).ok_or(NOT_INTEGER)
}
