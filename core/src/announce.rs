//! What a shard has to tell others besides replies: messages that were published. Part of stop 9.
//!
//! What the running unit (a command, a transaction, a script) has to tell is collected here. If the unit is undone so is that; if it
//! ends well it is told as soon as the unit is stable, and in the order in which it was collected. Nobody hears of what a crash could
//! still take back.

use crate::pubsub::Publication;
use cairn_storage::units::Lsn;
use std::sync::Arc;

/// One thing to tell.
#[derive(Clone, Debug)]
pub enum Announcement {
    Published(Arc<Publication>),
}

impl Announcement {
    /// Bytes of memory, about.
    pub fn weight(&self) -> usize {
        match self {
            Announcement::Published(publication) => publication.weight(),
        }
    }
}

/// What is to be told, and what it waits for.
#[derive(Debug, Default)]
pub struct Announced {
    list: Vec<Announcement>,
    lsn: Lsn,
    bytes: usize,
}

impl Announced {
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// What is told from now on is behind this.
    #[inline]
    pub fn mark(&self) -> usize {
        self.list.len()
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn push(&mut self, announcement: Announcement) {
        self.bytes += announcement.weight();
        self.list.push(announcement);
    }

    /// All of it waits for this, too.
    pub fn raise(&mut self, lsn: Lsn) {
        self.lsn = self.lsn.max(lsn);
    }

    /// What is behind a mark never was.
    #[inline]
    pub fn truncate(&mut self, mark: usize) {
        if self.list.len() > mark {
            drop(self.split_off(mark));
        }
    }

    /// What is behind a mark is told by somebody else.
    pub fn split_off(&mut self, mark: usize) -> Vec<Announcement> {
        let taken = self.list.split_off(mark.min(self.list.len()));
        self.bytes -= taken.iter().map(Announcement::weight).sum::<usize>();
        taken
    }

    /// All of it, and what it waits for.
    pub fn take(&mut self) -> (Lsn, Vec<Announcement>) {
        self.bytes = 0;
        (std::mem::take(&mut self.lsn), std::mem::take(&mut self.list))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cairn_storage::blob::Blob;

    #[test]
    fn what_is_undone_is_not_told() {
        let publication = |channel: &str| {
            let payload = Blob::new(b"x".to_vec());
            Announcement::Published(Arc::new(Publication { is_sharded: false, channel: channel.into(), payload }))
        };
        let mut announced = Announced::default();
        announced.push(publication("a"));
        let mark = announced.mark();
        let bytes = announced.bytes();
        announced.push(publication("b"));
        announced.push(publication("c"));
        announced.raise(Lsn(7));
        announced.raise(Lsn(5));
        assert_eq!(announced.split_off(mark + 1).len(), 1);
        announced.truncate(mark);
        announced.truncate(mark + 9);
        assert_eq!(announced.bytes(), bytes);
        let (lsn, list) = announced.take();
        assert_eq!((lsn, list.len(), announced.bytes()), (Lsn(7), 1, 0));
        assert_eq!(announced.take().0, Lsn(0), "the next unit waits for nothing");
    }
}
