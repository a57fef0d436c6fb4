//! Values, and keys, that are too long for a leaf. They stand outside the tree; a row refers to one by number.
//!
//! Extents live in memory until the page file exists (a later step); their bytes count against the engine's bound.

use crate::units::ExtentId;

/// What stands in an extent.
#[derive(Debug, Default)]
pub struct Extent {
    /// The key, if it is too long to stand in the tree as it is; else empty.
    pub key: Box<[u8]>,
    pub value: Vec<u8>,
}

/// All extents of a shard.
#[derive(Debug, Default)]
pub struct Extents {
    slots: Vec<Option<Extent>>,
    free: Vec<ExtentId>,
    bytes: u64,
}

impl Extents {
    pub fn insert(&mut self, extent: Extent) -> ExtentId {
        self.bytes += weight(&extent);
        match self.free.pop() {
            Some(id) => {
                self.slots[id.0 as usize] = Some(extent);
                id
            }
            None => {
                self.slots.push(Some(extent));
                ExtentId(u32::try_from(self.slots.len() - 1).expect("memory is full long before 2^32 extents"))
            }
        }
    }

    pub fn get(&self, id: ExtentId) -> &Extent {
        self.slots[id.0 as usize].as_ref().expect("a row refers to an extent that is there")
    }

    /// Changes an extent's value.
    pub fn update<T>(&mut self, id: ExtentId, change: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        let extent = self.slots[id.0 as usize].as_mut().expect("a row refers to an extent that is there");
        self.bytes -= weight(extent);
        let result = change(&mut extent.value);
        self.bytes += weight(extent);
        result
    }

    pub fn remove(&mut self, id: ExtentId) -> Extent {
        let extent = self.slots[id.0 as usize].take().expect("a row refers to an extent that is there");
        self.bytes -= weight(&extent);
        self.free.push(id);
        extent
    }

    /// Bytes of all keys and values here, spare room included.
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
    (extent.key.len() + extent.value.capacity()) as u64
}
