//! Values, and keys, that are too long for a leaf. They stand outside the tree; a row refers to one by number.
//!
//! An extent may be absent: its image is in the page file. It is never changed while somebody else holds it (the log or a
//! checkpoint that is writing it, a reply on its way out): the change is made to a copy then.

use crate::blob::Blob;
use crate::error::Missing;
use crate::pagefile::PageFile;
use crate::units::{ExtentId, Generation};
use core::cell::Cell;
use std::sync::Arc;

/// What stands in an extent. A clone is the same memory.
#[derive(Clone, Debug, Default)]
pub struct Extent {
    /// The key, if it is too long to stand in the tree as it is; else empty.
    pub key: Arc<[u8]>,
    pub value: Blob,
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
}

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
        let bytes = weight(&extent);
        self.bytes += bytes;
        let slot = Slot::Here { extent, generation, is_used: Cell::new(true) };
        let id = match self.free.pop() {
            Some(id) => {
                self.slots[id.0 as usize] = slot;
                id
            }
            None => {
                self.slots.push(slot);
                ExtentId(u32::try_from(self.slots.len() - 1).expect("memory is full long before 2^32 extents"))
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
        let before = weight(extent);
        if *last != generation {
            *last = generation;
            self.dirty.push(id);
        } else if generation.0 != 0 {
            self.dirty_bytes -= before;
        }
        change(&mut extent.value);
        let after = weight(extent);
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
                self.bytes -= weight(&extent);
                if generation.0 != 0 {
                    self.dirty_bytes -= weight(&extent);
                }
            }
            Slot::Absent => {}
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
            self.bytes += weight(&extent);
            *slot = Slot::Here { extent, generation: Generation(0), is_used: Cell::new(true) };
        }
    }

    /// Gives up extents whose images are in the file until at most `bytes` are in memory. Looks at a bounded number.
    pub(crate) fn drop_some(&mut self, bytes: u64, file: &PageFile) {
        const LOOKS_MAX: usize = 256;
        for _ in 0..LOOKS_MAX.min(self.slots.len()) {
            if self.bytes <= bytes {
                return;
            }
            self.hand = (self.hand + 1) % self.slots.len();
            let slot = &mut self.slots[self.hand];
            if let Slot::Here { extent, generation: Generation(0), is_used } = slot
                && !is_used.replace(false)
                && file.can_drop_extent(ExtentId(self.hand as u32))
            {
                self.bytes -= weight(extent);
                *slot = Slot::Absent;
            }
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

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn weight(extent: &Extent) -> u64 {
    extent.key.len() as u64 + extent.value.memory_bytes()
}
