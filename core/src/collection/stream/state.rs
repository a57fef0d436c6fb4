//! What a stream knows beside its entries.
//!
//! Encoded: the fields in their order, each as LEB128, those at the end that are zero left out. So that XADD need not write it, most of it is
//! about what is not among the entries any more.

use super::id::EntryId;

/// What cannot be seen from the entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Entries that were added and are gone: with those that are there, all that ever were.
    pub removed: u64,
    /// The last id that was given, if it is above those of all entries.
    pub last: EntryId,
    /// The largest id that XDEL has removed.
    pub max_deleted: EntryId,
    /// Entries below it were trimmed, though their rows may still be there.
    pub from: EntryId,
    /// The number of the next consumer group.
    pub groups: u32,
}

const FIELDS: usize = 8;

impl State {
    pub fn encode(&self) -> Vec<u8> {
        let State { removed, last, max_deleted, from, groups } = *self;
        let fields =
            [removed, last.ms, last.seq, max_deleted.ms, max_deleted.seq, from.ms, from.seq, u64::from(groups)];
        let used = fields.iter().rposition(|field| *field != 0).map_or(0, |at| at + 1);
        let mut out = Vec::new();
        for mut field in fields.into_iter().take(used) {
            while field >= 0x80 {
                out.push(field as u8 | 0x80);
                field >>= 7;
            }
            out.push(field as u8);
        }
        out
    }

    pub fn decode(bytes: &[u8]) -> State {
        let mut fields = [0u64; FIELDS];
        let (mut at, mut shift) = (0, 0);
        for byte in bytes {
            fields[at] |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                (at, shift) = (at + 1, 0);
            }
        }
        let [removed, last_ms, last_seq, deleted_ms, deleted_seq, from_ms, from_seq, groups] = fields;
        State {
            removed,
            last: EntryId { ms: last_ms, seq: last_seq },
            max_deleted: EntryId { ms: deleted_ms, seq: deleted_seq },
            from: EntryId { ms: from_ms, seq: from_seq },
            groups: groups as u32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_read_back() {
        let id = |ms, seq| EntryId { ms, seq };
        let states = [
            State::default(),
            State { removed: 1, ..State::default() },
            State { removed: u64::MAX, last: EntryId::MAX, max_deleted: id(0, 1), from: id(1, 0), groups: 0 },
            State { removed: 0, last: id(0, 0), max_deleted: id(128, 127), from: EntryId::MAX, groups: u32::MAX },
        ];
        for state in states {
            assert_eq!(State::decode(&state.encode()), state);
        }
        assert!(State::default().encode().is_empty());
    }
}
