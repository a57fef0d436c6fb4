//! From the records of the log to rows, as far as a start has to wait for it: what recovery feeds, record by record. Over a
//! page file it keeps the effects, and the engine applies them while it serves ([`super::redo`]).

use super::redo::{self, Redone, Unapplied};
use super::{Engine, Stop};
use crate::error::{Fault, Missing};
use crate::log::{LogConfig, LogWriter, Record, Resume};
use crate::pagefile::{PageFile, Superblock};
use crate::pool::ChunkHook;
use crate::units::{Lsn, ShardId};

/// An engine in the making.
pub struct Replay {
    engine: Engine,
    shard: ShardId,
    /// Records of a group whose end has not been seen: archives of their own, since they outlive the log's buffers.
    group: Option<Vec<(Lsn, Vec<u8>)>>,
    /// Records of the group that ends which have been applied.
    group_done: usize,
    records: u64,
}

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
        Replay { engine, shard: config.shard, group: None, group_done: 0, records: 0 }
    }

    /// The same as [`Replay::feed`], where there is no page file.
    pub fn apply(&mut self, lsn: Lsn, record: &Record<'_>) -> Result<(), Fault> {
        let applied = self.feed(lsn, record)?;
        assert_eq!(applied, Applied::Done, "without a page file nothing is absent");
        Ok(())
    }

    /// Applies a record that recovery has found. Its LSN only serves to say where something is wrong.
    pub fn feed(&mut self, lsn: Lsn, record: &Record<'_>) -> Result<Applied, Fault> {
        let applied = match record {
            // What an earlier opening began and did not end never happened.
            Record::Opened => {
                self.group = None;
                Applied::Done
            }
            Record::GroupBegin => {
                self.group = Some(Vec::new());
                Applied::Done
            }
            Record::GroupEnd => self.apply_group()?,
            _ => match &mut self.group {
                Some(group) => {
                    group.push((lsn, record.to_archive()));
                    Applied::Done
                }
                None => self.apply_row(lsn, record)?,
            },
        };
        self.records += u64::from(applied == Applied::Done);
        Ok(applied)
    }

    fn apply_group(&mut self) -> Result<Applied, Fault> {
        let group = self.group.take().unwrap_or_default();
        while let Some((lsn, archive)) = group.get(self.group_done) {
            let record = Record::decode(archive).expect("it was encoded here");
            let applied = self.apply_row(*lsn, &record)?;
            if applied != Applied::Done {
                self.group = Some(group);
                return Ok(applied);
            }
            self.group_done += 1;
        }
        self.group_done = 0;
        Ok(Applied::Done)
    }

    /// An effect on a row is kept until the engine serves, where it is not the only copy of its row: without a page file
    /// nothing has to be read for it, and it is applied at once.
    fn apply_row(&mut self, lsn: Lsn, record: &Record<'_>) -> Result<Applied, Fault> {
        let fault = |what| Fault::Record { shard: self.shard, lsn, what };
        redo::judge(record).map_err(fault)?;
        let engine = &mut self.engine;
        let full = Fault::MemoryFull { shard: self.shard, bytes_max: engine.memory_bytes_max() };
        if let Record::Clear { db } = *record {
            engine.cancel_redo(db);
        } else if engine.page_file().is_some() {
            if engine.keep_effect(record) {
                return Ok(Applied::Done);
            }
            // Keeps E5: what came before goes before.
            engine.sort_redo();
            match engine.redo_some(usize::MAX) {
                Redone::Over => engine.redone = None,
                Redone::More | Redone::Blocked => unreachable!("nothing bounds it, and nothing was skipped"),
                Redone::Missing(missing) => return Ok(Applied::Missing(missing)),
                Redone::Crowded => return Ok(crowded(engine)),
                Redone::Stuck => return Err(full),
                Redone::Senseless(what) => return Err(fault(what)),
            }
            if engine.keep_effect(record) {
                return Ok(Applied::Done);
            }
        }
        match engine.apply_effect(record) {
            Ok(()) => {}
            Err(Unapplied::Stop(Stop::Full | Stop::Stuck)) => return Err(full),
            Err(Unapplied::Stop(Stop::Missing(missing))) => return Ok(Applied::Missing(missing)),
            Err(Unapplied::Stop(Stop::Crowded)) => return Ok(crowded(engine)),
            Err(Unapplied::Senseless(what)) => return Err(fault(what)),
        }
        // Pages that are absent are freed when the engine is at work.
        while engine.page_file().is_none() && engine.free_some(usize::MAX).is_ok_and(|more| more) {}
        Ok(Applied::Done)
    }

    /// Records so far.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// The engine, for its page file's operations.
    pub fn engine_mut(&mut self) -> &mut Engine {
        &mut self.engine
    }

    /// The engine, with the log going on where recovery ended. It begins with a record that says so.
    pub fn finish(self, config: LogConfig, resume: &Resume) -> Engine {
        let mut engine = self.engine;
        engine.sort_redo();
        engine.log = LogWriter::new(config, resume);
        engine.log.append(&Record::Opened);
        engine
    }
}

/// A checkpoint names the position of the log, which is not known before recovery's end.
fn crowded(engine: &mut Engine) -> Applied {
    engine.is_checkpoint_wanted = false;
    Applied::Crowded
}
