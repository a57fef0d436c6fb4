//! Refusals: what a command answers instead of a result. Redis 7.2's texts, to the letter.

use cairn_storage::error::Missing;
use std::borrow::Cow;

/// Why a command was not done. It has changed nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    WrongType,
    NotInteger,
    NotFloat,
    Overflow,
    Syntax,
    NoSuchKey,
    OffsetOutOfRange,
    StringTooLong,
    /// `invalid expire time in 'x' command`
    InvalidExpire(&'static str),
    /// `wrong number of arguments for 'x' command`
    Arity(Cow<'static, str>),
    /// Any other text, with its code in front: `ERR ...`.
    Text(Cow<'static, str>),
}

impl Refusal {
    /// A refusal with a text of its own. The first word is its code.
    pub fn text(text: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal::Text(text.into())
    }

    /// The error line without its leading `-` and its end.
    pub fn line(&self) -> Cow<'static, str> {
        match self {
            Refusal::WrongType => "WRONGTYPE Operation against a key holding the wrong kind of value".into(),
            Refusal::NotInteger => "ERR value is not an integer or out of range".into(),
            Refusal::NotFloat => "ERR value is not a valid float".into(),
            Refusal::Overflow => "ERR increment or decrement would overflow".into(),
            Refusal::Syntax => "ERR syntax error".into(),
            Refusal::NoSuchKey => "ERR no such key".into(),
            Refusal::OffsetOutOfRange => "ERR offset is out of range".into(),
            Refusal::StringTooLong => "ERR string exceeds maximum allowed size (proto-max-bulk-len)".into(),
            Refusal::InvalidExpire(command) => format!("ERR invalid expire time in '{command}' command").into(),
            Refusal::Arity(command) => format!("ERR wrong number of arguments for '{command}' command").into(),
            Refusal::Text(text) => text.clone(),
        }
    }
}

/// Why a command stopped before it changed anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It answers this.
    Refuse(Refusal),
    /// Something is not in memory: have it read, then run the command again from its beginning.
    Missing(Missing),
    /// Memory is full until some of it has been written to the page file: run the command again later.
    Crowded,
    /// A transaction that is not decided has its rows: run the command again later.
    Locked,
    /// What it shows is too long for one turn: run it slice by slice. Only where that was allowed.
    Long,
}

impl Stop {
    /// What a command that stopped answers.
    pub fn into_refusal(self) -> Refusal {
        match self {
            Stop::Refuse(refusal) => refusal,
            Stop::Missing(_) | Stop::Crowded | Stop::Locked | Stop::Long => {
                unreachable!("a command that has to wait is not answered")
            }
        }
    }

    /// Whether the command runs again.
    pub fn is_passing(&self) -> bool {
        !matches!(self, Stop::Refuse(_))
    }
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Stop {
        Stop::Refuse(refusal)
    }
}

impl From<Missing> for Stop {
    fn from(missing: Missing) -> Stop {
        Stop::Missing(missing)
    }
}

/// What the C library calls an error of the log's disk. 0: a write was short.
pub fn errno_text(errno: i32) -> Cow<'static, str> {
    match errno {
        0 => "short write".into(),
        5 => "Input/output error".into(),
        28 => "No space left on device".into(),
        30 => "Read-only file system".into(),
        122 => "Disk quota exceeded".into(),
        _ => format!("errno {errno}").into(),
    }
}
