//! The commands of a connection from MULTI to EXEC.

use crate::command::args::Args;
use crate::command::table::{self, Entry};
use crate::command::{Flags, Run, keyspace};
use crate::machine::Token;
use cairn_storage::units::ShardId;

/// A queue of commands, their arguments copied one behind the other.
#[derive(Clone, Debug, Default)]
pub struct Multi {
    bytes: Vec<u8>,
    ranges: Vec<(u32, u32)>,
    commands: Vec<Queued>,
    /// Commands that may change something, and of these, those on whole databases.
    pub writes: usize,
    pub databases: usize,
    /// A command was refused when it came: EXEC discards all.
    pub is_aborted: bool,
    /// Commands that its user may no longer run, by their numbers, and what these answer.
    pub denied: Vec<(usize, String)>,
    /// An error of any command undoes all of them.
    pub rolls_back: bool,
    /// They are done once.
    pub token: Option<Token>,
    /// Where in its connection's output the replies to it begin.
    pub place: u64,
    /// The shards whose rows they are about, if who queues them says so.
    pub reach: Reach,
    /// Commands that are not on rows.
    others: usize,
}

/// How many shards something is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    #[default]
    None,
    One(ShardId),
    Several,
}

impl Reach {
    /// It is about this one too.
    pub fn meet(&mut self, shard: ShardId) {
        *self = match *self {
            Reach::None => Reach::One(shard),
            Reach::One(known) if known == shard => return,
            _ => Reach::Several,
        };
    }

    /// It is about these too.
    pub fn join(&mut self, other: Reach) {
        match other {
            Reach::None => {}
            Reach::One(shard) => self.meet(shard),
            Reach::Several => *self = Reach::Several,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Queued {
    /// The command's number in the table.
    id: u16,
    db: u8,
    /// Its arguments among the ranges.
    ranges: (u32, u32),
    /// Of its first key.
    head: u64,
}

/// A queued command.
#[derive(Clone, Copy)]
pub struct Command<'a> {
    pub entry: Entry,
    /// The database that it is for, if the one who queued it has known.
    pub db: u8,
    /// Of its first key.
    pub head: u64,
    pub args: Args<'a>,
}

impl Multi {
    /// Nothing is queued; the buffers stay.
    pub fn clear(&mut self) {
        let Multi { mut bytes, mut ranges, mut commands, .. } = std::mem::take(self);
        bytes.clear();
        ranges.clear();
        commands.clear();
        *self = Multi { bytes, ranges, commands, ..Multi::default() };
    }

    /// Of each command's first key, if it has one.
    pub fn heads(&self) -> impl Iterator<Item = u64> {
        self.commands.iter().map(|queued| queued.head).filter(|head| *head != 0)
    }

    pub fn push<'a>(&mut self, entry: Entry, db: u8, head: u64, args: impl Iterator<Item = &'a [u8]>) {
        let first = self.ranges.len() as u32;
        for arg in args {
            let start = self.bytes.len() as u32;
            self.bytes.extend_from_slice(arg);
            self.ranges.push((start, self.bytes.len() as u32));
        }
        let flags = entry.spec.flags;
        self.writes += usize::from(flags.has(Flags::WRITE) || flags.has(Flags::MAY_WRITE));
        self.others += usize::from(!matches!(entry.spec.run, Run::Row(_)));
        self.databases += usize::from(matches!(entry.spec.run, Run::Databases { .. }));
        self.commands.push(Queued { id: entry.id, db, ranges: (first, self.ranges.len() as u32), head });
    }

    /// Forgets all commands but the first ones.
    pub fn truncate(&mut self, len: usize) {
        let Some(first) = self.commands.get(len) else { return };
        let range = first.ranges.0 as usize;
        self.bytes.truncate(self.ranges.get(range).map_or(0, |(start, _)| *start as usize));
        self.ranges.truncate(range);
        for queued in self.commands.drain(len..) {
            let spec = table::spec(queued.id);
            self.writes -= usize::from(spec.flags.has(Flags::WRITE));
            self.others -= usize::from(!matches!(spec.run, Run::Row(_)));
            self.databases -= usize::from(matches!(spec.run, Run::Databases { .. }));
        }
    }

    /// The command of that number.
    pub fn command(&self, number: usize) -> Command<'_> {
        self.shown(&self.commands[number])
    }

    /// Commands.
    pub fn len(&self) -> usize {
        self.commands.len()
    }

    pub fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// Commands that may change rows.
    pub fn row_writes(&self) -> usize {
        self.writes - self.databases
    }

    /// What a command answers instead of being run.
    #[inline]
    pub fn denied(&self, number: usize) -> Option<&str> {
        if self.denied.is_empty() {
            return None;
        }
        self.denied.iter().find(|(denied, _)| *denied == number).map(|(_, line)| line.as_str())
    }

    /// Bytes of all arguments.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes of memory that the queue takes.
    pub fn memory_bytes(&self) -> usize {
        self.bytes.capacity()
            + self.ranges.capacity() * size_of::<(u32, u32)>()
            + self.commands.capacity() * size_of::<Queued>()
    }

    /// Whether all commands are on rows, so that any shard could run them.
    pub fn is_on_rows(&self) -> bool {
        self.others == 0
    }

    /// Whether a transaction that may be taken back may have this command: what is no change of rows would stay.
    pub fn is_undoable(entry: Entry) -> bool {
        matches!(entry.spec.run, Run::Row(_) | Run::Databases { .. })
            || keyspace::is_survey(entry.spec)
            || matches!(entry.spec.name, "select" | "publish" | "spublish")
    }

    /// The commands in their order.
    pub fn commands(&self) -> impl Iterator<Item = Command<'_>> {
        self.commands.iter().map(|queued| self.shown(queued))
    }

    fn shown(&self, queued: &Queued) -> Command<'_> {
        let entry = table::numbered(queued.id);
        let ranges = &self.ranges[queued.ranges.0 as usize..queued.ranges.1 as usize];
        Command { entry, db: queued.db, head: queued.head, args: Args::new(&self.bytes, ranges) }
    }
}

#[cfg(test)]
mod tests {
    use super::Multi;
    use crate::command::args::Args;
    use crate::command::table;

    #[test]
    fn commands_come_back_as_they_were_queued() {
        let mut multi = Multi::default();
        assert!(multi.is_empty());
        let set = Args::new(b"SETkeyvalue", &[(0, 3), (3, 6), (6, 11)]);
        multi.push(table::entry(b"set").unwrap(), 3, 7, set.iter());
        multi.push(table::entry(b"get").unwrap(), 0, 8, Args::new(b"getkey", &[(0, 3), (3, 6)]).iter());
        assert!(multi.is_on_rows());
        multi.push(table::entry(b"ping").unwrap(), 0, 0, Args::new(b"PING", &[(0, 4)]).iter());
        assert!(!multi.is_on_rows());
        assert_eq!((multi.len(), multi.bytes(), multi.writes), (3, 21, 1));
        let shown: Vec<(&str, u8, u64, Vec<Vec<u8>>)> = multi
            .commands()
            .map(|it| (it.entry.spec.name, it.db, it.head, it.args.iter().map(<[u8]>::to_vec).collect()))
            .collect();
        let words = |words: &[&str]| words.iter().map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>();
        assert_eq!(shown[0], ("set", 3, 7, words(&["SET", "key", "value"])));
        assert_eq!(shown[1], ("get", 0, 8, words(&["get", "key"])));
        assert_eq!(shown[2], ("ping", 0, 0, words(&["PING"])));
    }
}
