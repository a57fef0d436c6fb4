//! Up to where a shard's log is stable: on this machine's disk, and acknowledged by as many standbys as are wanted.
//!
//! - **W1** The stable LSN never exceeds the durable LSN of the local log.
//! - **W2** It never exceeds what `standbys_min` standbys have acknowledged.
//! - **W3** It never moves back: what was shown to a client as stable stays so, whatever standby goes away.

use crate::limits::STANDBYS_MAX;
use cairn_storage::units::{Epoch, Lsn};

/// A standby, as the primary numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StandbyId(pub u32);

/// Why a standby's acknowledgement is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reject {
    /// It speaks of another epoch than this primary's.
    Epoch { theirs: Epoch, ours: Epoch },
    /// It is not connected.
    Unknown(StandbyId),
    /// There are [`STANDBYS_MAX`] already.
    TooMany,
}

/// The stable LSN of one shard.
#[derive(Clone, Debug, Default)]
pub struct Watermark {
    epoch: Epoch,
    standbys_min: usize,
    standbys: Vec<(StandbyId, Lsn)>,
    stable: Lsn,
}

impl Watermark {
    /// Stable is what is durable here and on `standbys_min` standbys.
    pub fn new(epoch: Epoch, standbys_min: usize) -> Watermark {
        Watermark { epoch, standbys_min, standbys: Vec::new(), stable: Lsn(0) }
    }

    /// A standby connects; what it has is not known yet.
    pub fn connect(&mut self, standby: StandbyId) -> Result<(), Reject> {
        if self.standbys.iter().any(|(known, _)| *known == standby) {
            return Ok(());
        }
        if self.standbys.len() == STANDBYS_MAX {
            return Err(Reject::TooMany);
        }
        self.standbys.push((standby, Lsn(0)));
        Ok(())
    }

    pub fn disconnect(&mut self, standby: StandbyId) {
        self.standbys.retain(|(known, _)| *known != standby);
    }

    /// A standby has everything up to `lsn` on its own stable storage. Acknowledgements may arrive late; an older one
    /// changes nothing.
    pub fn acknowledge(&mut self, standby: StandbyId, epoch: Epoch, lsn: Lsn) -> Result<(), Reject> {
        if epoch != self.epoch {
            return Err(Reject::Epoch { theirs: epoch, ours: self.epoch });
        }
        let known = self.standbys.iter_mut().find(|(known, _)| *known == standby);
        let (_, acknowledged) = known.ok_or(Reject::Unknown(standby))?;
        *acknowledged = lsn.max(*acknowledged);
        Ok(())
    }

    /// Standbys that have everything up to `lsn` (WAIT).
    pub fn standbys_at(&self, lsn: Lsn) -> usize {
        self.standbys.iter().filter(|(_, acknowledged)| *acknowledged >= lsn).count()
    }

    /// The stable LSN, the local log being durable up to `durable`.
    #[inline]
    pub fn advance(&mut self, durable: Lsn) -> Lsn {
        let bound = if self.standbys_min == 0 { durable } else { durable.min(self.acknowledged()) };
        // Keeps W3.
        self.stable = self.stable.max(bound);
        self.stable
    }

    #[inline]
    pub fn stable(&self) -> Lsn {
        self.stable
    }

    /// What `standbys_min` standbys have. Keeps W2.
    fn acknowledged(&self) -> Lsn {
        let mut all: Vec<Lsn> = self.standbys.iter().map(|(_, lsn)| *lsn).collect();
        all.sort_unstable_by(|a, b| b.cmp(a));
        all.get(self.standbys_min - 1).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPOCH: Epoch = Epoch(3);

    #[test]
    fn without_standbys_durable_is_stable() {
        let mut watermark = Watermark::new(EPOCH, 0);
        assert_eq!(watermark.advance(Lsn(10)), Lsn(10));
        watermark.connect(StandbyId(1)).expect("there is room");
        assert_eq!(watermark.advance(Lsn(20)), Lsn(20));
    }

    #[test]
    fn stable_is_what_enough_standbys_have() {
        let mut watermark = Watermark::new(EPOCH, 2);
        assert_eq!(watermark.advance(Lsn(100)), Lsn(0));
        for (standby, lsn) in [(1, 50), (2, 70), (3, 60)] {
            watermark.connect(StandbyId(standby)).expect("there is room");
            watermark.acknowledge(StandbyId(standby), EPOCH, Lsn(lsn)).expect("it is connected");
        }
        assert_eq!(watermark.advance(Lsn(100)), Lsn(60));
        assert_eq!(watermark.advance(Lsn(55)), Lsn(60), "it never moves back");
        assert_eq!(watermark.standbys_at(Lsn(60)), 2);
        watermark.disconnect(StandbyId(2));
        assert_eq!(watermark.advance(Lsn(100)), Lsn(60));
        watermark.acknowledge(StandbyId(1), EPOCH, Lsn(200)).expect("it is connected");
        watermark.acknowledge(StandbyId(3), EPOCH, Lsn(200)).expect("it is connected");
        assert_eq!(watermark.advance(Lsn(100)), Lsn(100), "W1");
    }

    #[test]
    fn foreign_epochs_and_strangers_are_rejected() {
        let mut watermark = Watermark::new(EPOCH, 1);
        let (standby, other) = (StandbyId(1), Epoch(4));
        assert_eq!(watermark.acknowledge(standby, EPOCH, Lsn(1)), Err(Reject::Unknown(standby)));
        watermark.connect(standby).expect("there is room");
        assert_eq!(watermark.acknowledge(standby, other, Lsn(1)), Err(Reject::Epoch { theirs: other, ours: EPOCH }));
        for standby in 2..=STANDBYS_MAX as u32 {
            watermark.connect(StandbyId(standby)).expect("there is room");
        }
        assert_eq!(watermark.connect(StandbyId(99)), Err(Reject::TooMany));
    }
}
