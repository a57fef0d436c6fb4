//! What a shard has to tell others besides replies: messages that were published, and what has become of keys. Part of stop 9.
//!
//! What the running unit (a command, a transaction, a script) has to tell is collected here. If the unit is undone so is that; if it
//! ends well it is told as soon as the unit is stable, and in the order in which it was collected. Nobody hears of what a crash could
//! still take back.

use crate::notify::{Events, Voice};
use crate::pubsub::Publication;
use cairn_storage::units::Lsn;
use std::cell::{Cell, RefCell};
use std::sync::Arc;

/// One thing to tell.
#[derive(Clone, Debug)]
pub enum Announcement {
    Published(Arc<Publication>),
    /// A keyspace notification.
    Event {
        /// In which forms.
        forms: Events,
        db: u8,
        event: &'static str,
        key: Vec<u8>,
    },
    /// A key has changed that somebody may have in a cache; by whom, if that is known: else 0.
    Changed {
        key: Vec<u8>,
        writer: u64,
    },
    /// A whole database has.
    Emptied,
}

impl Announcement {
    /// Bytes of memory, about.
    pub fn weight(&self) -> usize {
        match self {
            Announcement::Published(publication) => publication.weight(),
            Announcement::Event { key, .. } | Announcement::Changed { key, .. } => {
                size_of::<Announcement>() + key.len()
            }
            Announcement::Emptied => size_of::<Announcement>(),
        }
    }
}

/// What is to be told, and what it waits for. It is noted by those who only look, too.
#[derive(Debug, Default)]
pub struct Announced {
    list: RefCell<Vec<Announcement>>,
    lsn: Cell<Lsn>,
    bytes: Cell<usize>,
    /// What is asked for.
    events: Events,
    voice: Voice,
    /// What is worth a look: `events` as they are called; nothing, if nobody is to hear.
    heard: Events,
}

impl Announced {
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.list.borrow().is_empty()
    }

    /// What is told from now on is behind this.
    #[inline]
    pub fn mark(&self) -> usize {
        self.list.borrow().len()
    }

    pub fn bytes(&self) -> usize {
        self.bytes.get()
    }

    pub fn push(&self, announcement: Announcement) {
        self.bytes.set(self.bytes.get() + announcement.weight());
        self.list.borrow_mut().push(announcement);
    }

    /// What is behind a mark was changed by this client.
    pub fn attribute(&self, client: u64, mark: usize) {
        for announcement in self.list.borrow_mut().iter_mut().skip(mark) {
            if let Announcement::Changed { writer: writer @ 0, .. } = announcement {
                *writer = client;
            }
        }
    }

    /// A key has changed. The same again says nothing new.
    #[cold]
    pub fn note_changed(&self, key: &[u8]) {
        let is_known =
            matches!(self.list.borrow().last(), Some(Announcement::Changed { key: known, .. }) if known == key);
        if !is_known {
            self.push(Announcement::Changed { key: key.to_vec(), writer: 0 });
        }
    }

    /// A whole database has.
    pub fn note_emptied(&self) {
        if !matches!(self.list.borrow().last(), Some(Announcement::Emptied)) {
            self.push(Announcement::Emptied);
        }
    }

    /// All of it waits for this, too.
    pub fn raise(&self, lsn: Lsn) {
        self.lsn.set(self.lsn.get().max(lsn));
    }

    /// What is behind a mark never was.
    #[inline]
    pub fn truncate(&self, mark: usize) {
        if self.mark() > mark {
            drop(self.split_off(mark));
        }
    }

    /// What is behind a mark is told by somebody else.
    pub fn split_off(&self, mark: usize) -> Vec<Announcement> {
        let mut list = self.list.borrow_mut();
        let len = list.len();
        let taken = list.split_off(mark.min(len));
        self.bytes.set(self.bytes.get() - taken.iter().map(Announcement::weight).sum::<usize>());
        taken
    }

    /// All of it, and what it waits for.
    pub fn take(&self) -> (Lsn, Vec<Announcement>) {
        self.bytes.set(0);
        (self.lsn.take(), self.list.take())
    }

    /// `notify-keyspace-events`.
    pub fn configure(&mut self, events: Events) {
        self.events = events.effective();
        self.speak(self.voice);
    }

    /// Whose commands run from now on. Answers whose they were.
    pub fn speak(&mut self, voice: Voice) -> Voice {
        self.heard = match voice {
            Voice::Plain => self.events,
            Voice::Silent => Events::NONE,
            // They have other names than these commands by themselves, of other classes.
            Voice::Renames | Voice::Copies if self.events == Events::NONE => Events::NONE,
            Voice::Renames | Voice::Copies => Events::parse("Ag$n").unwrap_or_default(),
        };
        std::mem::replace(&mut self.voice, voice)
    }

    /// Whether anybody may hear of events of any class.
    #[inline]
    pub fn hears_of_events(&self) -> bool {
        self.heard != Events::NONE
    }

    /// Whether anybody may hear of such events.
    #[inline]
    pub fn wants(&self, class: Events) -> bool {
        self.heard.has_any(class)
    }

    /// An event, if it is asked for under the name that it has here.
    #[cold]
    pub fn note_event(&self, db: u8, class: Events, event: &'static str, key: &[u8]) {
        let Some((class, event)) = self.voice.name(class, event) else { return };
        if self.events.has_any(class) {
            self.push(Announcement::Event { forms: self.events, db, event, key: key.to_vec() });
        }
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
        let announced = Announced::default();
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

    #[test]
    fn parts_of_other_commands_are_called_what_they_are() {
        let mut announced = Announced::default();
        let told = |announced: &Announced, class: Events, event| {
            if announced.wants(class) {
                announced.note_event(0, class, event, b"k");
            }
            let told = announced.take().1.pop();
            told.map(|told| if let Announcement::Event { event, .. } = told { event } else { "?" })
        };
        assert_eq!(told(&announced, Events::STRING, "set"), None, "nobody asks");
        announced.configure(Events::parse("gK").unwrap());
        assert_eq!(told(&announced, Events::STRING, "set"), None);
        assert_eq!(told(&announced, Events::GENERIC, "del"), Some("del"));
        assert_eq!(announced.speak(Voice::Renames), Voice::Plain);
        assert_eq!(told(&announced, Events::STRING, "set"), Some("rename_to"));
        assert_eq!(told(&announced, Events::GENERIC, "del"), Some("rename_from"));
        assert_eq!(told(&announced, Events::GENERIC, "expire"), None);
        announced.speak(Voice::Copies);
        assert_eq!(told(&announced, Events::STRING, "set"), Some("copy_to"));
        announced.speak(Voice::Silent);
        assert_eq!(told(&announced, Events::GENERIC, "del"), None);
        announced.configure(Events::parse("$E").unwrap());
        announced.speak(Voice::Renames);
        assert_eq!(told(&announced, Events::STRING, "set"), None, "RENAME is no string's command");
    }
}
