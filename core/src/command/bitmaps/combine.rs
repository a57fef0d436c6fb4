//! BITOP: bits of several strings become those of one.

use super::string;
use crate::command::Call;
use crate::command::program::Steps;
use crate::error::{Refusal, Stop};
use crate::notify::Events;
use crate::resp::encode::Reply;
use crate::resp::read::Reader;
use crate::shard::{Kind, Shard, Ttl};
use cairn_storage::blob::Blob;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    And,
    Or,
    Xor,
    Not,
}

impl Operation {
    fn parse(call: &Call<'_>) -> Result<Operation, Refusal> {
        let names = [("and", Operation::And), ("or", Operation::Or), ("xor", Operation::Xor), ("not", Operation::Not)];
        let named = names.iter().find(|(name, _)| call.args.is(1, name));
        let &(_, operation) = named.ok_or(Refusal::Syntax)?;
        if operation == Operation::Not && call.args.len() != 4 {
            return Err(Refusal::text("ERR BITOP NOT must be called with a single source key."));
        }
        Ok(operation)
    }

    /// What strings give, each as if it had zeros up to the length of the longest one.
    fn of(self, sources: &[&[u8]]) -> Vec<u8> {
        let len = sources.iter().map(|source| source.len()).max().unwrap_or(0);
        let (first, others) = sources.split_first().expect("there is a source");
        let mut result = Vec::with_capacity(len);
        result.extend_from_slice(first);
        result.resize(len, 0);
        if self == Operation::Not {
            result.iter_mut().for_each(|byte| *byte = !*byte);
        }
        for source in others {
            let (both, rest) = result.split_at_mut(source.len());
            let pairs = both.iter_mut().zip(*source);
            match self {
                Operation::And => {
                    pairs.for_each(|(byte, other)| *byte &= other);
                    rest.fill(0);
                }
                Operation::Or => pairs.for_each(|(byte, other)| *byte |= other),
                Operation::Xor => pairs.for_each(|(byte, other)| *byte ^= other),
                Operation::Not => unreachable!("it has one source"),
            }
        }
        result
    }
}

pub fn bitop(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let operation = Operation::parse(call)?;
    let mut sources = Vec::with_capacity(call.args.len() - 3);
    for key in call.args.skip(3).iter() {
        sources.push(string(shard.peek(call, key)?)?.unwrap_or_default());
    }
    let result = operation.of(&sources);
    let (target, len) = (&call.args[2], result.len());
    if len == 0 {
        if shard.remove(call, target)? {
            shard.notify(call, Events::GENERIC, "del", target);
        }
    } else {
        shard.write_blob(call, target, Kind::String, Ttl::Clear, &Blob::new(result))?;
        shard.notify(call, Events::STRING, "set", target);
    }
    reply.integer(len as i64);
    Ok(())
}

/// The same where the keys are on several shards.
pub fn program(call: &Call<'_>, steps: &mut dyn Steps, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let operation = Operation::parse(call)?;
    let found: Result<Vec<Vec<u8>>, Stop> = call.args.skip(3).iter().map(|key| steps.run(&[b"get", key])).collect();
    let found = found?;
    let sources: Vec<&[u8]> = found.iter().map(|reply| Reader::new(reply).text().unwrap_or_default()).collect();
    let (target, result) = (&call.args[2], operation.of(&sources));
    if result.is_empty() {
        steps.run(&[b"del", target])?;
    } else {
        steps.run(&[b"set", target, &result])?;
    }
    reply.integer(result.len() as i64);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Operation;

    #[test]
    fn shorter_strings_have_zeros_behind_them() {
        let check = |operation: Operation, sources: &[&[u8]], expect: &[u8]| {
            assert_eq!(operation.of(sources), expect, "{operation:?} {sources:?}");
        };
        check(Operation::And, &[b"\xff\x0f", b"\x3c\xff\xff"], b"\x3c\x0f\x00");
        check(Operation::And, &[b"\xff\x0f\xff", b"\x3c"], b"\x3c\x00\x00");
        check(Operation::Or, &[b"\x01", b"\x02\x04", b""], b"\x03\x04");
        check(Operation::Xor, &[b"\xff\x01", b"\x0f"], b"\xf0\x01");
        check(Operation::Not, &[b"\x00\xf0"], b"\xff\x0f");
        check(Operation::Or, &[b"", b""], b"");
    }
}
