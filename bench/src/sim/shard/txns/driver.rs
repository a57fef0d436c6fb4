//! The protocol in its simplest form, one step of one participant at a time, between steps of the disks. A message takes as long
//! as chance has it that nobody takes the step which it asks for.

use super::truth::Write;
use super::{KEYS, Planted, ROWS, Stopped, World, place, value_of};
use crate::sim::disk::EIO;
use crate::sim::faults::Fate;
use crate::sim::pages::Ended;
use crate::sim::shard::{Flying, Kind};
use cairn_storage::engine::{Engine, Redone, Stop, Undo};
use cairn_storage::limits::PAGE_BYTES;
use cairn_storage::log::{LogState, Removal};
use cairn_storage::op::{DiskOp, PageOp};
use cairn_storage::pagefile::CheckpointState;
use cairn_storage::units::{Lsn, ShardId, TxnId};

/// Transactions at once.
const TXNS_MAX: usize = 5;

/// A transaction.
pub struct Txn {
    id: TxnId,
    /// Names it to the truth.
    number: u64,
    parts: Vec<PartOf>,
    /// Participants that have granted its locks: the first so many.
    granted: usize,
    is_committed: Option<bool>,
}

/// What a participant has to do with it.
struct PartOf {
    shard: usize,
    /// The rows that it locks and changes. Of two databases that change places it is known late what becomes of them.
    writes: Vec<Write>,
    whole: Option<Whole>,
    state: State,
    undo: Option<Undo>,
    /// What the rows were.
    before: Vec<Write>,
}

/// What is done to databases before rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whole {
    Clear(u8),
    Swap,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Locked,
    /// Its group is in the log.
    Gone(Lsn),
    Stable,
    /// Its log has failed, with the group in it or not.
    Failed,
    Done(Lsn),
    Learned,
    Aborted(Lsn),
    Over,
}

impl World {
    /// Something happens somewhere.
    pub fn step(&mut self) -> Result<(), Stopped> {
        let shard = self.rng.usize(..self.parts.len());
        match self.rng.u32(..100) {
            0..8 if self.txns.len() < TXNS_MAX => self.begin(),
            0..18 => self.put(shard)?,
            18..22 => self.parts[shard].engine.want_checkpoint(),
            22..28 => self.check(shard)?,
            28..40 => self.background(shard)?,
            40..70 => {
                for _ in 0..self.rng.u32(1..8) {
                    let Some(at) = (!self.txns.is_empty()).then(|| self.rng.usize(..self.txns.len())) else { break };
                    self.go_on(at)?;
                }
            }
            70..72 => drop(self.parts[shard].engine.log_mut().seal_idle()),
            72..80 => self.parts[shard].engine.log_mut().seal(),
            _ => drop(self.turn_io(shard)?),
        }
        Ok(())
    }

    fn number(&mut self) -> u64 {
        self.number_last += 1;
        self.number_last
    }

    /// Is the row nobody's?
    fn is_free(&self, shard: usize, key: u8) -> bool {
        !self.parts[shard].locks.contains_key(&key)
    }

    /// A write of one row.
    fn put(&mut self, shard: usize) -> Result<(), Stopped> {
        let (key, number) = (self.rng.u8(..ROWS), self.number());
        if !self.is_free(shard, key) || !self.parts[shard].engine.log().accepts_writes() {
            return Ok(());
        }
        let value = value_of(number);
        if let Some(lsn) = self.run(shard, |engine| engine.put(place(key), 0, 0, &value))? {
            self.truth.put(shard, lsn, key, number);
        }
        Ok(())
    }

    /// A row in memory is what it was made.
    fn check(&mut self, shard: usize) -> Result<(), Stopped> {
        let key = self.rng.u8(..ROWS);
        if !self.is_free(shard, key) {
            return Ok(());
        }
        let found = self.run(shard, |engine| Ok(engine.get(place(key))?.map(|found| found.value.to_vec())))?;
        let expected = self.truth.now(shard).get(&key).copied().map(value_of);
        match found {
            Some(found) if found != expected => {
                Err(Stopped::Broken(format!("a wrong answer: shard {shard}, row {key}")))
            }
            _ => Ok(()),
        }
    }

    /// A transaction over random rows of some shards, which any shard may coordinate.
    fn begin(&mut self) {
        let coordinator = self.rng.usize(..self.parts.len());
        let Some(id) = self.parts[coordinator].engine.next_txn() else { return };
        let mut shards: Vec<usize> = (0..self.parts.len()).collect();
        self.rng.shuffle(&mut shards);
        shards.truncate(self.rng.usize(2..=shards.len()));
        shards.sort_unstable();
        let number = self.number();
        self.truth.begin(number, shards.clone());
        let mut parts = Vec::new();
        let whole = match self.rng.u8(..12) {
            0 => Some(Whole::Swap),
            1 | 2 => Some(Whole::Clear(self.rng.u8(..2))),
            _ => None,
        };
        for shard in shards {
            let mut keys: Vec<u8> = match whole {
                Some(Whole::Clear(db)) => (db * KEYS..(db + 1) * KEYS).collect(),
                _ => (0..ROWS).collect(),
            };
            if whole.is_none() {
                self.rng.shuffle(&mut keys);
                keys.truncate(self.rng.usize(1..4));
            }
            let one_in = if whole.is_none() { 5 } else { 3 };
            let write = |key| (key, ((self.rng.u8(..one_in) > 0) == whole.is_none()).then(|| self.number()));
            let writes = keys.into_iter().map(write).collect();
            parts.push(PartOf { shard, writes, whole, state: State::Waiting, undo: None, before: Vec::new() });
        }
        self.txns.push(Txn { id, number, parts, granted: 0, is_committed: None });
    }

    /// One step of a transaction, where one can be taken.
    fn go_on(&mut self, at: usize) -> Result<(), Stopped> {
        let txn = &self.txns[at];
        if txn.is_committed.is_none() && txn.granted < txn.parts.len() {
            self.lock(at);
            return Ok(());
        }
        let part = self.rng.usize(..txn.parts.len());
        match txn.is_committed {
            None => self.go(at, part)?,
            Some(true) => self.commit(at, part),
            Some(false) => self.abort(at, part)?,
        }
        if self.txns[at].parts.iter().all(|part| part.state == State::Over) {
            self.txns.swap_remove(at);
        }
        Ok(())
    }

    /// The next participant grants all locks there, or the transaction waits, holding those of lower shards.
    fn lock(&mut self, at: usize) {
        let txn = &mut self.txns[at];
        let PartOf { shard, writes, state, .. } = &mut txn.parts[txn.granted];
        let part = &mut self.parts[*shard];
        if !part.engine.log().accepts_writes() {
            return self.decide(at, false);
        }
        // The checkpoint goes first.
        let is_held_up = part.engine.is_checkpoint_held_up();
        if is_held_up || writes.iter().any(|(key, _)| part.locks.contains_key(key)) {
            return;
        }
        part.locks.extend(writes.iter().map(|(key, _)| (*key, txn.number)));
        *state = State::Locked;
        txn.granted += 1;
    }

    fn unlock(&mut self, at: usize, part: usize) {
        let (shard, number) = (self.txns[at].parts[part].shard, self.txns[at].number);
        self.parts[shard].locks.retain(|_, holder| *holder != number);
    }

    /// A participant runs its part, or sees that it is stable. The last one decides.
    fn go(&mut self, at: usize, part: usize) -> Result<(), Stopped> {
        let PartOf { shard, state, .. } = self.txns[at].parts[part];
        let log = self.parts[shard].engine.log();
        let has_failed = matches!(log.state(), LogState::Failed(_));
        self.txns[at].parts[part].state = match state {
            State::Locked if !log.accepts_writes() => State::Failed,
            State::Locked => self.append(at, part)?,
            State::Gone(lsn) if log.durable() >= lsn => State::Stable,
            State::Gone(_) if has_failed => State::Failed,
            state => state,
        };
        let parts = &self.txns[at].parts;
        let is_early = self.planted == Some(Planted::AcknowledgeEarly)
            && parts.iter().all(|part| matches!(part.state, State::Gone(_) | State::Stable))
            && parts.iter().any(|part| part.state == State::Stable);
        if parts.iter().any(|part| part.state == State::Failed) {
            self.decide(at, false);
        } else if is_early || parts.iter().all(|part| part.state == State::Stable) {
            self.decide(at, true);
        }
        Ok(())
    }

    /// The part of one participant goes to its rows and to its log.
    fn append(&mut self, at: usize, part: usize) -> Result<State, Stopped> {
        let Txn { id, number, ref parts, .. } = self.txns[at];
        let PartOf { shard, whole, .. } = parts[part];
        let now = self.truth.now(shard);
        let writes: Vec<Write> = match whole {
            Some(Whole::Swap) => (0..ROWS).map(|row| (row, now.get(&((row + KEYS) % ROWS)).copied())).collect(),
            _ => parts[part].writes.clone(),
        };
        // What they put; what they take is there, unless the database was emptied.
        let of_rows: Vec<Write> = match whole {
            None => writes.clone(),
            Some(Whole::Clear(_)) => writes.iter().filter(|(_, number)| number.is_some()).copied().collect(),
            Some(Whole::Swap) => Vec::new(),
        };
        let participants: Vec<ShardId> = parts.iter().map(|part| ShardId(part.shard as u16)).collect();
        let ready = self.run(shard, |engine| {
            engine.prepare_group(of_rows.iter().map(|(key, _)| (place(*key), 0)))?;
            Ok(engine.prepare_undo(of_rows.iter().map(|(key, _)| place(*key)))?)
        })?;
        if ready.is_none() {
            return Ok(State::Failed);
        }
        let now = self.truth.now(shard);
        let before = writes.iter().map(|(key, _)| (*key, now.get(key).copied())).collect();
        let engine = &mut self.parts[shard].engine;
        let is_alone = self.planted == Some(Planted::HalfFlush) && whole.is_some();
        if is_alone {
            engine.open_group();
        } else {
            engine.open_txn(id, &participants);
        }
        match whole {
            None => {}
            Some(Whole::Clear(db)) => drop(engine.clear(db).expect("nothing stands in its way")),
            Some(Whole::Swap) => drop(engine.swap(0, 1)),
        }
        for (key, number) in &of_rows {
            let done = match number {
                Some(number) => engine.put(place(*key), 0, 0, &value_of(*number)).map(Some),
                None => engine.delete(place(*key), Removal::Deleted),
            };
            done.expect("a group that was prepared goes through");
        }
        let lsn = engine.close_group();
        let undo = (!is_alone).then(|| engine.take_undo());
        self.truth.group(shard, lsn, number, &writes);
        let part = &mut self.txns[at].parts[part];
        (part.undo, part.before) = (undo, before);
        Ok(State::Gone(lsn))
    }

    /// It is known what becomes of the transaction. Who commits tells the client at once.
    fn decide(&mut self, at: usize, is_committed: bool) {
        let txn = &mut self.txns[at];
        txn.is_committed = Some(is_committed);
        if !is_committed {
            return;
        }
        self.truth.tell(txn.number, true);
        self.images.borrow_mut().figures.committed += 1;
        if self.planted == Some(Planted::UnlockEarly) {
            (0..self.txns[at].parts.len()).for_each(|part| self.unlock(at, part));
        }
    }

    fn commit(&mut self, at: usize, part: usize) {
        let id = self.txns[at].id;
        let PartOf { shard, state, .. } = self.txns[at].parts[part];
        let have_learned = self.txns[at].parts.iter().all(|part| matches!(part.state, State::Learned | State::Over));
        let (durable, has_undo) = (self.durable(shard), self.txns[at].parts[part].undo.is_some());
        let engine = &mut self.parts[shard].engine;
        let next = match state {
            State::Gone(_) | State::Stable if !has_undo => {
                self.unlock(at, part);
                State::Learned
            }
            State::Gone(_) | State::Stable => {
                let lsn = engine.append_done(id);
                self.unlock(at, part);
                State::Done(lsn)
            }
            State::Done(lsn) if durable >= lsn => State::Learned,
            State::Learned if have_learned => {
                engine.forget(id);
                State::Over
            }
            state => state,
        };
        self.txns[at].parts[part].state = next;
    }

    fn abort(&mut self, at: usize, part: usize) -> Result<(), Stopped> {
        let PartOf { shard, state, .. } = self.txns[at].parts[part];
        let next = match state {
            State::Gone(_) | State::Stable | State::Failed if self.txns[at].parts[part].undo.is_some() => {
                let lsn = self.undo(at, part)?;
                self.unlock(at, part);
                State::Aborted(lsn)
            }
            State::Waiting | State::Locked | State::Failed | State::Gone(_) | State::Stable => {
                self.unlock(at, part);
                State::Over
            }
            // Whoever has waited for that knows it.
            State::Aborted(lsn) if self.durable(shard) >= lsn => {
                self.truth.tell(self.txns[at].number, false);
                self.images.borrow_mut().figures.aborted += 1;
                State::Over
            }
            state => state,
        };
        self.txns[at].parts[part].state = next;
        Ok(())
    }

    fn undo(&mut self, at: usize, part: usize) -> Result<Lsn, Stopped> {
        let shard = self.txns[at].parts[part].shard;
        let mut undo = self.txns[at].parts[part].undo.take().expect("its group is in the log");
        for _ in 0..10_000 {
            match self.parts[shard].engine.undo(&mut undo) {
                Ok(()) => {
                    let (id, number) = (self.txns[at].id, self.txns[at].number);
                    let lsn = self.parts[shard].engine.append_abort(id);
                    self.truth.abort(shard, lsn, number, &self.txns[at].parts[part].before);
                    return Ok(lsn);
                }
                Err(stop) => self.wait_for(shard, stop)?,
            }
        }
        Err(Stopped::Broken("every request is answered: an undo never ends".to_owned()))
    }

    /// Runs a command until it goes through. `None`: the log takes no writes any more.
    fn run<T>(
        &mut self,
        shard: usize,
        mut command: impl FnMut(&mut Engine) -> Result<T, Stop>,
    ) -> Result<Option<T>, Stopped> {
        for _ in 0..10_000 {
            match command(&mut self.parts[shard].engine) {
                Ok(done) => return Ok(Some(done)),
                Err(stop) => self.wait_for(shard, stop)?,
            }
            if !self.parts[shard].engine.log().accepts_writes() {
                return Ok(None);
            }
        }
        Err(Stopped::Broken("every request is answered: a command never ends".to_owned()))
    }

    fn wait_for(&mut self, shard: usize, stop: Stop) -> Result<(), Stopped> {
        match stop {
            Stop::Missing(missing) => {
                if self.parts[shard].engine.fetch(missing) != cairn_storage::pool::Fetch::Here {
                    self.turn_io(shard)?;
                }
                Ok(())
            }
            Stop::Crowded => self.background(shard),
            Stop::Full | Stop::Stuck | Stop::Outgrown => {
                Err(Stopped::Broken(format!("a write is refused ({stop:?}) for no reason")))
            }
        }
    }

    /// Background work of a shard: what was dropped is freed, what a start has left is done, a checkpoint goes on.
    fn background(&mut self, shard: usize) -> Result<(), Stopped> {
        let effects = self.rng.usize(..6);
        let engine = &mut self.parts[shard].engine;
        if let Err(missing) = engine.free_some(64) {
            engine.fetch(missing);
        }
        if let Redone::Missing(missing) = engine.redo_some(effects, [None, Some(8)][effects % 2]) {
            engine.fetch(missing);
        }
        let bytes = self.rng.usize(..32) * PAGE_BYTES;
        let engine = &mut self.parts[shard].engine;
        let was_idle = engine.checkpoint_state() == CheckpointState::Idle;
        engine.work(1, bytes);
        if was_idle && engine.checkpoint_state() != CheckpointState::Idle && self.rng.bool() {
            self.parts[shard].engine.log_mut().seal();
        }
        self.turn_io(shard).map(drop)
    }

    /// Hands to the disks what a shard wants of them.
    fn take(&mut self, shard: usize) {
        let (part, media) = (&mut self.parts[shard], &mut self.media[shard]);
        while let Some(op) = part.engine.log_mut().poll() {
            let is_write = matches!(op, DiskOp::Write { .. });
            let fate = match &mut self.failing {
                Some((failing, 1)) if *failing == shard && is_write => {
                    self.failing = None;
                    self.images.borrow_mut().figures.logs_failed += 1;
                    if self.rng.bool() { Fate::Fails } else { Fate::Short }
                }
                Some((failing, left)) if *failing == shard && is_write => {
                    *left -= 1;
                    Fate::Done
                }
                _ => Fate::Done,
            };
            media.disk.begin(op, part.engine.log(), fate);
            part.flying.push(Flying::Log(op));
        }
        while let Some(op) = part.engine.poll_pages() {
            media.pages.begin(op, &part.engine, Fate::Done);
            part.flying.push(Flying::Page(op));
        }
    }

    /// An operation of a shard ends. Whether there was one.
    fn turn_io(&mut self, shard: usize) -> Result<bool, Stopped> {
        self.take(shard);
        if self.parts[shard].flying.is_empty() {
            self.parts[shard].engine.log_mut().seal();
            return Ok(false);
        }
        let at = self.rng.usize(..self.parts[shard].flying.len());
        if self.parts[shard].flying[at].kind() != Kind::Read {
            self.images.borrow_mut().look(&self.media, &self.truth)?;
        }
        match self.parts[shard].flying.swap_remove(at) {
            Flying::Log(op) => self.end_log(shard, op),
            Flying::Page(op) => self.end_page(shard, op)?,
        }
        Ok(true)
    }

    fn end_log(&mut self, shard: usize, op: DiskOp) {
        let (DiskOp::Write { op, .. } | DiskOp::Prepare { op, .. }) = op;
        let (part, media) = (&mut self.parts[shard], &mut self.media[shard]);
        let (done, _) = media.disk.end(op, &super::config(shard), part.engine.log(), None, &mut self.rng);
        part.engine.log_mut().on_done(done);
        let durable = part.engine.log().durable();
        self.truth.acknowledge(shard, durable);
    }

    fn end_page(&mut self, shard: usize, op: PageOp) -> Result<(), Stopped> {
        let (part, media) = (&mut self.parts[shard], &mut self.media[shard]);
        let (ended, _) = media.pages.end(op.op(), &part.engine, &mut self.rng);
        match ended {
            Ended::Done(done) => part.engine.on_page_done(done),
            Ended::Forget(done, before) => {
                media.disk.forget(before, None);
                part.engine.on_page_done(done);
            }
            Ended::Read(op, bytes) => {
                let fetched = part.engine.on_page_read(op, bytes.as_deref().map_err(|_| EIO));
                use cairn_storage::pool::Fetched;
                if matches!(fetched, Fetched::Damaged { .. } | Fetched::Failed { .. }) {
                    return Err(Stopped::Broken(format!("a sound page cannot be read: {fetched:?}")));
                }
            }
        }
        Ok(())
    }
}
