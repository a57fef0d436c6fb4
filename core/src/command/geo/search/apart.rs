//! Searches that store what they find on another shard than they look on: some more of it with each step.

use super::{Finding, Order, Reader as QueryReader, Way, event};
use crate::collection::zset::ZSet;
use crate::command::Call;
use crate::command::long::{self, Long};
use crate::command::program::Steps;
use crate::command::zsets::steps::store_found;
use crate::error::Stop;
use crate::resp::encode::Reply;
use crate::resp::read::{Item, Reader};
use crate::shard::{Kind, Shard};

/// A step, with the arguments of the command behind it, but in place of its target the cell that is searched, how many of its members have been looked at, and how many
/// have been found: whether that is all, cell and members from then on, order and number of what is stored, and some more: members, the numbers that are
/// stored, and how far they are.
pub fn of_store(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let way = match call.spec.name {
        "geo|stored" => Way::Stored,
        "geo|radius" => Way::Coordinates,
        _ => Way::Member,
    };
    let key = &call.args[if way == Way::Stored { 2 } else { 1 }];
    let zset = shard.read_collection(call, key, Kind::ZSet)?.map(ZSet::new);
    let mut query = QueryReader { shard, call, zset, way, takes_store: true }.read()?;
    let count = query.count.map_or(-1, |count| count as i64);
    let known = query.target.expect("what is stored has a target");
    let [cell, passed, found] = numbers(known);
    query.count = query.count.map(|count| count.saturating_sub(if query.is_any { found } else { 0 }));
    let mut finding = Finding { cell, passed: passed as u64, ..Finding::default() };
    let is_over = match zset {
        Some(zset) => query.find(shard, call, &zset, &mut finding, shard.slices.items.get())?,
        None => true,
    };
    let Finding { found, distances, cell, passed, .. } = &finding;
    reply.array(5 + 3 * found.len());
    let order = query.order().map_or(0, |order| if order == Order::Ascending { 1 } else { -1 });
    for number in [i64::from(is_over), *cell as i64, *passed as i64, order, count] {
        reply.integer(number);
    }
    for (at, distance) in distances.iter().enumerate() {
        let (member, score) = found.get(at);
        reply.bulk(member);
        reply.bulk(&query.stored(score, *distance).to_le_bytes());
        reply.bulk(&distance.to_le_bytes());
    }
    Ok(())
}

fn numbers(text: &[u8]) -> [usize; 3] {
    let mut numbers = text.split(|byte| *byte == b' ').map(|number| std::str::from_utf8(number).ok()?.parse().ok());
    std::array::from_fn(|_| numbers.next().flatten().expect("a step says how far it has come"))
}

/// A search whose steps are taken elsewhere.
struct Gathering {
    words: Vec<Vec<u8>>,
    /// Which of them is the target.
    target: usize,
    order: Option<Order>,
    count: usize,
    finding: Finding,
}

impl Gathering {
    /// Asks for some more.
    fn ask(&mut self, steps: &mut dyn Steps) -> Result<(), Stop> {
        let Finding { found, distances, cell, passed, .. } = &mut self.finding;
        let known = format!("{cell} {passed} {}", found.len());
        let mut words: Vec<&[u8]> = self.words.iter().map(Vec::as_slice).collect();
        words[self.target] = known.as_bytes();
        let answer = steps.run(&words)?;
        let mut reader = Reader::new(&answer);
        let items = reader.array();
        let mut integer = || if let Some(Item::Integer(integer)) = reader.next() { integer } else { 0 };
        let is_over = integer() == 1;
        (*cell, *passed) = (integer() as usize, integer() as u64);
        self.order = match integer() {
            0 => None,
            1 => Some(Order::Ascending),
            _ => Some(Order::Descending),
        };
        self.count = usize::try_from(integer()).unwrap_or(usize::MAX);
        let mut text = || reader.text().unwrap_or_default();
        let number = |text: &[u8]| text.try_into().map(f64::from_le_bytes).expect("a double has 8 bytes");
        for _ in 0..items.saturating_sub(5) / 3 {
            let member = text();
            found.push(member, number(text()));
            distances.push(number(text()));
        }
        self.finding.end_run(self.order);
        self.finding.is_over = is_over;
        Ok(())
    }

    /// Takes out so many more as they are stored. Whether that is all.
    fn gather(&mut self, items: u64) -> bool {
        let finding = &mut self.finding;
        let total = finding.found.len().min(self.count);
        let end = total.min(finding.taken.saturating_add(items as usize));
        while finding.taken < end {
            let at = finding.take(self.order);
            let (member, number) = finding.found.get(at);
            finding.storing.found.push(member, number);
        }
        end == total
    }
}

impl Long for Gathering {
    fn piece(&mut self, steps: &mut dyn Steps, items: u64) -> Result<bool, Stop> {
        if !self.finding.is_over {
            self.ask(steps)?;
        }
        Ok(self.finding.is_over && self.gather(items))
    }
}

/// Those that store where their keys are on two shards.
pub fn program(call: &Call<'_>, steps: &mut dyn Steps, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let (step, way): (&[u8], _) = match call.spec.name {
        "geosearchstore" => (b"geo|stored", Way::Stored),
        "georadius" => (b"geo|radius", Way::Coordinates),
        _ => (b"geo|member", Way::Member),
    };
    let target = call.spec.row_keys(call.args).find(|at| (way == Way::Stored) == (*at == 1));
    let target = target.expect("a command with one key is on one shard");
    let begun = || {
        let mut words: Vec<Vec<u8>> = call.args.iter().map(<[u8]>::to_vec).collect();
        words[0] = step.to_vec();
        Gathering { words, target, order: None, count: usize::MAX, finding: Finding::default() }
    };
    let work = long::work(steps, || Ok(begun()))?;
    long::follow(steps, work, |steps, work| {
        store_found(steps, (&call.args[target], event(way)), &mut work.finding.storing, reply)
    })
}
