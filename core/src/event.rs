//! The seam between a machine and its driver: the closed lists of what goes in and what comes out.
//!
//! A driver is the worker of `cairn-net` (one thread, real sockets and disks) or the simulator. It hands each
//! event to [`crate::machine::Machine::handle`], calls `end_turn` once per turn, and then performs the effects that
//! `poll` yields, in their order. Effects carry buffers by move, never by copy.
//!
//! A connection's life: `Accepted`, then any number of `Received`, at most one `HungUp`, and exactly one
//! [`Effect::Close`], which is the machine's last word on it. Until the driver has performed that, the id is taken.
//! At most one [`Effect::Send`] per connection is in flight; the driver answers it with [`Event::Sent`].

use crate::acl::Fresh;
use crate::damage::Damage;
use crate::error::errno_text;
use crate::parcel::Parcel;
use crate::resp::replies::Outgoing;
use crate::snapshot::Snapshot;
use cairn_storage::error::Fault;
use cairn_storage::op::{DiskDone, DiskOp, LogRead, PageOp};
use cairn_storage::units::{OpId, ShardId};
use std::fmt;

/// A connection, as its driver numbers it: dense, reused after [`Effect::Close`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u32);

/// The time at an event: a monotonic clock, and Unix time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    pub mono_ns: u64,
    pub unix_us: u64,
}

impl Now {
    /// Unix time in milliseconds, the unit of every expiry.
    pub fn unix_ms(self) -> u64 {
        self.unix_us / 1000
    }
}

/// Who connected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// `ip:port`, or `path:0` for a Unix socket, as CLIENT LIST shows it.
    pub addr: String,
    /// The server's own end, in the same form.
    pub laddr: String,
    /// It came from this machine: a loopback address or a Unix socket.
    pub is_local: bool,
    /// The descriptor, for CLIENT LIST.
    pub fd: i32,
}

/// What only the process can know, for INFO and CLIENT commands. The driver hands in a fresh one every second.
#[derive(Clone, Debug, Default)]
pub struct ProcessFacts {
    pub rss_bytes: u64,
    pub cpu_sys_us: u64,
    pub cpu_user_us: u64,
    pub memory_total_bytes: u64,
    pub allocated_bytes: u64,
}

/// Something that the process around the shards must do for a connection, off the data cores.
#[derive(Clone, Debug)]
pub enum HostAsk {
    /// Does the password match one of the hashes (PHC strings, or SHA-256 in hexadecimal)? Answer: `Ok("")` or `Err("")`. With none
    /// that takes as long as with one.
    CheckPassword { hashes: Vec<String>, password: Vec<u8> },
    /// Salt and hash this password; answer with the PHC string.
    HashPassword { password: Vec<u8> },
    /// Passwords are added to the hashes of a user, and taken away. Answer: a line for each `Add` and `Remove`, with the hash that is added
    /// or taken away; empty if there is no such password.
    SettlePasswords { hashes: Vec<String>, steps: Vec<PasswordStep> },
    /// So many random bytes, in hexadecimal.
    Random { bytes: usize },
    /// Read the file of users (ACL LOAD); answer with a line for each, as ACL LIST has it.
    ReadUsers { fresh: Fresh },
    /// Write it (ACL SAVE).
    WriteUsers { lines: Vec<Vec<u8>> },
    /// Write these parameters into the configuration file, and these users (CONFIG REWRITE).
    RewriteConfig { parameters: Vec<(String, String)>, users: Vec<String> },
    /// Carry keys to another server (MIGRATE). Answer: a line for each of them, empty if it was taken there, else the error's line; `Err` with
    /// an error's line if none was even sent.
    Migrate(Box<Migration>),
    /// Stop the whole server in good order (SHUTDOWN). Not answered when it succeeds.
    Shutdown { is_forced: bool, saves: bool },
}

/// Keys on their way to another server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migration {
    pub host: String,
    pub port: String,
    pub db: i64,
    /// What connecting may take, and each write and read.
    pub timeout_ms: u64,
    pub user: Option<Vec<u8>>,
    pub password: Option<Vec<u8>>,
    /// What is there under these names is replaced.
    pub is_replacing: bool,
    pub carried: Vec<Carried>,
}

/// A key with its value as a payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carried {
    pub key: Vec<u8>,
    /// Milliseconds; 0: it lives for ever.
    pub left_ms: u64,
    pub payload: Vec<u8>,
}

/// What becomes of the passwords of a user, one step after the other.
#[derive(Clone, Debug)]
pub enum PasswordStep {
    Clear,
    AddHash(String),
    RemoveHash(String),
    /// In clear text.
    Add(Vec<u8>),
    Remove(Vec<u8>),
}

/// Finds the asker again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(pub u64);

/// What goes into a machine.
#[derive(Debug)]
pub enum Event<'a> {
    Accepted {
        conn: ConnId,
        peer: Peer,
    },
    Received {
        conn: ConnId,
        bytes: &'a [u8],
    },
    /// The peer will send nothing more (end of stream), or the connection broke (`is_broken`): then it reads nothing either.
    HungUp {
        conn: ConnId,
        is_broken: bool,
    },
    /// All bytes of the send in flight are with the kernel. The buffer comes back to be used again.
    Sent {
        conn: ConnId,
        buffer: Outgoing,
    },
    /// So many bytes of the send in flight are with the kernel, not all.
    SentPart {
        conn: ConnId,
        bytes: usize,
    },
    Disk(DiskDone),
    /// An operation on the page file ended that was no read.
    Page(DiskDone),
    /// A read of the page file ended: its bytes, or the errno.
    PageRead {
        op: OpId,
        result: Result<&'a [u8], i32>,
    },
    /// A read of the log ended: its bytes, or the errno.
    LogRead {
        op: OpId,
        result: Result<&'a [u8], i32>,
    },
    /// What another shard has sent since the last one.
    Parcel(Box<Parcel>),
    HostAnswer {
        ticket: Ticket,
        result: Result<String, String>,
    },
    Facts(ProcessFacts),
    /// At least every 100 ms.
    Tick,
    /// Finish what was begun and acknowledge it, begin nothing new: the process ends soon. `saves`: a checkpoint is made last,
    /// if there is time.
    Drain {
        saves: bool,
    },
}

/// What a machine wants done.
#[derive(Debug)]
pub enum Effect {
    Send {
        conn: ConnId,
        buffer: Outgoing,
    },
    /// Stop reading from this connection. What is on its way in is still handed over.
    Pause {
        conn: ConnId,
    },
    Resume {
        conn: ConnId,
    },
    /// Close the socket and free the id, once what is in flight has come back. No further event for it.
    Close {
        conn: ConnId,
    },
    Disk(DiskOp),
    Page(PageOp),
    /// Answered with [`Event::LogRead`].
    LogRead(LogRead),
    /// For another shard. If its mailbox is full the driver keeps it and offers it again; the machine's bound on
    /// unsent messages is what limits it.
    Parcel {
        to: ShardId,
        parcel: Box<Parcel>,
    },
    HostAsk {
        ticket: Ticket,
        ask: HostAsk,
    },
    /// For the log of the process.
    Notice(Notice),
    /// Figures for the metrics endpoint, about once a second.
    Snapshot(Box<Snapshot>),
    /// Block this thread for so long (DEBUG SLEEP).
    Sleep {
        us: u64,
    },
}

/// How loud a notice is, in Redis's four levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Debug,
    Verbose,
    Notice,
    Warning,
}

/// What an operator should read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A log write failed or was short: the shard acknowledges nothing any more and is read-only.
    LogFailed { shard: ShardId, segment: u64, offset: u64, errno: i32 },
    /// The next log segment cannot be prepared: the shard refuses writes until it can.
    LogFull { shard: ShardId, errno: i32 },
    /// Space is back.
    LogSpaceBack { shard: ShardId },
    /// What stands in the page file is not what was written there, or cannot be read. It is not served; the rest is.
    PageDamaged(Damage),
    /// The scrub has found such a thing, and what it ought to be is in memory.
    PageHealing(Damage),
    /// The scrub has found the log damaged, in a part that a start may need.
    LogDamaged { shard: ShardId, fault: Fault },
    /// No start needs that part any more.
    LogMended { shard: ShardId },
    /// A write or a sync of the page file failed: no checkpoint succeeds until the next start.
    PageFileFailed { shard: ShardId, offset: u64, errno: i32 },
    /// The page file cannot grow: checkpoints wait, and the log grows.
    PageFileFull { shard: ShardId, errno: i32 },
    /// What a start had left to do is done.
    Redone { shard: ShardId, effects: u64, ms: u64 },
    /// Some of it cannot be done now.
    RedoBlocked { shard: ShardId, effects: u64, why: String, is_carried: bool },
    /// No checkpoint can be made, for another reason: pages of what was dropped as a whole cannot be had.
    CheckpointBarred { shard: ShardId, why: String },
    /// A client was cut off: its output buffer, its query buffer or its time.
    ClientCut { shard: ShardId, addr: String, why: &'static str },
    /// A script has logged this.
    Script { level: Level, text: String },
    /// Somebody speaks HTTP to this port.
    CrossProtocol { addr: String },
    ConfigSet {
        name: String,
        /// "(hidden)" if it is a secret.
        value: String,
    },
}

impl Notice {
    pub fn level(&self) -> Level {
        match self {
            Notice::LogFailed { .. }
            | Notice::LogFull { .. }
            | Notice::PageDamaged(_)
            | Notice::PageHealing(_)
            | Notice::LogDamaged { .. }
            | Notice::PageFileFailed { .. }
            | Notice::PageFileFull { .. }
            | Notice::RedoBlocked { .. }
            | Notice::CheckpointBarred { .. }
            | Notice::CrossProtocol { .. } => Level::Warning,
            Notice::ClientCut { .. }
            | Notice::Redone { .. }
            | Notice::LogSpaceBack { .. }
            | Notice::LogMended { .. }
            | Notice::ConfigSet { .. } => Level::Notice,
            Notice::Script { level, .. } => *level,
        }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Notice::ClientCut { shard, addr, why } => write!(f, "shard {shard}: client {addr} closed: {why}"),
            Notice::CrossProtocol { addr } => write!(
                f,
                "Possible SECURITY ATTACK detected. It looks like somebody is sending POST or Host: commands to Cairn. This is \
                 likely due to an attacker attempting to use Cross Protocol Scripting. Connection from {addr} aborted."
            ),
            Notice::Script { text, .. } => f.write_str(text),
            Notice::ConfigSet { name, value } => write!(f, "CONFIG SET {name} {value}"),
            Notice::LogFailed { .. }
            | Notice::LogFull { .. }
            | Notice::LogSpaceBack { .. }
            | Notice::LogDamaged { .. }
            | Notice::LogMended { .. } => self.fmt_of_log(f),
            Notice::PageDamaged(_)
            | Notice::PageHealing(_)
            | Notice::PageFileFailed { .. }
            | Notice::PageFileFull { .. }
            | Notice::Redone { .. }
            | Notice::RedoBlocked { .. }
            | Notice::CheckpointBarred { .. } => self.fmt_of_pages(f),
        }
    }
}

impl Notice {
    fn fmt_of_log(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Notice::LogFailed { shard, segment, offset, errno } => write!(
                f,
                "shard {shard}: writing the log failed (segment {segment}, offset {offset}): {}. The shard is read-only \
                 from now on; what was not acknowledged may be lost. Check the disk, then restart",
                errno_text(*errno)
            ),
            Notice::LogFull { shard, errno } => write!(
                f,
                "shard {shard}: the next log segment cannot be prepared: {}. Writes are refused until it can; nothing \
                 acknowledged is lost. Make room: it is taken up by itself",
                errno_text(*errno)
            ),
            Notice::LogDamaged { shard, fault } => write!(
                f,
                "shard {shard}: {fault}. All that it has is in memory too, and is in the checkpoints that are made now: after the \
                 second of them no start needs this part of the log, which is said here. Until then a start would refuse it: leave \
                 the server running. Check the disk"
            ),
            Notice::LogMended { shard } => write!(
                f,
                "shard {shard}: no start needs the damaged part of the log any more: the checkpoints have what was in it"
            ),
            Notice::LogSpaceBack { shard } => write!(f, "shard {shard}: the log has room again, writes are accepted"),
            _ => unreachable!("it is not about the log"),
        }
    }

    fn fmt_of_pages(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Notice::PageDamaged(damage) => write!(
                f,
                "shard {}: {damage}. The rows of that page are refused, all others served. Check the disk; 'cairn check' of the stopped \
                 server's directory says more",
                damage.shard
            ),
            Notice::PageHealing(damage) => write!(
                f,
                "shard {}: {damage}. What it ought to be is in memory and is written anew by the checkpoint that begins now, so \
                 nothing is lost. Check the disk",
                damage.shard
            ),
            Notice::PageFileFailed { shard, offset, errno } => write!(
                f,
                "shard {shard}: writing the page file failed (offset {offset}: {}). No checkpoint is made any more and the log is \
                 kept whole, so nothing acknowledged is lost. Check the disk, then restart",
                errno_text(*errno)
            ),
            Notice::PageFileFull { shard, errno } => write!(
                f,
                "shard {shard}: no room for the page file to grow ({}). Checkpoints wait until there is, and the log grows. Make \
                 room: it is taken up by itself",
                errno_text(*errno)
            ),
            Notice::Redone { shard, effects, ms } => {
                write!(
                    f,
                    "shard {shard}: redo is over: {effects} effects of the log were applied beside the clients in {ms} ms"
                )
            }
            Notice::RedoBlocked { shard, effects, why, is_carried } => {
                let checkpoints = match is_carried {
                    true => "Checkpoints carry them on in the log, so nothing of them is lost",
                    false => {
                        "They are too many for checkpoints to carry them on: none is made before, and the log grows"
                    }
                };
                write!(
                    f,
                    "shard {shard}: {effects} effects of the log cannot be applied now: {why}. Their rows are refused, all others \
                     served; it is tried again. {checkpoints}"
                )
            }
            Notice::CheckpointBarred { shard, why } => write!(
                f,
                "shard {shard}: pages of a database that was emptied cannot be freed: {why}. No checkpoint is made before, and the \
                 log grows; nothing acknowledged is lost. Check the disk, then restart"
            ),
            _ => unreachable!("it is not about the page file"),
        }
    }
}
