//! From the records of the log to rows: what recovery feeds, record by record.

use super::{Engine, RowKey, Stop};
use crate::error::Fault;
use crate::limits::DATABASES;
use crate::log::{LogConfig, LogWriter, Record, Resume};
use crate::pool::ChunkHook;
use crate::row::KIND_MAX;
use crate::units::{Lsn, ShardId};

/// An engine in the making.
pub struct Replay {
    engine: Engine,
    shard: ShardId,
    /// Records of a group whose end has not been seen: archives of their own, since they outlive the log's buffers.
    group: Option<Vec<(Lsn, Vec<u8>)>>,
    records: u64,
}

impl Replay {
    /// `memory_bytes_max` bounds pages and extents; `on_chunk` is shown each new chunk of page memory.
    pub fn new(config: LogConfig, memory_bytes_max: u64, on_chunk: ChunkHook) -> Replay {
        // The writer is replaced when recovery knows where the log ends.
        let log = LogWriter::new(config, &Resume::empty());
        let engine = Engine::new(memory_bytes_max, on_chunk, log);
        Replay { engine, shard: config.shard, group: None, records: 0 }
    }

    /// Applies a record that recovery has found. Its LSN only serves to say where something is wrong.
    pub fn apply(&mut self, lsn: Lsn, record: &Record<'_>) -> Result<(), Fault> {
        self.records += 1;
        match record {
            // What an earlier opening began and did not end never happened.
            Record::Opened => self.group = None,
            Record::GroupBegin => self.group = Some(Vec::new()),
            Record::GroupEnd => {
                for (lsn, archive) in self.group.take().unwrap_or_default() {
                    let record = Record::decode(&archive).expect("it was encoded here");
                    self.apply_row(lsn, &record)?;
                }
            }
            _ => match &mut self.group {
                Some(group) => group.push((lsn, record.to_archive())),
                None => self.apply_row(lsn, record)?,
            },
        }
        Ok(())
    }

    fn apply_row(&mut self, lsn: Lsn, record: &Record<'_>) -> Result<(), Fault> {
        let fault = |what| Fault::Record { shard: self.shard, lsn, what };
        let database = |db: u8| if usize::from(db) < DATABASES { Ok(db) } else { Err(fault("no such database")) };
        let engine = &mut self.engine;
        let applied = match *record {
            Record::Put { db, kind, head, expire_ms, key, value } => {
                if kind > KIND_MAX {
                    return Err(fault("no such kind of value"));
                }
                engine.apply_put(RowKey { db: database(db)?, head, key }, kind, expire_ms, value)
            }
            Record::Splice { db, head, offset, key, bytes } => {
                let row = RowKey { db: database(db)?, head, key };
                if engine.get(row).is_ok_and(|found| found.is_none()) {
                    return Err(fault("it changes a row that is not there"));
                }
                engine.apply_splice(row, offset as usize, bytes)
            }
            Record::Expire { db, head, expire_ms, key } => {
                engine.apply_expiry(RowKey { db: database(db)?, head, key }, expire_ms).map(drop)
            }
            Record::Delete { db, head, key, .. } => {
                engine.apply_delete(RowKey { db: database(db)?, head, key }).map(drop)
            }
            Record::Clear { db } => engine.apply_clear(database(db)?),
            Record::Opened | Record::GroupBegin | Record::GroupEnd => Ok(()),
        };
        applied.map_err(|stop| match stop {
            Stop::Full => Fault::MemoryFull { shard: self.shard, bytes_max: engine.memory_bytes_max() },
            Stop::Missing(_) => fault("it needs a page that is not in memory"),
        })?;
        while self.engine.free_some(usize::MAX).is_ok_and(|more| more) {}
        Ok(())
    }

    /// Records so far.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// The engine, with the log going on where recovery ended. It begins with a record that says so.
    pub fn finish(self, config: LogConfig, resume: &Resume) -> Engine {
        let mut engine = self.engine;
        engine.log = LogWriter::new(config, resume);
        engine.log.append(&Record::Opened);
        engine
    }
}
