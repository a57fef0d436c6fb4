//! A server that is asked: its process, and the connections to it.

use super::limits::{
    ANSWER_SECONDS_MAX, BALLAST_DB, BALLAST_ROW_BYTES, BALLAST_ROWS, CLIENTS, DATABASES, START_SECONDS_MAX,
    STIRRED_ROWS,
};
use super::reply::Reply;
use std::fs::{self, File};
use std::io::{self, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// What serves.
#[derive(Clone, Debug)]
pub enum Kind {
    /// This redis-server, the one that is right.
    Redis(PathBuf),
    /// This program, with so many shards.
    Cairn { shards: u16, memory: String },
}

/// A server and what asks it.
pub struct Party {
    pub kind: Kind,
    child: Child,
    port: u16,
    dir: PathBuf,
    clients: Vec<Client>,
    /// Reads the ballast; only where there is some.
    stirrer: Client,
    stirred: usize,
}

struct Client {
    reader: BufReader<TcpStream>,
    writer: TcpStream,
}

/// What all servers are told: collections are small before they are large, so both forms are met.
const SETTINGS: [(&str, &str); 8] = [
    ("hash-max-listpack-entries", "6"),
    ("hash-max-listpack-value", "40"),
    ("hll-sparse-max-bytes", "150"),
    ("list-max-listpack-size", "6"),
    ("set-max-intset-entries", "6"),
    ("zset-max-listpack-entries", "6"),
    ("zset-max-listpack-value", "40"),
    ("stream-node-max-entries", "6"),
];

const POLL: Duration = Duration::from_millis(5);
/// Lines of its log that are shown of a server that failed.
const LOG_LINES: usize = 15;
/// Rows of the ballast that are set by one command.
const LOADED_ROWS: usize = 20;

impl Party {
    /// Starts a server with a directory of its own below `parent`, which a party before may have used.
    pub fn start(kind: Kind, parent: &Path) -> io::Result<Party> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let name = match &kind {
            Kind::Redis(_) => "redis".to_owned(),
            Kind::Cairn { shards, .. } => format!("cairn-{shards}"),
        };
        let dir = parent.join(format!("{name}-{port}"));
        fs::create_dir(&dir)?;
        let mut child = spawn(&kind, port, &dir)?;
        let connected = wait(&mut child, port, &dir).and_then(|()| Client::connect(port));
        let clients = (0..CLIENTS).map(|_| Client::connect(port)).collect::<io::Result<Vec<_>>>();
        let (stirrer, clients) = match (connected, clients) {
            (Ok(stirrer), Ok(clients)) => (stirrer, clients),
            (Err(error), _) | (_, Err(error)) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(error);
            }
        };
        let mut party = Party { kind, child, port, dir, clients, stirrer, stirred: 0 };
        party.load()?;
        Ok(party)
    }

    pub fn shards(&self) -> u16 {
        if let Kind::Cairn { shards, .. } = self.kind { shards } else { 1 }
    }

    /// What it says of its version.
    pub fn version(&mut self) -> io::Result<String> {
        let reply = self.stirrer.ask(&["INFO", "server"])?;
        let Reply::Bulk { bytes: Some(text), .. } = reply else { return Ok(String::new()) };
        let text = String::from_utf8_lossy(&text).into_owned();
        let field = text.lines().find_map(|line| line.strip_prefix("redis_version:"));
        Ok(field.unwrap_or_default().to_owned())
    }

    /// Empty databases, and connections that know nothing. If it need not be durable, Cairn's replies do not wait for the disk.
    pub fn reset(&mut self, protocols: [u8; CLIENTS], is_durable: bool) -> io::Result<()> {
        let durability = if is_durable { "LOCAL" } else { "MEMORY" };
        let is_cairn = matches!(self.kind, Kind::Cairn { .. });
        for (at, (client, protocol)) in self.clients.iter_mut().zip(protocols).enumerate() {
            let mut text = format!("RESET\nHELLO {protocol}\n");
            if is_cairn {
                text += &format!("CLIENT DURABILITY {durability}\n");
            }
            if at == 0 {
                (0..DATABASES).rev().for_each(|db| text += &format!("SELECT {db}\nFLUSHDB\n"));
                text += "SCRIPT FLUSH\nFUNCTION FLUSH\n";
            }
            client.writer.write_all(text.replace('\n', "\r\n").as_bytes())?;
            for line in text.lines() {
                let reply = client.reply()?;
                if reply.is_error() {
                    return Err(io::Error::other(format!("{line}: {reply}")));
                }
            }
        }
        Ok(())
    }

    pub fn send(&mut self, client: usize, bytes: &[u8]) -> io::Result<()> {
        self.clients[client].writer.write_all(bytes)
    }

    /// The next reply that is no push.
    pub fn reply(&mut self, client: usize) -> io::Result<Reply> {
        self.clients[client].reply()
    }

    /// Reads some of the ballast, so that other rows leave memory.
    pub fn stir(&mut self) -> io::Result<()> {
        if matches!(self.kind, Kind::Redis(_)) {
            return Ok(());
        }
        let mut bytes = Vec::new();
        for _ in 0..STIRRED_ROWS {
            // Steps of a prime: pages that follow each other are not read one after the other.
            self.stirred = (self.stirred + 4099) % BALLAST_ROWS;
            bytes.extend_from_slice(&request(&[b"GET".to_vec(), format!("b{}", self.stirred).into_bytes()]));
        }
        self.stirrer.writer.write_all(&bytes)?;
        (0..STIRRED_ROWS).try_for_each(|_| self.stirrer.reply().map(drop))
    }

    /// Sets the ballast: several times the memory.
    fn load(&mut self) -> io::Result<()> {
        if matches!(self.kind, Kind::Redis(_)) {
            return Ok(());
        }
        let value = "b".repeat(BALLAST_ROW_BYTES);
        self.stirrer.ask(&["SELECT", &BALLAST_DB.to_string()])?;
        for begin in (0..BALLAST_ROWS).step_by(LOADED_ROWS) {
            let keys: Vec<String> = (begin..begin + LOADED_ROWS).map(|row| format!("b{row}")).collect();
            let words: Vec<&str> = keys.iter().flat_map(|key| [key.as_str(), value.as_str()]).collect();
            let reply = self.stirrer.ask(&[&["MSET"], &words[..]].concat())?;
            if reply.is_error() {
                return Err(io::Error::other(format!("the ballast is refused: {reply}")));
            }
        }
        Ok(())
    }

    /// After a failure: starts it again where it ended, and connects anew.
    pub fn revive(&mut self) -> io::Result<()> {
        if self.child.try_wait()?.is_some() {
            self.child = spawn(&self.kind, self.port, &self.dir)?;
        }
        wait(&mut self.child, self.port, &self.dir)?;
        self.clients = (0..CLIENTS).map(|_| Client::connect(self.port)).collect::<io::Result<_>>()?;
        self.stirrer = Client::connect(self.port)?;
        if matches!(self.kind, Kind::Cairn { .. }) {
            self.stirrer.ask(&["SELECT", &BALLAST_DB.to_string()])?;
        }
        Ok(())
    }

    /// The end of its log, if it has ended by itself.
    pub fn ended(&mut self) -> Option<String> {
        // A server that has just closed a connection because it ends may take a moment.
        thread::sleep(Duration::from_millis(100));
        let status = self.child.try_wait().ok().flatten()?;
        Some(format!("the server ended by itself ({status}):\n{}", log_end(&self.dir)))
    }
}

impl std::fmt::Display for Party {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.kind {
            Kind::Redis(_) => write!(f, "redis-server"),
            Kind::Cairn { shards: 1, .. } => write!(f, "Cairn with 1 shard"),
            Kind::Cairn { shards, .. } => write!(f, "Cairn with {shards} shards"),
        }
    }
}

impl Drop for Party {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Client {
    fn connect(port: u16) -> io::Result<Client> {
        let writer = TcpStream::connect(("127.0.0.1", port))?;
        writer.set_nodelay(true)?;
        writer.set_read_timeout(Some(Duration::from_secs(ANSWER_SECONDS_MAX)))?;
        writer.set_write_timeout(Some(Duration::from_secs(ANSWER_SECONDS_MAX)))?;
        Ok(Client { reader: BufReader::new(writer.try_clone()?), writer })
    }

    fn ask(&mut self, words: &[&str]) -> io::Result<Reply> {
        let words: Vec<Vec<u8>> = words.iter().map(|word| word.as_bytes().to_vec()).collect();
        self.writer.write_all(&request(&words))?;
        self.reply()
    }

    fn reply(&mut self) -> io::Result<Reply> {
        loop {
            let reply = Reply::read(&mut self.reader)?;
            if reply.kind() != b'>' {
                return Ok(reply);
            }
        }
    }
}

/// A request on the wire.
pub fn request(words: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// With so many shards all but the shortest replies are shown in slices.
const SLICING_SHARDS: u16 = 2;

fn spawn(kind: &Kind, port: u16, dir: &Path) -> io::Result<Child> {
    let port = port.to_string();
    let mut command = match kind {
        Kind::Redis(path) => {
            let mut command = Command::new(path);
            command.args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
            command.args(["--dir", &dir.display().to_string()]);
            command
        }
        Kind::Cairn { shards, memory } => {
            let mut command = Command::new(std::env::current_exe()?);
            command.args(["serve", "--port", &port, "--bind", "127.0.0.1", "--metrics-addr", "off"]);
            command.args(["--shards", &shards.to_string(), "--memory", memory]);
            if *shards == SLICING_SHARDS {
                command.args(["--slice-items", "3"]);
            }
            command.args(["--dir", &dir.join("data").display().to_string()]);
            command
        }
    };
    for (name, value) in SETTINGS {
        command.args([&format!("--{name}"), value]);
    }
    let log = File::options().append(true).create(true).open(dir.join("log"))?;
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()
}

/// Until it answers.
fn wait(child: &mut Child, port: u16, dir: &Path) -> io::Result<()> {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Err(io::Error::other(format!("it ended ({status}):\n{}", log_end(dir))));
        }
        if Client::connect(port).and_then(|mut client| client.ask(&["PING"])).is_ok_and(|reply| reply.is_line("+PONG"))
        {
            return Ok(());
        }
        if begun.elapsed() > Duration::from_secs(START_SECONDS_MAX) {
            return Err(io::Error::other(format!("it does not start in {START_SECONDS_MAX} s:\n{}", log_end(dir))));
        }
        thread::sleep(POLL);
    }
}

fn log_end(dir: &Path) -> String {
    let log = fs::read_to_string(dir.join("log")).unwrap_or_default();
    // What a panic says stands before its trace.
    let lines: Vec<&str> = log.lines().filter(|line| !line.starts_with(' ')).collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
}
