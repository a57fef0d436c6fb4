//! What a checker finds: the name of what cannot be in a strictly serializable history, and a small part of the history
//! that shows it.

use std::fmt;

/// What is wrong with a history. The names of cycles are Adya's, as Elle uses them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// An element was read that nobody wrote.
    Phantom,
    /// An element stands twice in a list.
    Duplicate,
    /// What was acknowledged is not there for somebody who looked later.
    Lost,
    /// A part of a transaction is there, another part of it is not.
    Torn,
    /// Two reads of a list of which neither is the beginning of the other.
    IncompatibleOrder,
    /// A transaction does not see what it did itself.
    Internal,
    /// A cycle of writes only.
    G0,
    /// What a transaction did that was refused was read.
    G1a,
    /// What a transaction had not finished was read.
    G1b,
    /// A cycle of writes, and of reads of what was written.
    G1c,
    /// A cycle in which one transaction did not see what another did: lost update, read skew.
    GSingle,
    /// A cycle in which several did not: write skew.
    G2,
    /// The same, if what ended before another began also comes before it.
    G0Realtime,
    G1cRealtime,
    GSingleRealtime,
    G2Realtime,
    /// No order of a key's operations explains the results.
    NotLinearizable,
    /// It was not found out within the bounds whether there is such an order. This is no pass.
    Undecided,
    /// The accounts do not have the total that they must have.
    WrongTotal,
    /// An account does not have what the transfers come to.
    WrongBalance,
    /// A counter does not have what was added to it.
    WrongSum,
    /// A sum has what was added later and lacks what was added before.
    TornSum,
    /// More was taken than there was, or what was there was refused.
    WrongStock,
    /// Two transactions read the same, and each changed the part that the other only read.
    WriteSkew,
    /// Two transactions read the same, and one overwrote what the other wrote.
    LostUpdate,
    /// Something later was seen before something earlier.
    Stale,
    /// Who asked was told that there is nothing, and there was something.
    Unserved,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anomaly {
    pub kind: Kind,
    /// What is wrong, in a sentence.
    pub what: String,
    /// The operations that show it, a line each.
    pub witness: Vec<String>,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Phantom => "phantom element",
            Kind::Duplicate => "duplicate element",
            Kind::Lost => "lost write",
            Kind::Torn => "half a transaction",
            Kind::IncompatibleOrder => "incompatible orders",
            Kind::Internal => "internal",
            Kind::G0 => "G0",
            Kind::G1a => "G1a (aborted read)",
            Kind::G1b => "G1b (intermediate read)",
            Kind::G1c => "G1c",
            Kind::GSingle => "G-single",
            Kind::G2 => "G2",
            Kind::G0Realtime => "G0-realtime",
            Kind::G1cRealtime => "G1c-realtime",
            Kind::GSingleRealtime => "G-single-realtime",
            Kind::G2Realtime => "G2-realtime",
            Kind::NotLinearizable => "not linearizable",
            Kind::Undecided => "undecided",
            Kind::WrongTotal => "wrong total",
            Kind::WrongBalance => "wrong balance",
            Kind::WrongSum => "wrong sum",
            Kind::TornSum => "torn sum",
            Kind::WrongStock => "wrong stock",
            Kind::WriteSkew => "write skew",
            Kind::LostUpdate => "lost update",
            Kind::Stale => "stale",
            Kind::Unserved => "not served",
        }
    }
}

impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.name(), self.what)?;
        self.witness.iter().try_for_each(|line| write!(f, "\n    {line}"))
    }
}
