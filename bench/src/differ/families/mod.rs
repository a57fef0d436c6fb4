//! What is asked, family by family: one line a form of a command.
//!
//! To add a family: a file with its `Family` (see `strings.rs`), and a line in [`FAMILIES`]. To add a command: a line in its family, such as
//!
//! ```text
//! same("GETRANGE {key} {index} {index}"),               replies are equal byte for byte, errors too
//! same("INCR {key}").often(3),                          drawn three times as often as others
//! unordered("SMEMBERS {key}"),                          the elements come in any order
//! pairs("HGETALL {key}"),                               pairs of elements come in any order
//! near(2, "TTL {key}"),                                 a time that remains, which may be off by 2
//! alike("SRANDMEMBER {key}"),                           chance decides; only what kind of reply it is counts
//! scanned(2, "HSCAN {key} 0 [COUNT {scan-count}]"),     gone through from cursor 0 to its end, compared as a set
//! ```
//!
//! `template.rs` says how templates read, `pools.rs` what `{key}` and its like are; a pool that lacks is a line there. Keys of a family begin
//! with its `prefix`, a letter or two of its own; an eighth of `{key}` is some other family's, so types meet. One in twenty commands has
//! an argument too many, too few, or an odd one by itself: no line is needed for wrong numbers of arguments. Nothing drawn may change rows in a way
//! that Redis leaves to chance (SPOP of some), depend on the time of day, or end soon. What Cairn answers otherwise on purpose is a line in
//! `exceptions.rs`. A row command of the table that no template begins with fails a test here, unless [`NOT_ASKED`] says why.

mod bitmaps;
mod databases;
mod expiry;
mod hashes;
mod hyperloglog;
mod keys;
mod lcs;
mod lists;
mod scripts;
mod sets;
mod sort;
mod streams;
mod strings;
mod transactions;
mod zsets;

use super::judge::Judge;

/// Commands on one type, or of one purpose.
pub struct Family {
    pub name: &'static str,
    /// How its keys begin; empty for keys of all families.
    pub prefix: &'static str,
    pub rows: &'static [Row],
}

/// One form of a command.
pub struct Row {
    pub template: &'static str,
    pub judge: Judge,
    /// How often it is drawn, in proportion to the others of its family.
    pub weight: u32,
}

pub const FAMILIES: &[&Family] = &[
    &strings::FAMILY,
    &strings::COUNTERS,
    &keys::FAMILY,
    &expiry::FAMILY,
    &hashes::FAMILY,
    &streams::FAMILY,
    &transactions::FAMILY,
    &scripts::FAMILY,
    &lcs::FAMILY,
    &databases::FAMILY,
    &sets::FAMILY,
    &sort::FAMILY,
    &lists::FAMILY,
    &zsets::FAMILY,
    &bitmaps::FAMILY,
    &zsets::PLACES,
    &hyperloglog::FAMILY,
];

#[cfg(test)]
const WAITS: &str = "a client that waits asks nothing else meanwhile";

#[cfg(test)]
const LATER: &str = "Redis has it since 7.4 or later: core/tests compares it with a model";

/// Commands on rows or databases that are not asked, and why.
#[cfg(test)]
pub const NOT_ASKED: &[(&str, &str)] = &[
    ("add", "Redis has no such command"),
    ("blmove", WAITS),
    ("blmpop", WAITS),
    ("blpop", WAITS),
    ("brpop", WAITS),
    ("brpoplpush", WAITS),
    ("bzmpop", WAITS),
    ("bzpopmax", WAITS),
    ("bzpopmin", WAITS),
    ("decrmin", "Redis has no such command"),
    ("flushall", "the rows that push others out of memory are in a database of their own"),
    ("hexpire", LATER),
    ("hexpireat", LATER),
    ("hexpiretime", LATER),
    ("hgetdel", LATER),
    ("hgetex", LATER),
    ("hpersist", LATER),
    ("hpexpire", LATER),
    ("hpexpireat", LATER),
    ("hpexpiretime", LATER),
    ("hpttl", LATER),
    ("hsetex", LATER),
    ("httl", LATER),
    ("hot", "Redis has no such command"),
    ("memory|usage", "memory is used in another way"),
    ("object|idletime", "Redis counts seconds, here they are not counted"),
    ("object|refcount", "Redis shares small integers"),
    ("xgroup|createconsumer", "Redis 7.0 makes consumers later than 7.2"),
    ("xinfo|consumers", "Redis 7.0 makes consumers later than 7.2"),
    ("xinfo|groups", "Redis 7.0 makes consumers later than 7.2"),
];

impl Row {
    const fn new(judge: Judge, template: &'static str) -> Row {
        Row { template, judge, weight: 1 }
    }

    pub const fn often(self, weight: u32) -> Row {
        Row { weight, ..self }
    }
}

pub const fn same(template: &'static str) -> Row {
    Row::new(Judge::Same, template)
}

#[allow(dead_code, reason = "for families to come, as the table above says")]
pub const fn unordered(template: &'static str) -> Row {
    Row::new(Judge::Unordered, template)
}

#[allow(dead_code, reason = "for families to come, as the table above says")]
pub const fn pairs(template: &'static str) -> Row {
    Row::new(Judge::Pairs, template)
}

pub const fn near(most: u64, template: &'static str) -> Row {
    Row::new(Judge::Near(most), template)
}

pub const fn alike(template: &'static str) -> Row {
    Row::new(Judge::Alike, template)
}

pub const fn scanned(cursor: usize, template: &'static str) -> Row {
    Row::new(Judge::Scanned(cursor), template)
}

#[allow(dead_code, reason = "for families to come, as the table above says")]
pub const fn scanned_pairs(cursor: usize, template: &'static str) -> Row {
    Row::new(Judge::ScannedPairs(cursor), template)
}

#[cfg(test)]
mod tests {
    use super::super::template::Template;
    use super::*;
    use cairn_core::command::{Run, table};
    use std::collections::BTreeSet;

    /// A command that there is not.
    const UNKNOWN: &str = "NOSUCH ";

    /// `get`, `object|encoding`.
    fn name_of(template: &str) -> String {
        let mut words = template.split_whitespace().map(str::to_ascii_lowercase);
        let first = words.next().unwrap();
        let spec = table::find(first.as_bytes()).unwrap_or_else(|| panic!("{template}: there is no such command"));
        if spec.subcommands.is_empty() { first } else { format!("{first}|{}", words.next().unwrap()) }
    }

    #[test]
    fn all_templates_are_templates_of_commands() {
        for row in FAMILIES.iter().flat_map(|family| family.rows) {
            Template::parse(row.template).unwrap();
            let is_known = row.template.starts_with(UNKNOWN) || table::find(name_of(row.template).as_bytes()).is_some();
            assert!(is_known && row.weight > 0, "{}", row.template);
        }
    }

    #[test]
    fn every_command_on_rows_is_asked_or_it_says_why_not() {
        let templates = FAMILIES.iter().flat_map(|family| family.rows).map(|row| row.template);
        let asked: BTreeSet<String> = templates.filter(|text| !text.starts_with(UNKNOWN)).map(name_of).collect();
        for spec in table::commands().flat_map(|spec| std::iter::once(spec).chain(spec.subcommands)) {
            let is_row = matches!(spec.run, Run::Row(_) | Run::Databases { .. });
            let is_excused = NOT_ASKED.iter().any(|(name, _)| *name == spec.name);
            let is_asked = asked.contains(spec.name);
            assert!(!is_row || is_asked != is_excused, "{}: a line in its family, or in NOT_ASKED", spec.name);
        }
    }
}
