//! Bad input and too much of it: who sends it is cut off, nobody else is.

use crate::server::{Recipe, Server, exchange, scratch};

/// What the server answers before it closes.
fn last_words(server: &Server, request: &[u8]) -> String {
    exchange(&mut server.socket(), request, b"")
}

#[test]
fn malformed_requests_close_their_own_connection_only() {
    let dir = scratch();
    let server = Server::start(dir.path());
    let mut witness = server.socket();
    let cases: [(&[u8], &str); 6] = [
        (b"*x\r\n", "-ERR Protocol error: invalid multibulk length\r\n"),
        (b"*1048577\r\n", "-ERR Protocol error: invalid multibulk length\r\n"),
        (b"*1\r\n+PING\r\n", "-ERR Protocol error: expected '$', got '+'\r\n"),
        (b"*1\r\n$-5\r\n", "-ERR Protocol error: invalid bulk length\r\n"),
        (b"*2\r\n$3\r\nGET\r\n$536870913\r\n", "-ERR Protocol error: invalid bulk length\r\n"),
        (b"SET k \"v\r\n", "-ERR Protocol error: unbalanced quotes in request\r\n"),
    ];
    for (request, expect) in cases {
        assert_eq!(last_words(&server, request), expect, "{}", String::from_utf8_lossy(request));
        assert_eq!(exchange(&mut witness, b"PING\r\n", b"\r\n"), "+PONG\r\n");
    }
    let long = vec![b'x'; 70 * 1024];
    assert_eq!(last_words(&server, &long), "-ERR Protocol error: too big inline request\r\n");
    assert_eq!(last_words(&server, b"POST / HTTP/1.1\r\nHost: x\r\n\r\n"), "");
    assert_eq!(exchange(&mut witness, b"PING\r\n", b"\r\n"), "+PONG\r\n");
}

#[test]
fn strangers_get_little_room() {
    let dir = scratch();
    let server = Recipe::new(dir.path()).with(&["--requirepass", "secret"]).start();
    let said = last_words(&server, b"*11\r\n");
    assert_eq!(said, "-ERR Protocol error: unauthenticated multibulk length\r\n");
    let said = last_words(&server, b"*2\r\n$4\r\nAUTH\r\n$16385\r\n");
    assert_eq!(said, "-ERR Protocol error: unauthenticated bulk length\r\n");
    let mut socket = server.socket();
    assert_eq!(exchange(&mut socket, b"AUTH secret\r\n", b"\r\n"), "+OK\r\n");
    let value = "v".repeat(20_000);
    let request = format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${}\r\n{value}\r\n", value.len());
    assert_eq!(exchange(&mut socket, request.as_bytes(), b"\r\n"), "+OK\r\n");
}

#[test]
fn there_are_only_so_many_clients() {
    let dir = scratch();
    let server = Recipe::new(dir.path()).with(&["--maxclients", "3"]).start();
    let mut inside: Vec<_> = (0..3).map(|_| server.socket()).collect();
    for socket in &mut inside {
        assert_eq!(exchange(socket, b"PING\r\n", b"\r\n"), "+PONG\r\n");
    }
    assert_eq!(last_words(&server, b""), "-ERR max number of clients reached\r\n");
    drop(inside.pop());
    crate::server::until("a place is free", || last_words_start(&server) == "+PONG\r\n");
}

fn last_words_start(server: &Server) -> String {
    exchange(&mut server.socket(), b"PING\r\n", b"\r\n")
}

#[test]
fn a_value_of_many_megabytes_goes_in_and_out() {
    let dir = scratch();
    let server = Server::start(dir.path());
    let mut client = server.client();
    let value: Vec<u8> = (0..8_000_000u32).map(|n| (n.wrapping_mul(31) >> 5) as u8).collect();
    let _: () = redis::cmd("SET").arg("k").arg(&value).query(&mut client).unwrap();
    let found: Vec<u8> = redis::cmd("GET").arg("k").query(&mut client).unwrap();
    assert!(found == value);
}

#[test]
fn a_value_may_be_larger_than_memory() {
    let dir = scratch();
    let recipe = Recipe::new(dir.path()).with(&["--memory", "8mb", "--shards", "1"]);
    let mut server = recipe.start();
    let mut client = server.client();
    let value = |key: usize| vec![b'a' + key as u8; 30 << 20];
    for key in 0..3 {
        let _: () = redis::cmd("SET").arg(key).arg(value(key)).query(&mut client).unwrap();
    }
    // Values that are not in memory any more are read, others leave for them.
    for key in (0..3).rev() {
        assert!(redis::cmd("GET").arg(key).query::<Vec<u8>>(&mut client).unwrap() == value(key));
    }
    server.kill();
    let server = recipe.start();
    for key in 0..3 {
        assert!(redis::cmd("GET").arg(key).query::<Vec<u8>>(&mut server.client()).unwrap() == value(key));
    }
}

#[test]
fn who_asks_faster_than_it_reads_gets_it_all() {
    use std::io::{Read, Write};
    let dir = scratch();
    let arguments = ["--client-output-buffer-limit", "normal", "8mb", "0", "0"];
    let server = Recipe::new(dir.path()).with(&arguments).start();
    let mut client = server.client();
    let _: () = redis::cmd("SET").arg("k").arg(vec![b'v'; 100_000]).query(&mut client).unwrap();
    let mut socket = server.socket();
    socket.write_all("GET k\r\n".repeat(500).as_bytes()).unwrap();
    let _: () = redis::cmd("PING").query(&mut client).unwrap();
    let mut replies = vec![0; 500 * (100_000 + "$100000\r\n\r\n".len())];
    socket.read_exact(&mut replies).unwrap();
    assert_eq!(replies.iter().filter(|byte| **byte == b'v').count(), 500 * 100_000);
    assert_eq!(exchange(&mut socket, b"PING\r\n", b"\r\n"), "+PONG\r\n");
}

#[test]
fn a_reader_that_does_not_read_is_cut_off() {
    use std::io::Write;
    let dir = scratch();
    let arguments = ["--client-output-buffer-limit", "normal", "1mb", "0", "0"];
    let server = Recipe::new(dir.path()).with(&arguments).start();
    let mut client = server.client();
    let _: () = redis::cmd("SET").arg("k").arg(vec![b'v'; 600_000]).query(&mut client).unwrap();
    let mut lazy = server.socket();
    lazy.set_write_timeout(Some(std::time::Duration::from_millis(200))).unwrap();
    let request = "GET k\r\n".repeat(1000);
    crate::server::until("the reader is cut off or held back", || {
        // Either its replies exceed the limit, or the server stops reading from it: both bound the memory.
        lazy.write_all(request.as_bytes()).is_err()
    });
    let info: String = redis::cmd("INFO").arg("memory").query(&mut client).unwrap();
    let used = info.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap().trim().parse::<u64>().unwrap();
    assert!(used < 256 << 20, "{used} bytes in use");
}
