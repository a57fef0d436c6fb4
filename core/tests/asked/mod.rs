//! What one connection may have under way at another shard: beyond it the next command waits, and nothing is lost or out of order.

use crate::driver::{World, show};
use cairn_core::limits::{ASKED_BYTES_MAX, HOLES_MAX};

/// A key of shard 1, where client 1 is not.
const KEYS: &str = "{a}";

fn set(number: usize, value: &[u8]) -> Vec<u8> {
    show::request(&[b"SET".to_vec(), format!("{KEYS}{number:06}").into_bytes(), value.to_vec()])
}

/// Sends requests that the other shard does not answer before its disk goes on. How many it has been asked, and that all are
/// answered then.
fn asked(requests: &[Vec<u8>]) -> u64 {
    let mut world = World::new(2, &[]);
    world.is_disk_held = true;
    for request in requests {
        world.send(1, request);
    }
    let asked = world.rows(1);
    assert_eq!((world.rows(0), world.receive(1)), (0, (Vec::new(), false)));
    world.is_disk_held = false;
    world.release_disks();
    assert_eq!(world.receive(1).0, b"+OK\r\n".repeat(requests.len()), "each has its reply");
    assert_eq!(world.rows(1), requests.len() as u64);
    asked
}

#[test]
fn commands_under_way_are_bounded_in_number() {
    for (requests, expect) in
        [HOLES_MAX - 1, HOLES_MAX, HOLES_MAX + 1, HOLES_MAX + 2].map(|count| (count, count.min(HOLES_MAX + 1)))
    {
        let requests: Vec<_> = (0..requests).map(|number| set(number, b"v")).collect();
        // The bound is one above which none begins.
        assert_eq!(asked(&requests), expect as u64, "of {}", requests.len());
    }
}

#[test]
fn commands_under_way_are_bounded_in_bytes() {
    let fixed = "SET".len() + KEYS.len() + 6;
    for (first, expect) in [(ASKED_BYTES_MAX - 1, 2), (ASKED_BYTES_MAX, 2), (ASKED_BYTES_MAX + 1, 1)] {
        let requests = [set(0, &vec![b'v'; first - fixed]), set(1, b"v"), set(2, b"v")];
        let second = first + fixed + 1;
        let expect = if second > ASKED_BYTES_MAX { expect } else { 3 };
        assert_eq!(asked(&requests), expect, "after {first} bytes");
    }
}
