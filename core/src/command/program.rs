//! Commands that are made of commands: where the keys of one are on several shards, or only its rows tell which others it looks at. Its steps are
//! commands on rows of one shard each (or of several, if that one knows how); all of them are one transaction, as if a script had called them.
//!
//! A program may be ended at any step and run again from its beginning with the same answers: it must then take the same steps. So what it
//! makes hangs on nothing but its arguments and what it was answered. One whose work may be long keeps what it has come to ([`super::long`]), and
//! goes on from there.

use super::args::{Args, copied};
use super::{Call, Run, table};
use crate::error::Stop;
use crate::event::HostAsk;
use crate::resp::encode::Reply;
use crate::resp::read::{Item, Reader};
use crate::resp::replies::Replies;
use crate::shard::Shard;
use crate::shard::slices::Slicing;
use std::any::Any;
use std::ops::Range;

/// Takes the steps of a command and answers it. Refused, nothing of it has happened.
pub type Program = fn(&Call<'_>, &mut dyn Steps, &mut Reply<'_>) -> Result<(), Stop>;

/// What a program has come to.
pub type Kept = Box<dyn Any + Send>;

/// Where a program's steps are taken.
pub trait Steps {
    /// Runs a command, one that only programs call ([`super::table::STEPS`]) or any other on rows, and answers its whole reply. It passes on what the command is refused with.
    fn run_as(&mut self, is_resp3: bool, words: &[&[u8]]) -> Result<Vec<u8>, Stop>;

    /// Has the process do something, and answers what it says. It passes on what that is refused with.
    fn ask_host(&mut self, _: HostAsk) -> Result<String, Stop> {
        unreachable!("who asks the process is taken for a script over several shards")
    }

    /// The shard that the program runs on: for its settings, not for rows.
    fn shard(&mut self) -> &Shard;

    /// Whether the program may stop to let others have their turn, and goes on from what it keeps.
    fn rests(&mut self) -> bool {
        false
    }

    /// Items that it deals with before it rests.
    fn items(&mut self) -> u64 {
        self.shard().slices.items.get()
    }

    /// Keys that it looks up before it rests, each of them somewhere else.
    fn looks(&mut self) -> u64 {
        self.items()
    }

    /// All that it looks up has been.
    fn end_looks(&mut self) {}

    /// What it has kept: it goes on from there.
    fn kept(&mut self) -> Option<Kept> {
        None
    }

    /// It stops. All that it was answered so far is in what it keeps, and will not be asked again. `rests`: it waits for nothing but its next turn.
    fn keep(&mut self, _: Kept, _rests: bool) {}

    /// As `run_as`, in RESP2.
    fn run(&mut self, words: &[&[u8]]) -> Result<Vec<u8>, Stop> {
        self.run_as(false, words)
    }

    /// The same of a command whose reply is the program's.
    fn answer(&mut self, words: &[&[u8]], reply: &mut Reply<'_>) -> Result<(), Stop> {
        let answer = self.run_as(reply.is_resp3, words)?;
        reply.out.extend_from_slice(&answer);
        Ok(())
    }
}

/// The steps of a command whose rows are all on this shard. The last one alone may change something.
pub struct Here<'a> {
    pub shard: &'a mut Shard,
    pub call: &'a Call<'a>,
}

impl Steps for Here<'_> {
    fn run_as(&mut self, is_resp3: bool, words: &[&[u8]]) -> Result<Vec<u8>, Stop> {
        let spec = table::step(words[0]).expect("programs call what there is").spec;
        let Run::Row(run) = spec.run else { unreachable!("steps are on rows") };
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

    fn rests(&mut self) -> bool {
        self.shard.slices.how.get() != Slicing::Whole
    }

    fn looks(&mut self) -> u64 {
        if self.rests() { self.shard.puts_now() } else { self.items() }
    }

    fn end_looks(&mut self) {
        self.shard.end_looks();
    }

    fn kept(&mut self) -> Option<Kept> {
        self.shard.slices.kept.take()
    }

    fn keep(&mut self, kept: Kept, _: bool) {
        self.shard.rest(kept, Stop::Long);
    }
}

/// A command that takes what it can get of the first key that has something: asked of one key after the other.
pub fn first_of(call: &Call<'_>, steps: &mut dyn Steps, keys: Range<usize>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let behind = call.args.skip(keys.end);
    let ask = |at| {
        [call.spec.name.as_bytes(), b"1", &call.args[at]].into_iter().chain(behind.iter()).map(<[u8]>::to_vec).collect()
    };
    first_answer(steps, keys.map(ask), reply)
}

/// The first answer that is not null, of these steps one after the other.
pub fn first_answer(
    steps: &mut dyn Steps,
    asks: impl Iterator<Item = Vec<Vec<u8>>>,
    reply: &mut Reply<'_>,
) -> Result<(), Stop> {
    for ask in asks {
        let words: Vec<&[u8]> = ask.iter().map(Vec::as_slice).collect();
        let answer = steps.run_as(reply.is_resp3, &words)?;
        if Reader::new(&answer).next() != Some(Item::Null) {
            reply.out.extend_from_slice(&answer);
            return Ok(());
        }
    }
    reply.null_array();
    Ok(())
}
