//! What a counted tree costs: nanoseconds an operation, by key and by rank; bytes of memory a row.
//!
//!     CARGO_PROFILE_RELEASE_LTO=off cargo build --release --example counted_cost -p cairn-storage
//!     GLIBC_TUNABLES=glibc.malloc.hugetlb=1 taskset -c 1 target/release/examples/counted_cost [rows] [payload bytes]
//!
//! A row by key has a random head and a tail of 8 bytes, as a member of a sorted set has its score.

use cairn_storage::counted::{CountedTree, Cursor};
use cairn_storage::limits::PAGE_BYTES;
use cairn_storage::page::Key;
use cairn_storage::pool::Pool;
use std::hint::black_box;
use std::ops::ControlFlow;
use std::time::Instant;

const HERE: &str = "all pages are in memory";
const ROOM: &str = "the pool is large enough";

/// SplitMix64: the source of random order.
fn mix(seed: u64) -> u64 {
    let z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Runs something `count` times, each time with another number.
fn measure(what: &str, count: u64, mut run: impl FnMut(u64)) {
    let begin = Instant::now();
    (0..count).for_each(&mut run);
    println!("{what:<40} {:>9.1} ns", begin.elapsed().as_secs_f64() * 1e9 / count as f64);
}

/// The best of five times that: what disturbs a run only ever adds.
fn best(what: &str, count: u64, mut run: impl FnMut(u64)) {
    let times = (0..5).map(|_| {
        let begin = Instant::now();
        (0..count).for_each(&mut run);
        begin.elapsed().as_secs_f64()
    });
    println!("{what:<40} {:>9.1} ns", times.fold(f64::INFINITY, f64::min) * 1e9 / count as f64);
}

fn report(tree: &CountedTree, pool: &Pool) {
    let memory = tree.pages() * PAGE_BYTES as u64;
    println!(
        "    {} rows, {} levels, {} pages: {:.1} B of memory a row, {:.1} of them the row",
        tree.len(),
        tree.levels(),
        tree.pages(),
        memory as f64 / tree.len() as f64,
        tree.bytes() as f64 / tree.len() as f64,
    );
    let census = tree.check(pool).expect("the tree is sound");
    pool.check(&census.pages).expect("no page has leaked");
}

/// Reads a hundred rows from somewhere.
fn read(tree: &CountedTree, pool: &Pool, rank: u64, is_forward: bool) {
    let (mut left, mut sum) = (100, 0);
    let mut cursor = Cursor::new(rank);
    let visit = |key: Key<'_>, payload: &[u8]| {
        sum += key.head + payload.len() as u64;
        left -= 1;
        if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let result =
        if is_forward { tree.forward(pool, &mut cursor, visit) } else { tree.backward(pool, &mut cursor, visit) };
    result.expect(HERE);
    black_box(sum);
}

fn drop_in_slices(mut tree: CountedTree, pool: &mut Pool) {
    let begin = Instant::now();
    let mut detached = tree.detach();
    let at_once = begin.elapsed();
    let (mut slices, mut longest) = (0, 0.0_f64);
    loop {
        let begin = Instant::now();
        let is_done = detached.free_some(pool, 64, None).expect(HERE);
        longest = longest.max(begin.elapsed().as_secs_f64());
        slices += 1;
        if is_done {
            break;
        }
    }
    println!(
        "drop: {} ns at once; {slices} slices of 64 pages, the longest {:.0} us",
        at_once.as_nanos(),
        longest * 1e6
    );
}

fn put(tree: &mut CountedTree, pool: &mut Pool, head: u64, payload: &[u8]) {
    let tail = head.to_be_bytes();
    let key = Key::new(head, &tail);
    let path = tree.resolve(pool, key).expect(HERE);
    tree.insert(pool, &path, key, payload).expect(ROOM);
}

fn by_key(count: u64, payload: &[u8], pool: &mut Pool) {
    let samples = count.min(1_000_000);
    let mut tree = CountedTree::by_key();
    measure("by key: insert, ascending", count, |number| put(&mut tree, pool, number, payload));
    report(&tree, pool);
    drop_in_slices(tree, pool);
    let mut tree = CountedTree::by_key();
    measure("by key: insert, random", count, |number| put(&mut tree, pool, mix(number), payload));
    report(&tree, pool);
    let head = |number: u64| mix(mix(!number) % count);
    best("by key: find", samples, |number| {
        let tail = head(number).to_be_bytes();
        black_box(tree.find(pool, Key::new(head(number), &tail)).expect(HERE).expect("it was inserted"));
    });
    best("by key: rank of a key", samples, |number| {
        let tail = head(number).to_be_bytes();
        black_box(tree.rank(pool, Key::new(head(number), &tail)).expect(HERE));
    });
    reads(&tree, pool, samples);
    measure("by key: resolve and remove", samples / 4, |number| {
        let tail = mix(number).to_be_bytes();
        let path = tree.resolve(pool, Key::new(mix(number), &tail)).expect(HERE);
        tree.remove(pool, &path);
    });
    drop_in_slices(tree, pool);
}

fn reads(tree: &CountedTree, pool: &Pool, samples: u64) {
    let len = tree.len();
    best("at rank", samples, |number| {
        black_box(tree.at(pool, mix(number) % len, |_, payload| payload.len()).expect(HERE));
    });
    best("100 rows from a rank, forward", samples / 10, |number| read(tree, pool, mix(number) % len, true));
    best("100 rows from a rank, backward", samples / 10, |number| read(tree, pool, mix(number) % len, false));
}

fn by_rank(count: u64, payload: &[u8], pool: &mut Pool) {
    let samples = count.min(1_000_000);
    let mut tree = CountedTree::by_rank();
    measure("by rank: insert at the end", count, |number| {
        let path = tree.resolve_rank(pool, number).expect(HERE);
        tree.insert_at(pool, &path, payload).expect(ROOM);
    });
    report(&tree, pool);
    measure("by rank: insert at the front", samples, |_| {
        let path = tree.resolve_rank(pool, 0).expect(HERE);
        tree.insert_at(pool, &path, payload).expect(ROOM);
    });
    measure("by rank: remove at the front", samples, |_| {
        let path = tree.resolve_rank(pool, 0).expect(HERE);
        tree.remove(pool, &path);
    });
    reads(&tree, pool, samples);
    let middle = tree.len() / 2;
    measure("by rank: insert in the middle", samples, |number| {
        let path = tree.resolve_rank(pool, middle + number / 2).expect(HERE);
        tree.insert_at(pool, &path, payload).expect(ROOM);
    });
    measure("by rank: insert anywhere", samples, |number| {
        let path = tree.resolve_rank(pool, mix(number) % tree.len()).expect(HERE);
        tree.insert_at(pool, &path, payload).expect(ROOM);
    });
    report(&tree, pool);
    let rows = tree.len() / 2;
    let begin = Instant::now();
    let (mut left, mut slices) = (rows, 0);
    while left > 0 {
        left -= tree
            .remove_range(pool, rows / 2, left, |_, payload| {
                black_box(payload);
            })
            .expect(HERE);
        slices += 1;
    }
    let nanos = begin.elapsed().as_nanos() as f64;
    println!(
        "by rank: range removal, {slices} slices of {:.0} ns: {:.1} ns a row",
        nanos / f64::from(slices),
        nanos / rows as f64
    );
    report(&tree, pool);
    drop_in_slices(tree, pool);
}

fn main() {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse().expect("a number"));
    let count = arguments.next().unwrap_or(1_000_000);
    let payload = vec![0x55; arguments.next().unwrap_or(20).max(1)];
    let mut pool = Pool::new(1 << 22, Box::new(|_| {}));
    by_key(count as u64, &payload, &mut pool);
    by_rank(count as u64, &payload, &mut pool);
    assert_eq!(pool.pages(), 0);
}
