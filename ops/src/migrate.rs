//! Keys on their way to another server (MIGRATE): a thread for each command connects, sends what the shard has given it, and tells what became of each
//! key. No core waits for it; the shard keeps the keys locked meanwhile.

use crate::apart::{Then, apart};
use crate::limits::MIGRATIONS_MAX;
use crate::link::request;
use cairn_bench::differ::Reply;
use cairn_core::event::Migration;
use std::io::{self, BufReader, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// So many are under way.
#[derive(Clone, Default)]
pub struct Migrations(Arc<AtomicUsize>);

impl Migrations {
    /// `then` gets the answer, as [`cairn_core::event::HostAsk::Migrate`] says it.
    pub fn start(&self, migration: Migration, then: Then) {
        let Some(under_way) = self.enter() else {
            return then(Err(format!("TRYAGAIN {MIGRATIONS_MAX} other MIGRATE commands are under way")));
        };
        apart("cairn-migrate", "ERR MIGRATE has no thread", then, move || {
            // Also if there is no thread, and this is dropped with the work.
            let _under_way = under_way;
            carry(&migration)
        });
    }

    /// One more, if there may be.
    fn enter(&self) -> Option<UnderWay> {
        let more = |count: usize| (count < MIGRATIONS_MAX).then_some(count + 1);
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).ok()?;
        Some(UnderWay(Arc::clone(&self.0)))
    }
}

/// One of them: dropped when it is over.
struct UnderWay(Arc<AtomicUsize>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

const CONNECTING: &str = "IOERR error or timeout connecting to the client";
const WRITING: &str = "IOERR error or timeout writing to target instance";
const READING: &str = "IOERR error or timeout reading to target instance";

/// A line for each key: empty if it was taken there.
fn carry(migration: &Migration) -> Result<String, String> {
    let mut link = connect(migration).map_err(|_| CONNECTING.to_string())?;
    let (bytes, greetings) = requests(migration);
    if link.write_all(&bytes).is_err() {
        // Some may have arrived. Who does not know must not remove them.
        return Err(WRITING.into());
    }
    drop(bytes);
    let mut reader = BufReader::new(link);
    for _ in 0..greetings {
        match Reply::read(&mut reader) {
            Ok(reply) => refusal(&reply).map_or(Ok(()), Err)?,
            Err(_) => return Err(READING.into()),
        }
    }
    let mut lines = Vec::with_capacity(migration.carried.len());
    for _ in &migration.carried {
        match Reply::read(&mut reader) {
            Ok(reply) => lines.push(refusal(&reply).unwrap_or_default()),
            Err(_) => break,
        }
    }
    lines.resize(migration.carried.len(), READING.to_string());
    Ok(lines.join("\n"))
}

fn connect(migration: &Migration) -> io::Result<TcpStream> {
    let timeout = Duration::from_millis(migration.timeout_ms);
    let port = migration.port.parse().map_err(io::Error::other)?;
    let mut failed = io::Error::other("the name has no address");
    for address in (migration.host.as_str(), port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, timeout) {
            Ok(link) => {
                link.set_nodelay(true)?;
                link.set_write_timeout(Some(timeout))?;
                link.set_read_timeout(Some(timeout))?;
                return Ok(link);
            }
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// All that is sent, and how many replies come before those about keys.
fn requests(migration: &Migration) -> (Vec<u8>, usize) {
    let (mut bytes, mut greetings) = (Vec::new(), 1);
    if let Some(password) = &migration.password {
        let mut words: Vec<&[u8]> = vec![b"AUTH"];
        words.extend(migration.user.as_deref());
        words.push(password);
        request(&mut bytes, words.into_iter());
        greetings += 1;
    }
    let db = migration.db.to_string();
    request(&mut bytes, [&b"SELECT"[..], db.as_bytes()].into_iter());
    for carried in &migration.carried {
        let left_ms = carried.left_ms.to_string();
        let mut words: Vec<&[u8]> = vec![b"RESTORE", &carried.key, left_ms.as_bytes(), &carried.payload];
        words.extend(migration.is_replacing.then_some(&b"REPLACE"[..]));
        request(&mut bytes, words.into_iter());
    }
    (bytes, greetings)
}

/// The line that a client gets for an error of the other server.
fn refusal(reply: &Reply) -> Option<String> {
    let Reply::Line(line) = reply else { return None };
    let error = line.strip_prefix(b"-")?;
    Some(format!("ERR Target instance replied with error: {}", String::from_utf8_lossy(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_are_under_way_and_no_more() {
        let migrations = Migrations::default();
        let mut all: Vec<UnderWay> = (0..MIGRATIONS_MAX).map(|_| migrations.enter().unwrap()).collect();
        assert!(migrations.enter().is_none());
        all.pop();
        all.extend(migrations.enter());
        assert!(all.len() == MIGRATIONS_MAX && migrations.enter().is_none());
    }
}
