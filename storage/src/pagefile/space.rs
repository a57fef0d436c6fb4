//! Which sites of the page file are free, and which ones will be. Knows nothing of what is in them.

use crate::units::{Generation, Site};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Neighbouring sites: the first one, and how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    pub first: Site,
    pub count: u32,
}

/// Runs that a search for many contiguous sites looks at before the file has to grow instead.
const SEARCH_RUNS_MAX: usize = 64;

/// Free runs are told apart by their lengths: 1, 2 and 3, 4 to 7, and so on; the last class is of all that are longer.
const CLASSES: usize = 6;

fn class(count: u32) -> usize {
    (count.ilog2() as usize).min(CLASSES - 1)
}

/// The sites of one page file.
#[derive(Debug, Default)]
pub(crate) struct Space {
    /// By first site. No two touch.
    free: BTreeMap<u32, u32>,
    /// The same by class: what is taken comes from long runs as long as there are some, so that the short ones have time to
    /// be joined by what becomes free beside them.
    classes: [BTreeSet<u32>; CLASSES],
    free_sites: u32,
    /// What is not used any more, and from which generation on. Ascending.
    held: VecDeque<(Generation, Vec<Run>)>,
    held_sites: u32,
    /// What was given up in generations up to this one is free, as soon as [`Space::release_some`] has come to it.
    released: Generation,
    /// Sites of the file.
    sites: u32,
    /// Where the next search begins.
    cursor: u32,
}

impl Space {
    /// A file of so many sites, of which those marked are in use.
    pub(crate) fn new(is_used: &[bool]) -> Space {
        let mut space = Space { sites: is_used.len() as u32, ..Space::default() };
        let mut at = 0;
        while at < is_used.len() {
            let end = (at..is_used.len()).find(|site| is_used[*site]).unwrap_or(is_used.len());
            if end > at {
                space.insert(Run { first: Site(at as u32), count: (end - at) as u32 });
            }
            at = end + 1;
        }
        space
    }

    /// Takes up to `max` neighbouring free sites: from a run about as long or longer, else as many as can be had at once.
    pub(crate) fn take(&mut self, max: u32) -> Option<Run> {
        let wanted = class(max);
        let class = (wanted..CLASSES).chain((0..wanted).rev()).find(|class| !self.classes[*class].is_empty())?;
        let runs = &self.classes[class];
        let first = *runs.range(self.cursor..).next().or_else(|| runs.first())?;
        let count = self.free[&first];
        Some(self.cut(first, count, max.min(count)))
    }

    /// Takes exactly `count` neighbouring sites, if a short search finds so many.
    pub(crate) fn take_whole(&mut self, count: u32) -> Option<Run> {
        let (first, free) = self.find_whole(count)?;
        Some(self.cut(first, free, count))
    }

    /// Whether [`Space::take_whole`] would find so many.
    pub(crate) fn has_whole(&self, count: u32) -> bool {
        self.find_whole(count).is_some()
    }

    fn find_whole(&self, count: u32) -> Option<(u32, u32)> {
        let runs = self.classes[class(count)..].iter().flat_map(|runs| {
            runs.range(self.cursor..)
                .chain(runs.range(..self.cursor))
                .take(SEARCH_RUNS_MAX)
                .map(|first| (*first, self.free[first]))
        });
        // The file's end is where large runs come to be.
        let last = self.free.iter().next_back().map(|(first, free)| (*first, *free));
        runs.chain(last).find(|(_, free)| *free >= count)
    }

    fn cut(&mut self, first: u32, free: u32, count: u32) -> Run {
        self.remove(first, free);
        if free > count {
            self.add(first + count, free - count);
        }
        self.free_sites -= count;
        self.cursor = first + count;
        Run { first: Site(first), count }
    }

    fn add(&mut self, first: u32, count: u32) {
        self.free.insert(first, count);
        self.classes[class(count)].insert(first);
    }

    fn remove(&mut self, first: u32, count: u32) {
        self.free.remove(&first);
        self.classes[class(count)].remove(&first);
    }

    /// Sites that were taken and never written to.
    pub(crate) fn give_back(&mut self, run: Run) {
        if run.count > 0 {
            self.insert(run);
        }
    }

    /// From `generation` on these sites are not used any more. Earlier checkpoints refer to them.
    pub(crate) fn hold(&mut self, generation: Generation, run: Run) {
        self.held_sites += run.count;
        match self.held.iter_mut().rev().find(|(held, _)| *held == generation) {
            Some((_, runs)) => runs.push(run),
            None => {
                let at = self.held.partition_point(|(held, _)| *held < generation);
                self.held.insert(at, (generation, vec![run]));
            }
        }
    }

    /// What was given up in generations up to `last` may become free.
    pub(crate) fn release(&mut self, last: Generation) {
        self.released = last;
    }

    /// Makes up to `runs` runs free of those that may be: after a large checkpoint there are many.
    pub(crate) fn release_some(&mut self, runs: usize) {
        for _ in 0..runs {
            let Some((generation, held)) = self.held.front_mut() else { return };
            if *generation > self.released {
                return;
            }
            match held.pop() {
                Some(run) => {
                    self.held_sites -= run.count;
                    self.insert(run);
                }
                None => drop(self.held.pop_front()),
            }
        }
    }

    /// The file has become longer.
    pub(crate) fn grow(&mut self, sites: u32) {
        if sites > self.sites {
            let run = Run { first: Site(self.sites), count: sites - self.sites };
            self.sites = sites;
            self.insert(run);
        }
    }

    fn insert(&mut self, run: Run) {
        let (mut first, mut count) = (run.first.0, run.count);
        assert!(count > 0 && first + count <= self.sites);
        self.free_sites += count;
        if let Some((before, len)) = self.free.range(..first).next_back().map(|(first, count)| (*first, *count)) {
            assert!(before + len <= first, "site {first} is freed twice");
            if before + len == first {
                self.remove(before, len);
                (first, count) = (before, count + len);
            }
        }
        if let Some((after, len)) = self.free.range(first..).next().map(|(first, count)| (*first, *count)) {
            assert!(first + count <= after, "site {after} is freed twice");
            if first + count == after {
                self.remove(after, len);
                count += len;
            }
        }
        self.add(first, count);
    }

    pub(crate) fn free_sites(&self) -> u32 {
        self.free_sites
    }

    /// Sites that will be free.
    pub(crate) fn held_sites(&self) -> u32 {
        self.held_sites
    }

    pub(crate) fn sites(&self) -> u32 {
        self.sites
    }

    /// All free and held runs, for checks.
    pub(crate) fn unused(&self) -> impl Iterator<Item = Run> {
        let free = self.free.iter().map(|(first, count)| Run { first: Site(*first), count: *count });
        free.chain(self.held.iter().flat_map(|(_, runs)| runs.iter().copied()))
    }
}

#[cfg(test)]
mod tests {
    use super::{Run, Space};
    use crate::units::{Generation, Site};

    fn run(first: u32, count: u32) -> Run {
        Run { first: Site(first), count }
    }

    #[test]
    fn runs_are_taken_joined_and_grown() {
        let mut space = Space::new(&[true, true, false, false, true, false]);
        assert_eq!((space.free_sites(), space.sites()), (3, 6));
        assert_eq!(space.take(8), Some(run(2, 2)));
        assert_eq!(space.take(8), Some(run(5, 1)));
        assert_eq!(space.take(8), None);
        space.give_back(run(3, 1));
        space.give_back(run(5, 1));
        space.give_back(run(4, 1));
        assert_eq!(space.unused().collect::<Vec<_>>(), [run(3, 3)]);
        assert_eq!(space.take_whole(4), None);
        space.grow(10);
        assert_eq!(space.take_whole(4), Some(run(3, 4)));
        assert_eq!(space.take(2), Some(run(7, 2)));
        assert_eq!(space.free_sites(), 1);
    }

    #[test]
    fn what_is_held_becomes_free_with_its_generation() {
        let mut space = Space::new(&[true; 8]);
        space.hold(Generation(5), run(2, 1));
        space.hold(Generation(4), run(3, 1));
        space.hold(Generation(5), run(4, 1));
        assert_eq!((space.held_sites(), space.free_sites()), (3, 0));
        space.release(Generation(4));
        space.release_some(9);
        assert_eq!(space.take(9), Some(run(3, 1)));
        assert_eq!(space.take(9), None);
        space.release(Generation(9));
        space.release_some(1);
        assert_eq!((space.held_sites(), space.free_sites()), (1, 1));
        space.release_some(9);
        assert_eq!((space.held_sites(), space.free_sites()), (0, 2));
    }

    #[test]
    #[should_panic(expected = "freed twice")]
    fn a_site_is_freed_once() {
        let mut space = Space::new(&[true; 8]);
        space.give_back(run(2, 2));
        space.give_back(run(3, 1));
    }
}
