//! Steps that make a collection piece by piece: one begins it, one puts elements, and one has the row of a key name it. Before that nobody sees it.
//!
//! What the first two do stays, whatever becomes of who asks for it: in a transaction they are no part of that, and its shard gives up what no row names when it ends
//! (`machine/begun.rs`). The last one is the change.
//!
//! Elements of any collection, as they are put, one behind the other:
//!
//! | bytes | |
//! | --- | --- |
//! | 1 | which of the collection's orders: 0 or 1 |
//! | 8 | when it expires, Unix milliseconds, little-endian; 0: never |
//! | 4 | the length of its order, little-endian |
//! | 4 | the length of its value, the same |
//! | | order, value |

use crate::collection::Spread;
use crate::command::args::parse_integer;
use crate::command::program::Steps;
use crate::command::{Call, Flags, Keys, Run, Spec, table};
use crate::error::Stop;
use crate::notify::Events;
use crate::resp::encode::Reply;
use crate::resp::read::{Item, Reader};
use crate::shard::{Kind, Shard, Ttl};
use cairn_storage::units::CollectionId;

pub const STEPS: &[Spec] = &[
    Spec { name: "made|begin", flags: MAKES, run: Run::Row(begin_step), ..STEP },
    Spec { name: "made|put", flags: MAKES, run: Run::Row(put_step), ..STEP },
    Spec { name: "made|name", flags: Flags::WRITE.and(Flags::DENYOOM), run: Run::Row(name_step), ..STEP },
];
const STEP: Spec = Spec { keys: Keys::ONE, group: "generic", ..Spec::DEFAULT };
const MAKES: Flags = Flags::WRITE.and(Flags::DENYOOM).and(Flags::BESIDE);

/// Elements that are put together.
#[derive(Default)]
pub struct Piece(Vec<u8>);

impl Piece {
    /// Of its bytes.
    pub fn of(bytes: &[u8]) -> Piece {
        Piece(bytes.to_vec())
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub fn push(&mut self, which: u8, order: &[u8], (value, expire_ms): (&[u8], u64)) {
        self.0.push(which);
        self.0.extend_from_slice(&expire_ms.to_le_bytes());
        self.0.extend_from_slice(&(order.len() as u32).to_le_bytes());
        self.0.extend_from_slice(&(value.len() as u32).to_le_bytes());
        self.0.extend_from_slice(order);
        self.0.extend_from_slice(value);
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn bytes(&self) -> usize {
        self.0.len()
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }
}

/// An element of a piece.
struct Made<'a> {
    which: u64,
    order: &'a [u8],
    value: &'a [u8],
    expire_ms: u64,
}

/// Takes the first one of a piece.
fn take<'a>(piece: &mut &'a [u8]) -> Option<Made<'a>> {
    let (&which, rest) = piece.split_first()?;
    let (expire_ms, rest) = rest.split_first_chunk()?;
    let (order_len, rest) = rest.split_first_chunk()?;
    let (value_len, rest) = rest.split_first_chunk()?;
    let (order, rest) = rest.split_at_checked(u32::from_le_bytes(*order_len) as usize)?;
    let (value, rest) = rest.split_at_checked(u32::from_le_bytes(*value_len) as usize)?;
    *piece = rest;
    Some(Made { which: which.into(), order, value, expire_ms: u64::from_le_bytes(*expire_ms) })
}

/// Begins a collection that a key is to have.
pub fn begin(steps: &mut dyn Steps, key: &[u8]) -> Result<CollectionId, Stop> {
    let answer = steps.run(&[b"made|begin", key])?;
    match Reader::new(&answer).next() {
        Some(Item::Integer(number)) => Ok(CollectionId(number as u64)),
        other => unreachable!("a step that begins a collection answered {other:?}"),
    }
}

/// Puts elements of it.
pub fn put(steps: &mut dyn Steps, key: &[u8], (kind, number): (Kind, CollectionId), piece: &Piece) -> Result<(), Stop> {
    steps.run(&[b"made|put", key, &[kind as u8], &number.0.to_le_bytes(), &piece.0]).map(drop)
}

/// The key has it, in place of whatever was there. `event`: what that is called.
pub fn name(
    steps: &mut dyn Steps,
    key: &[u8],
    kind: Kind,
    spread: Spread<'_>,
    ttl: Ttl,
    event: &str,
) -> Result<(), Stop> {
    let expire_ms = if let Ttl::At(ms) = ttl { ms } else { 0 };
    let expire_ms = expire_ms.to_string();
    let words: [&[u8]; 6] =
        [b"made|name", key, &[kind as u8], &spread.encode(), expire_ms.as_bytes(), event.as_bytes()];
    steps.run(&words).map(drop)
}

/// `key`: the number of a collection that it is to name.
fn begin_step(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let number = shard.begin_collection(call, &call.args[1])?;
    reply.integer(number.0 as i64);
    Ok(())
}

/// `key kind number elements`.
fn put_step(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let args = call.args;
    let number = args[3].try_into().map(u64::from_le_bytes).expect("a number has 8 bytes");
    let mut piece = &args[4];
    while let Some(Made { which, order, value, expire_ms }) = take(&mut piece) {
        shard.put_begun(call, kind_of(&args[2]), CollectionId(number + which), order, (value, expire_ms))?;
    }
    assert!(piece.is_empty(), "a piece has whole elements");
    reply.ok();
    Ok(())
}

/// `key kind value expire-ms event`.
fn name_step(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let (args, key) = (call.args, &call.args[1]);
    let kind = kind_of(&args[2]);
    let ttl = match parse_integer(&args[4]) {
        Some(ms) if ms > 0 => Ttl::At(ms as u64),
        _ => Ttl::Clear,
    };
    let was_there = shard.peek_bare(call, key)?.is_some();
    shard.name_begun(call, key, kind, Spread::decode(&args[3]), ttl)?;
    let of_kind = match kind {
        Kind::List => Events::LIST,
        Kind::Set => Events::SET,
        _ => Events::ZSET,
    };
    let (class, event) = match &args[5] {
        b"georadiusstore" => (of_kind, "georadiusstore"),
        b"sortstore" => (of_kind, "sortstore"),
        b"rename_to" => (Events::GENERIC, "rename_to"),
        b"copy_to" => (Events::GENERIC, "copy_to"),
        command => (of_kind, table::find(command).expect("a command has this step").name),
    };
    if was_there && class == Events::GENERIC {
        // It replaces what was there, which is gone by then.
        shard.notify(call, Events::NEW, "new", key);
    }
    shard.notify(call, class, event, key);
    reply.ok();
    Ok(())
}

fn kind_of(word: &[u8]) -> Kind {
    *Kind::ALL.get(usize::from(word[0])).expect("a kind has its number")
}
