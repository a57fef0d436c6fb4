//! Strings as bits.

use super::{Family, same};

pub const FAMILY: Family = Family {
    name: "bitmaps",
    prefix: "s",
    rows: &[
        same("SETBIT {key} {bit-offset} (0 | 1)").often(5),
        same("SETBIT {key} {bit-offset} {odd}"),
        same("GETBIT {key} {bit-offset}").often(3),
        same("BITCOUNT {key}").often(2),
        same("BITCOUNT {key} {index} {index} [BYTE | BIT | x]").often(3),
        same("BITPOS {key} (0 | 1) [{index} [{index} [BYTE | BIT | x]]]").often(4),
        same("BITPOS {key} {odd} [{index}]"),
        same("BITOP (AND | OR | XOR) {key} {key}+").often(4),
        same("BITOP NOT {key} {key}").often(2),
        same("BITOP (NOT | x) {key} {key}+"),
        same("BITFIELD {key} (GET {width} {field-offset} | SET {width} {field-offset} {int} | INCRBY {width} {field-offset} {int} | OVERFLOW (WRAP | SAT | FAIL | x))+").often(4),
        same("BITFIELD {key} OVERFLOW (SAT | FAIL | WRAP) (INCRBY (u8 | i8 | i5 | u63 | i64) #{digit} {int})+").often(4),
        same("BITFIELD {key} SET (u8 | i8 | u63) {digit} {near-int} SET i16 #{digit}00 {near-int} GET u8 0").often(2),
        same("BITFIELD_RO {key} (GET {width} {field-offset})+"),
        same("BITFIELD_RO {key} [SET u8 0 1]"),
        same("SET {key} {value}").often(4),
        same("SETRANGE {key} {offset} {small}"),
        same("GET {key}").often(4),
        same("STRLEN {key}"),
        same("DEL {key}"),
    ],
};
