//! What a completion belongs to: the 64 bits that travel through the kernel with every operation.
//!
//! | bits | what |
//! | --- | --- |
//! | 56..64 | the kind of operation |
//! | 32..56 | generation of the connection, so that a completion cannot be taken for a later user of its id |
//! | 0..32 | index: connection, listener, log write, log read, background operation or operation on a page file |

/// An operation in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Multishot accept of a listener.
    Accept {
        listener: u32,
    },
    /// Multishot receive of a connection.
    Receive {
        conn: u32,
        generation: u32,
    },
    Send {
        conn: u32,
        generation: u32,
    },
    /// A cancellation. Nobody waits for its own completion.
    Cancel,
    /// A log write.
    Write {
        write: u32,
    },
    /// A file operation of a background task.
    Background {
        operation: u32,
    },
    /// An operation on a page file.
    Page {
        flight: u32,
    },
    /// A read of a log.
    LogRead {
        read: u32,
    },
    /// The read of the worker's doorbell.
    Doorbell,
    /// The timeout that makes ticks.
    Tick,
}

const ACCEPT: u64 = 1;
const RECEIVE: u64 = 2;
const SEND: u64 = 3;
const CANCEL: u64 = 4;
const WRITE: u64 = 5;
const DOORBELL: u64 = 6;
const TICK: u64 = 7;
const BACKGROUND: u64 = 8;
const PAGE: u64 = 9;
const LOG_READ: u64 = 10;

/// Generations count modulo this.
pub const GENERATION_MASK: u32 = 0x00ff_ffff;

impl Op {
    #[inline]
    pub fn encode(self) -> u64 {
        let word = |kind: u64, generation: u32, index: u32| {
            kind << 56 | u64::from(generation & GENERATION_MASK) << 32 | u64::from(index)
        };
        match self {
            Op::Accept { listener } => word(ACCEPT, 0, listener),
            Op::Receive { conn, generation } => word(RECEIVE, generation, conn),
            Op::Send { conn, generation } => word(SEND, generation, conn),
            Op::Cancel => word(CANCEL, 0, 0),
            Op::Write { write } => word(WRITE, 0, write),
            Op::Background { operation } => word(BACKGROUND, 0, operation),
            Op::Page { flight } => word(PAGE, 0, flight),
            Op::LogRead { read } => word(LOG_READ, 0, read),
            Op::Doorbell => word(DOORBELL, 0, 0),
            Op::Tick => word(TICK, 0, 0),
        }
    }

    /// What `encode` made. The words come from the kernel unchanged, so another one is a bug.
    #[inline]
    pub fn decode(word: u64) -> Op {
        let index = word as u32;
        let generation = (word >> 32) as u32 & GENERATION_MASK;
        match word >> 56 {
            ACCEPT => Op::Accept { listener: index },
            RECEIVE => Op::Receive { conn: index, generation },
            SEND => Op::Send { conn: index, generation },
            CANCEL => Op::Cancel,
            WRITE => Op::Write { write: index },
            BACKGROUND => Op::Background { operation: index },
            PAGE => Op::Page { flight: index },
            LOG_READ => Op::LogRead { read: index },
            DOORBELL => Op::Doorbell,
            TICK => Op::Tick,
            kind => panic!("a completion of kind {kind}, which this ring never submits"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{GENERATION_MASK, Op};

    #[test]
    fn every_op_survives_the_kernel() {
        let edges = [0, 1, 77, u32::MAX];
        for index in edges {
            for generation in [0, 1, GENERATION_MASK] {
                for op in [Op::Receive { conn: index, generation }, Op::Send { conn: index, generation }] {
                    assert_eq!(Op::decode(op.encode()), op);
                }
            }
            for op in [Op::Accept { listener: index }, Op::Write { write: index }, Op::Page { flight: index }] {
                assert_eq!(Op::decode(op.encode()), op);
            }
            assert_eq!(Op::decode(Op::LogRead { read: index }.encode()), Op::LogRead { read: index });
        }
        for op in [Op::Cancel, Op::Doorbell, Op::Tick] {
            assert_eq!(Op::decode(op.encode()), op);
        }
    }
}
