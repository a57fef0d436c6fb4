//! Times to live, all of them far away or past.

use super::{Family, near, same};

pub const FAMILY: Family = Family {
    name: "expiry",
    prefix: "",
    rows: &[
        same("SET {key} {small}").often(3),
        same("SET {key} {small} PX {ms}").often(2),
        same("EXPIRE {key} ({seconds} | {past} | {odd}) [NX | XX | GT | LT | XX GT | NX XX | GT LT]").often(3),
        same("PEXPIRE {key} ({ms} | {past} | {odd}) [NX | XX | GT | LT]").often(2),
        same("EXPIREAT {key} ({at} | {past-at} | {odd}) [NX | XX | GT | LT | XX LT]").often(3),
        same("PEXPIREAT {key} ({at-ms} | {past-at} | {odd}) [NX | XX | GT | LT]").often(2),
        same("PERSIST {key}"),
        near(2, "TTL {key}").often(2),
        near(2000, "PTTL {key}"),
        near(2, "EXPIRETIME {key}"),
        near(2000, "PEXPIRETIME {key}"),
        same("GET {key}"),
        same("EXISTS {key}+"),
        same("RENAME {key} {key}"),
        same("COPY {key} {key} [REPLACE]"),
        same("APPEND {key} {small}"),
    ],
};
