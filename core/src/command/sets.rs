//! The set commands: one row each. What they answer follows Redis 7.2's `t_set.c`, the order of its checks included.

mod algebra;
mod change;
mod look;

use super::{Flags, Keys, Run, Spec, Spread};

const SET: Spec = Spec { keys: Keys::ONE, categories: "set", group: "set", ..Spec::DEFAULT };
const WRITE_FAST: Flags = Flags::WRITE.and(Flags::FAST);
const READ_FAST: Flags = Flags::READONLY.and(Flags::FAST);
const STORE: Flags = Flags::WRITE.and(Flags::DENYOOM);
const STORE_USES: &[&str] = &["OW update", "RO access"];

pub const SPECS: &[Spec] = &[
    Spec {
        name: "sadd",
        arity: -3,
        member: 2,
        flags: WRITE_FAST.and(Flags::DENYOOM),
        run: Run::Row(change::sadd),
        joined: Some(change::SADDS),
        complexity: "O(N log M) where N is the number of members to be added and M the number of members.",
        key_uses: &["RW insert"],
        summary: "Adds members to a set and answers how many are new.",
        synopsis: "key member [member ...]",
        ..SET
    },
    Spec {
        name: "scard",
        arity: 2,
        flags: READ_FAST,
        run: Run::Row(look::scard),
        complexity: "O(log N) where N is the number of members.",
        key_uses: &["RO"],
        summary: "Answers how many members a set has.",
        synopsis: "key",
        ..SET
    },
    Spec {
        name: "sdiff",
        arity: -2,
        flags: Flags::READONLY,
        keys: Keys::ALL,
        spread: Spread::Program(algebra::program),
        run: Run::Row(algebra::run),
        complexity: "O(N log M) where N is the number of members of all sets and M that of the largest.",
        tips: "nondeterministic_output_order",
        summary: "Answers the members of the first set that none of the others has.",
        synopsis: "key [key ...]",
        ..SET
    },
    Spec {
        name: "sdiffstore",
        arity: -3,
        flags: STORE,
        keys: Keys::ALL,
        spread: Spread::Program(algebra::program),
        run: Run::Row(algebra::run),
        complexity: "O(N log M) where N is the number of members of all sets and M that of the largest.",
        key_uses: STORE_USES,
        summary: "Stores the members of the first set that none of the others has.",
        synopsis: "destination key [key ...]",
        ..SET
    },
    Spec {
        name: "sinter",
        arity: -2,
        flags: Flags::READONLY,
        keys: Keys::ALL,
        spread: Spread::Program(algebra::program),
        run: Run::Row(algebra::run),
        complexity: "O(N*M log L) where N is the number of members of the smallest set, M the number of sets, L the members of the largest.",
        tips: "nondeterministic_output_order",
        summary: "Answers the members that all sets have.",
        synopsis: "key [key ...]",
        ..SET
    },
    Spec {
        name: "sintercard",
        arity: -3,
        flags: Flags::READONLY.and(Flags::MOVABLEKEYS),
        keys: Keys::NONE,
        keynum: 1,
        spread: Spread::Program(algebra::program),
        run: Run::Row(algebra::run),
        since: "7.0.0",
        complexity: "O(N*M log L) where N is the number of members of the smallest set, M the number of sets, L the members of the largest.",
        summary: "Counts the members that all sets have.",
        synopsis: "numkeys key [key ...] [LIMIT limit]",
        ..SET
    },
    Spec {
        name: "sinterstore",
        arity: -3,
        flags: STORE,
        keys: Keys::ALL,
        spread: Spread::Program(algebra::program),
        run: Run::Row(algebra::run),
        complexity: "O(N*M log L) where N is the number of members of the smallest set, M the number of sets, L the members of the largest.",
        key_uses: STORE_USES,
        summary: "Stores the members that all sets have.",
        synopsis: "destination key [key ...]",
        ..SET
    },
    Spec {
        name: "sismember",
        arity: 3,
        member: 2,
        flags: READ_FAST,
        run: Run::Row(look::sismember),
        complexity: "O(log N) where N is the number of members.",
        key_uses: &["RO"],
        summary: "Tells whether a set has a member.",
        synopsis: "key member",
        ..SET
    },
    Spec {
        name: "smembers",
        arity: 2,
        flags: Flags::READONLY,
        run: Run::Row(look::smembers),
        complexity: "O(N) where N is the number of members.",
        tips: "nondeterministic_output_order",
        summary: "Answers all members of a set.",
        synopsis: "key",
        ..SET
    },
    Spec {
        name: "smismember",
        arity: -3,
        member: 2,
        flags: READ_FAST,
        run: Run::Row(look::smismember),
        since: "6.2.0",
        complexity: "O(N log M) where N is the number of members asked for and M the number of members.",
        key_uses: &["RO"],
        summary: "Tells which members a set has.",
        synopsis: "key member [member ...]",
        ..SET
    },
    Spec {
        name: "smove",
        arity: 4,
        flags: WRITE_FAST,
        keys: Keys::TWO,
        spread: Spread::Program(change::smove_over),
        run: Run::Row(change::smove),
        complexity: "O(log N) where N is the number of members of the larger set.",
        key_uses: &["RW access delete", "RW insert"],
        summary: "Takes a member from one set to another.",
        synopsis: "source destination member",
        ..SET
    },
    Spec {
        name: "spop",
        arity: -2,
        flags: WRITE_FAST,
        run: Run::Row(change::spop),
        joined: Some(change::SPOPS),
        complexity: "O(N log M) where N is the number of members that are removed and M the number of members.",
        key_uses: &["RW access delete"],
        tips: "nondeterministic_output",
        summary: "Removes members that are chosen at random and answers them.",
        synopsis: "key [count]",
        ..SET
    },
    Spec {
        name: "srandmember",
        arity: -2,
        flags: Flags::READONLY,
        run: Run::Row(look::srandmember),
        complexity: "O(N log M) where N is the number of members that are answered and M the number of members.",
        tips: "nondeterministic_output",
        summary: "Answers members of a set that are chosen at random.",
        synopsis: "key [count]",
        ..SET
    },
    Spec {
        name: "srem",
        arity: -3,
        member: 2,
        flags: WRITE_FAST,
        run: Run::Row(change::srem),
        complexity: "O(N log M) where N is the number of members to be removed and M the number of members.",
        key_uses: &["RW delete"],
        summary: "Removes members from a set and answers how many there were; the key goes with the last one.",
        synopsis: "key member [member ...]",
        ..SET
    },
    Spec {
        name: "sscan",
        arity: -3,
        flags: Flags::READONLY,
        run: Run::Row(look::sscan),
        since: "2.8.0",
        complexity: "O(log N) for every call. O(N) for a complete iteration, where N is the number of members.",
        tips: "nondeterministic_output",
        summary: "Goes through the members of a set, some at a time.",
        synopsis: "key cursor [MATCH pattern] [COUNT count]",
        ..SET
    },
    Spec {
        name: "sunion",
        arity: -2,
        flags: Flags::READONLY,
        keys: Keys::ALL,
        spread: Spread::Program(algebra::program),
        run: Run::Row(algebra::run),
        complexity: "O(N log N) where N is the number of members of all sets.",
        tips: "nondeterministic_output_order",
        summary: "Answers the members that any of the sets has.",
        synopsis: "key [key ...]",
        ..SET
    },
    Spec {
        name: "sunionstore",
        arity: -3,
        flags: STORE,
        keys: Keys::ALL,
        spread: Spread::Program(algebra::program),
        run: Run::Row(algebra::run),
        complexity: "O(N log N) where N is the number of members of all sets.",
        key_uses: STORE_USES,
        summary: "Stores the members that any of the sets has.",
        synopsis: "destination key [key ...]",
        ..SET
    },
];

/// Steps of commands on several sets.
pub const STEPS: &[Spec] = &[
    Spec { name: "set|slice", flags: Flags::READONLY, run: Run::Row(algebra::slice), ..SET },
    Spec { name: "set|store", flags: STORE, run: Run::Row(algebra::put), ..SET },
];
