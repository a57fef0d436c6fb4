//! What a window has left in its database: its keys, and hashes of their values.

use super::limits::WITNESS_LINES_MAX;
use crate::sim::reply::{Frame, frame_len, parse, shown};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Keys that are asked for at once.
const KEYS_AT_ONCE: usize = 1000;
const PATIENCE: Duration = Duration::from_secs(30);

/// All of a database.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Left {
    hashes: BTreeMap<Vec<u8>, u64>,
}

impl Left {
    pub fn note(&mut self, key: &[u8], value: &[u8]) {
        let mut hasher = DefaultHasher::new();
        hasher.write(value);
        self.hashes.insert(key.to_vec(), hasher.finish());
    }

    /// What is different now, a line for each key; of very many not all.
    pub fn changes(&self, now: &Left) -> Vec<String> {
        let line = |key: &[u8], what| format!("{}: {what}", shown(key));
        let before = self.hashes.iter().filter_map(|(key, hash)| match now.hashes.get(key) {
            None => Some(line(key, "it is gone")),
            Some(other) if other != hash => Some(line(key, "it has another value")),
            Some(_) => None,
        });
        let new = now.hashes.keys().filter(|key| !self.hashes.contains_key(*key));
        before.chain(new.map(|key| line(key, "it was not there"))).take(WITNESS_LINES_MAX).collect()
    }
}

/// A connection beside those of the run, to one database.
pub struct Reader {
    socket: TcpStream,
    input: Vec<u8>,
}

impl Reader {
    pub fn connect(host: &str, port: u16, db: u32) -> Result<Reader, String> {
        let socket = TcpStream::connect((host, port)).map_err(|error| error.to_string())?;
        socket.set_read_timeout(Some(PATIENCE)).map_err(|error| error.to_string())?;
        let mut reader = Reader { socket, input: Vec::new() };
        reader.ask(&[b"SELECT", db.to_string().as_bytes()], |frame| is_ok(&frame))?;
        Ok(reader)
    }

    /// Everything that is there. Nobody may write meanwhile.
    pub fn read_all(&mut self) -> Result<Left, String> {
        let mut left = Left::default();
        let mut cursor = b"0".to_vec();
        loop {
            let count = KEYS_AT_ONCE.to_string();
            let (next, keys) = self.ask(&[b"SCAN", &cursor, b"COUNT", count.as_bytes()], |frame| match frame {
                Frame::Array(parts) => match &parts[..] {
                    [Frame::Bulk(next), Frame::Array(keys)] => Ok((next.to_vec(), bulks(keys)?)),
                    other => Err(format!("SCAN: {other:?}")),
                },
                other => Err(format!("SCAN: {other:?}")),
            })?;
            for keys in keys.chunks(KEYS_AT_ONCE) {
                let words: Vec<&[u8]> = std::iter::once(&b"MGET"[..]).chain(keys.iter().map(|key| &key[..])).collect();
                let values = self.ask(&words, |frame| match frame {
                    Frame::Array(values) => values.iter().map(value).collect::<Result<Vec<_>, _>>(),
                    other => Err(format!("MGET: {other:?}")),
                })?;
                keys.iter().zip(values).for_each(|(key, value)| left.note(key, &value));
            }
            if next == b"0" {
                return Ok(left);
            }
            cursor = next;
        }
    }

    pub fn empty(&mut self) -> Result<(), String> {
        self.ask(&[b"FLUSHDB"], |frame| is_ok(&frame))
    }

    fn ask<T>(&mut self, words: &[&[u8]], take: impl FnOnce(Frame<'_>) -> Result<T, String>) -> Result<T, String> {
        let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            bytes.extend_from_slice(word);
            bytes.extend_from_slice(b"\r\n");
        }
        let failed = |error: std::io::Error| format!("{}: {error}", shown(words[0]));
        self.socket.write_all(&bytes).map_err(failed)?;
        self.input.clear();
        let mut buffer = vec![0; 64 << 10];
        while frame_len(&self.input)?.is_none() {
            match self.socket.read(&mut buffer).map_err(failed)? {
                0 => return Err(format!("{}: the server closed the connection", shown(words[0]))),
                len => self.input.extend_from_slice(&buffer[..len]),
            }
        }
        take(parse(&self.input).ok_or_else(|| format!("no reply: {}", shown(&self.input)))?)
    }
}

fn is_ok(frame: &Frame) -> Result<(), String> {
    if *frame == Frame::Line(b"+OK") { Ok(()) } else { Err(format!("no OK: {frame:?}")) }
}

/// Of a key that is no string it is only known that it is there.
fn value(frame: &Frame) -> Result<Vec<u8>, String> {
    if *frame == Frame::Null { Ok(Vec::new()) } else { bulk(frame) }
}

fn bulks(frames: &[Frame]) -> Result<Vec<Vec<u8>>, String> {
    frames.iter().map(bulk).collect()
}

fn bulk(frame: &Frame) -> Result<Vec<u8>, String> {
    match frame {
        Frame::Bulk(bytes) => Ok(bytes.to_vec()),
        other => Err(format!("a key or a value is {other:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::Left;

    fn left(rows: &[(&str, &str)]) -> Left {
        let mut left = Left::default();
        rows.iter().for_each(|(key, value)| left.note(key.as_bytes(), value.as_bytes()));
        left
    }

    #[test]
    fn whatever_has_changed_is_named() {
        let before = left(&[("a", "1"), ("b", "2"), ("c", "")]);
        assert_eq!(before.changes(&left(&[("a", "1"), ("b", "2"), ("c", "")])), [""; 0]);
        assert_eq!(before.changes(&left(&[("a", "1"), ("b", "2")])), ["c: it is gone"]);
        assert_eq!(before.changes(&left(&[("a", "1"), ("b", ""), ("c", "")])), ["b: it has another value"]);
        let more = before.changes(&left(&[("a", "1"), ("b", "2"), ("c", ""), ("d", "")]));
        assert_eq!(more, ["d: it was not there"]);
    }
}
