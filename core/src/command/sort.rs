//! SORT and SORT_RO. What they answer follows Redis 7.2's `sort.c`, the order of its checks included.
//!
//! Which keys BY and GET look at only the elements tell. So it is a program ([`super::program`]) where there are several shards: it gets the
//! elements, then with one step all that the patterns ask for, wherever that is, and sorts on its own.

use super::args::{Args, copied};
use super::program::Steps;
use super::{Call, Flags, Keys, Run, Spec, Spread, table};
use crate::collection::list;
use crate::collection::map::Map;
use crate::error::{Refusal, Stop};
use crate::notify::Events;
use crate::number::double;
use crate::resp::encode::Reply;
use crate::resp::read::{Item, Reader};
use crate::resp::replies::Replies;
use crate::shard::{Kind, Shard, Ttl};
use std::cmp::Ordering;

const SORT: Spec = Spec {
    name: "sort",
    arity: -2,
    flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::MOVABLEKEYS).and(Flags::UNDECLARED),
    keys: Keys::ONE,
    key_words: &["STORE"],
    key_uses: &["RO access", "OW update"],
    spread: Spread::Program(sort),
    run: Run::Row(sort_here),
    categories: "set sortedset list dangerous",
    group: "generic",
    complexity: "O(N+M*log(M)) where N is the number of elements and M the number of those that are answered.",
    summary: "Sorts the elements of a list, a set or a sorted set, and answers or stores them.",
    synopsis: "key [BY pattern] [LIMIT offset count] [GET pattern [GET pattern ...]] [ASC | DESC] [ALPHA] [STORE destination]",
    ..Spec::DEFAULT
};

pub const SPECS: &[Spec] = &[
    SORT,
    Spec {
        name: "sort_ro",
        flags: Flags::READONLY.and(Flags::MOVABLEKEYS).and(Flags::UNDECLARED),
        key_words: &[],
        key_uses: &["RO access"],
        since: "7.0.0",
        summary: "Sorts the elements of a list, a set or a sorted set.",
        synopsis: "key [BY pattern] [LIMIT offset count] [GET pattern [GET pattern ...]] [ASC | DESC] [ALPHA]",
        ..SORT
    },
];

/// Its steps.
pub const STEPS: &[Spec] = &[
    Spec {
        name: "sort|look",
        flags: Flags::READONLY,
        keys: Keys::PAIRS,
        spread: Spread::Place,
        run: Run::Row(look),
        ..STEP
    },
    Spec { name: "sort|store", flags: Flags::WRITE.and(Flags::DENYOOM), run: Run::Row(store), ..STEP },
];
const STEP: Spec = Spec { keys: Keys::ONE, group: "generic", ..Spec::DEFAULT };

/// What is asked for.
struct Query<'a> {
    /// `None`: the elements themselves.
    by: Option<Pattern<'a>>,
    /// BY a pattern without a place for the element: they stay in their order.
    is_unsorted: bool,
    offset: i64,
    limit: i64,
    get: Vec<Get<'a>>,
    is_descending: bool,
    is_text: bool,
    target: Option<&'a [u8]>,
}

/// A GET.
#[derive(Clone, Copy)]
enum Get<'a> {
    /// `#`
    Element,
    /// A key that is the same for all: Redis looks nothing up then.
    Nothing,
    Key(Pattern<'a>),
}

/// A key with a place for an element, and the field of a hash if it is one.
#[derive(Clone, Copy)]
struct Pattern<'a> {
    front: &'a [u8],
    back: &'a [u8],
    field: Option<&'a [u8]>,
}

impl<'a> Pattern<'a> {
    fn parse(text: &'a [u8]) -> Option<Pattern<'a>> {
        let star = memchr::memchr(b'*', text)?;
        let (front, rest) = (&text[..star], &text[star + 1..]);
        // An arrow with nothing behind it is a part of the key.
        let arrow = memchr::memmem::find(rest, b"->").filter(|at| at + 2 < rest.len());
        let (back, field) = arrow.map_or((rest, None), |at| (&rest[..at], Some(&rest[at + 2..])));
        Some(Pattern { front, back, field })
    }

    fn key(&self, element: &[u8]) -> Vec<u8> {
        [self.front, element, self.back].concat()
    }
}

impl<'a> Query<'a> {
    fn parse(call: &'a Call<'_>) -> Result<Query<'a>, Refusal> {
        let args = call.args;
        let takes_store = call.spec.name == "sort";
        let (by, is_unsorted, target) = (None, false, None);
        let (get, is_descending, is_text) = (Vec::new(), false, false);
        let mut query = Query { by, is_unsorted, offset: 0, limit: -1, get, is_descending, is_text, target };
        let mut at = 2;
        while at < args.len() {
            let left = args.len() - at - 1;
            if args.is(at, "asc") {
                query.is_descending = false;
            } else if args.is(at, "desc") {
                query.is_descending = true;
            } else if args.is(at, "alpha") {
                query.is_text = true;
            } else if args.is(at, "limit") && left >= 2 {
                (query.offset, query.limit) = (args.integer(at + 1)?, args.integer(at + 2)?);
                at += 2;
            } else if takes_store && args.is(at, "store") && left >= 1 {
                query.target = Some(&args[at + 1]);
                at += 1;
            } else if args.is(at, "by") && left >= 1 {
                query.by = Pattern::parse(&args[at + 1]);
                // Once said it stays.
                query.is_unsorted |= query.by.is_none();
                at += 1;
            } else if args.is(at, "get") && left >= 1 {
                let pattern = &args[at + 1];
                query.get.push(match Pattern::parse(pattern) {
                    _ if pattern == b"#" => Get::Element,
                    None => Get::Nothing,
                    Some(pattern) => Get::Key(pattern),
                });
                at += 1;
            } else {
                return Err(Refusal::Syntax);
            }
            at += 1;
        }
        Ok(query)
    }

    /// The places of so many elements that are answered.
    fn range(&self, len: usize) -> std::ops::Range<usize> {
        let len = len as i64;
        let start = self.offset.max(0);
        let end = if self.limit < 0 { len } else { start.saturating_add(self.limit).min(len) };
        if start >= end { 0..0 } else { start as usize..end as usize }
    }
}

/// Which option of a command looks at keys that nobody has named: a name for an error.
pub fn undeclared(args: &Args<'_>) -> Option<&'static str> {
    let mut at = 2;
    while at + 1 < args.len() {
        let has_place = |at: usize| args.get(at).is_some_and(|pattern| memchr::memchr(b'*', pattern).is_some());
        match () {
            () if args.is(at, "by") && has_place(at + 1) => return Some("BY"),
            () if args.is(at, "get") && has_place(at + 1) => return Some("GET"),
            () if args.is(at, "limit") => at += 2,
            () if args.is(at, "by") || args.is(at, "get") || args.is(at, "store") => at += 1,
            () => {}
        }
        at += 1;
    }
    None
}

/// Where all rows are on this shard.
fn sort_here(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    sort(call, &mut Here { shard, call }, reply)
}

/// The steps, as commands of one shard. The last one alone changes something.
struct Here<'a> {
    shard: &'a mut Shard,
    call: &'a Call<'a>,
}

impl Steps for Here<'_> {
    fn run_as(&mut self, is_resp3: bool, words: &[&[u8]]) -> Result<Vec<u8>, Stop> {
        let spec = table::step(words[0]).expect("programs call what there is").spec;
        let Run::Row(run) = spec.run else { unreachable!("the steps of SORT are on rows") };
        let (bytes, ranges) = copied(words.iter().copied());
        let args = Args::new(&bytes, &ranges);
        let call = Call { spec, args: &args, is_resp3, head: self.shard.head(words[1]), ..*self.call };
        let mut out = Replies::default();
        // A step's reply is no client's.
        self.shard.shown_whole(|shard| run(shard, &call, &mut Reply::new(&mut out, is_resp3)))?;
        Ok(out.flat())
    }

    fn shard(&mut self) -> &Shard {
        self.shard
    }
}

/// What is sorted: an element and what it is sorted by.
struct Sorted {
    element: Vec<u8>,
    weight: Weight,
}

enum Weight {
    None,
    Number(f64),
    /// `None`: there is nothing at its key.
    Text(Option<Vec<u8>>),
}

fn sort(call: &Call<'_>, steps: &mut dyn Steps, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let mut query = Query::parse(call)?;
    let elements = elements(&mut query, &call.args[1], steps)?;
    let elements = if query.is_unsorted { elements } else { in_order(&query, elements, steps)? };
    let found =
        if query.get.is_empty() { elements.into_iter().map(Some).collect() } else { gotten(&query, &elements, steps)? };
    let Some(target) = query.target else {
        reply.array(found.len());
        found.iter().for_each(|value| match value {
            Some(value) => reply.bulk(value),
            None => reply.null(),
        });
        return Ok(());
    };
    let mut words: Vec<&[u8]> = vec![b"sort|store", target];
    words.extend(found.iter().map(|value| value.as_deref().unwrap_or_default()));
    steps.answer(&words, reply)
}

/// The elements; only those that are answered, if their order is to stay.
fn elements(query: &mut Query<'_>, key: &[u8], steps: &mut dyn Steps) -> Result<Vec<Vec<u8>>, Stop> {
    let kind = steps.run(&[b"type", key])?;
    let (count, all): (&[u8], &[u8]) = match Reader::new(&kind).text().unwrap_or_default() {
        b"none" => return Ok(Vec::new()),
        b"list" => (b"llen", b"lrange"),
        b"zset" if query.is_descending && query.is_unsorted => (b"zcard", b"zrevrange"),
        b"zset" => (b"zcard", b"zrange"),
        b"set" => {
            if query.is_unsorted {
                // A set has no order that is the same everywhere: it gets one.
                (query.is_unsorted, query.is_text) = (false, true);
            }
            return Ok(texts(&steps.run(&[b"smembers", key])?));
        }
        _ => return Err(Refusal::WrongType.into()),
    };
    let (mut first, mut last) = (0, -1);
    if query.is_unsorted {
        let len = steps.run(&[count, key])?;
        let Some(Item::Integer(len)) = Reader::new(&len).next() else { return Ok(Vec::new()) };
        let range = query.range(len as usize);
        if range.is_empty() {
            return Ok(Vec::new());
        }
        (first, last) = (range.start as i64, range.end as i64 - 1);
    }
    Ok(texts(&steps.run(&[all, key, first.to_string().as_bytes(), last.to_string().as_bytes()])?))
}

fn texts(reply: &[u8]) -> Vec<Vec<u8>> {
    let mut reader = Reader::new(reply);
    (0..reader.array()).filter_map(|_| reader.text()).map(<[u8]>::to_vec).collect()
}

/// The elements that are answered, in their order.
fn in_order(query: &Query<'_>, elements: Vec<Vec<u8>>, steps: &mut dyn Steps) -> Result<Vec<Vec<u8>>, Stop> {
    let mut weights = match &query.by {
        Some(by) => look_up(elements.iter().map(|element| (*by, element.as_slice())), steps)?,
        None => Vec::new(),
    }
    .into_iter();
    let mut sorted = Vec::with_capacity(elements.len());
    for element in elements {
        let weight = match (&query.by, query.is_text) {
            (Some(_), true) => Weight::Text(weights.next().flatten()),
            (None, true) => Weight::None,
            (Some(_), false) => Weight::Number(weights.next().flatten().map_or(Ok(0.0), |text| number(&text))?),
            (None, false) => Weight::Number(number(&element)?),
        };
        sorted.push(Sorted { element, weight });
    }
    sorted.sort_by(|one, other| {
        let order = compare(one, other);
        if query.is_descending { order.reverse() } else { order }
    });
    let range = query.range(sorted.len());
    Ok(sorted.drain(range).map(|sorted| sorted.element).collect())
}

fn number(text: &[u8]) -> Result<f64, Refusal> {
    // What is too large is no infinity here.
    let is_meant = |number: &f64| number.is_finite() || text.to_ascii_lowercase().contains(&b'n');
    double::parse_bound(text)
        .filter(is_meant)
        .ok_or(Refusal::text("ERR One or more scores can't be converted into double"))
}

fn compare(one: &Sorted, other: &Sorted) -> Ordering {
    match (&one.weight, &other.weight) {
        (Weight::Number(number), Weight::Number(than)) => {
            number.partial_cmp(than).unwrap_or(Ordering::Equal).then_with(|| one.element.cmp(&other.element))
        }
        (Weight::Text(text), Weight::Text(than)) => text.cmp(than),
        _ => one.element.cmp(&other.element),
    }
}

/// What GET asks for: of each element everything.
fn gotten(query: &Query<'_>, elements: &[Vec<u8>], steps: &mut dyn Steps) -> Result<Vec<Option<Vec<u8>>>, Stop> {
    let keys: Vec<Pattern<'_>> =
        query.get.iter().filter_map(|get| if let Get::Key(key) = get { Some(*key) } else { None }).collect();
    let asked = elements.iter().flat_map(|element| keys.iter().map(move |key| (*key, element.as_slice())));
    let mut values = look_up(asked, steps)?.into_iter();
    let mut found = Vec::with_capacity(elements.len() * query.get.len());
    for element in elements {
        found.extend(query.get.iter().map(|get| match get {
            Get::Element => Some(element.clone()),
            Get::Nothing => None,
            Get::Key(_) => values.next().flatten(),
        }));
    }
    Ok(found)
}

/// What is at the keys of these patterns, all with one step.
fn look_up<'p, 'e>(
    asked: impl Iterator<Item = (Pattern<'p>, &'e [u8])>,
    steps: &mut dyn Steps,
) -> Result<Vec<Option<Vec<u8>>>, Stop> {
    let pairs: Vec<(Vec<u8>, Vec<u8>)> = asked
        .map(|(pattern, element)| {
            let what = pattern.field.map_or(vec![WHOLE], |field| [&[OF_HASH], field].concat());
            (pattern.key(element), what)
        })
        .collect();
    if pairs.is_empty() {
        return Ok(Vec::new());
    }
    let mut words: Vec<&[u8]> = vec![b"sort|look"];
    words.extend(pairs.iter().flat_map(|(key, what)| [key.as_slice(), what.as_slice()]));
    let reply = steps.run(&words)?;
    let mut reader = Reader::new(&reply);
    Ok((0..reader.array()).map(|_| reader.text().map(<[u8]>::to_vec)).collect())
}

/// What a step looks at: a string, or a field of a hash, whose name follows.
const WHOLE: u8 = b's';
const OF_HASH: u8 = b'h';

/// A step: `key what [key what ...]`. The strings and fields that are there.
fn look(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let args = call.args;
    reply.array(args.len() / 2);
    for at in (1..args.len()).step_by(2) {
        let (key, what) = (&args[at], &args[at + 1]);
        let row = shard.read(call, key)?;
        let value = match row {
            Some(row) if row.kind == Kind::String && what[0] == WHOLE => Some(row.value),
            Some(row) if row.kind == Kind::Hash && what[0] == OF_HASH => {
                Map::new(row.form(), Kind::Hash).get(shard, call, &what[1..])?
            }
            _ => None,
        };
        match value {
            Some(value) => reply.bulk(value),
            None => reply.null(),
        }
    }
    Ok(())
}

/// A step: `key [element ...]`. The key gets a list of these, and their number is answered.
fn store(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let (key, values) = (&call.args[1], call.args.skip(2));
    if values.len() == 0 {
        if shard.remove(call, key)? {
            shard.notify(call, Events::GENERIC, "del", key);
        }
        reply.integer(0);
        return Ok(());
    }
    let values: Vec<&[u8]> = values.iter().collect();
    let change = list::anew(shard, key, values.iter().copied(), Ttl::Clear)?;
    shard.edit_several(call, &[change])?;
    shard.notify(call, Events::LIST, "sortstore", key);
    reply.integer(values.len() as i64);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_have_a_place_and_perhaps_a_field() {
        let parse = |text: &'static str| {
            Pattern::parse(text.as_bytes()).map(|pattern| (pattern.key(b"7"), pattern.field.map(<[u8]>::to_vec)))
        };
        assert_eq!(parse("w_*"), Some((b"w_7".to_vec(), None)));
        assert_eq!(parse("w_*_x->f"), Some((b"w_7_x".to_vec(), Some(b"f".to_vec()))));
        assert_eq!(parse("w_*->"), Some((b"w_7->".to_vec(), None)));
        assert_eq!(parse("a->b*c*"), Some((b"a->b7c*".to_vec(), None)));
        assert!(parse("nosort").is_none() && parse("").is_none());
    }
}
