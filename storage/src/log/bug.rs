//! Known bugs that can be planted, so that the tests and the simulator can show that they would be found.
//!
//! They are compiled in always and never on in a server: no configuration leads here.

use crate::bug::bugs;

bugs! {
    /// A bug that a log can be told to have.
    AcknowledgeBeforeFlush "acknowledge-before-flush" "Records count as durable as soon as they are sealed",
    AcknowledgeOutOfOrder "acknowledge-out-of-order"
        "A completed flush makes durable what stands before it, in flight or not",
    IgnoreShortWrite "ignore-short-write" "A write that was cut short counts as complete",
    RetryAfterFailedSync "retry-after-failed-sync" "A failed write is issued again, and believed",
    TruncateAtDamage "truncate-at-damage" "Recovery takes damage in the middle of the log for its end",
    ChecksumUnchecked "checksum-unchecked"
        "Recovery takes what it reads of the log for sound, whatever the checksum says",
}
