//! `cairn export`: everything that a running server has at one moment, as an RDB file: of the version of its payloads (`dump-payload-version`), 11 unless
//! it says otherwise, which Redis 7.2 and later load. Why so: `docs/decisions/0043-exports.md`.

use crate::link::{self, Address, Link, request};
use crate::say;
use cairn_bench::differ::{Reply, shown};
use cairn_core::rdb::{Crc64, Version, payload, write};
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::fs::{self, File};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::net::Shutdown;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Keys that are asked for at once.
const SCAN_COUNT: &str = "200";

/// How often a snapshot is begun anew because functions were loaded or deleted beside it.
const BEGINNINGS_MAX: u32 = 100;

/// Arguments of `cairn export`.
#[derive(Args, Debug)]
pub struct ExportArgs {
    /// The file that is written. It must not be there
    pub file: PathBuf,
    /// The server that is read
    #[arg(long, value_name = "ADDRESS", default_value = "redis://127.0.0.1:6379", value_parser = link::parse)]
    pub from: Address,
    /// Each key of the moment when its turn comes, the file of no moment: the server keeps nothing for it
    #[arg(long)]
    pub each_key: bool,
    /// Show no progress
    #[arg(short, long)]
    pub quiet: bool,
}

pub fn run(args: &ExportArgs) -> ExitCode {
    match export(args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all keys have been written.
fn export(args: &ExportArgs) -> io::Result<bool> {
    if args.file.exists() {
        return Err(io::Error::other(format!("{} is there already", args.file.display())));
    }
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", args.from));
    let mut link = Link::open(&args.from).map_err(named)?;
    // It has its name when it is whole.
    let mut part = args.file.clone().into_os_string();
    part.push(".part");
    let part = PathBuf::from(part);
    let mut output = Output::create(&part)?;
    let result = write_all(&mut link, &mut output, args).map_err(named);
    match result.and_then(|counts| output.finish(&part, &args.file).map(|()| counts)) {
        Ok(Counts { written, refused, is_of_one_moment, .. }) => {
            let moment =
                if is_of_one_moment { "as they were at one moment" } else { "each as it was when its turn came" };
            say(&format!("{written} keys were written to {}, {moment}\n", args.file.display()));
            refused.iter().for_each(|line| eprintln!("NOT written: {line}"));
            Ok(refused.is_empty())
        }
        Err(error) => {
            let _ = fs::remove_file(&part);
            Err(error)
        }
    }
}

/// The file, and the checksum of what is in it.
struct Output {
    file: BufWriter<File>,
    crc: Crc64,
    bytes: Vec<u8>,
}

impl Output {
    fn create(path: &Path) -> io::Result<Output> {
        let file = BufWriter::with_capacity(1 << 20, File::create(path)?);
        Ok(Output { file, crc: Crc64::default(), bytes: Vec::new() })
    }

    /// Writes what has been put into `bytes`.
    fn flush(&mut self) -> io::Result<()> {
        self.crc.add(&self.bytes);
        self.file.write_all(&self.bytes)?;
        self.bytes.clear();
        Ok(())
    }

    fn finish(mut self, part: &Path, path: &Path) -> io::Result<()> {
        self.flush()?;
        write::end(&mut self.bytes, self.crc);
        self.file.write_all(&self.bytes)?;
        let file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        fs::rename(part, path)
    }
}

/// What has been written.
struct Counts {
    written: u64,
    /// Keys that were not, with the reason.
    refused: Vec<String>,
    is_of_one_moment: bool,
    /// By which error the snapshot has ended.
    ended: Option<String>,
}

fn write_all(link: &mut Link, output: &mut Output, args: &ExportArgs) -> io::Result<Counts> {
    let mut libraries = link.demand(&["FUNCTION", "DUMP"])?;
    let is_of_one_moment = match args.each_key {
        true => false,
        false => begin(link, &mut libraries).map_err(|error| explained(link, args, error))?,
    };
    let Reply::Bulk { bytes: Some(libraries), .. } = libraries else {
        return Err(io::Error::other("FUNCTION DUMP: it is no string"));
    };
    let version = payload::version(&libraries).unwrap_or(Version::default() as u16);
    write::header(&mut output.bytes, version);
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    write::aux(&mut output.bytes, "cairn-ver", env!("CARGO_PKG_VERSION").as_bytes());
    write::aux(&mut output.bytes, "ctime", now_s.to_string().as_bytes());
    // Their body is what a file has of them.
    output.bytes.extend_from_slice(body_of(&libraries)?);
    let mut counts = Counts { written: 0, refused: Vec::new(), is_of_one_moment, ended: None };
    if let Err(error) = write_databases(link, output, args.quiet, &mut counts) {
        return Err(if is_of_one_moment { explained(link, args, error) } else { error });
    }
    if is_of_one_moment {
        // All has been read: what becomes of the snapshot now does not matter.
        let _ = link.ask(&["COMMIT"]);
    }
    Ok(counts)
}

/// Begins a snapshot; the libraries of functions are of the same moment. `false`: the server has none.
fn begin(link: &mut Link, libraries: &mut Reply) -> io::Result<bool> {
    for _ in 0..BEGINNINGS_MAX {
        let begun = link.ask(&["BEGIN", "READ", "ONLY"])?;
        if begun.begins("-ERR unknown command") {
            eprintln!(
                "The server has no snapshots: each key is of one moment, the file is not. For that nobody may write meanwhile."
            );
            return Ok(false);
        }
        if begun.is_error() {
            return Err(io::Error::other(format!("BEGIN: {begun}")));
        }
        // They are shown as they are now, also in a snapshot. What they are on both sides of its moment they were at it.
        let behind = link.demand(&["FUNCTION", "DUMP"])?;
        if behind == *libraries {
            return Ok(true);
        }
        *libraries = behind;
        link.demand(&["ROLLBACK"])?;
    }
    Err(io::Error::other("functions are loaded or deleted without a pause"))
}

/// What somebody is told who runs an export whose snapshot has ended.
fn explained(link: &mut Link, args: &ExportArgs, error: io::Error) -> io::Error {
    let mut text = error.to_string();
    if !text.contains("-SNAPSHOTTOOOLD") && !text.contains("-TXN") {
        return error;
    }
    // A shard may know that it is over before it knows why.
    for _ in 0..REASONS_MAX {
        match link.ask(&["DBSIZE"]) {
            Ok(reply) if reply.begins("-SNAPSHOTTOOOLD") || reply.begins("-TXN") => text = reply.to_string(),
            _ => break,
        }
        if !text.contains("is not kept any more") {
            break;
        }
        thread::sleep(Duration::from_millis(10));
    }
    let why = match () {
        () if text.contains(NO_MEMORY) => {
            let now = Link::open(&args.from).and_then(|mut link| link.demand(&["CONFIG", "GET", NO_MEMORY]));
            let now = now.ok().and_then(|reply| Some(shown(bulk(reply.items()?.get(1)?)?)));
            let now = now.map(|bytes| format!(": {bytes} bytes")).unwrap_or_default();
            format!(
                "while it ran clients changed more than the server keeps of what was before ({NO_MEMORY}{now}, in each shard). Give it more, \
                 such as CONFIG SET {NO_MEMORY} 1gb, and begin again; or use --each-key: each key is of one moment then, the file is not"
            )
        }
        () if text.contains("emptied or exchanged") => {
            "while it ran FLUSHALL, FLUSHDB or SWAPDB emptied or exchanged a database. Begin it again".to_owned()
        }
        () => "the server has ended its snapshot. Begin it again".to_owned(),
    };
    io::Error::new(error.kind(), format!("the export was not finished: {why} ({text})"))
}

/// How often it is asked why, if it does not say.
const REASONS_MAX: u32 = 100;

/// The parameter that bounds what a snapshot takes, and the word by which the server says so.
const NO_MEMORY: &str = "txn-snapshot-memory";

fn write_databases(link: &mut Link, output: &mut Output, is_quiet: bool, counts: &mut Counts) -> io::Result<()> {
    let sizes = if counts.is_of_one_moment { link.sizes_by_select()? } else { link.sizes()? };
    let bar = bar(sizes.iter().map(|(_, keys)| keys).sum(), is_quiet);
    for (db, keys) in sizes {
        let name = u8::try_from(db).map_err(|_| io::Error::other(format!("database {db}")))?;
        link.demand(&["SELECT", &db.to_string()])?;
        write::database(&mut output.bytes, name, keys, 0);
        let mut cursor = "0".to_string();
        loop {
            let reply = link.demand(&["SCAN", &cursor, "COUNT", SCAN_COUNT])?;
            let Some([Reply::Bulk { bytes: Some(next), .. }, found]) = reply.items() else {
                return Err(io::Error::other(format!("SCAN: {reply}")));
            };
            let keys: Vec<&[u8]> = found.items().unwrap_or_default().iter().filter_map(bulk).collect();
            write_keys(link, output, &keys, counts)?;
            bar.set_position(counts.written);
            cursor = String::from_utf8_lossy(next).into_owned();
            if cursor == "0" {
                break;
            }
        }
    }
    bar.finish_and_clear();
    Ok(())
}

/// Writes these keys, each with its time to live as it is at one moment.
fn write_keys(link: &mut Link, output: &mut Output, keys: &[&[u8]], counts: &mut Counts) -> io::Result<()> {
    let mut requests = Vec::new();
    for key in keys {
        let words: [&[&[u8]]; 4] = [&[b"MULTI"], &[b"DUMP", key], &[b"PEXPIRETIME", key], &[b"EXEC"]];
        let words = if counts.is_of_one_moment { &words[1..3] } else { &words[..] };
        words.iter().for_each(|words| request(&mut requests, words.iter().copied()));
    }
    let mut sender = link.writer.try_clone()?;
    // Replies may be long: they are read while the requests are sent.
    thread::scope(|scope| {
        let sending = scope.spawn(move || sender.write_all(&requests));
        let written = keys.iter().try_for_each(|key| write_key(link, output, key, counts));
        if written.is_err() {
            // Nobody reads what is still answered, so it might never be sent.
            let _ = link.writer.shutdown(Shutdown::Both);
        }
        let sent = sending.join().expect("it only writes");
        written.and(sent)?;
        counts.ended.take().map_or(Ok(()), |line| Err(io::Error::other(line)))
    })
}

fn write_key(link: &mut Link, output: &mut Output, key: &[u8], counts: &mut Counts) -> io::Result<()> {
    if !counts.is_of_one_moment {
        for _ in 0..3 {
            Reply::read(&mut link.reader)?;
        }
    }
    let first = Reply::read(&mut link.reader)?;
    let (dumped, at) = match first.items() {
        Some([dumped, at]) if !counts.is_of_one_moment => (dumped, at),
        _ if !counts.is_of_one_moment => {
            counts.refused.push(format!("\"{}\": {first}", shown(key)));
            return Ok(());
        }
        _ => (&first, &Reply::read(&mut link.reader)?),
    };
    let is_ended = |reply: &Reply| reply.begins("-SNAPSHOTTOOOLD") || reply.begins("-TXN");
    match dumped {
        // All that follows is answered so.
        _ if counts.ended.is_some() => {}
        _ if counts.is_of_one_moment && (is_ended(dumped) || is_ended(at)) => {
            counts.ended =
                Some(if is_ended(dumped) { format!("DUMP: {dumped}") } else { format!("PEXPIRETIME: {at}") });
        }
        Reply::Bulk { bytes: Some(payload), .. } => {
            if at.is_error() {
                return Err(io::Error::other(format!("PEXPIRETIME: {at}")));
            }
            let expire_ms = at.integer().and_then(|ms| u64::try_from(ms).ok());
            write::key(&mut output.bytes, key, expire_ms, body_of(payload)?);
            output.flush()?;
            counts.written += 1;
        }
        // It is gone by now.
        Reply::Bulk { bytes: None, .. } if !counts.is_of_one_moment => {}
        other => counts.refused.push(format!("\"{}\": {other}", shown(key))),
    }
    Ok(())
}

fn body_of(bytes: &[u8]) -> io::Result<&[u8]> {
    // A hash whose fields expire is of the latest one: only Redis 7.4 and later load a file with such.
    payload::body(bytes, Version::Twelve as u16).map_err(|invalid| io::Error::new(io::ErrorKind::InvalidData, invalid))
}

fn bulk(item: &Reply) -> Option<&[u8]> {
    if let Reply::Bulk { bytes: Some(bytes), .. } = item { Some(bytes) } else { None }
}

fn bar(keys: u64, is_quiet: bool) -> ProgressBar {
    if is_quiet || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(keys), ProgressDrawTarget::stderr_with_hz(5));
    bar.set_style(ProgressStyle::with_template("[{wide_bar}] {percent:>3} % {pos} keys").expect("it is a constant"));
    bar
}
