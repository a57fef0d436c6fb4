//! Who gets which rows, and whom the others wait for.

use super::{Databases, Granted, Locks, RowLock};

fn row(head: u64, is_exclusive: bool) -> RowLock {
    RowLock { db: 0, head, is_exclusive }
}

fn granted(locks: &mut Locks<u32>) -> Vec<(u32, Vec<RowLock>)> {
    std::iter::from_fn(|| locks.grant()).map(|granted| (granted.owner, granted.rows)).collect()
}

fn names(granted: &[(u32, Vec<RowLock>)]) -> Vec<u32> {
    granted.iter().map(|(owner, _)| *owner).collect()
}

#[test]
fn readers_share_and_writers_do_not() {
    let mut locks = Locks::default();
    locks.request(1, vec![row(5, false), row(6, true)], Databases::NONE);
    locks.request(2, vec![row(5, false)], Databases::NONE);
    locks.request(3, vec![row(6, false)], Databases::NONE);
    let first = granted(&mut locks);
    assert_eq!((names(&first), locks.waiting()), (vec![1, 2], 1));
    assert!(locks.admits(0, 6, false), "nothing of it is in the tree yet");
    locks.hide(&first[0].1);
    assert_eq!([true, false].map(|is_write| locks.admits(0, 5, is_write)), [false, true]);
    assert_eq!([true, false].map(|is_write| locks.admits(0, 6, is_write)), [false, false]);
    assert!(locks.admits(1, 6, true) && locks.admits(0, 7, true));
    locks.release(1, &first[0].1, true);
    assert_eq!(names(&granted(&mut locks)), [3]);
    assert!(!locks.admits(0, 5, true), "2 still looks at it");
    locks.release(2, &first[1].1, false);
    assert!(locks.admits(0, 5, true) && !locks.is_empty());
}

#[test]
fn nobody_overtakes_one_that_it_conflicts_with() {
    let mut locks = Locks::default();
    locks.request(1, vec![row(1, true)], Databases::NONE);
    let first = granted(&mut locks);
    locks.request(2, vec![row(1, true), row(2, true)], Databases::NONE);
    locks.request(3, vec![row(2, false)], Databases::NONE);
    locks.request(4, vec![row(3, true)], Databases::NONE);
    assert_eq!(names(&granted(&mut locks)), [4], "3 waits behind 2 though its row is free");
    assert_eq!(locks.try_hold(5, vec![row(2, true)]), Err(vec![row(2, true)]));
    assert_eq!((locks.blockers(3), locks.blockers(2), locks.blockers(1)), (Some(vec![2]), Some(vec![1]), None));
    locks.release(1, &first[0].1, false);
    let second = granted(&mut locks);
    assert_eq!(names(&second), [2]);
    locks.release(2, &second[0].1, false);
    assert_eq!(names(&granted(&mut locks)), [3]);
}

#[test]
fn a_row_named_twice_is_locked_once_and_strictly() {
    let mut locks = Locks::default();
    locks.request(1, vec![row(1, false), row(1, true), row(1, false)], Databases::NONE);
    let first = granted(&mut locks);
    assert_eq!(first[0].1, [row(1, true)]);
    assert!(!locks.admits(0, 1, true));
    locks.release(1, &first[0].1, false);
    assert!(locks.is_empty());
}

#[test]
fn who_holds_a_row_may_get_more_of_it_before_those_who_wait_for_it() {
    let mut locks = Locks::default();
    assert_eq!(locks.try_hold(1, vec![row(1, false)]), Ok(vec![row(1, false)]));
    assert!(locks.holds(1, &row(1, false)) && !locks.holds(1, &row(1, true)) && !locks.holds(2, &row(1, false)));
    locks.request(2, vec![row(1, true)], Databases::NONE);
    locks.request(3, vec![row(1, false)], Databases::NONE);
    assert_eq!((locks.grant(), locks.blockers(3)), (None, Some(vec![2])));
    assert_eq!(locks.try_hold(1, vec![row(1, true)]), Ok(vec![]), "it is no other row");
    assert!(locks.holds(1, &row(1, true)) && locks.is_exclusive(&row(1, false)));
    assert!(locks.admits(0, 1, false), "nothing of it is in the tree yet");
    locks.hide(&[row(1, false)]);
    assert!(!locks.admits(0, 1, false));
    locks.release(1, &[row(1, false)], true);
    assert_eq!(names(&granted(&mut locks)), [2]);
}

#[test]
fn two_who_want_more_of_a_row_wait_for_each_other() {
    let mut locks = Locks::default();
    for owner in [1, 2] {
        locks.try_hold(owner, vec![row(1, false)]).unwrap();
    }
    locks.request(1, vec![row(1, true)], Databases::NONE);
    locks.request(2, vec![row(1, true)], Databases::NONE);
    assert_eq!((locks.grant(), locks.blockers(1), locks.blockers(2)), (None, Some(vec![2]), Some(vec![1])));
    locks.cancel(2);
    locks.release(2, &[row(1, false)], false);
    assert_eq!(names(&granted(&mut locks)), [1]);
    assert_eq!(locks.waiters().count(), 0);
}

#[test]
fn what_is_seized_nobody_gets_and_nobody_sees() {
    let mut locks = Locks::default();
    locks.try_hold(1, vec![row(1, true)]).unwrap();
    let seized = locks.seize(vec![row(1, false), row(2, false)]);
    assert_eq!(seized, [row(1, true), row(2, true)]);
    assert!(!locks.admits(0, 1, false) && !locks.admits(0, 2, false));
    assert!(locks.try_hold(2, vec![row(2, false)]).is_err());
    locks.release(1, &[row(1, true)], false);
    assert!(!locks.admits(0, 1, false));
    locks.give_back(&seized);
    assert!(locks.is_empty());
}

#[test]
fn a_whole_database_is_all_its_rows() {
    let mut locks = Locks::default();
    let both = Databases::of(0).and(Databases::of(2));
    locks.try_hold(1, vec![row(1, false), RowLock { db: 1, ..row(1, true) }]).unwrap();
    locks.request(2, vec![row(1, true), RowLock { db: 1, ..row(2, true) }], both);
    locks.request(3, vec![row(7, false)], Databases::NONE);
    locks.request(4, vec![], Databases::of(2));
    assert_eq!(granted(&mut locks), [], "3 and 4 are behind 2, which waits for 1");
    let blockers = [2, 3, 4].map(|owner| locks.blockers(owner).unwrap());
    assert_eq!(blockers, [vec![1], vec![2], vec![2]]);
    assert!(locks.admits(0, 9, true) && !locks.admits_databases(both) && locks.admits_databases(Databases::of(2)));
    locks.release(1, &[row(1, false)], false);
    let rows = vec![RowLock { db: 1, ..row(2, true) }];
    assert_eq!(locks.grant(), Some(Granted { owner: 2, rows: rows.clone(), databases: both, is_shared: false }));
    assert_eq!(locks.grant(), None);
    assert_eq!([true, false].map(|is_write| locks.admits(0, 9, is_write)), [false, true]);
    assert!(locks.try_hold(1, vec![RowLock { db: 1, ..row(3, true) }]).is_ok() && locks.admits(3, 9, true));
    assert!(locks.try_hold(1, vec![row(3, false)]).is_err() && locks.is_held(2, 5) && !locks.is_held(1, 5));
    locks.hide(&rows);
    locks.hide_databases(both);
    assert!(!locks.admits(2, 9, false));
    locks.release_databases(2, both, true);
    locks.release(2, &rows, true);
    assert!(locks.admits(2, 9, true));
    assert_eq!(granted(&mut locks), [(3, vec![row(7, false)]), (4, vec![])]);
}

#[test]
fn who_holds_rows_of_a_database_may_get_more_of_them_before_one_who_waits_for_all() {
    let mut locks = Locks::default();
    locks.try_hold(1, vec![row(1, true)]).unwrap();
    locks.try_hold(2, vec![row(2, true)]).unwrap();
    locks.request(3, vec![], Databases::of(0));
    assert_eq!(locks.try_hold(4, vec![row(4, false)]), Err(vec![row(4, false)]));
    assert_eq!(locks.try_hold(1, vec![row(4, true)]), Ok(vec![row(4, true)]));
    locks.request(1, vec![row(2, false)], Databases::NONE);
    assert_eq!(locks.blockers(1), Some(vec![2]), "it does not wait for 3, which waits for it");
    locks.release(2, &[row(2, true)], false);
    assert_eq!(names(&granted(&mut locks)), [1]);
    locks.release(1, &[row(1, true), row(4, true), row(2, false)], false);
    assert_eq!(names(&granted(&mut locks)), [3]);
}

#[test]
fn who_holds_something_of_a_database_may_come_to_hold_all_of_it() {
    let mut locks = Locks::default();
    let zero = Databases::of(0);
    locks.try_hold(1, vec![row(1, true)]).unwrap();
    assert!(locks.try_share(1, zero) && !locks.try_share(2, zero));
    locks.request(3, vec![row(1, true), row(2, false)], Databases::NONE);
    assert!(
        locks.try_databases(1, zero) && locks.try_databases(1, zero),
        "before 3, which waits for it; as often as it likes"
    );
    assert!(locks.admits(0, 9, false) && !locks.admits(0, 9, true));
    assert!(locks.try_hold(1, vec![row(2, true)]).is_ok(), "and rows before those that wait for them");
    assert!(!locks.try_databases(2, zero) && locks.try_hold(2, vec![row(5, false)]).is_err());
    locks.request(2, vec![], zero);
    assert_eq!(locks.blockers(3).unwrap().iter().filter(|owner| **owner != 1).count(), 0);
    assert!(locks.blockers(2).unwrap().contains(&1) && locks.blockers(2).unwrap().contains(&3));
    locks.release(1, &[row(1, true), row(2, true)], false);
    assert_eq!(locks.grant(), None);
    locks.release_databases(1, zero, false);
    assert_eq!(names(&granted(&mut locks)), [3]);
    locks.release(3, &[row(1, true), row(2, false)], false);
    assert_eq!(names(&granted(&mut locks)), [2]);
    locks.release_databases(2, zero, false);
    assert!(locks.is_empty());
}

#[test]
fn two_that_look_at_a_whole_database_wait_for_each_other_if_both_change_it() {
    let mut locks = Locks::default();
    let zero = Databases::of(0);
    assert!(locks.try_share(1, zero) && locks.try_share(2, zero));
    assert!(!locks.try_databases(1, zero) && !locks.try_databases(2, zero));
    locks.request(1, vec![], zero);
    locks.request(2, vec![], zero);
    assert_eq!((locks.blockers(1), locks.blockers(2)), (Some(vec![2]), Some(vec![1])));
    locks.cancel(2);
    locks.release_databases(2, zero, false);
    assert_eq!(names(&granted(&mut locks)), [1]);
}

#[test]
fn a_database_that_is_seized_nobody_gets_and_nobody_sees() {
    let mut locks = Locks::default();
    let seized = locks.seize(vec![row(1, true)]);
    locks.request(1, vec![], Databases::of(0));
    assert_eq!(locks.grant(), None);
    locks.seize_databases(Databases::of(0));
    locks.give_back(&seized);
    assert_eq!((locks.grant(), locks.is_empty()), (None, false));
    assert!(!locks.admits(0, 5, false) && locks.try_hold(2, vec![row(5, false)]).is_err());
    locks.give_back_databases(Databases::of(0));
    assert_eq!(locks.grant().map(|granted| granted.databases), Some(Databases::of(0)));
    locks.release_databases(1, Databases::of(0), false);
    assert!(locks.is_empty());
}

#[test]
fn who_looks_at_a_whole_database_shares_it_with_readers() {
    let mut locks = Locks::default();
    let zero = Databases::of(0);
    assert!(locks.try_hold(1, vec![row(1, false)]).is_ok());
    assert!(locks.try_share(2, zero) && locks.try_share(3, zero) && locks.try_share(2, zero), "as often as it likes");
    assert!(locks.admits(0, 1, false) && !locks.admits(0, 9, true) && locks.admits(1, 9, true));
    assert!(locks.try_hold(1, vec![row(2, false)]).is_ok());
    for owner in [1, 2, 3] {
        assert!(locks.try_hold(owner, vec![row(2, true)]).is_err(), "{owner} would change what others look at");
    }
    locks.request(2, vec![row(5, true)], Databases::NONE);
    assert_eq!(locks.blockers(2), Some(vec![3]), "not itself");
    locks.request(4, Vec::new(), zero);
    assert!(locks.grant().is_none());
    let mut blockers = locks.blockers(4).unwrap();
    blockers.sort_unstable();
    blockers.dedup();
    assert_eq!(blockers, [1, 2, 3]);
    locks.release_databases(3, zero, false);
    assert_eq!(names(&granted(&mut locks)), [2], "alone it may change rows");
    assert!(!locks.try_share(3, zero), "2 has changed one");
    assert!(!locks.is_empty());
}

#[test]
fn who_looks_at_a_whole_database_waits_for_those_that_change_it() {
    let mut locks = Locks::default();
    let zero = Databases::of(0);
    let held = locks.try_hold(1, vec![row(1, true)]).unwrap();
    assert!(locks.try_share(1, zero), "its own rows");
    locks.release_databases(1, zero, false);
    assert!(!locks.try_share(2, zero));
    locks.request_share(2, zero);
    assert_eq!(locks.blockers(2), Some(vec![1]));
    // Later ones that change something wait behind it, who look do not, nor does who has a row of it already.
    assert!(locks.try_hold(3, vec![row(3, true)]).is_err() && locks.try_hold(3, vec![row(3, false)]).is_ok());
    assert!(locks.try_hold(1, vec![row(4, true)]).is_ok());
    locks.release(1, &[row(4, true)], false);
    locks.release(1, &held, false);
    let granted: Vec<_> = std::iter::from_fn(|| locks.grant()).map(|it| (it.owner, it.databases)).collect();
    assert_eq!(granted, [(2, zero)]);
    // Who would change a row stands before the next one that looks at all.
    locks.request(4, vec![row(7, true)], Databases::NONE);
    assert!(!locks.try_share(5, zero));
    locks.release_databases(2, zero, false);
    locks.release(3, &[row(3, false)], false);
    assert_eq!(names(&self::granted(&mut locks)), [4]);
    locks.release(4, &[row(7, true)], false);
    assert!(locks.is_empty());
    let seized = locks.seize(vec![row(8, true)]);
    assert!(!locks.try_share(5, zero) && locks.take_missed().len() == 1);
    locks.give_back(&seized);
    assert!(locks.try_share(5, zero));
}
