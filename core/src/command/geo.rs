//! The commands about places on the earth, which are members of sorted sets: one row each. What they answer follows Redis 7.2's `geo.c`, the order of
//! its checks included.

mod hash;
mod place;
mod search;

use super::{Flags, Keys, Run, Spec, Spread};

const GEO: Spec = Spec { keys: Keys::ONE, categories: "geo", group: "geo", since: "3.2.0", ..Spec::DEFAULT };

pub const SPECS: &[Spec] = &[
    Spec {
        name: "geoadd",
        arity: -5,
        flags: Flags::WRITE.and(Flags::DENYOOM),
        run: Run::Row(place::geoadd),
        complexity: "O(M log N) where N is the number of members and M the number of those that are added.",
        summary: "Adds places to a sorted set, by longitude and latitude.",
        synopsis: "key [NX | XX] [CH] longitude latitude member [longitude latitude member ...]",
        ..GEO
    },
    Spec {
        name: "geodist",
        arity: -4,
        flags: Flags::READONLY,
        run: Run::Row(place::geodist),
        complexity: "O(log N) where N is the number of members.",
        summary: "Answers the distance of two members.",
        synopsis: "key member1 member2 [M | KM | FT | MI]",
        ..GEO
    },
    Spec {
        name: "geohash",
        arity: -2,
        flags: Flags::READONLY,
        run: Run::Row(place::geohash),
        complexity: "O(M log N) where N is the number of members and M the number of those that are asked for.",
        summary: "Answers the geohashes of members.",
        synopsis: "key [member [member ...]]",
        ..GEO
    },
    Spec {
        name: "geopos",
        arity: -2,
        flags: Flags::READONLY,
        run: Run::Row(place::geopos),
        complexity: "O(M log N) where N is the number of members and M the number of those that are asked for.",
        summary: "Answers the longitudes and latitudes of members.",
        synopsis: "key [member [member ...]]",
        ..GEO
    },
    Spec {
        name: "georadius",
        arity: -6,
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::MOVABLEKEYS),
        key_words: &["STORE", "STOREDIST"],
        spread: Spread::Program(search::program),
        run: Run::Row(search::georadius),
        complexity: "O(N + log M) where N is the number of members in the cells around the shape and M that of all members.",
        key_uses: &["RO access", "OW update"],
        summary: "Answers or stores the members around a place.",
        synopsis: "key longitude latitude radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT count [ANY]] [ASC | DESC] [STORE key | STOREDIST key]",
        ..GEO
    },
    Spec {
        name: "georadius_ro",
        arity: -6,
        flags: Flags::READONLY,
        run: Run::Row(search::georadius_ro),
        since: "3.2.10",
        complexity: "O(N + log M) where N is the number of members in the cells around the shape and M that of all members.",
        summary: "Answers the members around a place.",
        synopsis: "key longitude latitude radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT count [ANY]] [ASC | DESC]",
        ..GEO
    },
    Spec {
        name: "georadiusbymember",
        arity: -5,
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::MOVABLEKEYS),
        key_words: &["STORE", "STOREDIST"],
        spread: Spread::Program(search::program),
        run: Run::Row(search::georadiusbymember),
        complexity: "O(N + log M) where N is the number of members in the cells around the shape and M that of all members.",
        key_uses: &["RO access", "OW update"],
        summary: "Answers or stores the members around a member.",
        synopsis: "key member radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT count [ANY]] [ASC | DESC] [STORE key | STOREDIST key]",
        ..GEO
    },
    Spec {
        name: "georadiusbymember_ro",
        arity: -5,
        flags: Flags::READONLY,
        run: Run::Row(search::georadiusbymember_ro),
        since: "3.2.10",
        complexity: "O(N + log M) where N is the number of members in the cells around the shape and M that of all members.",
        summary: "Answers the members around a member.",
        synopsis: "key member radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT count [ANY]] [ASC | DESC]",
        ..GEO
    },
    Spec {
        name: "geosearch",
        arity: -7,
        flags: Flags::READONLY,
        run: Run::Row(search::geosearch),
        since: "6.2.0",
        complexity: "O(N + log M) where N is the number of members in the cells around the shape and M that of all members.",
        summary: "Answers the members in a circle or a box.",
        synopsis: "key <FROMMEMBER member | FROMLONLAT longitude latitude> <BYRADIUS radius <M | KM | FT | MI> | BYBOX width height <M | KM | FT | MI>> [ASC | DESC] [COUNT count [ANY]] [WITHCOORD] [WITHDIST] [WITHHASH]",
        ..GEO
    },
    Spec {
        name: "geosearchstore",
        arity: -8,
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: Keys::TWO,
        spread: Spread::Program(search::program),
        run: Run::Row(search::geosearchstore),
        since: "6.2.0",
        complexity: "O(N + log M) where N is the number of members in the cells around the shape and M that of all members.",
        key_uses: &["OW update", "RO access"],
        summary: "Stores the members in a circle or a box.",
        synopsis: "destination source <FROMMEMBER member | FROMLONLAT longitude latitude> <BYRADIUS radius <M | KM | FT | MI> | BYBOX width height <M | KM | FT | MI>> [ASC | DESC] [COUNT count [ANY]] [STOREDIST]",
        ..GEO
    },
];

/// Steps of those that store.
pub const STEPS: &[Spec] = &[
    Spec { name: "geo|radius", flags: Flags::READONLY, run: Run::Row(search::of_store), ..GEO },
    Spec { name: "geo|member", flags: Flags::READONLY, run: Run::Row(search::of_store), ..GEO },
    Spec { name: "geo|stored", flags: Flags::READONLY, keys: SECOND, run: Run::Row(search::of_store), ..GEO },
];
const SECOND: Keys = Keys { first: 2, last: 2, step: 1 };
