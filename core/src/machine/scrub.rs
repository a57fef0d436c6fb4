//! When the scrub goes on, and how fast; what is said of what it finds. It goes over the page file, then over the log.
//!
//! ```text
//!   Waiting ---- the interval is over ----> Passing ---- images and log were looked at ----> Waiting
//! ```
//!
//! It takes its share of time, never more: at most so many bytes a second as the operator allows, and a few reads at once.
//! While it waits it costs a comparison a turn.

use super::Machine;
use crate::damage::{Behind, Damage, Trouble};
use crate::event::Notice;
use crate::limits::{SCRUB_FIRST_SECONDS, SCRUB_READS_MAX, SCRUB_STEPS_PER_TURN};
use cairn_storage::error::Missing;
use cairn_storage::pagefile::{ScrubStep, Suspect, Suspicion};
use cairn_storage::units::OpId;

const SECOND_NS: u64 = 1_000_000_000;

/// How long bytes that were not used can be used later: passes of an idle shard go on with its ticks only.
const CREDIT_NS: u64 = SECOND_NS / 10;

/// Where the scrub is.
#[derive(Debug, Default)]
pub(super) struct Scrub {
    /// When the last pass began; before the first one, when the shard did.
    begun_ns: u64,
    has_begun: bool,
    is_passing: bool,
    /// Up to here time was turned into bytes; bytes it may read.
    paid_ns: u64,
    credit: u64,
    begun_unix_s: u64,
    ended_unix_s: u64,
}

/// The same, for INFO and metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScrubFigures {
    pub passes: u64,
    pub images: u64,
    pub bytes: u64,
    pub damaged: u64,
    /// Of the log: bytes that were read, times that it was found damaged, and whether a start may need what is damaged.
    pub log_bytes: u64,
    pub log_damaged: u64,
    pub is_log_damaged: bool,
    pub is_passing: bool,
    /// When the last pass began, and when the last whole one ended, in seconds of Unix time; 0: never.
    pub begun_unix_s: u64,
    pub ended_unix_s: u64,
}

impl Machine {
    /// The end of a turn: the scrub goes on as far as it ought to.
    #[inline]
    pub(super) fn work_scrub(&mut self) {
        let rate = self.settings.scrub_bytes_per_second;
        if rate == 0 || self.is_draining() {
            return;
        }
        if self.shard.engine_mut().heal_log() {
            self.notice(Notice::LogMended { shard: self.identity.shard });
        }
        if self.scrub.is_passing {
            self.pass_on(rate);
        } else if self.is_scrub_due() {
            self.begin_pass();
        }
    }

    fn is_scrub_due(&mut self) -> bool {
        let now_ns = self.now.mono_ns;
        let scrub = &mut self.scrub;
        if scrub.begun_ns == 0 {
            scrub.begun_ns = now_ns;
        }
        let interval_s = self.settings.scrub_interval_s;
        let wait_s = if scrub.has_begun { interval_s } else { interval_s.min(SCRUB_FIRST_SECONDS) };
        now_ns.saturating_sub(scrub.begun_ns) >= wait_s.saturating_mul(SECOND_NS)
    }

    #[cold]
    fn begin_pass(&mut self) {
        let now = self.now;
        let scrub = &mut self.scrub;
        (scrub.has_begun, scrub.is_passing) = (true, true);
        (scrub.begun_ns, scrub.paid_ns, scrub.credit) = (now.mono_ns, now.mono_ns, 0);
        scrub.begun_unix_s = now.unix_us / 1_000_000;
        self.shard.engine_mut().begin_scrub();
    }

    #[cold]
    fn pass_on(&mut self, rate: u64) {
        let now_ns = self.now.mono_ns;
        let scrub = &mut self.scrub;
        let passed = now_ns.saturating_sub(scrub.paid_ns).min(CREDIT_NS);
        scrub.paid_ns = now_ns;
        let bytes = |ns: u64| (u128::from(rate) * u128::from(ns) / u128::from(SECOND_NS)) as u64;
        scrub.credit = (scrub.credit + bytes(passed)).min(bytes(CREDIT_NS).max(1));
        let engine = self.shard.engine_mut();
        for _ in 0..SCRUB_STEPS_PER_TURN {
            let reads = engine.scrub_reads();
            if scrub.credit == 0 || reads >= SCRUB_READS_MAX {
                return;
            }
            match engine.scrub_next() {
                // What is larger than the credit is paid for later.
                ScrubStep::Read(bytes) => match scrub.credit.checked_sub(u64::from(bytes)) {
                    Some(rest) => scrub.credit = rest,
                    None => {
                        let debt = u64::from(bytes) - scrub.credit;
                        scrub.credit = 0;
                        let debt_ns = u128::from(debt) * u128::from(SECOND_NS) / u128::from(rate);
                        scrub.paid_ns = scrub.paid_ns.saturating_add(debt_ns as u64);
                    }
                },
                ScrubStep::Passed => {}
                ScrubStep::Over => {
                    if reads == 0 {
                        scrub.is_passing = false;
                        scrub.ended_unix_s = self.now.unix_us / 1_000_000;
                    }
                    return;
                }
            }
        }
    }

    /// A read of the log ended.
    #[cold]
    pub(super) fn on_log_read(&mut self, op: OpId, result: Result<&[u8], i32>) {
        if let Some(fault) = self.shard.engine_mut().on_log_read(op, result) {
            self.notice(Notice::LogDamaged { shard: self.identity.shard, fault });
        }
    }

    /// A read of the scrub ended.
    pub(super) fn on_scrubbed(&mut self, found: Option<Suspicion>) {
        if let Some(suspicion) = found {
            self.on_suspicion(suspicion);
        }
    }

    #[cold]
    fn on_suspicion(&mut self, Suspicion { part, offset, what, errno }: Suspicion) {
        let trouble = errno.map_or(Trouble::Damaged(what), |errno| Trouble::Unreadable { errno });
        let is_healing = self.shard.engine_mut().heal(part);
        let shard = self.identity.shard;
        let behind = match part {
            Suspect::Page(page) => Behind::Rows(Missing::Page(page), self.shard.engine().locate(Missing::Page(page))),
            Suspect::Extent(id) => Behind::Rows(Missing::Extent(id), None),
            Suspect::Map { .. } => Behind::Map,
            Suspect::Superblock => Behind::Superblock,
        };
        if is_healing {
            let damage = Damage { shard, offset, trouble, behind };
            return self.notice(Notice::PageHealing(damage));
        }
        if let Behind::Rows(missing, _) = behind {
            self.note_damage(missing, offset, trouble);
        }
    }

    pub(crate) fn scrub_figures(&self) -> ScrubFigures {
        let engine = self.shard.engine();
        let numbers = engine.page_file().map(|file| file.scrub_numbers()).unwrap_or_default();
        let (log, is_log_damaged) = (engine.log_scrub().numbers(), engine.log_scrub().damage().is_some());
        let Scrub { is_passing, begun_unix_s, ended_unix_s, .. } = self.scrub;
        let cairn_storage::pagefile::ScrubNumbers { passes, images, bytes, damaged } = numbers;
        let (log_bytes, log_damaged) = (log.bytes, log.damaged);
        ScrubFigures {
            passes,
            images,
            bytes,
            damaged,
            log_bytes,
            log_damaged,
            is_log_damaged,
            is_passing,
            begun_unix_s,
            ended_unix_s,
        }
    }
}
