//! Known bugs that can be planted, so that the tests and the simulator can show that they would be found.
//!
//! They are compiled in always and never on in a server: no configuration leads here.

/// A bug that a page file can be told to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// The superblock is written before what it refers to is stable.
    SuperblockBeforePages,
    /// The superblock is written before the log is stable up to its LSN.
    SuperblockBeforeLog,
    /// A site is used again as soon as nothing live is there.
    ReuseTooEarly,
    /// What a running checkpoint has yet to write is changed without a copy.
    MissingClone,
    /// What is read is taken for what was asked for.
    ReadUnchecked,
    /// A row is read without what the log has for it.
    ReadBeforeRedo,
    /// What was applied because a row was looked at is applied once more when its turn comes.
    RedoTwice,
}

impl Bug {
    pub const ALL: [Bug; 7] = [
        Bug::SuperblockBeforePages,
        Bug::SuperblockBeforeLog,
        Bug::ReuseTooEarly,
        Bug::MissingClone,
        Bug::ReadUnchecked,
        Bug::ReadBeforeRedo,
        Bug::RedoTwice,
    ];
}
