//! Hot rows: which keys of a shard are asked for most, and counters that are so hot that each core has a part of them.
//!
//! One in about [`SAMPLE_INTERVAL`] commands on rows is looked at. The keys that are met most often are kept as the space-saving
//! algorithm keeps them (Metwally, Agrawal, El Abbadi 2005): a key that has no place takes that of the one with the lowest score,
//! and begins with its score, so no hot key is overlooked. What was met since is counted beside that, so nothing is shown as
//! hotter than it was. All numbers fade with time.

pub mod audit;
pub mod registry;
pub mod split;

use crate::command::strings::counters::Step;
use crate::command::{Call, Flags};
use crate::limits::{HOT_KEY_BYTES_MAX, HOT_KEYS_MAX};
use crate::unstable::place;
use split::Addition;

/// Of so many commands one is looked at, in the mean.
pub const SAMPLE_INTERVAL: u32 = 64;

/// What one look adds to a score. More than 1, so that what fades is not lost to rounding.
const LOOK: u64 = 1 << 16;

/// Each second all scores lose one part in so many: rates are means of about as many seconds.
const FADE_SHIFT: u32 = 3;

/// Scores below this are forgotten: one look of about 40 seconds ago.
const FORGOTTEN: u64 = LOOK >> 8;

/// A counter is split if at most one command in so many on it is something else than a blind addition; of those that only look, one
/// in so many: for a GET it need not be made whole.
const OTHERS_SHARE: u64 = 1000;
const READS_SHARE: u64 = 100;

const SECOND_NS: u64 = 1_000_000_000;

/// Seconds of fading that are made up for after a pause. Nothing is left of any score then.
const SECONDS_MAX: u64 = 256;

/// What is done with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    Read,
    Write,
    /// It adds to an integer.
    Count,
    /// The same, and does not ask for the sum.
    Blind,
}

/// A key among the hottest of its shard. Rates are commands a second, estimated from below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HotKey {
    pub shard: u16,
    pub db: u8,
    /// The first [`HOT_KEY_BYTES_MAX`] bytes.
    pub key: Vec<u8>,
    pub reads: u64,
    pub writes: u64,
    /// Of INCR and its kin, those that do not ask for the sum included; and of these.
    pub counts: u64,
    pub blind: u64,
}

impl HotKey {
    pub fn rate(&self) -> u64 {
        self.reads + self.writes + self.counts
    }
}

struct Tracked {
    db: u8,
    key: Vec<u8>,
    /// By [`Use`].
    uses: [u64; 4],
    /// That the last blind addition was given.
    min: Option<i64>,
    /// Seconds in a row that have had enough blind additions for the counter to be split.
    hot_seconds: u64,
}

/// A counter that ought to be split.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub db: u8,
    pub key: Vec<u8>,
    /// What those who take from it want to be left.
    pub min: Option<i64>,
}

/// The hottest keys of one shard.
pub struct HotKeys {
    /// Commands until the next look.
    countdown: u32,
    /// Draws the intervals, so that no pattern of commands hides from them.
    random: u64,
    /// What each entry is found by, and its score: searched from front to back.
    places: Vec<u64>,
    scores: Vec<u64>,
    tracked: Vec<Tracked>,
    faded_ns: u64,
    /// The running command is not answered.
    pub is_silent: bool,
}

impl HotKeys {
    pub fn new(seed: u64, now_ns: u64) -> HotKeys {
        let (places, scores, tracked) = (Vec::new(), Vec::new(), Vec::new());
        let (countdown, random, faded_ns, is_silent) = (SAMPLE_INTERVAL, seed | 1, now_ns, false);
        HotKeys { countdown, random, places, scores, tracked, faded_ns, is_silent }
    }

    /// A command on rows runs. Whether it is to be noted.
    #[inline(always)]
    pub fn is_due(&mut self) -> bool {
        self.countdown -= 1;
        self.countdown == 0
    }

    /// Notes the command that was due.
    #[cold]
    pub fn note(&mut self, call: &Call<'_>, head_of: impl FnOnce(&[u8]) -> u64) {
        let random = self.draw();
        self.countdown = 1 + random as u32 % (2 * SAMPLE_INTERVAL - 1);
        let positions = call.spec.row_keys(call.args);
        let count = positions.clone().count();
        let Some(at) = positions.clone().nth((random >> 32) as usize % count.max(1)) else { return };
        let key = &call.args[at];
        let head = if at == call.spec.keys.first && call.head != 0 { call.head } else { head_of(key) };
        let flags = call.spec.flags;
        let addition = Addition::of(call, self.is_silent).filter(|_| flags.has(Flags::COUNTS));
        let used = match addition {
            Some(_) => Use::Blind,
            None if flags.has(Flags::COUNTS) => Use::Count,
            None if flags.has(Flags::WRITE) => Use::Write,
            None => Use::Read,
        };
        let at = self.look(call.db, head, key, used);
        if let Some(min) = addition.and_then(|addition| addition.min) {
            self.tracked[at].min = Some(min);
        }
    }

    /// Notes commands on one key, as many as `times`.
    #[inline]
    pub fn note_run(&mut self, call: &Call<'_>, times: u32) {
        let mut left = times;
        while self.countdown <= left {
            left -= self.countdown;
            self.note(call, |_| call.head);
        }
        self.countdown -= left;
    }

    /// Notes increments of one key.
    #[inline]
    pub fn note_steps(&mut self, call: &Call<'_>, steps: &[Step], is_silent: bool) {
        let mut left = steps;
        while self.countdown as usize <= left.len() {
            let (passed, rest) = left.split_at(self.countdown as usize);
            let is_blind = is_silent || passed.last().is_some_and(|step| step.is_blind);
            self.countdown = 1 + self.draw() as u32 % (2 * SAMPLE_INTERVAL - 1);
            self.look(call.db, call.head, &call.args[1], if is_blind { Use::Blind } else { Use::Count });
            left = rest;
        }
        self.countdown -= left.len() as u32;
    }

    /// Xorshift (Marsaglia): it need only differ from what clients do.
    fn draw(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    fn look(&mut self, db: u8, head: u64, key: &[u8], used: Use) -> usize {
        let place = place(db, head);
        let at = self.places.iter().position(|known| *known == place).unwrap_or_else(|| self.admit(place, db, key));
        self.scores[at] += LOOK;
        self.tracked[at].uses[used as usize] += LOOK;
        at
    }

    /// A place for a key that has none: a free one, or that of the lowest score.
    fn admit(&mut self, place: u64, db: u8, key: &[u8]) -> usize {
        let key = key[..key.len().min(HOT_KEY_BYTES_MAX)].to_vec();
        let tracked = Tracked { db, key, uses: [0; 4], min: None, hot_seconds: 0 };
        if self.places.len() < HOT_KEYS_MAX {
            self.places.push(place);
            self.scores.push(0);
            self.tracked.push(tracked);
            return self.places.len() - 1;
        }
        let lowest = self.scores.iter().enumerate().min_by_key(|(_, score)| **score);
        let (at, _) = lowest.expect("all places are taken");
        self.places[at] = place;
        self.tracked[at] = tracked;
        at
    }

    /// Lets scores fade by the seconds that have passed. Enough blind additions a second to be worth a split: `rate_min`.
    pub fn on_tick(&mut self, now_ns: u64, rate_min: u64) {
        let seconds = now_ns.saturating_sub(self.faded_ns) / SECOND_NS;
        if seconds == 0 {
            return;
        }
        self.faded_ns += seconds * SECOND_NS;
        let fade = |score: &mut u64| (0..seconds.min(SECONDS_MAX)).for_each(|_| *score -= *score >> FADE_SHIFT);
        self.scores.iter_mut().for_each(fade);
        self.tracked.iter_mut().flat_map(|tracked| &mut tracked.uses).for_each(fade);
        let mut at = 0;
        while at < self.scores.len() {
            if self.scores[at] >= FORGOTTEN {
                let tracked = &mut self.tracked[at];
                tracked.hot_seconds = if tracked.is_worth(rate_min) { tracked.hot_seconds + seconds } else { 0 };
                at += 1;
                continue;
            }
            self.places.swap_remove(at);
            self.scores.swap_remove(at);
            self.tracked.swap_remove(at);
        }
    }

    /// The `count` hottest keys, the hottest first.
    pub fn top(&self, shard: u16, count: usize) -> Vec<HotKey> {
        let mut keys: Vec<HotKey> = self.tracked.iter().map(|tracked| tracked.shown(shard)).collect();
        sort(&mut keys);
        keys.truncate(count);
        keys
    }

    /// Counters that ought to be split: that were worth it for so many seconds.
    pub fn candidates(&self, seconds: u64) -> impl Iterator<Item = Candidate> {
        let tracked = self.tracked.iter().filter(move |it| it.hot_seconds >= seconds.max(1));
        // What is cut is not known.
        let whole = tracked.filter(|it| it.key.len() < HOT_KEY_BYTES_MAX);
        whole.map(|it| Candidate { db: it.db, key: it.key.clone(), min: it.min })
    }

    /// It has turned out not to be worth it (any more).
    pub fn begin_again(&mut self, place: u64) {
        if let Some(at) = self.places.iter().position(|known| *known == place) {
            self.tracked[at].hot_seconds = 0;
        }
    }

    /// The rate of the hottest key, and how many keys are tracked.
    pub fn figures(&self) -> (u64, u64) {
        let rates = self.tracked.iter().map(|tracked| tracked.shown(0).rate());
        (rates.max().unwrap_or(0), self.tracked.len() as u64)
    }

    pub fn reset(&mut self) {
        self.places.clear();
        self.scores.clear();
        self.tracked.clear();
    }
}

impl Tracked {
    /// Whether blind additions are many, and all else is little beside them: that makes them wait for each other.
    fn is_worth(&self, rate_min: u64) -> bool {
        let hot = self.shown(0);
        let others = (hot.rate() - hot.blind - hot.reads) * OTHERS_SHARE + hot.reads * READS_SHARE;
        rate_min > 0 && hot.blind >= rate_min && others <= hot.blind
    }

    fn shown(&self, shard: u16) -> HotKey {
        // A score that grows by `r` looks a second and loses an eighth of itself stands at 8 `r`.
        let rate = |used: Use| ((self.uses[used as usize] * u64::from(SAMPLE_INTERVAL)) >> FADE_SHIFT).div_ceil(LOOK);
        let (reads, writes, blind) = (rate(Use::Read), rate(Use::Write), rate(Use::Blind));
        HotKey { shard, db: self.db, key: self.key.clone(), reads, writes, counts: rate(Use::Count) + blind, blind }
    }
}

/// The hottest first; equal ones in an order that does not depend on where they stood.
fn sort(keys: &mut [HotKey]) {
    keys.sort_by(|a, b| b.rate().cmp(&a.rate()).then_with(|| (a.db, &a.key).cmp(&(b.db, &b.key))));
}

/// Those of several shards as one list.
pub fn merge(lists: impl Iterator<Item = Vec<HotKey>>, count: usize) -> Vec<HotKey> {
    let mut keys: Vec<HotKey> = lists.flatten().collect();
    sort(&mut keys);
    keys.truncate(count);
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(hot: &mut HotKeys, seconds: u64) {
        hot.on_tick(hot.faded_ns + seconds * SECOND_NS, 500);
    }

    #[test]
    fn a_hot_key_is_found_among_many_and_its_rate_is_about_right() {
        let mut hot = HotKeys::new(7, 0);
        // 100,000 commands a second: one in ten on `hot`, the others on as many keys.
        let mut other = 0u64;
        for _ in 0..60 {
            for n in 0..100_000u64 {
                other += 1;
                if !hot.is_due() {
                    continue;
                }
                hot.countdown = 1 + hot.draw() as u32 % (2 * SAMPLE_INTERVAL - 1);
                match n % 10 {
                    0 => hot.look(0, 1, b"hot", Use::Count),
                    _ => hot.look(0, 1000 + other, &other.to_be_bytes(), Use::Read),
                };
            }
            second(&mut hot, 1);
        }
        let top = hot.top(3, 2);
        assert_eq!((top[0].shard, top[0].key.as_slice(), top[0].reads), (3, &b"hot"[..], 0));
        assert!((7_000..13_000).contains(&top[0].counts), "{}", top[0].counts);
        // What is met once is not shown as hot, though it took the place of others.
        assert!(top[1].rate() <= 100, "{}", top[1].rate());
        assert_eq!(hot.figures(), (top[0].counts, HOT_KEYS_MAX as u64));
    }

    #[test]
    fn what_is_asked_for_no_more_fades() {
        let mut hot = HotKeys::new(7, 0);
        (0..100).for_each(|_| _ = hot.look(2, 1, b"k", Use::Write));
        let before = hot.top(0, 1)[0].writes;
        assert_eq!(before, 800);
        second(&mut hot, 1);
        assert_eq!(hot.top(0, 1)[0].writes, 700);
        second(&mut hot, 1_000_000);
        assert!(hot.top(0, 1).is_empty());
    }

    #[test]
    fn what_is_added_to_blindly_for_long_enough_and_hardly_looked_at_is_a_candidate() {
        let mut hot = HotKeys::new(7, 0);
        for _ in 0..30 {
            (0..20).for_each(|_| _ = hot.look(0, 1, b"blind", Use::Blind));
            (0..20).for_each(|_| _ = hot.look(0, 2, b"seen", Use::Blind));
            hot.look(0, 2, b"seen", Use::Read);
            (0..20).for_each(|_| _ = hot.look(0, 3, b"asked", Use::Count));
            (0..5).for_each(|_| _ = hot.look(0, 4, b"slow", Use::Blind));
            second(&mut hot, 1);
        }
        let keys = |hot: &HotKeys, seconds| hot.candidates(seconds).map(|it| it.key).collect::<Vec<_>>();
        assert_eq!(keys(&hot, 20), [b"blind"]);
        assert!(keys(&hot, 31).is_empty());
        second(&mut hot, 20);
        assert!(keys(&hot, 1).is_empty());
    }

    #[test]
    fn long_keys_are_cut_and_lists_are_merged_by_rate() {
        let mut hot = HotKeys::new(7, 0);
        hot.look(0, 1, &[b'x'; 10_000], Use::Read);
        (0..3).for_each(|_| _ = hot.look(0, 2, b"b", Use::Read));
        let keys = merge([hot.top(0, 9), hot.top(1, 9)].into_iter(), 3);
        let shown: Vec<(u16, usize)> = keys.iter().map(|hot| (hot.shard, hot.key.len())).collect();
        assert_eq!(shown, [(0, 1), (1, 1), (0, HOT_KEY_BYTES_MAX)]);
    }
}
