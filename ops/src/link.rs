//! A connection to a server of the Redis protocol, for the tools that move data: requests out, replies in.

use cairn_bench::differ::Reply;
use std::io::{self, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

/// How long a server may take to answer: as long as it takes to write a long value.
const ANSWER_SECONDS_MAX: u64 = 300;

/// Where a server is, and as whom it is spoken to: `redis://[[user]:password@]host[:port]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    pub host: String,
    pub port: u16,
    pub user: Option<String>,
    pub password: Option<String>,
}

impl Address {
    /// `None` if the text is none: it may be a file's name.
    pub fn parse(text: &str) -> Option<Address> {
        let rest = text.strip_prefix("redis://").or_else(|| text.strip_prefix("valkey://"))?;
        let rest = rest.trim_end_matches('/');
        let (who, place) = rest.rsplit_once('@').map_or((None, rest), |(who, place)| (Some(who), place));
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port.parse().ok()?),
            _ => (place, 6379),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let (user, password) = match who.map(|who| who.split_once(':').unwrap_or((who, ""))) {
            None => (None, std::env::var("REDISCLI_AUTH").ok()),
            Some((user, password)) => {
                (Some(user.to_string()).filter(|user| !user.is_empty()), Some(password.to_string()))
            }
        };
        let is_whole = !host.is_empty() && !host.contains('/');
        is_whole.then(|| Address { host: host.to_string(), port, user, password })
    }
}

/// As clap wants it.
pub fn parse(text: &str) -> Result<Address, String> {
    Address::parse(text).ok_or_else(|| "expected redis://[user:password@]host:port".to_string())
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// A connection.
pub struct Link {
    pub writer: TcpStream,
    pub reader: BufReader<TcpStream>,
}

impl Link {
    pub fn open(address: &Address) -> io::Result<Link> {
        let writer = TcpStream::connect((address.host.as_str(), address.port))?;
        writer.set_nodelay(true)?;
        writer.set_read_timeout(Some(Duration::from_secs(ANSWER_SECONDS_MAX)))?;
        let reader = BufReader::with_capacity(1 << 20, writer.try_clone()?);
        let mut link = Link { writer, reader };
        if let Some(password) = &address.password {
            let user = address.user.as_deref().unwrap_or("default");
            // Servers before 6.0 have no users.
            match &address.user {
                Some(_) => link.demand(&["AUTH", user, password])?,
                None => link.demand(&["AUTH", password])?,
            };
        }
        link.demand(&["PING"])?;
        Ok(link)
    }

    pub fn ask(&mut self, words: &[&str]) -> io::Result<Reply> {
        let mut bytes = Vec::new();
        request(&mut bytes, words.iter().map(|word| word.as_bytes()));
        self.writer.write_all(&bytes)?;
        Reply::read(&mut self.reader)
    }

    /// The same, where an error is a failure.
    pub fn demand(&mut self, words: &[&str]) -> io::Result<Reply> {
        let reply = self.ask(words)?;
        if reply.is_error() {
            return Err(io::Error::other(format!("{}: {reply}", words[0])));
        }
        Ok(reply)
    }

    /// A field of a section of INFO.
    pub fn info(&mut self, section: &str) -> io::Result<String> {
        let Reply::Bulk { bytes: Some(bytes), .. } = self.demand(&["INFO", section])? else {
            return Err(io::Error::other("INFO has no text"));
        };
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// How many keys each database has that has any.
    pub fn sizes(&mut self) -> io::Result<Vec<(u64, u64)>> {
        let text = self.info("keyspace")?;
        let size = |line: &str| {
            let (db, rest) = line.strip_prefix("db")?.split_once(":keys=")?;
            Some((db.parse().ok()?, rest.split(',').next()?.trim().parse().ok()?))
        };
        Ok(text.lines().filter_map(size).filter(|(_, keys)| *keys > 0).collect())
    }

    /// The same of the moment that an open transaction reads. Afterwards some database is chosen.
    pub fn sizes_by_select(&mut self) -> io::Result<Vec<(u64, u64)>> {
        let mut sizes = Vec::new();
        for db in 0.. {
            let chosen = self.ask(&["SELECT", &db.to_string()])?;
            if chosen.begins("-ERR DB index is out of range") {
                break;
            }
            if chosen.is_error() {
                return Err(io::Error::other(format!("SELECT: {chosen}")));
            }
            let reply = self.demand(&["DBSIZE"])?;
            let keys = reply.integer().and_then(|keys| u64::try_from(keys).ok());
            sizes.push((db, keys.ok_or_else(|| io::Error::other(format!("DBSIZE: {reply}")))?));
        }
        sizes.retain(|(_, keys)| *keys > 0);
        Ok(sizes)
    }
}

/// Appends a request.
pub fn request<'a>(out: &mut Vec<u8>, words: impl ExactSizeIterator<Item = &'a [u8]>) {
    // A vector takes whatever is written.
    let _ = write!(out, "*{}\r\n", words.len());
    for word in words {
        let _ = write!(out, "${}\r\n", word.len());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_from_files() {
        let check = |text: &str, expect: Option<(&str, u16, Option<&str>, Option<&str>)>| {
            let address = Address::parse(text);
            let found = address.as_ref().map(|address| {
                (address.host.as_str(), address.port, address.user.as_deref(), address.password.as_deref())
            });
            assert_eq!(found, expect, "{text}");
        };
        check("redis://127.0.0.1:7000", Some(("127.0.0.1", 7000, None, None)));
        check("redis://host", Some(("host", 6379, None, None)));
        check("valkey://[::1]:7000/", Some(("::1", 7000, None, None)));
        check("redis://[::1]", Some(("::1", 6379, None, None)));
        check("redis://:p@ss@host:1", Some(("host", 1, None, Some("p@ss"))));
        check("redis://me:secret@host", Some(("host", 6379, Some("me"), Some("secret"))));
        for text in ["dump.rdb", "/data/dump.rdb", "redis://", "redis://host:x", "redis://host:70000", "redis:///file"]
        {
            check(text, None);
        }
    }
}
