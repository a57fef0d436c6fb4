//! Known bugs that can be planted, so that the tests and the simulator can show that they would be found.
//!
//! They are compiled in always and never on in a server: no configuration leads here.

use crate::bug::bugs;

bugs! {
    /// A bug that a page file can be told to have.
    SuperblockBeforePages "superblock-before-pages" "A superblock is written before what it refers to is stable",
    SuperblockBeforeLog "superblock-before-log" "A superblock is written before the log is stable up to its LSN",
    ReuseTooEarly "reuse-too-early" "A site of the page file is used again as soon as nothing live is there",
    MissingClone "missing-clone" "A page that a checkpoint has yet to save is changed without a copy",
    ReadUnchecked "read-unchecked" "What is read of the page file is taken for what was asked for",
    ReadBeforeRedo "read-before-redo" "A row is read without what the log has for it",
    RedoTwice "redo-twice"
        "What was redone because a row was looked at is redone once more when its turn comes",
    DeferredForgotten "deferred-forgotten" "A checkpoint does not mind rows that wait for their leaves",
    RedoNotCarried "redo-not-carried" "A checkpoint does not carry what could not be redone",
}
