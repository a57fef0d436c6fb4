//! Commands that look for places in a circle or a box.

mod apart;

use super::hash::{self, Point, Shape};
use super::place::{parse_point, parse_unit, put_distance, put_point};
use crate::collection::zset::{Cut, ZSet};
use crate::command::Call;
use crate::command::args::Args;
use crate::command::long::bag::{Bag, Runs};
use crate::command::long::stock::Storing;
use crate::command::zsets::range::store_found;
use crate::error::{Refusal, Stop};
use crate::number::double;
use crate::resp::encode::Reply;
use crate::shard::{Kind, Shard};
use std::cmp::Ordering;
use std::ops::ControlFlow;

pub use apart::{of_store, program};

/// Which command it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// `key longitude latitude radius unit`
    Coordinates,
    /// `key member radius unit`
    Member,
    /// `key`, and words for the rest.
    Words,
    /// The same with a destination in front.
    Stored,
}

/// A shape and the meters of its unit.
type Form = (Shape, f64);

/// What is looked for, and what is answered.
#[derive(Default)]
struct Query<'b> {
    middle: Option<Point>,
    shape: Option<Form>,
    has_distance: bool,
    has_hash: bool,
    has_point: bool,
    is_any: bool,
    /// Nearest first, or farthest.
    order: Option<Order>,
    count: Option<usize>,
    target: Option<&'b [u8]>,
    /// What is stored is the distance.
    stores_distance: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Ascending,
    Descending,
}

impl Order {
    fn compare(self, distances: &[f64], one: usize, other: usize) -> Ordering {
        let order = distances[one].total_cmp(&distances[other]);
        if self == Order::Descending { order.reverse() } else { order }
    }
}

fn parse_circle(args: &Args<'_>, at: usize) -> Result<Form, Refusal> {
    let radius = double::parse(&args[at]).ok_or(Refusal::text("ERR need numeric radius"))?;
    if radius < 0.0 {
        return Err(Refusal::text("ERR radius cannot be negative"));
    }
    let unit = parse_unit(args, at + 1)?;
    Ok((Shape::Circle { radius: radius * unit }, unit))
}

fn parse_box(args: &Args<'_>, at: usize) -> Result<Form, Refusal> {
    let width = double::parse(&args[at]).ok_or(Refusal::text("ERR need numeric width"))?;
    let height = double::parse(&args[at + 1]).ok_or(Refusal::text("ERR need numeric height"))?;
    if width < 0.0 || height < 0.0 {
        return Err(Refusal::text("ERR height or width cannot be negative"));
    }
    let unit = parse_unit(args, at + 2)?;
    Ok((Shape::Box { width: width * unit, height: height * unit }, unit))
}

/// What reads arguments: they are judged with the sorted set in view.
struct Reader<'s, 'b> {
    shard: &'s Shard,
    call: &'s Call<'b>,
    zset: Option<ZSet<'s>>,
    way: Way,
    takes_store: bool,
}

impl<'b> Reader<'_, 'b> {
    /// Where a member is. Without a sorted set that is not asked.
    fn point_of(&self, member: &[u8]) -> Result<Option<Point>, Stop> {
        let Some(zset) = &self.zset else { return Ok(None) };
        let score = zset.score(self.shard, self.call, member)?;
        let score = score.ok_or(Refusal::text("ERR could not decode requested zset member"))?;
        Ok(Some(hash::point_of(score)))
    }

    fn read(&self) -> Result<Query<'b>, Stop> {
        let args = self.call.args;
        let mut query = Query::default();
        let first = match self.way {
            Way::Coordinates => {
                query.middle = Some(parse_point(args, 2)?);
                query.shape = Some(parse_circle(args, 4)?);
                6
            }
            Way::Member => {
                query.middle = self.point_of(&args[2])?;
                if query.middle.is_some() {
                    query.shape = Some(parse_circle(args, 3)?);
                }
                5
            }
            Way::Words => 2,
            Way::Stored => {
                query.target = args.get(1);
                3
            }
        };
        let (mut has_member, mut has_place) = (false, false);
        let mut at = first;
        while at < args.len() {
            at += self.read_word(at, &mut query, &mut has_member, &mut has_place)?;
        }
        self.judge(&query, has_member || has_place)?;
        Ok(query)
    }

    /// Reads an option; answers how many arguments it has.
    fn read_word(
        &self,
        at: usize,
        query: &mut Query<'b>,
        has_member: &mut bool,
        has_place: &mut bool,
    ) -> Result<usize, Stop> {
        let args = self.call.args;
        let left = args.len() - at - 1;
        let has_words = matches!(self.way, Way::Words | Way::Stored);
        let is = |word: &str, operands: usize| left >= operands && args.is(at, word);
        let mut taken = 1;
        if is("withdist", 0) {
            query.has_distance = true;
        } else if is("withhash", 0) {
            query.has_hash = true;
        } else if is("withcoord", 0) {
            query.has_point = true;
        } else if is("any", 0) {
            query.is_any = true;
        } else if is("asc", 0) {
            query.order = Some(Order::Ascending);
        } else if is("desc", 0) {
            query.order = Some(Order::Descending);
        } else if is("count", 1) {
            let count = args.integer(at + 1)?;
            let count = usize::try_from(count).ok().filter(|count| *count > 0);
            query.count = Some(count.ok_or(Refusal::text("ERR COUNT must be > 0"))?);
            taken = 2;
        } else if (is("store", 1) || is("storedist", 1)) && self.takes_store && !has_words {
            query.target = args.get(at + 1);
            query.stores_distance = args.is(at, "storedist");
            taken = 2;
        } else if is("storedist", 0) && self.way == Way::Stored {
            query.stores_distance = true;
        } else if is("frommember", 1) && has_words && !*has_place {
            query.middle = self.point_of(&args[at + 1])?;
            *has_member = true;
            taken = 2;
        } else if is("fromlonlat", 2) && has_words && !*has_member {
            query.middle = Some(parse_point(args, at + 1)?);
            *has_place = true;
            taken = 3;
        } else if is("byradius", 2) && has_words && !matches!(query.shape, Some((Shape::Box { .. }, _))) {
            query.shape = Some(parse_circle(args, at + 1)?);
            taken = 3;
        } else if is("bybox", 3) && has_words && !matches!(query.shape, Some((Shape::Circle { .. }, _))) {
            query.shape = Some(parse_box(args, at + 1)?);
            taken = 4;
        } else {
            return Err(Refusal::Syntax.into());
        }
        Ok(taken)
    }

    fn judge(&self, query: &Query<'_>, has_middle: bool) -> Result<(), Refusal> {
        let has_words = matches!(self.way, Way::Words | Way::Stored);
        if query.target.is_some() && (query.has_distance || query.has_hash || query.has_point) {
            let what = if self.way == Way::Stored { "GEOSEARCHSTORE" } else { "STORE option in GEORADIUS" };
            let text = format!("ERR {what} is not compatible with WITHDIST, WITHHASH and WITHCOORD options");
            return Err(Refusal::text(text));
        }
        // As it was typed. Of a step: whose it is.
        let typed = if self.call.args[0] == *b"geo|stored" { &b"geosearchstore"[..] } else { &self.call.args[0] };
        let name = || String::from_utf8_lossy(typed).into_owned();
        if has_words && !has_middle {
            let text = format!("ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for {}", name());
            return Err(Refusal::text(text));
        }
        if has_words && query.shape.is_none() {
            let text = format!("ERR exactly one of BYRADIUS and BYBOX can be specified for {}", name());
            return Err(Refusal::text(text));
        }
        if query.is_any && query.count.is_none() {
            return Err(Refusal::text("ERR the ANY argument requires COUNT argument"));
        }
        Ok(())
    }
}

/// A search under way.
#[derive(Default)]
struct Finding {
    /// Members and scores of the places that were found.
    found: Bag,
    /// How far they are, in meters.
    distances: Vec<f64>,
    runs: Runs,
    /// The cell that is searched, and how many of its members have been looked at.
    cell: usize,
    passed: u64,
    /// All has been found.
    is_over: bool,
    /// Of those, so many have been taken, in their order.
    taken: usize,
    /// The same as it is stored.
    storing: Storing,
}

impl Finding {
    /// What was found in this piece is in order by itself.
    fn end_run(&mut self, order: Option<Order>) {
        if let Some(order) = order {
            self.runs.push(self.found.len(), |one, other| order.compare(&self.distances, one, other));
        }
    }

    /// The number of the next one; there is one.
    fn take(&mut self, order: Option<Order>) -> usize {
        let at = match order {
            Some(order) => self.runs.next(|one, other| order.compare(&self.distances, one, other)),
            None => self.taken,
        };
        self.taken += 1;
        at
    }
}

impl Query<'_> {
    /// Finds some more. Whether that is all.
    fn find(
        &self,
        shard: &Shard,
        call: &Call<'_>,
        zset: &ZSet<'_>,
        finding: &mut Finding,
        mut items: u64,
    ) -> Result<bool, Stop> {
        let middle = self.middle.expect("it was read with the sorted set in view");
        let (shape, _) = self.shape.expect("it was read with the sorted set in view");
        let enough = self.count.filter(|_| self.is_any).unwrap_or(usize::MAX);
        let Finding { found, distances, cell, passed, .. } = finding;
        let cells = shape.cells(middle);
        while let Some(area) = cells.get(*cell).filter(|_| found.len() < enough) {
            let (from, to) = area.scores();
            let ranks = zset.ranks(shard, call, Cut::BeforeScore(from), Cut::BeforeScore(to))?;
            let at = ranks.start + *passed;
            if at >= ranks.end {
                (*cell, *passed) = (*cell + 1, 0);
                continue;
            }
            if items == 0 {
                return Ok(false);
            }
            let (most, before, mut seen) = (items.min(ranks.end - at), found.len(), 0);
            let visited = zset.visit(shard, call, at, |member, score| {
                seen += 1;
                if let Some(distance) = shape.distance(middle, hash::point_of(score)) {
                    found.push(member, score);
                    distances.push(distance);
                }
                if seen == most || found.len() >= enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            if let Err(stop) = visited {
                // It is gone through once more.
                found.truncate(before);
                distances.truncate(before);
                return Err(stop);
            }
            (*passed, items) = (*passed + seen, items - seen);
        }
        Ok(true)
    }

    /// The order in which they are answered, if they have one.
    fn order(&self) -> Option<Order> {
        // The nearest ones are meant if nothing else is said.
        self.order.or(self.count.filter(|_| !self.is_any).map(|_| Order::Ascending))
    }

    /// How many of those that were found are answered.
    fn total(&self, finding: &Finding) -> usize {
        finding.found.len().min(self.count.unwrap_or(usize::MAX))
    }

    fn unit(&self) -> f64 {
        self.shape.map_or(1.0, |(_, unit)| unit)
    }

    /// Answers a slice.
    fn answer(&self, shard: &Shard, finding: &mut Finding, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let total = self.total(finding);
        let mut slice = shard.slice(total as u64)?;
        if slice.is_first() {
            reply.array(total);
        }
        while finding.taken < total {
            let at = finding.take(self.order());
            let (member, score) = finding.found.get(at);
            self.put(member, score, finding.distances[at], reply);
            if slice.next(reply).is_break() {
                break;
            }
        }
        shard.end_slice(&slice)
    }

    fn put(&self, member: &[u8], score: f64, distance: f64, reply: &mut Reply<'_>) {
        let extras = usize::from(self.has_distance) + usize::from(self.has_hash) + usize::from(self.has_point);
        if extras > 0 {
            reply.array(1 + extras);
        }
        reply.bulk(member);
        if self.has_distance {
            put_distance(reply, distance / self.unit());
        }
        if self.has_hash {
            reply.integer(score as i64);
        }
        if self.has_point {
            put_point(reply, hash::point_of(score));
        }
    }

    /// What is stored of a member.
    fn stored(&self, score: f64, distance: f64) -> f64 {
        if self.stores_distance { distance / self.unit() } else { score }
    }

    /// Takes out so many more as they are stored. Whether that is all.
    fn gather(&self, finding: &mut Finding, items: u64) -> bool {
        let total = self.total(finding);
        let end = total.min(finding.taken.saturating_add(items as usize));
        while finding.taken < end {
            let at = finding.take(self.order());
            let (member, score) = finding.found.get(at);
            let number = self.stored(score, finding.distances[at]);
            finding.storing.found.push(member, number);
        }
        end == total
    }
}

/// Goes on with a search until all is found.
fn find<'b>(
    shard: &Shard,
    call: &Call<'b>,
    way: Way,
    takes_store: bool,
    finding: &mut Finding,
) -> Result<Query<'b>, Stop> {
    let key = &call.args[if way == Way::Stored { 2 } else { 1 }];
    let zset = shard.read_collection(call, key, Kind::ZSet)?.map(ZSet::new);
    let query = Reader { shard, call, zset, way, takes_store }.read()?;
    if let Some(zset) = zset.filter(|_| !finding.is_over) {
        let is_over = query.find(shard, call, &zset, finding, shard.items_now())?;
        finding.end_run(query.order());
        if !is_over {
            return Err(Stop::Long);
        }
    }
    finding.is_over = true;
    Ok(query)
}

/// `takes_store`: STORE and STOREDIST are among the options.
fn search(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>, way: Way, takes_store: bool) -> Result<(), Stop> {
    let mut finding = shard.rested::<Finding>().unwrap_or_default();
    match search_on(shard, call, reply, (way, takes_store), &mut finding) {
        Ok(()) => {
            shard.keep(finding);
            Ok(())
        }
        Err(stop) => Err(shard.rest(finding, stop)),
    }
}

fn search_on(
    shard: &mut Shard,
    call: &Call<'_>,
    reply: &mut Reply<'_>,
    (way, takes_store): (Way, bool),
    finding: &mut Finding,
) -> Result<(), Stop> {
    let query = find(shard, call, way, takes_store, finding)?;
    let Some(target) = query.target else {
        return query.answer(shard, finding, reply);
    };
    if !query.gather(finding, shard.items_now()) {
        return Err(Stop::Long);
    }
    let stored = store_found(shard, call, (target, event(way)), &mut finding.storing)?;
    reply.integer(stored);
    Ok(())
}

/// What it is called when something is stored.
fn event(way: Way) -> &'static str {
    if way == Way::Stored { "geosearchstore" } else { "georadiusstore" }
}

pub fn georadius(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    search(shard, call, reply, Way::Coordinates, true)
}

pub fn georadius_ro(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    search(shard, call, reply, Way::Coordinates, false)
}

pub fn georadiusbymember(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    search(shard, call, reply, Way::Member, true)
}

pub fn georadiusbymember_ro(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    search(shard, call, reply, Way::Member, false)
}

pub fn geosearch(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    search(shard, call, reply, Way::Words, false)
}

pub fn geosearchstore(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    search(shard, call, reply, Way::Stored, false)
}
