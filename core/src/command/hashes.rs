//! The hash commands: one row each. What they answer follows Redis 7.2's `t_hash.c`, the order of its checks included; what is about times to live of
//! fields, that of 7.4 and 8.

mod change;
mod expire;
mod living;
mod look;
mod until;

use super::{Flags, Keys, Run, Spec};

const HASH: Spec = Spec { keys: Keys::ONE, categories: "hash", group: "hash", since: "2.0.0", ..Spec::DEFAULT };
const WRITE_FAST: Flags = Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST);
const READ_FAST: Flags = Flags::READONLY.and(Flags::FAST);

/// Sets times to live of fields.
const SETTER: Spec = Spec {
    arity: -6,
    flags: WRITE_FAST,
    since: "7.4.0",
    complexity: "O(N log M) where N is the number of fields named and M the number of fields.",
    key_uses: &["RW update"],
    ..HASH
};

/// Tells times to live of fields.
const TELLER: Spec = Spec {
    arity: -5,
    flags: READ_FAST,
    since: "7.4.0",
    complexity: "O(N log M) where N is the number of fields named and M the number of fields.",
    synopsis: "key FIELDS numfields field [field ...]",
    ..HASH
};

pub const SPECS: &[Spec] = &[
    Spec {
        name: "hdel",
        arity: -3,
        member: 2,
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
        member: 2,
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
        member: 2,
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
        member: 2,
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
        member: 2,
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
        member: 2,
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
        member: 2,
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
        member: 2,
        flags: WRITE_FAST,
        run: Run::Row(change::hset),
        joined: Some(change::HSETS),
        complexity: "O(N log M) where N is the number of fields that are set and M the number of fields.",
        summary: "Sets fields of a hash and answers how many are new.",
        synopsis: "key field value [field value ...]",
        ..HASH
    },
    Spec {
        name: "hsetnx",
        arity: 4,
        member: 2,
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
        member: 2,
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
    Spec {
        name: "hexpire",
        run: Run::Row(expire::hexpire),
        summary: "Lets fields of a hash live for some seconds.",
        synopsis: "key seconds [NX | XX | GT | LT] FIELDS numfields field [field ...]",
        ..SETTER
    },
    Spec {
        name: "hexpireat",
        run: Run::Row(expire::hexpireat),
        summary: "Lets fields of a hash live until a Unix time in seconds.",
        synopsis: "key unix-time-seconds [NX | XX | GT | LT] FIELDS numfields field [field ...]",
        ..SETTER
    },
    Spec {
        name: "hexpiretime",
        run: Run::Row(expire::hexpiretime),
        summary: "Tells until which Unix times in seconds fields of a hash live.",
        ..TELLER
    },
    Spec {
        name: "hgetdel",
        flags: Flags::WRITE.and(Flags::FAST),
        since: "8.0.0",
        key_uses: &["RW access delete"],
        run: Run::Row(until::hgetdel),
        summary: "Answers the values of fields and removes them; the key goes with the last one.",
        ..TELLER
    },
    Spec {
        name: "hgetex",
        flags: Flags::WRITE.and(Flags::FAST),
        since: "8.0.0",
        key_uses: &["RW access update"],
        run: Run::Row(until::hgetex),
        summary: "Answers the values of fields and sets how long they live, or that they live for ever.",
        synopsis: "key [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | PERSIST] FIELDS numfields field [field ...]",
        ..TELLER
    },
    Spec {
        name: "hpersist",
        flags: Flags::WRITE.and(Flags::FAST),
        key_uses: &["RW update"],
        run: Run::Row(expire::hpersist),
        summary: "Lets fields of a hash live for ever.",
        ..TELLER
    },
    Spec {
        name: "hpexpire",
        run: Run::Row(expire::hpexpire),
        summary: "Lets fields of a hash live for some milliseconds.",
        synopsis: "key milliseconds [NX | XX | GT | LT] FIELDS numfields field [field ...]",
        ..SETTER
    },
    Spec {
        name: "hpexpireat",
        run: Run::Row(expire::hpexpireat),
        summary: "Lets fields of a hash live until a Unix time in milliseconds.",
        synopsis: "key unix-time-milliseconds [NX | XX | GT | LT] FIELDS numfields field [field ...]",
        ..SETTER
    },
    Spec {
        name: "hpexpiretime",
        run: Run::Row(expire::hpexpiretime),
        summary: "Tells until which Unix times in milliseconds fields of a hash live.",
        ..TELLER
    },
    Spec {
        name: "hpttl",
        tips: "nondeterministic_output",
        run: Run::Row(expire::hpttl),
        summary: "Tells how many milliseconds fields of a hash have left.",
        ..TELLER
    },
    Spec {
        name: "hsetex",
        since: "8.0.0",
        run: Run::Row(until::hsetex),
        summary: "Sets fields of a hash, and how long they live.",
        synopsis: "key [FNX | FXX] [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | KEEPTTL] FIELDS numfields field value [field value ...]",
        ..SETTER
    },
    Spec {
        name: "httl",
        tips: "nondeterministic_output",
        run: Run::Row(expire::httl),
        summary: "Tells how many seconds fields of a hash have left.",
        ..TELLER
    },
];
