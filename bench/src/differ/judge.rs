//! When two replies to the same command count as equal.

use super::reply::Reply;

/// How a command's reply is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judge {
    /// Byte for byte.
    Same,
    /// Its elements in any order.
    Unordered,
    /// Its pairs of elements in any order, as in the reply to HGETALL in RESP2.
    Pairs,
    /// An integer, off by so much at most; a negative one not at all. For times that remain.
    Near(u64),
    /// Only its kind: which element it is Redis leaves to chance.
    Alike,
    /// A reply of two elements, a cursor and what it has led to. The iteration is gone through with the argument at this place, which is
    /// drawn as `0`, and what it has led to altogether is compared as a set.
    Scanned(usize),
    /// The same, of pairs.
    ScannedPairs(usize),
}

impl Judge {
    /// Where the cursor is, if the command is one step of an iteration.
    pub fn cursor(self) -> Option<usize> {
        match self {
            Judge::Scanned(at) | Judge::ScannedPairs(at) => Some(at),
            _ => None,
        }
    }

    /// The same of a command whose reply is within that of EXEC.
    pub fn queued(self) -> Judge {
        if self.cursor().is_some() { Judge::Alike } else { self }
    }

    pub fn are_equal(self, one: &Reply, other: &Reply) -> bool {
        if one == other {
            return true;
        }
        match self {
            Judge::Same => false,
            Judge::Unordered | Judge::Scanned(_) => sorted(one, 1).is_some_and(|one| Some(one) == sorted(other, 1)),
            Judge::Pairs | Judge::ScannedPairs(_) => {
                // In RESP3 pairs are arrays of their own.
                let is_nested =
                    |reply: &Reply| reply.items().is_some_and(|items| items.iter().all(|item| item.items().is_some()));
                let by = if is_nested(one) { 1 } else { 2 };
                sorted(one, by).is_some_and(|one| Some(one) == sorted(other, by))
            }
            Judge::Near(most) => match (one.integer(), other.integer()) {
                (Some(one), Some(other)) => one >= 0 && other >= 0 && one.abs_diff(other) <= most,
                _ => false,
            },
            Judge::Alike => one.kind() == other.kind() && !one.is_error(),
        }
    }
}

/// The kind of a reply of many elements, and these in order, `by` of them as one.
fn sorted(reply: &Reply, by: usize) -> Option<(u8, Vec<&[Reply]>)> {
    let items = reply.items()?;
    let by = if reply.kind() == b'%' { 2 } else { by };
    let mut parts: Vec<&[Reply]> = items.chunks(by).collect();
    parts.sort();
    Some((reply.kind(), parts))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(judge: Judge, one: &str, other: &str, expect: bool) {
        let read = |text: &str| Reply::read(&mut text.replace(' ', "\r\n").as_bytes()).unwrap();
        assert_eq!(judge.are_equal(&read(one), &read(other)), expect, "{judge:?} {one} {other}");
    }

    #[test]
    fn order_counts_where_it_has_a_meaning() {
        let (ab, ba, aa) = ("*2 :1 :2 ", "*2 :2 :1 ", "*2 :1 :1 ");
        check(Judge::Same, ab, ab, true);
        check(Judge::Same, ab, ba, false);
        check(Judge::Unordered, ab, ba, true);
        check(Judge::Unordered, ab, aa, false);
        check(Judge::Unordered, "~2 :1 :2 ", ab, false);
        check(Judge::Pairs, "*4 :1 :2 :3 :4 ", "*4 :3 :4 :1 :2 ", true);
        check(Judge::Pairs, "*4 :1 :2 :3 :4 ", "*4 :3 :2 :1 :4 ", false);
        check(Judge::Pairs, "*2 *1 :1 *1 :2 ", "*2 *1 :2 *1 :1 ", true);
        check(Judge::Unordered, "%2 :1 :2 :3 :4 ", "%2 :3 :4 :1 :2 ", true);
        check(Judge::Unordered, "%2 :1 :2 :3 :4 ", "%2 :3 :2 :1 :4 ", false);
    }

    #[test]
    fn times_may_be_off_and_what_they_mean_may_not() {
        check(Judge::Near(2), ":100 ", ":98 ", true);
        check(Judge::Near(2), ":100 ", ":97 ", false);
        check(Judge::Near(2), ":0 ", ":-1 ", false);
        check(Judge::Near(2), ":-2 ", ":-1 ", false);
        check(Judge::Alike, "$1 a ", "$1 b ", true);
        check(Judge::Alike, "-ERR ", "-NO ", false);
        check(Judge::Alike, "$1 a ", "_ ", false);
    }
}
