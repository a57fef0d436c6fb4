//! SORT piece by piece ([`crate::command::long`]): its elements are gathered, weighed, put in order in runs, and the runs merged; then what GET asks for is
//! looked up, of those that are answered.

use super::{Get, OF_HASH, Pattern, Query, WHOLE};
use crate::command::long::Long;
use crate::command::long::bag::{Bag, Runs};
use crate::command::long::stock::Storing;
use crate::command::program::Steps;
use crate::error::{Refusal, Stop};
use crate::limits::SLICE_APART_BYTES;
use crate::number::double;
use crate::resp::encode::Reply;
use crate::resp::read::{Item, Reader};
use crate::resp::replies::Replies;
use std::cmp::Ordering;
use std::ops::Range;

enum Phase {
    /// What kind of value is it?
    Begins,
    /// How many elements are there?
    Counts(Source),
    /// The elements from that one on, up to another one, come next.
    Gathers(Source, Range<u64>),
    /// The element of that number is weighed next.
    Weighs(usize),
    /// The runs become one order.
    Merges,
    /// So many of those that are answered are shown, or are to be stored.
    Shows(usize),
    Done,
}

/// Where the elements come from.
#[derive(Clone, Copy)]
enum Source {
    List,
    Ascending,
    Descending,
    Set,
}

/// A SORT under way.
pub(super) struct Sorting {
    key: Vec<u8>,
    by: Option<Pattern>,
    get: Vec<Get>,
    is_unsorted: bool,
    is_descending: bool,
    is_text: bool,
    offset: i64,
    limit: i64,
    stores: bool,
    is_resp3: bool,
    phase: Phase,
    /// Elements that are looked at and keys that are looked up, when that is known.
    work: Option<u64>,
    /// With their weights, where these are numbers.
    elements: Bag,
    /// The weights that are texts: 1 beside one that is there.
    weights: Bag,
    runs: Runs,
    /// The numbers of the elements in their order, up to the last one that is answered.
    answered: Vec<u32>,
    /// What is stored.
    pub stored: Storing,
    /// What is answered, and the end of it, as long as that is short.
    pub out: Replies,
    part: Replies,
}

impl Sorting {
    pub fn new(query: &Query<'_>, key: &[u8], is_resp3: bool) -> Sorting {
        let Query { by, is_unsorted, offset, limit, get, is_descending, is_text, target } = query.clone();
        Sorting {
            key: key.to_vec(),
            by,
            get,
            is_unsorted,
            is_descending,
            is_text,
            offset,
            limit,
            stores: target.is_some(),
            is_resp3,
            phase: Phase::Begins,
            work: None,
            elements: Bag::default(),
            weights: Bag::default(),
            runs: Runs::default(),
            answered: Vec::new(),
            stored: Storing::default(),
            out: Replies::default(),
            part: Replies::default(),
        }
    }

    /// The places of so many elements that are answered.
    fn range(&self, len: u64) -> Range<u64> {
        let start = u64::try_from(self.offset).unwrap_or(0);
        let end = u64::try_from(self.limit).map_or(len, |limit| start.saturating_add(limit).min(len));
        if start >= end { 0..0 } else { start..end }
    }

    fn begin(&mut self, steps: &mut dyn Steps) -> Result<(), Stop> {
        let kind = steps.run(&[b"type", &self.key])?;
        let source = match Reader::new(&kind).text().unwrap_or_default() {
            b"none" => {
                self.phase = Phase::Merges;
                return Ok(());
            }
            b"list" => Source::List,
            b"zset" if self.is_descending && self.is_unsorted => Source::Descending,
            b"zset" => Source::Ascending,
            b"set" => Source::Set,
            _ => return Err(Refusal::WrongType.into()),
        };
        self.phase = Phase::Counts(source);
        Ok(())
    }

    fn count(&mut self, steps: &mut dyn Steps, source: Source) -> Result<(), Stop> {
        let count: &[u8] = match source {
            Source::List => b"llen",
            Source::Ascending | Source::Descending => b"zcard",
            Source::Set => b"scard",
        };
        let len = steps.run(&[count, &self.key])?;
        let Some(Item::Integer(len)) = Reader::new(&len).next() else { unreachable!("a number of elements is one") };
        if self.is_unsorted && matches!(source, Source::Set) {
            // A set has no order that is the same everywhere: it gets one.
            (self.is_unsorted, self.is_text) = (false, true);
        }
        // Only those that are answered, if their order is to stay.
        let answered = self.range(len as u64);
        let range = if self.is_unsorted { answered.clone() } else { 0..len as u64 };
        let (gathered, shown) = (range.end - range.start, answered.end - answered.start);
        let keys = shown.saturating_mul(self.get.len() as u64);
        self.work = Some(gathered.saturating_mul(1 + u64::from(self.by.is_some())).saturating_add(keys));
        self.phase = Phase::Gathers(source, range);
        Ok(())
    }

    fn gather(&mut self, steps: &mut dyn Steps, source: Source, range: Range<u64>, items: u64) -> Result<(), Stop> {
        if range.is_empty() {
            self.phase = if self.is_unsorted { Phase::Merges } else { Phase::Weighs(0) };
            return Ok(());
        }
        let (first, last) = (range.start, range.end.min(range.start.saturating_add(items)) - 1);
        let (from, to) = (first.to_string(), last.to_string());
        let ends: [&[u8]; 2] = [from.as_bytes(), to.as_bytes()];
        let answer = match source {
            Source::List => steps.run(&[b"lrange", &self.key, ends[0], ends[1]])?,
            Source::Ascending => steps.run(&[b"zrange", &self.key, ends[0], ends[1]])?,
            Source::Descending => steps.run(&[b"zrevrange", &self.key, ends[0], ends[1]])?,
            Source::Set => steps.run(&[b"set|slice", &self.key, ends[0]])?,
        };
        let mut reader = Reader::new(&answer);
        let before = self.elements.len();
        let count = reader.array();
        if let Source::Set = source {
            // How many there are, and where the next slice begins.
            let _known = (reader.next(), reader.next());
        }
        let members = if let Source::Set = source { count - 2 } else { count };
        (0..members).for_each(|_| self.elements.push(reader.text().unwrap_or_default(), 0.0));
        let got = (self.elements.len() - before) as u64;
        // It is locked, so they are as many as they were.
        let start = if got == 0 { range.end } else { first + got };
        self.phase = Phase::Gathers(source, start..range.end);
        Ok(())
    }

    /// Finds out what some elements are sorted by, and puts them in order.
    fn weigh(&mut self, steps: &mut dyn Steps, from: usize, items: u64) -> Result<(), Stop> {
        let end = self.elements.len().min(from.saturating_add(items as usize));
        let asked = self.by.iter().flat_map(|by| (from..end).map(move |at| (by, at)));
        let asked = asked.map(|(by, at)| (by, self.elements.text(at)));
        let found = look_up(asked, steps)?;
        let mut found = found.texts();
        for at in from..end {
            let weight = if self.by.is_some() { found.next().flatten() } else { None };
            match (self.is_text, &self.by) {
                (true, Some(_)) => {
                    let is_there = if weight.is_some() { 1.0 } else { 0.0 };
                    self.weights.push(weight.unwrap_or_default(), is_there);
                }
                (true, None) => {}
                (false, Some(_)) => self.elements.set_number(at, weight.map_or(Ok(0.0), number)?),
                (false, None) => self.elements.set_number(at, number(self.elements.text(at))?),
            }
        }
        let mut runs = std::mem::take(&mut self.runs);
        runs.push(end, |one, other| self.compare(one, other));
        self.runs = runs;
        self.phase = if end < self.elements.len() { Phase::Weighs(end) } else { Phase::Merges };
        Ok(())
    }

    fn compare(&self, one: usize, other: usize) -> Ordering {
        let (element, than) = (self.elements.get(one), self.elements.get(other));
        let order = match (self.is_text, &self.by) {
            (false, _) => element.1.partial_cmp(&than.1).unwrap_or(Ordering::Equal).then_with(|| element.0.cmp(than.0)),
            (true, Some(_)) => {
                let (weight, than) = (self.weights.get(one), self.weights.get(other));
                // Nothing comes before what is there.
                weight.1.total_cmp(&than.1).then_with(|| weight.0.cmp(than.0))
            }
            (true, None) => element.0.cmp(than.0),
        };
        if self.is_descending { order.reverse() } else { order }
    }

    /// The places of the elements that are answered, in their order.
    fn answers(&self) -> Range<u64> {
        let len = self.elements.len() as u64;
        // Of those that stay in their order no others were gathered.
        if self.is_unsorted { 0..len } else { self.range(len) }
    }

    /// Puts some more in their order, up to the last one that is answered.
    fn merge(&mut self, items: u64) {
        let (before, end) = (self.answered.len() as u64, self.answers().end);
        let mut runs = std::mem::take(&mut self.runs);
        for at in before..end.min(before.saturating_add(items)) {
            let number = if self.is_unsorted { at as usize } else { runs.next(|one, other| self.compare(one, other)) };
            self.answered.push(number as u32);
        }
        self.runs = runs;
        if self.answered.len() as u64 == end {
            self.phase = Phase::Shows(0);
        }
    }

    /// Shows some, or keeps them to be stored.
    fn show(&mut self, steps: &mut dyn Steps, shown: usize, items: u64) -> Result<(), Stop> {
        let range = self.answers();
        let answered = &self.answered[range.start as usize..range.end as usize];
        let numbers = &answered[shown..answered.len().min(shown.saturating_add(items as usize))];
        let keys = self.get.iter().filter_map(|get| if let Get::Key(key) = get { Some(key) } else { None });
        let asked = numbers.iter().flat_map(|at| keys.clone().map(|key| (key, self.elements.text(*at as usize))));
        let found = look_up(asked, steps)?;
        let mut found = found.texts();
        let gets = if self.get.is_empty() { &[Get::Element][..] } else { &self.get };
        let mut part = std::mem::take(&mut self.part);
        let mut reply = Reply::new(&mut part, self.is_resp3);
        if shown == 0 {
            reply.array(answered.len() * self.get.len().max(1));
        }
        for at in numbers {
            let element = self.elements.text(*at as usize);
            for get in gets {
                let value = match get {
                    Get::Element => Some(element),
                    Get::Nothing => None,
                    Get::Key(_) => found.next().flatten(),
                };
                match value {
                    _ if self.stores => self.stored.found.push(value.unwrap_or_default(), 0.0),
                    Some(value) => reply.bulk(value),
                    None => reply.null(),
                }
            }
        }
        let shown = shown + numbers.len();
        self.phase = Phase::Shows(shown);
        let is_last = shown as u64 == range.end - range.start;
        if !is_last && part.weight() < SLICE_APART_BYTES {
            // Many short pieces would be copied behind each other.
            self.part = part;
            return Ok(());
        }
        self.out.append_apart(part);
        if is_last {
            self.out.close();
            self.phase = Phase::Done;
        }
        Ok(())
    }
}

impl Long for Sorting {
    fn piece(&mut self, steps: &mut dyn Steps, items: u64) -> Result<bool, Stop> {
        let looks = steps.looks();
        let elements = |keys: usize| if keys == 0 { items } else { (looks / keys as u64).clamp(1, items) };
        loop {
            match &self.phase {
                Phase::Begins => self.begin(steps)?,
                Phase::Counts(source) => self.count(steps, *source)?,
                Phase::Gathers(source, range) => self.gather(steps, *source, range.clone(), items)?,
                Phase::Weighs(from) => {
                    self.weigh(steps, *from, elements(usize::from(self.by.is_some())))?;
                }
                Phase::Merges => self.merge(items),
                Phase::Shows(shown) => {
                    let keys = self.get.iter().filter(|get| matches!(get, Get::Key(_))).count();
                    self.show(steps, *shown, elements(keys))?;
                }
                Phase::Done => return Ok(true),
            }
            // What is small is done at once.
            if self.work.is_some_and(|work| work > items) {
                return Ok(matches!(self.phase, Phase::Done));
            }
        }
    }
}

fn number(text: &[u8]) -> Result<f64, Refusal> {
    // What is too large is no infinity here.
    let is_meant = |number: &f64| number.is_finite() || text.to_ascii_lowercase().contains(&b'n');
    double::parse_bound(text)
        .filter(is_meant)
        .ok_or(Refusal::text("ERR One or more scores can't be converted into double"))
}

/// What was looked up: an array's items.
struct Found(Vec<u8>);

impl Found {
    fn texts(&self) -> impl Iterator<Item = Option<&[u8]>> {
        let mut reader = Reader::new(&self.0);
        let count = reader.array();
        (0..count).map(move |_| reader.text())
    }
}

/// What is at the keys of these patterns, all with one step.
fn look_up<'a>(asked: impl Iterator<Item = (&'a Pattern, &'a [u8])>, steps: &mut dyn Steps) -> Result<Found, Stop> {
    let pairs: Vec<(Vec<u8>, Vec<u8>)> = asked
        .map(|(pattern, element)| {
            let what = pattern.field.as_ref().map_or(vec![WHOLE], |field| [&[OF_HASH], field.as_slice()].concat());
            (pattern.key(element), what)
        })
        .collect();
    if pairs.is_empty() {
        return Ok(Found(Vec::new()));
    }
    let mut words: Vec<&[u8]> = vec![b"sort|look"];
    words.extend(pairs.iter().flat_map(|(key, what)| [key.as_slice(), what.as_slice()]));
    steps.run(&words).map(Found)
}
