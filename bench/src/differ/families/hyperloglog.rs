//! HyperLogLogs, byte for byte. Some become dense; some strings only look like one.

use super::{Family, same};

pub const FAMILY: Family = Family {
    name: "hyperloglog",
    prefix: "p",
    rows: &[
        same("PFADD {key} {small}+").often(4),
        same("PFADD {key} {value}+").often(4),
        same("PFADD {key} ({digit}{digit}{digit} {digit}{digit})+").often(6),
        same("PFADD {key}"),
        same("PFCOUNT {key}").often(3),
        same("PFCOUNT {key}+").often(3),
        same("PFMERGE {key} {key}+").often(3),
        same("PFMERGE {key}"),
        same("GET {key}").often(6),
        same("STRLEN {key}"),
        same("PFDEBUG (DECODE | ENCODING | TODENSE | GETREG | x) {key}").often(2),
        // Not the bytes of what was counted last, which differ.
        same("SETRANGE {key} (0 | 3 | 4 | 5 | 16 | 17 | 18 | 2{digit}) {digit}"),
        same("SET {key} HYLL"),
        same("EXPIRE {key} {seconds}"),
        same("DEL {key}"),
    ],
};
