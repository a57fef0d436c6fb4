//! The tools that everybody has: redis-cli and redis-benchmark, as Debian's redis-tools brings them.

use crate::server::{Server, has_program, scratch};
use std::process::Command;

fn cli(server: &Server, args: &[&str]) -> String {
    let output = Command::new("redis-cli").args(["-p", &server.port.to_string()]).args(args).output().unwrap();
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

#[test]
fn redis_cli_works() {
    if !has_program("redis-cli") {
        return;
    }
    let dir = scratch();
    let server = Server::start(dir.path());
    assert_eq!(cli(&server, &["SET", "k", "v"]), "OK\n");
    assert_eq!(cli(&server, &["-3", "GET", "k"]), "v\n");
    assert_eq!(cli(&server, &["GET"]), "ERR wrong number of arguments for 'get' command\n\n");
    assert_eq!(cli(&server, &["-n", "3", "DBSIZE"]), "0\n");
    assert_eq!(cli(&server, &["--scan"]), "k\n");
    assert!(cli(&server, &["INFO", "server"]).contains("redis_version:7.2."));
    assert!(cli(&server, &["CLIENT", "LIST"]).contains("cmd=client|list"));
    assert!(cli(&server, &["COMMAND", "DOCS", "get"]).contains("summary"));
    assert!(cli(&server, &["--bigkeys"]).contains("Biggest string found '\"k\"' has 1 bytes"));
}

#[test]
fn redis_benchmark_works() {
    if !has_program("redis-benchmark") {
        return;
    }
    let dir = scratch();
    let server = Server::start(dir.path());
    for pipeline in ["1", "16"] {
        let tests = "ping_inline,ping_mbulk,set,get,incr,mset";
        let output = Command::new("redis-benchmark")
            .args(["-p", &server.port.to_string(), "-n", "5000", "-c", "20", "-P", pipeline, "-t", tests, "--csv"])
            .output()
            .unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(output.status.success() && !text.contains("rror"), "{text}");
        for name in ["PING_INLINE", "PING_MBULK", "SET", "GET", "INCR", "MSET (10 keys)"] {
            assert!(text.contains(&format!("\"{name}\"")), "{name}: {text}");
        }
    }
    let output = Command::new("redis-benchmark")
        .args(["-p", &server.port.to_string(), "-n", "1000", "-q", "-r", "100", "mget", "k:__rand_int__", "k:1"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn our_own_benchmark_works() {
    let dir = scratch();
    let server = Server::start(dir.path());
    let port = server.port.to_string();
    let (status, said) = crate::server::run(&[
        "bench", "-p", &port, "-n", "2000", "-c", "4", "--keys", "100", "--verify", "--load", "-q",
    ]);
    assert!(status.success(), "{said}");
}

#[test]
fn the_disk_probe_works_and_leaves_nothing_behind() {
    let dir = scratch();
    let (path, svg) = (dir.path().to_str().unwrap(), dir.path().join("curves.svg"));
    let args = ["disk", path, "--quick", "--seconds", "0.02", "--file-size", "4", "-q", "--svg", svg.to_str().unwrap()];
    let (status, said) = crate::server::run(&args);
    assert!(status.success() && said.contains("What this means"), "{said}");
    assert!(std::fs::read_to_string(&svg).unwrap().starts_with("<svg"));
    // What exists is left as it is.
    let (status, said) = crate::server::run(&args);
    assert!(status.code() == Some(2) && said.contains("exists and is left as it is"), "{said}");
    let (status, said) = crate::server::run(&["disk", "/no/such/place"]);
    assert!(status.code() == Some(1) && said.contains("/no/such/place does not exist"), "{said}");
    assert_eq!(dir.path().read_dir().unwrap().count(), 1);
}
