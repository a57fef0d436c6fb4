//! MULTI and WATCH. Commands of the other families that are drawn with it are queued, and what one connection watches the other one changes.

use super::{Family, same};

pub const FAMILY: Family = Family {
    name: "transactions",
    prefix: "",
    rows: &[
        same("MULTI").often(4),
        same("EXEC").often(6),
        same("DISCARD"),
        same("WATCH {key}+").often(3),
        same("UNWATCH"),
        same("SET {key} {small}").often(3),
        same("INCR {key}").often(2),
        same("GET {key}").often(3),
        same("DEL {key}+"),
        same("MGET {key}+"),
        same("MSET ({key} {small})+"),
        same("NOSUCH {small}"),
    ],
};
