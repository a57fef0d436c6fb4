//! Which keys of a workload are in use: a key is used so many times and then replaced by a new one, for what a checker does grows with the
//! operations of a key. In the end every key that ever was is read once more.

use fastrand::Rng;

/// Keys from 0 on.
pub struct Turnover {
    /// In use, with the times that they were used.
    active: Vec<(u32, u32)>,
    uses_max: u32,
    /// All keys that are or were in use are below.
    keys: u32,
    /// The first key that is still to be read in the end, and those that have to be read again.
    last: u32,
    again: Vec<u32>,
}

impl Turnover {
    /// So many keys at a time, each used at most so many times.
    pub fn new(keys: u32, uses_max: u32) -> Turnover {
        Turnover { active: (0..keys).map(|key| (key, 0)).collect(), uses_max, keys, last: 0, again: Vec::new() }
    }

    /// Any of them.
    pub fn any(&self, rng: &mut Rng) -> u32 {
        self.active[rng.usize(..self.active.len())].0
    }

    /// The key is used once more, if it is not replaced already.
    pub fn note_use(&mut self, key: u32) {
        let Some(slot) = self.active.iter_mut().find(|(active, _)| *active == key) else { return };
        slot.1 += 1;
        if slot.1 >= self.uses_max {
            *slot = (self.keys, 0);
            self.keys += 1;
        }
    }

    /// In the end: the next key to be read.
    pub fn next_last(&mut self) -> Option<u32> {
        self.again.pop().or_else(|| {
            let key = (self.last < self.keys).then_some(self.last)?;
            self.last += 1;
            Some(key)
        })
    }

    /// It was not answered what is in the key.
    pub fn read_again(&mut self, key: u32) {
        self.again.push(key);
    }
}
