//! A server of the run's own: started, killed and started again on the same directory.

use super::limits::START_SECONDS_MAX;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Its process, which ends with this value, and where it lives.
pub struct Server {
    child: Child,
    pub port: u16,
    dir: PathBuf,
    args: Vec<String>,
}

const POLL: Duration = Duration::from_millis(2);
const PATIENCE: Duration = Duration::from_secs(2);
/// Lines of the log that are shown of a server that failed.
const LOG_LINES: usize = 20;

impl Server {
    /// With a new directory below `parent`, the same program as this process.
    pub fn start(parent: &Path, port: u16, shards: u16, more: &[String]) -> io::Result<Server> {
        let port = if port > 0 { port } else { TcpListener::bind("127.0.0.1:0")?.local_addr()?.port() };
        let dir = fs::canonicalize(parent)?.join(format!("cairn-verify-{}-{port}", std::process::id()));
        fs::create_dir(&dir)?;
        let mut args: Vec<String> =
            ["serve", "--bind", "127.0.0.1", "--metrics-addr", "off", "--dir"].map(Into::into).into();
        args.push(dir.join("data").display().to_string());
        args.extend(["--port".into(), port.to_string(), "--shards".into(), shards.to_string()]);
        args.extend_from_slice(more);
        let child = spawn(&dir, &args)?;
        let mut server = Server { child, port, dir, args };
        server.wait()?;
        Ok(server)
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// SIGKILL. What it had sent is still to be read.
    pub fn kill(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    /// After a kill. How long it took until it answered.
    pub fn restart(&mut self) -> io::Result<Duration> {
        let begun = Instant::now();
        self.child = spawn(&self.dir, &self.args)?;
        self.wait()?;
        Ok(begun.elapsed())
    }

    /// What became of it, if it ended by itself.
    pub fn ended(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok().flatten()?;
        Some(format!("the server ended by itself ({status}):\n{}", self.log_end()))
    }

    /// Begins a checkpoint. Whether one is running already does not matter.
    pub fn save(&self) -> io::Result<()> {
        let mut socket = TcpStream::connect(("127.0.0.1", self.port))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.write_all(b"BGSAVE\r\n")?;
        socket.read(&mut [0; 64]).map(drop)
    }

    /// All is well: nothing is kept.
    pub fn remove(mut self) -> io::Result<()> {
        self.kill()?;
        fs::remove_dir_all(&self.dir)
    }

    fn wait(&mut self) -> io::Result<()> {
        let begun = Instant::now();
        loop {
            if let Some(what) = self.ended() {
                return Err(io::Error::other(what));
            }
            if self.answers() {
                return Ok(());
            }
            if begun.elapsed() > Duration::from_secs(START_SECONDS_MAX) {
                let what = format!("the server does not start in {START_SECONDS_MAX} s:\n{}", self.log_end());
                return Err(io::Error::new(io::ErrorKind::TimedOut, what));
            }
            thread::sleep(POLL);
        }
    }

    fn answers(&self) -> bool {
        let Ok(mut socket) = TcpStream::connect(("127.0.0.1", self.port)) else { return false };
        let mut reply = [0; 7];
        socket.set_read_timeout(Some(PATIENCE)).is_ok()
            && socket.write_all(b"PING\r\n").is_ok()
            && socket.read_exact(&mut reply).is_ok()
            && reply == *b"+PONG\r\n"
    }

    fn log_end(&self) -> String {
        let log = fs::read_to_string(self.dir.join("log")).unwrap_or_default();
        // What a panic says stands before its trace, which is for those who read the whole log.
        let lines: Vec<&str> = log.lines().filter(|line| !line.starts_with(' ')).collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }
}

fn spawn(dir: &Path, args: &[String]) -> io::Result<Child> {
    let log = File::options().append(true).create(true).open(dir.join("log"))?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(args).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    command.spawn()
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
