//! Bundles by themselves: what is gathered reads back, is found and is cut; fixed bytes; bytes that are none.

use super::*;
use proptest::prelude::*;

type Row = (Vec<u8>, Vec<u8>);

fn gathered(head: u64, rows: &[Row]) -> Vec<(usize, Option<Part>)> {
    let tail_len = rows[0].0.len();
    let all = rows.iter().map(|(tail, payload)| (number(tail), &payload[..])).collect();
    let mut parts = Vec::new();
    Gathered { head, tail_len, rows: all }.parts(|range, part| parts.push((range.len(), part)));
    parts
}

fn bundle(part: &Part) -> Bundle<'_> {
    Bundle::of(part.key.key(), &part.payload)
}

/// The kind is of no meaning.
fn read(bundle: Bundle<'_>) -> Vec<Row> {
    let own = |key: Key<'_>, payload: &[u8]| (key.tail.to_vec(), [&[1], &payload[1..]].concat());
    bundle.live().map(|place| bundle.show(&place, own)).collect()
}

fn row(tail: u128, tail_len: usize, value: &[u8]) -> Row {
    (tail.to_be_bytes()[16 - tail_len..].to_vec(), [&[1], value].concat())
}

/// The elements of a list, the entries of a stream with one a millisecond, and others.
#[test]
fn fixed_bytes() {
    let list: Vec<Row> = (0..3).map(|at| row((5 << 32) + (at << 20), 5, b"ab")).collect();
    let parts = gathered(7, &list);
    let part = parts[0].1.as_ref().unwrap();
    assert_eq!(part.payload, [STRIDE, 0x12, 0x10, 3, b'a', b'b', 3, b'a', b'b', 3, b'a', b'b']);
    assert_eq!((part.key.key(), part.rows, parts.len()), (Key::new(7, &[5, 0, 0, 0, 0]), 3, 1));
    let long = vec![b'x'; 40];
    let stream = [row(9 << 64, 13, b"v"), row((9 << 64) + 1, 13, &long), row(10 << 64, 13, b"")];
    let parts = gathered(7, &stream);
    let part = parts[0].1.as_ref().unwrap();
    let expect = [&[APART, 2, b'v', 0x10, 1, LONG, 41, KIND], &long[..], &[0x98, 10, 1]].concat();
    assert_eq!(part.payload, expect);
    for (rows, part) in [(&list[..], &gathered(7, &list)[0].1), (&stream, &parts[0].1)] {
        let part = part.as_ref().unwrap();
        assert_eq!(read(bundle(part)), rows);
        assert_eq!(bundle(part).judge(3), Ok(()));
        assert!(bundle(part).judge(2).is_err() && bundle(part).judge(4).is_err());
    }
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let step = prop_oneof![6 => Just(1u128 << 20), 1 => 1..300u128, 1 => Just(1 << 64), 1 => (1..9u128).prop_map(|ms| (ms << 64) - 1)];
    let len = prop_oneof![8 => Just(16usize), 2 => 0..40usize, 1 => 200..256usize];
    let rows = prop::collection::vec((step, len, any::<u8>()), 2..300);
    (prop_oneof![Just(13usize), Just(15)], rows).prop_map(|(tail_len, rows)| {
        let mut tail = 1u128 << 90;
        let made = rows.into_iter().map(|(step, len, byte)| {
            tail += step;
            row(tail, tail_len, &vec![byte; len.min(PAYLOAD_BYTES_MAX - 1)])
        });
        made.collect()
    })
}

proptest! {
    #[test]
    fn what_is_gathered_reads_back_and_is_cut(all in rows(), cut in any::<prop::sample::Index>(), gone in prop::collection::vec(any::<prop::sample::Index>(), 0..20)) {
        let mut at = 0;
        for (len, part) in gathered(3, &all) {
            let mut own = all[at..at + len].to_vec();
            at += len;
            let Some(mut part) = part else {
                prop_assert_eq!(len, 1);
                continue;
            };
            prop_assert!(part.payload.len() <= BUNDLE_BYTES_MAX && len <= ROWS_MAX && part.rows == len);
            prop_assert_eq!(read(bundle(&part)), own.clone());
            for gone in &gone {
                if own.len() > 1 {
                    let gone = gone.index(own.len());
                    let place = bundle(&part).at(bundle(&part).position_of(gone)).0;
                    place.mark_gone(&mut part.payload);
                    own.remove(gone);
                }
            }
            prop_assert_eq!(bundle(&part).judge(own.len()), Ok(()));
            for (rank, (tail, _)) in own.iter().enumerate() {
                let position = bundle(&part).position_of(rank);
                prop_assert_eq!(bundle(&part).seek(Key::new(3, tail)), Found::At(position));
                prop_assert_eq!(bundle(&part).rank_of(position), rank);
                let longer = [&tail[..], &[0]].concat();
                let behind = match bundle(&part).seek(Key::new(3, &longer)) {
                    Found::Before(position) => bundle(&part).rank_of(position),
                    Found::Behind => own.len(),
                    Found::At(_) => unreachable!("a longer key is another one"),
                };
                prop_assert_eq!(behind, rank + 1);
            }
            let position = cut.index(len + 1);
            let before = bundle(&part).rank_of(position);
            let parts = bundle(&part).cut(position);
            for (part, rows) in parts.iter().zip([&own[..before], &own[before..]]) {
                prop_assert_eq!(part.is_some(), !rows.is_empty());
                if let Some(part) = part {
                    prop_assert_eq!(read(bundle(part)), rows);
                    prop_assert_eq!(bundle(part).judge(rows.len()), Ok(()));
                }
            }
        }
        prop_assert_eq!(at, all.len());
    }

    #[test]
    fn bytes_that_are_none_are_read_to_where_that_shows(tail in prop::collection::vec(any::<u8>(), 0..20), bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let bundle = Bundle::of(Key::new(1, &tail), &bytes);
        if tail.len() <= TAIL_BYTES_MAX {
            prop_assert!(bundle.places().count() <= bytes.len());
        }
        _ = bundle.judge(3);
    }
}
