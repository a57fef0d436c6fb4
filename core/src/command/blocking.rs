//! Commands that wait until a key has something for them: what each says of itself so that `machine/waiting.rs` and `machine/queues.rs` can do the rest.
//!
//! A family plugs in with two things, both in its own file:
//!
//! - its command as a `Run::Row` that never waits (what MULTI and scripts run): it answers nil if nothing is there, and takes its timeout as
//!   checked only;
//! - a [`Blocks`] in the command's `Spec`, with [`Flags::BLOCKING`](super::Flags::BLOCKING) among its flags: the keys and the timeout of these arguments, which rows
//!   are worth a try, and the arguments of the same command about some of the keys alone.

use super::args::Args;
use super::program::{Steps, first_answer};
use crate::command::Call;
use crate::error::{Refusal, Stop};
use crate::number::Extended;
use crate::resp::encode::Reply;
use crate::shard::{Kind, Shard};

/// What is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    /// Milliseconds; `None`: for ever.
    pub timeout_ms: Option<u64>,
    /// The places of the keys among the arguments, those that are preferred first.
    pub keys: Vec<usize>,
}

/// The arguments of a command about the keys at these places alone.
pub type Narrow = fn(&Args<'_>, &[usize]) -> Vec<Vec<u8>>;

/// A row that somebody waits for, as far as it is looked at to see whether it is worth a try.
#[derive(Clone, Copy)]
pub struct Awaited<'a> {
    pub key: &'a [u8],
    /// `None`: it is not there.
    pub kind: Option<Kind>,
    /// The command has not run yet.
    pub is_new: bool,
}

/// Whether a row is worth a try. Unless the command is new it must have something then, be it a refusal: who is told that there is nothing asks again.
pub type IsReady = fn(&Shard, &Call<'_>, Awaited<'_>) -> Result<bool, Stop>;

/// Arguments that mean the same later. `None`: these do already.
pub type Settle = fn(&Shard, &Call<'_>) -> Result<Option<Vec<Vec<u8>>>, Stop>;

/// How a command waits.
#[derive(Clone, Copy)]
pub struct Blocks {
    /// What these arguments wait for. `None`: the command does not wait (XREAD without BLOCK). Refuses what the command itself refuses.
    pub parse: fn(&Args<'_>) -> Result<Option<Wait>, Refusal>,
    pub is_ready: IsReady,
    /// How it is asked of the keys' own shard. `None`: all of its keys are on one shard, which runs it as it is.
    pub narrow: Option<Narrow>,
    /// A shard is asked about all of its keys together, and answers of all that have something.
    pub is_joint: bool,
    /// What one is given the next one is not: so they are served one after the other.
    pub takes: bool,
    /// Who waits is refused when the key is removed, or is of another kind.
    pub ends_with_key: bool,
    /// What is settled when the command begins.
    pub settle: Option<Settle>,
}

impl Blocks {
    /// Of one that takes something from the first of its keys that has any.
    pub const fn taking(
        parse: fn(&Args<'_>) -> Result<Option<Wait>, Refusal>,
        is_ready: IsReady,
        narrow: Option<Narrow>,
    ) -> Blocks {
        Blocks { parse, is_ready, narrow, is_joint: false, takes: true, ends_with_key: false, settle: None }
    }
}

/// There is something in a row of this kind; a row of another kind is refused by a command that is new, and passed over by who waits already.
pub fn is_of(kind: Kind, row: Awaited<'_>) -> bool {
    row.kind.is_some_and(|found| found == kind || row.is_new)
}

/// The program of one that takes something from the first of its keys that has any, and does not wait: asked about one key after the other.
pub fn first_over(call: &Call<'_>, steps: &mut dyn Steps, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let blocks = call.spec.blocks.expect("it would wait by itself");
    let narrow = blocks.narrow.expect("it can be asked about each of its keys alone");
    let keys = (blocks.parse)(call.args)?.map_or(Vec::new(), |wait| wait.keys);
    let ask = |at| {
        let mut words = narrow(call.args, &[at]);
        words[0] = call.spec.name.as_bytes().to_vec();
        words
    };
    first_answer(steps, keys.into_iter().map(ask), reply)
}

/// `key [key ...] timeout`.
pub fn parse_listed(args: &Args<'_>) -> Result<Option<Wait>, Refusal> {
    let timeout_ms = timeout_seconds(&args[args.len() - 1])?;
    Ok(Some(Wait { timeout_ms, keys: (1..args.len() - 1).collect() }))
}

/// The same of some keys.
pub fn narrow_listed(args: &Args<'_>, keys: &[usize]) -> Vec<Vec<u8>> {
    let keys = keys.iter().map(|at| args[*at].to_vec());
    std::iter::once(args[0].to_vec()).chain(keys).chain([b"0".to_vec()]).collect()
}

/// `timeout numkeys key [key ...]` and options, of some keys.
pub fn narrow_counted(args: &Args<'_>, chosen: &[usize]) -> Vec<Vec<u8>> {
    let keys = args.integer(2).expect("it was parsed") as usize;
    let mut words = vec![args[0].to_vec(), b"0".to_vec(), chosen.len().to_string().into_bytes()];
    words.extend(chosen.iter().map(|at| args[*at].to_vec()));
    words.extend(args.skip(3 + keys).iter().map(<[u8]>::to_vec));
    words
}

/// A timeout in seconds, with a fraction: milliseconds, or for ever if it is 0.
pub fn timeout_seconds(text: &[u8]) -> Result<Option<u64>, Refusal> {
    let refusal = || Refusal::text("ERR timeout is not a float or out of range");
    let seconds = Extended::parse(text).ok_or_else(refusal)?.nearest();
    let ms = (seconds * 1000.0).ceil();
    if ms >= i64::MAX as f64 - TIME_MS {
        return Err(Refusal::text("ERR timeout is out of range"));
    }
    if ms < 0.0 {
        return Err(Refusal::text("ERR timeout is negative"));
    }
    Ok((ms > 0.0).then_some(ms as u64))
}

/// A timeout in whole milliseconds.
pub fn timeout_ms(args: &Args<'_>, at: usize) -> Result<u64, Refusal> {
    let ms = args.integer(at).map_err(|_| Refusal::text("ERR timeout is not an integer or out of range"))?;
    if ms as f64 >= i64::MAX as f64 - TIME_MS {
        return Err(Refusal::text("ERR timeout is out of range"));
    }
    u64::try_from(ms).map_err(|_| Refusal::text("ERR timeout is negative"))
}

/// More than the milliseconds of Unix time that will be: added to a timeout they must not overflow.
const TIME_MS: f64 = 1e13;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_seconds_with_fractions() {
        let is = |text: &str| timeout_seconds(text.as_bytes());
        assert_eq!(is("0"), Ok(None));
        assert_eq!(is("0.0"), Ok(None));
        assert_eq!(is("1"), Ok(Some(1000)));
        assert_eq!(is("0.0001"), Ok(Some(1)));
        assert_eq!(is("1.5"), Ok(Some(1500)));
        assert_eq!(is("0x1p-1"), Ok(Some(500)));
        assert_eq!(is("1e-400"), Ok(Some(1)));
        for (text, line) in [
            ("", "not a float or out of range"),
            ("x", "not a float or out of range"),
            ("nan", "not a float or out of range"),
            ("-1", "negative"),
            ("-0.5", "negative"),
            ("9223372036854775807", "out of range"),
            ("1e300", "out of range"),
            ("inf", "out of range"),
            ("0x7FFFFFFFFFFFFF", "out of range"),
        ] {
            let refusal = is(text).unwrap_err();
            assert!(refusal.line().ends_with(line), "{text}: {}", refusal.line());
        }
    }
}
