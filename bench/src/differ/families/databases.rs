//! More than one database.

use super::{Family, same, unordered};

pub const FAMILY: Family = Family {
    name: "databases",
    prefix: "",
    rows: &[
        same("SELECT {db}").often(4),
        same("SELECT {odd-db}"),
        same("SWAPDB {db} {db}").often(2),
        same("SWAPDB {db} {odd-db}"),
        same("SWAPDB {odd-db} {db}"),
        same("FLUSHDB [ASYNC | SYNC | x]"),
        same("COPY {key} {key} DB {db} [REPLACE]").often(3),
        same("SET {key} {small}").often(4),
        same("INCR {key}").often(2),
        same("GET {key}").often(3),
        same("DBSIZE").often(2),
        unordered("KEYS *"),
    ],
};
