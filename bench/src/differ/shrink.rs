//! Makes a sequence that shows a difference smaller: leaves out what the difference does not need.

use super::limits::SHRINK_SECONDS_MAX;
use super::party::Party;
use super::play::{Counts, Difference, Played, play};
use super::sequence::Sequence;
use std::io;
use std::time::{Duration, Instant};

/// The smallest sequence found that differs on these parties, and how.
pub fn shrink(
    sequence: &Sequence,
    difference: Difference,
    parties: &mut [Party],
) -> io::Result<(Sequence, Difference)> {
    let mut kept: Vec<usize> = (0..=difference.step).collect();
    let (mut smallest, mut shown) = (sequence.keep(&kept), difference);
    let until = Instant::now() + Duration::from_secs(SHRINK_SECONDS_MAX);
    let mut piece = kept.len() / 2;
    while piece > 0 && Instant::now() < until {
        let mut at = 0;
        let mut has_shrunk = false;
        while at < kept.len() && Instant::now() < until {
            let without: Vec<usize> = [&kept[..at], &kept[(at + piece).min(kept.len())..]].concat();
            let tried = sequence.keep(&without);
            match differs(&tried, parties)? {
                Some(found) => {
                    // What comes behind the difference is not needed either.
                    kept = without[..=found.step].to_vec();
                    smallest = sequence.keep(&kept);
                    shown = found;
                    has_shrunk = true;
                }
                None => at += piece,
            }
        }
        if !has_shrunk || piece > 1 {
            piece /= 2;
        }
    }
    Ok((smallest, shown))
}

/// Plays it on servers that may have failed before.
pub fn differs(sequence: &Sequence, parties: &mut [Party]) -> io::Result<Option<Difference>> {
    if sequence.steps.is_empty() {
        return Ok(None);
    }
    let played = match play(sequence, parties, &mut Counts::default()) {
        Ok(played) => played,
        Err(_) => {
            revive(parties)?;
            play(sequence, parties, &mut Counts::default())?
        }
    };
    let Played::Differs(found) = played else { return Ok(None) };
    revive(parties)?;
    Ok(Some(found))
}

pub fn revive(parties: &mut [Party]) -> io::Result<()> {
    parties.iter_mut().try_for_each(Party::revive)
}
