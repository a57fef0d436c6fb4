//! What the tree costs: nanoseconds a find, an insert, a replacement; bytes of memory a row.
//!
//!     CARGO_PROFILE_RELEASE_LTO=off cargo build --release --example tree_cost -p cairn-storage
//!     GLIBC_TUNABLES=glibc.malloc.hugetlb=1 taskset -c 1 target/release/examples/tree_cost [rows] [payload bytes]
//!
//! The tunable has the C library advise huge pages, as the server's driver does for the pool's chunks; without
//! it a find also waits for the address translation.

use cairn_storage::limits::PAGE_BYTES;
use cairn_storage::page::Key;
use cairn_storage::pool::Pool;
use cairn_storage::tree::{Tree, row_bytes};
use std::hint::black_box;
use std::time::Instant;

struct Row {
    head: u64,
    tail: [u8; 16],
}

impl Row {
    fn key(&self) -> Key<'_> {
        Key::new(self.head, &self.tail)
    }
}

/// SplitMix64: the hash of a key, and the source of random order.
fn mix(seed: u64) -> u64 {
    let z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Keys in random order, laid out in the order of their use, so that only the tree's memory is waited for.
fn rows(count: usize, seed: u64) -> Vec<Row> {
    let mut rows: Vec<Row> = (0..count)
        .map(|number| {
            let mut tail = [0; 16];
            tail.copy_from_slice(format!("key:{number:012}").as_bytes());
            Row { head: mix(number as u64), tail }
        })
        .collect();
    for index in (1..count).rev() {
        let other = mix(seed ^ index as u64) as usize % (index + 1);
        rows.swap(index, other);
    }
    rows
}

fn report(what: &str, count: usize, seconds: f64) {
    println!("{what:<44} {:>8.1} ns", seconds * 1e9 / count as f64);
}

/// The best of five: what disturbs a run only ever adds.
fn measure(what: &str, count: usize, mut run: impl FnMut()) {
    let times = (0..5).map(|_| {
        let begin = Instant::now();
        run();
        begin.elapsed().as_secs_f64()
    });
    report(what, count, times.fold(f64::INFINITY, f64::min));
}

fn main() {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse().expect("a number"));
    let count: usize = arguments.next().unwrap_or(1_000_000);
    let payload = vec![0x55; arguments.next().unwrap_or(100)];
    let mut pool = Pool::new(1 << 22, Box::new(|_| {}));
    let mut tree = Tree::new();

    let order = rows(count, 1);
    let begin = Instant::now();
    for row in &order {
        let path = tree.resolve(&pool, row.key()).expect("all pages are in memory");
        tree.insert(&mut pool, &path, row.key(), &payload).expect("the pool is large enough");
    }
    report("insert, random order", count, begin.elapsed().as_secs_f64());
    let memory = tree.pages() * PAGE_BYTES as u64;
    println!(
        "page {PAGE_BYTES} B, {} levels, {} pages: {:.1} B of memory a row of {} B: {:.1}% full",
        tree.levels(),
        tree.pages(),
        memory as f64 / count as f64,
        row_bytes(16, payload.len()),
        100.0 * tree.bytes() as f64 / memory as f64
    );

    let order = rows(count, 2);
    let mut reply = vec![0; payload.len()];
    measure("find and copy the payload", count, || {
        for row in &order {
            let found = tree.find(&pool, row.key()).expect("all pages are in memory").expect("it was inserted");
            reply.copy_from_slice(found);
            black_box(&reply);
        }
    });
    measure("find of an absent key", count, || {
        for row in &order {
            let found = tree.find(&pool, Key::new(row.head ^ 0x5555, &row.tail)).expect("all pages are in memory");
            black_box(found.is_some());
        }
    });
    for batch in [4, 16, 64] {
        let mut heads = Vec::with_capacity(batch);
        measure(&format!("touch of {batch}"), count, || {
            for rows in order.chunks(batch) {
                heads.clear();
                heads.extend(rows.iter().map(|row| row.head));
                tree.touch(&pool, &heads, |_| unreachable!());
            }
        });
        measure(&format!("touch of {batch}, find and copy"), count, || {
            for rows in order.chunks(batch) {
                heads.clear();
                heads.extend(rows.iter().map(|row| row.head));
                tree.touch(&pool, &heads, |_| unreachable!());
                for row in rows {
                    let found = tree.find(&pool, row.key()).expect("all pages are in memory").expect("it is there");
                    reply.copy_from_slice(found);
                    black_box(&reply);
                }
            }
        });
    }
    measure("resolve, replace with the same length", count, || {
        for row in &order {
            let path = tree.resolve(&pool, row.key()).expect("all pages are in memory");
            tree.replace(&mut pool, &path, &payload).expect("nothing grows");
        }
    });
    let mut heads = Vec::with_capacity(64);
    measure("touch of 64, resolve, replace, same length", count, || {
        for rows in order.chunks(64) {
            heads.clear();
            heads.extend(rows.iter().map(|row| row.head));
            tree.touch(&pool, &heads, |_| unreachable!());
            for row in rows {
                let path = tree.resolve(&pool, row.key()).expect("all pages are in memory");
                tree.replace(&mut pool, &path, &payload).expect("nothing grows");
            }
        }
    });
    measure("scan", count, || {
        let mut sum = 0;
        let visit = |key: Key<'_>, payload: &[u8]| {
            sum += key.head + u64::from(payload[0]);
            std::ops::ControlFlow::Continue(())
        };
        tree.scan(&pool, Key::MIN, visit).expect("all pages are in memory");
        black_box(sum);
    });

    let full = |tree: &Tree| {
        let pages = (tree.pages() * PAGE_BYTES as u64) as f64;
        println!("{:<44} {:>8.1} B of memory a row", "", pages / tree.len() as f64);
    };
    let begin = Instant::now();
    let (gone, left) = order.split_at(count / 2);
    for row in gone {
        let path = tree.resolve(&pool, row.key()).expect("all pages are in memory");
        tree.remove(&mut pool, &path);
    }
    report("remove of half of the rows", gone.len(), begin.elapsed().as_secs_f64());
    full(&tree);
    let begin = Instant::now();
    for (come, go) in gone.iter().zip(left.iter()) {
        let path = tree.resolve(&pool, come.key()).expect("all pages are in memory");
        tree.insert(&mut pool, &path, come.key(), &payload).expect("the pool is large enough");
        let path = tree.resolve(&pool, go.key()).expect("all pages are in memory");
        tree.remove(&mut pool, &path);
    }
    report("insert of one row and remove of another", gone.len(), begin.elapsed().as_secs_f64());
    full(&tree);
    let census = tree.check(&pool).expect("the tree is sound");
    pool.check(&census.pages).expect("no page has leaked");
    println!("checked: {} rows in {} leaves", census.rows, census.leaves);
}
