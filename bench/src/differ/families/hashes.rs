//! Hashes, small and large.

use super::{Family, alike, pairs, same, scanned_pairs, unordered};

pub const FAMILY: Family = Family {
    name: "hashes",
    prefix: "h",
    rows: &[
        same("HSET {key} ({small} {value})+").often(6),
        same("HSET {key} ({digit} {value})+").often(4),
        same("HMSET {key} ({small} {value})+"),
        same("HSETNX {key} {small} {value}").often(2),
        same("HGET {key} {small}").often(3),
        same("HMGET {key} {small}+").often(2),
        same("HDEL {key} {small}+").often(3),
        same("HDEL {key} {digit}+").often(2),
        same("HEXISTS {key} {small}"),
        same("HLEN {key}").often(2),
        same("HSTRLEN {key} {small}"),
        same("HINCRBY {key} {small} {int}").often(2),
        same("HINCRBY {key} {digit} {near-int}").often(2),
        same("HINCRBYFLOAT {key} {small} {float}").often(2),
        pairs("HGETALL {key}").often(3),
        unordered("HKEYS {key}"),
        unordered("HVALS {key}"),
        alike("HRANDFIELD {key}"),
        alike("HRANDFIELD {key} 3 [WITHVALUES]"),
        same("HRANDFIELD {key} (0 | x | 1.5 | -9223372036854775808) [WITHVALUES | x]"),
        unordered("HRANDFIELD {key} 1000"),
        pairs("HRANDFIELD {key} 1000 WITHVALUES"),
        scanned_pairs(2, "HSCAN {key} 0 [MATCH {glob}] [COUNT {scan-count}]").often(2),
        same("OBJECT ENCODING {key}").often(2),
        same("DEL {key}"),
        same("COPY {key} {key} [REPLACE]").often(2),
        same("RENAME {key} {key}"),
        same("SET {key} {small}"),
    ],
};
