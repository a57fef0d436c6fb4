//! Owns one connection: how it is made (TCP or Unix, password, database, protocol), the bytes that wait to be
//! sent, and the requests that wait for their replies, in order.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use rustix::net::SendFlags;

use super::error::LoadError;
use super::scanner::{Reply, Scanner};

/// Where the server listens.
#[derive(Clone, Debug)]
pub enum Target {
    Tcp { host: String, port: u16 },
    Unix(PathBuf),
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// What every connection says before its first request.
#[derive(Clone, Debug, Default)]
pub struct Greeting {
    pub user: Option<String>,
    pub password: Option<String>,
    pub db: u32,
    pub resp3: bool,
}

/// A request without its reply.
#[derive(Clone, Copy, Debug)]
pub struct Pending {
    /// Latency counts from here, in nanoseconds since the run's start.
    pub since: u64,
    /// The last key number of the request.
    pub key: u64,
    /// Its place in the group's mix.
    pub command: u16,
}

/// One connection of a group.
#[derive(Debug)]
pub struct Connection {
    pub socket: OwnedFd,
    /// The group's index, and the connection's number in the group.
    pub group: usize,
    pub client: u32,
    /// Bytes to send, of which the first `sent` are gone.
    pub out: Vec<u8>,
    pub sent: usize,
    pub pending: VecDeque<Pending>,
    /// Replies that the first pending request still gets.
    pub replies_left: u32,
    /// One of the replies of the first pending request was an error.
    pub failed: bool,
    pub scanner: Scanner,
    pub answered: u64,
    /// The poller watches for room in the socket.
    pub wants_room: bool,
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

impl Connection {
    pub fn open(
        target: &Target,
        greeting: &Greeting,
        group: usize,
        client: u32,
        keep_payload: bool,
    ) -> Result<Self, LoadError> {
        let socket = connect(target, greeting)?;
        Ok(Self {
            socket,
            group,
            client,
            out: Vec::new(),
            sent: 0,
            pending: VecDeque::new(),
            replies_left: 0,
            failed: false,
            scanner: Scanner::new(keep_payload),
            answered: 0,
            wants_room: false,
        })
    }

    /// Sends what the socket takes; true when nothing is left.
    #[inline]
    pub fn flush(&mut self) -> io::Result<bool> {
        while self.sent < self.out.len() {
            match rustix::net::send(&self.socket, &self.out[self.sent..], SendFlags::NOSIGNAL) {
                Ok(sent) => self.sent += sent,
                Err(rustix::io::Errno::AGAIN) => return Ok(false),
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        self.out.clear();
        self.sent = 0;
        Ok(true)
    }
}

/// A socket that has been greeted and does not block; without a reply a blocking read of it gives up after [`CONNECT_TIMEOUT`].
pub(crate) fn connect(target: &Target, greeting: &Greeting) -> Result<OwnedFd, LoadError> {
    let failed = |source| LoadError::Connect { target: target.to_string(), source };
    match target {
        Target::Tcp { host, port } => {
            let stream = connect_tcp(host, *port).map_err(failed)?;
            stream.set_nodelay(true).map_err(failed)?;
            stream.set_read_timeout(Some(CONNECT_TIMEOUT)).map_err(failed)?;
            greet(&stream, &stream, target, greeting)?;
            stream.set_nonblocking(true).map_err(failed)?;
            Ok(stream.into())
        }
        Target::Unix(path) => {
            let stream = UnixStream::connect(path).map_err(failed)?;
            stream.set_read_timeout(Some(CONNECT_TIMEOUT)).map_err(failed)?;
            greet(&stream, &stream, target, greeting)?;
            stream.set_nonblocking(true).map_err(failed)?;
            Ok(stream.into())
        }
    }
}

/// The first of the host's addresses that answers.
fn connect_tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// HELLO or AUTH, and SELECT, each answered before the next.
fn greet(reader: impl Read, mut writer: impl Write, target: &Target, greeting: &Greeting) -> Result<(), LoadError> {
    let mut reader = BufReader::with_capacity(4096, reader);
    let mut ask = |command: &'static str, arguments: &[&str]| {
        let failed = |source| LoadError::Connect { target: target.to_string(), source };
        let mut request = format!("*{}\r\n", arguments.len()).into_bytes();
        for argument in arguments {
            request.extend_from_slice(format!("${}\r\n{argument}\r\n", argument.len()).as_bytes());
        }
        writer.write_all(&request).map_err(failed)?;
        let mut scanner = Scanner::new(false);
        match read_reply(&mut reader, &mut scanner).map_err(failed)? {
            Reply::Error => {
                Err(LoadError::Refused { target: target.to_string(), command, reply: scanner.error_text() })
            }
            _ => Ok(()),
        }
    };
    let user = greeting.user.as_deref();
    match (greeting.resp3, greeting.password.as_deref()) {
        (true, None) => ask("HELLO 3", &["HELLO", "3"])?,
        (true, Some(word)) => ask("HELLO 3 AUTH", &["HELLO", "3", "AUTH", user.unwrap_or("default"), word])?,
        (false, Some(word)) => match user {
            Some(user) => ask("AUTH", &["AUTH", user, word])?,
            None => ask("AUTH", &["AUTH", word])?,
        },
        (false, None) => {}
    }
    if greeting.db != 0 {
        ask("SELECT", &["SELECT", &greeting.db.to_string()])?;
    }
    Ok(())
}

/// Reads one whole reply; the scanner then has what is in it.
pub(super) fn read_reply(reader: &mut impl BufRead, scanner: &mut Scanner) -> io::Result<Reply> {
    loop {
        let bytes = reader.fill_buf()?;
        if bytes.is_empty() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection"));
        }
        let mut rest = bytes;
        let reply = scanner.next(&mut rest).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e.0))?;
        let taken = bytes.len() - rest.len();
        reader.consume(taken);
        match reply {
            None | Some(Reply::Push) => {}
            Some(reply) => return Ok(reply),
        }
    }
}
