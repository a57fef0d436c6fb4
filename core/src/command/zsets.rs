//! The sorted set commands: one row each. What they answer follows Redis 7.2's `t_zset.c`, the order of its checks included.

mod algebra;
mod change;
mod look;
mod pop;
pub mod range;
pub mod steps;
mod waits;

pub use change::zadd;

use super::{Flags, Keys, Run, Spec, Spread, blocking};

const ZSET: Spec =
    Spec { keys: Keys::ONE, categories: "sortedset", group: "sorted-set", since: "1.2.0", ..Spec::DEFAULT };
const WRITE_FAST: Flags = Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST);
const WRITE_BLOCKING: Flags = Flags::WRITE.and(Flags::FAST).and(Flags::BLOCKING);
const READ_FAST: Flags = Flags::READONLY.and(Flags::FAST);

pub const SPECS: &[Spec] = &[
    Spec {
        name: "bzmpop",
        arity: -5,
        flags: Flags::WRITE.and(Flags::BLOCKING).and(Flags::MOVABLEKEYS),
        keys: Keys::NONE,
        keynum: 2,
        spread: Spread::Program(blocking::first_over),
        run: Run::Row(waits::bzmpop),
        blocks: Some(&waits::SEVERAL),
        since: "7.0.0",
        complexity: "O(K + M log N) where N is the number of members, M of those that are removed, K of keys.",
        key_uses: &["RW access delete"],
        summary: "As ZMPOP; waits until one of the sorted sets has members.",
        synopsis: "timeout numkeys key [key ...] <MIN | MAX> [COUNT count]",
        ..ZSET
    },
    Spec {
        name: "bzpopmax",
        arity: -3,
        flags: WRITE_BLOCKING,
        keys: Keys::BUT_LAST,
        spread: Spread::Program(blocking::first_over),
        run: Run::Row(waits::bzpopmax),
        blocks: Some(&waits::ONE),
        since: "5.0.0",
        complexity: "O(K + log N) where N is the number of members and K of keys.",
        key_uses: &["RW access delete"],
        summary: "Removes the member with the highest score of the first sorted set that there is, and answers it; waits until there is one.",
        synopsis: "key [key ...] timeout",
        ..ZSET
    },
    Spec {
        name: "bzpopmin",
        arity: -3,
        flags: WRITE_BLOCKING,
        keys: Keys::BUT_LAST,
        spread: Spread::Program(blocking::first_over),
        run: Run::Row(waits::bzpopmin),
        blocks: Some(&waits::ONE),
        since: "5.0.0",
        complexity: "O(K + log N) where N is the number of members and K of keys.",
        key_uses: &["RW access delete"],
        summary: "Removes the member with the lowest score of the first sorted set that there is, and answers it; waits until there is one.",
        synopsis: "key [key ...] timeout",
        ..ZSET
    },
    Spec {
        name: "zadd",
        arity: -4,
        member: 3,
        flags: WRITE_FAST,
        run: Run::Row(change::zadd),
        joined: Some(change::ZADDS),
        complexity: "O(M log N) where N is the number of members and M the number of those that are added.",
        summary: "Gives members of a sorted set their scores.",
        synopsis: "key [NX | XX] [GT | LT] [CH] [INCR] score member [score member ...]",
        ..ZSET
    },
    Spec {
        name: "zcard",
        arity: 2,
        flags: READ_FAST,
        run: Run::Row(look::zcard),
        complexity: "O(log N) where N is the number of members.",
        key_uses: &["RO"],
        summary: "Answers how many members a sorted set has.",
        synopsis: "key",
        ..ZSET
    },
    Spec {
        name: "zcount",
        arity: 4,
        flags: READ_FAST,
        run: Run::Row(look::zcount),
        since: "2.0.0",
        complexity: "O(log N) where N is the number of members.",
        summary: "Answers how many members have scores in a range.",
        synopsis: "key min max",
        ..ZSET
    },
    Spec {
        name: "zdiff",
        arity: -3,
        flags: Flags::READONLY.and(Flags::MOVABLEKEYS),
        keys: Keys::NONE,
        keynum: 1,
        spread: Spread::Program(algebra::program),
        run: Run::Row(algebra::run),
        since: "6.2.0",
        complexity: "O(N K log N) where N is the number of members of the first one and K the number of sorted sets.",
        key_uses: &["RO access"],
        summary: "Answers the members of a sorted set that others do not have.",
        synopsis: "numkeys key [key ...] [WITHSCORES]",
        ..ZSET
    },
    Spec {
        name: "zdiffstore",
        arity: -4,
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::MOVABLEKEYS),
        keynum: 2,
        spread: Spread::Program(algebra::program),
        run: Run::Row(algebra::run),
        since: "6.2.0",
        complexity: "O(N K log N) where N is the number of members of the first one and K the number of sorted sets.",
        key_uses: &["OW update", "RO access"],
        summary: "Stores the members of a sorted set that others do not have.",
        synopsis: "destination numkeys key [key ...]",
        ..ZSET
    },
    Spec {
        name: "zincrby",
        arity: 4,
        member: 3,
        flags: WRITE_FAST,
        run: Run::Row(change::zincrby),
        complexity: "O(log N) where N is the number of members.",
        key_uses: &["RW access update"],
        summary: "Adds to the score of a member.",
        synopsis: "key increment member",
        ..ZSET
    },
    Spec {
        name: "zinter",
        arity: -3,
        flags: Flags::READONLY.and(Flags::MOVABLEKEYS),
        keys: Keys::NONE,
        keynum: 1,
        spread: Spread::Program(algebra::program),
        run: Run::Row(algebra::run),
        since: "6.2.0",
        complexity: "O(N K log N) where N is the number of members of the smallest one and K the number of sorted sets.",
        key_uses: &["RO access"],
        summary: "Answers the members that all sorted sets have.",
        synopsis: "numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>] [WITHSCORES]",
        ..ZSET
    },
    Spec {
        name: "zintercard",
        arity: -3,
        flags: Flags::READONLY.and(Flags::MOVABLEKEYS),
        keys: Keys::NONE,
        keynum: 1,
        spread: Spread::Program(algebra::program),
        run: Run::Row(algebra::run),
        since: "7.0.0",
        complexity: "O(N K log N) where N is the number of members of the smallest one and K the number of sorted sets.",
        key_uses: &["RO access"],
        summary: "Answers how many members all sorted sets have.",
        synopsis: "numkeys key [key ...] [LIMIT limit]",
        ..ZSET
    },
    Spec {
        name: "zinterstore",
        arity: -4,
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::MOVABLEKEYS),
        keynum: 2,
        spread: Spread::Program(algebra::program),
        run: Run::Row(algebra::run),
        since: "2.0.0",
        complexity: "O(N K log N) where N is the number of members of the smallest one and K the number of sorted sets.",
        key_uses: &["OW update", "RO access"],
        summary: "Stores the members that all sorted sets have.",
        synopsis: "destination numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>]",
        ..ZSET
    },
    Spec {
        name: "zlexcount",
        arity: 4,
        flags: READ_FAST,
        run: Run::Row(look::zlexcount),
        since: "2.8.9",
        complexity: "O(log N) where N is the number of members.",
        summary: "Answers how many members are in a range, where all have one score.",
        synopsis: "key min max",
        ..ZSET
    },
    Spec {
        name: "zmpop",
        arity: -4,
        flags: Flags::WRITE.and(Flags::MOVABLEKEYS),
        keys: Keys::NONE,
        keynum: 1,
        spread: Spread::Program(steps::zmpop),
        run: Run::Row(pop::zmpop),
        since: "7.0.0",
        complexity: "O(K + M log N) where N is the number of members, M of those that are removed, K of keys.",
        key_uses: &["RW access delete"],
        summary: "Removes the first or last members of the first sorted set that there is, and answers them.",
        synopsis: "numkeys key [key ...] <MIN | MAX> [COUNT count]",
        ..ZSET
    },
    Spec {
        name: "zmscore",
        arity: -3,
        member: 2,
        flags: READ_FAST,
        run: Run::Row(look::zmscore),
        since: "6.2.0",
        complexity: "O(M log N) where N is the number of members and M the number of those that are asked for.",
        summary: "Answers the scores of members.",
        synopsis: "key member [member ...]",
        ..ZSET
    },
    Spec {
        name: "zpopmax",
        arity: -2,
        flags: Flags::WRITE.and(Flags::FAST),
        run: Run::Row(pop::zpopmax),
        joined: Some(pop::ZPOPMAXES),
        since: "5.0.0",
        complexity: "O(M log N) where N is the number of members and M the number of those that are removed.",
        key_uses: &["RW access delete"],
        summary: "Removes the members with the highest scores and answers them.",
        synopsis: "key [count]",
        ..ZSET
    },
    Spec {
        name: "zpopmin",
        arity: -2,
        flags: Flags::WRITE.and(Flags::FAST),
        run: Run::Row(pop::zpopmin),
        joined: Some(pop::ZPOPMINS),
        since: "5.0.0",
        complexity: "O(M log N) where N is the number of members and M the number of those that are removed.",
        key_uses: &["RW access delete"],
        summary: "Removes the members with the lowest scores and answers them.",
        synopsis: "key [count]",
        ..ZSET
    },
    Spec {
        name: "zrandmember",
        arity: -2,
        flags: Flags::READONLY,
        run: Run::Row(look::zrandmember),
        since: "6.2.0",
        complexity: "O(M log N) where N is the number of members and M the number of those that are answered.",
        tips: "nondeterministic_output",
        summary: "Answers members of a sorted set that are chosen at random.",
        synopsis: "key [count [WITHSCORES]]",
        ..ZSET
    },
    Spec {
        name: "zrange",
        arity: -4,
        flags: Flags::READONLY,
        run: Run::Row(range::zrange),
        complexity: "O(log N + M) where N is the number of members and M the number of those that are answered.",
        summary: "Answers the members in a range of ranks, scores or members.",
        synopsis: "key start stop [BYSCORE | BYLEX] [REV] [LIMIT offset count] [WITHSCORES]",
        ..ZSET
    },
    Spec {
        name: "zrangebylex",
        arity: -4,
        flags: Flags::READONLY,
        run: Run::Row(range::zrangebylex),
        since: "2.8.9",
        complexity: "O(log N + M) where N is the number of members and M the number of those that are answered.",
        summary: "Answers the members in a range of members, where all have one score.",
        synopsis: "key min max [LIMIT offset count]",
        ..ZSET
    },
    Spec {
        name: "zrangebyscore",
        arity: -4,
        flags: Flags::READONLY,
        run: Run::Row(range::zrangebyscore),
        since: "1.0.5",
        complexity: "O(log N + M) where N is the number of members and M the number of those that are answered.",
        summary: "Answers the members in a range of scores.",
        synopsis: "key min max [WITHSCORES] [LIMIT offset count]",
        ..ZSET
    },
    Spec {
        name: "zrangestore",
        arity: -5,
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: Keys::TWO,
        spread: Spread::Program(steps::zrangestore),
        run: Run::Row(range::zrangestore),
        since: "6.2.0",
        complexity: "O(log N + M log M) where N is the number of members and M the number of those that are stored.",
        key_uses: &["OW update", "RO access"],
        summary: "Stores the members in a range of ranks, scores or members.",
        synopsis: "dst src min max [BYSCORE | BYLEX] [REV] [LIMIT offset count]",
        ..ZSET
    },
    Spec {
        name: "zrank",
        arity: -3,
        member: 2,
        flags: READ_FAST,
        run: Run::Row(look::zrank),
        since: "2.0.0",
        complexity: "O(log N) where N is the number of members.",
        summary: "Answers how many members have lower scores.",
        synopsis: "key member [WITHSCORE]",
        ..ZSET
    },
    Spec {
        name: "zrem",
        arity: -3,
        member: 2,
        flags: Flags::WRITE.and(Flags::FAST),
        run: Run::Row(change::zrem),
        complexity: "O(M log N) where N is the number of members and M the number of those that are removed.",
        key_uses: &["RW delete"],
        summary: "Removes members of a sorted set and answers how many there were; the key goes with the last one.",
        synopsis: "key member [member ...]",
        ..ZSET
    },
    Spec {
        name: "zremrangebylex",
        arity: 4,
        flags: Flags::WRITE,
        run: Run::Row(change::zremrangebylex),
        since: "2.8.9",
        complexity: "O(M log N) where N is the number of members and M the number of those that are removed.",
        key_uses: &["RW delete"],
        summary: "Removes the members in a range of members, where all have one score.",
        synopsis: "key min max",
        ..ZSET
    },
    Spec {
        name: "zremrangebyrank",
        arity: 4,
        flags: Flags::WRITE,
        run: Run::Row(change::zremrangebyrank),
        since: "2.0.0",
        complexity: "O(M log N) where N is the number of members and M the number of those that are removed.",
        key_uses: &["RW delete"],
        summary: "Removes the members in a range of ranks.",
        synopsis: "key start stop",
        ..ZSET
    },
    Spec {
        name: "zremrangebyscore",
        arity: 4,
        flags: Flags::WRITE,
        run: Run::Row(change::zremrangebyscore),
        complexity: "O(M log N) where N is the number of members and M the number of those that are removed.",
        key_uses: &["RW delete"],
        summary: "Removes the members in a range of scores.",
        synopsis: "key min max",
        ..ZSET
    },
    Spec {
        name: "zrevrange",
        arity: -4,
        flags: Flags::READONLY,
        run: Run::Row(range::zrevrange),
        complexity: "O(log N + M) where N is the number of members and M the number of those that are answered.",
        summary: "Answers the members in a range of ranks, the highest scores first.",
        synopsis: "key start stop [WITHSCORES]",
        ..ZSET
    },
    Spec {
        name: "zrevrangebylex",
        arity: -4,
        flags: Flags::READONLY,
        run: Run::Row(range::zrevrangebylex),
        since: "2.8.9",
        complexity: "O(log N + M) where N is the number of members and M the number of those that are answered.",
        summary: "Answers the members in a range of members backwards, where all have one score.",
        synopsis: "key max min [LIMIT offset count]",
        ..ZSET
    },
    Spec {
        name: "zrevrangebyscore",
        arity: -4,
        flags: Flags::READONLY,
        run: Run::Row(range::zrevrangebyscore),
        since: "2.2.0",
        complexity: "O(log N + M) where N is the number of members and M the number of those that are answered.",
        summary: "Answers the members in a range of scores, the highest first.",
        synopsis: "key max min [WITHSCORES] [LIMIT offset count]",
        ..ZSET
    },
    Spec {
        name: "zrevrank",
        arity: -3,
        member: 2,
        flags: READ_FAST,
        run: Run::Row(look::zrevrank),
        since: "2.0.0",
        complexity: "O(log N) where N is the number of members.",
        summary: "Answers how many members have higher scores.",
        synopsis: "key member [WITHSCORE]",
        ..ZSET
    },
    Spec {
        name: "zscan",
        arity: -3,
        flags: Flags::READONLY,
        run: Run::Row(look::zscan),
        since: "2.8.0",
        complexity: "O(log N) for every call. O(N) for a complete iteration, where N is the number of members.",
        tips: "nondeterministic_output",
        summary: "Goes through the members of a sorted set, some at a time.",
        synopsis: "key cursor [MATCH pattern] [COUNT count]",
        ..ZSET
    },
    Spec {
        name: "zscore",
        arity: 3,
        member: 2,
        flags: READ_FAST,
        run: Run::Row(look::zscore),
        complexity: "O(log N) where N is the number of members.",
        summary: "Answers the score of a member.",
        synopsis: "key member",
        ..ZSET
    },
    Spec {
        name: "zunion",
        arity: -3,
        flags: Flags::READONLY.and(Flags::MOVABLEKEYS),
        keys: Keys::NONE,
        keynum: 1,
        spread: Spread::Program(algebra::program),
        run: Run::Row(algebra::run),
        since: "6.2.0",
        complexity: "O(N log N) where N is the number of members of all sorted sets.",
        key_uses: &["RO access"],
        summary: "Answers the members that any of the sorted sets has.",
        synopsis: "numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>] [WITHSCORES]",
        ..ZSET
    },
    Spec {
        name: "zunionstore",
        arity: -4,
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::MOVABLEKEYS),
        keynum: 2,
        spread: Spread::Program(algebra::program),
        run: Run::Row(algebra::run),
        since: "2.0.0",
        complexity: "O(N log N) where N is the number of members of all sorted sets.",
        key_uses: &["OW update", "RO access"],
        summary: "Stores the members that any of the sorted sets has.",
        synopsis: "destination numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>]",
        ..ZSET
    },
];

/// Steps of commands on several sorted sets.
pub const STEPS: &[Spec] = &[
    Spec { name: "zset|slice", flags: Flags::READONLY, run: Run::Row(algebra::slice), ..ZSET },
    Spec { name: "zset|scores", flags: Flags::READONLY, run: Run::Row(algebra::scores), ..ZSET },
    Spec { name: "zset|range", flags: Flags::READONLY, keys: SECOND, run: Run::Row(range::of_store), ..ZSET },
    Spec { name: "zset|store", flags: Flags::WRITE.and(Flags::DENYOOM), run: Run::Row(steps::put), ..ZSET },
];
const SECOND: Keys = Keys { first: 2, last: 2, step: 1 };
