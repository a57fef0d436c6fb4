//! What an operator sees of a running server: metrics, probes, INFO, and that it rests when nobody asks.

use crate::server::{Recipe, Server, scratch, until};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

pub fn get(address: &str, path: &str) -> String {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).unwrap();
    let mut response = String::new();
    socket.read_to_string(&mut response).unwrap();
    response
}

pub fn metrics_address(server: &Server) -> String {
    server.logged("http://").trim_end_matches("/metrics").to_string()
}

#[test]
fn metrics_show_what_happened() {
    let dir = scratch();
    let server = Server::start(dir.path());
    let address = metrics_address(&server);
    let mut client = server.client();
    for n in 0..100 {
        let _: () = redis::cmd("SET").arg(n).arg(n).query(&mut client).unwrap();
    }
    let value = |text: &str, series: &str| -> f64 {
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    };
    let mut text = String::new();
    until("the figures have come through", || {
        text = get(&address, "/metrics");
        value(&text, "cairn_commands_total{cmd=\"set\",shard=\"0\"}") == 100.0
    });
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
    assert_eq!(value(&text, "cairn_up"), 1.0);
    assert_eq!(value(&text, "cairn_database_keys{db=\"0\"}"), 100.0);
    assert_eq!(value(&text, "cairn_command_duration_seconds_count{cmd=\"set\"}"), 100.0);
    assert!(value(&text, "cairn_connected_clients{shard=\"0\"}") >= 1.0);
    let flushes = value(&text, "cairn_log_flush_duration_seconds_count{shard=\"0\"}");
    // One a command, and a few of the server's own: its start, and a checkpoint's end if that comes in between.
    assert!((1.0..=105.0).contains(&flushes), "{flushes} flushes");
    assert!(value(&text, "cairn_turn_duration_seconds_count{worker=\"0\"}") >= 1.0, "{text}");
    assert!(value(&text, "cairn_data_free_bytes") >= 1.0);
    assert!(value(&text, "process_resident_memory_bytes") > 1e6);
    assert!(
        get(&address, "/livez").starts_with("HTTP/1.1 200") && get(&address, "/readyz").starts_with("HTTP/1.1 200")
    );
}

#[test]
fn metrics_can_be_switched_off() {
    let dir = scratch();
    let server = Recipe::new(dir.path()).with(&["--metrics-addr", "off"]).start();
    assert!(!server.log().contains("/metrics"), "{}", server.log());
}

#[test]
fn an_idle_server_rests() {
    let dir = scratch();
    let server = Server::start(dir.path());
    let _client = server.client();
    // The segments behind the first are prepared in the background, and then there is nothing to do.
    let mut before = server.cpu_ticks();
    until("the start is over", || {
        std::thread::sleep(Duration::from_millis(500));
        let now = server.cpu_ticks();
        now - std::mem::replace(&mut before, now) <= 1
    });
    let before = server.cpu_ticks();
    std::thread::sleep(Duration::from_secs(3));
    let ticks = server.cpu_ticks() - before;
    assert!(ticks <= 3, "{ticks} ticks of 10 ms in 3 s: more than 1% of a core");
}

#[test]
fn info_has_what_tools_read() {
    let dir = scratch();
    let server = Server::start(dir.path());
    let mut client = server.client();
    let _: () = redis::cmd("SET").arg("k").arg("v").query(&mut client).unwrap();
    let info: String = redis::cmd("INFO").arg("everything").query(&mut client).unwrap();
    let value = |name: &str| {
        let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_else(|| panic!("no {name} in {info}")).to_string()
    };
    assert!(value("redis_version").starts_with("7.2."));
    assert_eq!(
        (value("loading"), value("role"), value("maxmemory_policy")),
        ("0".into(), "master".into(), "noeviction".into())
    );
    assert_eq!((value("tcp_port"), value("process_id")), (server.port.to_string(), server.child.id().to_string()));
    assert!(value("db0").starts_with("keys=1,expires=0"));
    assert!(value("cmdstat_set").starts_with("calls=1,"));
    assert!(value("used_memory_rss").parse::<u64>().unwrap() > 1 << 20);
}

#[test]
fn both_protocols_are_spoken() {
    let dir = scratch();
    let server = Server::start(dir.path());
    for query in ["", "?protocol=resp3"] {
        let mut client = server.client_by(query);
        let _: () = redis::cmd("SET").arg("k").arg("v").query(&mut client).unwrap();
        let found: (Option<String>, Option<String>) = redis::cmd("MGET").arg("k").arg("no").query(&mut client).unwrap();
        assert_eq!(found, (Some("v".into()), None));
        let settings: std::collections::HashMap<String, String> =
            redis::cmd("CONFIG").arg("GET").arg("max*").query(&mut client).unwrap();
        assert_eq!(settings["maxmemory-policy"], "noeviction");
        let error = redis::cmd("INCR").arg("k").query::<i64>(&mut client).unwrap_err();
        assert!(error.to_string().contains("not an integer"), "{error}");
    }
}
