//! The check of an open page file: each site has one use. For tests and the simulator.

use super::extents::ExtentJob;
use super::map::site_of;
use super::space::Run;
use super::{PageFile, SUPERBLOCK_SITES};

impl PageFile {
    /// Checks that every site is exactly one of: a superblock, led to by a live word, held or free. For tests and offline
    /// checks: time is proportional to the file.
    pub fn check(&self) -> Result<(), String> {
        let mut uses = vec![0_u8; self.space.sites() as usize];
        let mut note = |first: u32, count: u32| {
            for site in first..first + count {
                match uses.get_mut(site as usize) {
                    Some(uses) => *uses += 1,
                    None => return Err(format!("site {site} is beyond the file's end")),
                }
            }
            Ok(())
        };
        note(0, SUPERBLOCK_SITES.min(self.space.sites()))?;
        for run in self.space.unused() {
            note(run.first.0, run.count)?;
        }
        for run in self.live_runs() {
            note(run.first.0, run.count)?;
        }
        let open = self.output.open_sites() as usize;
        let unknown = uses.iter().filter(|uses| **uses == 0).count();
        if let Some(site) = uses.iter().position(|uses| *uses > 1) {
            return Err(format!("site {site} is used twice"));
        }
        let pending: u32 = self.extent_jobs.iter().map(ExtentJob::sites).sum();
        if unknown != open + pending as usize {
            return Err(format!("{unknown} sites have leaked, {open} are about to be used"));
        }
        Ok(())
    }

    /// All sites that something live leads to.
    fn live_runs(&self) -> impl Iterator<Item = Run> {
        let pages = (0..self.pages.len() as u32).map(|id| self.pages.get(id));
        let single = pages.chain(self.pages.own_words()).chain(self.extents.own_words());
        let single = single.map(|word| Run { first: site_of(word), count: 1 }).filter(|run| run.first.0 != 0);
        single.chain(self.extent_runs())
    }
}
