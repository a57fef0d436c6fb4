//! LCS: the longest common subsequence of two strings, by the classic table of lengths.
//!
//! `lengths[i][j]` is the length for the first `i` and the first `j` bytes. Read backwards from its end the table yields
//! the subsequence and the ranges of its runs, in the same order as Redis finds them.

use super::string;
use crate::command::Call;
use crate::command::program::Steps;
use crate::error::{Refusal, Stop};
use crate::resp::encode::Reply;
use crate::resp::read::Reader;
use crate::shard::Shard;
use std::ops::Range;

pub fn lcs(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let both = (shard.read(call, &call.args[1])?, shard.read(call, &call.args[2])?);
    let (Ok(a), Ok(b)) = (string(both.0), string(both.1)) else { return Err(Refusal::text(NO_STRINGS).into()) };
    answer(call, a.unwrap_or_default(), b.unwrap_or_default(), shard.string_bytes_max, reply)
}

const NO_STRINGS: &str = "ERR The specified keys must contain string values";

/// The same where the keys are on two shards.
pub fn lcs_over(call: &Call<'_>, steps: &mut dyn Steps, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let mut value = |key: &[u8]| match steps.run(&[b"get", key]) {
        Err(Stop::Refuse(Refusal::Text(line))) if line.starts_with("WRONGTYPE") => {
            Err(Refusal::text(NO_STRINGS).into())
        }
        answer => answer,
    };
    let (a, b) = (value(&call.args[1])?, value(&call.args[2])?);
    let (a, b) = (Reader::new(&a).text().unwrap_or_default(), Reader::new(&b).text().unwrap_or_default());
    answer(call, a, b, steps.shard().string_bytes_max, reply)
}

fn answer(call: &Call<'_>, a: &[u8], b: &[u8], bytes_max: usize, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let options = Options::parse(call)?;
    let table = Table::new(a, b, bytes_max)?;
    if options.is_idx {
        options.write_runs(&table, reply);
    } else if options.is_len {
        reply.integer(i64::from(table.len()));
    } else {
        let (subsequence, _) = table.walk();
        reply.bulk(&subsequence);
    }
    Ok(())
}

#[derive(Default)]
struct Options {
    is_idx: bool,
    is_len: bool,
    has_lens: bool,
    len_min: i64,
}

impl Options {
    fn parse(call: &Call<'_>) -> Result<Options, Stop> {
        let args = call.args;
        let mut options = Options::default();
        let mut at = 3;
        while at < args.len() {
            if args.is(at, "idx") {
                options.is_idx = true;
            } else if args.is(at, "len") {
                options.is_len = true;
            } else if args.is(at, "withmatchlen") {
                options.has_lens = true;
            } else if args.is(at, "minmatchlen") && at + 1 < args.len() {
                at += 1;
                options.len_min = args.integer(at)?;
            } else {
                return Err(Refusal::Syntax.into());
            }
            at += 1;
        }
        if options.is_len && options.is_idx {
            let text = "ERR If you want both the length and indexes, please just use IDX.";
            return Err(Refusal::text(text).into());
        }
        Ok(options)
    }

    fn write_runs(&self, table: &Table<'_>, reply: &mut Reply<'_>) {
        let (_, mut runs) = table.walk();
        runs.retain(|run| run.a.len() as i64 >= self.len_min);
        reply.map(2);
        reply.bulk(b"matches");
        reply.array(runs.len());
        for run in &runs {
            reply.array(2 + usize::from(self.has_lens));
            for range in [&run.a, &run.b] {
                reply.array(2);
                reply.integer(range.start as i64);
                reply.integer(range.end as i64 - 1);
            }
            if self.has_lens {
                reply.integer(run.a.len() as i64);
            }
        }
        reply.bulk(b"len");
        reply.integer(i64::from(table.len()));
    }
}

/// Neighbouring bytes of both strings that belong to the subsequence.
#[derive(Debug, PartialEq, Eq)]
struct Run {
    a: Range<usize>,
    b: Range<usize>,
}

struct Table<'a> {
    a: &'a [u8],
    b: &'a [u8],
    lengths: Vec<u32>,
}

impl<'a> Table<'a> {
    fn new(a: &'a [u8], b: &'a [u8], bytes_max: usize) -> Result<Table<'a>, Stop> {
        let width = b.len() + 1;
        // Both are at most 512 MiB long: no overflow.
        let cells = (a.len() + 1) * width;
        if cells * size_of::<u32>() > bytes_max {
            let text = "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len";
            return Err(Refusal::text(text).into());
        }
        let mut lengths = vec![0; cells];
        for (i, byte) in a.iter().enumerate() {
            let (above, below) = lengths[i * width..].split_at_mut(width);
            for (j, other) in b.iter().enumerate() {
                below[j + 1] = if byte == other { above[j] + 1 } else { above[j + 1].max(below[j]) };
            }
        }
        Ok(Table { a, b, lengths })
    }

    fn at(&self, i: usize, j: usize) -> u32 {
        self.lengths[i * (self.b.len() + 1) + j]
    }

    fn len(&self) -> u32 {
        self.at(self.a.len(), self.b.len())
    }

    /// The subsequence, and its runs from the last to the first.
    fn walk(&self) -> (Vec<u8>, Vec<Run>) {
        let mut bytes = Vec::with_capacity(self.len() as usize);
        let mut runs: Vec<Run> = Vec::new();
        let (mut i, mut j) = (self.a.len(), self.b.len());
        while i > 0 && j > 0 {
            if self.a[i - 1] != self.b[j - 1] {
                if self.at(i - 1, j) > self.at(i, j - 1) {
                    i -= 1
                } else {
                    j -= 1
                }
                continue;
            }
            match runs.last_mut() {
                Some(run) if run.a.start == i && run.b.start == j => (run.a.start, run.b.start) = (i - 1, j - 1),
                _ => runs.push(Run { a: i - 1..i, b: j - 1..j }),
            }
            (i, j) = (i - 1, j - 1);
            bytes.push(self.a[i]);
        }
        bytes.reverse();
        (bytes, runs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_documentation() {
        let table = Table::new(b"ohmytext", b"mynewtext", 1000).unwrap();
        let (bytes, runs) = table.walk();
        assert_eq!((table.len(), &bytes[..]), (6, &b"mytext"[..]));
        assert_eq!(runs, [Run { a: 4..8, b: 5..9 }, Run { a: 2..4, b: 0..2 }]);
    }

    #[test]
    fn the_empty_string_has_nothing_in_common() {
        let table = Table::new(b"", b"abc", 1000).unwrap();
        assert_eq!((table.len(), table.walk()), (0, (vec![], vec![])));
    }

    #[test]
    fn tables_are_bounded() {
        // Ten rows of ten cells of four bytes.
        let bounded = |bytes_max: usize| Table::new(b"aaaaaaaaa", b"bbbbbbbbb", bytes_max).is_ok();
        assert_eq!((bounded(399), bounded(400), bounded(401)), (false, true, true));
    }
}
