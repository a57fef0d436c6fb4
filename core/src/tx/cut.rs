//! Snapshots of all shards: what shards tell each other of them. Why so: `docs/decisions/0024-snapshots.md`.
//!
//! ```text
//!   who wants one            the maker                      every shard
//!       Want --------------->
//!                            draws it; Drawn ------------->  draws it; Drawn to all others
//!                              <-------------------- Heard   it has got Drawn from all others
//!                              <-------------------- Stable  what stands before it is stable
//!         <----------- Ready
//!       Leave -------------->
//!                            Over ------------------------>
//! ```

/// A cut over all shards: what is done at a shard before it is drawn there is in it, what is done after is not. Cuts are numbered in the
/// order in which every shard draws them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CutId(pub u64);

#[derive(Debug)]
pub enum CutMessage {
    /// To the maker: draw a cut.
    Want,
    /// To all others: what I have sent before is of before this cut, what I send now is of after it.
    Drawn(CutId),
    /// To the maker: every shard has drawn it, as far as I can see.
    Heard(CutId),
    /// To the maker: what I had before it is stable. Or never will be: why.
    Stable(CutId, Result<(), String>),
    /// To those who wanted it: it can be read. Or not: why.
    Ready(CutId, Result<(), String>),
    /// To the maker: nobody here reads it any more.
    Leave(CutId),
    /// To the maker: I do not keep what rows were at it any more. Why.
    Lost(CutId, &'static str),
    /// To those who wanted it: it cannot be read any more. Why.
    Ended(CutId, &'static str),
    /// To all: nobody reads it.
    Over(CutId),
}

/// How a transaction sees a shard.
#[derive(Clone, Debug)]
pub struct View {
    pub cut: CutId,
    /// What the sub-rows of split counters had at the cut.
    pub sums: Vec<Sum>,
}

/// What all sub-rows of a split counter had together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sum {
    pub db: u8,
    pub key: Vec<u8>,
    pub amount: i64,
}
