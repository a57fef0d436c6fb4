//! `cairn import redis://...`: follows a server as its replica, until clients can be moved.
//!
//! The server sends all it has as an RDB file, and then every change as a command. One thread applies these; another one tells the server how far
//! that is, looks how far the server is, and decides on the end: when it is wanted, nothing is left to apply, and both have as many keys.

use super::feed::Feed;
use super::loading::Loader;
use super::progress::Progress;
use super::{ImportArgs, load, refusals, report, within};
use crate::link::{Address, Link, request};
use crate::say;
use cairn_bench::differ::{Reply, shown};
use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Cursor, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How often the server is looked at, and how often it is told how far this is.
const LOOK_EVERY: Duration = Duration::from_millis(250);
const ACK_EVERY: Duration = Duration::from_secs(1);

/// How often keys are counted again where the numbers differ: some may be past their time and not yet removed.
const COUNTS_MAX: u32 = 40;

/// What the threads share.
#[derive(Default)]
struct Shared {
    /// The server's offset up to which all is applied.
    applied: AtomicU64,
    /// The end is wanted.
    is_wanted: AtomicBool,
    /// It is over: by decision, or because of an error.
    is_done: AtomicBool,
}

/// Keys of each database.
type Sizes = Vec<(u64, u64)>;

pub fn run(args: &ImportArgs, source: &Address, mut loader: Loader) -> io::Result<bool> {
    let named = |error| within(source, error);
    let mut link = Link::open(source).map_err(named)?;
    let (offset, frame) = begin(&mut link).map_err(named)?;
    let mut progress = Progress::new(frame.len(), args.quiet);
    let mut writer = link.writer.try_clone()?;
    let mut feed = Feed::new(link.reader);
    let mut told = Instant::now();
    load(&mut feed, &mut loader, &mut progress, || {
        // Lest the server take this for dead.
        if told.elapsed() >= ACK_EVERY {
            told = Instant::now();
            writer.write_all(b"\n")?;
        }
        Ok(())
    })
    .map_err(named)?;
    let (rest, socket) = feed.into_rest();
    let mut stream = Stream { reader: BufReader::with_capacity(1 << 20, Cursor::new(rest).chain(socket)), offset };
    frame.end(&mut stream)?;
    stream.offset = offset;
    progress.say("all that was there is sent; following what changes");
    let shared = Arc::new(Shared { applied: AtomicU64::new(offset), ..Shared::default() });
    shared.is_wanted.store(args.until_caught_up, Ordering::Relaxed);
    if !args.until_caught_up {
        await_enter(Arc::clone(&shared));
    }
    let watcher = Watcher::open(source, &args.to, writer, Arc::clone(&shared), progress)?;
    let watcher = thread::spawn(move || watcher.run());
    let applied = apply(&mut stream, &mut loader, &shared);
    shared.is_done.store(true, Ordering::Relaxed);
    let watched = watcher.join().expect("the watcher does not panic");
    let commands = applied?;
    let (there, here) = watched?;
    finish(args, source, &loader, commands, (&there, &here))
}

fn finish(
    args: &ImportArgs,
    source: &Address,
    loader: &Loader,
    commands: u64,
    (there, here): (&Sizes, &Sizes),
) -> io::Result<bool> {
    let mut text = report(&loader.counts);
    _ = writeln!(text, "{commands} commands were followed");
    text.push_str(&refusals(&loader.sink));
    let keys = |sizes: &Sizes, db| sizes.iter().find(|(other, _)| *other == db).map_or(0, |(_, keys)| *keys);
    let mut dbs: Vec<u64> = there.iter().chain(here).map(|(db, _)| *db).collect();
    dbs.sort_unstable();
    dbs.dedup();
    for db in dbs {
        _ = writeln!(text, "database {db}: {} keys at {source}, {} at {}", keys(there, db), keys(here, db), args.to);
    }
    let is_whole = there == here && loader.sink.refused == 0;
    text.push_str(match is_whole {
        true => "Nothing is left to follow, and the numbers agree: clients can be moved now.\n",
        false => "The numbers DIFFER, or keys were refused: do not move clients before you know why.\n",
    });
    say(&text);
    Ok(is_whole)
}

/// How the file is sent.
enum Frame {
    Bytes(u64),
    /// The server does not know beforehand; these bytes follow it.
    Mark(Vec<u8>),
}

impl Frame {
    fn len(&self) -> Option<u64> {
        if let Frame::Bytes(len) = self { Some(*len) } else { None }
    }

    /// What stands between the file and the commands.
    fn end(&self, stream: &mut Stream<impl BufRead>) -> io::Result<()> {
        let Frame::Mark(mark) = self else { return Ok(()) };
        let mut found = vec![0; mark.len()];
        stream.reader.read_exact(&mut found)?;
        if found == *mark { Ok(()) } else { Err(io::Error::other("what the server sent does not end as announced")) }
    }
}

/// Asks for everything. The offset behind the file, and how it comes.
fn begin(link: &mut Link) -> io::Result<(u64, Frame)> {
    link.demand(&["REPLCONF", "capa", "eof", "capa", "psync2"])?;
    let mut ask = Vec::new();
    request(&mut ask, ["PSYNC", "?", "-1"].iter().map(|word| word.as_bytes()));
    link.writer.write_all(&ask)?;
    let line = line(link)?;
    let offset = line.strip_prefix("+FULLRESYNC ").and_then(|rest| rest.split(' ').nth(1)?.parse().ok());
    let offset = offset.ok_or_else(|| io::Error::other(format!("PSYNC: {line}")))?;
    let line = self::line(link)?;
    let frame = match line.strip_prefix("$EOF:") {
        Some(mark) => Some(Frame::Mark(mark.as_bytes().to_vec())),
        None => line.strip_prefix('$').and_then(|len| Some(Frame::Bytes(len.parse().ok()?))),
    };
    Ok((offset, frame.ok_or_else(|| io::Error::other(format!("no file follows: {line}")))?))
}

/// The next line that is not empty: the server sends empty ones while it works.
fn line(link: &mut Link) -> io::Result<String> {
    loop {
        let mut line = Vec::new();
        if link.reader.read_until(b'\n', &mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end();
        if !text.is_empty() {
            return Ok(text.to_string());
        }
    }
}

/// The commands that follow, and how far they have been read.
struct Stream<R> {
    reader: R,
    offset: u64,
}

impl<R: BufRead> Read for Stream<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(out)?;
        self.offset += count as u64;
        Ok(count)
    }
}

impl<R: BufRead> BufRead for Stream<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.reader.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        self.offset += count as u64;
        self.reader.consume(count);
    }
}

/// Applies commands until the connection ends, which is right if it is over. How many there were.
fn apply<R: Read>(stream: &mut Stream<BufReader<R>>, loader: &mut Loader, shared: &Shared) -> io::Result<u64> {
    let mut commands = 0;
    loop {
        let begin = stream.offset;
        let frame = match Reply::read(stream) {
            Ok(frame) => frame,
            Err(_) if shared.is_done.load(Ordering::Relaxed) => return Ok(commands),
            Err(error) => return Err(within(&"the server's changes", error)),
        };
        let words: Option<Vec<&[u8]>> = frame.items().and_then(|items| items.iter().map(bulk).collect());
        let Some(words) = words.filter(|words| !words.is_empty()) else {
            return Err(io::Error::other(format!("no command at offset {begin}: {frame}")));
        };
        if !words[0].eq_ignore_ascii_case(b"PING") && !words[0].eq_ignore_ascii_case(b"REPLCONF") {
            commands += 1;
            loader.sink.command(&words, &format!(" (offset {begin})"))?;
        }
        if stream.reader.buffer().is_empty() {
            loader.sink.drain()?;
            shared.applied.store(stream.offset, Ordering::Relaxed);
        }
    }
}

fn bulk(item: &Reply) -> Option<&[u8]> {
    if let Reply::Bulk { bytes: Some(bytes), .. } = item { Some(bytes) } else { None }
}

/// The end is wanted as soon as somebody presses Enter.
fn await_enter(shared: Arc<Shared>) {
    eprintln!("Press Enter when no client writes to the source any more.");
    thread::spawn(move || {
        let mut line = String::new();
        if io::stdin().read_line(&mut line).is_ok_and(|count| count > 0) {
            shared.is_wanted.store(true, Ordering::Relaxed);
        }
    });
}

/// Looks at both servers.
struct Watcher {
    source: Link,
    target: Link,
    /// Of the connection on which the commands come.
    writer: TcpStream,
    shared: Arc<Shared>,
    progress: Progress,
}

impl Watcher {
    fn open(
        source: &Address,
        target: &Address,
        writer: TcpStream,
        shared: Arc<Shared>,
        progress: Progress,
    ) -> io::Result<Watcher> {
        Ok(Watcher { source: Link::open(source)?, target: Link::open(target)?, writer, shared, progress })
    }

    /// Until it is over. How many keys both have then.
    fn run(mut self) -> io::Result<(Sizes, Sizes)> {
        let result = self.watch();
        self.progress.finish();
        self.shared.is_done.store(true, Ordering::Relaxed);
        // It may be closed already.
        let _ = self.writer.shutdown(Shutdown::Both);
        result
    }

    fn watch(&mut self) -> io::Result<(Sizes, Sizes)> {
        let (mut told, mut counted) = (Instant::now() - ACK_EVERY, 0);
        while !self.shared.is_done.load(Ordering::Relaxed) {
            let applied = self.shared.applied.load(Ordering::Relaxed);
            if told.elapsed() >= ACK_EVERY {
                told = Instant::now();
                let mut ack = Vec::new();
                let offset = applied.to_string();
                request(&mut ack, [&b"REPLCONF"[..], b"ACK", offset.as_bytes()].into_iter());
                self.writer.write_all(&ack)?;
            }
            let lag = self.offset()?.saturating_sub(applied);
            self.progress.say(&format!("{lag} bytes behind"));
            if lag == 0 && self.shared.is_wanted.load(Ordering::Relaxed) {
                let (there, here) = (self.source.sizes()?, self.target.sizes()?);
                counted += 1;
                if there == here || counted == COUNTS_MAX {
                    return Ok((there, here));
                }
            }
            thread::sleep(LOOK_EVERY);
        }
        Ok((Sizes::new(), Sizes::new()))
    }

    /// How far the server is.
    fn offset(&mut self) -> io::Result<u64> {
        let text = self.source.info("replication")?;
        let offset = text.lines().find_map(|line| line.strip_prefix("master_repl_offset:")?.trim().parse().ok());
        offset.ok_or_else(|| io::Error::other(format!("INFO has no offset: {}", shown(text.as_bytes()))))
    }
}
