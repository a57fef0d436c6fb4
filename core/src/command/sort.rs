//! SORT and SORT_RO. What they answer follows Redis 7.2's `sort.c`, the order of its checks included.
//!
//! Which keys BY and GET look at only the elements tell. So it is a program ([`super::program`]) where there are several shards: it gets the
//! elements, then with one step all that the patterns ask for, wherever that is, and sorts on its own.

mod work;

use super::args::Args;
use super::long::stock::{Storing, Target};
use super::program::{Here, Steps};
use super::{Call, Flags, Keys, Run, Spec, Spread, long};
use crate::collection::list;
use crate::collection::map::Map;
use crate::error::{Refusal, Stop};
use crate::notify::Events;
use crate::resp::encode::Reply;
use crate::shard::{Kind, Shard, Ttl};
use work::Sorting;

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
#[derive(Clone)]
struct Query<'a> {
    /// `None`: the elements themselves.
    by: Option<Pattern>,
    /// BY a pattern without a place for the element: they stay in their order.
    is_unsorted: bool,
    offset: i64,
    limit: i64,
    get: Vec<Get>,
    is_descending: bool,
    is_text: bool,
    target: Option<&'a [u8]>,
}

/// A GET.
#[derive(Clone)]
enum Get {
    /// `#`
    Element,
    /// A key that is the same for all: Redis looks nothing up then.
    Nothing,
    Key(Pattern),
}

/// A key with a place for an element, and the field of a hash if it is one.
#[derive(Clone)]
struct Pattern {
    front: Vec<u8>,
    back: Vec<u8>,
    field: Option<Vec<u8>>,
}

impl Pattern {
    fn parse(text: &[u8]) -> Option<Pattern> {
        let star = memchr::memchr(b'*', text)?;
        let (front, rest) = (&text[..star], &text[star + 1..]);
        // An arrow with nothing behind it is a part of the key.
        let arrow = memchr::memmem::find(rest, b"->").filter(|at| at + 2 < rest.len());
        let (back, field) = arrow.map_or((rest, None), |at| (&rest[..at], Some(rest[at + 2..].to_vec())));
        Some(Pattern { front: front.to_vec(), back: back.to_vec(), field })
    }

    fn key(&self, element: &[u8]) -> Vec<u8> {
        [self.front.as_slice(), element, &self.back].concat()
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
}

/// Whether a command looks at keys that nobody has named.
pub fn looks_up(call: &Call<'_>) -> bool {
    call.spec.flags.has(Flags::UNDECLARED) && undeclared(call.args).is_some()
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

/// All of it, piece by piece.
fn sort(call: &Call<'_>, steps: &mut dyn Steps, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let query = Query::parse(call)?;
    let work = long::work(steps, || Ok(Sorting::new(&query, &call.args[1], reply.is_resp3)))?;
    steps.end_looks();
    let Some(target) = query.target else {
        reply.out.append(work.out);
        return Ok(());
    };
    long::follow(steps, work, |steps, work| store_found(steps, target, &mut work.stored, reply))
}

/// Stores what is large piece by piece, where that can be.
fn store_found(steps: &mut dyn Steps, target: &[u8], storing: &mut Storing, reply: &mut Reply<'_>) -> Result<(), Stop> {
    if let Some(stored) = storing.go_on(steps, &Target { key: target, kind: Kind::List, event: "sortstore" })? {
        reply.integer(stored);
        return Ok(());
    }
    let mut words: Vec<&[u8]> = vec![b"sort|store", target];
    words.extend(storing.found.texts());
    steps.answer(&words, reply)
}

/// What a step looks at: a string, or a field of a hash, whose name follows.
const WHOLE: u8 = b's';
const OF_HASH: u8 = b'h';

/// A step: `key what [key what ...]`. The strings and fields that are there.
fn look(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    shard.as_begun(|shard| look_at(shard, call, reply))
}

fn look_at(shard: &Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
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
        let parse =
            |text: &'static str| Pattern::parse(text.as_bytes()).map(|pattern| (pattern.key(b"7"), pattern.field));
        assert_eq!(parse("w_*"), Some((b"w_7".to_vec(), None)));
        assert_eq!(parse("w_*_x->f"), Some((b"w_7_x".to_vec(), Some(b"f".to_vec()))));
        assert_eq!(parse("w_*->"), Some((b"w_7->".to_vec(), None)));
        assert_eq!(parse("a->b*c*"), Some((b"a->b7c*".to_vec(), None)));
        assert!(parse("nosort").is_none() && parse("").is_none());
    }
}
