//! Long values of a shard: they become rows, and are answered, without a copy.

use super::{Kind, Shard, Ttl};
use crate::command::args::{Args, KeptArgs};
use crate::command::{Call, Spec};
use crate::error::Stop;
use crate::limits::LONG_VALUE_BYTES_MIN;
use cairn_storage::blob::Blob;
use cairn_storage::engine::RowKey;
use std::sync::Arc;

impl Shard {
    /// Commands are about to run whose arguments stand in this buffer. Answers the one before.
    pub(crate) fn lend(&mut self, input: Option<Arc<Vec<u8>>>) -> Option<Arc<Vec<u8>>> {
        std::mem::replace(&mut self.input, input)
    }

    /// The arguments of a command, kept by keeping the buffer that they stand in, if it was lent and one of them is long.
    pub(crate) fn borrowed(&self, args: &Args<'_>) -> Option<KeptArgs> {
        let input = self.input.as_ref().filter(|_| args.iter().any(|arg| arg.len() >= LONG_VALUE_BYTES_MIN))?;
        Some((Arc::clone(input), args.ranges_in(input)?))
    }

    /// An argument of the running command, kept in the same way if it is long.
    #[inline]
    pub(super) fn kept(&self, arg: &[u8]) -> Option<Blob> {
        if arg.len() < LONG_VALUE_BYTES_MIN {
            return None;
        }
        Blob::within(self.input.as_ref()?, arg)
    }

    /// The long values among a command's rows that are in memory: who holds them has them here again when it runs once more.
    pub(crate) fn long_values(&self, db: u8, spec: &Spec, args: &Args<'_>) -> Vec<Blob> {
        if spec.is_single() {
            return Vec::new();
        }
        let keys = spec.row_keys(args).map(|at| &args[at]);
        let rows = keys.map(|key| RowKey { db, head: self.head(key), key });
        rows.filter_map(|row| self.engine.blob(row).ok().flatten()).collect()
    }

    /// The value of a row, to be sent or kept without a copy, if it stands outside of the leaves.
    pub fn blob(&self, call: &Call<'_>, key: &[u8]) -> Result<Option<Blob>, Stop> {
        Ok(self.find_blob(self.row_key(call, key))?)
    }

    /// As [`Shard::write`], of a value that becomes the row's without a copy. Nothing of the time to live before is kept.
    pub fn write_blob(&mut self, call: &Call<'_>, key: &[u8], kind: Kind, ttl: Ttl, value: &Blob) -> Result<(), Stop> {
        let expire_ms = if let Ttl::At(expire_ms) = ttl { expire_ms } else { 0 };
        self.put_blob(call, key, kind, expire_ms, value)
    }

    #[cold]
    pub(super) fn put_blob(
        &mut self,
        call: &Call<'_>,
        key: &[u8],
        kind: Kind,
        expire_ms: u64,
        value: &Blob,
    ) -> Result<(), Stop> {
        self.refuse_if_full(value.len())?;
        let row_key = self.row_key(call, key);
        let former = self.former(call, row_key)?;
        self.keep_former(row_key)?;
        let lsn = self.engine.put_blob(row_key, kind as u8, expire_ms, value)?;
        self.note(row_key, lsn);
        self.notify_of(call, row_key, former);
        Ok(())
    }
}
