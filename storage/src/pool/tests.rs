//! Frames come and go; ids are used once at a time; the bound holds.

use super::{Pool, PoolFull};
use crate::error::Missing;
use crate::limits::{CHUNK_FRAMES_FIRST, PAGE_BYTES};
use crate::page::Kind;
use crate::units::PageId;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

fn pool(pages_max: usize) -> Pool {
    Pool::new(pages_max, Box::new(|_| {}))
}

#[test]
fn allocates_up_to_its_bound_and_again_after_a_release() {
    let mut pool = pool(3);
    pool.reserve(3).unwrap();
    assert_eq!(pool.reserve(4), Err(PoolFull { pages_max: 3 }));
    let pages = [pool.allocate(Kind::Leaf), pool.allocate(Kind::Branch), pool.allocate(Kind::Leaf)];
    assert_eq!(pages, [PageId(1), PageId(2), PageId(3)]);
    assert_eq!(pool.page(pages[1]).unwrap().kind(), Some(Kind::Branch));
    assert_eq!(pool.reserve(1), Err(PoolFull { pages_max: 3 }));
    pool.release(pages[1]);
    assert_eq!(pool.page(pages[1]).err(), Some(Missing::Page(pages[1])));
    pool.reserve(1).unwrap();
    assert_eq!(pool.allocate(Kind::Leaf), pages[1]);
    pool.check(&pages).unwrap();
    assert_eq!((pool.pages(), pool.pages_resident(), pool.pages_max()), (3, 3, 3));
}

#[test]
fn an_evicted_page_comes_back_as_it_was() {
    let mut pool = pool(1);
    pool.reserve(1).unwrap();
    let page = pool.allocate(Kind::Leaf);
    let before = *pool.page(page).unwrap();
    let image = pool.evict(page).unwrap();
    assert_eq!(pool.page(page).err(), Some(Missing::Page(page)));
    assert_eq!(pool.evict(page).err(), Some(Missing::Page(page)));
    assert_eq!((pool.pages(), pool.pages_resident()), (1, 0));
    // Its frame serves another page meanwhile, and the bound is one of frames.
    pool.reserve(1).unwrap();
    let other = pool.allocate(Kind::Leaf);
    assert_ne!(other, page);
    assert_eq!(pool.supply(page, &image), Err(PoolFull { pages_max: 1 }));
    pool.release(other);
    pool.supply(page, &image).unwrap();
    assert_eq!(pool.page(page).unwrap().as_bytes(), before.as_bytes());
}

#[test]
fn an_absent_page_can_be_released() {
    let mut pool = pool(2);
    pool.reserve(1).unwrap();
    let page = pool.allocate(Kind::Leaf);
    pool.evict(page).unwrap();
    pool.release(page);
    pool.check(&[]).unwrap();
    assert_eq!(pool.pages(), 0);
}

#[test]
fn chunks_grow_and_are_shown_before_use() {
    let shown = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&shown);
    let mut pool = Pool::new(
        4 * CHUNK_FRAMES_FIRST,
        Box::new(move |chunk| {
            assert!(chunk.as_ptr().addr().is_multiple_of(4096) && size_of_val(chunk) == chunk.len() * PAGE_BYTES);
            seen.fetch_add(chunk.len(), Ordering::Relaxed);
        }),
    );
    let mut pages = Vec::new();
    for _ in 0..4 * CHUNK_FRAMES_FIRST {
        pool.reserve(1).unwrap();
        pages.push(pool.allocate(Kind::Leaf));
    }
    assert_eq!(shown.load(Ordering::Relaxed), 4 * CHUNK_FRAMES_FIRST);
    assert!(pool.reserve(1).is_err());
    pool.check(&pages).unwrap();
    assert!(pages.iter().all(|page| pool.page(*page).unwrap().id() == *page));
}

#[test]
fn check_finds_leaks_and_double_use() {
    let mut pool = pool(2);
    pool.reserve(2).unwrap();
    let (a, b) = (pool.allocate(Kind::Leaf), pool.allocate(Kind::Leaf));
    assert!(pool.check(&[a]).unwrap_err().contains("leaked"));
    assert!(pool.check(&[a, b, a]).unwrap_err().contains("twice"));
    pool.release(b);
    assert!(pool.check(&[a, b]).unwrap_err().contains("free"));
}

#[test]
fn numbers_of_pages_end_at_their_bound_and_page_0_is_none_of_them() {
    let mut pool = pool(10);
    pool.ids_max = 3;
    for (pages, is_there) in [(2, true), (3, true), (4, false)] {
        assert_eq!(pool.reserve(pages).is_ok(), is_there, "{pages} pages");
    }
    assert_eq!(pool.reserve(4), Err(PoolFull { pages_max: 3 }));
    let pages = [Kind::Leaf; 3].map(|kind| pool.allocate(kind));
    assert_eq!((pool.ids_left(), pages[2]), (0, PageId(3)));
    assert_eq!(pool.reserve(1), Err(PoolFull { pages_max: 3 }));
    // A number is free again with its page, absent or not.
    pool.evict(pages[0]).unwrap();
    assert_eq!(pool.ids_left(), 0);
    pool.release(pages[0]);
    assert_eq!((pool.ids_left(), pool.reserve(1)), (1, Ok(())));
    assert_eq!(pool.allocate(Kind::Leaf), pages[0]);
    pool.check(&pages).unwrap();
}
