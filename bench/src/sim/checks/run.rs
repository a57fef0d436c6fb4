//! What a machine has run, run on the reference model: what every command answers, and the steps that its reply tells of.

use super::super::answer::{Answer, Join, Part};
use super::super::scan::Walk;
use super::{
    Args, Checked, Checks, MISCONF, Met, ONE_REPLY, Own, PAUSE, REPLIES, SAVE_FAILED, Shard, UNUSABLE, Work, asked,
    is_write, keys, live_keys, note,
};
use crate::model::{self, Change, Collection, DATABASES, Row};
use cairn_core::collection::order::place_of;
use cairn_core::parcel::Ask;
use cairn_core::route::{self, CURSOR_DROPPED_BITS};
use std::collections::BTreeSet;
use std::rc::Rc;

impl Checks {
    /// Runs a command of a client on the model, as far as its machine does.
    pub(super) fn execute(&mut self, met: Met, id: u64, args: Args, own: Own<'_>) -> Checked {
        self.commands += 1;
        let (name, db) = (args[0].to_ascii_lowercase(), self.clients[&id].db);
        let answer = match name.as_slice() {
            _ if own.is_unusable => self.local(met, args, UNUSABLE.to_vec()),
            b"ping" => self.local(met, args, b"+PONG\r\n".to_vec()),
            b"select" => {
                let db = String::from_utf8_lossy(&args[1]).parse().expect("it was made here");
                self.clients.get_mut(&id).expect("it is connected").db = db;
                self.local(met, args, b"+OK\r\n".to_vec())
            }
            b"flushall" | b"flushdb" | b"swapdb" => self.databases(met, db, args),
            b"client" => self.ask_all(met, id, args, &PAUSE, Join::Alike, own),
            b"save" => {
                let jumps = self.jumps;
                let client = self.clients.get_mut(&id).expect("it is connected");
                client.saving.push_back(((met.now_ms / 1000) as i64, jumps));
                self.ask_all(met, id, args, &Ask::Save, Join::Alike, own)
            }
            b"bgsave" => self.ask_all(met, id, args, &Ask::Checkpoint, Join::Alike, own),
            b"lastsave" => {
                let least_s = self.shards[met.shard].started_us / 1_000_000;
                self.ask_all(met, id, args, &Ask::LastSave, Join::Oldest { least: least_s as i64 }, own)
            }
            b"dbsize" => self.ask_all(met, id, args, &Ask::RowCount { db }, Join::Sum, own),
            b"scan" => self.scan(met, id, args, own),
            _ => self.row(met, id, args),
        };
        let numbers: Vec<u64> =
            own.deeds.iter().filter_map(|(deed, _)| asked(*deed)).map(|(_, request)| request.hole).collect();
        if numbers.iter().any(|number| *number != answer.hole) {
            return Err(format!("{ONE_REPLY}: client {id}: holes {numbers:?} for {}", answer.hole));
        }
        self.clients.get_mut(&id).expect("it is connected").answers.push_back(answer);
        own.deeds.iter().try_for_each(|(deed, is_unusable)| self.do_deed(met, *deed, *is_unusable))
    }

    fn local(&self, met: Met, args: Args, reply: Vec<u8>) -> Answer {
        let part = Part::plain(&reply);
        Answer { args, hole: 0, join: Join::Only, shards: vec![met.shard], parts: vec![Some(part)] }
    }

    /// A change of whole databases, where there is one shard. Where nothing changes there is nothing to wait for.
    fn databases(&mut self, met: Met, db: u8, args: Args) -> Answer {
        let shard = &mut self.shards[met.shard];
        let outcome = model::run(&mut shard.rows, met.now_ms, db, &args);
        let mut last = 0;
        for step in outcome.steps {
            note(&mut self.clients, &step);
            last = shard.history.push(step);
        }
        let part = Part { reply: outcome.reply, step: last, live: BTreeSet::new() };
        Answer { args, hole: 0, join: Join::Only, shards: vec![met.shard], parts: vec![Some(part)] }
    }

    fn hole(&mut self, id: u64) -> u64 {
        let client = self.clients.get_mut(&id).expect("it is connected");
        client.holes += 1;
        client.holes
    }

    fn ask_all(&mut self, met: Met, id: u64, args: Args, ask: &Ask, join: Join, own: Own<'_>) -> Answer {
        let shards: Vec<usize> = (0..self.shards.len()).collect();
        // What the shard answers at once by itself leaves no hole.
        if shards.len() == 1 && own.deeds.is_empty() && !matches!(ask, Ask::Save) {
            let parts = vec![Some(self.answer(met, ask))];
            return Answer { args, hole: 0, join, shards, parts };
        }
        let hole = self.hole(id);
        let work = match ask {
            Ask::Save => Work::Save(self.shards[met.shard].durable),
            ask => Work::Ask(ask.clone()),
        };
        self.shards[met.shard].tasks.insert((id, hole, met.shard as u32), (work, BTreeSet::new()));
        let parts = shards.iter().map(|_| None).collect();
        Answer { args, hole, join, shards, parts }
    }

    fn scan(&mut self, met: Met, id: u64, args: Args, own: Own<'_>) -> Answer {
        let cursor: u64 = String::from_utf8_lossy(&args[1]).parse().expect("it was made here");
        let db = self.clients[&id].db;
        if cursor == 0 {
            let walk = Walk::new(db, self.shards.iter().map(|shard| &shard.rows));
            self.clients.get_mut(&id).expect("it is connected").walk = Some(walk);
        }
        let head = cursor.saturating_sub(1) << CURSOR_DROPPED_BITS;
        let Some(slot) = route::slot_of(head) else {
            return self.local(met, args, b"*2\r\n$1\r\n0\r\n*0\r\n".to_vec());
        };
        let shard = self.owner(slot);
        let ask = Ask::Scan { db, cursor: head, count: 0, pattern: None, kind: None };
        let is_here = shard == met.shard;
        if is_here && own.deeds.is_empty() {
            let parts = vec![Some(self.answer(met, &ask))];
            return Answer { args, hole: 0, join: Join::Scan, shards: vec![shard], parts };
        }
        let hole = self.hole(id);
        if is_here {
            self.shards[shard].tasks.insert((id, hole, 0), (Work::Ask(ask), BTreeSet::new()));
        }
        Answer { args, hole, join: Join::Scan, shards: vec![shard], parts: vec![None] }
    }

    /// A command on rows: here, there, or on several shards.
    fn row(&mut self, met: Met, id: u64, args: Args) -> Answer {
        let keys = keys(&args);
        let owners: Vec<usize> = keys.iter().map(|at| self.owner(route::slot(&args[*at]))).collect();
        let shards: BTreeSet<usize> = owners.iter().copied().collect();
        let db = self.clients[&id].db;
        if shards.len() == 1 {
            let shard = owners[0];
            let is_here = shard == met.shard;
            let hole = if is_here { 0 } else { self.hole(id) };
            let parts = vec![is_here.then(|| self.run_row(met, db, &args, false))];
            return Answer { args, hole, join: Join::Only, shards: vec![shard], parts };
        }
        let hole = self.hole(id);
        let (mut places, mut parts) = (Vec::new(), Vec::new());
        for &shard in &shards {
            let mine: Vec<usize> = (0..owners.len()).filter(|place| owners[*place] == shard).collect();
            if shard == met.shard {
                let mut part = vec![args[0].clone()];
                part.extend(mine.iter().map(|place| args[keys[*place]].clone()));
                let number = parts.len() as u32;
                self.shards[shard].tasks.insert((id, hole, number), (Work::Run(db, part), BTreeSet::new()));
            }
            parts.push(None);
            places.push(mine);
        }
        let join = if args[0].eq_ignore_ascii_case(b"mget") { Join::Places(places) } else { Join::Sum };
        Answer { args, hole, join, shards: shards.into_iter().collect(), parts }
    }

    /// Runs a command on the rows of the shard. One that comes from elsewhere may find that there are no writes now.
    pub(super) fn run_row(&mut self, met: Met, db: u8, args: &Args, is_admitted_here: bool) -> Part {
        if is_admitted_here && !met.accepts_writes && is_write(args) {
            return Part::plain(MISCONF);
        }
        let shard = &mut self.shards[met.shard];
        let outcome = model::run(&mut shard.rows, met.now_ms, db, args);
        for step in outcome.steps {
            note(&mut self.clients, &step);
            shard.history.push(step);
        }
        let step = outcome.seen.iter().map(|(db, key)| shard.history.seen(*db, key)).max().unwrap_or(0);
        Part { reply: outcome.reply, step, live: BTreeSet::new() }
    }

    /// Answers a question about the whole shard.
    pub(super) fn answer(&mut self, met: Met, ask: &Ask) -> Part {
        let shard = &mut self.shards[met.shard];
        let (mut reply, mut live) = (b"+OK\r\n".to_vec(), BTreeSet::new());
        match ask {
            Ask::RowCount { db } => reply = format!(":{}\r\n", shard.rows.len(*db)).into_bytes(),
            Ask::Scan { db, .. } => live.extend(live_keys(&shard.rows, met.now_ms, *db)),
            // Tells nothing of any row.
            Ask::ClientPause { .. } => return Part::plain(&reply),
            Ask::LastSave => return Part::plain(format!(":{}\r\n", shard.saved_us / 1_000_000).as_bytes()),
            Ask::Checkpoint => return Part::plain(b"+Background saving started\r\n"),
            other => panic!("nobody asks {other:?}"),
        }
        Part { reply, step: shard.history.last_step(), live }
    }

    /// A shard answers SAVE: a checkpoint that began after it was asked for is durable, or came to nothing.
    pub(super) fn save(&mut self, met: Met, before: u32) -> Checked<Part> {
        let shard = &self.shards[met.shard];
        if shard.durable > before || !met.has_pages {
            self.saves += 1;
            return Ok(Part::plain(b"+OK\r\n"));
        }
        if shard.is_page_file_bad {
            self.saves_failed += 1;
            return Ok(Part::plain(SAVE_FAILED));
        }
        Err(format!("{REPLIES}: shard {} answers SAVE, and its checkpoint is still {before}", met.shard))
    }

    pub(super) fn fill(&mut self, id: u64, hole: u64, part: u32, filled: Part) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        if let Some(answer) = client.answers.iter_mut().find(|answer| answer.hole == hole) {
            answer.parts[part as usize] = Some(filled);
        }
    }

    /// The machine has removed a field past its time from the hash with this head, or all of the hash.
    pub(super) fn expire_field(&mut self, met: Met, db: u8, head: u64, place: Option<u64>) -> Checked {
        let Shard { rows, history, .. } = &mut self.shards[met.shard];
        let wrong = |what: &str| Err(format!("{REPLIES}: shard {} removes {what}", met.shard));
        let found = rows.iter(db).find(|(key, _)| route::head(route::slot(key), key, self.hash_seed) == head);
        let Some((key, row)) = found else { return wrong("fields of nothing") };
        let Some(Collection::Hash(fields)) = row.collection.as_deref() else { return wrong("fields of no hash") };
        let is_over = |name: &&Vec<u8>| {
            !fields[*name].is_live(met.now_ms) && place.is_none_or(|place| place_of(name, self.hash_seed) == place)
        };
        let over: Vec<&Vec<u8>> = fields.keys().filter(is_over).collect();
        let change = match over.first() {
            _ if place.is_none() && over.len() == fields.len() => Change::Delete { db, key: key.clone() },
            Some(name) if place.is_some() && fields.len() > 1 => {
                let mut left = fields.clone();
                left.remove(*name);
                let collection = Some(Rc::new(Collection::Hash(left)));
                Change::Put { db, key: key.clone(), row: Row { collection, ..row.clone() } }
            }
            _ => return wrong(&format!("fields of {} that are not past their time", key.escape_ascii())),
        };
        let step = vec![change];
        rows.apply(&step[0]);
        note(&mut self.clients, &step);
        history.push(step);
        Ok(())
    }

    /// The machine has removed so many rows past their time: the first ones in the order of their times.
    pub(super) fn expire(&mut self, met: Met, removed: u64) -> Checked {
        let Shard { rows, history, .. } = &mut self.shards[met.shard];
        let mut due = Vec::new();
        for db in 0..DATABASES {
            for (key, row) in rows.iter(db).filter(|(_, row)| row.expire_ms != 0 && row.expire_ms < met.now_ms) {
                due.push((
                    row.expire_ms,
                    rows.spaces().of(db),
                    route::head(route::slot(key), key, self.hash_seed),
                    key.clone(),
                ));
            }
        }
        due.sort();
        if removed > due.len() as u64 {
            return Err(format!(
                "{REPLIES}: shard {} removes {removed} rows, {} are past their time",
                met.shard,
                due.len()
            ));
        }
        for (_, space, _, key) in due.into_iter().take(removed as usize) {
            let db = rows.spaces().database(space);
            let step = vec![Change::Delete { db, key }];
            rows.apply(&step[0]);
            note(&mut self.clients, &step);
            history.push(step);
        }
        Ok(())
    }
}
