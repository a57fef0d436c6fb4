//! Stop 5 of 10: the rows of one shard as commands see them: live ones only, and each look is remembered.
//!
//! While a command runs, the shard notes the highest LSN that the command has observed: of what it wrote, and of the
//! last unstable change of each key that it read. The reply waits for that one and no longer.

mod begun;
mod databases;
pub mod elements;
mod expire;
mod group;
mod long;
mod notify;
mod past;
pub mod removal;
mod scan;
pub mod slices;
mod view;

pub(crate) use self::expire::Faded;
pub use self::scan::ScanEnd;

use self::group::Group;
use crate::announce::Announced;
use crate::bug::Bug;
use crate::collection::list::filter::Filters;
use crate::collection::{Form, Thresholds};
use crate::command::{Call, Flags};
use crate::error::{Refusal, Stop};
use crate::event::Now;
use crate::limits::BULK_BYTES_MAX;
use crate::notify::Events;
use crate::rdb::Version;
use crate::route;
use crate::settings::Settings;
use crate::tracking::Tracked;
use crate::tx::{Watched, Watches};
use crate::unstable::Unstable;
use crate::versions::Versions;
use crate::waits::Waits;
use cairn_replica::watermark::Watermark;
use cairn_storage::engine::{self, Engine, Found, RowKey};
use cairn_storage::error::Missing;
use cairn_storage::limits::{MEMOS, TOUCH_KEYS_MAX};
use cairn_storage::log::Removal;
use cairn_storage::row::OWNS;
use cairn_storage::units::{Epoch, Lsn, ShardId};
use slices::Slices;
use std::cell::Cell;
use std::ops::Range;
use std::sync::Arc;

/// What a value is. Stored with each row; the numbers are part of the log format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    String = 0,
    List = 1,
    Set = 2,
    ZSet = 3,
    Hash = 4,
    Stream = 5,
}

impl Kind {
    /// As TYPE answers.
    pub fn name(self) -> &'static str {
        match self {
            Kind::String => "string",
            Kind::List => "list",
            Kind::Set => "set",
            Kind::ZSet => "zset",
            Kind::Hash => "hash",
            Kind::Stream => "stream",
        }
    }

    /// All kinds, in the order of their numbers.
    pub const ALL: [Kind; 6] = [Kind::String, Kind::List, Kind::Set, Kind::ZSet, Kind::Hash, Kind::Stream];
}

/// A live row.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    pub kind: Kind,
    /// It is a collection whose elements are rows of their own.
    pub is_spread: bool,
    /// Unix milliseconds.
    pub expire_ms: Option<u64>,
    pub value: &'a [u8],
}

impl<'a> Row<'a> {
    /// How the collection in it stands.
    pub fn form(&self) -> Form<'a> {
        Form::of(self.is_spread, self.value)
    }
}

/// What a write does to the row's time to live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ttl {
    Keep,
    Clear,
    /// Unix milliseconds, in the future.
    At(u64),
}

/// What the shard has counted since it was last asked.
#[derive(Clone, Debug, Default)]
pub struct ReadCounts {
    pub hits: Cell<u64>,
    pub misses: Cell<u64>,
    pub expired: Cell<u64>,
    /// Fields of hashes.
    pub expired_fields: Cell<u64>,
}

impl ReadCounts {
    #[inline]
    fn note(&self, is_hit: bool) {
        let counter = if is_hit { &self.hits } else { &self.misses };
        counter.set(counter.get() + 1);
    }
}

/// One shard: its engine, and what the running command has observed.
pub struct Shard {
    engine: Engine,
    unstable: Unstable,
    /// Rows that somebody watches.
    pub watches: Watches,
    /// Rows that somebody waits for.
    pub waits: Waits,
    /// Keys that somebody may have in a cache.
    pub tracked: Tracked,
    watermark: Watermark,
    /// Nothing behind this is stable yet, be it on disk or not.
    fence: Lsn,
    versions: Versions,
    /// The running command sees the rows as they were.
    look: Option<Box<view::Look>>,
    /// Of the data directory: what heads are computed with.
    hash_seed: u64,
    /// Heads of the shard's own slots. Rows beside them are no client's: see [`crate::hot::split`].
    own_heads: Range<u64>,
    observed: Cell<Lsn>,
    group: Option<Group>,
    random: u64,
    /// The buffer that the arguments of the running command stand in, if long ones among them may be kept by keeping it.
    input: Option<Arc<Vec<u8>>>,
    /// The most that APPEND and SETRANGE may make of a string: `proto-max-bulk-len`.
    pub string_bytes_max: usize,
    /// What DUMP writes: `dump-payload-version`.
    pub payload_version: Version,
    /// What encodings collections have for those who ask.
    pub thresholds: Thresholds,
    pub counts: ReadCounts,
    pub(crate) slices: Slices,
    /// What stands where in large lists.
    pub(crate) lists: Filters,
    /// What the running unit has to tell others.
    pub(crate) announced: Announced,
    deadlines: expire::Deadlines,
    /// Fields that have expired since this was looked at, if somebody looks.
    pub(crate) faded: Option<Vec<Faded>>,
    pub(crate) planted: Option<Bug>,
}

impl From<engine::Stop> for Stop {
    fn from(stop: engine::Stop) -> Stop {
        match stop {
            engine::Stop::Missing(missing) => Stop::Missing(missing),
            engine::Stop::Full => Refusal::text(OUT_OF_MEMORY).into(),
            engine::Stop::Crowded => Stop::Crowded,
            engine::Stop::Stuck => Refusal::text(PAGE_FILE_STUCK).into(),
            engine::Stop::Outgrown => Refusal::text(SHARD_OUTGROWN).into(),
        }
    }
}

pub(crate) const PAGE_FILE_STUCK: &str = "MISCONF The page file cannot be written, and memory is full of what ought to go \
                                          there. Writes are refused until it can be. Please check the server logs for \
                                          details about the error.";

pub(crate) const SHARD_OUTGROWN: &str = "OOM The shard of this key has as many pages, or long values, as it can have. \
                                         Writes are refused until something is removed.";

/// Whether a command was refused because there is no memory for what it changes.
pub(crate) fn is_out_of_memory(stop: &Stop) -> bool {
    matches!(stop, Stop::Refuse(Refusal::Text(text)) if text == OUT_OF_MEMORY)
}

/// Whether a command was refused because the page file takes nothing.
pub(crate) fn is_stuck(stop: &Stop) -> bool {
    matches!(stop, Stop::Refuse(Refusal::Text(text)) if text == PAGE_FILE_STUCK)
}

pub(crate) const OUT_OF_MEMORY: &str = "OOM command not allowed when used memory > 'maxmemory'.";

/// Beyond all LSNs.
const NO_FENCE: Lsn = Lsn(u64::MAX);

impl Shard {
    pub fn new(engine: Engine, hash_seed: u64, random_seed: u64) -> Shard {
        let mut watermark = Watermark::new(Epoch(0), 0);
        watermark.advance(engine.log().durable());
        Shard {
            engine,
            unstable: Unstable::default(),
            watches: Watches::default(),
            waits: Waits::default(),
            tracked: Tracked::default(),
            watermark,
            fence: NO_FENCE,
            versions: Versions::default(),
            look: None,
            hash_seed,
            own_heads: 0..route::slot_start(route::SLOTS),
            observed: Cell::new(Lsn(0)),
            group: None,
            random: random_seed,
            input: None,
            string_bytes_max: BULK_BYTES_MAX,
            payload_version: Version::default(),
            thresholds: Thresholds::default(),
            counts: ReadCounts::default(),
            slices: Slices::default(),
            lists: Filters::default(),
            announced: Announced::default(),
            deadlines: expire::Deadlines::default(),
            faded: None,
            planted: None,
        }
    }

    /// What has been set is so from now on, where there are so many shards.
    pub(crate) fn configure(&mut self, settings: &Settings, shards: u16) {
        self.string_bytes_max = settings.proto_max_bulk_len;
        self.payload_version = settings.dump_payload_version;
        self.announced.configure(settings.notify_keyspace_events);
        self.thresholds = settings.thresholds;
        self.tracked.configure(settings.tracking_table_max_keys, shards);
        self.slices.items.set(settings.slice_items);
        self.lists.room = settings.slice_items as usize;
        self.versions.bytes_max = settings.txn_snapshot_memory_bytes;
    }

    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(crate) fn engine_mut(&mut self) -> &mut Engine {
        &mut self.engine
    }

    /// Which slots are the shard's: all, unless it is said.
    pub(crate) fn own_slots(&mut self, slots: Range<u16>) {
        self.own_heads = route::slot_start(slots.start)..route::slot_start(slots.end);
    }

    pub fn hash_seed(&self) -> u64 {
        self.hash_seed
    }

    /// A command begins: it has observed nothing.
    #[inline]
    pub(crate) fn begin(&self) {
        self.observed.set(Lsn(0));
    }

    /// Hits and misses so far.
    #[inline]
    pub(crate) fn read_counts(&self) -> (u64, u64) {
        (self.counts.hits.get(), self.counts.misses.get())
    }

    /// A command that will run again has left no trace.
    pub(crate) fn restore_counts(&self, (hits, misses): (u64, u64)) {
        self.counts.hits.set(hits);
        self.counts.misses.set(misses);
    }

    /// Before a write of several keys: sees that after its first change nothing can be missing.
    pub(crate) fn prepare(&mut self, call: &Call<'_>) -> Result<(), Stop> {
        let positions = call.spec.row_keys(call.args);
        if self.look.is_some() {
            return Ok(());
        }
        if self.versions.are_wanted() && call.spec.flags.has(Flags::WRITE) && !call.spec.is_single() {
            // What it changes is kept, long values too.
            let keys = positions.clone().map(|at| &call.args[at]);
            self.engine.prepare_undo(keys.map(|key| RowKey { db: call.db, head: self.head(key), key }))?;
        }
        if !self.engine.needs_preparation(positions.clone().count()) {
            return Ok(());
        }
        let heads: Vec<(usize, u64)> = positions.map(|at| (at, self.head(&call.args[at]))).collect();
        let rows = heads.iter().map(|(at, head)| (RowKey { db: call.db, head: *head, key: &call.args[*at] }, 0));
        Ok(self.engine.prepare_group(rows)?)
    }

    /// Warms the caches for the rows of a command with several keys, as many as are remembered.
    #[inline]
    pub(crate) fn touch(&self, call: &Call<'_>) {
        let mut keys = call.spec.row_keys(call.args).take(MEMOS).map(|at| self.head(&call.args[at]));
        let mut heads = [0; TOUCH_KEYS_MAX];
        loop {
            let count = heads.iter_mut().zip(&mut keys).map(|(place, head)| *place = head).count();
            if count > 1 {
                // What is absent is read when the command meets it.
                self.engine.touch(call.db, &heads[..count], drop);
            }
            if count < TOUCH_KEYS_MAX {
                return;
            }
        }
    }

    /// What the rows of a command's keys lack, as far as it can be seen now.
    pub(crate) fn absent(&self, call: &Call<'_>) -> Vec<Missing> {
        let keys = call.spec.row_keys(call.args).map(|at| &call.args[at]);
        let rows = keys.map(|key| RowKey { db: call.db, head: self.head(key), key });
        let mut absent: Vec<Missing> = rows.filter_map(|row| self.engine.get(row).err()).collect();
        absent.dedup();
        absent
    }

    /// What the command since `begin` has to wait for.
    #[inline]
    pub(crate) fn observed(&self) -> Lsn {
        self.observed.get()
    }

    /// Makes the running command's reply wait for this, whatever else it has looked at.
    pub(crate) fn observe_only(&self, lsn: Lsn) {
        self.observed.set(lsn);
    }

    pub(crate) fn seal(&mut self) {
        self.unstable.seal();
        self.engine.log_mut().seal();
    }

    /// The log has made progress: what is stable now?
    pub(crate) fn advance(&mut self) {
        self.watermark.advance(self.engine.log().durable());
        self.unstable.forget(self.stable());
    }

    /// Everything up to this LSN is stable: no crash takes it back, and clients may see it.
    #[inline]
    pub fn stable(&self) -> Lsn {
        self.watermark.stable().min(self.fence)
    }

    #[inline]
    fn observe(&self, lsn: Lsn) {
        self.observed.set(self.observed.get().max(lsn));
    }

    #[inline]
    fn row_key<'a>(&self, call: &Call<'_>, key: &'a [u8]) -> RowKey<'a> {
        // The first key's head is known from routing; the address tells it without a comparison of bytes.
        let is_first = call.args.get(call.spec.keys.first).is_some_and(|first| std::ptr::eq(first, key));
        let head = if is_first && call.spec.keys.first > 0 { call.head } else { self.head(key) };
        RowKey { db: call.db, head, key }
    }

    /// The place of a key in the order of rows.
    pub fn head(&self, key: &[u8]) -> u64 {
        route::head(route::slot(key), key, self.hash_seed)
    }

    /// The live row of a key, for a command that reads: counts as a hit or a miss. What it observes is noted, so the
    /// reply waits until that is stable.
    #[inline]
    pub fn read(&self, call: &Call<'_>, key: &[u8]) -> Result<Option<Row<'_>>, Stop> {
        let row = self.peek(call, key)?;
        self.note_read(call, key, row.is_some());
        Ok(row)
    }

    /// The live row of a key, for a command that will write it (or only looks): no hit, no miss.
    #[inline]
    pub fn peek(&self, call: &Call<'_>, key: &[u8]) -> Result<Option<Row<'_>>, Stop> {
        let row_key = self.row_key(call, key);
        let found = self.find(row_key)?;
        Ok(self.seen(call, row_key, found))
    }

    /// A row of the server's own, whose place is not where its key would be.
    pub fn peek_hidden(&self, call: &Call<'_>, key: &[u8], head: u64) -> Result<Option<Row<'_>>, Stop> {
        let row_key = RowKey { db: call.db, head, key };
        let found = self.engine.get(row_key)?;
        Ok(self.seen(call, row_key, found))
    }

    /// The same without the value, which need not be in memory: that of [`Row`] is empty.
    #[inline]
    pub fn peek_bare(&self, call: &Call<'_>, key: &[u8]) -> Result<Option<Row<'_>>, Stop> {
        let row_key = self.row_key(call, key);
        let found = self.find_bare(row_key)?;
        Ok(self.seen(call, row_key, found))
    }

    /// What a look at a row shows of it. That it was looked at is noted.
    #[inline]
    fn seen<'a>(&self, call: &Call<'_>, row_key: RowKey<'_>, found: Option<Found<'a>>) -> Option<Row<'a>> {
        // All that is in a cut is stable.
        if self.look.is_none() {
            self.observe(self.unstable.lsn(row_key.db, row_key.head));
        }
        let live = found.filter(|found| is_live(found, call.now));
        live.iter().filter(|live| live.expire_ms != 0).for_each(|live| self.note_deadline(row_key, live.expire_ms));
        live.map(row)
    }

    /// The same for a command that reads: counts as a hit or a miss.
    #[inline]
    pub fn read_bare(&self, call: &Call<'_>, key: &[u8]) -> Result<Option<Row<'_>>, Stop> {
        let row = self.peek_bare(call, key)?;
        self.note_read(call, key, row.is_some());
        Ok(row)
    }

    #[inline]
    fn note_read(&self, call: &Call<'_>, key: &[u8], is_hit: bool) {
        self.counts.note(is_hit);
        if !is_hit {
            self.notify(call, Events::MISS, "keymiss", key);
        }
    }

    /// Sets the row, whatever it was. `value` must not be longer than `proto-max-bulk-len` (the caller checks).
    #[inline]
    pub fn write(&mut self, call: &Call<'_>, key: &[u8], kind: Kind, ttl: Ttl, value: &[u8]) -> Result<(), Stop> {
        let expire_ms = self.deadline(call, key, ttl)?;
        if let Some(blob) = self.kept(value) {
            return self.put_blob(call, key, kind, expire_ms, &blob);
        }
        self.refuse_if_full(value.len())?;
        let row_key = self.row_key(call, key);
        let former = self.former(call, row_key)?;
        self.keep_former(row_key)?;
        let lsn = self.engine.put(row_key, kind as u8, expire_ms, value)?;
        self.note(row_key, lsn);
        self.notify_of(call, row_key, former);
        Ok(())
    }

    /// When a row expires after a write, in Unix milliseconds; 0: never.
    #[inline]
    fn deadline(&self, call: &Call<'_>, key: &[u8], ttl: Ttl) -> Result<u64, Stop> {
        Ok(match ttl {
            Ttl::Clear => 0,
            Ttl::At(ms) => ms,
            Ttl::Keep => self.peek_bare(call, key)?.and_then(|row| row.expire_ms).unwrap_or(0),
        })
    }

    /// Overwrites bytes of an existing string, growing it with zeros where it must (APPEND, SETRANGE, SETBIT). Its
    /// time to live stays.
    pub fn splice(&mut self, call: &Call<'_>, key: &[u8], offset: usize, bytes: &[u8]) -> Result<(), Stop> {
        self.refuse_if_full(offset + bytes.len())?;
        let row_key = self.row_key(call, key);
        let blob = self.kept(bytes);
        self.keep_former(row_key)?;
        let lsn = self.engine.splice(row_key, offset, bytes, blob.as_ref())?;
        self.note(row_key, lsn);
        Ok(())
    }

    /// Changes the time to live of a live row (`None`: lives for ever). Whether there was such a row.
    pub fn set_expiry(&mut self, call: &Call<'_>, key: &[u8], expire_ms: Option<u64>) -> Result<bool, Stop> {
        if self.peek_bare(call, key)?.is_none() {
            return Ok(false);
        }
        let row_key = self.row_key(call, key);
        self.keep_former(row_key)?;
        let lsn = self.engine.set_expiry(row_key, expire_ms.unwrap_or(0))?.expect("a live row is there");
        self.note(row_key, lsn);
        Ok(true)
    }

    /// Removes a row. Whether a live one was there.
    pub fn remove(&mut self, call: &Call<'_>, key: &[u8]) -> Result<bool, Stop> {
        let was_live = self.peek_bare(call, key)?.is_some();
        let row_key = self.row_key(call, key);
        let removal = if was_live { Removal::Deleted } else { Removal::Expired };
        self.keep_removed(row_key)?;
        if let Some(lsn) = self.engine.delete(row_key, removal)? {
            // That a row's time is over is no change: who watches it looks at that.
            if was_live {
                self.note_watched(row_key);
            }
            if self.tracked.is_on() {
                self.note_tracked(row_key, lsn);
            }
            self.note_unstable(row_key, lsn);
            self.counts.expired.set(self.counts.expired.get() + u64::from(!was_live));
            if !was_live {
                self.notify(call, Events::EXPIRED, "expired", key);
            }
        }
        Ok(was_live)
    }

    #[inline]
    fn note(&mut self, row_key: RowKey<'_>, lsn: Lsn) {
        if !self.watches.is_empty() || !self.waits.is_empty() {
            self.note_watched(row_key);
        }
        if self.tracked.is_on() {
            self.note_tracked(row_key, lsn);
        }
        self.note_unstable(row_key, lsn);
    }

    #[cold]
    fn note_watched(&mut self, row_key: RowKey<'_>) {
        if self.group.as_ref().is_none_or(|group| !group.is_trial) {
            self.watches.note(row_key.db, row_key.head);
            self.waits.note((row_key.db, row_key.head));
        }
    }

    #[inline]
    fn note_unstable(&mut self, row_key: RowKey<'_>, lsn: Lsn) {
        if let Some(group) = &mut self.group {
            if group.rows.last() != Some(&(row_key.db, row_key.head)) {
                group.rows.push((row_key.db, row_key.head));
            }
            if group.is_trial {
                return;
            }
        }
        self.unstable.note(row_key.db, row_key.head, lsn);
        self.observe(lsn);
    }

    #[inline]
    fn refuse_if_full(&self, bytes: usize) -> Result<(), Stop> {
        if self.engine.is_full(bytes) { Err(Refusal::text(OUT_OF_MEMORY).into()) } else { Ok(()) }
    }

    /// Begins to watch a row, on behalf of a client whose WATCH this is.
    pub fn watch(&mut self, call: &Call<'_>, shard: ShardId, key: &[u8]) -> Result<Watched, Stop> {
        let was_live = self.peek(call, key)?.is_some();
        let (db, head) = (call.db, self.head(key));
        let version = self.watches.watch(db, head);
        Ok(Watched { shard, db, head, key: key.to_vec(), version, was_live, swaps: self.watches.swaps(db) })
    }

    /// Whether a watched row of this shard is not what it was. The running command has observed that.
    pub fn is_touched(&self, call: &Call<'_>, watched: &Watched) -> Result<bool, Stop> {
        let is_live = self.peek(&Call { db: watched.db, ..*call }, &watched.key)?.is_some();
        Ok(self.watches.is_touched(watched, is_live))
    }

    /// Rows of a database, those past their time but not yet removed included (as DBSIZE counts in Redis).
    pub fn row_count(&self, db: u8) -> Result<u64, Stop> {
        if let Some(cut) = self.looked_at() {
            return self.row_count_at(cut, db);
        }
        self.engine.await_redo()?;
        self.engine.await_deferred()?;
        self.observe_all();
        Ok(self.engine.row_count(db))
    }

    /// The same, while rows may wait for their pages that are not counted yet, or were there already.
    pub fn row_count_about(&self, db: u8) -> Result<u64, Stop> {
        self.engine.await_redo()?;
        if let Some(cut) = self.looked_at() {
            return Ok(self.row_count_about_at(cut, db).max(1));
        }
        self.observe_all();
        Ok(self.engine.row_count(db))
    }

    /// The command has seen something that any row may have part in.
    fn observe_all(&self) {
        // What is behind that is about what everybody may have seen before.
        self.observe(self.engine.log().awaited());
    }
}

#[inline]
fn is_live(found: &Found<'_>, now: Now) -> bool {
    // As in Redis, a row lives through the millisecond that is its deadline.
    found.expire_ms == 0 || found.expire_ms >= now.unix_ms()
}

#[inline]
fn row(found: Found<'_>) -> Row<'_> {
    let kind = Kind::ALL[usize::from(found.kind & !OWNS)];
    let expire_ms = (found.expire_ms != 0).then_some(found.expire_ms);
    Row { kind, is_spread: found.kind & OWNS != 0, expire_ms, value: found.value }
}
