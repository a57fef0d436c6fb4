//! A transaction that its client goes on with over several requests: from BEGIN to COMMIT or ROLLBACK.
//!
//! What its connection knows of it is [`Open`]; a shard that has rows of it keeps the commands that change them ([`Kept`]).
//! Why so: `docs/decisions/0016-interactive-transactions.md`.

use super::after::{After, Afters};
use super::{Command, CutId, Multi, RowLock, Sum, View};
use crate::announce::Announcement;
use crate::event::Now;
use crate::parcel::{Answer, Ask};
use crate::resp::replies::Replies;
use crate::unstable::place;
use cairn_storage::units::{ShardId, TxnId};

/// A transaction, by its age: of two that began, the greater is the younger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Age {
    pub begun_ns: u64,
    pub txn: TxnId,
}

/// What a connection knows of its transaction.
#[derive(Debug)]
pub struct Open {
    pub age: Age,
    /// When it is rolled back at the latest.
    pub until_ns: Option<u64>,
    /// When its last command came.
    pub active_ns: u64,
    /// It locks nothing, and sees a cut; that is known when all shards have drawn it.
    pub is_read_only: bool,
    pub cut: Option<CutId>,
    /// What is known of split counters at the cut.
    pub sums: Vec<Sum>,
    /// Commands so far that shards were told of.
    pub statements: u32,
    /// Bytes of those that change rows.
    pub bytes: usize,
    /// The shards that have rows of it, ascending, and whether they have changes.
    pub parts: Vec<(ShardId, bool)>,
    /// What it tells others when it is committed, each with its number among the statements.
    pub published: Vec<(u32, Announcement)>,
    /// Each with the number of the first statement behind it.
    pub savepoints: Vec<(Vec<u8>, u32)>,
    /// It is over: nothing but its end is taken any more.
    pub ended: Option<End>,
}

/// How the server has ended a transaction.
#[derive(Clone, Debug)]
pub struct End {
    /// What begins the error that its later commands are answered.
    pub code: &'static str,
    pub why: String,
}

impl Open {
    pub fn new(age: Age) -> Open {
        Open {
            age,
            until_ns: None,
            active_ns: age.begun_ns,
            is_read_only: false,
            cut: None,
            sums: Vec::new(),
            statements: 0,
            bytes: 0,
            parts: Vec::new(),
            published: Vec::new(),
            savepoints: Vec::new(),
            ended: None,
        }
    }

    /// A shard has rows of it from now on, and changes if `is_write`.
    pub fn note_part(&mut self, shard: ShardId, is_write: bool) {
        if self.is_read_only {
            return;
        }
        match self.parts.binary_search_by_key(&shard.0, |(known, _)| known.0) {
            Ok(at) => self.parts[at].1 |= is_write,
            Err(at) => self.parts.insert(at, (shard, is_write)),
        }
    }

    /// What others are told now that it is committed.
    pub fn take_published(&mut self) -> Vec<Announcement> {
        std::mem::take(&mut self.published).into_iter().map(|(_, announcement)| announcement).collect()
    }

    /// The statements from this one on never were. The savepoints behind it neither.
    pub fn go_back(&mut self, statement: u32) {
        self.savepoints.retain(|(_, at)| *at <= statement);
    }
}

/// What a shard does for an open transaction.
#[derive(Clone, Debug)]
pub struct Work {
    pub age: Age,
    pub statement: u32,
    pub rows: Vec<RowLock>,
    pub patience: Patience,
    /// One command, or none: then the rows are locked, and that is all.
    pub commands: Multi,
    pub is_resp3: bool,
    /// No command, but a question about a whole database, which is locked for it.
    pub ask: Option<Box<Ask>>,
    /// It is done on the rows as they were, and locks nothing.
    pub view: Option<View>,
}

/// What one does who finds rows locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    Wait,
    /// Leaves it at that.
    Refuse,
    /// Takes those that are free.
    Skip,
}

/// How a shard's work has ended.
#[derive(Debug)]
pub enum Worked {
    Reply(Replies),
    Answer(Answer),
    /// For each row that was asked for, whether it is locked.
    Locked(Vec<bool>),
    /// Nothing was done yet: other shards have parts of this counter, and what they had together has to be known.
    Apart {
        db: u8,
        key: Vec<u8>,
        work: Box<Work>,
    },
}

/// Who waits for whom? It follows the waiting from shard to shard until it comes back to where it began, or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    pub origin: TxnId,
    /// Which look of the shard where it began.
    pub look: u64,
    /// The youngest open transaction on the way, and its statement that waits.
    pub youngest: (Age, u32),
    pub hops: u32,
}

/// The commands of a transaction that change rows of one shard, with all that it takes to have them do the same again.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    pub commands: Multi,
    pub pins: Vec<Pin>,
    pub afters: Afters,
}

/// What makes rows what they are for the next command.
pub enum Before {
    Rows(Vec<After>),
    /// These commands, by number.
    Commands(Vec<usize>),
}

impl Before {
    pub fn is_empty(&self) -> bool {
        match self {
            Before::Rows(rows) => rows.is_empty(),
            Before::Commands(numbers) => numbers.is_empty(),
        }
    }
}

/// What a command depends on besides its rows.
#[derive(Clone, Debug)]
pub struct Pin {
    pub statement: u32,
    /// The time at which it runs.
    pub now: Now,
    /// Where its random numbers begin.
    pub seed: u64,
    /// The places of its rows.
    places: Vec<u64>,
}

impl Pin {
    pub fn new(statement: u32, now: Now, seed: u64, rows: &[RowLock]) -> Pin {
        Pin { statement, now, seed, places: rows.iter().map(|row| place(row.db, row.head)).collect() }
    }
}

impl Kept {
    pub fn push(&mut self, command: Command<'_>, pin: Pin) {
        self.commands.push(command.entry, command.db, command.head, command.args.iter());
        self.pins.push(pin);
    }

    /// Forgets the commands from this statement on.
    pub fn go_back(&mut self, statement: u32) {
        let len = self.pins.partition_point(|pin| pin.statement < statement);
        for pin in self.pins.drain(len..) {
            pin.places.iter().for_each(|place| self.afters.forget(*place));
        }
        self.commands.truncate(len);
    }

    /// What a command on these rows stands on.
    pub fn before(&self, rows: &[RowLock]) -> Before {
        match self.afters.of(rows) {
            Some(known) => Before::Rows(known.into_iter().cloned().collect()),
            None => Before::Commands(self.needed(rows)),
        }
    }

    /// The commands, by number, that one on these rows depends on: those on the same rows, and those which these depend on.
    fn needed(&self, rows: &[RowLock]) -> Vec<usize> {
        let mut places: Vec<u64> = rows.iter().map(|row| place(row.db, row.head)).collect();
        let mut needed = Vec::new();
        for (number, pin) in self.pins.iter().enumerate().rev() {
            if pin.places.iter().any(|place| places.contains(place)) {
                needed.push(number);
                places.extend(pin.places.iter().filter(|place| !places.contains(place)).copied().collect::<Vec<_>>());
            }
        }
        needed.reverse();
        needed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::args::Args;
    use crate::command::table;

    fn row(head: u64) -> RowLock {
        RowLock { db: 0, head, is_exclusive: true }
    }

    fn keep(kept: &mut Kept, statement: u32, heads: &[u64]) {
        let args = Args::new(b"DELx", &[(0, 3), (3, 4)]);
        let rows: Vec<RowLock> = heads.iter().map(|head| row(*head)).collect();
        let command = Command { entry: table::entry(b"del").unwrap(), db: 0, head: heads[0], args };
        kept.push(command, Pin::new(statement, Now::default(), 0, &rows));
    }

    #[test]
    fn a_command_needs_those_before_it_that_touch_its_rows_and_what_these_need() {
        let mut kept = Kept::default();
        keep(&mut kept, 1, &[1]);
        keep(&mut kept, 2, &[2]);
        keep(&mut kept, 3, &[1, 3]);
        keep(&mut kept, 4, &[4]);
        for (head, expect) in [(1, &[0, 2][..]), (2, &[1]), (3, &[0, 2]), (4, &[3]), (5, &[])] {
            assert_eq!(kept.needed(&[row(head)]), expect, "{head}");
        }
        kept.go_back(3);
        assert_eq!((kept.commands.len(), kept.needed(&[row(3), row(1)])), (2, vec![0]));
        keep(&mut kept, 3, &[3]);
        assert_eq!((kept.commands.len(), kept.commands.bytes(), kept.needed(&[row(3)])), (3, 12, vec![2]));
    }

    #[test]
    fn parts_are_known_once_and_what_is_behind_a_savepoint_goes() {
        let mut open = Open::new(Age { begun_ns: 5, txn: TxnId { coordinator: ShardId(0), number: 1 } });
        for (shard, is_write) in [(1, false), (0, true), (1, true), (1, false)] {
            open.note_part(ShardId(shard), is_write);
        }
        assert_eq!(open.parts, [(ShardId(0), true), (ShardId(1), true)]);
        open.savepoints = vec![(b"a".to_vec(), 1), (b"b".to_vec(), 3), (b"c".to_vec(), 5)];
        open.go_back(3);
        assert_eq!(open.savepoints.len(), 2);
    }
}
