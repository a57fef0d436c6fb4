//! Lists, small and large.

use super::{Family, same};

pub const FAMILY: Family = Family {
    name: "lists",
    prefix: "l",
    rows: &[
        same("RPUSH {key} {small}+").often(6),
        same("LPUSH {key} {value}+").often(5),
        same("RPUSHX {key} {small}+"),
        same("LPUSHX {key} {small}+"),
        same("LPOP {key} [{count}]").often(2),
        same("RPOP {key} [{count}]").often(2),
        same("LLEN {key}").often(2),
        same("LINDEX {key} {index}").often(3),
        same("LRANGE {key} {index} {index}").often(5),
        same("LSET {key} {index} {small}").often(2),
        same("LINSERT {key} (BEFORE | AFTER | x) {small} {value}").often(3),
        same("LREM {key} {near-int} {small}").often(2),
        same("LTRIM {key} {index} {index}"),
        same("LPOS {key} {small} [RANK {near-int}] [COUNT {near-int}] [MAXLEN {near-int}]").often(2),
        same("LPOS {key} {small} (RANK | COUNT | MAXLEN) {odd}"),
        same("LMOVE {key} {key} (LEFT | RIGHT | x) (LEFT | RIGHT)").often(2),
        same("RPOPLPUSH {key} {key}"),
        same("LMPOP (1 {key} | 2 {key} {key} | {odd} {key}) (LEFT | RIGHT | x) [COUNT {count}]"),
        same("OBJECT ENCODING {key}"),
        same("DEL {key}"),
        same("COPY {key} {key} [REPLACE]"),
    ],
};
