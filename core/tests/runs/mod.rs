//! Commands that are done together, and those that are not: clients see no difference.

use crate::driver::{World, show};
use cairn_core::limits::JOINED_BYTES_MAX;

/// What a client receives that sends these requests in one piece.
fn ask(world: &mut World, requests: &[Vec<Vec<u8>>]) -> Vec<u8> {
    let bytes: Vec<u8> = requests.iter().flat_map(|words| show::request(words)).collect();
    world.send(1, &bytes);
    world.receive(1).0
}

fn words(words: &[&[u8]]) -> Vec<Vec<u8>> {
    words.iter().map(|word| word.to_vec()).collect()
}

#[test]
fn what_is_taken_together_is_bounded() {
    const HALF: usize = JOINED_BYTES_MAX / 2;
    for (more, joined) in [(0, 2), (1, 2), (2, 0)] {
        let (first, second) = (vec![b'a'; HALF - 1], vec![b'b'; HALF + more]);
        for (put, take) in [("RPUSH", "LPOP"), ("SADD", "SPOP"), ("ZADD", "ZPOPMIN")] {
            let mut world = World::new(1, &[]);
            for (score, value) in [(&b"1"[..], &first), (b"2", &second)] {
                let score = (put == "ZADD").then_some(score);
                let request: Vec<&[u8]> = [put.as_bytes(), b"k"].into_iter().chain(score).chain([&value[..]]).collect();
                assert!(ask(&mut world, &[words(&request)]).starts_with(b":"));
            }
            let before = world.joined(0);
            let taken = ask(&mut world, &[words(&[take.as_bytes(), b"k"]), words(&[take.as_bytes(), b"k"])]);
            for value in [&first, &second] {
                let found = taken.windows(value.len()).filter(|window| window == value).count();
                assert_eq!(found, 1, "{take} {more}");
            }
            assert_eq!(world.joined(0) - before, joined, "{take} {more}");
            assert_eq!(ask(&mut world, &[words(&[b"EXISTS", b"k"])]), b":0\r\n");
        }
    }
}
