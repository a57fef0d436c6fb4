//! Reads a value in steps, so that one that is larger than memory can be passed on in pieces.

use super::listpack::{Item, Listpack};
use super::stream::{self, Form, Group, Seen, Stream};
use super::{DEADLINE_MS_MAX, Input, Invalid, Value, What, deadline_bytes, kind, ziplist};
use crate::collection::packed;
use crate::collection::stream::Facts;
use crate::limits::RDB_STEP_BYTES;
use crate::number::double;
use crate::shard::Kind;

/// A value that is being read.
#[derive(Clone, Debug)]
pub struct Reading {
    kind: Kind,
    is_timed: bool,
    state: State,
}

#[derive(Clone, Debug)]
enum State {
    String,
    /// The earliest deadline of fields comes next.
    Earliest(Box<State>),
    /// The number of what follows comes next.
    Count(Each),
    Each(Each, u64),
    /// One string that holds all.
    Whole(Whole),
    Facts(Form, Seen),
    GroupCount(Form, Facts),
    Groups(Form, Facts, u64),
    End,
}

/// What stands there again and again.
#[derive(Clone, Debug)]
enum Each {
    Element,
    Pair,
    /// A field, its value and its deadline, which counts from here on.
    Timed(u64),
    Scored,
    TextScored,
    Node,
    AnyNode,
    StreamNode(Form, Seen),
}

#[derive(Clone, Copy, Debug)]
enum Whole {
    Zipmap,
    Ziplist,
    Integers,
    Listpack,
    TimedListpack,
}

/// What a step has read.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// So many elements have been appended: see [`Value::Entries`] and [`Value::Timed`].
    Entries(u64),
    /// The string has been appended.
    String,
    Facts(Facts),
    Group(Group),
    /// There is no more of the value.
    End,
}

impl Reading {
    /// A value of a type, which stands at this place. `name`: of the module, if it is one's.
    pub fn new(of_type: u8, input: &Input<'_>) -> Result<Reading, Invalid> {
        let stream = |form| (Kind::Stream, State::Count(Each::StreamNode(form, Seen::default())));
        let (kind, state) = match of_type {
            kind::STRING => (Kind::String, State::String),
            kind::LIST => (Kind::List, State::Count(Each::Element)),
            kind::SET => (Kind::Set, State::Count(Each::Element)),
            kind::ZSET_TEXT => (Kind::ZSet, State::Count(Each::TextScored)),
            kind::ZSET => (Kind::ZSet, State::Count(Each::Scored)),
            kind::HASH => (Kind::Hash, State::Count(Each::Pair)),
            kind::HASH_ZIPMAP => (Kind::Hash, State::Whole(Whole::Zipmap)),
            kind::LIST_ZIPLIST => (Kind::List, State::Whole(Whole::Ziplist)),
            kind::SET_INTSET => (Kind::Set, State::Whole(Whole::Integers)),
            kind::ZSET_ZIPLIST => (Kind::ZSet, State::Whole(Whole::Ziplist)),
            kind::HASH_ZIPLIST => (Kind::Hash, State::Whole(Whole::Ziplist)),
            kind::LIST_QUICKLIST => (Kind::List, State::Count(Each::Node)),
            kind::LIST_QUICKLIST_2 => (Kind::List, State::Count(Each::AnyNode)),
            kind::HASH_LISTPACK => (Kind::Hash, State::Whole(Whole::Listpack)),
            kind::ZSET_LISTPACK => (Kind::ZSet, State::Whole(Whole::Listpack)),
            kind::SET_LISTPACK => (Kind::Set, State::Whole(Whole::Listpack)),
            kind::STREAM => stream(Form::First),
            kind::STREAM_2 => stream(Form::Second),
            kind::STREAM_3 => stream(Form::Third),
            // The first form has deadlines as they are: an earliest one of 1 adds nothing.
            kind::HASH_TIMED_FIRST => (Kind::Hash, State::Count(Each::Timed(1))),
            kind::HASH_TIMED_LISTPACK_FIRST => (Kind::Hash, State::Whole(Whole::TimedListpack)),
            kind::HASH_TIMED => (Kind::Hash, State::Earliest(Box::new(State::Count(Each::Timed(0))))),
            kind::HASH_TIMED_LISTPACK => (Kind::Hash, State::Earliest(Box::new(State::Whole(Whole::TimedListpack)))),
            kind::MODULE | kind::MODULE_OLD => return Err(module(input.clone())),
            other => return Err(input.invalid(What::Type(other))),
        };
        let is_timed = (kind::HASH_TIMED_FIRST..=kind::HASH_TIMED_LISTPACK).contains(&of_type);
        Ok(Reading { kind, is_timed, state })
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether each field comes with a deadline: see [`Value::Timed`].
    pub fn is_timed(&self) -> bool {
        self.is_timed
    }

    /// Reads on, and appends what it reads to `out`. Where the input ends too early nothing has changed, neither here nor there.
    pub fn step(&mut self, input: &mut Input<'_>, out: &mut Vec<u8>) -> Result<Step, Invalid> {
        let (mut trial, mut state, len) = (input.clone(), self.state.clone(), out.len());
        match advance(self.kind, &mut state, &mut trial, out) {
            Ok(step) => {
                (*input, self.state) = (trial, state);
                Ok(step)
            }
            Err(invalid) => {
                out.truncate(len);
                Err(invalid)
            }
        }
    }
}

fn advance(kind: Kind, state: &mut State, input: &mut Input<'_>, out: &mut Vec<u8>) -> Result<Step, Invalid> {
    if let State::Earliest(next) = state {
        let earliest_ms = u64::from_le_bytes(input.array()?);
        *state = match &**next {
            State::Count(Each::Timed(_)) => State::Count(Each::Timed(earliest_ms)),
            next => next.clone(),
        };
    }
    if let State::Count(each) = state {
        let is_stream = kind == Kind::Stream;
        let place = input.invalid(What::Empty);
        *state = match (input.length()?, each) {
            (0, Each::StreamNode(form, seen)) => State::Facts(*form, *seen),
            (0, _) => return Err(place),
            (left, each) => State::Each(each.clone(), left),
        };
        debug_assert!(is_stream || matches!(state, State::Each(..)));
    }
    if let State::GroupCount(form, facts) = state {
        *state = State::Groups(*form, *facts, input.length()?);
    }
    match state {
        State::String => {
            out.extend_from_slice(&input.string()?);
            *state = State::End;
            Ok(Step::String)
        }
        State::Whole(whole) => {
            let count = read_whole(kind, *whole, input, out)?;
            *state = State::End;
            Ok(Step::Entries(count))
        }
        State::Each(each, left) => {
            let count = read_each(kind, each, left, input, out)?;
            if *left == 0 {
                *state = match each {
                    Each::StreamNode(form, seen) => State::Facts(*form, *seen),
                    _ => State::End,
                };
            }
            Ok(Step::Entries(count))
        }
        State::Facts(form, seen) => {
            let facts = stream::read_facts(input, *form, seen)?;
            *state = State::GroupCount(*form, facts);
            Ok(Step::Facts(facts))
        }
        State::Groups(_, _, 0) | State::End => {
            *state = State::End;
            Ok(Step::End)
        }
        State::Groups(form, facts, left) => {
            let group = stream::read_group(input, *form, facts)?;
            *left -= 1;
            Ok(Step::Group(group))
        }
        State::Earliest(_) | State::Count(_) | State::GroupCount(..) => unreachable!("it has gone on"),
    }
}

/// Reads as many as make a step, at least one. How many elements these were.
fn read_each(
    kind: Kind,
    each: &mut Each,
    left: &mut u64,
    input: &mut Input<'_>,
    out: &mut Vec<u8>,
) -> Result<u64, Invalid> {
    let (start, mut count) = (out.len(), 0);
    while *left > 0 && out.len() - start < RDB_STEP_BYTES {
        let (mut trial, len) = (input.clone(), out.len());
        match read_one(kind, each, &mut trial, out) {
            Ok(read) => {
                count += read;
                *left -= 1;
                *input = trial;
            }
            // What has been read is a step; the next one begins with what is not whole yet.
            Err(Invalid { what: What::Short(_), .. }) if count > 0 => {
                out.truncate(len);
                break;
            }
            Err(invalid) => return Err(invalid),
        }
    }
    Ok(count)
}

fn read_one(kind: Kind, each: &mut Each, input: &mut Input<'_>, out: &mut Vec<u8>) -> Result<u64, Invalid> {
    match each {
        Each::Element => packed::push(out, &input.string()?),
        Each::Pair => {
            packed::push(out, &input.string()?);
            packed::push(out, &input.string()?);
        }
        Each::Timed(earliest_ms) => {
            let place = input.invalid(What::Deadline);
            let expire_ms = match input.length()? {
                0 => Some(0),
                behind => (behind - 1).checked_add(*earliest_ms).filter(|ms| *ms <= DEADLINE_MS_MAX),
            };
            let expire_ms = expire_ms.ok_or(place)?;
            packed::push(out, &input.string()?);
            packed::push(out, &input.string()?);
            packed::push(out, &deadline_bytes(expire_ms));
        }
        Each::Scored => {
            packed::push(out, &input.string()?);
            packed::push(out, &input.f64()?.to_le_bytes());
        }
        Each::TextScored => {
            packed::push(out, &input.string()?);
            packed::push(out, &text_score(input)?.to_le_bytes());
        }
        Each::Node => return read_whole(kind, Whole::Ziplist, input, out),
        Each::AnyNode => {
            let place = input.place();
            match input.length()? {
                1 => packed::push(out, &input.string()?),
                2 => return read_whole(kind, Whole::Listpack, input, out),
                other => return Err(Invalid { what: What::Container(other), at: place }),
            }
        }
        Each::StreamNode(_, seen) => return stream::read_node(input, seen, out),
    }
    Ok(1)
}

fn text_score(input: &mut Input<'_>) -> Result<f64, Invalid> {
    let invalid = input.invalid(What::Score);
    match input.byte()? {
        253 => Err(invalid),
        254 => Ok(f64::INFINITY),
        255 => Ok(f64::NEG_INFINITY),
        len => double::parse(input.take(usize::from(len))?).ok_or(invalid),
    }
}

/// Reads one string that holds a collection, or a part of it.
fn read_whole(kind: Kind, whole: Whole, input: &mut Input<'_>, out: &mut Vec<u8>) -> Result<u64, Invalid> {
    let place = input.place();
    let bytes = input.string()?;
    let within = input.within(&bytes, place);
    let mut entries = 0u64;
    let is_timed = matches!(whole, Whole::TimedListpack);
    let per = match kind {
        _ if is_timed => 3,
        Kind::Hash | Kind::ZSet => 2,
        _ => 1,
    };
    let mut push = |item: Item<'_>, at: u64| {
        match (kind, entries % per) {
            (Kind::ZSet, 1) => packed::push(out, &score(item, at)?.to_le_bytes()),
            (_, 2) => packed::push(out, &deadline_bytes(deadline(item, at)?)),
            _ => item.push(out),
        }
        entries += 1;
        Ok(())
    };
    let broken = match whole {
        Whole::Zipmap => {
            ziplist::visit_map(within, |item| _ = push(item, place))?;
            What::Zipmap
        }
        Whole::Ziplist => {
            ziplist::visit(within, bytes.len(), push)?;
            What::Ziplist
        }
        Whole::Integers => {
            ziplist::visit_integers(within, bytes.len(), |value| _ = push(Item::Integer(value), place))?;
            What::Intset
        }
        Whole::Listpack | Whole::TimedListpack => {
            let mut listpack = Listpack::new(within, bytes.len())?;
            while let Some(item) = listpack.advance()? {
                push(item, listpack.place())?;
            }
            What::Listpack
        }
    };
    match entries {
        0 => Err(Invalid { what: What::Empty, at: place }),
        odd if !odd.is_multiple_of(per) => Err(Invalid { what: broken, at: place }),
        entries => Ok(entries / per),
    }
}

fn score(item: Item<'_>, at: u64) -> Result<f64, Invalid> {
    match item {
        Item::Integer(value) => Ok(value as f64),
        Item::Bytes(text) => double::parse(text).ok_or(Invalid { what: What::Score, at }),
    }
}

fn deadline(item: Item<'_>, at: u64) -> Result<u64, Invalid> {
    let expire_ms = match item {
        Item::Integer(ms) => u64::try_from(ms).ok(),
        Item::Bytes(_) => None,
    };
    expire_ms.filter(|ms| *ms <= DEADLINE_MS_MAX).ok_or(Invalid { what: What::Deadline, at })
}

/// A module's value, named.
fn module(mut input: Input<'_>) -> Invalid {
    let place = input.place();
    match input.length() {
        Ok(id) => Invalid { what: What::Module(module_name(id)), at: place },
        Err(invalid) => invalid,
    }
}

/// The name that a module's type has: nine characters of 6 bits, above 10 bits of a version.
pub fn module_name(id: u64) -> String {
    const CHARACTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    (0..9).rev().map(|at| char::from(CHARACTERS[(id >> (10 + 6 * at)) as usize & 63])).collect()
}

/// Reads a value as a whole.
pub fn value(of_type: u8, input: &mut Input<'_>) -> Result<Value, Invalid> {
    let mut reading = Reading::new(of_type, input)?;
    let (mut bytes, mut count, mut facts, mut groups) = (Vec::new(), 0, Facts::default(), Vec::new());
    loop {
        match reading.step(input, &mut bytes)? {
            Step::Entries(more) => count += more,
            Step::String => {}
            Step::Facts(found) => facts = found,
            Step::Group(group) => groups.push(group),
            Step::End => break,
        }
    }
    Ok(match reading.kind {
        Kind::String => Value::String(bytes),
        Kind::Stream => Value::Stream(Box::new(Stream { entries: bytes, facts, groups })),
        Kind::Hash if reading.is_timed => Value::Timed { bytes, count },
        kind => Value::Entries { kind, bytes, count },
    })
}
