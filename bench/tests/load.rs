//! The load generator against a real redis-server, where one is installed, and against servers that misbehave.

#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cairn_bench::load::{BenchArgs, LoadError, Report, measure};

#[derive(clap::Parser)]
struct Cli {
    #[command(flatten)]
    args: BenchArgs,
}

fn args(arguments: &[&str]) -> BenchArgs {
    <Cli as clap::Parser>::try_parse_from(["bench"].iter().chain(arguments)).unwrap().args
}

fn bench(arguments: &[&str]) -> Result<Report, LoadError> {
    measure(&args(arguments).plan()?)
}

/// A redis-server of its own, ended with the test.
struct Redis {
    process: Child,
    port: u16,
    socket: PathBuf,
    _dir: tempfile::TempDir,
}

impl Redis {
    /// `None`, and a line that says so, where redis-server is not installed.
    fn start() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        // The port was free a moment ago.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let socket = dir.path().join("redis.sock");
        let started = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--requirepass", "pass word"])
            .arg("--unixsocket")
            .arg(&socket)
            .arg("--dir")
            .arg(dir.path())
            .stdout(Stdio::null())
            .spawn();
        let Ok(process) = started else {
            println!("SKIPPED redis-server is not installed");
            return None;
        };
        let redis = Self { process, port, socket, _dir: dir };
        let begun = Instant::now();
        while !redis.answers() {
            assert!(begun.elapsed() < Duration::from_secs(20), "redis-server does not answer");
            std::thread::yield_now();
        }
        Some(redis)
    }

    fn answers(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) else { return false };
        let mut reply = [0; 1];
        stream.write_all(b"PING\r\n").is_ok()
            && stream.read_exact(&mut reply).is_ok()
            && UnixStream::connect(&self.socket).is_ok()
    }

    fn bench(&self, arguments: &str, more: &[&str]) -> Report {
        let address = ["--port", &self.port.to_string(), "--password", "pass word"].map(str::to_owned);
        let all: Vec<&str> = address
            .iter()
            .map(String::as_str)
            .chain(arguments.split_whitespace())
            .chain(more.iter().copied())
            .collect();
        bench(&all).unwrap()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn redis_is_driven_in_closed_and_open_loop() {
    let Some(redis) = Redis::start() else { return };
    let pid = redis.process.id().to_string();

    let filling =
        args(&["--socket", redis.socket.to_str().unwrap(), "-a", "pass word", "--keys", "1000", "--verify", "-t", "3"]);
    let filled = measure(&filling.load_plan().unwrap()).unwrap();
    assert!(filled.is_clean() && filled.groups[0].total.answered == 1000, "{}", filled.text());

    for arguments in [
        "--requests 20000 --keys 1000 --verify --ratio 3:1 --pipeline 16 --clients 7 --threads 2",
        "--requests 3000 --keys 1000 --verify --ratio 1:1 --clients 1 --resp3 --distribution zipf:1.1",
        "--requests 2000 --keys 1000 --verify --ratio 3:1 --clients 5 --rate 20000 --pipeline 4 --threads 2 --value-size 32-5000",
    ] {
        let report = redis.bench(arguments, &["--pid", &pid]);
        let total = &report.groups[0].total;
        assert!(report.is_clean(), "{}", report.text());
        let asked: u64 = arguments.split_whitespace().nth(1).unwrap().parse().unwrap();
        assert_eq!((total.answered, total.nil_replies), (asked, 0), "{}", report.text());
        assert!(total.verified > asked / 3, "{}", report.text());
        if let Some(rate) = report.groups[0].rate {
            assert!(report.seconds >= (asked - 1) as f64 / rate, "{}", report.text());
        }
        assert!(report.server.as_ref().unwrap().cpu_us_per_request > 0.0);
        assert!(report.generator.cpu_us_per_request > 0.0);
    }

    let timed = redis.bench(
        "--duration 1 --warmup 0.2 --keys 1000",
        &[
            "-g",
            "name=get clients=2 rate=500 command=GET {key}",
            "-g",
            "name=set clients=5 command=MULTI ; SET {key} {value} ; EXEC",
        ],
    );
    assert!(timed.is_clean(), "{}", timed.text());
    // 600 requests fall due in 1.2 seconds; what a busy machine makes late is not lost.
    let (get, set) = (&timed.groups[0].total, &timed.groups[1].total);
    assert!((1..=600).contains(&get.answered) && set.answered > 0, "{}", timed.text());
    assert!(timed.seconds > 0.5 && get.per_second <= 600.0 / timed.seconds, "{}", timed.text());
}

#[test]
fn a_timeline_knows_when_the_server_made_a_checkpoint() {
    let Some(redis) = Redis::start() else { return };
    let report = redis.bench(
        "--duration 5 --warmup 0.2 --timeline unused.svg",
        &[
            "-g",
            "name=set clients=2 rate=500 command=SET {key} {value}",
            "-g",
            "name=save clients=1 rate=0.3 command=BGSAVE",
        ],
    );
    // Of two BGSAVEs, 3.3 seconds apart, the first is of the warm-up.
    let group = &report.groups[0];
    let marked = group.seconds.iter().filter(|second| second.has_checkpoint).count();
    assert!(group.seconds.len() == 5 && (1..5).contains(&marked), "{}", report.json());
    let answered: u64 = group.seconds.iter().map(|second| second.answered).sum();
    assert!(answered > 0 && answered <= group.total.answered, "{}", report.json());
    assert_eq!(group.checkpoint.as_ref().map(|checkpoint| checkpoint.seconds_with), Some(marked));
    assert!(
        bench(&["--duration", "0.5", "--timeline", "unused.svg"])
            .is_err_and(|error| matches!(error, LoadError::Invalid(_)))
    );
}

#[test]
fn errors_misses_and_foreign_values_are_told() {
    let Some(redis) = Redis::start() else { return };
    let missing = redis.bench("--requests 10 --command", &["GET {key}"]);
    assert_eq!((missing.groups[0].total.nil_replies, missing.is_clean()), (10, true));

    let wrong = redis.bench("--requests 10 --command", &["INCR {key} {key}"]);
    let total = &wrong.groups[0].total;
    assert_eq!((total.answered, total.errors, wrong.is_clean()), (0, 10, false));
    assert_eq!(total.first_error.as_deref(), Some("ERR wrong number of arguments for 'incr' command"));
    let within = redis.bench("--requests 10 --command", &["MULTI ; SET a b ; LPUSH a c ; EXEC"]);
    assert_eq!((within.groups[0].total.errors, within.is_clean()), (10, false), "{}", within.text());

    // A value found under a key that it was not written for is what a mixed-up reply looks like.
    let ten = "--requests 10 --keys 10 --verify --distribution sequential --command";
    assert!(redis.bench(ten, &["SET {num:1} {value}"]).is_clean());
    redis.bench("--requests 1 --command", &["COPY 3 4 REPLACE"]);
    let report = redis.bench(ten, &["GET {num:1}"]);
    let total = &report.groups[0].total;
    assert_eq!((total.verified, total.mismatches, report.is_clean()), (10, 1, false), "{}", report.text());
    let first = total.first_mismatch.as_ref().unwrap();
    assert!(first.contains("key number 4: the value of key number 3"), "{first}");

    let address = ["--port", &redis.port.to_string()].map(str::to_owned);
    let refused = bench(&[&address[0], &address[1], "--password", "wrong"]).unwrap_err();
    assert!(refused.to_string().contains("refused AUTH: WRONGPASS"), "{refused}");
}

/// A server that reads once from each connection, answers `reply`, and then does what `then` says.
fn server(reply: &'static [u8], then: impl Fn(TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 4096];
            if stream.read(&mut request).is_ok() {
                let _ = stream.write_all(reply);
                then(stream);
            }
        }
    });
    port.to_string()
}

#[test]
fn a_server_that_goes_away_or_talks_nonsense_ends_the_run() {
    for (reply, expected) in [
        (&b"+OK\r\n"[..], "closed connection 0 of group all after 1 replies"),
        (b"+O", "closed connection 0 of group all after 0 replies"),
        (b"HTTP/1.1 400\r\n", "bytes that are no reply after 0 replies"),
        (b"+OK\r\n+OK\r\n", "a reply to no request after 1 replies"),
    ] {
        // Reads on until the client leaves: a close with unread bytes would be a reset, not an end.
        let port = server(reply, |mut stream| {
            let _ = stream.shutdown(Shutdown::Write);
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        });
        let error = bench(&["--port", &port, "-c", "1", "-d", "60", "--command", "PING"]).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let error = bench(&["--port", &port]).unwrap_err();
    assert!(error.to_string().contains("cannot connect to 127.0.0.1:"), "{error}");
}

#[test]
fn a_stall_shows_in_the_open_loop() {
    // Answers once, then never again: 1,000 requests a second fall due, one is under way.
    let port = server(b"+OK\r\n", |stream| {
        std::thread::spawn(move || {
            let mut sink = Vec::new();
            let mut stream = stream;
            let _ = stream.read_to_end(&mut sink);
        });
    });
    let arguments = ["--port", &port, "-c", "1", "--rate", "1000", "-d", "1", "-w", "0", "--command", "PING"];
    let report = bench(&arguments).unwrap();
    let total = &report.groups[0].total;
    assert_eq!((total.answered, total.unanswered), (1, 1), "{}", report.text());
    assert_eq!(total.unsent, 998, "{}", report.text());
    assert!(!report.is_clean());
    // Half of those that could not be sent waited longer than half a second.
    let p50 = total.latency_us.as_ref().unwrap().p50;
    assert!(p50 > 490_000.0, "{p50}");
}
