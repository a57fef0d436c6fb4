//! Stop 3 of 10: arguments -> command. What a command is; the commands themselves are one file a family.

pub mod acl;
pub mod algebra;
pub mod args;
mod bitmaps;
pub mod blocking;
pub mod client;
pub mod cluster;
mod complete;
pub mod config;
pub mod connection;
mod databases;
pub mod debug;
mod dump;
mod durability;
pub mod expire;
pub mod functions;
pub mod geo;
pub mod hashes;
pub mod help;
pub mod hot;
mod hyperloglog;
pub mod idempotent;
pub mod info;
pub mod introspect;
pub mod keys;
pub mod keyspace;
pub mod latency;
pub mod lists;
pub mod long;
pub mod memory;
pub mod migrate;
mod moves;
pub mod program;
pub mod pubsub;
mod sample;
pub mod save;
mod scan;
pub mod script;
pub mod server;
pub mod sets;
pub mod slow;
pub mod sort;
pub mod streams;
pub mod strings;
pub mod synopsis;
pub mod table;
pub mod tracking;
pub mod transactions;
pub mod wait;
pub mod zsets;

use crate::command::args::Args;
use crate::command::blocking::Blocks;
use crate::command::program::Program;
use crate::error::{Refusal, Stop};
use crate::event::{ConnId, Now};
use crate::machine::Machine;
use crate::resp::encode::Reply;
use crate::shard::Shard;
use crate::tx::Databases;
use std::ops::Range;

/// One command as it is run: on the shard that owns its keys, for a client that may be elsewhere.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    pub spec: &'static Spec,
    pub args: &'a Args<'a>,
    pub db: u8,
    pub is_resp3: bool,
    pub now: Now,
    /// The head of the first key; 0 if the command has none.
    pub head: u64,
}

impl Call<'_> {
    /// The refusal for a wrong number of arguments, with the command's full name.
    pub fn arity(&self) -> Stop {
        Refusal::Arity(self.spec.name.into()).into()
    }

    /// Whether the last one of its keys lacks the value that goes with it (MSET).
    #[inline]
    pub fn lacks_value(&self) -> bool {
        let Keys { first, step, .. } = self.spec.keys;
        step == 2 && !(self.args.len() - first).is_multiple_of(2)
    }
}

/// A command on rows of one shard: it resolves what it needs, and only then changes anything.
pub type RowRun = fn(&mut Shard, &Call<'_>, &mut Reply<'_>) -> Result<(), Stop>;

/// The same of several commands on one key that follow each other: the call has the arguments of all of them behind the key, so many each as `parts` says,
/// and each is answered as if it had been run by itself. If it stops they are run one by one, so it may stop for whatever is not simple.
pub type JoinedRun = fn(&mut Shard, &Call<'_>, parts: &[usize], &mut Reply<'_>) -> Result<(), Stop>;

/// How commands that follow each other are run together.
#[derive(Clone, Copy)]
pub struct Joined {
    pub run: JoinedRun,
    /// Whether they have arguments behind the key. If not, those that do are run by themselves.
    pub has_arguments: bool,
}

impl Joined {
    const fn with_arguments(run: JoinedRun) -> Joined {
        Joined { run, has_arguments: true }
    }

    const fn bare(run: JoinedRun) -> Joined {
        Joined { run, has_arguments: false }
    }
}

/// A command on the connection or the server. It runs on the core of its connection.
pub type ServerRun = fn(&mut Machine, ConnId, &Call<'_>, &mut Reply<'_>) -> Result<Flow, Stop>;

/// Which databases a command is about, of so many. Refused if it cannot be run.
pub type WhichDatabases = fn(&Call<'_>, u8) -> Result<Databases, Refusal>;

/// How a server command goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// The reply is written.
    Done,
    /// The reply comes later: the machine has made a place for it.
    Later,
    /// The reply is written; the connection closes once it is sent.
    Close,
}

/// What runs a command.
#[derive(Clone, Copy)]
pub enum Run {
    Row(RowRun),
    Server(ServerRun),
    /// On whole databases: each shard runs it on what it has of them, all as one transaction.
    Databases {
        which: WhichDatabases,
        run: RowRun,
    },
    /// A container: its second argument names one of `Spec::subcommands`.
    Container,
}

/// What becomes of a row command whose keys are on several shards.
#[derive(Clone, Copy, Debug)]
pub enum Spread {
    /// It is refused: it would have to be one transaction.
    Refuse,
    /// Each shard runs it on its own keys; the integer replies are added.
    Sum,
    /// Each shard runs it on its own keys; the elements of the array replies go back to their keys' places.
    Place,
    /// Each shard runs it on its own pairs of keys and values, all in one transaction.
    Pairs,
    /// The same, if none of the keys is there.
    PairsIfNone,
    /// A row goes to another key, in one transaction.
    Move { is_replacing: bool },
    /// A row is copied to another key, in one transaction.
    Copy,
    /// Its steps are commands on one shard each, all in one transaction.
    Program(Program),
}

/// Where the keys stand: Redis's first, last (negative counts from the end) and step. `first` 0: no keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keys {
    pub first: usize,
    pub last: isize,
    pub step: usize,
}

impl Keys {
    pub const NONE: Keys = Keys { first: 0, last: 0, step: 0 };
    pub const ONE: Keys = Keys { first: 1, last: 1, step: 1 };
    pub const TWO: Keys = Keys { first: 1, last: 2, step: 1 };
    pub const ALL: Keys = Keys { first: 1, last: -1, step: 1 };
    /// All arguments but the last (BLPOP).
    pub const BUT_LAST: Keys = Keys { first: 1, last: -2, step: 1 };
    /// Keys and values in turn (MSET).
    pub const PAIRS: Keys = Keys { first: 1, last: -1, step: 2 };

    /// Whether a command has one key, or none.
    #[inline]
    pub fn is_single(self) -> bool {
        self.last >= 0 && self.last as usize <= self.first
    }

    /// The positions of the keys among `argc` arguments.
    pub fn positions(self, argc: usize) -> impl Iterator<Item = usize> + Clone + use<> {
        let last = if self.last < 0 { argc as isize + self.last } else { self.last };
        let end = if self.first == 0 || last < 0 { 0 } else { (last as usize + 1).min(argc) };
        (self.first..end.max(self.first)).step_by(self.step.max(1))
    }
}

/// Redis's command flags, as COMMAND shows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags(pub u32);

impl Flags {
    pub const NONE: Flags = Flags(0);
    pub const WRITE: Flags = Flags(1);
    pub const READONLY: Flags = Flags(1 << 1);
    pub const DENYOOM: Flags = Flags(1 << 2);
    pub const ADMIN: Flags = Flags(1 << 3);
    pub const PUBSUB: Flags = Flags(1 << 4);
    pub const NOSCRIPT: Flags = Flags(1 << 5);
    pub const BLOCKING: Flags = Flags(1 << 6);
    pub const LOADING: Flags = Flags(1 << 7);
    pub const STALE: Flags = Flags(1 << 8);
    pub const SKIP_MONITOR: Flags = Flags(1 << 9);
    pub const SKIP_SLOWLOG: Flags = Flags(1 << 10);
    pub const FAST: Flags = Flags(1 << 11);
    pub const NO_AUTH: Flags = Flags(1 << 12);
    pub const MOVABLEKEYS: Flags = Flags(1 << 13);
    pub const ALLOW_BUSY: Flags = Flags(1 << 14);
    pub const NO_MULTI: Flags = Flags(1 << 15);
    /// It may change rows: a script.
    pub const MAY_WRITE: Flags = Flags(1 << 17);
    /// The keys follow their number.
    pub const NO_MANDATORY_KEYS: Flags = Flags(1 << 18);
    /// It is not queued behind MULTI. Not one of Redis's.
    pub const UNQUEUED: Flags = Flags(1 << 16);
    /// With no more arguments than it must have it sets its row without a look at it. Not one of Redis's.
    pub const BLIND: Flags = Flags(1 << 20);

    /// Others than its client hear of what it does. Not shown.
    pub const MAY_REPLICATE: Flags = Flags(1 << 24);
    /// It is answered with pushes, whatever CLIENT REPLY says, and by a client that listens to channels in RESP2 too. Not shown.
    pub const LISTENS: Flags = Flags(1 << 25);

    /// Its rows tell which others it looks at, unless its arguments say that there are none. Not one of Redis's.
    pub const UNDECLARED: Flags = Flags(1 << 26);

    /// It adds to an integer: what tells hot counters from other hot keys. Not one of Redis's.
    pub const COUNTS: Flags = Flags(1 << 19);

    /// In a transaction it is done at once, and is no part of that: nobody sees what it does. Not one of Redis's.
    pub const BESIDE: Flags = Flags(1 << 27);

    pub const fn and(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    pub const fn has(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }
}

/// One row of the command table. Everything that COMMAND, COMMAND DOCS, the arity check, routing and access
/// control need is here, and nothing of it anywhere else.
pub struct Spec {
    /// Lower case; a subcommand has its container's name and a bar in front: `client|id`.
    pub name: &'static str,
    /// As Redis counts: the name included, negative for "at least".
    pub arity: i16,
    pub flags: Flags,
    pub keys: Keys,
    /// The place of the number of keys, where that stands in front of them and of other arguments. 0: it does not.
    pub keynum: usize,
    /// Where the first member or field stands that is looked for. 0: none is.
    pub member: usize,
    /// From which argument on the word STREAMS may stand behind which keys follow, and then as many ids. 0: none does.
    pub streams: usize,
    /// Words that a key follows, where they stand among the arguments behind those that there must be; the last one of them counts.
    pub key_words: &'static [&'static str],
    /// What finds the keys, where nothing of this says it.
    pub keys_of: Option<fn(&Args<'_>) -> Range<usize>>,
    /// What is done with the keys, in the words of Redis's key specifications: `RW access update`. One for all keys, or one
    /// for each. Empty: what follows from the flags, see [`Spec::key_uses`].
    pub key_uses: &'static [&'static str],
    pub spread: Spread,
    pub run: Run,
    /// How several are run together, if they are.
    pub joined: Option<Joined>,
    /// How it waits, if it does.
    pub blocks: Option<&'static Blocks>,
    pub subcommands: &'static [Spec],
    /// Access categories without the `@`, space-separated, those that follow from the flags left out.
    pub categories: &'static str,
    /// Hints for clients that ask a whole cluster: Redis's command tips, space-separated.
    pub tips: &'static str,
    pub group: &'static str,
    pub since: &'static str,
    pub complexity: &'static str,
    pub summary: &'static str,
    /// The arguments after the name, in the notation of the Redis documentation's synopsis.
    pub synopsis: &'static str,
}

impl Spec {
    /// A row with everything optional at its default, to be completed with `..Spec::DEFAULT`.
    pub const DEFAULT: Spec = Spec {
        name: "",
        arity: 0,
        flags: Flags::NONE,
        keys: Keys::NONE,
        keynum: 0,
        member: 0,
        streams: 0,
        key_words: &[],
        keys_of: None,
        key_uses: &[],
        spread: Spread::Refuse,
        run: Run::Container,
        joined: None,
        blocks: None,
        subcommands: &[],
        categories: "",
        tips: "",
        group: "",
        since: "1.0.0",
        complexity: "O(1)",
        summary: "",
        synopsis: "",
    };

    /// Whether there are keys among its arguments. Sharded channels stand where keys would, but are none.
    pub fn has_keys(&self) -> bool {
        (self.keys.first > 0 || self.keynum > 0 || self.streams > 0) && self.key_uses != ["not_key"]
    }

    /// What is done with the keys: one entry for all of them, or one for each.
    pub fn key_uses(&self) -> &'static [&'static str] {
        match self.key_uses {
            [] if self.keys.first == 0 && self.keynum == 0 && self.streams == 0 => &[],
            [] if self.flags.has(Flags::READONLY) => &["RO access"],
            [] if self.keynum > 0 => &["RW access update"],
            [] => &["RW update"],
            uses => uses,
        }
    }

    /// What the command with these arguments does with its key number `number`, in the words of [`Spec::key_uses`].
    pub fn key_use(&self, number: usize, args: &Args<'_>) -> &'static str {
        let uses = self.key_uses();
        let words = uses[number.min(uses.len() - 1)];
        match words.strip_suffix(" variable_flags") {
            None => words,
            // BITFIELD that only reads.
            Some(with_set) if self.name == "bitfield" => {
                let changes = (2..args.len()).any(|at| args.is(at, "set") || args.is(at, "incrby"));
                if changes { with_set } else { "RO access" }
            }
            // SET reads the key if it is asked for GET.
            Some(with_get) if (3..args.len()).any(|at| args.is(at, "get")) => with_get,
            Some(_) => "OW update",
        }
    }

    /// The positions of the keys of these arguments; `None` if their number is wrong.
    pub fn key_positions(&self, args: &Args<'_>) -> Option<Vec<usize>> {
        if let Some(keys_of) = self.keys_of {
            return Some(keys_of(args).collect());
        }
        let counted = if self.keynum == 0 && self.streams == 0 { 0..0 } else { self.counted(args)? };
        Some(self.keys.positions(args.len()).chain(counted).chain(self.said(args)).collect())
    }

    /// The positions of the keys that a command on rows is about: none of those whose number is wrong, which the command itself refuses.
    #[inline]
    pub fn row_keys(&self, args: &Args<'_>) -> impl Iterator<Item = usize> + Clone + use<> {
        // What scripts are about is said by their tasks.
        let is_counted = (self.keynum > 0 || self.streams > 0) && matches!(self.run, Run::Row(_));
        let counted = if is_counted { self.counted(args).unwrap_or_default() } else { 0..0 };
        self.keys.positions(args.len()).chain(counted).chain(self.said(args))
    }

    /// The keys that follow their number, or the word STREAMS.
    pub(crate) fn counted(&self, args: &Args<'_>) -> Option<Range<usize>> {
        if self.streams > 0 {
            return streams::read::keys(args);
        }
        let count = usize::try_from(args.integer(self.keynum).ok()?).ok()?;
        let first = self.keynum + 1;
        (count <= args.len().checked_sub(first)?).then(|| first..first + count)
    }

    /// The key that follows a word.
    #[inline]
    fn said(&self, args: &Args<'_>) -> Option<usize> {
        if self.key_words.is_empty() {
            return None;
        }
        let (mut at, mut said) = (usize::from(self.arity.unsigned_abs()), None);
        while at + 1 < args.len() {
            if self.key_words.iter().any(|word| args.is(at, word)) {
                said = Some(at + 1);
                at += 1;
            }
            at += 1;
        }
        said
    }

    /// Whether it has one key, or none.
    #[inline]
    pub fn is_single(&self) -> bool {
        self.keys.is_single() && self.keynum == 0 && self.streams == 0 && self.key_words.is_empty()
    }

    /// Does this many arguments, the name included, fit?
    pub fn takes(&self, argc: usize) -> bool {
        if self.arity >= 0 { argc == self.arity as usize } else { argc >= self.arity.unsigned_abs() as usize }
    }
}
