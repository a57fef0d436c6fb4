//! Strings, whole, in part, and as numbers.

use super::{Family, same};

pub const FAMILY: Family = Family {
    name: "strings",
    prefix: "s",
    rows: &[
        same("SET {key} {value}").often(6),
        same("SET {key} {value} [NX | XX] [GET] [KEEPTTL | EX {seconds} | PX {ms} | EXAT {at} | PXAT {at-ms}]")
            .often(3),
        same("SET {key} {value} (EX | PX | EXAT | PXAT) {odd}"),
        same("GET {key}").often(5),
        same("GETDEL {key}"),
        same("GETEX {key} [PERSIST | EX {seconds} | PX {ms} | EXAT {at} | PXAT {at-ms} | EXAT {past-at} | EX {odd}]")
            .often(2),
        same("GETRANGE {key} {index} {index}").often(3),
        same("SUBSTR {key} {index} {index}"),
        same("GETSET {key} {value}"),
        same("APPEND {key} {value}").often(3),
        same("STRLEN {key}").often(2),
        same("SETRANGE {key} {offset} {value}").often(3),
        same("SETEX {key} ({seconds} | {past} | {odd}) {value}"),
        same("PSETEX {key} ({ms} | {past} | {odd}) {value}"),
        same("SETNX {key} {value}"),
        same("MGET {key}+").often(2),
        same("MSET ({key} {value})+").often(2),
        same("MSETNX ({key} {value})+"),
    ],
};

pub const COUNTERS: Family = Family {
    name: "counters",
    prefix: "n",
    rows: &[
        same("SET {key} {int}").often(3),
        same("SET {key} {float}").often(2),
        same("INCR {key}").often(3),
        same("DECR {key}").often(2),
        same("INCRBY {key} {int}").often(3),
        same("INCRBY {key} {near-int}").often(3),
        same("DECRBY {key} {int}").often(2),
        same("DECRBY {key} {near-int}").often(2),
        same("INCRBYFLOAT {key} {float}").often(4),
        same("INCRBYFLOAT {key} {int}"),
        same("GET {key}").often(3),
        same("APPEND {key} {digit}"),
        same("SETRANGE {key} {digit} {digit}"),
        same("DEL {key}+"),
    ],
};
