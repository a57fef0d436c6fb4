//! What follows from a stream's figures. The streams themselves are in the golden scripts.

use super::*;

fn id(ms: u64) -> EntryId {
    EntryId { ms, seq: 0 }
}

#[test]
fn only_whole_nodes_go() {
    for ((count, len, node, removed, limit), expect) in [
        ((0, 10, 2, 0, 0), 0),
        ((5, 10, 2, 0, 0), 4),
        ((5, 10, 2, 0, 3), 2),
        ((5, 10, 2, 0, 1), 0),
        ((5, 10, 2, 1, 0), 5),
        ((4, 10, 2, 1, 0), 3),
        ((1, 10, 2, 1, 0), 1),
        ((1, 10, 3, 1, 0), 0),
        ((10, 10, 3, 0, 0), 10),
        ((10, 10, 3, 0, 10), 10),
        ((10, 10, 3, 0, 9), 9),
        ((10, 10, 3, 0, 8), 6),
        ((10, 10, 3, 2, 8), 7),
        ((111, 555, 100, 445, 0), 55),
        ((100, 500, 100, 500, 0), 100),
        ((u64::MAX, u64::MAX, 100, 0, 10_000), 10_000),
        ((7, 10, u64::MAX, 5, 0), 0),
    ] {
        let what = format!("{count} of {len}, nodes of {node}, {removed} removed, limit {limit}");
        assert_eq!(whole_nodes(count, len, node, removed, limit), expect, "{what}");
    }
}

#[test]
fn what_was_added_up_to_an_id_is_told_where_nothing_is_missing_behind_it() {
    let facts = Facts { len: 3, first: id(5), top: id(9), last: id(9), added: 10, max_deleted: EntryId::MIN };
    let told = |facts: &Facts| [4, 5, 7, 9, 10].map(|ms| facts.added_up_to(id(ms)));
    assert_eq!(told(&facts), [Some(7), Some(8), None, Some(10), None]);
    let before = Facts { max_deleted: id(4), ..facts };
    assert_eq!(told(&before), told(&facts));
    assert!(!before.has_gaps_from(id(1)));
    let within = Facts { max_deleted: id(7), ..facts };
    assert_eq!(told(&within), [None, None, None, Some(10), None]);
    assert!(within.has_gaps_from(id(7)) && !within.has_gaps_from(id(8)));
    let empty = Facts { len: 0, first: EntryId::MIN, top: EntryId::MIN, ..facts };
    assert_eq!(told(&empty), [Some(10), Some(10), Some(10), Some(10), None]);
    assert!(!empty.has_gaps_from(id(1)));
    assert_eq!(told(&Facts::default()), [Some(0); 5]);
}
