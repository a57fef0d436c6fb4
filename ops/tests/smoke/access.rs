//! Who gets in: passwords, protected mode, and what strangers may cost.

use crate::server::{Recipe, exchange, scratch};
use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;

#[test]
fn a_password_is_asked_for() {
    let dir = scratch();
    let mut recipe = Recipe::new(dir.path()).with(&["--maxclients", "50"]);
    recipe.environment.push(("CAIRN_REQUIREPASS".into(), "open sesame".into()));
    let server = recipe.start();
    let mut socket = server.socket();
    let mut ask = |request: &str| exchange(&mut socket, format!("{request}\r\n").as_bytes(), b"\r\n");
    assert_eq!(ask("GET k"), "-NOAUTH Authentication required.\r\n");
    let wrong = "-WRONGPASS invalid username-password pair or user is disabled.\r\n";
    assert_eq!(ask("AUTH sesame"), wrong);
    assert_eq!(ask("AUTH nobody \"open sesame\""), wrong);
    assert_eq!(ask("PING"), "-NOAUTH Authentication required.\r\n");
    assert_eq!(ask("AUTH \"open sesame\""), "+OK\r\n");
    assert_eq!(ask("PING"), "+PONG\r\n");
    let url = format!("redis://:open%20sesame@127.0.0.1:{}/?protocol=resp3", server.port);
    let mut client = redis::Client::open(url).unwrap().get_connection().unwrap();
    let _: () = redis::cmd("SET").arg("k").arg("v").query(&mut client).unwrap();
    let log = server.log();
    assert!(!log.contains("sesame"), "{log}");
}

#[test]
fn commands_behind_auth_wait_for_it() {
    let dir = scratch();
    let server = Recipe::new(dir.path()).with(&["--requirepass", "secret"]).start();
    let long = format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$100000\r\n{}\r\n", "v".repeat(100_000));
    let request = format!("AUTH secret\r\nSELECT 1\r\n{long}STRLEN k\r\n");
    let said = exchange(&mut server.socket(), request.as_bytes(), b":100000\r\n");
    assert_eq!(said, "+OK\r\n+OK\r\n+OK\r\n:100000\r\n");
    let said = exchange(&mut server.socket(), b"AUTH wrong\r\nPING\r\nQUIT\r\n", b"");
    assert_eq!(
        said,
        "-WRONGPASS invalid username-password pair or user is disabled.\r\n-NOAUTH Authentication required.\r\n+OK\r\n"
    );
}

#[test]
fn the_slow_log_keeps_no_password() {
    let dir = scratch();
    let server = Recipe::new(dir.path()).with(&["--requirepass", "secret", "--slowlog-log-slower-than", "0"]).start();
    let client = redis::Client::open(format!("redis://:secret@127.0.0.1:{}/", server.port)).unwrap();
    let mut client = client.get_connection().unwrap();
    let _: () = redis::cmd("CONFIG")
        .arg(&["SET", "requirepass", "secret2", "masterauth", "secret3"])
        .query(&mut client)
        .unwrap();
    let _: () = redis::cmd("AUTH").arg("secret2").query(&mut client).unwrap();
    for command in
        [&["SLOWLOG", "GET", "-1"][..], &["CONFIG", "GET", "*"], &["INFO", "everything"], &["CLIENT", "LIST"]]
    {
        let shown: redis::Value = redis::cmd(command[0]).arg(&command[1..]).query(&mut client).unwrap();
        assert!(!format!("{shown:?}").contains("secret"), "{command:?}: {shown:?}");
    }
    assert!(!server.log().contains("secret"), "{}", server.log());
}

#[test]
fn many_logins_need_no_slow_hash_each() {
    let dir = scratch();
    let server = Recipe::new(dir.path()).with(&["--requirepass", "secret"]).start();
    let login = || {
        let mut socket = server.socket();
        assert_eq!(exchange(&mut socket, b"AUTH secret\r\n", b"\r\n"), "+OK\r\n");
    };
    login();
    let before = server.cpu_ticks();
    (0..200).for_each(|_| login());
    let ticks = server.cpu_ticks() - before;
    // A hash takes more than a tick: 200 of them would take more than 200.
    assert!(ticks < 150, "200 logins took {ticks} ticks of 10 ms");
}

#[test]
fn a_new_password_counts_from_then_on() {
    let dir = scratch();
    let server = Recipe::new(dir.path()).start();
    let mut socket = server.socket();
    assert_eq!(exchange(&mut socket, b"CONFIG SET requirepass new\r\n", b"\r\n"), "+OK\r\n");
    let mut other = server.socket();
    assert_eq!(exchange(&mut other, b"PING\r\n", b"\r\n"), "-NOAUTH Authentication required.\r\n");
    assert_eq!(exchange(&mut other, b"AUTH new\r\n", b"\r\n"), "+OK\r\n");
}

/// An address of this machine that is not its loopback.
fn outer_address() -> Option<IpAddr> {
    // Connecting a datagram socket sends nothing; it only looks up the route.
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    socket.local_addr().ok().map(|address| address.ip()).filter(|ip| !ip.is_loopback())
}

#[test]
fn protected_mode_refuses_strangers() {
    let Some(outer) = outer_address() else {
        crate::server::skipped("this machine has no address but its loopback");
        return;
    };
    let dir = scratch();
    let server = Recipe::new(dir.path()).with(&["--bind", "*"]).start();
    let mut stranger = TcpStream::connect((outer, server.port)).unwrap();
    let mut said = String::new();
    stranger.read_to_string(&mut said).unwrap();
    assert!(said.starts_with("-DENIED ") && said.contains("protected mode"), "{said}");
    let mut friend = server.socket();
    assert_eq!(exchange(&mut friend, b"CONFIG SET protected-mode no\r\n", b"\r\n"), "+OK\r\n");
    let mut stranger = TcpStream::connect((outer, server.port)).unwrap();
    assert_eq!(exchange(&mut stranger, b"PING\r\n", b"\r\n"), "+PONG\r\n");
}

#[test]
fn a_unix_socket_serves_too() {
    let dir = scratch();
    let path = dir.path().join("s");
    let arguments = ["--unixsocket", path.to_str().unwrap(), "--unixsocketperm", "700"];
    let recipe = Recipe::new(dir.path()).with(&arguments);
    for _ in 0..2 {
        // The second start finds the socket that the first has left.
        let mut server = recipe.start();
        let mut socket = UnixStream::connect(&path).unwrap();
        socket.write_all(b"PING\r\n").unwrap();
        let mut reply = [0; 7];
        socket.read_exact(&mut reply).unwrap();
        assert_eq!(&reply, b"+PONG\r\n");
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        server.kill();
    }
}
