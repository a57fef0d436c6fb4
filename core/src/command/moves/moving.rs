//! A row that gets another key, on another shard, or a copy there. A large collection goes piece by piece: its elements are sent as they stand, become those of a
//! collection that was begun there, and in the end the target's row names that.

use super::super::keys::CopyTo;
use super::super::long::Long;
use super::super::long::made::{self, Piece};
use super::super::program::Steps;
use super::{Call, LARGE, Reply, integer};
use crate::collection::Spread;
use crate::error::{Refusal, Stop};
use crate::limits::{PUT_ITEMS, SLICE_BYTES};
use crate::resp::read::{Item, Reader};
use crate::shard::{Kind, Shard, Ttl};
use cairn_storage::units::CollectionId;
use std::ops::ControlFlow;

enum Phase {
    Takes,
    /// It is small.
    Gives,
    Holds,
    Begins,
    Asks,
    Sends,
    Puts,
    Names,
    Drops,
    Done,
}

/// A row on its way.
pub struct Moving {
    source: Vec<u8>,
    target: Vec<u8>,
    from_db: u8,
    to: CopyTo,
    /// The source goes.
    is_move: bool,
    phase: Phase,
    /// What the row is: its form, when it expires, its value.
    form: Vec<u8>,
    expire_ms: Vec<u8>,
    value: Vec<u8>,
    /// The number that the target is to name.
    number: CollectionId,
    /// Which of its orders is sent, and how many elements of that have been.
    which: u64,
    rank: u64,
    piece: Piece,
    /// Whether it is there now: not if something else was that stays. `None`: there is no such row.
    pub is_moved: Option<bool>,
}

impl Moving {
    pub fn new(call: &Call<'_>, to: CopyTo, is_move: bool) -> Moving {
        Moving {
            source: call.args[1].to_vec(),
            target: call.args[2].to_vec(),
            from_db: call.db,
            to,
            is_move,
            phase: Phase::Takes,
            form: Vec::new(),
            expire_ms: Vec::new(),
            value: Vec::new(),
            number: CollectionId(0),
            which: 0,
            rank: 0,
            piece: Piece::default(),
            is_moved: None,
        }
    }

    /// What a step of the target is taken in: its database.
    fn there<T>(&self, steps: &mut dyn Steps, take: impl FnOnce(&mut dyn Steps) -> Result<T, Stop>) -> Result<T, Stop> {
        let select = |steps: &mut dyn Steps, db: u8| match self.to.db == self.from_db {
            true => Ok(()),
            false => steps.run(&[b"select", db.to_string().as_bytes()]).map(drop),
        };
        select(steps, self.to.db)?;
        let taken = take(steps);
        // Whatever came of it: what follows in a script is about its own database.
        select(steps, self.from_db)?;
        taken
    }

    fn event(&self) -> &'static str {
        if self.is_move { "rename_to" } else { "copy_to" }
    }

    fn take(&mut self, steps: &mut dyn Steps) -> Result<Phase, Stop> {
        let how: &[u8] = if self.is_move { b"peek" } else { b"read" };
        let mut words: Vec<&[u8]> = vec![b"row|take", &self.source, how];
        words.extend(steps.rests().then_some(&b"pieces"[..]));
        let answer = steps.run(&words)?;
        let mut reader = Reader::new(&answer);
        if reader.array() == 0 {
            return Ok(Phase::Done);
        }
        let mut text = || reader.text().unwrap_or_default().to_vec();
        (self.form, self.expire_ms, self.value) = (text(), text(), text());
        Ok(match self.form == LARGE {
            false => Phase::Gives,
            // Who looks first and changes then might wait for another one that does the same: so not when all has been done.
            true if self.is_move => Phase::Holds,
            true => Phase::Begins,
        })
    }

    fn give(&mut self, steps: &mut dyn Steps) -> Result<bool, Stop> {
        let how: &[u8] = if self.to.is_replacing { b"replace" } else { b"" };
        let Moving { form, expire_ms, value, target, .. } = &*self;
        let words: [&[u8]; 7] = [b"row|put", target, self.event().as_bytes(), how, form, expire_ms, value];
        Ok(integer(&self.there(steps, |steps| steps.run(&words))?) == 1)
    }

    /// Asks for the next elements.
    fn send(&mut self, steps: &mut dyn Steps) -> Result<Phase, Stop> {
        if self.which == ORDERS {
            return Ok(Phase::Names);
        }
        let (which, rank) = ([self.which as u8], self.rank.to_string());
        let answer = steps.run(&[b"row|slice", &self.source, &which, rank.as_bytes()])?;
        let mut reader = Reader::new(&answer);
        reader.array();
        let Some(Item::Integer(sent)) = reader.next() else { unreachable!("a slice has a number of elements") };
        if sent == 0 {
            (self.which, self.rank) = (self.which + 1, 0);
            return Ok(Phase::Sends);
        }
        self.rank += sent as u64;
        self.piece = Piece::of(reader.text().unwrap_or_default());
        Ok(Phase::Puts)
    }

    fn kind(&self) -> Kind {
        Kind::ALL[usize::from(self.value[0])]
    }

    fn spread(&self) -> Spread<'_> {
        Spread::decode(&self.value[1..])
    }

    fn name(&mut self, steps: &mut dyn Steps) -> Result<(), Stop> {
        let ttl = match super::parse_integer(&self.expire_ms) {
            Some(ms) if ms > 0 => Ttl::At(ms as u64),
            _ => Ttl::Clear,
        };
        let spread = Spread { number: self.number, ..self.spread() };
        self.there(steps, |steps| made::name(steps, &self.target, self.kind(), spread, ttl, self.event()))
    }
}

impl Long for Moving {
    fn piece(&mut self, steps: &mut dyn Steps, _: u64) -> Result<bool, Stop> {
        self.phase = match self.phase {
            Phase::Takes => self.take(steps)?,
            Phase::Gives => {
                let is_given = self.give(steps)?;
                self.is_moved = Some(is_given);
                if is_given && self.is_move { Phase::Drops } else { Phase::Done }
            }
            Phase::Holds => steps.run(&[b"row|hold", &self.source]).map(|_| Phase::Begins)?,
            Phase::Begins => {
                self.number = self.there(steps, |steps| made::begin(steps, &self.target))?;
                if self.to.is_replacing { Phase::Sends } else { Phase::Asks }
            }
            Phase::Asks => match integer(&self.there(steps, |steps| steps.run(&[b"row|there", &self.target]))?) {
                0 => Phase::Sends,
                _ => {
                    self.is_moved = Some(false);
                    Phase::Done
                }
            },
            Phase::Sends => self.send(steps)?,
            Phase::Puts => {
                let of = (self.kind(), self.number);
                self.there(steps, |steps| made::put(steps, &self.target, of, &self.piece))?;
                self.piece.clear();
                Phase::Sends
            }
            Phase::Names => {
                self.name(steps)?;
                self.is_moved = Some(true);
                if self.is_move { Phase::Drops } else { Phase::Done }
            }
            Phase::Drops => steps.run(&[b"row|drop", &self.source]).map(|_| Phase::Done)?,
            Phase::Done => Phase::Done,
        };
        Ok(matches!(self.phase, Phase::Done))
    }
}

/// Of a collection.
const ORDERS: u64 = 2;

/// A step: `key which rank`. Elements of the collection that the row names, past their time or not, and how many. Which number that is the row says each time: what the
/// transaction itself has made is made anew for each step, under another one.
pub fn slice(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let args = call.args;
    let (which, rank) = (args[2][0], args.integer(3)? as u64);
    // It is locked since it was taken.
    let row = shard.peek(call, &args[1])?.ok_or(Refusal::NoSuchKey)?;
    let number = Spread::decode(row.value).number.0 + u64::from(which);
    let most = (shard.slices.items.get() / PUT_ITEMS).max(1);
    let (mut piece, mut count) = (Piece::default(), 0);
    shard.elements_from(call, CollectionId(number), rank, |element| {
        piece.push(which, &element.order(), (element.value, element.expire_ms));
        count += 1;
        if count < most && piece.bytes() < SLICE_BYTES { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    reply.array(2);
    reply.integer(count as i64);
    reply.bulk(piece.as_bytes());
    Ok(())
}
