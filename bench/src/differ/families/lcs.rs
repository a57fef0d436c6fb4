//! LCS, of strings short enough for its table.

use super::{Family, same};

pub const FAMILY: Family = Family {
    name: "lcs",
    prefix: "",
    rows: &[
        same("SET {text-key} {letters}").often(3),
        same("APPEND {text-key} {letters}"),
        same("LCS {text-key} {text-key} [LEN] [IDX] [MINMATCHLEN {near-int}] [WITHMATCHLEN]").often(4),
        same("LCS {text-key} {text-key} [LEN] [IDX | x] [MINMATCHLEN {odd}]"),
        same("DEL {text-key}"),
    ],
};
