//! How the server starts, what it says then, and how it ends.

use crate::server::{Recipe, Server, exchange, free_port, run, scratch, until};
use rustix::process::Signal;
use std::net::TcpListener;

#[test]
fn the_first_lines_say_what_runs() {
    let dir = scratch();
    let server = Server::start(dir.path());
    let log = server.log();
    let port = format!(":{}", server.port);
    for part in ["Server initialized", "Ready to accept connections", &port, "1 shard", "data", "/metrics"] {
        assert!(log.contains(part), "{part}: {log}");
    }
    let first = log.lines().next().unwrap();
    let (process, rest) = first.split_once(" ").unwrap();
    assert_eq!(process, format!("{}:M", server.child.id()), "{log}");
    assert!(rest.contains(" * ") || rest.contains(" # "), "{first}");
}

#[test]
fn a_port_in_use_is_named() {
    let dir = scratch();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut recipe = Recipe::new(dir.path());
    recipe.port = taken.local_addr().unwrap().port();
    let said = recipe.refused();
    assert!(said.contains(&recipe.port.to_string()) && said.contains("in use"), "{said}");
}

#[test]
fn a_directory_in_use_is_named_with_its_user() {
    let dir = scratch();
    let first = Server::start(dir.path());
    let said = Recipe::new(dir.path()).refused();
    assert!(said.contains("data") && said.contains(&first.child.id().to_string()), "{said}");
    let (status, said) = run(&["doctor", "--dir", dir.path().join("data").to_str().unwrap(), "--port", "0"]);
    assert!(!status.success() && said.contains("FAIL  directory"), "{said}");
    assert!(first.client().get_db_works());
}

#[test]
fn the_doctor_creates_nothing() {
    let dir = scratch();
    let data = dir.path().join("data");
    let (status, said) = run(&["doctor", "--dir", data.to_str().unwrap(), "--port", &free_port().to_string()]);
    assert!(status.success() && said.contains("ok    io_uring"), "{said}");
    assert!(!data.exists() && dir.path().read_dir().unwrap().count() == 0);
}

#[test]
fn a_start_that_cannot_listen_creates_nothing() {
    let dir = scratch();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut recipe = Recipe::new(dir.path());
    recipe.port = taken.local_addr().unwrap().port();
    assert!(recipe.refused().contains("already in use"));
    assert!(!recipe.dir.join("data").exists());
    recipe.port = 0;
    assert!(recipe.refused().contains("not listen anywhere"));
}

#[test]
fn memory_is_no_stable_storage() {
    let Ok(dir) = tempfile::tempdir_in("/dev/shm") else { return };
    if rustix::fs::statfs(dir.path()).unwrap().f_type as u64 != 0x0102_1994 {
        return;
    }
    let data = dir.path().join("data");
    let (_, said) = run(&["doctor", "--dir", data.to_str().unwrap(), "--port", &free_port().to_string()]);
    // Linux has O_DIRECT there since 6.6; older ones refuse it.
    assert!(said.contains("tmpfs is memory") || said.contains("FAIL  O_DIRECT"), "{said}");
}

#[test]
fn data_of_redis_are_not_taken_for_ours() {
    let dir = scratch();
    std::fs::create_dir(dir.path().join("data")).unwrap();
    std::fs::write(dir.path().join("data/dump.rdb"), b"REDIS0009").unwrap();
    let server = Server::start(dir.path());
    assert!(server.log().contains("dump.rdb was left by Redis and is not read"), "{}", server.log());
}

#[test]
fn term_ends_in_good_order() {
    let dir = scratch();
    let recipe = Recipe::new(dir.path());
    let mut server = recipe.start();
    let _: () = redis::cmd("SET").arg("k").arg("v").query(&mut server.client()).unwrap();
    server.signal(Signal::HUP);
    server.signal(Signal::TERM);
    assert!(server.wait().success(), "{}", server.log());
    assert!(server.log().contains("ready to exit, bye bye"), "{}", server.log());
    let server = recipe.start();
    let value: String = redis::cmd("GET").arg("k").query(&mut server.client()).unwrap();
    assert_eq!(value, "v");
}

#[test]
fn shutdown_ends_in_good_order() {
    let dir = scratch();
    let mut server = Server::start(dir.path());
    assert_eq!(exchange(&mut server.socket(), b"SHUTDOWN BADLY\r\n", b"\r\n"), "-ERR syntax error\r\n");
    assert_eq!(exchange(&mut server.socket(), b"SHUTDOWN NOSAVE\r\n", b""), "");
    assert!(server.wait().success(), "{}", server.log());
    assert!(!server.log().contains("Not everything"), "{}", server.log());
}

#[test]
fn systemd_is_told() {
    let dir = scratch();
    let path = dir.path().join("notify");
    let socket = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(std::time::Duration::from_secs(30))).unwrap();
    let mut recipe = Recipe::new(dir.path());
    recipe.environment.push(("NOTIFY_SOCKET".into(), path.display().to_string()));
    let mut server = recipe.start();
    let mut messages = String::new();
    let mut heard = |part: &str| {
        while !messages.contains(part) {
            let mut buffer = [0; 512];
            let length = socket.recv(&mut buffer).unwrap_or_else(|error| panic!("{error}: {messages}"));
            messages.push_str(std::str::from_utf8(&buffer[..length]).unwrap());
        }
    };
    heard("READY=1");
    server.signal(Signal::TERM);
    heard("STOPPING=1");
    assert!(server.wait().success());
}

#[test]
fn a_log_that_was_moved_is_opened_again() {
    let dir = scratch();
    let logfile = dir.path().join("cairn.log");
    let recipe = Recipe::new(dir.path()).with(&["--logfile", logfile.to_str().unwrap()]);
    let mut server = recipe.spawn();
    let text = |path: &std::path::Path| std::fs::read_to_string(path).unwrap_or_default();
    until("it is ready", || text(&logfile).contains("Ready to accept connections"));
    let moved = dir.path().join("cairn.log.1");
    std::fs::rename(&logfile, &moved).unwrap();
    server.signal(Signal::USR1);
    until("the log is opened again", || logfile.exists());
    server.signal(Signal::TERM);
    assert!(server.wait().success());
    assert!(text(&logfile).contains("bye bye") && !text(&moved).contains("bye bye"));
}

#[test]
fn logs_have_other_formats_too() {
    let dir = scratch();
    let server = Recipe::new(dir.path()).with(&["--log-format", "json"]).start();
    for line in server.log().lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(line["message"].is_string() && line["timestamp"].is_string(), "{line}");
    }
}

#[test]
fn help_and_version_are_there() {
    let (status, said) = run(&["--version"]);
    assert!(status.success() && said.contains(concat!(" v=", env!("CARGO_PKG_VERSION"), " ")), "{said}");
    for args in [&["--help"][..], &["serve", "--help"], &["doctor", "-h"], &["bench", "--help"]] {
        let (status, said) = run(args);
        assert!(status.success() && said.contains("Usage"), "{args:?}: {said}");
    }
}

trait Works {
    fn get_db_works(self) -> bool;
}

impl Works for redis::Connection {
    fn get_db_works(mut self) -> bool {
        redis::cmd("PING").query::<String>(&mut self).is_ok_and(|reply| reply == "PONG")
    }
}
