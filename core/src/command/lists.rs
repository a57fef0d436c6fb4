//! The list commands: one row each. What they answer follows Redis 7.2's `t_list.c`, the order of its checks included.

mod change;
mod ends;
mod look;
mod moves;
mod waits;

use super::{Flags, Keys, Run, Spec, Spread, blocking};

const LIST: Spec = Spec { keys: Keys::ONE, categories: "list", group: "list", ..Spec::DEFAULT };
const WRITE: Flags = Flags::WRITE.and(Flags::DENYOOM);
const WRITE_FAST: Flags = WRITE.and(Flags::FAST);
const READ_FAST: Flags = Flags::READONLY.and(Flags::FAST);

pub const SPECS: &[Spec] = &[
    Spec {
        name: "blmove",
        arity: 6,
        flags: WRITE.and(Flags::BLOCKING),
        keys: Keys::TWO,
        spread: Spread::Program(moves::move_over),
        run: Run::Row(waits::blmove),
        blocks: Some(&waits::MOVE),
        since: "6.2.0",
        complexity: "O(log N) where N is the number of elements.",
        key_uses: &["RW access delete", "RW insert"],
        summary: "As LMOVE; waits until there is an element.",
        synopsis: "source destination <LEFT | RIGHT> <LEFT | RIGHT> timeout",
        ..LIST
    },
    Spec {
        name: "blmpop",
        arity: -5,
        flags: Flags::WRITE.and(Flags::BLOCKING).and(Flags::MOVABLEKEYS),
        keys: Keys::NONE,
        keynum: 2,
        spread: Spread::Program(blocking::first_over),
        run: Run::Row(waits::blmpop),
        blocks: Some(&waits::MPOP),
        since: "7.0.0",
        complexity: "O(K+N log M) where K is the number of keys, N the number of elements that are answered and M the number of elements.",
        key_uses: &["RW access delete"],
        summary: "As LMPOP; waits until one of the lists has elements.",
        synopsis: "timeout numkeys key [key ...] <LEFT | RIGHT> [COUNT count]",
        ..LIST
    },
    Spec {
        name: "blpop",
        arity: -3,
        flags: Flags::WRITE.and(Flags::BLOCKING),
        keys: Keys::BUT_LAST,
        spread: Spread::Program(blocking::first_over),
        run: Run::Row(waits::blpop),
        blocks: Some(&waits::POP),
        since: "2.0.0",
        complexity: "O(K+log N) where K is the number of keys and N the number of elements.",
        key_uses: &["RW access delete"],
        summary: "Takes the first element of the first list that has any; waits until there is one.",
        synopsis: "key [key ...] timeout",
        ..LIST
    },
    Spec {
        name: "brpop",
        arity: -3,
        flags: Flags::WRITE.and(Flags::BLOCKING),
        keys: Keys::BUT_LAST,
        spread: Spread::Program(blocking::first_over),
        run: Run::Row(waits::brpop),
        blocks: Some(&waits::POP),
        since: "2.0.0",
        complexity: "O(K+log N) where K is the number of keys and N the number of elements.",
        key_uses: &["RW access delete"],
        summary: "Takes the last element of the first list that has any; waits until there is one.",
        synopsis: "key [key ...] timeout",
        ..LIST
    },
    Spec {
        name: "brpoplpush",
        arity: 4,
        flags: WRITE.and(Flags::BLOCKING),
        keys: Keys::TWO,
        spread: Spread::Program(moves::move_over),
        run: Run::Row(waits::brpoplpush),
        blocks: Some(&waits::POP_PUSH),
        since: "2.2.0",
        complexity: "O(log N) where N is the number of elements.",
        key_uses: &["RW access delete", "RW insert"],
        summary: "As RPOPLPUSH; waits until there is an element.",
        synopsis: "source destination timeout",
        ..LIST
    },
    Spec {
        name: "lindex",
        arity: 3,
        flags: Flags::READONLY,
        run: Run::Row(look::lindex),
        complexity: "O(log N) where N is the number of elements.",
        summary: "Answers the element at an index.",
        synopsis: "key index",
        ..LIST
    },
    Spec {
        name: "linsert",
        arity: 5,
        flags: WRITE,
        run: Run::Row(change::linsert),
        since: "2.2.0",
        complexity: "O(N) where N is the number of elements before the pivot.",
        key_uses: &["RW insert"],
        summary: "Inserts an element before or behind another one.",
        synopsis: "key <BEFORE | AFTER> pivot element",
        ..LIST
    },
    Spec {
        name: "llen",
        arity: 2,
        flags: READ_FAST,
        run: Run::Row(look::llen),
        complexity: "O(log N) where N is the number of elements.",
        key_uses: &["RO"],
        summary: "Answers how many elements a list has.",
        synopsis: "key",
        ..LIST
    },
    Spec {
        name: "lmove",
        arity: 5,
        flags: WRITE,
        keys: Keys::TWO,
        spread: Spread::Program(moves::move_over),
        run: Run::Row(moves::lmove),
        since: "6.2.0",
        complexity: "O(log N) where N is the number of elements.",
        key_uses: &["RW access delete", "RW insert"],
        summary: "Takes an element from an end of a list, puts it at an end of another one, and answers it.",
        synopsis: "source destination <LEFT | RIGHT> <LEFT | RIGHT>",
        ..LIST
    },
    Spec {
        name: "lmpop",
        arity: -4,
        flags: Flags::WRITE.and(Flags::MOVABLEKEYS),
        keys: Keys::NONE,
        keynum: 1,
        spread: Spread::Program(moves::lmpop_over),
        run: Run::Row(moves::lmpop),
        since: "7.0.0",
        complexity: "O(K+N log M) where K is the number of keys, N the number of elements that are answered and M the number of elements.",
        key_uses: &["RW access delete"],
        summary: "Takes elements from an end of the first list that has any.",
        synopsis: "numkeys key [key ...] <LEFT | RIGHT> [COUNT count]",
        ..LIST
    },
    Spec {
        name: "lpop",
        arity: -2,
        flags: Flags::WRITE.and(Flags::FAST),
        run: Run::Row(ends::lpop),
        joined: Some(ends::LPOPS),
        complexity: "O(N log M) where N is the number of elements that are answered and M the number of elements.",
        key_uses: &["RW access delete"],
        summary: "Takes elements from the left end of a list; the key goes with the last one.",
        synopsis: "key [count]",
        ..LIST
    },
    Spec {
        name: "lpos",
        arity: -3,
        flags: Flags::READONLY,
        run: Run::Row(look::lpos),
        since: "6.0.6",
        complexity: "O(N) where N is the number of elements that are looked at.",
        summary: "Answers the indexes of elements that are like one.",
        synopsis: "key element [RANK rank] [COUNT num-matches] [MAXLEN len]",
        ..LIST
    },
    Spec {
        name: "lpush",
        arity: -3,
        flags: WRITE_FAST,
        run: Run::Row(ends::lpush),
        joined: Some(ends::LPUSHES),
        complexity: "O(N log M) where N is the number of new elements and M the number of elements.",
        key_uses: &["RW insert"],
        summary: "Puts elements at the left end of a list, one after the other.",
        synopsis: "key element [element ...]",
        ..LIST
    },
    Spec {
        name: "lpushx",
        arity: -3,
        flags: WRITE_FAST,
        run: Run::Row(ends::lpushx),
        since: "2.2.0",
        complexity: "O(N log M) where N is the number of new elements and M the number of elements.",
        key_uses: &["RW insert"],
        summary: "Puts elements at the left end of a list if it is there.",
        synopsis: "key element [element ...]",
        ..LIST
    },
    Spec {
        name: "lrange",
        arity: 4,
        flags: Flags::READONLY,
        run: Run::Row(look::lrange),
        complexity: "O(log N + M) where N is the number of elements and M the number of those that are answered.",
        summary: "Answers the elements of a range of indexes.",
        synopsis: "key start stop",
        ..LIST
    },
    Spec {
        name: "lrem",
        arity: 4,
        flags: Flags::WRITE,
        run: Run::Row(change::lrem),
        complexity: "O(N+M log N) where N is the number of elements and M the number of those that are removed.",
        key_uses: &["RW delete"],
        summary: "Removes elements that are like one and answers how many there were; the key goes with the last one.",
        synopsis: "key count element",
        ..LIST
    },
    Spec {
        name: "lset",
        arity: 4,
        flags: WRITE,
        run: Run::Row(change::lset),
        complexity: "O(log N) where N is the number of elements.",
        key_uses: &["RW update"],
        summary: "Puts another element at an index.",
        synopsis: "key index element",
        ..LIST
    },
    Spec {
        name: "ltrim",
        arity: 4,
        flags: Flags::WRITE,
        run: Run::Row(change::ltrim),
        complexity: "O(M log N) where N is the number of elements and M that of those that stay, or of those that go if they are fewer.",
        key_uses: &["RW delete"],
        summary: "Removes all elements of a list but those of a range of indexes.",
        synopsis: "key start stop",
        ..LIST
    },
    Spec {
        name: "rpop",
        arity: -2,
        flags: Flags::WRITE.and(Flags::FAST),
        run: Run::Row(ends::rpop),
        joined: Some(ends::RPOPS),
        complexity: "O(N log M) where N is the number of elements that are answered and M the number of elements.",
        key_uses: &["RW access delete"],
        summary: "Takes elements from the right end of a list; the key goes with the last one.",
        synopsis: "key [count]",
        ..LIST
    },
    Spec {
        name: "rpoplpush",
        arity: 3,
        flags: WRITE,
        keys: Keys::TWO,
        spread: Spread::Program(moves::move_over),
        run: Run::Row(moves::rpoplpush),
        since: "1.2.0",
        complexity: "O(log N) where N is the number of elements.",
        key_uses: &["RW access delete", "RW insert"],
        summary: "Takes the last element of a list, puts it in front of another one, and answers it.",
        synopsis: "source destination",
        ..LIST
    },
    Spec {
        name: "rpush",
        arity: -3,
        flags: WRITE_FAST,
        run: Run::Row(ends::rpush),
        joined: Some(ends::RPUSHES),
        complexity: "O(N log M) where N is the number of new elements and M the number of elements.",
        key_uses: &["RW insert"],
        summary: "Puts elements at the right end of a list, one after the other.",
        synopsis: "key element [element ...]",
        ..LIST
    },
    Spec {
        name: "rpushx",
        arity: -3,
        flags: WRITE_FAST,
        run: Run::Row(ends::rpushx),
        since: "2.2.0",
        complexity: "O(N log M) where N is the number of new elements and M the number of elements.",
        key_uses: &["RW insert"],
        summary: "Puts elements at the right end of a list if it is there.",
        synopsis: "key element [element ...]",
        ..LIST
    },
];
