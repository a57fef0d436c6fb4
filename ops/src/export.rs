//! `cairn export`: everything that a running server has, as an RDB file: of the version of its payloads (`dump-payload-version`), 11 unless it
//! says otherwise, which Redis 7.2 and later load.

use crate::link::{self, Address, Link, request};
use crate::say;
use cairn_bench::differ::{Reply, shown};
use cairn_core::rdb::{Crc64, Version, payload, write};
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::fs::{self, File};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

/// Keys that are asked for at once.
const SCAN_COUNT: &str = "200";

/// Arguments of `cairn export`.
#[derive(Args, Debug)]
pub struct ExportArgs {
    /// The file that is written. It must not be there
    pub file: PathBuf,
    /// The server that is read
    #[arg(long, value_name = "ADDRESS", default_value = "redis://127.0.0.1:6379", value_parser = link::parse)]
    pub from: Address,
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
    let result = write_all(&mut link, &mut output, args.quiet).map_err(named);
    match result.and_then(|counts| output.finish(&part, &args.file).map(|()| counts)) {
        Ok((keys, refused)) => {
            say(&format!("{keys} keys were written to {}\n", args.file.display()));
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

/// How many keys were written, and which were not, with the reason.
fn write_all(link: &mut Link, output: &mut Output, is_quiet: bool) -> io::Result<(u64, Vec<String>)> {
    let Reply::Bulk { bytes: Some(libraries), .. } = link.demand(&["FUNCTION", "DUMP"])? else {
        return Err(io::Error::other("FUNCTION DUMP: it is no string"));
    };
    let version = payload::version(&libraries).unwrap_or(Version::default() as u16);
    write::header(&mut output.bytes, version);
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    write::aux(&mut output.bytes, "cairn-ver", env!("CARGO_PKG_VERSION").as_bytes());
    write::aux(&mut output.bytes, "ctime", now_s.to_string().as_bytes());
    // Their body is what a file has of them.
    output.bytes.extend_from_slice(body_of(&libraries)?);
    let sizes = link.sizes()?;
    let bar = bar(sizes.iter().map(|(_, keys)| keys).sum(), is_quiet);
    let (mut written, mut refused) = (0, Vec::new());
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
            written += write_keys(link, output, &keys, &mut refused)?;
            bar.set_position(written);
            cursor = String::from_utf8_lossy(next).into_owned();
            if cursor == "0" {
                break;
            }
        }
    }
    bar.finish_and_clear();
    Ok((written, refused))
}

/// Writes these keys, each with its time to live as it is at one moment. How many were there.
fn write_keys(link: &mut Link, output: &mut Output, keys: &[&[u8]], refused: &mut Vec<String>) -> io::Result<u64> {
    let mut requests = Vec::new();
    for key in keys {
        let words: [&[&[u8]]; 4] = [&[b"MULTI"], &[b"DUMP", key], &[b"PEXPIRETIME", key], &[b"EXEC"]];
        words.iter().for_each(|words| request(&mut requests, words.iter().copied()));
    }
    let mut sender = link.writer.try_clone()?;
    // Replies may be long: they are read while the requests are sent.
    std::thread::scope(|scope| {
        let sending = scope.spawn(move || sender.write_all(&requests));
        let mut written = 0;
        for key in keys {
            for _ in 0..3 {
                Reply::read(&mut link.reader)?;
            }
            let reply = Reply::read(&mut link.reader)?;
            match reply.items() {
                Some([Reply::Bulk { bytes: Some(payload), .. }, at]) => {
                    let expire_ms = at.integer().and_then(|ms| u64::try_from(ms).ok());
                    write::key(&mut output.bytes, key, expire_ms, body_of(payload)?);
                    output.flush()?;
                    written += 1;
                }
                // It is gone by now.
                Some([Reply::Bulk { bytes: None, .. }, _]) => {}
                _ => refused.push(format!("\"{}\": {reply}", shown(key))),
            }
        }
        sending.join().expect("it only writes")?;
        Ok(written)
    })
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
