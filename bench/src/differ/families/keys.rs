//! Keys, whatever is at them.

use super::{Family, alike, same, scanned, unordered};

pub const FAMILY: Family = Family {
    name: "keys",
    prefix: "",
    rows: &[
        same("SET {key} {value}").often(3),
        same("MSET ({key} {value})+").often(2),
        same("DEL {key}+").often(2),
        same("UNLINK {key}+"),
        same("EXISTS {key}+").often(2),
        same("TOUCH {key}+"),
        same("TYPE {key}").often(2),
        same("RENAME {key} {key}").often(2),
        same("RENAMENX {key} {key}").often(2),
        same("COPY {key} {key} [REPLACE] [DB ({db} | {odd-db})]").often(3),
        same("MOVE {key} ({db} | {odd-db})").often(2),
        alike("DUMP {key}"),
        same("RESTORE {key} 0 {payload} [REPLACE]").often(4),
        same(
            "RESTORE {key} (0 | 100000000000000 | -1 | x) {payload} [REPLACE] [ABSTTL] [IDLETIME {near-int}] [FREQ {near-int}]",
        ),
        same("RESTORE {key} (1 | 1700000000000) {payload} REPLACE ABSTTL"),
        same("OBJECT ENCODING {key}").often(2),
        same("OBJECT FREQ {key}"),
        same("DBSIZE").often(2),
        unordered("KEYS {glob}").often(2),
        alike("RANDOMKEY"),
        scanned(1, "SCAN 0 [MATCH {glob}] [COUNT {scan-count}] [TYPE (string | hash | x)]").often(3),
        scanned(1, "SCAN 0 [MATCH] [COUNT {odd}] [x]"),
        same("SCAN (x | 1.5 | 18446744073709551616 | ' 1') [COUNT 1]"),
        same("GET {key}"),
    ],
};
