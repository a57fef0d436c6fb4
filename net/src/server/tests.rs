//! Whole servers on real sockets and a real disk.

use super::{ServerConfig, ServerHandle, Stopped, addresses, choose_cpus, start};
use crate::error::StartError;
use crate::mesh::Letter;
use crate::report::Report;
use cairn_core::settings::{Settings, Source};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

/// Data under `target`, since temporary directories are often in memory and know no `O_DIRECT`.
fn tempdir() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap()
}

fn config(dir: &Path, pairs: &[(&str, &str)]) -> ServerConfig {
    let mut settings = Settings::default();
    let mut set = |name: &str, value: &str| {
        settings.set(Source::Flag, name, &[value]).unwrap();
    };
    set("dir", dir.to_str().unwrap());
    set("bind", "127.0.0.1");
    set("port", "0");
    set("cpus", "0");
    set("memory", "256mb");
    for (name, value) in pairs {
        set(name, value);
    }
    ServerConfig { segment_bytes: 1 << 20, ..ServerConfig::new(settings) }
}

fn stop(server: ServerHandle) {
    assert_eq!(server.stop(Duration::from_secs(20), true), Stopped { is_clean: true });
}

struct Client<S: Read + Write>(BufReader<S>);

fn connect(addr: SocketAddr) -> Client<TcpStream> {
    let stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    Client(BufReader::new(stream))
}

impl<S: Read + Write> Client<S> {
    fn send(&mut self, line: &str) {
        self.0.get_mut().write_all(format!("{line}\r\n").as_bytes()).unwrap();
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// A command in one line, and its reply: a line, or the text of a bulk string.
    fn ask(&mut self, line: &str) -> String {
        self.send(line);
        let first = self.line();
        if first.starts_with('$') && first != "$-1" { self.line() } else { first }
    }
}

#[test]
fn what_was_written_is_there_after_a_restart() {
    let dir = tempdir();
    let server = start(config(dir.path(), &[])).unwrap();
    assert!(server.is_new());
    let addr = server.bound()[0];
    let mut client = connect(addr);
    assert_eq!(client.ask("EXISTS nobody"), ":0");
    // More than one segment of 1 MiB.
    let value = "v".repeat(4000);
    for batch in 0..30 {
        for key in 0..20 {
            client.send(&format!("SET key:{batch}:{key} {value}{key}"));
        }
        for _ in 0..20 {
            assert_eq!(client.line(), "+OK");
        }
    }
    assert_eq!(client.ask("DBSIZE"), ":600");
    stop(server);
    let server = start(config(dir.path(), &[])).unwrap();
    assert!(!server.is_new());
    let mut client = connect(server.bound()[0]);
    assert_eq!(client.ask("DBSIZE"), ":600");
    assert_eq!(client.ask("GET key:29:19"), format!("{value}19"));
    assert_eq!(client.ask("DEL key:0:0"), ":1");
    stop(server);
}

#[test]
fn a_server_that_is_only_dropped_loses_nothing_acknowledged() {
    let dir = tempdir();
    let server = start(config(dir.path(), &[])).unwrap();
    let mut client = connect(server.bound()[0]);
    assert_eq!(client.ask("SET k v"), "+OK");
    drop(server);
    let server = start(config(dir.path(), &[])).unwrap();
    assert_eq!(connect(server.bound()[0]).ask("GET k"), "v");
    stop(server);
}

#[test]
fn damage_to_the_last_record_shows_after_an_orderly_stop() {
    let dir = tempdir();
    let server = start(config(dir.path(), &[])).unwrap();
    assert_eq!(connect(server.bound()[0]).ask("SET k acknowledged"), "+OK");
    stop(server);
    let segment = dir.path().join("shard-0000/log/00000000000000000000.seg");
    let mut bytes = std::fs::read(&segment).unwrap();
    let at = bytes.windows(12).position(|window| window == b"acknowledged").unwrap();
    bytes[at] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let found = start(config(dir.path(), &[])).map(drop);
    let Err(StartError::Log { file, .. }) = found else { panic!("not refused: {found:?}") };
    assert_eq!(file, segment);
}

#[test]
fn shards_on_several_workers_answer_as_one() {
    for (cpus, shards) in [("0", "3"), ("0-1", "2"), ("0-1", "5")] {
        let dir = tempdir();
        let server = start(config(dir.path(), &[("cpus", cpus), ("shards", shards)])).unwrap();
        let addr = server.bound()[0];
        let mut clients: Vec<_> = (0..8).map(|_| connect(addr)).collect();
        for round in 0..100 {
            for (number, client) in clients.iter_mut().enumerate() {
                client.send(&format!("SET {number}:{round} {round}"));
                client.send(&format!("GET {number}:{round}"));
            }
            for client in &mut clients {
                assert_eq!(client.line(), "+OK");
                assert_eq!(
                    (client.line(), client.line()),
                    (format!("${}", round.to_string().len()), round.to_string())
                );
            }
        }
        assert_eq!(clients[0].ask("DBSIZE"), ":800", "{cpus} {shards}");
        stop(server);
        let server = start(config(dir.path(), &[("cpus", "0")])).unwrap();
        assert_eq!(connect(server.bound()[0]).ask("DBSIZE"), ":800", "reopened {cpus} {shards}");
        stop(server);
        let other = if shards == "2" { "3" } else { "2" };
        let Err(error) = start(config(dir.path(), &[("shards", other)])) else { panic!("another number of shards") };
        assert!(matches!(error, StartError::ShardsDiffer { .. }), "{error}");
    }
}

#[test]
fn a_port_or_a_directory_in_use_is_named() {
    let (dir, other) = (tempdir(), tempdir());
    let server = start(config(dir.path(), &[])).unwrap();
    let port = server.bound()[0].port().to_string();
    let Err(error) = start(config(dir.path(), &[])) else { panic!("two servers in one directory") };
    assert!(error.to_string().contains(&format!("in use by process {}", std::process::id())), "{error}");
    let Err(error) = start(config(other.path(), &[("port", &port)])) else { panic!("two servers on one port") };
    assert!(error.to_string().contains(&format!("port {port} is already in use")), "{error}");
    stop(server);
}

#[test]
fn one_client_too_many_is_told_so() {
    let dir = tempdir();
    let server = start(config(dir.path(), &[("maxclients", "2")])).unwrap();
    let addr = server.bound()[0];
    let (mut first, mut second) = (connect(addr), connect(addr));
    assert_eq!((first.ask("DBSIZE"), second.ask("DBSIZE")), (":0".into(), ":0".into()));
    let mut third = connect(addr);
    assert_eq!(third.line(), "-ERR max number of clients reached");
    assert_eq!(third.line(), "");
    drop(second);
    while server.clients() > 1 {
        assert_eq!(first.ask("EXISTS nobody"), ":0");
    }
    assert_eq!(connect(addr).ask("EXISTS nobody"), ":0");
    stop(server);
}

#[test]
fn a_unix_socket_is_served_by_all_workers_and_removed() {
    let dir = tempdir();
    let path = dir.path().join("socket");
    let pairs = [("unixsocket", path.to_str().unwrap()), ("cpus", "0-1"), ("unixsocketperm", "700")];
    let server = start(config(&dir.path().join("data"), &pairs)).unwrap();
    for _ in 0..20 {
        let mut client = Client(BufReader::new(UnixStream::connect(&path).unwrap()));
        assert_eq!(client.ask("EXISTS nobody"), ":0");
    }
    stop(server);
    assert!(!path.exists());
}

#[test]
fn a_value_of_many_buffers_comes_back_whole() {
    let dir = tempdir();
    let server = start(config(dir.path(), &[])).unwrap();
    let mut client = connect(server.bound()[0]);
    let value: Vec<u8> = (0..9_000_000_u32).map(|at| (at % 253) as u8).collect();
    let head = format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${}\r\n", value.len());
    let stream = client.0.get_mut();
    stream.write_all(&[head.as_bytes(), &value, b"\r\n"].concat()).unwrap();
    assert_eq!(client.line(), "+OK");
    client.send("GET k");
    assert_eq!(client.line(), format!("${}", value.len()));
    let mut back = vec![0; value.len() + 2];
    client.0.read_exact(&mut back).unwrap();
    assert!(back[..value.len()] == value);
    stop(server);
}

#[test]
fn an_idle_server_sleeps() {
    let dir = tempdir();
    let server = start(config(dir.path(), &[])).unwrap();
    let mut client = connect(server.bound()[0]);
    assert_eq!(client.ask("SET a b"), "+OK");
    let mut server = server;
    let reports = server.take_reports().unwrap();
    let mut turns = Vec::new();
    while turns.len() < 3 {
        if let crate::report::Report::Worker(stats) = reports.recv_timeout(Duration::from_secs(20)).unwrap() {
            turns.push(stats.turns);
        }
    }
    // Twenty ticks a second, and some letters.
    assert!(turns[2] - turns[1] < 100, "{turns:?}");
    stop(server);
}

#[test]
fn addresses_and_cpus_are_read_as_operators_write_them() {
    let words = ["*", "-::1", "127.0.0.2"].map(str::to_owned);
    let wanted = addresses(&words).unwrap();
    assert_eq!(wanted.iter().map(|wanted| wanted.is_optional).collect::<Vec<_>>(), [false, true, false]);
    assert_eq!(wanted[0].ip.to_string(), "0.0.0.0");
    assert!(addresses(&["example.org".to_owned()]).is_err());
    assert_eq!(choose_cpus("0").unwrap(), [0]);
    assert!(matches!(choose_cpus("0,99999"), Err(StartError::NoSuchCpu { cpu: 99999 })));
    assert!(matches!(choose_cpus("zero"), Err(StartError::CpuList { .. })));
    assert!(matches!(choose_cpus(","), Err(StartError::CpuList { .. })));
}

/// What a client asks again and again while its connection is sent about, `rounds` times.
fn count_up(addr: SocketAddr, key: usize, rounds: usize) {
    let mut client = connect(addr);
    let id = client.ask("CLIENT ID");
    let value = "v".repeat(5000);
    for round in 0..rounds {
        for _ in 0..10 {
            client.send(&format!("INCR counter:{key}"));
            client.send(&format!("SET value:{key} {value}"));
        }
        client.send("MULTI\r\nINCR first\r\nINCR second\r\nEXEC");
        for at in 1..=10 {
            assert_eq!((client.line(), client.line()), (format!(":{}", round * 10 + at), "+OK".into()));
        }
        let reply: Vec<String> = (0..6).map(|_| client.line()).collect();
        assert_eq!((&reply[..4], &reply[4]), (&["+OK", "+QUEUED", "+QUEUED", "*2"].map(String::from)[..], &reply[5]));
    }
    assert_eq!(client.ask("CLIENT ID"), id);
}

#[test]
fn connections_go_from_worker_to_worker_and_lose_nothing() {
    let dir = tempdir();
    let mut server = start(config(dir.path(), &[("cpus", "0-1"), ("shards", "2")])).unwrap();
    let (addr, reports) = (server.bound()[0], server.take_reports().unwrap());
    let mut idle = connect(addr);
    assert_eq!(idle.ask("PING"), "+PONG");
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..8).map(|key| scope.spawn(move || count_up(addr, key, 200))).collect();
        while !clients.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            for (from, to) in [(0, 1), (1, 0)] {
                server.inboxes[from].post(Letter::Share { to, permille: 400 });
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    assert_eq!(idle.ask("GET counter:7"), "2000");
    // Whoever is cut off is, wherever the connection is just then.
    for _ in 0..50 {
        let mut victim = connect(addr);
        let id = victim.ask("CLIENT ID");
        server.inboxes[0].post(Letter::Share { to: 1, permille: 999 });
        server.inboxes[1].post(Letter::Share { to: 0, permille: 999 });
        let killed = idle.ask(&format!("CLIENT KILL ID {}", &id[1..]));
        assert!(killed == ":1" || killed == ":2", "{killed}");
        assert_eq!(victim.line(), "");
    }
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while server.clients() != 1 && std::time::Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(server.clients(), 1, "each is counted once");
    std::thread::sleep(Duration::from_millis(1100));
    stop(server);
    let mut taken = [0; 2];
    for report in reports.try_iter() {
        if let Report::Worker(stats) = report {
            taken[usize::from(stats.worker)] = stats.taken;
        }
    }
    assert!(taken.iter().all(|taken| *taken > 10), "{taken:?}");
}
