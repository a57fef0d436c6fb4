//! The one list of what Cairn answers otherwise on purpose. `docs/COMPATIBILITY.md` says the same in its words.

use super::reply::Reply;
use super::sequence::Step;

/// A reply that differs.
pub struct Case<'a> {
    pub words: &'a [Vec<u8>],
    /// What Redis answers.
    pub expected: &'a Reply,
    pub got: &'a Reply,
    pub shards: u16,
    /// It is one of the replies of EXEC.
    pub is_in_exec: bool,
    /// What came before it in the sequence.
    pub earlier: &'a [Step],
}

/// Is it this command, subcommands included: `OBJECT ENCODING`?
fn is(words: &[Vec<u8>], name: &str) -> bool {
    let mut names = name.split(' ').enumerate();
    names.all(|(at, name)| words.get(at).is_some_and(|word| word.eq_ignore_ascii_case(name.as_bytes())))
}

impl Case<'_> {
    fn is(&self, name: &str) -> bool {
        is(self.words, name)
    }

    /// Has one of these been asked before?
    fn is_behind(&self, names: &[&str]) -> bool {
        self.earlier.iter().any(|step| names.iter().any(|name| is(&step.words, name)))
    }

    fn is_one_of(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.is(name))
    }
}

/// A difference that is meant.
pub struct Exception {
    pub name: &'static str,
    pub why: &'static str,
    /// What is in the databases differs from here on: the sequence ends.
    pub ends: bool,
    pub holds: fn(&Case<'_>) -> bool,
}

/// How many registers a sparse HyperLogLog has, by the lengths of its runs.
fn registers(object: &[u8]) -> Option<usize> {
    let mut runs = object.strip_prefix(b"HYLL\x01")?.get(11..)?.iter();
    let mut registers = 0;
    while let Some(&first) = runs.next() {
        registers += 1 + match first {
            0x00..=0x3f => usize::from(first),
            0x40..=0x7f => usize::from(first & 0x3f) << 8 | usize::from(*runs.next()?),
            _ => usize::from(first & 3),
        };
    }
    Some(registers)
}

/// The same of what PFDEBUG DECODE shows: `Z:719 v:1,2`.
fn registers_decoded(text: &[u8]) -> Option<usize> {
    let runs = std::str::from_utf8(text).ok()?.split(' ');
    runs.map(|run| run.rsplit([':', ',']).next()?.parse::<usize>().ok()).sum()
}

/// Whether replies differ only in how numbers are written; -0 is 0.
pub fn are_same_numbers(one: &Reply, other: &Reply) -> bool {
    let number = |text: &[u8]| std::str::from_utf8(text).ok()?.parse::<f64>().ok();
    match (one, other) {
        (Reply::Bulk { bytes: Some(one), .. }, Reply::Bulk { bytes: Some(other), .. }) => {
            one == other || number(one).is_some_and(|one| Some(one) == number(other))
        }
        (Reply::Line(one), Reply::Line(other)) if one.starts_with(b",") && other.starts_with(b",") => {
            number(&one[1..]).is_some_and(|one| Some(one) == number(&other[1..]))
        }
        (Reply::Many { items: Some(one), .. }, Reply::Many { items: Some(other), .. }) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| are_same_numbers(one, other))
        }
        _ => one == other,
    }
}

pub const EXCEPTIONS: &[Exception] = &[
    Exception {
        name: "score-digits",
        why: "scores have the fewest digits that read back, as in Redis 7.2; 7.0 writes 17",
        ends: false,
        holds: |case| {
            let is_scored = case.words.first().is_some_and(|word| matches!(word[..], [b'Z' | b'z', ..]));
            is_scored && are_same_numbers(case.expected, case.got)
        },
    },
    Exception {
        name: "lossy-error",
        why: "an error shows bytes that are no text as U+FFFD; Redis shows some, and ends the word at a NUL",
        ends: false,
        holds: |case| {
            let (Reply::Line(expected), Reply::Line(got)) = (case.expected, case.got) else { return false };
            let is_text = |word: &Vec<u8>| std::str::from_utf8(word).is_ok() && !word.contains(&0);
            let is_plain = |byte: &&u8| byte.is_ascii() && **byte != 0 && **byte != b'\'';
            let front = |line: &[u8]| line.iter().take_while(is_plain).copied().collect::<Vec<u8>>();
            let is_lossy = !case.words.iter().all(is_text) && front(expected) == front(got);
            case.got.is_error() && case.expected.is_error() && is_lossy
        },
    },
    Exception {
        name: "scan-cursor",
        why: "cursors are our own: what one that nobody was given leads to differs",
        ends: false,
        holds: |case| case.is("SCAN") && !case.is("SCAN 0") && !case.got.is_error() && !case.expected.is_error(),
    },
    Exception {
        name: "object-encoding",
        why: "follows from the value alone: Redis says raw or embstr of what APPEND, SETRANGE and INCRBYFLOAT have left; lists and sets are listpacks since 7.2; SORT makes a sorted set a skiplist there",
        ends: false,
        holds: |case| {
            let word = |reply: &Reply| {
                if let Reply::Bulk { bytes: Some(bytes), .. } = reply { bytes.clone() } else { Vec::new() }
            };
            let (expected, got) = (word(case.expected), word(case.got));
            case.is("OBJECT ENCODING")
                && [
                    &b"raw int"[..],
                    b"raw embstr",
                    b"embstr int",
                    b"quicklist listpack",
                    b"hashtable listpack",
                    b"skiplist listpack",
                ]
                .contains(&&[&expected[..], b" ", &got].concat()[..])
        },
    },
    Exception {
        name: "counted",
        why: "PFCOUNT does not note its result in the object",
        ends: false,
        holds: |case| {
            differ_only_in(case.expected, case.got, &|expected, got| {
                // The bytes of the cardinality.
                expected.len() >= 16
                    && expected.len() == got.len()
                    && expected[..8] == got[..8]
                    && expected[16..] == got[16..]
                    && got[15] & 0x80 != 0
            })
        },
    },
    Exception {
        name: "counted-before",
        why: "PFCOUNT of an object that was damaged after it had been counted: Redis answers what it has noted",
        ends: false,
        holds: |case| {
            let is_written_over = || case.is_behind(&["SETRANGE", "SETBIT", "BITFIELD", "APPEND"]);
            case.is("PFCOUNT") && (case.got.begins("-INVALIDOBJ ") || case.got.integer().is_some() && is_written_over())
        },
    },
    Exception {
        name: "counted-bits",
        why: "bits of an object that PFCOUNT has noted its result in",
        ends: false,
        holds: |case| {
            case.is_one_of(&["BITCOUNT", "BITPOS", "GETBIT"])
                && case.is_behind(&["PFCOUNT"])
                && (case.got.integer().is_some() && case.expected.integer().is_some())
        },
    },
    Exception {
        name: "stale-range",
        why: "SORT refuses numbers where a conversion before it was out of range: Redis does not forget that",
        ends: false,
        holds: |case| {
            case.is_one_of(&["SORT", "SORT_RO"])
                && case.expected.begins("-ERR One or more scores can't be converted")
                && !case.got.is_error()
        },
    },
    Exception {
        name: "bitfield-failed",
        why: "BITFIELD that makes a key and changes nothing in it (OVERFLOW FAIL) is a change for who watches the key: Redis makes it, and does not tell",
        ends: true,
        holds: |case| {
            case.is("EXEC")
                && case.is_behind(&["BITFIELD"])
                && case.expected.items().is_some()
                && matches!(case.got, Reply::Many { items: None, .. } | Reply::Line(_))
                && !case.got.is_error()
        },
    },
    Exception {
        name: "unbalanced",
        why: "XREAD and XREADGROUP name themselves in lower case where keys and ids are not as many, as in 7.2",
        ends: false,
        holds: |case| {
            case.is_one_of(&["XREAD", "XREADGROUP"])
                && case.expected.begins("-ERR Unbalanced")
                && case.got.begins("-ERR Unbalanced '")
        },
    },
    Exception {
        name: "chance",
        why: "chance decides which elements HRANDFIELD, SRANDMEMBER and ZRANDMEMBER answer",
        ends: false,
        holds: |case| {
            let len = |reply: &Reply| reply.items().map(<[Reply]>::len);
            case.is_one_of(&["HRANDFIELD", "SRANDMEMBER", "ZRANDMEMBER"])
                && case.got.kind() == case.expected.kind()
                && !case.got.is_error()
                && len(case.got) == len(case.expected)
        },
    },
    Exception {
        name: "chance-pop",
        why: "and which ones SPOP takes",
        ends: true,
        holds: |case| case.is("SPOP") && case.got.kind() == case.expected.kind() && !case.got.is_error(),
    },
    Exception {
        name: "damaged-registers",
        why: "a HyperLogLog that was written over in its middle has another number of registers: what PFADD makes of that is nobody's promise. Where Redis refuses (INVALIDOBJ) some elements \
              may have been added before; a refusal changes nothing here",
        ends: true,
        holds: |case| {
            let Reply::Bulk { bytes: Some(bytes), .. } = case.expected else { return false };
            let registers = match () {
                () if case.is("GET") => registers(bytes),
                () if case.is("PFDEBUG DECODE") => registers_decoded(bytes),
                () => None,
            };
            registers.is_some_and(|registers| registers != 1 << 14)
        },
    },
    Exception {
        name: "lpos-rank",
        why: "LPOS refuses the least RANK, as in 7.2",
        ends: false,
        holds: |case| case.is("LPOS") && case.got.begins("-ERR value is out of range, value must between"),
    },
    Exception {
        name: "lrem-count",
        why: "LREM refuses the least count, as in 7.4",
        ends: true,
        holds: |case| case.is("LREM") && case.got.begins("-ERR value is out of range, value must between"),
    },
    Exception {
        name: "rank-with-score",
        why: "ZRANK and ZREVRANK take WITHSCORE, as in 7.2",
        ends: false,
        holds: |case| {
            let is_meant = case.is_one_of(&["ZRANK", "ZREVRANK"]) && case.words.len() == 4;
            is_meant && case.expected.begins("-ERR wrong number of arguments")
        },
    },
    Exception {
        name: "crossslot",
        why: "within an EXEC that has a command on the server, what moves or combines rows wants keys of one shard",
        ends: true,
        holds: |case| case.is_in_exec && case.shards > 1 && case.got.begins("-CROSSSLOT"),
    },
    Exception {
        name: "exec-elsewhere",
        why: "within an EXEC over several shards a look at whole databases beside a command on the server is an error in its place, and a script there with keys of one shard does not empty databases",
        ends: true,
        holds: |case| {
            case.shards > 1
                && (case.got.begins("-ERR this command cannot be part of a transaction over several shards")
                    || case.got.begins("-ERR This command changes whole databases, which a script"))
        },
    },
];

/// Equal but for texts that are taken for equal.
fn differ_only_in(one: &Reply, other: &Reply, are_equal: &dyn Fn(&[u8], &[u8]) -> bool) -> bool {
    match (one, other) {
        (Reply::Many { items: Some(ones), .. }, Reply::Many { items: Some(others), .. }) => {
            let mut pairs = ones.iter().zip(others);
            let are_alike = one.kind() == other.kind() && ones.len() == others.len();
            are_alike && pairs.all(|(one, other)| differ_only_in(one, other, are_equal))
        }
        (Reply::Bulk { bytes: Some(one), .. }, Reply::Bulk { bytes: Some(other), .. }) => {
            one == other || are_equal(one, other)
        }
        (Reply::Line(one), Reply::Line(other)) => one == other || one[0] == b',' && are_equal(one, other),
        _ => one == other,
    }
}
