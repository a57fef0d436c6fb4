//! Sequences of commands, drawn from a seed.

use super::families::{FAMILIES, Family, Row};
use super::judge::Judge;
use super::limits::{BURST_BYTES_MAX, BURST_COMMANDS_MAX, CLIENTS};
use super::pools::{self, Draw};
use super::reply::shown;
use super::template::Template;
use fastrand::Rng;

/// One command of one connection.
#[derive(Clone, Debug)]
pub struct Step {
    pub client: usize,
    pub words: Vec<Vec<u8>>,
    pub judge: Judge,
    /// The next one is sent when this one has been answered.
    pub ends_burst: bool,
    /// It goes in two writes: the first one ends in its middle.
    pub is_cut: bool,
    /// Before it other rows push those of the commands out of memory.
    pub is_stirred: bool,
}

/// What is played in one go, beginning with empty databases.
#[derive(Clone, Debug)]
pub struct Sequence {
    /// RESP2 or RESP3, by connection.
    pub protocols: [u8; CLIENTS],
    /// Cairn's replies wait for the disk.
    pub is_durable: bool,
    pub steps: Vec<Step>,
}

/// A family with its templates, ready to draw from.
pub struct Source {
    family: &'static Family,
    rows: Vec<(&'static Row, Template)>,
    weights: u32,
}

/// The families of these names, all if there are none.
pub fn sources(names: &[String]) -> Result<Vec<Source>, String> {
    if let Some(name) = names.iter().find(|name| !FAMILIES.iter().any(|family| family.name == **name)) {
        let known: Vec<&str> = FAMILIES.iter().map(|family| family.name).collect();
        return Err(format!("there is no family {name:?}, but {}", known.join(", ")));
    }
    let wanted = FAMILIES.iter().filter(|family| names.is_empty() || names.iter().any(|name| name == family.name));
    wanted
        .map(|&family| {
            let rows = family.rows.iter().map(|row| Ok((row, Template::parse(row.template)?)));
            let weights = family.rows.iter().map(|row| row.weight).sum();
            Ok(Source { family, rows: rows.collect::<Result<_, String>>()?, weights })
        })
        .collect()
}

/// Commands in twenty of which one is made wrong.
const WRONG_ONE_IN: u32 = 20;
/// Most families that one sequence is about.
const FAMILIES_MAX: usize = 4;

impl Sequence {
    /// So many commands.
    pub fn draw(seed: u64, length: usize, sources: &[Source]) -> Sequence {
        let mut rng = Rng::with_seed(seed);
        let families = rng.choose_multiple(sources.iter(), FAMILIES_MAX.min(sources.len()));
        let families = &families[..rng.usize(1..=families.len())];
        let pace = *rng.choice(&[1, 4, 16, 64, BURST_COMMANDS_MAX]).expect("there are some");
        // Long pipelines want one client to go on.
        let switch = *rng.choice(&[12, 12, 200]).expect("there are some");
        let (protocols, is_durable) = (std::array::from_fn(|_| rng.u8(2..=3)), rng.u32(..4) == 0);
        let mut sequence = Sequence { protocols, is_durable, steps: Vec::new() };
        let (mut commands, mut bytes, mut client) = (0, 0, 0);
        while sequence.steps.len() < length {
            let source = families[rng.usize(..families.len())];
            let row = source.choose(&mut rng);
            let words = drawn(&mut rng, source.family, row);
            // Iterations are requests one after the other.
            let is_alone = row.0.judge.cursor().is_some();
            let next = if rng.u32(..switch) == 0 { rng.usize(..CLIENTS) } else { client };
            let len: usize = words.iter().map(Vec::len).sum();
            let is_full = commands >= BURST_COMMANDS_MAX || bytes + len > BURST_BYTES_MAX || rng.usize(..pace) == 0;
            if let Some(last) = sequence.steps.last_mut() {
                last.ends_burst |= is_alone || next != client || is_full;
                if last.ends_burst {
                    (commands, bytes) = (0, 0);
                }
            }
            (client, commands, bytes) = (next, commands + 1, bytes + len);
            let is_stirred = commands == 1 && rng.u32(..16) == 0;
            let is_cut = !is_alone && rng.u32(..32) == 0;
            sequence.steps.push(Step { client, words, judge: row.0.judge, ends_burst: is_alone, is_cut, is_stirred });
        }
        sequence
    }

    /// The steps of these places.
    pub fn keep(&self, places: &[usize]) -> Sequence {
        Sequence { steps: places.iter().map(|&at| self.steps[at].clone()).collect(), ..*self }
    }
}

impl Source {
    fn choose(&self, rng: &mut Rng) -> &(&'static Row, Template) {
        let mut at = rng.u32(..self.weights);
        let chosen = self.rows.iter().find(|(row, _)| {
            let is_here = at < row.weight;
            at = at.wrapping_sub(row.weight);
            is_here
        });
        chosen.expect("the weights are those of the rows")
    }
}

/// A command of a row, now and then with something wrong.
fn drawn(rng: &mut Rng, family: &Family, (row, template): &(&Row, Template)) -> Vec<Vec<u8>> {
    let mut words = template.draw(&mut Draw { rng, prefix: family.prefix });
    if row.judge.cursor().is_some() || rng.u32(..WRONG_ONE_IN) > 0 {
        return words;
    }
    let odd = pools::find(pools::ODD).expect("it is in the list");
    let odd = odd.draw(&mut Draw { rng, prefix: family.prefix });
    let at = rng.usize(1..=words.len());
    match rng.u32(..4) {
        0 => words.insert(at, odd),
        1 if words.len() > 1 => drop(words.remove(at.min(words.len() - 1))),
        _ if words.len() > 1 => {
            let at = at.min(words.len() - 1);
            words[at] = odd;
        }
        _ => words.push(odd),
    }
    words
}

/// As a person would type it.
impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}>", self.client + 1)?;
        for word in &self.words {
            let is_plain =
                !word.is_empty() && word.iter().all(|byte| byte.is_ascii_graphic() && !b"\"'\\".contains(byte));
            if is_plain { write!(f, " {}", shown(word))? } else { write!(f, " \"{}\"", shown(word))? }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_seed_is_a_sequence() {
        let sources = sources(&[]).unwrap();
        let text = |seed| {
            Sequence::draw(seed, 200, &sources)
                .steps
                .iter()
                .map(|step| format!("{step}{}{}", step.ends_burst, step.is_cut))
                .collect::<Vec<_>>()
        };
        assert_eq!(text(5), text(5));
        assert_ne!(text(5), text(6));
    }

    #[test]
    fn bursts_are_of_one_client_and_within_their_bounds() {
        let sources = sources(&[]).unwrap();
        let (mut seen, mut longest) = (BTreeSet::new(), 0);
        for seed in 0..200 {
            let Sequence { steps, .. } = Sequence::draw(seed, 200, &sources);
            let (mut commands, mut bytes) = (0, 0);
            for (step, next) in steps.iter().zip(&steps[1..]) {
                commands += 1;
                assert!(commands <= BURST_COMMANDS_MAX && bytes <= BURST_BYTES_MAX);
                longest = longest.max(commands);
                bytes += step.words.iter().map(Vec::len).sum::<usize>();
                assert!(step.ends_burst || (step.client == next.client && next.judge.cursor().is_none()));
                seen.insert(step.words[0].to_ascii_uppercase());
                if step.ends_burst {
                    (commands, bytes) = (0, 0);
                }
            }
        }
        assert!(seen.len() > 50 && longest > 100, "{longest}: {seen:?}");
    }

    #[test]
    fn families_are_known_by_name() {
        assert_eq!(sources(&["strings".into()]).unwrap().len(), 1);
        assert!(sources(&["nosuch".into()]).is_err());
    }
}
