//! Sets, sorted sets and lists (and [`super::hashes`], [`super::streams`]) of the reference model: what their commands do, on plain maps, sets and queues. A collection is changed as a whole: a step has
//! what it is then. Scores are integers here.

use super::{Change, Command, Field, Refused, Row, Stream, integer};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

/// What is in a collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Collection {
    Hash(BTreeMap<Vec<u8>, Field>),
    Set(BTreeSet<Vec<u8>>),
    /// By member.
    ZSet(BTreeMap<Vec<u8>, i64>),
    List(VecDeque<Vec<u8>>),
    Stream(Stream),
}

impl Collection {
    /// As TYPE answers.
    pub fn name(&self) -> &'static str {
        match self {
            Collection::Hash(_) => "hash",
            Collection::Set(_) => "set",
            Collection::ZSet(_) => "zset",
            Collection::List(_) => "list",
            Collection::Stream(_) => "stream",
        }
    }

    pub fn len(&self) -> usize {
        match self {
            Collection::Hash(fields) => fields.len(),
            Collection::Set(members) => members.len(),
            Collection::ZSet(scores) => scores.len(),
            Collection::List(elements) => elements.len(),
            Collection::Stream(stream) => stream.entries.len(),
        }
    }

    /// Then its row goes. A stream stays.
    pub fn is_empty(&self) -> bool {
        self.len() == 0 && !matches!(self, Collection::Stream(_))
    }

    /// Bytes of all that is in it.
    pub fn bytes(&self) -> usize {
        match self {
            Collection::Hash(fields) => fields.iter().map(|(name, field)| name.len() + field.value.len()).sum(),
            Collection::Set(members) => members.iter().map(Vec::len).sum(),
            Collection::ZSet(scores) => scores.keys().map(|member| member.len() + 8).sum(),
            Collection::List(elements) => elements.iter().map(Vec::len).sum(),
            Collection::Stream(stream) => stream.entries.values().flatten().map(Vec::len).sum(),
        }
    }
}

/// Members in the order of their scores.
fn ranked(scores: &BTreeMap<Vec<u8>, i64>) -> Vec<(i64, Vec<u8>)> {
    let mut ranked: Vec<(i64, Vec<u8>)> = scores.iter().map(|(member, score)| (*score, member.clone())).collect();
    ranked.sort();
    ranked
}

/// From one rank to another one, both included and counted from the end if negative.
fn ranks(args: &[&[u8]], len: usize) -> Result<std::ops::Range<usize>, Refused> {
    let len = len as i64;
    let at = |index: i64| if index < 0 { len + index } else { index };
    let (from, to) = (at(integer(args[2])?).max(0), at(integer(args[3])?).min(len - 1));
    Ok(if from > to { 0..0 } else { from as usize..to as usize + 1 })
}

/// Of an index that is counted from the end if negative.
fn place(index: i64, len: usize) -> Option<usize> {
    let at = if index < 0 { index + len as i64 } else { index };
    usize::try_from(at).ok().filter(|at| *at < len)
}

impl Command<'_> {
    /// A command on a collection. Whether it is one.
    pub(super) fn run_collection(&mut self, name: &[u8], args: &[&[u8]]) -> Result<bool, Refused> {
        match name[0] {
            b'h' => self.run_hash(name, args),
            b's' => self.run_set(name, args),
            b'z' => self.run_zset(name, args),
            b'l' | b'r' => self.run_list(name, args),
            b'x' => self.run_stream(name, args),
            _ => Ok(false),
        }
    }

    fn set_of(&mut self, key: &[u8]) -> BTreeSet<Vec<u8>> {
        self.of_kind(key, "set", |kept| if let Collection::Set(members) = kept { Some(members.clone()) } else { None })
    }

    fn zset(&mut self, key: &[u8]) -> BTreeMap<Vec<u8>, i64> {
        self.of_kind(
            key,
            "sorted set",
            |kept| if let Collection::ZSet(scores) = kept { Some(scores.clone()) } else { None },
        )
    }

    fn list(&mut self, key: &[u8]) -> VecDeque<Vec<u8>> {
        self.of_kind(key, "list", |kept| if let Collection::List(all) = kept { Some(all.clone()) } else { None })
    }

    pub(super) fn stream(&mut self, key: &[u8]) -> Stream {
        self.of_kind(
            key,
            "stream",
            |kept| if let Collection::Stream(stream) = kept { Some(stream.clone()) } else { None },
        )
    }

    /// What is at a key that only collections of one kind have; nothing is an empty one.
    pub(super) fn of_kind<T: Default>(
        &mut self,
        key: &[u8],
        kind: &str,
        of: impl FnOnce(&Collection) -> Option<T>,
    ) -> T {
        let Some(collection) = self.look(key).and_then(|row| row.collection) else { return T::default() };
        of(&collection).unwrap_or_else(|| panic!("a {} has the key of a {kind}", collection.name()))
    }

    /// What a collection's row becomes: an empty one goes.
    fn becomes(&self, key: &[u8], collection: Collection) -> Change {
        let (db, name) = (self.db, Rc::from(key));
        if collection.is_empty() {
            return Change::Delete { db, key: name };
        }
        let expire_ms = self.rows.live(self.now_ms, db, key).map_or(0, |row| row.expire_ms);
        Change::Put {
            db,
            key: name,
            row: Row { collection: Some(Rc::new(collection)), value: Rc::default(), expire_ms },
        }
    }

    /// A collection was changed, if `is_changed`.
    pub(super) fn keep(&mut self, key: &[u8], collection: Collection, is_changed: bool) {
        if is_changed {
            self.step(vec![self.becomes(key, collection)]);
        }
    }

    fn run_set(&mut self, name: &[u8], args: &[&[u8]]) -> Result<bool, Refused> {
        let key = args[1];
        let mut members = self.set_of(key);
        match name {
            b"scard" => self.integer(members.len() as i64),
            b"sismember" => self.integer(i64::from(members.contains(args[2]))),
            b"smismember" => {
                self.array(args.len() - 2);
                args[2..].iter().for_each(|member| self.integer(i64::from(members.contains(*member))));
            }
            b"sadd" => {
                let new = args[2..].iter().filter(|member| members.insert(member.to_vec())).count();
                self.keep(key, Collection::Set(members), new > 0);
                self.integer(new as i64);
            }
            b"srem" => {
                let gone = args[2..].iter().filter(|member| members.remove(**member)).count();
                self.keep(key, Collection::Set(members), gone > 0);
                self.integer(gone as i64);
            }
            b"smove" => {
                // Else the reply tells nothing of the other one.
                let is_there = members.contains(args[3]);
                if is_there && key != args[2] {
                    let mut others = self.set_of(args[2]);
                    members.remove(args[3]);
                    others.insert(args[3].to_vec());
                    let (from, to) = (Collection::Set(members), Collection::Set(others));
                    self.step(vec![self.becomes(key, from), self.becomes(args[2], to)]);
                }
                self.integer(i64::from(is_there));
            }
            b"sunionstore" | b"sinterstore" | b"sdiffstore" => self.store_sets(name, args),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// SUNIONSTORE target source [source ...] and its like.
    fn store_sets(&mut self, name: &[u8], args: &[&[u8]]) {
        let mut sources = args[2..].iter().map(|key| self.set_of(key)).collect::<Vec<_>>().into_iter();
        let first = sources.next().unwrap_or_default();
        let members = sources.fold(first, |mut members, source| {
            match name {
                b"sunionstore" => members.extend(source),
                b"sinterstore" => members.retain(|member| source.contains(member)),
                _ => members.retain(|member| !source.contains(member)),
            }
            members
        });
        self.integer(members.len() as i64);
        self.replace(args[1], Collection::Set(members));
    }

    /// ZUNIONSTORE target numkeys source [source ...]: scores are added.
    fn store_zsets(&mut self, args: &[&[u8]]) {
        let mut scores = BTreeMap::<Vec<u8>, i64>::new();
        for key in &args[3..] {
            self.zset(key).into_iter().for_each(|(member, score)| *scores.entry(member).or_default() += score);
        }
        self.integer(scores.len() as i64);
        self.replace(args[1], Collection::ZSet(scores));
    }

    /// Whatever was there goes, its time to live too.
    fn replace(&mut self, key: &[u8], collection: Collection) {
        self.out.seen.push((self.db, key.to_vec()));
        let change = match self.becomes(key, collection) {
            Change::Put { db, key, row } => Change::Put { db, key, row: Row { expire_ms: 0, ..row } },
            change => change,
        };
        self.step(vec![change]);
    }

    fn run_zset(&mut self, name: &[u8], args: &[&[u8]]) -> Result<bool, Refused> {
        let key = args[1];
        let mut scores = self.zset(key);
        match name {
            b"zcard" => self.integer(scores.len() as i64),
            b"zscore" => {
                let score = scores.get(args[2]).map(i64::to_string);
                self.bulk(score.as_deref().map(str::as_bytes));
            }
            b"zrank" => match ranked(&scores).iter().position(|(_, member)| member == args[2]) {
                Some(rank) => self.integer(rank as i64),
                None => self.bulk(None),
            },
            b"zcount" => {
                let (least, most) = (integer(args[2])?, integer(args[3])?);
                let count = scores.values().filter(|score| (least..=most).contains(*score)).count();
                self.integer(count as i64);
            }
            b"zrange" => {
                let all = ranked(&scores);
                self.scored(&all[ranks(args, all.len())?], args.len() > 4);
            }
            b"zadd" => self.zadd(args, scores)?,
            b"zunionstore" => self.store_zsets(args),
            b"zincrby" => {
                let score = scores.entry(args[3].to_vec()).or_default();
                *score += integer(args[2])?;
                let score = score.to_string();
                self.keep(key, Collection::ZSet(scores), true);
                self.bulk(Some(score.as_bytes()));
            }
            b"zrem" => {
                let gone = args[2..].iter().filter(|member| scores.remove(**member).is_some()).count();
                self.keep(key, Collection::ZSet(scores), gone > 0);
                self.integer(gone as i64);
            }
            b"zremrangebyrank" | b"zpopmin" | b"zpopmax" => {
                let mut all = ranked(&scores);
                if name == b"zpopmax" {
                    all.reverse();
                }
                let gone = match name {
                    b"zremrangebyrank" => &all[ranks(args, all.len())?],
                    _ => &all[..(args.get(2).map_or(Ok(1), |count| integer(count))? as usize).min(all.len())],
                };
                scores.retain(|member, _| gone.iter().all(|(_, of)| of != member));
                self.keep(key, Collection::ZSet(scores), !gone.is_empty());
                if name == b"zremrangebyrank" { self.integer(gone.len() as i64) } else { self.scored(gone, true) }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// ZADD key [NX | XX | GT | LT] [CH] score member ...
    fn zadd(&mut self, args: &[&[u8]], mut scores: BTreeMap<Vec<u8>, i64>) -> Result<(), Refused> {
        let is_option = |word: &&&[u8]| word[0].is_ascii_alphabetic();
        let options: Vec<&[u8]> = args[2..].iter().take_while(is_option).copied().collect();
        let has = |name: &[u8]| options.contains(&name);
        let (mut new, mut changed) = (0, 0);
        for pair in args[2 + options.len()..].chunks(2) {
            let (score, member) = (integer(pair[0])?, pair[1]);
            let before = scores.get(member).copied();
            let is_allowed = match before {
                None => !has(b"XX"),
                Some(_) if has(b"NX") => false,
                Some(before) if has(b"GT") => score > before,
                Some(before) if has(b"LT") => score < before,
                Some(_) => true,
            };
            if is_allowed && before != Some(score) {
                new += i64::from(before.is_none());
                changed += 1;
                scores.insert(member.to_vec(), score);
            }
        }
        self.keep(args[1], Collection::ZSet(scores), changed > 0);
        self.integer(if has(b"CH") { changed } else { new });
        Ok(())
    }

    /// LPOP and RPOP of so many elements.
    fn pop_several(&mut self, args: &[&[u8]], mut list: VecDeque<Vec<u8>>) -> Result<(), Refused> {
        let count = (integer(args[2])? as usize).min(list.len());
        if list.is_empty() {
            self.out.reply.extend_from_slice(b"*-1\r\n");
            return Ok(());
        }
        let taken: Vec<Vec<u8>> = match args[0].eq_ignore_ascii_case(b"lpop") {
            true => list.drain(..count).collect(),
            false => list.drain(list.len() - count..).rev().collect(),
        };
        self.array(count);
        taken.iter().for_each(|element| self.bulk(Some(element)));
        self.keep(args[1], Collection::List(list), count > 0);
        Ok(())
    }

    fn run_list(&mut self, name: &[u8], args: &[&[u8]]) -> Result<bool, Refused> {
        let key = args[1];
        let mut list = self.list(key);
        match name {
            b"llen" => self.integer(list.len() as i64),
            b"lindex" => {
                let at = place(integer(args[2])?, list.len());
                self.bulk(at.map(|at| list[at].as_slice()));
            }
            b"lrange" => {
                let found = ranks(args, list.len())?;
                self.array(found.len());
                list.range(found).for_each(|element| self.bulk(Some(element)));
            }
            b"lpush" | b"rpush" => {
                for element in &args[2..] {
                    if name == b"lpush" { list.push_front(element.to_vec()) } else { list.push_back(element.to_vec()) }
                }
                self.integer(list.len() as i64);
                self.keep(key, Collection::List(list), true);
            }
            b"lpop" | b"rpop" if args.len() > 2 => self.pop_several(args, list)?,
            b"lpop" | b"rpop" => {
                let taken = if name == b"lpop" { list.pop_front() } else { list.pop_back() };
                self.bulk(taken.as_deref());
                self.keep(key, Collection::List(list), taken.is_some());
            }
            b"lset" => {
                if list.is_empty() {
                    return Err("ERR no such key");
                }
                let at = place(integer(args[2])?, list.len()).ok_or("ERR index out of range")?;
                list[at] = args[3].to_vec();
                self.keep(key, Collection::List(list), true);
                self.simple("OK");
            }
            b"ltrim" => {
                let kept: VecDeque<Vec<u8>> = list.range(ranks(args, list.len())?).cloned().collect();
                let is_changed = kept.len() < list.len();
                self.keep(key, Collection::List(kept), is_changed);
                self.simple("OK");
            }
            b"lrem" => self.lrem(args, list)?,
            b"linsert" => {
                let pivot = list.iter().position(|element| element == args[3]);
                let len = match pivot {
                    _ if list.is_empty() => 0,
                    None => -1,
                    Some(at) => {
                        list.insert(at + usize::from(args[2].eq_ignore_ascii_case(b"after")), args[4].to_vec());
                        list.len() as i64
                    }
                };
                self.keep(key, Collection::List(list), len > 0);
                self.integer(len);
            }
            b"lmove" => self.lmove(args, list),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// LREM key count element: from the end if the count is negative, all of them if it is 0.
    fn lrem(&mut self, args: &[&[u8]], mut list: VecDeque<Vec<u8>>) -> Result<(), Refused> {
        let count = integer(args[2])?;
        let mut places: Vec<usize> = (0..list.len()).filter(|at| list[*at] == args[3]).collect();
        if count < 0 {
            places.reverse();
        }
        if count != 0 {
            places.truncate(count.unsigned_abs() as usize);
        }
        places.sort_unstable();
        places.iter().rev().for_each(|at| _ = list.remove(*at));
        self.keep(args[1], Collection::List(list), !places.is_empty());
        self.integer(places.len() as i64);
        Ok(())
    }

    fn lmove(&mut self, args: &[&[u8]], mut list: VecDeque<Vec<u8>>) {
        let is_left = |at: usize| args[at].eq_ignore_ascii_case(b"left");
        let taken = if is_left(3) { list.pop_front() } else { list.pop_back() };
        self.bulk(taken.as_deref());
        let Some(taken) = taken else { return };
        let is_same = args[1] == args[2];
        let mut target = if is_same { std::mem::take(&mut list) } else { self.list(args[2]) };
        if is_left(4) {
            target.push_front(taken)
        } else {
            target.push_back(taken)
        }
        let mut step = vec![self.becomes(args[2], Collection::List(target))];
        if !is_same {
            step.push(self.becomes(args[1], Collection::List(list)));
        }
        self.step(step);
    }

    fn scored(&mut self, members: &[(i64, Vec<u8>)], has_scores: bool) {
        self.array(members.len() * (1 + usize::from(has_scores)));
        for (score, member) in members {
            self.bulk(Some(member));
            if has_scores {
                self.bulk(Some(score.to_string().as_bytes()));
            }
        }
    }
}
