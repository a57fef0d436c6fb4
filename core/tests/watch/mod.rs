//! WATCH of as many keys as a connection may watch: more of them than a script can name.

use crate::driver::{World, show};
use cairn_core::limits::WATCHED_KEYS_MAX;
use std::ops::Range;

/// Watches these numbers, each a key of its own.
fn watch(world: &mut World, numbers: Range<usize>) -> String {
    let numbers = numbers.map(|number| number.to_string().into_bytes());
    let words: Vec<Vec<u8>> = [b"WATCH".to_vec()].into_iter().chain(numbers).collect();
    world.send(1, &show::request(&words));
    String::from_utf8(world.receive(1).0).unwrap()
}

#[test]
fn a_connection_watches_so_many_keys_and_no_more() {
    for shards in [1, 3] {
        let mut world = World::new(shards, &[]);
        let refused = format!("-ERR a connection watches {WATCHED_KEYS_MAX} keys at most\r\n");
        assert_eq!(watch(&mut world, 0..WATCHED_KEYS_MAX + 1), refused);
        assert_eq!(watch(&mut world, 0..WATCHED_KEYS_MAX - 1), "+OK\r\n");
        assert_eq!(watch(&mut world, 0..WATCHED_KEYS_MAX), "+OK\r\n", "all but one are known");
        assert_eq!(watch(&mut world, WATCHED_KEYS_MAX..WATCHED_KEYS_MAX + 1), refused);
        assert_eq!(watch(&mut world, 7..8), "+OK\r\n", "it is watched already");
        world.send(2, &show::request(&show::words("SET 7 changed")));
        world.send(1, b"MULTI\r\nSET 8 mine\r\nEXEC\r\n");
        assert!(world.receive(1).0.ends_with(b"+OK\r\n+QUEUED\r\n*-1\r\n"));
        assert_eq!(watch(&mut world, 0..WATCHED_KEYS_MAX), "+OK\r\n", "EXEC has let go of all");
    }
}
