//! The disks under the machines: operations begin, end, and go wrong.

use super::checks::Checked;
use super::clock::{MS, US};
use super::faults::{Fate, Planted};
use super::pages::Ended;
use super::world::{Happening, World};
use cairn_core::event::Event;
use cairn_storage::op::{DiskDone, DiskOp, PageOp};
use cairn_storage::units::OpId;

impl World {
    pub(super) fn start_disk(&mut self, shard: usize, op: DiskOp) {
        let fate = match op {
            DiskOp::Write { .. } => self.faults.write_fate(&mut self.rng),
            DiskOp::Prepare { .. } => self.faults.prepare_fate(&mut self.rng, self.clock.now_ns()),
        };
        let is_cached = self.planted == Some(Planted::WriteWithoutSync) && fate == Fate::Done;
        let fate = if is_cached && matches!(op, DiskOp::Write { .. }) { Fate::Cached } else { fate };
        self.figures.space_lost += u64::from(fate == Fate::NoSpace);
        self.note_trouble(fate);
        let id = self.disks[shard].begin(op, self.nodes[shard].machine.shard.engine().log(), fate);
        self.note(format_args!("shard {shard} {op:?}{}", if fate == Fate::Done { "" } else { " will go wrong" }));
        let delay = self.faults.write_delay(&mut self.rng);
        let mut is_told = false;
        if let (Some(Planted::AnswerBeforeWrite), DiskOp::Write { op, len, .. }) = (self.planted, op) {
            is_told = true;
            self.clock.after(US, Happening::DiskLie { shard, done: DiskDone { op, result: Ok(len) } });
        }
        self.clock.after(delay, Happening::DiskEnd { shard, op: id, is_told });
    }

    fn note_trouble(&mut self, fate: Fate) {
        if !matches!(fate, Fate::Done | Fate::Cached) {
            self.judge.trouble();
        }
    }

    pub(super) fn start_page(&mut self, shard: usize, op: PageOp) {
        let fate = self.faults.page_fate(&mut self.rng, op);
        self.note(format_args!("shard {shard} {op:?}{}", if fate == Fate::Done { "" } else { " will go wrong" }));
        self.note_trouble(fate);
        self.pages[shard].begin(op, self.nodes[shard].machine.shard.engine(), fate);
        let delay = self.faults.write_delay(&mut self.rng);
        self.clock.after(delay, Happening::PageEnd { shard, op: op.op() });
    }

    pub(super) fn on_page(&mut self, shard: usize, op: OpId) -> Checked {
        let engine = self.nodes[shard].machine.shard.engine();
        let (ended, is_good) = self.pages[shard].end(op, engine, &mut self.rng);
        self.figures.page_ops += 1;
        self.figures.page_writes_failed += u64::from(!is_good);
        if self.faults.crashes_at_page(&mut self.rng) {
            self.is_dying = true;
        }
        match ended {
            Ended::Done(done) => {
                self.note(format_args!("shard {shard} page operation {op}: {:?}", done.result));
                let durable = |world: &World| {
                    let file = world.nodes[shard].machine.shard.engine().page_file();
                    file.map_or(0, |file| file.durable().generation)
                };
                let before = durable(self);
                self.tell(shard, Event::Page(done))?;
                self.figures.checkpoints += u64::from(durable(self) - before);
                Ok(())
            }
            Ended::Read(op, result) => {
                self.note(format_args!("shard {shard} page read {op}"));
                self.figures.page_reads += 1;
                self.tell(shard, Event::PageRead { op, result: result.as_deref().map_err(|errno| *errno) })
            }
            Ended::Forget(done, before) => {
                self.note(format_args!("shard {shard} removes its log before segment {before}"));
                self.disks[shard].forget(before, None);
                self.tell(shard, Event::Page(done))
            }
        }
    }

    pub(super) fn on_disk(&mut self, shard: usize, op: OpId, is_told: bool) -> Checked {
        let config = self.config(shard);
        let log = self.nodes[shard].machine.shard.engine().log();
        let (done, is_good) = self.disks[shard].end(op, &config, log, self.planted, &mut self.rng);
        self.note(format_args!("shard {shard} operation {op}: {:?}", done.result));
        if !is_good {
            self.figures.writes_failed += 1;
            // What a snapshot holds back may still be told.
            let durable = self.nodes[shard].machine.shard.engine().log().durable();
            self.nodes[shard].failed.get_or_insert(durable);
            // A server that takes no writes is soon started again.
            let at = self.rng.u64(..200 * MS);
            self.clock.after(at, Happening::Crash);
        }
        if is_told {
            return Ok(());
        }
        self.tell(shard, Event::Disk(done))
    }
}
