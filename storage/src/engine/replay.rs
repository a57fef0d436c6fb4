//! From the records of the log to rows, as far as a start has to wait for it: what recovery feeds, record by record. Over a
//! page file it keeps the effects, and the engine applies them while it serves ([`super::redo`]).

use super::redo::{Redone, Unapplied, judge};
use super::{Engine, Stop};
use crate::error::{Fault, Missing};
use crate::log::{LogConfig, LogWriter, Record, Resume};
use crate::pagefile::{PageFile, Superblock};
use crate::pool::ChunkHook;
use crate::txn::{Decisions, Group, Tail};
use crate::units::{Lsn, ShardId, TxnId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// An engine in the making.
pub struct Replay {
    engine: Engine,
    shard: ShardId,
    /// Records of a group whose end has not been seen.
    group: Option<Kept>,
    /// The group that is being applied, and how many of its records are.
    applying: Option<Kept>,
    group_done: usize,
    /// Groups of transactions over several shards that are not decided.
    limbo: BTreeMap<TxnId, Kept>,
    tail: Tail,
    /// What the other shards have said has become of groups in limbo.
    decided: Vec<(TxnId, bool)>,
    records: u64,
}

/// Archives of their own, since they outlive the log's buffers.
type Kept = Vec<(Lsn, Arc<Vec<u8>>)>;

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a record that was not applied has to be handed in again"]
pub enum Applied {
    Done,
    /// Have this read from the page file, then hand the record in again.
    Missing(Missing),
    /// Have the page file's writes done, then hand the record in again.
    Crowded,
}

impl Replay {
    /// `memory_bytes_max` bounds pages and extents; `on_chunk` is shown each new chunk of page memory.
    pub fn new(config: LogConfig, memory_bytes_max: u64, on_chunk: ChunkHook) -> Replay {
        // The writer is replaced when recovery knows where the log ends.
        let log = LogWriter::new(config, &Resume::empty());
        Replay::of(config, Engine::new(memory_bytes_max, on_chunk, log))
    }

    /// The same over a page file, beginning with the rows of its checkpoint: what [`crate::pagefile::Opening`] found.
    pub fn over(
        config: LogConfig,
        memory_bytes_max: u64,
        on_chunk: ChunkHook,
        file: PageFile,
        superblock: &Superblock,
    ) -> Replay {
        let log = LogWriter::new(config, &Resume::empty());
        Replay::of(config, Engine::over(memory_bytes_max, on_chunk, log, file, superblock))
    }

    fn of(config: LogConfig, engine: Engine) -> Replay {
        Replay {
            engine,
            shard: config.shard,
            group: None,
            applying: None,
            group_done: 0,
            limbo: BTreeMap::new(),
            tail: Tail::new(config.shard),
            decided: Vec::new(),
            records: 0,
        }
    }

    /// The same as [`Replay::feed`], where there is no page file.
    pub fn apply(&mut self, lsn: Lsn, record: &Record<'_>) -> Result<(), Fault> {
        let applied = self.feed(lsn, record, None)?;
        assert_eq!(applied, Applied::Done, "without a page file nothing is absent");
        Ok(())
    }

    /// Applies a record that recovery has found, in the buffer that it has said, if any: a long value stays there. Its LSN only
    /// serves to say where something is wrong.
    pub fn feed(&mut self, lsn: Lsn, record: &Record<'_>, buffer: Option<&Arc<Vec<u8>>>) -> Result<Applied, Fault> {
        let applied = match record {
            // What an earlier opening began and did not end never happened.
            Record::Opened => {
                self.group = None;
                self.note(lsn, record)?;
                Applied::Done
            }
            Record::GroupBegin | Record::TxnBegin { .. } => {
                self.group = Some(Vec::new());
                self.note(lsn, record)?;
                Applied::Done
            }
            Record::GroupEnd | Record::GroupAbort | Record::TxnDone { .. } | Record::TxnAbort { .. } => {
                self.end_group(lsn, record)?
            }
            _ => match &mut self.group {
                Some(group) => {
                    let archive = buffer.map_or_else(|| Arc::new(record.to_archive()), Arc::clone);
                    group.push((lsn, archive));
                    Applied::Done
                }
                None => self.apply_row(lsn, record, buffer)?,
            },
        };
        self.records += u64::from(applied == Applied::Done);
        Ok(applied)
    }

    fn note(&mut self, lsn: Lsn, record: &Record<'_>) -> Result<Option<(Option<TxnId>, Group)>, Fault> {
        let shard = self.shard;
        self.tail.note(record).map_err(|what| Fault::Record { shard, lsn, what })
    }

    /// A group ends, or what it was is decided.
    fn end_group(&mut self, lsn: Lsn, record: &Record<'_>) -> Result<Applied, Fault> {
        // The record is handed in again until its group is applied.
        if self.applying.is_none() {
            let Some((id, group)) = self.note(lsn, record)? else { return Ok(Applied::Done) };
            let kept = match id {
                None => self.group.take(),
                Some(id) => self.limbo.remove(&id),
            };
            match group {
                Group::Waits(id) => drop(self.limbo.insert(id, kept.unwrap_or_default())),
                Group::Counts => self.applying = kept,
                Group::Drops => {}
            }
        }
        self.apply_group()
    }

    /// Goes on with the group that counts.
    fn apply_group(&mut self) -> Result<Applied, Fault> {
        let Some(group) = self.applying.take() else { return Ok(Applied::Done) };
        while let Some((lsn, archive)) = group.get(self.group_done) {
            let record = Record::decode(archive).expect("it was encoded here");
            let applied = self.apply_row(*lsn, &record, Some(archive))?;
            if applied != Applied::Done {
                self.applying = Some(group);
                return Ok(applied);
            }
            self.group_done += 1;
        }
        self.group_done = 0;
        Ok(Applied::Done)
    }

    /// What the log has of transactions over several shards. To be asked for when all records have been fed; all shards of the
    /// process say it to each other ([`Decisions::of`]).
    pub fn tail(&mut self) -> &Tail {
        self.tail.close();
        &self.tail
    }

    /// Applies or drops the groups that were kept aside. To be called until it is `Done`, as [`Replay::feed`].
    pub fn settle(&mut self, decisions: &Decisions) -> Result<Applied, Fault> {
        loop {
            let applied = self.apply_group()?;
            if applied != Applied::Done {
                return Ok(applied);
            }
            let Some((id, kept)) = self.limbo.pop_first() else { return Ok(Applied::Done) };
            let Some(is_committed) = decisions.is_committed(id) else {
                let what = "its log was read without those of the other participants";
                return Err(Fault::Transaction { shard: self.shard, id, what });
            };
            self.decided.push((id, is_committed));
            if is_committed {
                self.applying = Some(kept);
            }
        }
    }

    /// An effect on a row is kept until the engine serves, where it is not the only copy of its row: without a page file
    /// nothing has to be read for it, and it is applied at once.
    fn apply_row(&mut self, lsn: Lsn, record: &Record<'_>, buffer: Option<&Arc<Vec<u8>>>) -> Result<Applied, Fault> {
        let fault = |what| Fault::Record { shard: self.shard, lsn, what };
        judge(record).map_err(fault)?;
        let engine = &mut self.engine;
        engine.note_number(record);
        let is_settled = lsn <= engine.settled;
        let full = Fault::MemoryFull { shard: self.shard, bytes_max: engine.memory_bytes_max() };
        if let Record::Clear { db } = *record {
            engine.cancel_redo(db);
        } else if let Record::Swap { .. } = record {
            // What is pending goes with its rows.
        } else if engine.page_file().is_some() {
            if engine.keep_effect(record, is_settled) {
                return Ok(Applied::Done);
            }
            // Keeps E5: what came before goes before.
            engine.sort_redo();
            match engine.redo_some(usize::MAX, None) {
                Redone::Over => engine.redone = None,
                Redone::More | Redone::Blocked => unreachable!("nothing bounds it, and nothing was skipped"),
                Redone::Missing(missing) => return self.absent(missing),
                Redone::Crowded => return Ok(crowded(engine)),
                Redone::Stuck => return Err(full),
                Redone::Senseless(what) => return Err(fault(what)),
            }
            if engine.keep_effect(record, is_settled) {
                return Ok(Applied::Done);
            }
        }
        match engine.apply_effect(record, buffer, is_settled) {
            Ok(()) => {}
            Err(Unapplied::Stop(Stop::Full | Stop::Stuck | Stop::Outgrown)) => return Err(full),
            Err(Unapplied::Stop(Stop::Missing(missing))) => return self.absent(missing),
            Err(Unapplied::Stop(Stop::Crowded)) => return Ok(crowded(engine)),
            Err(Unapplied::Senseless(what)) => return Err(fault(what)),
        }
        // Pages that are absent are freed when the engine is at work.
        while engine.page_file().is_none() && engine.free_detached(usize::MAX).is_ok_and(|more| more) {}
        Ok(Applied::Done)
    }

    /// What has to be read first; unless reading it again does not help.
    fn absent(&self, missing: Missing) -> Result<Applied, Fault> {
        let Missing::Astray(page) = missing else { return Ok(Applied::Missing(missing)) };
        let offset = self.engine.page_file().and_then(|file| file.offset_of(page)).unwrap_or(0);
        Err(Fault::PageFile { shard: self.shard, offset, what: "a branch is where a leaf belongs" })
    }

    /// Records so far.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// The engine, for its page file's operations.
    pub fn engine_mut(&mut self) -> &mut Engine {
        &mut self.engine
    }

    /// The engine, with the log going on where recovery ended. It begins with a record that says so, and with what
    /// [`Replay::settle`] has been told: the same decisions.
    pub fn finish(self, config: LogConfig, resume: &Resume, decisions: &Decisions) -> Engine {
        assert!(self.limbo.is_empty() && self.applying.is_none(), "what was kept aside has been settled");
        let mut engine = self.engine;
        engine.sort_redo();
        engine.log = LogWriter::new(config, resume);
        engine.log.append(&Record::Opened);
        for (id, is_committed) in self.decided {
            let (coordinator, number) = (id.coordinator.0, id.number);
            engine.log.append(&match is_committed {
                true => Record::TxnDone { coordinator, number },
                false => Record::TxnAbort { coordinator, number },
            });
        }
        for id in decisions.committed_in(self.shard) {
            engine.remember(id);
        }
        engine
    }
}

/// A checkpoint names the position of the log, which is not known before recovery's end.
fn crowded(engine: &mut Engine) -> Applied {
    engine.is_checkpoint_wanted = false;
    Applied::Crowded
}
