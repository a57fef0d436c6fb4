//! The layout of a flush, and the rule that says which one is valid. The byte table is in [`super`].

use super::{Bug, LogConfig};
use crate::checksum::crc32c;
use crate::limits::{BLOCK_BYTES, FLUSH_BYTES_MAX};
use crate::units::{Epoch, Incarnation, Lsn, ShardId};

/// The length of a flush's header.
pub const HEADER_BYTES: usize = 48;

/// The length of what stands before each record: its archive's length.
pub const FRAME_BYTES: usize = 4;

/// What the payload of the longest flush holds.
pub const PAYLOAD_BYTES_MAX: usize = FLUSH_BYTES_MAX - HEADER_BYTES;

/// The format that this build writes. Magic, version, shard, payload length, LSN and checksum keep their places
/// in every later format, so that an older build can tell a later format from damage. Format 2 has the records of
/// transactions over several shards, format 3 that of databases which change places; the earlier ones are read as well.
pub const FORMAT: u16 = 3;
const FORMAT_MIN: u16 = 1;

const MAGIC: [u8; 4] = *b"CRNL";
const CRC_AT: usize = HEADER_BYTES - 4;

/// The header of a flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flush {
    pub shard: ShardId,
    pub incarnation: Incarnation,
    pub epoch: Epoch,
    /// Where the flush begins.
    pub lsn: Lsn,
    /// Everything before this was on stable storage when the flush was issued.
    pub durable: Lsn,
    /// Bytes of payload.
    pub payload: u32,
    /// Leading bytes of the payload that continue a record of the flush before.
    pub carry: u32,
}

/// Why some bytes are not a flush of this log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invalid {
    /// They are of no use, and this is why.
    Damaged(&'static str),
    /// They are a flush, of a format that is not known here.
    Version(u16),
}

/// The bytes that a flush with `payload` bytes of payload takes in the log.
#[inline]
pub fn flush_bytes(payload: usize) -> usize {
    (HEADER_BYTES + payload).next_multiple_of(BLOCK_BYTES)
}

impl Flush {
    /// The position after the flush: that of the next one.
    #[inline]
    pub fn end(&self) -> Lsn {
        Lsn(self.lsn.0 + flush_bytes(self.payload as usize) as u64)
    }

    /// Writes header and checksum in front of the payload, and zeros behind it, in `buffer`. Returns how many bytes are
    /// to be written to the disk.
    pub fn encode(&self, salt: u32, buffer: &mut [u8]) -> usize {
        let (used, total) = (HEADER_BYTES + self.payload as usize, flush_bytes(self.payload as usize));
        buffer[used..total].fill(0);
        buffer[0..4].copy_from_slice(&MAGIC);
        buffer[4..6].copy_from_slice(&FORMAT.to_le_bytes());
        buffer[6..8].copy_from_slice(&self.shard.0.to_le_bytes());
        buffer[8..12].copy_from_slice(&self.incarnation.0.to_le_bytes());
        buffer[12..16].copy_from_slice(&self.payload.to_le_bytes());
        buffer[16..24].copy_from_slice(&self.lsn.0.to_le_bytes());
        buffer[24..32].copy_from_slice(&self.epoch.0.to_le_bytes());
        buffer[32..40].copy_from_slice(&self.durable.0.to_le_bytes());
        buffer[40..44].copy_from_slice(&self.carry.to_le_bytes());
        let crc = crc(salt, &buffer[..used]);
        buffer[CRC_AT..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
        total
    }

    /// How long the flush that begins with `block` claims to be, if it claims something that can be true of a flush
    /// at `lsn` with `room` bytes up to the end of its segment. Nothing else is checked yet.
    pub fn claim(config: &LogConfig, lsn: Lsn, room: u64, block: &[u8]) -> Result<usize, Invalid> {
        assert!(block.len() >= HEADER_BYTES);
        if block[0..4] != MAGIC {
            return Err(Invalid::Damaged("no flush begins here"));
        }
        if u16_at(block, 6) != config.shard.0 {
            return Err(Invalid::Damaged("the flush is of another shard"));
        }
        if u64_at(block, 16) != lsn.0 {
            return Err(Invalid::Damaged("the flush belongs elsewhere"));
        }
        let payload = u32_at(block, 12) as usize;
        if payload > PAYLOAD_BYTES_MAX || flush_bytes(payload) as u64 > room {
            return Err(Invalid::Damaged("the flush is too long"));
        }
        Ok(flush_bytes(payload))
    }

    /// Reads the flush that `bytes` begins with. It is valid if [`Self::claim`] says so, the checksum holds, the format is
    /// ours and the numbers agree with each other. Whether it continues the flush before is the reader's question.
    pub fn decode(config: &LogConfig, bytes: &[u8]) -> Result<Flush, Invalid> {
        if bytes.len() < HEADER_BYTES {
            return Err(Invalid::Damaged("the flush is cut off"));
        }
        let payload = u32_at(bytes, 12);
        let Some(used) = bytes.get(..HEADER_BYTES + payload as usize) else {
            return Err(Invalid::Damaged("the flush is cut off"));
        };
        if crc(config.salt, used) != u32_at(bytes, CRC_AT) && config.planted != Some(Bug::ChecksumUnchecked) {
            return Err(Invalid::Damaged("the checksum does not hold"));
        }
        match u16_at(bytes, 4) {
            FORMAT_MIN..=FORMAT => {}
            version => return Err(Invalid::Version(version)),
        }
        let flush = Flush {
            shard: ShardId(u16_at(bytes, 6)),
            incarnation: Incarnation(u32_at(bytes, 8)),
            epoch: Epoch(u64_at(bytes, 24)),
            lsn: Lsn(u64_at(bytes, 16)),
            durable: Lsn(u64_at(bytes, 32)),
            payload,
            carry: u32_at(bytes, 40),
        };
        if flush.carry > payload || flush.durable > flush.lsn {
            return Err(Invalid::Damaged("the header contradicts itself"));
        }
        Ok(flush)
    }
}

/// The checksum of a flush: of all of its header but the checksum, and of its payload.
fn crc(salt: u32, used: &[u8]) -> u32 {
    crc32c(&[&salt.to_le_bytes(), &used[..CRC_AT], &used[HEADER_BYTES..]])
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().expect("two bytes"))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
