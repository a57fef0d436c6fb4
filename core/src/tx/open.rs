//! A transaction that its client goes on with over several requests: from BEGIN to COMMIT or ROLLBACK.
//!
//! What its connection knows of it is [`Open`]; a shard that has rows of it keeps the commands that change them ([`Kept`]).
//! Why so: `docs/decisions/0016-interactive-transactions.md`.

use super::after::{After, Afters};
use super::{Command, CutId, Databases, Multi, RowLock, Sum, View};
use crate::announce::Announcement;
use crate::event::Now;
use crate::limits::{SNAPSHOT_STATEMENTS_MAX, TXN_STATEMENTS_MAX};
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
    /// No counter is split as long as it goes on.
    pub is_calm: bool,
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
            is_calm: false,
            sums: Vec::new(),
            statements: 0,
            bytes: 0,
            parts: Vec::new(),
            published: Vec::new(),
            savepoints: Vec::new(),
            ended: None,
        }
    }

    /// Commands that it may have. Of those that read a cut nothing is kept, they are only told apart.
    pub fn statements_max(&self) -> u32 {
        if self.is_read_only { SNAPSHOT_STATEMENTS_MAX } else { TXN_STATEMENTS_MAX }
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
    /// The command is about these as a whole.
    pub databases: Databases,
    /// Nothing but this: counters become whole, and stay so until the transaction ends.
    pub is_calm: bool,
    /// One command, or none: then the rows are locked, and that is all.
    pub commands: Multi,
    pub is_resp3: bool,
    /// No command, but a question about a whole database, which is locked for it.
    pub ask: Option<Box<Ask>>,
    /// It is done on the rows as they were, and locks nothing.
    pub view: Option<View>,
    /// The time that it is to all steps of a program, or to a script; otherwise that of the shard.
    pub now: Option<Now>,
}

impl Work {
    /// A statement's, in which nothing is to be done yet.
    pub fn of(age: Age, statement: u32) -> Work {
        Work {
            age,
            statement,
            rows: Vec::new(),
            patience: Patience::Wait,
            databases: Databases::NONE,
            is_calm: false,
            commands: Multi::default(),
            is_resp3: false,
            ask: None,
            view: None,
            now: None,
        }
    }
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
    /// No counter is split here.
    Calm,
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
    /// Those of the commands that are about whole databases.
    pub wholes: Vec<usize>,
}

/// What makes rows what they are for the next command.
pub enum Before {
    /// These commands, by number, which are about whole databases; then rows that were touched since.
    Rows(Vec<usize>, Vec<After>),
    /// These commands, by number.
    Commands(Vec<usize>),
}

impl Before {
    pub fn is_empty(&self) -> bool {
        match self {
            Before::Rows(wholes, rows) => wholes.is_empty() && rows.is_empty(),
            Before::Commands(numbers) => numbers.is_empty(),
        }
    }
}

/// What a command does to whole databases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whole {
    Emptied(Databases),
    Swapped(u8, u8),
}

impl Whole {
    fn meets(self, (db, _): &(u8, u64)) -> bool {
        match self {
            Whole::Emptied(databases) => databases.has(*db),
            Whole::Swapped(one, other) => [one, other].contains(db),
        }
    }

    /// Where rows stand behind it that stood there before it, and the other way round: those of what it empties stand nowhere.
    fn carry(self, rows: &mut Vec<(u8, u64)>) {
        match self {
            Whole::Emptied(databases) => rows.retain(|(db, _)| !databases.has(*db)),
            Whole::Swapped(one, other) => rows.iter_mut().filter(|row| self.meets(row)).for_each(|(db, _)| {
                *db = if *db == one { other } else { one };
            }),
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
    /// Its rows, by database and head.
    rows: Vec<(u8, u64)>,
    whole: Option<Whole>,
}

impl Pin {
    pub fn new(statement: u32, now: Now, seed: u64, rows: &[RowLock], whole: Option<Whole>) -> Pin {
        Pin { statement, now, seed, rows: heads_of(rows), whole }
    }
}

fn heads_of(rows: &[RowLock]) -> Vec<(u8, u64)> {
    rows.iter().map(|row| (row.db, row.head)).collect()
}

impl Kept {
    pub fn push(&mut self, command: Command<'_>, pin: Pin) {
        let is_whole = pin.whole.is_some();
        self.commands.push(command.entry, command.db, command.head, command.args.iter());
        self.pins.push(pin);
        if is_whole {
            self.wholes.push(self.pins.len() - 1);
            self.forget_afters();
        }
    }

    /// Of rows that were touched only the commands say what they are.
    fn forget_afters(&mut self) {
        let mut touched = Vec::new();
        for pin in &self.pins {
            touched.extend(&pin.rows);
            pin.whole.iter().for_each(|whole| whole.carry(&mut touched));
        }
        self.afters = Afters::default();
        touched.into_iter().for_each(|(db, head)| self.afters.note_touched(place(db, head)));
    }

    /// Forgets the commands from this statement on.
    pub fn go_back(&mut self, statement: u32) {
        let len = self.pins.partition_point(|pin| pin.statement < statement);
        for (db, head) in self.pins.drain(len..).flat_map(|pin| pin.rows) {
            self.afters.forget(place(db, head));
        }
        self.commands.truncate(len);
        let wholes = self.wholes.partition_point(|number| *number < len);
        if wholes < self.wholes.len() {
            self.wholes.truncate(wholes);
            self.forget_afters();
        }
    }

    /// What a command on these rows stands on.
    pub fn before(&self, rows: &[RowLock]) -> Before {
        match self.afters.of(rows) {
            Some(known) => {
                let wholes = self.needed_of(self.wholes.iter().copied(), rows);
                Before::Rows(wholes, known.into_iter().cloned().collect())
            }
            None => Before::Commands(self.needed(rows)),
        }
    }

    /// The commands, by number, that one on these rows depends on: those on the same rows, those which these depend on, and what has brought the
    /// rows from another database, or has emptied theirs.
    fn needed(&self, rows: &[RowLock]) -> Vec<usize> {
        self.needed_of(0..self.pins.len(), rows)
    }

    /// Whether one of the commands is on this row.
    pub fn has_touched(&self, db: u8, head: u64) -> bool {
        self.pins.iter().any(|pin| pin.rows.contains(&(db, head)))
    }

    fn needed_of(&self, numbers: impl DoubleEndedIterator<Item = usize>, rows: &[RowLock]) -> Vec<usize> {
        let mut rows = heads_of(rows);
        let mut needed = Vec::new();
        for number in numbers.rev() {
            let pin = &self.pins[number];
            if let Some(whole) = pin.whole.filter(|whole| rows.iter().any(|row| whole.meets(row))) {
                needed.push(number);
                whole.carry(&mut rows);
            } else if pin.rows.iter().any(|row| rows.contains(row)) {
                needed.push(number);
                rows.extend(pin.rows.iter().filter(|row| !rows.contains(row)).copied().collect::<Vec<_>>());
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
        kept.push(command, Pin::new(statement, Now::default(), 0, &rows, None));
    }

    fn keep_whole(kept: &mut Kept, statement: u32, whole: Whole) {
        let args = Args::new(b"FLUSHDB", &[(0, 7)]);
        let command = Command { entry: table::entry(b"flushdb").unwrap(), db: 0, head: 0, args };
        kept.push(command, Pin::new(statement, Now::default(), 0, &[], Some(whole)));
    }

    fn wholes(kept: &Kept, db: u8, head: u64) -> Option<Vec<usize>> {
        match kept.before(&[RowLock { db, head, is_exclusive: true }]) {
            Before::Rows(wholes, _) => Some(wholes),
            Before::Commands(_) => None,
        }
    }

    #[test]
    fn what_was_emptied_or_swapped_is_needed_by_rows_of_its_databases_and_what_was_before_only_where_it_stays() {
        let mut kept = Kept::default();
        keep(&mut kept, 1, &[1]);
        keep_whole(&mut kept, 2, Whole::Swapped(0, 3));
        keep(&mut kept, 3, &[2]);
        let of = |kept: &Kept, db, head| kept.needed(&[RowLock { db, head, is_exclusive: true }]);
        assert_eq!((of(&kept, 0, 1), of(&kept, 3, 1), of(&kept, 0, 2)), (vec![1], vec![0, 1], vec![1, 2]));
        assert_eq!((of(&kept, 1, 1), wholes(&kept, 3, 1), wholes(&kept, 0, 1)), (vec![], None, Some(vec![1])));
        keep_whole(&mut kept, 4, Whole::Emptied(Databases::of(0)));
        assert_eq!((of(&kept, 0, 2), of(&kept, 3, 1)), (vec![3], vec![0, 1]));
        assert_eq!((wholes(&kept, 0, 2), wholes(&kept, 3, 9)), (Some(vec![3]), Some(vec![1])));
        kept.go_back(4);
        assert_eq!((of(&kept, 0, 2), wholes(&kept, 0, 2)), (vec![1, 2], None));
        keep_whole(&mut kept, 4, Whole::Emptied(Databases::first(16)));
        assert_eq!((of(&kept, 3, 1), kept.commands.databases), (vec![3], 2));
        kept.go_back(1);
        assert_eq!((of(&kept, 3, 1), wholes(&kept, 0, 1), kept.wholes.len()), (vec![], Some(vec![]), 0));
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
