//! Stop 5 of 10: the rows of one shard as commands see them.

use crate::command::Call;
use crate::error::Stop;

/// What a value is. Stored with each row; the numbers are part of the log format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    String = 0,
}

impl Kind {
    /// As TYPE answers.
    pub fn name(self) -> &'static str {
        match self {
            Kind::String => "string",
        }
    }
}

/// A live row.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    pub kind: Kind,
    /// Unix milliseconds.
    pub expire_ms: Option<u64>,
    pub value: &'a [u8],
}

/// What a write does to the row's time to live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ttl {
    Keep,
    Clear,
    /// Unix milliseconds, in the future.
    At(u64),
}

/// One shard: its engine, and what the running command has observed.
pub struct Shard {}

#[expect(unused_variables, reason = "the bodies follow with the engine")]
impl Shard {
    /// The live row of a key, for a command that reads: counts as a hit or a miss. What it observes is noted, so the
    /// reply waits until that is stable.
    pub fn read(&self, call: &Call<'_>, key: &[u8]) -> Result<Option<Row<'_>>, Stop> {
        unimplemented!()
    }

    /// The live row of a key, for a command that will write it (or only looks): no hit, no miss.
    pub fn peek(&self, call: &Call<'_>, key: &[u8]) -> Result<Option<Row<'_>>, Stop> {
        unimplemented!()
    }

    /// Sets the row, whatever it was. `value` must not be longer than `proto-max-bulk-len` (the caller checks).
    pub fn write(&mut self, call: &Call<'_>, key: &[u8], kind: Kind, ttl: Ttl, value: &[u8]) -> Result<(), Stop> {
        unimplemented!()
    }

    /// Overwrites bytes of an existing string, growing it with zeros where it must (APPEND, SETRANGE, SETBIT). Its
    /// time to live stays.
    pub fn splice(&mut self, call: &Call<'_>, key: &[u8], offset: usize, bytes: &[u8]) -> Result<(), Stop> {
        unimplemented!()
    }

    /// Changes the time to live of a live row (`None`: lives for ever). Whether there was such a row.
    pub fn set_expiry(&mut self, call: &Call<'_>, key: &[u8], expire_ms: Option<u64>) -> Result<bool, Stop> {
        unimplemented!()
    }

    /// Removes a row. Whether a live one was there.
    pub fn remove(&mut self, call: &Call<'_>, key: &[u8]) -> Result<bool, Stop> {
        unimplemented!()
    }

    /// Rows of a database, those past their time but not yet removed included (as DBSIZE counts in Redis).
    pub fn row_count(&self, db: u8) -> u64 {
        unimplemented!()
    }

    /// Rows of a database that have a time to live.
    pub fn expiring_count(&self, db: u8) -> u64 {
        unimplemented!()
    }

    /// Removes all rows of a database.
    pub fn clear(&mut self, call: &Call<'_>, db: u8) -> Result<(), Stop> {
        unimplemented!()
    }

    /// Visits live rows in the order of (slot, hash) from `head` on, until `visit` says stop; answers the head to go on
    /// from, 0 at the end. Rows of equal head are never separated: `visit` is only asked between heads whether to go on.
    pub fn scan(
        &self,
        call: &Call<'_>,
        db: u8,
        head: u64,
        visit: &mut dyn FnMut(&[u8], Row<'_>),
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<u64, Stop> {
        unimplemented!()
    }

    /// A live row chosen by `random` (any 64 bits), if there is one.
    pub fn random_key(&self, call: &Call<'_>, db: u8, random: u64) -> Result<Option<Vec<u8>>, Stop> {
        unimplemented!()
    }

    /// 64 bits from the shard's own seeded generator.
    pub fn random(&mut self) -> u64 {
        unimplemented!()
    }

    /// Bytes of memory that a row takes, as well as they can be told (MEMORY USAGE).
    pub fn row_bytes(&self, call: &Call<'_>, key: &[u8]) -> Result<Option<u64>, Stop> {
        unimplemented!()
    }
}
