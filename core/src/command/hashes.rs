//! The hash commands: one row each. What they answer follows Redis 7.2's `t_hash.c`, the order of its checks included.

mod change;
mod look;

use super::{Flags, Keys, Run, Spec};

const HASH: Spec = Spec { keys: Keys::ONE, categories: "hash", group: "hash", since: "2.0.0", ..Spec::DEFAULT };
const WRITE_FAST: Flags = Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST);
const READ_FAST: Flags = Flags::READONLY.and(Flags::FAST);

pub const SPECS: &[Spec] = &[
    Spec {
        name: "hdel",
        arity: -3,
        flags: Flags::WRITE.and(Flags::FAST),
        run: Run::Row(change::hdel),
        complexity: "O(N log M) where N is the number of fields to be removed and M the number of fields.",
        key_uses: &["RW delete"],
        summary: "Removes fields of a hash and answers how many there were; the key goes with the last one.",
        synopsis: "key field [field ...]",
        ..HASH
    },
    Spec {
        name: "hexists",
        arity: 3,
        flags: READ_FAST,
        run: Run::Row(look::hexists),
        complexity: "O(log N) where N is the number of fields.",
        key_uses: &["RO"],
        summary: "Tells whether a hash has a field.",
        synopsis: "key field",
        ..HASH
    },
    Spec {
        name: "hget",
        arity: 3,
        flags: READ_FAST,
        run: Run::Row(look::hget),
        complexity: "O(log N) where N is the number of fields.",
        summary: "Answers the value of a field.",
        synopsis: "key field",
        ..HASH
    },
    Spec {
        name: "hgetall",
        arity: 2,
        flags: Flags::READONLY,
        run: Run::Row(look::hgetall),
        complexity: "O(N) where N is the number of fields.",
        tips: "nondeterministic_output_order",
        summary: "Answers all fields of a hash with their values.",
        synopsis: "key",
        ..HASH
    },
    Spec {
        name: "hincrby",
        arity: 4,
        flags: WRITE_FAST,
        run: Run::Row(change::hincrby),
        complexity: "O(log N) where N is the number of fields.",
        key_uses: &["RW access update"],
        summary: "Adds a number to the integer in a field; a field that is not there counts as 0.",
        synopsis: "key field increment",
        ..HASH
    },
    Spec {
        name: "hincrbyfloat",
        arity: 4,
        flags: WRITE_FAST,
        run: Run::Row(change::hincrbyfloat),
        since: "2.6.0",
        complexity: "O(log N) where N is the number of fields.",
        key_uses: &["RW access update"],
        summary: "Adds a number with a fraction to the number in a field; a field that is not there counts as 0.",
        synopsis: "key field increment",
        ..HASH
    },
    Spec {
        name: "hkeys",
        arity: 2,
        flags: Flags::READONLY,
        run: Run::Row(look::hkeys),
        complexity: "O(N) where N is the number of fields.",
        tips: "nondeterministic_output_order",
        summary: "Answers all fields of a hash.",
        synopsis: "key",
        ..HASH
    },
    Spec {
        name: "hlen",
        arity: 2,
        flags: READ_FAST,
        run: Run::Row(look::hlen),
        complexity: "O(log N) where N is the number of fields.",
        key_uses: &["RO"],
        summary: "Answers how many fields a hash has.",
        synopsis: "key",
        ..HASH
    },
    Spec {
        name: "hmget",
        arity: -3,
        flags: READ_FAST,
        run: Run::Row(look::hmget),
        complexity: "O(N log M) where N is the number of fields asked for and M the number of fields.",
        summary: "Answers the values of several fields.",
        synopsis: "key field [field ...]",
        ..HASH
    },
    Spec {
        name: "hmset",
        arity: -4,
        flags: WRITE_FAST,
        run: Run::Row(change::hmset),
        complexity: "O(N log M) where N is the number of fields that are set and M the number of fields.",
        summary: "Sets several fields of a hash and answers OK.",
        synopsis: "key field value [field value ...]",
        ..HASH
    },
    Spec {
        name: "hrandfield",
        arity: -2,
        flags: Flags::READONLY,
        run: Run::Row(look::hrandfield),
        since: "6.2.0",
        complexity: "O(N log M) where N is the number of fields that are answered and M the number of fields.",
        tips: "nondeterministic_output",
        summary: "Answers fields of a hash that are chosen at random.",
        synopsis: "key [count [WITHVALUES]]",
        ..HASH
    },
    Spec {
        name: "hscan",
        arity: -3,
        flags: Flags::READONLY,
        run: Run::Row(look::hscan),
        since: "2.8.0",
        complexity: "O(log N) for every call. O(N) for a complete iteration, where N is the number of fields.",
        tips: "nondeterministic_output",
        summary: "Goes through the fields of a hash, some at a time.",
        synopsis: "key cursor [MATCH pattern] [COUNT count]",
        ..HASH
    },
    Spec {
        name: "hset",
        arity: -4,
        flags: WRITE_FAST,
        run: Run::Row(change::hset),
        complexity: "O(N log M) where N is the number of fields that are set and M the number of fields.",
        summary: "Sets fields of a hash and answers how many are new.",
        synopsis: "key field value [field value ...]",
        ..HASH
    },
    Spec {
        name: "hsetnx",
        arity: 4,
        flags: WRITE_FAST,
        run: Run::Row(change::hsetnx),
        complexity: "O(log N) where N is the number of fields.",
        key_uses: &["RW insert"],
        summary: "Sets a field of a hash if it is not there yet.",
        synopsis: "key field value",
        ..HASH
    },
    Spec {
        name: "hstrlen",
        arity: 3,
        flags: READ_FAST,
        run: Run::Row(look::hstrlen),
        since: "3.2.0",
        complexity: "O(log N) where N is the number of fields.",
        key_uses: &["RO"],
        summary: "Answers how many bytes the value of a field has.",
        synopsis: "key field",
        ..HASH
    },
    Spec {
        name: "hvals",
        arity: 2,
        flags: Flags::READONLY,
        run: Run::Row(look::hvals),
        complexity: "O(N) where N is the number of fields.",
        tips: "nondeterministic_output_order",
        summary: "Answers the values of all fields of a hash.",
        synopsis: "key",
        ..HASH
    },
];
