//! Known bugs that can be planted, so that the tests and the simulator can show that they would be found.
//!
//! They are compiled in always and never on in a server: no configuration leads here.

/// A bug that a log can be told to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// Records count as durable as soon as they are sealed.
    AcknowledgeBeforeFlush,
    /// A completed flush makes durable what stands before it, in flight or not.
    AcknowledgeOutOfOrder,
    /// A write that was cut short counts as complete.
    IgnoreShortWrite,
    /// A failed write is issued again, and believed.
    RetryAfterFailedSync,
    /// Recovery takes damage in the middle of the log for its end.
    TruncateAtDamage,
    /// Recovery takes a flush for valid whatever its checksum says.
    ChecksumUnchecked,
}

impl Bug {
    pub const ALL: [Bug; 6] = [
        Bug::AcknowledgeBeforeFlush,
        Bug::AcknowledgeOutOfOrder,
        Bug::IgnoreShortWrite,
        Bug::RetryAfterFailedSync,
        Bug::TruncateAtDamage,
        Bug::ChecksumUnchecked,
    ];
}
