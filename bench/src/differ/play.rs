//! Plays a sequence: the same to all servers, what they answer compared with what Redis does.

use super::exceptions::{Case, EXCEPTIONS, are_same_numbers};
use super::judge::Judge;
use super::limits::{CLIENTS, SCAN_REQUESTS_MAX};
use super::party::{Party, request};
use super::reply::Reply;
use super::sequence::{Sequence, Step};
use std::collections::BTreeSet;
use std::io;
use std::ops::Range;

/// How it went.
#[derive(Debug)]
pub enum Played {
    Equal,
    /// An exception that ends sequences.
    Ended,
    Differs(Difference),
}

/// What should be equal and is not.
#[derive(Clone, Debug)]
pub struct Difference {
    /// Its place in the sequence.
    pub step: usize,
    /// Which server answers otherwise.
    pub party: usize,
    pub expected: String,
    pub got: String,
    /// It does not answer any more.
    pub is_broken: bool,
}

/// What is counted of many sequences.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    pub sequences: u64,
    pub commands: u64,
    pub errors: u64,
    /// By exception.
    pub excused: Vec<u64>,
}

/// What Redis answers to one step, or an iteration of several requests has led to.
enum Answer {
    One(Reply),
    All(BTreeSet<Vec<Reply>>),
}

/// Plays a sequence; the first party is right.
pub fn play(sequence: &Sequence, parties: &mut [Party], counts: &mut Counts) -> io::Result<Played> {
    counts.excused.resize(EXCEPTIONS.len(), 0);
    counts.sequences += 1;
    for party in parties.iter_mut() {
        party.reset(sequence.protocols, sequence.is_durable)?;
    }
    // What is queued between MULTI and EXEC, by connection: where it is in the sequence.
    let mut queues: [Vec<usize>; CLIENTS] = std::array::from_fn(|_| Vec::new());
    let mut begin = 0;
    while begin < sequence.steps.len() {
        let steps = &sequence.steps[begin..];
        // A sequence that was made smaller may lack the ends of its bursts.
        let is_last = |(at, step): &(usize, &Step)| {
            let next = steps.get(at + 1);
            step.ends_burst || next.is_none_or(|next| next.client != step.client || next.judge.cursor().is_some())
        };
        let len = steps.iter().enumerate().find(is_last).map_or(steps.len(), |(at, _)| at + 1);
        let played = burst(sequence, begin..begin + len, parties, &mut queues, counts)?;
        if !matches!(played, Played::Equal) {
            return Ok(played);
        }
        begin += len;
    }
    Ok(Played::Equal)
}

/// Sends some steps of one connection to all, and compares.
fn burst(
    sequence: &Sequence,
    places: Range<usize>,
    parties: &mut [Party],
    queues: &mut [Vec<usize>; CLIENTS],
    counts: &mut Counts,
) -> io::Result<Played> {
    let first = &sequence.steps[places.start];
    let client = first.client;
    if first.is_stirred {
        for party in parties.iter_mut() {
            // Who has failed does not answer the commands either.
            let _ = party.stir();
        }
    }
    if first.judge.cursor().is_none() {
        let pieces = pieces(&sequence.steps[places.clone()]);
        for party in parties.iter_mut() {
            let _ = pieces.iter().try_for_each(|piece| party.send(client, piece));
        }
    }
    counts.commands += places.len() as u64;
    let mut answers = Vec::new();
    for party in parties.iter_mut() {
        answers.push(places.clone().map(|place| answer(party, &sequence.steps[place])).collect::<Vec<_>>());
    }
    let right: Vec<Answer> = answers.remove(0).into_iter().collect::<io::Result<_>>()?;
    for (at, place) in places.enumerate() {
        counts.errors += u64::from(matches!(&right[at], Answer::One(reply) if reply.is_error()));
        for (other, answers) in answers.iter().enumerate() {
            let shards = parties[other + 1].shards();
            let place = Place { sequence, step: place, queue: &queues[client], shards };
            match place.judge(&right[at], &answers[at], counts) {
                Ok(true) => {}
                Ok(false) => return Ok(Played::Ended),
                Err((expected, got)) => {
                    let is_broken = answers[at].is_err();
                    return Ok(Played::Differs(Difference {
                        step: place.step,
                        party: other + 1,
                        expected,
                        got,
                        is_broken,
                    }));
                }
            }
        }
        if let Answer::One(reply) = &right[at] {
            follow(&mut queues[client], place, &sequence.steps[place], reply);
        }
    }
    Ok(Played::Equal)
}

/// What is written at once: requests, the first and the last one perhaps in part.
fn pieces(steps: &[Step]) -> Vec<Vec<u8>> {
    let mut pieces = vec![Vec::new()];
    for step in steps {
        let bytes = request(&step.words);
        let (front, rest) = bytes.split_at(if step.is_cut { bytes.len() / 2 } else { bytes.len() });
        pieces.last_mut().expect("there is one").extend_from_slice(front);
        if step.is_cut {
            pieces.push(rest.to_vec());
        }
    }
    pieces
}

/// What a reply means for what is queued.
fn follow(queue: &mut Vec<usize>, place: usize, step: &Step, reply: &Reply) {
    if reply.is_line("+QUEUED") {
        queue.push(place);
    } else if ["exec", "discard", "multi"].iter().any(|name| step.words[0].eq_ignore_ascii_case(name.as_bytes()))
        && !reply.begins("-ERR")
    {
        queue.clear();
    }
}

/// Asks one step, if it was not sent yet, and takes what is answered.
fn answer(party: &mut Party, step: &Step) -> io::Result<Answer> {
    let Some(cursor) = step.judge.cursor() else { return party.reply(step.client).map(Answer::One) };
    let by = if matches!(step.judge, Judge::ScannedPairs(_)) { 2 } else { 1 };
    let (mut words, mut all) = (step.words.clone(), BTreeSet::new());
    for _ in 0..SCAN_REQUESTS_MAX {
        party.send(step.client, &request(&words))?;
        let reply = party.reply(step.client)?;
        let Some([Reply::Bulk { bytes: Some(next), .. }, found]) = reply.items() else { return Ok(Answer::One(reply)) };
        let Some(found) = found.items() else { return Ok(Answer::One(reply)) };
        all.extend(found.chunks(by).map(<[Reply]>::to_vec));
        if next == b"0" {
            return Ok(Answer::All(all));
        }
        words[cursor].clone_from(next);
    }
    Err(io::Error::other(format!("an iteration has not ended after {SCAN_REQUESTS_MAX} requests")))
}

/// Where two answers are compared.
struct Place<'a> {
    sequence: &'a Sequence,
    step: usize,
    /// What this connection has queued.
    queue: &'a [usize],
    shards: u16,
}

impl Place<'_> {
    /// Whether the sequence goes on; what was expected and what was answered if that differs.
    fn judge(
        &self,
        expected: &Answer,
        got: &io::Result<Answer>,
        counts: &mut Counts,
    ) -> Result<bool, (String, String)> {
        match (expected, got) {
            (_, Err(error)) => Err((expected.to_string(), error.to_string())),
            (Answer::One(expected), Ok(Answer::One(got))) => self.judge_reply(expected, got, counts),
            (Answer::All(expected), Ok(Answer::All(got))) if are_same(expected, got) => Ok(true),
            (expected, Ok(got)) => Err((expected.to_string(), got.to_string())),
        }
    }

    fn judge_reply(&self, expected: &Reply, got: &Reply, counts: &mut Counts) -> Result<bool, (String, String)> {
        let step = &self.sequence.steps[self.step];
        let queued = |reply: &Reply| reply.items().is_some_and(|items| items.len() == self.queue.len());
        if !step.words[0].eq_ignore_ascii_case(b"exec") || !queued(expected) || !queued(got) {
            let judge = if expected.is_line("+QUEUED") { Judge::Same } else { step.judge };
            return self.judge_one(step, judge, expected, got, counts);
        }
        let parts = expected.items().into_iter().flatten().zip(got.items().into_iter().flatten());
        for (&place, (expected, got)) in self.queue.iter().zip(parts) {
            let step = &self.sequence.steps[place];
            if !self.judge_one(step, step.judge.queued(), expected, got, counts)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn judge_one(
        &self,
        step: &Step,
        judge: Judge,
        expected: &Reply,
        got: &Reply,
        counts: &mut Counts,
    ) -> Result<bool, (String, String)> {
        if judge.are_equal(expected, got) {
            return Ok(true);
        }
        let is_in_exec = !std::ptr::eq(step, &self.sequence.steps[self.step]);
        let earlier = &self.sequence.steps[..self.step];
        let case = Case { words: &step.words, expected, got, shards: self.shards, is_in_exec, earlier };
        match EXCEPTIONS.iter().position(|exception| (exception.holds)(&case)) {
            Some(at) => {
                counts.excused[at] += 1;
                Ok(!EXCEPTIONS[at].ends)
            }
            None => Err((expected.to_string(), got.to_string())),
        }
    }
}

/// Whether iterations have led to the same, however numbers are written.
fn are_same(expected: &BTreeSet<Vec<Reply>>, got: &BTreeSet<Vec<Reply>>) -> bool {
    let pairs = |expected: &[Reply], got: &[Reply]| {
        expected.len() == got.len() && expected.iter().zip(got).all(|(expected, got)| are_same_numbers(expected, got))
    };
    expected.len() == got.len() && expected.iter().zip(got).all(|(expected, got)| pairs(expected, got))
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Answer::One(reply) => write!(f, "{reply}"),
            Answer::All(all) => {
                write!(f, "altogether {}:", all.len())?;
                all.iter().flatten().try_for_each(|reply| write!(f, " {reply}"))
            }
        }
    }
}
