//! What a crash keeps of what was not stable: each *thing* that it leaves open (a write in flight or in the device's cache, a
//! directory entry, a length) is kept, lost, or, if it is a write, torn by sectors.

use fastrand::Rng;

/// How a crash decides. Things are counted in the order in which the disks ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Each thing has its own odds, and each of its sectors the luck of them.
    Chance,
    /// Each thing as a whole, by chance: writes arrive in any order.
    Some,
    None,
    All,
    /// This thing and no other: it has overtaken all the rest.
    Only(usize),
    /// All but this one: it was overtaken.
    AllBut(usize),
    /// All before this one, and of this one the first so many sectors.
    Front(usize, usize),
    /// Of this one all behind the first so many sectors, and all others.
    Back(usize, usize),
}

/// One crash.
pub struct Verdict<'a> {
    keep: Keep,
    pub rng: &'a mut Rng,
    things: usize,
    /// The longest thing so far, in sectors.
    sectors_max: (usize, usize),
    odds: u64,
}

impl<'a> Verdict<'a> {
    pub fn new(keep: Keep, rng: &'a mut Rng) -> Verdict<'a> {
        Verdict { keep, rng, things: 0, sectors_max: (0, 0), odds: 0 }
    }

    /// The next thing that is open, of so many sectors. All of them are then asked for with [`Verdict::keeps`].
    pub fn next(&mut self, sectors: usize) {
        self.things += 1;
        if sectors > self.sectors_max.1 {
            self.sectors_max = (self.things - 1, sectors);
        }
        self.odds = match self.keep {
            Keep::Chance => self.rng.u64(..4),
            Keep::Some => 3 * self.rng.u64(..2),
            _ => 0,
        };
    }

    /// Whether sector `at` of the thing is kept.
    pub fn keeps(&mut self, at: usize) -> bool {
        let now = self.things - 1;
        match self.keep {
            Keep::Chance | Keep::Some => self.rng.u64(..3) < self.odds,
            Keep::None => false,
            Keep::All => true,
            Keep::Only(thing) => now == thing,
            Keep::AllBut(thing) => now != thing,
            Keep::Front(thing, sectors) => now < thing || now == thing && at < sectors,
            Keep::Back(thing, sectors) => now != thing || at >= sectors,
        }
    }

    /// Whether the next thing, one that cannot be torn, is kept.
    pub fn keeps_next(&mut self) -> bool {
        self.next(1);
        self.keeps(0)
    }

    /// A number below `bound`, of something whose extent is open: the least or the greatest, if everything is lost or kept.
    pub fn extent(&mut self, bound: usize) -> usize {
        match self.keep {
            Keep::None => 0,
            Keep::All => bound.saturating_sub(1),
            _ => self.rng.usize(..bound.max(1)),
        }
    }

    /// Things that were open.
    pub fn things(&self) -> usize {
        self.things
    }

    /// The one with most sectors, and their number.
    pub fn longest(&self) -> (usize, usize) {
        self.sectors_max
    }
}
