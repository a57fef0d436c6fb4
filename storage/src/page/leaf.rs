//! A leaf: rows. The payload stands right behind the tail, so that one cache line often holds both.

use super::{ENTRY_BYTES, Key, Page, Slot, Span};

impl Page {
    /// The payload of the row with this key. The end of every read.
    #[inline(always)]
    pub(crate) fn find(&self, key: Key<'_>, span: Span) -> Option<&[u8]> {
        let (index, is_exact) = self.seek(key, span);
        is_exact.then(|| self.payload(index))
    }

    #[inline(always)]
    pub(crate) fn payload(&self, index: usize) -> &[u8] {
        let slot = self.slot(index);
        let start = slot.offset as usize + slot.tail as usize;
        &self.as_bytes()[start..start + slot.len()]
    }

    pub(crate) fn payload_mut(&mut self, index: usize) -> &mut [u8] {
        let slot = self.slot(index);
        let start = slot.offset as usize + slot.tail as usize;
        &mut self.as_bytes_mut()[start..start + slot.len()]
    }

    /// Whether the row's payload can become `len` bytes long within this page.
    pub(crate) fn has_room_for(&self, index: usize, len: usize) -> bool {
        self.free() + self.slot(index).len() >= len
    }

    /// Changes the length of a row's payload. Its bytes are undefined until the caller has filled them. The caller
    /// has seen [`Page::has_room_for`].
    pub(crate) fn resize_payload(&mut self, index: usize, len: usize) {
        let slot = self.slot(index);
        let old = slot.len();
        if len <= old {
            self.discard(old - len);
            self.set_slot(index, slot.with_len(len));
            return;
        }
        let tail = slot.tail as usize;
        if self.free() - self.garbage() >= tail + len {
            let offset = self.take(tail + len);
            let start = slot.offset as usize;
            self.as_bytes_mut().copy_within(start..start + tail, offset as usize);
            self.set_slot(index, Slot { offset, ..slot.with_len(len) });
            self.discard(tail + old);
            return;
        }
        // Taking the payload's bytes away first lets compaction use them.
        self.discard(old);
        self.set_slot(index, slot.with_len(0));
        self.compact();
        let slot = self.slot(index);
        let start = slot.offset as usize;
        if self.free() - self.garbage() >= tail + len {
            let offset = self.take(tail + len);
            self.as_bytes_mut().copy_within(start..start + tail, offset as usize);
            self.set_slot(index, Slot { offset, ..slot.with_len(len) });
            self.discard(tail);
        } else {
            self.move_tail(index, tail, len);
        }
    }

    /// The last resort of growth: room for the payload, none for a second copy of the tail beside it.
    #[cold]
    fn move_tail(&mut self, index: usize, tail: usize, len: usize) {
        let mut bytes = [0; crate::limits::KEY_INLINE_BYTES_MAX];
        bytes[..tail].copy_from_slice(self.tail(index));
        let (head, word) = (self.heads()[index], self.slot(index).with_len(len).word);
        self.remove_entry(index);
        assert!(self.free() >= ENTRY_BYTES + tail + len);
        self.insert_entry(index, Key { head, tail: &bytes[..tail] }, word);
    }
}
