//! `cairn verify` finds nothing wrong with this server, killed or not; what it must find in a wrong one is shown in `bench`.

use crate::server::{Server, run, scratch};

#[test]
fn what_the_server_answers_is_possible_whenever_it_is_killed() {
    let dir = scratch();
    let path = dir.path().to_str().unwrap();
    let args = [
        "verify",
        "--serve-here",
        "--dir",
        path,
        "--operations",
        "100000",
        "--kills",
        "5",
        "--shards",
        "2",
        "--keys",
        "200",
        "--window",
        "30000",
        "-q",
        "--",
        "--memory",
        "4mb",
    ];
    let (status, said) = run(&args);
    assert!(status.success() && said.contains("5 kills") && said.ends_with("no anomaly\n"), "{said}");
    assert!(said.contains("4 windows"), "{said}");
    for name in ["list-append", "register", "bank", "write-skew", "queue", "stream"] {
        assert!(said.lines().any(|line| line.trim().starts_with(name) && line.contains(": sound")), "{name}: {said}");
    }
    assert_eq!(dir.path().read_dir().unwrap().count(), 0, "it leaves nothing behind");
}

#[test]
fn a_server_of_somebody_else_is_not_written_over() {
    let dir = scratch();
    let server = Server::start(dir.path());
    let address = format!("127.0.0.1:{}", server.port);
    let () = redis::cmd("SET").arg("la:0").arg("mine").query(&mut server.client()).unwrap();
    let (status, said) = run(&["verify", "--address", &address, "-n", "100"]);
    assert!(status.code() == Some(1) && said.contains("has 1 keys"), "{said}");
    let (status, said) = run(&["verify", "--address", &address, "--db", "1", "-n", "2000", "--workload", "bank", "-q"]);
    assert!(status.success() && said.contains("bank") && !said.contains("register"), "{said}");
}
