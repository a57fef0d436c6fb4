//! SORT: by themselves, by strings and by fields of hashes, which stand among the same keys.

use super::{Family, same, unordered};

pub const FAMILY: Family = Family {
    name: "sort",
    prefix: "o",
    rows: &[
        same("RPUSH {key} {digit}+").often(4),
        same("RPUSH {key} {small}+"),
        same("SADD {key} {digit}+").often(3),
        same("ZADD {key} ({digit} {digit})+").often(3),
        same("SET {key} {digit}").often(3),
        same("SET {key} {small}"),
        same("HSET {key} f {digit} g {small}").often(3),
        same("SORT {key} [ALPHA] [DESC] [LIMIT ({digit} {digit} | {odd} 2 | 0 -1)]").often(4),
        same("SORT {key} [DESC] BY (o* | o*->f | o*->) [LIMIT {digit} {digit}] (GET (# | o* | o*->g | x))*").often(5),
        same("SORT_RO {key} [ALPHA] [LIMIT {digit} {digit}] [GET #] [STORE x]").often(2),
        same("SORT {key} [BY (o* | o*->f)] [DESC] (GET (# | o*->g | o*))* STORE {key}").often(2),
        same("SORT {key} ALPHA STORE {key}"),
        unordered("SORT {key} BY nosort (GET (# | o*))*").often(2),
        same("SORT {key} (BY | GET | LIMIT 1 | LIMIT x 1 | STORE | WHAT)"),
        same("LRANGE {key} 0 -1").often(4),
        same("TYPE {key}"),
        same("DEL {key}").often(2),
    ],
};
