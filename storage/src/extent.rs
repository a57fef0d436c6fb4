//! Values, and keys, that are too long for a leaf. They stand outside the tree; a row refers to one by number.
//!
//! An extent may be absent: its image is in the page file. It is never changed while somebody else holds it (the log or a
//! checkpoint that is writing it, a reply on its way out): the change is made to a copy then. One that has left memory while
//! somebody held it comes back without a read, as long as somebody does.

use crate::blob::{Blob, WeakBlob};
use crate::error::Missing;
use crate::pagefile::PageFile;
use crate::units::{ExtentId, Generation};
use core::cell::Cell;
use hashbrown::HashMap;
use std::sync::Arc;

/// What stands in an extent. A clone is the same memory.
#[derive(Clone, Debug, Default)]
pub struct Extent {
    /// The key, if it is too long to stand in the tree as it is; else empty.
    pub key: Arc<[u8]>,
    pub value: Blob,
}

impl Extent {
    /// Bytes of key and value, spare room included.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.key.len() as u64 + self.value.memory_bytes()
    }
}

#[derive(Debug)]
enum Slot {
    Free,
    Absent,
    Here {
        extent: Extent,
        /// Of its last change; 0 if none is newer than its image.
        generation: Generation,
        /// It was used since the search for extents that can leave memory came by.
        is_used: Cell<bool>,
    },
}

/// All extents of a shard.
#[derive(Debug, Default)]
pub struct Extents {
    slots: Vec<Slot>,
    free: Vec<ExtentId>,
    /// Of those in memory.
    bytes: u64,
    /// Of these, of those that were changed in this generation, and of those that the running checkpoint has to write.
    dirty_bytes: u64,
    saving_bytes: u64,
    /// Extents that were changed in this generation, some more than once, some gone again.
    dirty: Vec<ExtentId>,
    /// Where the search for extents that can leave memory goes on.
    hand: usize,
    /// Absent ones that somebody held when they left memory.
    lent: HashMap<ExtentId, Lent>,
    /// When those that nobody holds any more are looked for.
    lent_max: usize,
}

#[derive(Debug)]
struct Lent {
    key: Arc<[u8]>,
    value: WeakBlob,
}

/// Entries of `lent` below which it is not worth looking through.
const LENT_MIN: usize = 64;

/// Extents that one search for some to give up looks at.
const LOOKS_MAX: usize = 256;

impl Extents {
    /// The extents that a page file has; all are absent.
    pub(crate) fn opened(file: &PageFile) -> Extents {
        let mut extents = Extents::default();
        for id in (0..file.extent_numbers() as u32).map(ExtentId) {
            let is_there = file.extent_bytes(id).is_some();
            extents.slots.push(if is_there { Slot::Absent } else { Slot::Free });
            extents.free.extend((!is_there).then_some(id));
        }
        extents
    }

    /// A new extent, changed in this generation (0: nobody writes generations).
    pub(crate) fn insert(&mut self, extent: Extent, generation: Generation) -> ExtentId {
        let bytes = extent.memory_bytes();
        self.bytes += bytes;
        let slot = Slot::Here { extent, generation, is_used: Cell::new(true) };
        let id = match self.free.pop() {
            Some(id) => {
                self.slots[id.0 as usize] = slot;
                id
            }
            None => {
                self.slots.push(slot);
                ExtentId(u32::try_from(self.slots.len() - 1).expect("writes are refused before there are so many"))
            }
        };
        if generation.0 != 0 {
            self.dirty.push(id);
            self.dirty_bytes += bytes;
        }
        id
    }

    pub fn get(&self, id: ExtentId) -> Result<&Extent, Missing> {
        match &self.slots[id.0 as usize] {
            Slot::Here { extent, is_used, .. } => {
                is_used.set(true);
                Ok(extent)
            }
            Slot::Absent => Err(Missing::Extent(id)),
            Slot::Free => panic!("a row refers to an extent that is there"),
        }
    }

    /// Changes an extent that is in memory, whose value will be `len` bytes long as far as that is known.
    pub(crate) fn update(
        &mut self,
        id: ExtentId,
        generation: Generation,
        len: usize,
        change: impl FnOnce(&mut Vec<u8>),
    ) {
        self.soil(id, generation, |value| value.change(len, change));
    }

    fn soil(&mut self, id: ExtentId, generation: Generation, change: impl FnOnce(&mut Blob)) {
        let Slot::Here { extent, generation: last, .. } = &mut self.slots[id.0 as usize] else {
            panic!("only an extent in memory is changed")
        };
        let before = extent.memory_bytes();
        if *last != generation {
            *last = generation;
            self.dirty.push(id);
        } else if generation.0 != 0 {
            self.dirty_bytes -= before;
        }
        change(&mut extent.value);
        let after = extent.memory_bytes();
        self.bytes = self.bytes - before + after;
        if generation.0 != 0 {
            self.dirty_bytes += after;
        }
    }

    /// An extent whose image is damaged is to be written anew, if it is in memory: whether it is.
    pub(crate) fn rewrite(&mut self, id: ExtentId, generation: Generation) -> bool {
        let is_here = matches!(self.slots.get(id.0 as usize), Some(Slot::Here { .. }));
        if is_here {
            self.soil(id, generation, |_| {});
        }
        is_here
    }

    /// Removes an extent, in memory or not.
    pub(crate) fn remove(&mut self, id: ExtentId) {
        match std::mem::replace(&mut self.slots[id.0 as usize], Slot::Free) {
            Slot::Here { extent, generation, .. } => {
                self.bytes -= extent.memory_bytes();
                if generation.0 != 0 {
                    self.dirty_bytes -= extent.memory_bytes();
                }
            }
            Slot::Absent => drop(self.lent.remove(&id)),
            Slot::Free => panic!("an extent is removed once"),
        }
        self.free.push(id);
    }

    /// What the checkpoint that begins has to write: extents that were changed in this generation.
    pub(crate) fn freeze(&mut self, generation: Generation) -> Vec<(ExtentId, Extent)> {
        let mut dirty = std::mem::take(&mut self.dirty);
        dirty.sort_unstable();
        dirty.dedup();
        let mut frozen = Vec::with_capacity(dirty.len());
        self.saving_bytes = std::mem::take(&mut self.dirty_bytes);
        for id in dirty {
            if let Slot::Here { extent, generation: last, .. } = &mut self.slots[id.0 as usize]
                && *last == generation
            {
                *last = Generation(0);
                frozen.push((id, extent.clone()));
            }
        }
        frozen
    }

    /// No checkpoint runs: what one had to write is written.
    pub(crate) fn settle(&mut self) {
        self.saving_bytes = 0;
    }

    /// Bytes that cannot leave memory before a checkpoint has written them.
    pub(crate) fn unsaved_bytes(&self) -> u64 {
        self.dirty_bytes + self.saving_bytes
    }

    pub(crate) fn dirty_max(&self) -> usize {
        self.dirty.len()
    }

    /// An absent extent is back.
    pub(crate) fn supply(&mut self, id: ExtentId, extent: Extent) {
        let slot = &mut self.slots[id.0 as usize];
        if matches!(slot, Slot::Absent) {
            self.lent.remove(&id);
            self.bytes += extent.memory_bytes();
            *slot = Slot::Here { extent, generation: Generation(0), is_used: Cell::new(true) };
        }
    }

    /// Has an absent extent back, if somebody holds its value still. Whether it is.
    pub(crate) fn recall(&mut self, id: ExtentId) -> bool {
        let Some(Lent { key, value }) = self.lent.remove(&id) else { return false };
        let Some(value) = value.upgrade() else { return false };
        self.supply(id, Extent { key, value });
        true
    }

    /// An extent leaves memory: its image is in the file.
    fn leave(&mut self, id: ExtentId) {
        if let Slot::Here { extent, .. } = std::mem::replace(&mut self.slots[id.0 as usize], Slot::Absent) {
            self.bytes -= extent.memory_bytes();
            if extent.value.is_shared() {
                self.lend(id, &extent);
            }
        }
    }

    #[cold]
    fn lend(&mut self, id: ExtentId, extent: &Extent) {
        if self.lent.len() >= self.lent_max {
            self.lent.retain(|_, lent| lent.value.is_alive());
            self.lent_max = (2 * self.lent.len()).max(LENT_MIN);
        }
        self.lent.insert(id, Lent { key: Arc::clone(&extent.key), value: extent.value.downgrade() });
    }

    /// Gives up extents whose images are in the file until at most `bytes` are in memory. Looks at a bounded number.
    pub(crate) fn drop_some(&mut self, bytes: u64, file: &PageFile) {
        for _ in 0..LOOKS_MAX.min(self.slots.len()) {
            if self.bytes <= bytes {
                return;
            }
            self.hand = (self.hand + 1) % self.slots.len();
            let slot = &mut self.slots[self.hand];
            if let Slot::Here { generation: Generation(0), is_used, .. } = slot
                && !is_used.replace(false)
                && file.can_drop_extent(ExtentId(self.hand as u32))
            {
                self.leave(ExtentId(self.hand as u32));
            }
        }
    }

    /// An extent that is in memory, if there is such a one.
    pub(crate) fn find(&self, id: ExtentId) -> Option<&Extent> {
        match self.slots.get(id.0 as usize)? {
            Slot::Here { extent, .. } => Some(extent),
            Slot::Absent | Slot::Free => None,
        }
    }

    pub(crate) fn is_here(&self, id: ExtentId) -> bool {
        !matches!(self.slots.get(id.0 as usize), Some(Slot::Absent))
    }

    /// Bytes of all keys and values in memory, spare room included.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Extents that there may be beside these, if there may be `max`.
    pub(crate) fn numbers_left(&self, max: usize) -> usize {
        max.saturating_sub(self.len())
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_comes_back_without_a_read() {
        let mut extents = Extents::default();
        let new = |byte| Extent { key: Arc::default(), value: Blob::new(vec![byte; 100]) };
        let id = extents.insert(new(b'a'), Generation(0));
        extents.leave(id);
        assert!(!extents.recall(id), "nobody held it");
        extents.supply(id, new(b'a'));
        let held = extents.get(id).unwrap().value.clone();
        extents.leave(id);
        assert!(extents.get(id).is_err() && extents.bytes() == 0);
        assert!(extents.recall(id) && extents.bytes() == 100);
        assert_eq!(extents.get(id).unwrap().value.as_ptr(), held.as_ptr());
        // What has changed since, or is another extent, never comes back as it was.
        extents.leave(id);
        extents.supply(id, new(b'a'));
        extents.update(id, Generation(0), 1, |value| *value = b"b".to_vec());
        extents.leave(id);
        assert!(!extents.recall(id));
        extents.supply(id, new(b'a'));
        let again = extents.get(id).unwrap().value.clone();
        extents.leave(id);
        extents.remove(id);
        assert_eq!(extents.insert(new(b'c'), Generation(0)), id);
        extents.leave(id);
        assert!(!extents.recall(id) && again[0] == b'a');
        // What nobody holds any more is forgotten.
        drop((held, again));
        for _ in 0..10 * LENT_MIN {
            let id = extents.insert(new(b'd'), Generation(0));
            let held = extents.get(id).unwrap().value.clone();
            extents.leave(id);
            drop(held);
        }
        assert!(extents.lent.len() <= LENT_MIN);
    }
}
