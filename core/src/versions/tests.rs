//! Versions beside a model that keeps all rows of each cut.

use super::*;
use std::collections::BTreeMap as Model;

fn row(key: &[u8]) -> RowKey<'_> {
    // Two keys a place.
    RowKey { db: 0, head: u64::from(key[0] / 2), key }
}

fn former(value: Option<u32>) -> Option<Former> {
    value.map(|value| Former::new(0, 0, value.to_string().as_bytes(), None))
}

fn shown(former: Option<&Former>) -> Option<u32> {
    former.map(|former| str::from_utf8(former.found().value).unwrap().parse().unwrap())
}

fn counted(rows: usize) -> [i64; DATABASES] {
    let mut counts = [0; DATABASES];
    counts[0] = rows as i64;
    counts
}

/// All keys at a cut, as a walk along the rows comes by them.
fn walked(versions: &Versions, cut: u64, rows: &Model<u8, u32>) -> Vec<u8> {
    let mut keys: Vec<u8> = versions
        .heads_from(0, 0)
        .flat_map(|head| versions.were_at(CutId(cut), 0, head))
        .map(|(key, _)| key[0])
        .chain(rows.keys().copied().filter(|key| versions.find(CutId(cut), row(&[*key])).is_none()))
        .collect();
    keys.sort_unstable();
    keys
}

#[test]
fn what_rows_were_is_found_whoever_reads_and_ends() {
    for seed in 0..200 {
        let mut rng = seed * 2 + 1;
        let mut random = |below: u64| {
            rng = u64::wrapping_add(u64::wrapping_mul(rng, 6_364_136_223_846_793_005), 1_442_695_040_888_963_407);
            (rng >> 33) % below
        };
        let mut versions = Versions { bytes_max: u64::MAX, ..Versions::default() };
        let mut rows: Model<u8, u32> = Model::new();
        let mut cuts: Model<u64, Model<u8, u32>> = Model::new();
        let mut last = 0;
        for step in 0..400 {
            match random(10) {
                0 => {
                    last += 1;
                    versions.open(CutId(last), Now::default(), counted(rows.len()), Vec::new());
                    cuts.insert(last, rows.clone());
                }
                1 if !cuts.is_empty() => {
                    let cut = *cuts.keys().nth(random(cuts.len() as u64) as usize).unwrap();
                    cuts.remove(&cut);
                    versions.close(CutId(cut));
                }
                2 => versions.free_some(random(8) as usize),
                _ => {
                    let key = random(12) as u8;
                    if versions.are_wanted() && versions.misses(row(&[key])) {
                        versions.keep(row(&[key]), former(rows.get(&key).copied()));
                    }
                    match random(3) {
                        0 => drop(rows.remove(&key)),
                        _ => drop(rows.insert(key, step)),
                    }
                }
            }
            assert_eq!(versions.are_wanted(), !cuts.is_empty());
            for (cut, expect) in &cuts {
                for key in 0..12 {
                    let found = versions.find(CutId(*cut), row(&[key]));
                    let found = found.map_or_else(|| rows.get(&key).copied(), shown);
                    assert_eq!(found, expect.get(&key).copied(), "seed {seed}, step {step}, cut {cut}, key {key}");
                }
                let keys: Vec<u8> = expect.keys().copied().collect();
                assert_eq!(walked(&versions, *cut, &rows), keys, "seed {seed}, step {step}, cut {cut}");
                assert_eq!(versions.row_count(CutId(*cut), 0), keys.len() as i64);
            }
        }
        cuts.keys().for_each(|cut| versions.close(CutId(*cut)));
        versions.free_some(usize::MAX);
        let left =
            (versions.bytes(), versions.rows.len(), versions.ends.len(), versions.heads(0), versions.has_loose());
        assert_eq!(left, (0, 0, 0, 0, false), "seed {seed}");
    }
}

#[test]
fn the_oldest_cuts_end_where_there_is_no_room() {
    let mut versions = Versions { bytes_max: 3 * (VERSION_BYTES + 2), ..Versions::default() };
    versions.open(CutId(1), Now::default(), counted(0), Vec::new());
    versions.keep(row(b"a"), former(Some(1)));
    versions.open(CutId(2), Now::default(), counted(0), vec![(3, b"split".to_vec())]);
    versions.keep(row(b"a"), former(Some(2)));
    versions.keep(row(b"b"), former(None));
    assert_eq!((versions.take_lost(), versions.bytes()), (vec![], 3 * VERSION_BYTES + 5));
    versions.keep(row(b"c"), former(Some(3)));
    assert_eq!(versions.take_lost(), [(CutId(1), NO_MEMORY)]);
    assert_eq!((versions.drawn(CutId(1)), versions.drawn(CutId(2))), (None, Some(Now::default())));
    assert!(versions.was_split(CutId(2), 3, b"split") && !versions.was_split(CutId(2), 3, b"other"));
    // What only the first one needed goes, and that is enough.
    assert_eq!(
        (shown(versions.find(CutId(2), row(b"a")).unwrap()), versions.bytes()),
        (Some(2), 3 * VERSION_BYTES + 5)
    );
    versions.keep(row(b"d"), former(None));
    assert_eq!(versions.take_lost(), [(CutId(2), NO_MEMORY)]);
    assert!(!versions.are_wanted());
    versions.free_some(100);
    assert_eq!(versions.bytes(), 0);
}

#[test]
fn a_database_that_is_emptied_ends_all() {
    let mut versions = Versions { bytes_max: u64::MAX, ..Versions::default() };
    versions.open(CutId(4), Now::default(), counted(0), Vec::new());
    versions.open(CutId(7), Now::default(), counted(0), Vec::new());
    versions.lose_all();
    assert_eq!(versions.take_lost(), [(CutId(4), CLEARED), (CutId(7), CLEARED)]);
    assert!(!versions.are_wanted() && versions.take_lost().is_empty());
}
