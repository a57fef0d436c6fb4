//! An archive that goes over several flushes: written as it is made, without a copy of it as a whole.

use super::{LogWriter, Open};
use crate::blob::Blob;
use crate::log::flush::HEADER_BYTES;
use rkyv::rancor::Source;
use rkyv::ser::{Positional, Writer};

/// Writes an archive of `bytes` bytes across as many flushes as it takes.
pub(super) struct Across<'a> {
    pub log: &'a mut LogWriter,
    pub written: usize,
    pub bytes: usize,
    /// Its longest bytes, if they are shared.
    pub blob: Option<&'a Blob>,
}

impl Across<'_> {
    /// Bytes that would fill whole flushes are referred to, if they are the blob's. Answers what is left.
    fn refer<'b>(&mut self, mut bytes: &'b [u8]) -> &'b [u8] {
        let Some((blob, mut at)) = self.blob.and_then(|blob| Some((blob, blob.position_of(bytes)?))) else {
            return bytes;
        };
        loop {
            let payload = self.log.cap() - HEADER_BYTES;
            if bytes.len() < payload {
                return bytes;
            }
            self.log.finish_blob(blob.clone(), at, payload);
            bytes = &bytes[payload..];
            at += payload;
            self.written += payload;
        }
    }
}

impl Positional for Across<'_> {
    fn pos(&self) -> usize {
        self.written
    }
}

impl<E: Source> Writer<E> for Across<'_> {
    fn write(&mut self, mut bytes: &[u8]) -> Result<(), E> {
        while !bytes.is_empty() {
            if self.log.open.len == self.log.open.cap {
                self.log.finish();
                bytes = self.refer(bytes);
                self.log.open(self.bytes - self.written);
            }
            let Open { buffer, len, cap, .. } = self.log.open;
            let (now, later) = bytes.split_at(bytes.len().min(cap - len));
            self.log.buffers.bytes_mut(buffer)[len..len + now.len()].copy_from_slice(now);
            self.log.open.len += now.len();
            self.written += now.len();
            bytes = later;
        }
        Ok(())
    }
}
