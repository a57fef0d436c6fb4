//! Damage to what was stable, before an opening: it must be refused by name, and never be served. Then it is put right again.

use super::checks::{Checked, RECOVERY};
use super::disk::{Harm, HarmKind};
use super::opening::{Opened, Trouble};
use super::world::World;
use cairn_storage::error::Fault;

impl World {
    /// Now and then a bit goes wrong in what a page file has synced: nothing of it is ever served.
    pub(super) fn try_page_damage(&mut self) -> Checked {
        let shard = self.rng.usize(..self.disks.len());
        if !self.has_pages || !self.faults.has_harm || self.faults.is_over {
            return Ok(());
        }
        let before = (self.disks[shard].clone(), self.pages[shard].clone());
        let Some(expected) = self.inspect(shard)? else { return Ok(()) };
        if let Some(at) = self.pages[shard].flip(&mut self.rng) {
            self.note(format_args!("shard {shard}: a bit of byte {at} of the page file flips"));
            match self.open(shard, &mut Trouble::default(), self.faults.memory_bytes)? {
                Opened::Engine(mut engine, _) => {
                    let found = self.survivors(shard, &mut engine)?;
                    self.figures.pages_reported += u64::from(found.is_none());
                    if found.is_some_and(|found| found != expected) {
                        return Err(format!("{RECOVERY}: shard {shard}: a flipped bit at {at} is served"));
                    }
                }
                Opened::Refused(Fault::PageFile { .. }) => self.figures.pages_reported += 1,
                Opened::Refused(fault) => {
                    return Err(format!(
                        "{RECOVERY}: shard {shard}: a bit at {at} was refused for something else: {fault}"
                    ));
                }
                Opened::Cut => unreachable!("nothing else goes wrong"),
            }
        }
        (self.disks[shard], self.pages[shard]) = before;
        Ok(())
    }

    /// Now and then something that was stable goes wrong. Recovery must refuse it by name; what no checksum covers must
    /// not matter to it. Then it is put right again.
    pub(super) fn try_damage(&mut self) -> Checked {
        let shard = self.rng.usize(..self.disks.len());
        if !self.faults.has_harm || self.faults.is_over {
            return Ok(());
        }
        let config = self.config(shard);
        let start = self.log_start(shard);
        let Some(harm) = self.disks[shard].choose_harm(&config, start, &mut self.rng) else { return Ok(()) };
        self.note(format_args!("shard {shard}: {harm:?}"));
        self.figures.harms += 1;
        let pages = self.pages[shard].clone();
        let sound = self.disks[shard].harm(harm);
        let outcome = self.open(shard, &mut Trouble::default(), self.faults.memory_bytes);
        self.disks[shard].mend(sound);
        self.pages[shard] = pages;
        judge(harm, &outcome?).map_err(|what| format!("{what} (shard {shard})"))
    }
}

/// Whether an opening of a log with this harm came to what it must: a refusal that names the place.
pub(super) fn judge(harm: Harm, opened: &Opened) -> Checked {
    match (opened, harm.kind) {
        (Opened::Engine(..), HarmKind::Padding { .. }) => Ok(()),
        (Opened::Engine(_, end), _) => Err(format!("{RECOVERY}: {harm:?} was taken for the log's end ({end})")),
        (Opened::Refused(fault), _) => judge_fault(harm, fault),
        (Opened::Cut, _) => unreachable!("nothing else goes wrong"),
    }
}

/// Whether a fault names the harm.
pub(super) fn judge_fault(harm: Harm, fault: &Fault) -> Checked {
    let is_named = match (fault, harm.kind) {
        (Fault::SegmentAbsent { segment, .. }, HarmKind::Lost) => *segment == harm.segment,
        (Fault::Corrupt { segment, offset, .. }, HarmKind::Cut { bytes }) => {
            (*segment, *offset) == (harm.segment, bytes)
        }
        (Fault::Corrupt { segment, offset, .. }, _) => {
            (*segment, *offset) == (harm.segment, harm.offset) && !matches!(harm.kind, HarmKind::Padding { .. })
        }
        _ => false,
    };
    if is_named { Ok(()) } else { Err(format!("{RECOVERY}: {harm:?} was refused for something else: {fault}")) }
}
