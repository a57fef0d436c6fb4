//! A server under test: its process, its directory, its log, and connections to it.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

pub const BINARY: &str = env!("CARGO_BIN_EXE_cairn");
const PATIENCE: Duration = Duration::from_secs(60);

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A new directory beside the build: on a real file system, which a temporary one may not be.
pub fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// Polls until it holds.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Runs the binary to its end.
pub fn run(args: &[&str]) -> (ExitStatus, String) {
    let output = Command::new(BINARY).args(args).stdin(Stdio::null()).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status, String::from_utf8(text).unwrap())
}

/// How to start a server.
pub struct Recipe {
    pub port: u16,
    pub dir: PathBuf,
    pub args: Vec<String>,
    pub environment: Vec<(String, String)>,
    pub stdin: String,
}

impl Recipe {
    /// Its data in `dir`/data.
    pub fn new(dir: &Path) -> Recipe {
        Recipe {
            port: free_port(),
            dir: dir.to_path_buf(),
            args: Vec::new(),
            environment: Vec::new(),
            stdin: String::new(),
        }
    }

    pub fn with(mut self, args: &[&str]) -> Recipe {
        self.args.extend(args.iter().map(|arg| arg.to_string()));
        self
    }

    pub fn spawn(&self) -> Server {
        let log = self.dir.join("log");
        let file = File::options().append(true).create(true).open(&log).unwrap();
        let begin = fs::metadata(&log).unwrap().len();
        let data = self.dir.join("data");
        let mut command = Command::new(BINARY);
        command.arg("serve").args(self.args.iter().take_while(|arg| !arg.starts_with("--") && *arg != "-"));
        command.args(["--port", &self.port.to_string(), "--dir", data.to_str().unwrap()]);
        command.args(["--metrics-addr", "127.0.0.1:0", "--shards", "1"]);
        command.args(self.args.iter().skip_while(|arg| !arg.starts_with("--") && *arg != "-"));
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::piped()).stdout(file.try_clone().unwrap()).stderr(file);
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(self.stdin.as_bytes()).unwrap();
        Server { child, port: self.port, log, begin }
    }

    /// Until it accepts connections.
    pub fn start(&self) -> Server {
        let mut server = self.spawn();
        until("the server accepts connections", || {
            if let Some(status) = server.child.try_wait().unwrap() {
                panic!("the server ended ({status}): {}", server.log());
            }
            server.log().contains("Ready to accept connections")
        });
        server
    }

    /// Expects that it does not start. What it says.
    pub fn refused(&self) -> String {
        let mut server = self.spawn();
        let mut status = None;
        until("the server gives up", || {
            status = server.child.try_wait().unwrap();
            status.is_some()
        });
        let text = server.log();
        assert!(!status.unwrap().success(), "{text}");
        text
    }
}

/// A running server. Killed when it is dropped.
pub struct Server {
    pub child: Child,
    pub port: u16,
    log: PathBuf,
    begin: u64,
}

impl Server {
    /// With one shard and no more arguments.
    pub fn start(dir: &Path) -> Server {
        Recipe::new(dir).start()
    }

    pub fn client(&self) -> redis::Connection {
        self.client_by("")
    }

    /// `query` is that of a `redis://` address: `?protocol=resp3`.
    pub fn client_by(&self, query: &str) -> redis::Connection {
        let client = redis::Client::open(format!("redis://127.0.0.1:{}/{query}", self.port)).unwrap();
        client.get_connection_with_timeout(PATIENCE).unwrap()
    }

    pub fn socket(&self) -> TcpStream {
        let socket = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_nodelay(true).unwrap();
        socket
    }

    /// What it has logged since it started.
    pub fn log(&self) -> String {
        let bytes = fs::read(&self.log).unwrap();
        String::from_utf8_lossy(&bytes[self.begin as usize..]).into_owned()
    }

    /// The word after `label` in the log.
    pub fn logged(&self, label: &str) -> String {
        let log = self.log();
        let at = log.find(label).unwrap_or_else(|| panic!("no '{label}' in {log}"));
        let rest = &log[at + label.len()..];
        rest.split(|char: char| char.is_whitespace() || char == ',').next().unwrap().to_string()
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        until("the server ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    /// CPU time that it has used, in ticks of 10 ms.
    pub fn cpu_ticks(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_ascii_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends bytes, and reads until the peer closes or the reply ends with `end`.
pub fn exchange(socket: &mut TcpStream, request: &[u8], end: &[u8]) -> String {
    // Who has closed already has said why.
    let _ = socket.write_all(request);
    let mut reply = Vec::new();
    let mut chunk = [0; 4096];
    while !reply.ends_with(end) || end.is_empty() {
        match socket.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => reply.extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
            Err(error) => panic!("{error} after {:?}", String::from_utf8_lossy(&reply)),
        }
    }
    String::from_utf8_lossy(&reply).into_owned()
}

/// Says that a test shows nothing here, and why: on the terminal, past the capture of what passing tests print.
pub fn skipped(why: &str) {
    let test = std::thread::current().name().unwrap_or_default().to_string();
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {why}");
}

/// The program is installed; if not, says that this is why a test shows nothing.
pub fn has_program(name: &str) -> bool {
    let is_there = Command::new(name).arg("--version").output().is_ok();
    if !is_there {
        skipped(&format!("{name} is not installed"));
    }
    is_there
}
