//! Damage that comes while a machine runs. To its log: the scrub must find it, checkpoints must leave it behind, and a log that
//! is sound must never be accused. To its page file, when it has just begun: what the log has for the page is kept, whatever
//! checkpoints come meanwhile, until the page is sound again.

use super::checks::{Checked, RECOVERY};
use super::damage;
use super::disk::{EIO, Harm};
use super::faults::Planted;
use super::opening::{Halt, Trouble};
use super::world::{Happening, World};
use cairn_core::event::{Event, Notice};
use cairn_storage::error::Fault;
use cairn_storage::op::LogRead;
use cairn_storage::pagefile::Bug;
use cairn_storage::units::PageId;
use std::collections::BTreeSet;

/// Of all shards.
#[derive(Default)]
pub(super) struct Rot {
    /// By shard: what has gone wrong, and whether the scrub has said so.
    harms: Vec<Option<(Harm, bool)>>,
    /// Segments, by shard, of which a read has gone wrong. Not twice: that would be damage.
    misread: BTreeSet<(usize, u64)>,
    /// Pages that are damaged: of which shard, where, what stood there, and what does.
    pages: Vec<(usize, u64, Vec<u8>, Vec<u8>)>,
}

impl Rot {
    pub fn new(shards: usize) -> Rot {
        Rot { harms: vec![None; shards], ..Rot::default() }
    }
}

impl World {
    /// Now and then a bit goes wrong in what is stable of a log.
    pub(super) fn rot(&mut self, shard: usize) {
        let may_rot = self.has_pages && self.faults.has_harm && !self.faults.is_over && self.planted.is_none();
        if !may_rot || self.rot.harms[shard].is_some() || self.rng.u8(..4) == 0 {
            return;
        }
        let config = self.config(shard);
        let file = self.nodes[shard].machine.shard.engine().page_file().expect("it has one");
        let Some(harm) = self.disks[shard].choose_harm(&config, file.log_start().lsn, &mut self.rng) else { return };
        if harm.is_flip() {
            self.note(format_args!("shard {shard}: while it runs: {harm:?}"));
            self.figures.rots += 1;
            self.disks[shard].flip(harm);
            self.rot.harms[shard] = Some((harm, false));
        }
    }

    /// Now and then some pages of a shard that has just begun go wrong.
    pub(super) fn rot_pages(&mut self) {
        let may_rot = matches!(self.planted, None | Some(Planted::Pages(Bug::RedoNotCarried)));
        if !self.has_pages || !self.faults.has_harm || self.faults.is_over || !may_rot {
            return;
        }
        for shard in 0..self.nodes.len() {
            let engine = self.nodes[shard].machine.shard.engine();
            let (pages, redo_left) = (engine.page_counts().0 as u32, engine.redo_left());
            for _ in 0..self.rng.usize(..3) {
                let page = PageId(self.rng.u32(..=pages));
                let file = self.nodes[shard].machine.shard.engine().page_file().expect("it has one");
                let Some(offset) = file.offset_of(page) else { continue };
                let Some((sound, rotten)) = self.pages[shard].rot(offset, &mut self.rng) else { continue };
                self.note(format_args!("shard {shard}: page {page} at {offset} goes wrong, {redo_left} effects left"));
                self.figures.pages_rotten += 1;
                self.rot.pages.push((shard, offset, sound, rotten));
            }
        }
    }

    pub(super) fn start_log_read(&mut self, shard: usize, read: LogRead) {
        self.note(format_args!("shard {shard} {read:?}"));
        let delay = self.faults.write_delay(&mut self.rng);
        self.clock.after(delay, Happening::LogRead { shard, read });
    }

    pub(super) fn on_log_read(&mut self, shard: usize, LogRead { op, segment, offset, len }: LogRead) -> Checked {
        let mut result = self.disks[shard].read_back(segment, offset, len as usize);
        if result.is_err() && self.rng.bool() {
            // It is another segment by now.
            result = Ok((0..len).map(|_| self.rng.u8(..)).collect());
        } else if self.faults.misreads(&mut self.rng) && self.rot.misread.insert((shard, segment.0)) {
            self.judge.trouble();
            match &mut result {
                Ok(bytes) if self.rng.bool() => bytes[self.rng.usize(..len as usize)] ^= 1 << self.rng.u8(..8),
                _ => result = Err(EIO),
            }
        }
        self.note(format_args!("shard {shard} log read {op}"));
        self.tell(shard, Event::LogRead { op, result: result.as_deref().map_err(|errno| *errno) })
    }

    /// What the scrub says of a log must be true.
    pub(super) fn hear(&mut self, shard: usize, notice: &Notice) -> Checked {
        let harm = &mut self.rot.harms[shard];
        match (notice, *harm) {
            (Notice::LogDamaged { fault, .. }, Some((known, _))) => {
                // One of its two looks may have been misread.
                if !matches!(fault, Fault::Read { segment, .. } if *segment == known.segment) {
                    damage::judge_fault(known, fault)?;
                }
                let (_, was_said) = harm.replace((known, true)).expect("it has gone wrong");
                self.figures.rots_found += u64::from(!was_said);
                Ok(())
            }
            (Notice::LogDamaged { fault, .. }, None) => {
                Err(format!("{RECOVERY}: shard {shard}: the scrub accuses a log that is sound: {fault}"))
            }
            (Notice::LogMended { .. }, Some((_, true))) => {
                // From now on it does not matter that it is damaged.
                self.figures.rots_mended += 1;
                *harm = None;
                Ok(())
            }
            (Notice::LogMended { .. }, _) => Err(format!("{RECOVERY}: shard {shard}: nothing was to be mended")),
            (Notice::RedoBlocked { .. }, _) => {
                self.figures.redos_blocked += 1;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The machines have ended. What has gone wrong meanwhile, and is still of importance, is refused by name; then it is put
    /// right.
    pub(super) fn settle_rot(&mut self) -> Checked {
        self.rot.misread.clear();
        for (shard, offset, sound, rotten) in std::mem::take(&mut self.rot.pages).into_iter().rev() {
            self.pages[shard].mend(offset, &sound, &rotten);
        }
        for shard in 0..self.disks.len() {
            let Some((harm, _)) = self.rot.harms[shard].take() else { continue };
            if !self.disks[shard].has(harm.segment) {
                continue;
            }
            let before = (self.disks[shard].clone(), self.pages[shard].clone());
            if let Err(Halt::Refused(fault)) = self.scan(shard, &mut Trouble::default(), self.faults.memory_bytes)? {
                damage::judge_fault(harm, &fault).map_err(|what| format!("{what} (shard {shard})"))?;
            }
            (self.disks[shard], self.pages[shard]) = before;
            self.disks[shard].flip(harm);
        }
        Ok(())
    }
}
