//! The entries of a packed collection: each its length (LEB128) and its bytes.

use std::ops::Range;

/// The entries of a packed collection, and its tag.
#[derive(Clone, Copy, Debug)]
pub struct Packed<'a> {
    pub tag: u8,
    bytes: &'a [u8],
}

impl<'a> Packed<'a> {
    /// Of a row's value.
    pub fn of(value: &'a [u8]) -> Packed<'a> {
        let (tag, bytes) = value.split_first().expect("a collection has a tag");
        Packed { tag: *tag, bytes }
    }

    pub fn iter(&self) -> Entries<'a> {
        Entries { bytes: self.bytes, at: 0 }
    }

    /// Entries.
    pub fn count(&self) -> usize {
        self.iter().count()
    }

    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Where the entry of that number begins, as [`Entries::at`] tells it; behind the last one, where they end.
    pub fn place(&self, number: usize) -> usize {
        let mut entries = self.iter();
        (0..number).for_each(|_| _ = entries.next());
        entries.at()
    }
}

/// Goes through entries.
#[derive(Clone, Copy, Debug)]
pub struct Entries<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Entries<'a> {
    /// Of bytes that [`push`] has made.
    pub fn of(bytes: &'a [u8]) -> Entries<'a> {
        Entries { bytes, at: 0 }
    }

    /// Where the next entry begins.
    pub fn at(&self) -> usize {
        self.at
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        if self.at == self.bytes.len() {
            return None;
        }
        let (len, start) = length(self.bytes, self.at);
        self.at = start + len;
        Some(&self.bytes[start..start + len])
    }
}

/// The length of the entry at a place, and where its bytes begin.
#[inline]
fn length(bytes: &[u8], at: usize) -> (usize, usize) {
    let (mut len, mut shift, mut at) = (0, 0, at);
    loop {
        let byte = bytes[at];
        len |= usize::from(byte & 0x7f) << shift;
        at += 1;
        if byte < 0x80 {
            return (len, at);
        }
        shift += 7;
    }
}

/// Appends an entry.
#[inline]
pub fn push(out: &mut Vec<u8>, entry: &[u8]) {
    let mut len = entry.len();
    while len >= 0x80 {
        out.push(len as u8 | 0x80);
        len >>= 7;
    }
    out.push(len as u8);
    out.extend_from_slice(entry);
}

/// The bytes that an entry of this length takes.
pub fn entry_bytes(len: usize) -> usize {
    len + (usize::BITS - (len | 1).leading_zeros()).div_ceil(7) as usize
}

/// A packed collection that is being changed: the value of its row.
#[derive(Clone, Debug)]
pub struct Packing {
    value: Vec<u8>,
}

impl Packing {
    pub fn new(tag: u8) -> Packing {
        Packing { value: vec![tag] }
    }

    pub fn of(packed: Packed<'_>) -> Packing {
        let mut value = Vec::with_capacity(packed.bytes.len() + 64);
        value.push(packed.tag);
        value.extend_from_slice(packed.bytes);
        Packing { value }
    }

    pub fn packed(&self) -> Packed<'_> {
        Packed::of(&self.value)
    }

    pub fn is_empty(&self) -> bool {
        self.value.len() == 1
    }

    /// Bytes of the row's value.
    pub fn len(&self) -> usize {
        self.value.len()
    }

    pub fn value(&self) -> &[u8] {
        &self.value
    }

    pub fn into_value(self) -> Vec<u8> {
        self.value
    }

    pub fn set_tag(&mut self, tag: u8) {
        self.value[0] = tag;
    }

    pub fn push(&mut self, entry: &[u8]) {
        push(&mut self.value, entry);
    }

    /// Puts entries that are encoded already at a place.
    pub fn insert_bytes(&mut self, place: usize, entries: &[u8]) {
        self.value.splice(place + 1..place + 1, entries.iter().copied());
    }

    /// Puts entries in the place of the bytes in this range, as [`Entries::at`] tells places.
    pub fn replace(&mut self, range: Range<usize>, entries: &[&[u8]]) {
        let mut bytes = Vec::with_capacity(entries.iter().map(|entry| entry_bytes(entry.len())).sum());
        entries.iter().for_each(|entry| push(&mut bytes, entry));
        self.value.splice(range.start + 1..range.end + 1, bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_read_back_and_are_replaced_where_they_stand() {
        let long = vec![7; 300];
        let entries: [&[u8]; 6] = [b"", b"a", &[1; 127], &[2; 128], &long, b"end"];
        let mut packing = Packing::new(3);
        for entry in entries {
            let before = packing.len();
            packing.push(entry);
            assert_eq!(packing.len() - before, entry_bytes(entry.len()));
        }
        assert_eq!(packing.packed().tag, 3);
        assert!(packing.packed().iter().eq(entries));
        for (at, entry) in entries.iter().enumerate() {
            let mut changed = Packing::of(packing.packed());
            let mut places = changed.packed().iter();
            (0..at).for_each(|_| _ = places.next());
            let start = places.at();
            assert_eq!(places.next(), Some(*entry));
            let range = start..places.at();
            changed.replace(range, &[b"x", &long]);
            let mut expect: Vec<&[u8]> = entries.to_vec();
            expect.splice(at..at + 1, [&b"x"[..], &long]);
            assert!(changed.packed().iter().eq(expect));
        }
    }
}
