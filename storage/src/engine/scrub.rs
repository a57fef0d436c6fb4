//! The scrub of page file and log, its findings, and what memory can do about them.

use super::Engine;
use crate::error::Fault;
use crate::log::{LogScrub, LogScrubStep, LogState};
use crate::op::LogRead;
use crate::pagefile::{CheckpointState, ScrubStep, Suspect};
use crate::units::OpId;

impl Engine {
    /// A pass of the scrub begins, if there is a page file: first over that, then over the log.
    pub fn begin_scrub(&mut self) {
        if let Some(file) = self.pool.file_mut() {
            file.begin_scrub();
            self.log_scrub.begin();
        }
    }

    /// Has the next image, or piece of the log, of the pass read.
    pub fn scrub_next(&mut self) -> ScrubStep {
        let Some(file) = self.pool.file_mut() else { return ScrubStep::Over };
        match file.scrub_next() {
            ScrubStep::Over => {}
            step => return step,
        }
        // Of a log that has failed nothing is needed but what a start finds.
        if matches!(self.log.state(), LogState::Failed(_)) {
            return ScrubStep::Over;
        }
        match self.log_scrub.next(self.log.config(), file.log_start(), self.log.durable()) {
            LogScrubStep::Read(bytes) => ScrubStep::Read(bytes),
            LogScrubStep::Over => ScrubStep::Over,
        }
    }

    /// Reads of the scrub that are under way.
    pub fn scrub_reads(&self) -> usize {
        self.pool.file().map_or(0, |file| file.scrub_reads()) + self.log_scrub.reads()
    }

    pub fn log_scrub(&self) -> &LogScrub {
        &self.log_scrub
    }

    /// The next read of the log, if there is one now.
    pub fn poll_log_read(&mut self) -> Option<LogRead> {
        self.log_scrub.poll()
    }

    /// Takes the answer to a read of the log: its bytes, or the errno. Answers what is damaged, once that is sure.
    pub fn on_log_read(&mut self, op: OpId, result: Result<&[u8], i32>) -> Option<Fault> {
        let file = self.pool.file().expect("the log is read where there is a page file");
        let fault = self.log_scrub.on_read(self.log.config(), file.log_start(), op, result);
        if fault.is_some() {
            self.leave_damage_behind();
        }
        fault
    }

    /// To be called now and then: as long as a start may need a damaged part of the log, checkpoints are made, each of which
    /// needs less of it. Whether that has just come to its end.
    pub fn heal_log(&mut self) -> bool {
        let Some(file) = self.pool.file() else { return false };
        if self.log_scrub.damage().is_none() {
            return false;
        }
        if self.log_scrub.forget_damage(file.log_needed()) {
            return true;
        }
        if file.checkpoint_state() == CheckpointState::Idle && !self.is_checkpoint_wanted {
            self.leave_damage_behind();
        }
        false
    }

    /// The next checkpoint needs nothing of the log up to the damage: what is there is in the trees.
    fn leave_damage_behind(&mut self) {
        let start = self.log.start().needed(self.log.config().segment_bytes);
        if self.log_scrub.damage().is_some_and(|damage| start <= damage) && !self.is_in_group {
            // It needs the flush in which its last record ends, so that has to be another one.
            self.open_group();
            self.close_group();
        }
        self.want_checkpoint();
    }

    /// The image of something is damaged. If it is in memory a checkpoint writes it anew, which is asked for here: whether
    /// it is.
    pub fn heal(&mut self, part: Suspect) -> bool {
        let is_here = match part {
            Suspect::Page(page) => self.pool.rewrite(page),
            Suspect::Extent(id) => self.extents.rewrite(id, self.pool.changes_in()),
            Suspect::Map { is_extents, page } => {
                if let Some(file) = self.pool.file_mut() {
                    file.soil_map(is_extents, page);
                }
                true
            }
            // Each checkpoint writes one, in the place of the older.
            Suspect::Superblock => true,
        };
        if is_here {
            self.want_checkpoint();
        }
        is_here
    }
}
