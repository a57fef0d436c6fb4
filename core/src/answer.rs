//! What a shard answers when another one, or its own core, asks about it as a whole.

use crate::clients;
use crate::command::debug::rows::{self, Digesting};
use crate::command::keyspace;
use crate::error::Stop;
use crate::event::Effect;
use crate::machine::{Absence, Deed, Machine, Pause};
use crate::parcel::{Answer, Ask, ClientFilter, Message, Parcel, RequestId, Switch};
use crate::resp::replies::Replies;
use crate::script::Sha;
use crate::settings::Source;
use crate::shard::{Row, Shard};
use crate::snapshot::{
    ClientFigures, DatabaseFigures, LogFigures, LogState, MemoryFigures, PageFigures, ShardFigures, Snapshot,
};
use cairn_storage::error::Missing;
use cairn_storage::limits::PAGE_BYTES;
use cairn_storage::log;
use cairn_storage::pagefile::FileState;
use cairn_storage::units::{Lsn, ShardId};
use std::cell::Cell;

/// Rows that are looked at to estimate a database's mean time to live.
const TTL_SAMPLES: u64 = 64;

/// How far an answer has come that met absent pages on its way.
#[derive(Debug, Default)]
pub struct Progress {
    /// The head to go on from.
    pub head: u64,
    /// Found since it went on.
    pub keys: Vec<Vec<u8>>,
    pub digesting: Digesting,
    /// What was found before, and how much that is.
    pub shown: Replies,
    pub count: usize,
    pub observed: Lsn,
    /// Rows that it may look at before others have their turn; `None`: all.
    pub rows_max: Option<u64>,
    /// It has looked at so many, and goes on at once.
    pub goes_on: bool,
}

/// Whether a question is about any rows at all, those that a transaction has changed included.
fn looks_at_all(ask: &Ask) -> bool {
    matches!(
        ask,
        Ask::RowCount { .. }
            | Ask::Keys { .. }
            | Ask::Scan { .. }
            | Ask::RandomKey { .. }
            | Ask::KeysInSlot { .. }
            | Ask::CountKeysInSlot { .. }
            | Ask::Rows(_)
    )
}

impl Machine {
    /// Answers a question about this shard. If something is missing for that it is being fetched; `None`: there is no room
    /// for it now.
    pub(crate) fn answer(&mut self, ask: &Ask, progress: &mut Progress) -> Result<Answer, Option<Missing>> {
        loop {
            // Counters that were split before the start are not counted otherwise.
            if matches!(ask, Ask::RowCount { .. }) && self.awaits_settling() {
                return Err(None);
            }
            if looks_at_all(ask) && self.awaits_decisions() {
                return Err(None);
            }
            if matches!(ask, Ask::Watch { .. } | Ask::Hot { .. })
                && let Some(refusal) = self.unlisted()
            {
                return Ok(Answer::Refused(refusal.line().into_owned()));
            }
            let answered = match ask {
                Ask::Watch { db, keys } => Some(self.watch_own(*db, keys)),
                Ask::Hot { db, key, what } => Some(self.do_hot(*db, key, *what)),
                Ask::RowCount { db } => Some(self.row_count(*db)),
                Ask::Rows(ask) => Some(rows::answer(&self.shard, self.now, ask, &mut progress.digesting)),
                _ => keyspace::answer(&mut self.shard, self.now, ask, progress),
            };
            let stop = match answered {
                None => return Ok(self.answer_of_machine(ask)),
                Some(Ok(answer)) => return Ok(answer),
                Some(Err(stop)) => stop,
            };
            match stop {
                Stop::Refuse(refusal) => return Ok(Answer::Refused(refusal.line().into_owned())),
                Stop::Crowded | Stop::Locked | Stop::Long => return Err(None),
                Stop::Missing(missing) => match self.fetch(missing) {
                    Absence::Over => {}
                    Absence::Wait(missing) => return Err(Some(missing)),
                    Absence::Crowded => return Err(None),
                    Absence::Unusable(refusal) => {
                        self.note_deed(Deed::Unusable);
                        return Ok(Answer::Refused(refusal.line().into_owned()));
                    }
                },
            }
        }
    }

    fn answer_of_machine(&mut self, ask: &Ask) -> Answer {
        match ask {
            Ask::Snapshot => Answer::Snapshot(Box::new(self.snapshot())),
            Ask::ClientList { filter } => Answer::Text(clients::lines(self, filter)),
            Ask::ClientKill { filter, skip } => Answer::Count(self.kill(filter, *skip)),
            Ask::ClientConn { id } => Answer::Count(self.find_told(*id).map_or(-1, |conn| i64::from(conn.0))),
            Ask::ClientUnblock { id, with_error } => {
                let result = if *with_error { Err(UNBLOCKED.to_owned()) } else { Ok(String::new()) };
                let error = with_error.then_some(UNBLOCKED);
                Answer::Count(i64::from(self.finish_timer(*id, result) || self.unblock_waiter(*id, error)))
            }
            Ask::ClientPause { until_unix_ms, writes_only } => {
                self.set_pause(*until_unix_ms, *writes_only);
                Answer::Done
            }
            Ask::Audiences { shard, changes } => {
                self.note_audiences(*shard, changes);
                Answer::Done
            }
            Ask::ConfigSet { pairs } => self.configure(pairs),
            Ask::Switch(switch, is_on) => self.switch(*switch, *is_on),
            Ask::ResetStat => {
                self.stats.reset();
                Answer::Done
            }
            Ask::ScriptsExist { shas } => {
                let is_known = |sha: &Option<Sha>| sha.is_some_and(|sha| self.scripts.cache.contains(sha));
                Answer::Text(shas.iter().map(|sha| if is_known(sha) { '1' } else { '0' }).collect())
            }
            Ask::ScriptFlush => {
                self.flush_scripts();
                Answer::Done
            }
            Ask::SlowlogGet { count } => Answer::Slow(self.slowlog.latest(*count)),
            Ask::SlowlogLen => Answer::Count(self.slowlog.len() as i64),
            Ask::SlowlogReset => {
                self.slowlog.reset();
                Answer::Done
            }
            Ask::HotKeys { count, resets } => self.hot_keys(*count, *resets),
            Ask::LatencyReset { events } => Answer::Text(self.stats.monitor.reset(events).join(" ")),
            Ask::Checkpoint => {
                let is_running = self.is_checkpointing();
                self.checkpoint();
                Answer::Count(i64::from(is_running))
            }
            Ask::LastSave => {
                let file = self.shard.engine().page_file();
                Answer::Count(file.map_or(0, |file| file.durable().unix_us / 1_000_000) as i64)
            }
            Ask::AclLog { count } => Answer::AclLog(self.acl_log.latest(*count)),
            Ask::Monitors { shard, count } => {
                self.note_monitors(*shard, *count);
                Answer::Done
            }
            Ask::AclLogReset => {
                self.acl_log.reset();
                Answer::Done
            }
            Ask::Save | Ask::AclChange(_) | Ask::Rows(_) => unreachable!("these are answered elsewhere"),
            Ask::RowCount { .. }
            | Ask::Watch { .. }
            | Ask::Hot { .. }
            | Ask::Keys { .. }
            | Ask::Scan { .. }
            | Ask::RandomKey { .. }
            | Ask::KeysInSlot { .. }
            | Ask::CountKeysInSlot { .. } => unreachable!("the keyspace has answered"),
        }
    }

    fn switch(&mut self, switch: Switch, is_on: bool) -> Answer {
        match switch {
            Switch::ActiveExpire => self.keeps_expired = !is_on,
            Switch::FreeScripts => self.frees_scripts = is_on,
        }
        Answer::Done
    }

    fn hot_keys(&mut self, count: usize, resets: bool) -> Answer {
        let keys = self.hot.top(self.identity.shard.0, count);
        if resets {
            self.hot.reset();
        }
        Answer::Hot(keys)
    }

    /// Closes the clients that are meant, but the one with the id `skip`. How many.
    fn kill(&mut self, filter: &ClientFilter, skip: Option<u64>) -> i64 {
        let meant: Vec<_> = self
            .clients()
            .filter(|(_, client)| Some(client.id) != skip && clients::is_meant(client, filter))
            .map(|(conn, _)| conn)
            .collect();
        for &conn in &meant {
            self.close(conn, true);
        }
        meant.len() as i64
    }

    /// A pause never shortens another one that is stricter, as in Redis; time 0 ends all.
    fn set_pause(&mut self, until_unix_ms: u64, writes_only: bool) {
        self.pause = match (until_unix_ms, self.pause) {
            (0, _) => None,
            (_, Some(old)) if old.until_unix_ms > self.now.unix_ms() => Some(Pause {
                until_unix_ms: until_unix_ms.max(old.until_unix_ms),
                writes_only: writes_only && old.writes_only,
            }),
            _ => Some(Pause { until_unix_ms, writes_only }),
        };
    }

    /// The asker has found all pairs valid, so all are taken here too.
    fn configure(&mut self, pairs: &[(String, String)]) -> Answer {
        for (name, value) in pairs {
            if let Err(error) = self.settings.set(Source::Runtime, name, &[value]) {
                return Answer::Refused(format!(
                    "ERR CONFIG SET failed (possibly related to argument '{name}') - {error}"
                ));
            }
        }
        self.stats.configure(&self.settings);
        self.shard.configure(&self.settings, self.identity.shards);
        self.give_up_keys();
        self.slowlog.truncate(self.settings.slowlog_max_len);
        Answer::Done
    }

    /// Has every shard do this, without waiting for those on other cores.
    pub fn tell_all(&mut self, ask: &Ask) {
        self.answer_of_machine(ask);
        // No connection has this id, so the answers find nobody.
        let request = RequestId { client: 0, conn: u32::MAX, hole: 0, part: 0, is_early: false };
        let own = self.identity.shard.0;
        for shard in (0..self.identity.shards).filter(|shard| *shard != own) {
            let messages = vec![Message::Ask { request, ask: Box::new(ask.clone()) }];
            let parcel = Parcel { from: own, messages, ..Parcel::default() };
            self.effect(Effect::Parcel { to: ShardId(shard), parcel: Box::new(parcel) });
        }
    }

    /// The figures of this shard and of the connections of this core. They wait for nothing: who looks at them wants to
    /// know, above all when the log has failed and what they count will never be stable.
    pub fn snapshot(&mut self) -> Snapshot {
        let observed = self.shard.observed();
        let snapshot = self.count_all();
        self.shard.observe_only(observed);
        snapshot
    }

    fn count_all(&mut self) -> Snapshot {
        self.settle_counts();
        let databases: Vec<DatabaseFigures> = (0..self.settings.databases).map(|db| self.database(db)).collect();
        let clients = self.client_figures();
        let (pages, extents) = self.shard.engine().memory_bytes();
        let (hot_key_rate, hot_keys) = self.hot.figures();
        let figures = ShardFigures {
            shard: self.identity.shard.0,
            rows: databases.iter().map(|database| database.rows).sum(),
            log: log_figures(&self.shard, self.redo_blocked()),
            pages: self.page_figures(),
            memory: MemoryFigures {
                pages,
                extents,
                redo: self.shard.engine().redo_bytes(),
                deferred: self.shard.engine().deferred_bytes(),
                log_buffers: self.shard.engine().log().buffers().map(|buffer| buffer.len() as u64).sum(),
                client_buffers: self.client_buffer_bytes(),
                lua: self.script_memory_bytes() as u64,
                scripts: self.scripts.cache.bytes() as u64,
                scripts_known: self.scripts.cache.len() as u64,
                scripts_evicted: self.scripts.cache.evicted(),
                lua_functions: self.functions.memory_bytes() as u64,
                versions: self.shard.versions().bytes(),
                list_filters: self.shard.lists.bytes() as u64,
                library_bytes: self.functions.libraries().bytes() as u64,
                libraries: self.functions.libraries().iter().len() as u64,
                functions: self.functions.libraries().functions() as u64,
                peak: self.stats.memory_peak_bytes,
                dataset: self.shard.engine().dataset_bytes(),
                bytes_max: self.shard.engine().memory_bytes_max(),
            },
            clients,
            counters: self.stats.totals(),
            flushes: self.stats.flushes.us.count(),
            flush_us_p99: self.stats.flushes.us.percentile(99.0),
            outbox_messages: self.outbox_messages() as u64,
            slowlog_len: self.slowlog.len() as u64,
            hot_key_rate,
            hot_keys,
            split_counters: self.split_counters(),
            snapshot_readers: self.cut_readers(),
        };
        Snapshot {
            shards: vec![figures],
            counters: figures.counters,
            clients,
            memory: figures.memory,
            pubsub: self.pubsub_figures(),
            databases,
            commands: self.stats.commands().to_vec(),
            errors: self.stats.errors().map(|(code, count)| (code.to_owned(), count)).collect(),
            flushes: self.stats.flushes.clone(),
            lock_wait_us: self.stats.lock_wait_us.clone(),
            turn_ns: self.stats.turn_ns.clone(),
            monitor: self.stats.monitor.clone(),
            ops_per_second: self.stats.ops_rate.per_second(),
            in_bytes_per_second: self.stats.in_rate.per_second(),
            out_bytes_per_second: self.stats.out_rate.per_second(),
        }
    }

    fn page_figures(&self) -> PageFigures {
        let engine = self.shard.engine();
        let Some(file) = engine.page_file() else { return PageFigures::default() };
        let numbers = file.numbers();
        let (pages, pages_resident, evictions) = engine.page_counts();
        let (settled_pages, settled_rows) = engine.deferred_applied();
        let bytes = |sites: u64| sites * PAGE_BYTES as u64;
        PageFigures {
            pages,
            pages_resident,
            evictions,
            checkpoints: numbers.checkpoints,
            is_checkpointing: self.is_checkpointing(),
            saved_unix_s: file.durable().unix_us / 1_000_000,
            reads: numbers.reads,
            damaged_reads: numbers.damaged_reads,
            damaged: self.damages() as u64,
            fallbacks: numbers.fallbacks,
            scrub: self.scrub_figures(),
            pages_written: numbers.pages_written,
            victims_written: numbers.victims_written,
            pages_cloned: numbers.pages_cloned,
            bytes_written: numbers.bytes_written,
            file_bytes: bytes(numbers.sites),
            free_bytes: bytes(numbers.sites_free),
            held_bytes: bytes(numbers.sites_held),
            deferred_rows: engine.deferred_rows(),
            settled_pages,
            settled_rows,
            is_checkpoint_barred: self.is_checkpoint_barred(),
            has_failed: matches!(file.state(), FileState::Failed { .. }),
        }
    }

    fn database(&mut self, db: u8) -> DatabaseFigures {
        let expiring = self.shard.expiring_count(db);
        let ttl_ms_mean = if expiring == 0 { 0 } else { self.ttl_ms_mean(db) };
        let engine = self.shard.engine();
        let rows = engine.row_count(db).saturating_sub(self.hidden_rows(db));
        DatabaseFigures {
            rows,
            expiring,
            ttl_ms_mean,
            redo_left: engine.redo_left_in(db),
            deferred: engine.deferred_rows_in(db),
        }
    }

    /// Looks at some rows from a random place on.
    fn ttl_ms_mean(&mut self, db: u8) -> u64 {
        let start = self.shard.random() >> 2;
        let (mut sum, mut count) = (0u128, 0u128);
        for head in [start, 0] {
            let seen = Cell::new(0);
            let mut visit = |_: &[u8], row: Row<'_>| {
                seen.set(seen.get() + 1);
                if let Some(expire_ms) = row.expire_ms {
                    sum += u128::from(expire_ms.saturating_sub(self.now.unix_ms()));
                    count += 1;
                }
            };
            // A page that is not in memory only makes the estimate rougher.
            let _ = self.shard.scan(self.now, db, head, &mut visit, &mut || seen.get() < TTL_SAMPLES);
            if count > 0 {
                break;
            }
        }
        sum.checked_div(count).unwrap_or(0) as u64
    }

    fn client_figures(&self) -> ClientFigures {
        let (held_replies, held_us_oldest) = self.held_figures();
        let mut figures = ClientFigures { held_replies, held_us_oldest, ..ClientFigures::default() };
        for (conn, _) in self.clients() {
            let (query, output) = self.buffered(conn);
            figures.connected += 1;
            figures.input_bytes_max = figures.input_bytes_max.max(query as u64);
            figures.output_bytes_max = figures.output_bytes_max.max(output as u64);
        }
        figures.blocked = self.blocked_clients() as u64;
        figures.timed = self.timed_clients() as u64;
        (figures.awaited, figures.awaited_gone) = self.awaited_keys();
        figures
    }

    fn client_buffer_bytes(&self) -> u64 {
        self.clients()
            .map(|(conn, _)| {
                let (query, output) = self.buffered(conn);
                (query + output) as u64
            })
            .sum()
    }
}

const EIO: i32 = 5;

const UNBLOCKED: &str = "UNBLOCKED client unblocked via CLIENT UNBLOCK";

fn log_figures(shard: &Shard, redo_blocked: u64) -> LogFigures {
    let log = shard.engine().log();
    let numbers = log.numbers();
    LogFigures {
        state: match log.state() {
            log::LogState::Open => LogState::Open,
            log::LogState::Full { errno } => LogState::Full { errno },
            // A short write has no errno of its own: to whom it happens it is an input/output error.
            log::LogState::Failed(fault) => LogState::Failed { errno: fault.result.err().unwrap_or(EIO) },
        },
        durable_lsn: log.durable().0,
        appended_lsn: log.appended().0,
        flights: numbers.flights as u64,
        redo_left: shard.engine().redo_left(),
        redo_blocked,
        segments_ready: numbers.segments_ahead,
        segments: numbers.segments,
        flushes: numbers.flushes,
        bytes: numbers.bytes,
        records: numbers.records,
    }
}
