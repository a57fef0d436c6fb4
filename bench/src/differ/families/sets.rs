//! Sets: of integers, small ones, and large ones.

use super::{Family, alike, same, scanned, unordered};

pub const FAMILY: Family = Family {
    name: "sets",
    prefix: "t",
    rows: &[
        same("SADD {key} {small}+").often(6),
        same("SADD {key} {digit}+").often(5),
        same("SADD {key} {int}+").often(2),
        same("SADD {key} {value}+"),
        same("SREM {key} {small}+").often(2),
        same("SREM {key} {digit}+").often(2),
        same("SISMEMBER {key} {small}"),
        same("SMISMEMBER {key} {digit}+"),
        same("SCARD {key}").often(2),
        unordered("SMEMBERS {key}").often(3),
        same("SMOVE {key} {key} {digit}").often(2),
        alike("SRANDMEMBER {key}"),
        alike("SRANDMEMBER {key} -3"),
        unordered("SRANDMEMBER {key} 1000"),
        same("SRANDMEMBER {key} (0 | x | 1.5 | -9223372036854775808)"),
        unordered("SPOP {key} 1000"),
        same("SPOP {key} (0 | x | -1 | -9223372036854775808)"),
        unordered("SINTER {key}+").often(2),
        unordered("SUNION {key}+").often(2),
        unordered("SDIFF {key}+").often(2),
        same("SINTERSTORE {key} {key}+"),
        same("SUNIONSTORE {key} {key}+"),
        same("SDIFFSTORE {key} {key}+"),
        same("SINTERCARD (1 {key} | 2 {key} {key} | 3 {key} {key} {key} | {odd} {key}) [LIMIT {count}]").often(2),
        scanned(2, "SSCAN {key} 0 [MATCH {glob}] [COUNT {scan-count}]").often(2),
        same("OBJECT ENCODING {key}").often(2),
        same("DEL {key}"),
        same("COPY {key} {key} [REPLACE]"),
        same("SET {key} {small}"),
    ],
};
