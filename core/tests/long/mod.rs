//! Values about as long as those that are kept and sent without a copy: clients see no difference.

use crate::driver::{World, show};
use cairn_core::limits::LONG_VALUE_BYTES_MIN;

struct Client(World);

impl Client {
    fn ask(&mut self, words: &[&[u8]]) -> Vec<u8> {
        let words: Vec<Vec<u8>> = words.iter().map(|word| word.to_vec()).collect();
        self.0.send(1, &show::request(&words));
        self.0.receive(1).0
    }
}

fn bulk(value: &[u8]) -> Vec<u8> {
    [format!("${}\r\n", value.len()).as_bytes(), value, b"\r\n"].concat()
}

/// Bytes that differ from place to place.
fn value(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8).collect()
}

#[test]
fn values_around_the_limit_are_what_was_set() {
    const LIMIT: usize = LONG_VALUE_BYTES_MIN;
    for (shards, len) in [LIMIT - 1, LIMIT, LIMIT + 1].into_iter().flat_map(|len| [(1, len), (2, len)]) {
        let mut client = Client(World::new(shards, &[]));
        let mut all = value(len);
        assert_eq!(client.ask(&[b"SET", b"a", &all]), b"+OK\r\n");
        assert_eq!(client.ask(&[b"GET", b"a"]), bulk(&all));
        assert_eq!(client.ask(&[b"SET", b"a", &all, b"GET"]), bulk(&all));
        assert_eq!(client.ask(&[b"GETRANGE", b"a", b"1", b"-1"]), bulk(&all[1..]));
        assert_eq!(client.ask(&[b"COPY", b"a", b"b"]), b":1\r\n");
        assert_eq!(client.ask(&[b"APPEND", b"a", b"+"]), format!(":{}\r\n", len + 1).as_bytes());
        let both = [&b"*2\r\n"[..], &bulk(&all), &bulk(&[&all[..], b"+"].concat())].concat();
        assert_eq!(client.ask(&[b"MGET", b"b", b"a"]), both);
        // A long piece behind a short value, and into the middle of a long one.
        assert_eq!(client.ask(&[b"SET", b"c", b"-"]), b"+OK\r\n");
        assert_eq!(client.ask(&[b"APPEND", b"c", &all]), format!(":{}\r\n", len + 1).as_bytes());
        assert_eq!(client.ask(&[b"SETRANGE", b"b", b"9", &all]), format!(":{}\r\n", len + 9).as_bytes());
        client.0.crash();
        assert_eq!(client.ask(&[b"GETDEL", b"c"]), bulk(&[b"-", &all[..]].concat()));
        assert_eq!(client.ask(&[b"GET", b"b"]), bulk(&[&all[..9], &all[..]].concat()));
        all.push(b'+');
        assert_eq!(client.ask(&[b"GETDEL", b"a"]), bulk(&all));
        assert_eq!(client.ask(&[b"MGET", b"a", b"c"]), b"*2\r\n$-1\r\n$-1\r\n");
    }
}
