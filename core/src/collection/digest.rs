//! Digests of values, as Redis's DEBUG DIGEST takes them: the same value has the same digest there, however it is encoded.

use super::list::List;
use super::map::Map;
use super::packed::Entries;
use super::stream::Stream;
use super::stream::id::EntryId;
use super::zset::ZSet;
use crate::command::Call;
use crate::error::Stop;
use crate::number::double;
use crate::shard::{Kind, Row, Shard};
use sha1::{Digest as _, Sha1};
use std::ops::ControlFlow;

/// A digest that grows: in the order of what is added ([`Digest::mix`]), or whatever its order ([`Digest::add`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest(pub [u8; 20]);

impl Digest {
    pub fn of(bytes: &[u8]) -> Digest {
        Digest(Sha1::digest(bytes).into())
    }

    pub fn add(&mut self, bytes: &[u8]) {
        self.join(Digest::of(bytes));
    }

    pub fn mix(&mut self, bytes: &[u8]) {
        self.add(bytes);
        *self = Digest::of(&self.0);
    }

    /// Both, whichever was first.
    pub fn join(&mut self, other: Digest) {
        self.0.iter_mut().zip(other.0).for_each(|(byte, more)| *byte ^= more);
    }

    /// Adds what is made of several parts.
    fn add_mixed(&mut self, parts: &[&[u8]]) {
        let mut own = Digest::default();
        parts.iter().for_each(|part| own.mix(part));
        self.add(&own.0);
    }

    pub fn hex(self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Redis's numbers of types.
fn number_of(kind: Kind) -> u32 {
    match kind {
        Kind::String => 0,
        Kind::List => 1,
        Kind::Set => 2,
        Kind::ZSet => 3,
        Kind::Hash => 4,
        Kind::Stream => 6,
    }
}

const EXPIRES: &[u8] = b"!!expire!!";
const FIELD_EXPIRES: &[u8] = b"!!hexpire!!";

/// Mixes a row, which the caller has just seen, into a digest.
pub fn mix_row(shard: &Shard, call: &Call<'_>, row: &Row<'_>, digest: &mut Digest) -> Result<(), Stop> {
    digest.mix(&number_of(row.kind).to_be_bytes());
    match row.kind {
        Kind::String => digest.mix(row.value),
        Kind::List => List { form: row.form() }.visit(shard, call, 0, |value| {
            digest.mix(value);
            ControlFlow::Continue(())
        })?,
        Kind::Set | Kind::Hash => Map::new(row.form(), row.kind).visit_kept(shard, call, 0, |element| {
            match row.kind {
                Kind::Set => digest.add(element.rest),
                _ => digest.add_mixed(&[element.rest, element.value]),
            }
            if element.expire_ms > 0 {
                digest.add(FIELD_EXPIRES);
            }
            ControlFlow::Continue(())
        })?,
        Kind::ZSet => ZSet::new(row.form()).visit(shard, call, 0, |member, score| {
            digest.add_mixed(&[member, double::format(score).as_bytes()]);
            ControlFlow::Continue(())
        })?,
        Kind::Stream => Stream::new(row.form()).visit(shard, call, EntryId::MIN, EntryId::MAX, |id, fields| {
            digest.mix(format!("{}.{}", id.ms, id.seq).as_bytes());
            Entries::of(fields).for_each(|part| digest.mix(part));
            ControlFlow::Continue(())
        })?,
    }
    if row.expire_ms.is_some() {
        digest.add(EXPIRES);
    }
    Ok(())
}
