//! The command table: every command there is, found by name.
//!
//! Each family file owns its rows; this file only lists the families. Names are found in a hash table that is built
//! at the first look: one comparison of sixteen bytes in the common case, no allocation, no lock.

use super::{
    Spec, acl, bitmaps, client, cluster, config, connection, databases, debug, dump, expire, functions, geo, hashes,
    hot, hyperloglog, idempotent, info, introspect, keys, keyspace, latency, lists, long, memory, migrate, moves,
    pubsub, save, script, server, sets, slow, sort, streams, strings, transactions, wait, zsets,
};
use crate::command::args::Args;
use std::sync::LazyLock;

/// All rows, family by family.
pub static FAMILIES: &[&[Spec]] = &[
    acl::SPECS,
    bitmaps::SPECS,
    client::SPECS,
    cluster::SPECS,
    config::SPECS,
    connection::SPECS,
    databases::SPECS,
    debug::SPECS,
    dump::SPECS,
    expire::SPECS,
    functions::SPECS,
    geo::SPECS,
    hashes::SPECS,
    hot::SPECS,
    hyperloglog::SPECS,
    idempotent::SPECS,
    info::SPECS,
    introspect::SPECS,
    keys::SPECS,
    keyspace::SPECS,
    latency::SPECS,
    lists::SPECS,
    memory::SPECS,
    migrate::SPECS,
    pubsub::SPECS,
    save::SPECS,
    script::SPECS,
    server::SPECS,
    sets::SPECS,
    slow::SPECS,
    sort::SPECS,
    streams::SPECS,
    strings::SPECS,
    transactions::SPECS,
    wait::SPECS,
    zsets::SPECS,
];

/// Commands that only programs call ([`super::program`]): no client finds them.
pub static STEPS: &[&[Spec]] = &[
    geo::STEPS,
    hyperloglog::STEPS,
    long::made::STEPS,
    migrate::STEPS,
    moves::STEPS,
    sets::STEPS,
    sort::STEPS,
    transactions::STEPS,
    zsets::STEPS,
];

/// A command and its dense number.
#[derive(Clone, Copy)]
pub struct Entry {
    pub id: u16,
    pub spec: &'static Spec,
    /// It is a container's subcommand.
    pub is_sub: bool,
}

/// The command of that name, in any case. A subcommand is found by its full name too: `client|id`.
#[inline]
pub fn find(name: &[u8]) -> Option<&'static Spec> {
    entry(name).map(|entry| entry.spec)
}

/// As [`find`], with the number that statistics are kept under.
#[inline]
pub fn entry(name: &[u8]) -> Option<Entry> {
    TABLE.find(name)
}

/// The command that a request begins with. A subcommand's full name is none.
#[inline]
pub fn first(word: &[u8]) -> Option<Entry> {
    entry(word).filter(|entry| !entry.is_sub)
}

/// As [`entry`]; those that only programs call are found too.
#[inline]
pub fn step(name: &[u8]) -> Option<Entry> {
    let of_programs = || TABLE.entries[TABLE.public..].iter().find(|entry| entry.spec.name.as_bytes() == name).copied();
    entry(name).or_else(of_programs)
}

/// The subcommand of a container, in any case.
pub fn subcommand(container: &'static Spec, name: &[u8]) -> Option<Entry> {
    let prefix = container.name.len() + 1;
    let found = container.subcommands.iter().find(|sub| sub.name.as_bytes()[prefix..].eq_ignore_ascii_case(name))?;
    entry(found.name.as_bytes())
}

/// The command of these words, a container's subcommand included; `None` for one that there is not.
pub fn lookup(args: &Args<'_>) -> Option<Entry> {
    let entry = first(args.get(0)?)?;
    match args.get(1) {
        Some(name) if !entry.spec.subcommands.is_empty() => subcommand(entry.spec, name),
        _ => Some(entry),
    }
}

/// The entry of a command that runs.
pub fn entry_of(spec: &Spec) -> Entry {
    step(spec.name.as_bytes()).expect("a spec that runs is in the table")
}

/// The number of a command: `0..count()`, in the order of the families, a container before its subcommands.
pub fn id(spec: &Spec) -> u16 {
    entry_of(spec).id
}

/// The command with that number.
pub fn spec(id: u16) -> &'static Spec {
    numbered(id).spec
}

/// The same, with what else is known of it.
pub fn numbered(id: u16) -> Entry {
    TABLE.entries[usize::from(id)]
}

/// Commands and subcommands together: the length of an array that [`id`] indexes.
pub fn count() -> usize {
    TABLE.entries.len()
}

/// All commands, without subcommands.
pub fn commands() -> impl Iterator<Item = &'static Spec> {
    FAMILIES.iter().copied().flatten()
}

static TABLE: LazyLock<Table> = LazyLock::new(|| Table::new(FAMILIES, STEPS));

/// A name that is looked for: its length, and its first and last eight bytes in lower case (they overlap or are
/// padded with zeros when it is short). Up to sixteen bytes this is the whole name.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Print {
    len: u32,
    first: u64,
    last: u64,
}

const WHOLE_BYTES_MAX: usize = 16;

impl Print {
    #[inline]
    fn of(name: &[u8]) -> Print {
        let (first, last) = match (name.first_chunk::<8>(), name.last_chunk::<8>()) {
            (Some(first), Some(last)) => (u64::from_le_bytes(*first), u64::from_le_bytes(*last)),
            _ => match (name.first_chunk::<4>(), name.last_chunk::<4>()) {
                (Some(first), Some(last)) => (u32::from_le_bytes(*first).into(), u32::from_le_bytes(*last).into()),
                _ => (name.iter().fold(0, |number, &byte| number << 8 | u64::from(byte)), 0),
            },
        };
        Print { len: name.len() as u32, first: lower(first), last: lower(last) }
    }

    #[inline]
    fn hash(self) -> usize {
        let mixed = (self.first ^ self.last.rotate_left(29) ^ u64::from(self.len)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> 40) as usize
    }
}

/// Each byte that is an upper-case ASCII letter in lower case.
#[inline]
fn lower(bytes: u64) -> u64 {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    // Bit 7 of each sum of 7-bit values says "at least A" and "beyond Z"; no sum carries into the next byte.
    let low = bytes & (ONES * 0x7f);
    let is_upper = (low + ONES * (0x80 - b'A' as u64)) & !(low + ONES * (0x7f - b'Z' as u64)) & !bytes & (ONES * 0x80);
    bytes | is_upper >> 2
}

#[derive(Clone, Copy)]
struct Bucket {
    print: Print,
    id: u16,
}

struct Table {
    /// Open addressing with linear steps; a power of two, at most a quarter full.
    buckets: Box<[Option<Bucket>]>,
    /// Those of clients, then those of programs.
    entries: Vec<Entry>,
    /// How many clients find.
    public: usize,
}

impl Table {
    fn new(families: &'static [&'static [Spec]], steps: &'static [&'static [Spec]]) -> Table {
        let mut entries: Vec<Entry> = Vec::new();
        for spec in families.iter().copied().flatten() {
            entries.push(Entry { id: entries.len() as u16, spec, is_sub: false });
            for spec in spec.subcommands {
                entries.push(Entry { id: entries.len() as u16, spec, is_sub: true });
            }
        }
        let public = entries.len();
        for spec in steps.iter().copied().flatten() {
            entries.push(Entry { id: entries.len() as u16, spec, is_sub: true });
        }
        let size = (4 * public).next_power_of_two();
        let mut buckets: Box<[Option<Bucket>]> = vec![None; size].into();
        for entry in &entries[..public] {
            let print = Print::of(entry.spec.name.as_bytes());
            let mut index = print.hash() & (size - 1);
            while let Some(taken) = buckets[index] {
                assert_ne!(entries[usize::from(taken.id)].spec.name, entry.spec.name, "two commands of one name");
                index = (index + 1) & (size - 1);
            }
            buckets[index] = Some(Bucket { print, id: entry.id });
        }
        Table { buckets, entries, public }
    }

    #[inline]
    fn find(&self, name: &[u8]) -> Option<Entry> {
        let print = Print::of(name);
        let mask = self.buckets.len() - 1;
        let mut index = print.hash() & mask;
        while let Some(bucket) = &self.buckets[index & mask] {
            if bucket.print == print {
                let entry = self.entries[usize::from(bucket.id)];
                if name.len() <= WHOLE_BYTES_MAX || entry.spec.name.as_bytes().eq_ignore_ascii_case(name) {
                    return Some(entry);
                }
            }
            index += 1;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &[Spec] = &[
        Spec { name: "get", ..Spec::DEFAULT },
        Spec {
            name: "client",
            subcommands: &[
                Spec { name: "client|id", ..Spec::DEFAULT },
                Spec { name: "client|no-evict", ..Spec::DEFAULT },
            ],
            ..Spec::DEFAULT
        },
        Spec { name: "georadiusbymember", ..Spec::DEFAULT },
        Spec { name: "georadiusbymember_ro", ..Spec::DEFAULT },
        Spec { name: "a", ..Spec::DEFAULT },
    ];
    static SAMPLES: &[&[Spec]] = &[SAMPLE];

    #[test]
    fn names_are_found_in_any_case_and_nothing_else_is() {
        let table = Table::new(SAMPLES, &[]);
        let find = |name: &str| table.find(name.as_bytes()).map(|entry| (entry.id, entry.spec.name));
        assert_eq!(find("GeT"), Some((0, "get")));
        assert_eq!(find("Client"), Some((1, "client")));
        assert_eq!(find("CLIENT|NO-EVICT"), Some((3, "client|no-evict")));
        assert_eq!(find("GEORADIUSbymember"), Some((4, "georadiusbymember")));
        assert_eq!(find("georadiusbymember_RO"), Some((5, "georadiusbymember_ro")));
        assert_eq!(find("A"), Some((6, "a")));
        for name in ["", "ge", "gett", "get\0", "\0get", "georadiusxymember", "client no-evict", "\u{1}", "!"] {
            assert_eq!(find(name), None, "{name:?}");
        }
    }

    #[test]
    fn only_letters_change_case() {
        for byte in 0..=255u8 {
            let expect = u64::from_le_bytes([byte.to_ascii_lowercase(); 8]);
            assert_eq!(lower(u64::from_le_bytes([byte; 8])), expect, "{byte}");
        }
    }

    #[test]
    fn every_row_of_the_table_is_complete_and_found() {
        for (id, entry) in TABLE.entries[..TABLE.public].iter().enumerate() {
            let Spec { name, arity, summary, complexity, group, .. } = entry.spec;
            assert_eq!(usize::from(super::id(entry.spec)), id, "{name}");
            assert_eq!(find(name.to_ascii_uppercase().as_bytes()).map(|found| found.name), Some(*name));
            assert_eq!(spec(id as u16).name, *name);
            assert_eq!(name.to_ascii_lowercase(), *name);
            assert!(*arity != 0 && !summary.is_empty() && !complexity.is_empty() && !group.is_empty(), "{name}");
        }
        for container in commands() {
            for sub in container.subcommands {
                let (prefix, word) = sub.name.split_once('|').unwrap();
                assert_eq!(prefix, container.name);
                assert_eq!(subcommand(container, word.to_ascii_uppercase().as_bytes()).unwrap().spec.name, sub.name);
            }
        }
        assert_eq!(count(), TABLE.entries.len());
    }

    #[test]
    fn steps_are_found_by_programs_alone() {
        for (id, entry) in TABLE.entries.iter().enumerate().skip(TABLE.public) {
            let name = entry.spec.name.as_bytes();
            assert!(entry.spec.keys.first > 0, "{}: nobody knows its shard", entry.spec.name);
            assert!(find(name).is_none() && super::lookup(&Args::new(name, &[(0, name.len() as u32)])).is_none());
            assert_eq!((usize::from(step(name).unwrap().id), usize::from(super::id(entry.spec))), (id, id));
        }
    }
}
