//! A data directory: who uses it, what it is, and where its files are.
//!
//! ```text
//! DIR/LOCK                                       held (flock) while a server runs; its pid inside
//! DIR/manifest                                   written once, when the directory is created, after all else
//! DIR/shard-0000/log/00000000000000000000.seg    a log segment; empty until it is prepared
//! DIR/shard-0000/log/00000000000000000000.spare  a segment that is not needed any more, to be used again as another
//! DIR/shard-0000/pages                           the shard's page file; empty until the first checkpoint
//! ```
//!
//! With a manifest, each shard has a log of at least one segment: the first is made, empty, before the manifest. A log
//! without any has been lost. Without a manifest, a log with a segment that is not empty belongs to somebody.
//!
//! `LOCK` is free as soon as its process has ended, but what this had told the kernel to write may still be on its way:
//! nobody waits for the direct writes of a killed process. They hold on to the open file, though. So who writes to a
//! segment holds a shared lock of that open file ([`hold_writable`]), and who recovers waits until it can have the
//! exclusive one ([`await_writes`]).
//!
//! The manifest is text, one `name value` a line, in this order: `cairn` (the format), `node`, `shards`,
//! `segment_bytes`, `seed`, `created`, and last `crc32c` over all bytes before that line. **Valid** is a file that is
//! exactly what writing its values gives. Of a newer format only the first line is read.

use crate::error::StartError;
use cairn_storage::checksum::crc32c;
use cairn_storage::limits::{BLOCK_BYTES, SEGMENT_BYTES, SEGMENT_BYTES_MIN};
use cairn_storage::units::{SegmentId, ShardId};
use rustix::fs::{FlockOperation, Mode, OFlags, flock, fsync, open};
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The newest format that this version reads, and the one it writes.
pub const FORMAT: u32 = 1;

/// Shards that a directory can have: each has at least one hash slot.
pub const SHARDS_MAX: u16 = 1024;

/// How long the writes of a process that has ended may take, and how often they are looked for.
const WRITES_LATE_MAX: Duration = Duration::from_secs(60);
const WRITES_POLL: Duration = Duration::from_millis(1);

/// Hash slots, as Redis Cluster has them.
const SLOTS: u32 = 16384;

/// What a data directory is. Never changes after its creation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// 40 hexadecimal digits.
    pub node_id: String,
    pub shards: u16,
    pub segment_bytes: u64,
    /// Seeds the hash of keys and the salt of log checksums: secret, so that clients cannot choose colliding keys.
    pub seed: u64,
    /// Unix seconds.
    pub created: u64,
}

/// An open data directory. Dropping it lets the next server in.
#[derive(Debug)]
pub struct DataDir {
    dir: PathBuf,
    manifest: Manifest,
    is_new: bool,
    /// Holds the lock as long as it is open.
    _lock: File,
}

impl DataDir {
    /// Opens the directory, or creates it with `shards_new` shards. `shards` 0 takes what is stored; another number
    /// must be what is stored. `segment_bytes` is for a new directory only; 0 takes what suits the file system.
    pub fn open(dir: &Path, shards: u16, shards_new: u16, segment_bytes: u64) -> Result<DataDir, StartError> {
        let unusable = |error| StartError::DirectoryUnusable { dir: dir.to_owned(), error };
        let wanted = if shards == 0 { shards_new } else { shards };
        if wanted == 0 || wanted > SHARDS_MAX {
            return Err(StartError::ShardsOutOfRange { asked: wanted, max: SHARDS_MAX });
        }
        let dir = make_dir(dir).map_err(unusable)?;
        let lock = lock(&dir)?;
        let path = dir.join("manifest");
        let (manifest, is_new) = match fs::read(&path) {
            Ok(bytes) => (Manifest::decode(&bytes, &path)?, false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if has_log(&dir).map_err(unusable)? {
                    return Err(StartError::DirectoryForeign { dir });
                }
                let segment_bytes = match segment_bytes {
                    0 => segment_bytes_for(available_bytes(&dir).map_err(unusable)?, wanted),
                    bytes => bytes,
                };
                let manifest = Manifest::create(wanted, segment_bytes).map_err(unusable)?;
                (0..wanted).try_for_each(|shard| make_log(&dir, ShardId(shard))).map_err(unusable)?;
                manifest.store(&dir).map_err(unusable)?;
                (manifest, true)
            }
            Err(error) => return Err(StartError::DirectoryUnusable { dir, error }),
        };
        if shards != 0 && shards != manifest.shards {
            return Err(StartError::ShardsDiffer { dir, stored: manifest.shards, asked: shards });
        }
        for shard in 0..manifest.shards {
            let log = log_dir(&dir, ShardId(shard));
            let is_there = segments(&log).map(|found| !found.is_empty());
            match is_there {
                Ok(true) => {}
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(unusable(error)),
                _ => return Err(StartError::LogAbsent { log, shard }),
            }
        }
        Ok(DataDir { dir, manifest, is_new, _lock: lock })
    }

    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// Whether this opening created it.
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// The directory of a shard's log segments.
    pub fn log(&self, shard: ShardId) -> PathBuf {
        log_dir(&self.dir, shard)
    }
}

pub(crate) fn log_dir(dir: &Path, shard: ShardId) -> PathBuf {
    dir.join(format!("shard-{:04}", shard.0)).join("log")
}

/// Creates what is missing of a path, on stable storage. Answers the path without links.
fn make_dir(dir: &Path) -> io::Result<PathBuf> {
    let missing: Vec<&Path> =
        dir.ancestors().take_while(|part| !part.as_os_str().is_empty() && !part.exists()).collect();
    create(dir)?;
    for made in missing {
        sync_dir(&fs::canonicalize(made)?.parent().map_or_else(|| "/".into(), Path::to_owned))?;
    }
    fs::canonicalize(dir)
}

/// Creates directories that are their owner's alone, whatever the umask says. One that is there keeps its mode.
fn create(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// Whether a directory without a manifest has a log with anything in it. What is left of a creation that was interrupted
/// has not.
fn has_log(dir: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if !entry.file_name().as_encoded_bytes().starts_with(b"shard-") {
            continue;
        }
        match segments(&entry.path().join("log")) {
            Ok(found) if found.iter().any(|(_, bytes)| *bytes > 0) => return Ok(true),
            Ok(_) => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

/// Makes a shard's log, with a first segment that is empty, on stable storage but for its entry in `dir`.
fn make_log(dir: &Path, shard: ShardId) -> io::Result<()> {
    let log = log_dir(dir, shard);
    create(&log)?;
    File::create(log.join(segment_name(SegmentId(0))))?.sync_all()?;
    sync_dir(&log)?;
    sync_dir(log.parent().expect("a log directory is inside its shard's"))
}

/// Says, for as long as this open file or a write to it lives, that a segment may be written to.
pub fn hold_writable(file: impl AsFd) -> rustix::io::Result<()> {
    // Who has the exclusive lock of a segment recovers the log, and nobody writes to that meanwhile.
    flock(file, FlockOperation::NonBlockingLockShared)
}

/// The page file of the shard whose log is in `log`.
pub fn page_file(log: &Path) -> PathBuf {
    log.with_file_name("pages")
}

/// Waits until no write to a segment of this log, or to the page file beside it, can arrive any more, whoever began it. Nobody begins one meanwhile:
/// the caller has the directory's `LOCK`.
pub fn await_writes(log: &Path) -> Result<(), StartError> {
    let unusable = |error: io::Error| StartError::DirectoryUnusable { dir: log.to_owned(), error };
    let begun = Instant::now();
    let pages = page_file(log);
    let files = segments(log).map_err(unusable)?.into_iter().map(|(segment, _)| log.join(segment_name(segment)));
    for path in files.chain(pages.exists().then_some(pages)) {
        let file = File::open(&path).map_err(unusable)?;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(rustix::io::Errno::WOULDBLOCK) if begun.elapsed() < WRITES_LATE_MAX => {
                    std::thread::sleep(WRITES_POLL)
                }
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    return Err(StartError::WritesOnTheirWay { file: path, seconds: WRITES_LATE_MAX.as_secs() });
                }
                Err(errno) => return Err(unusable(errno.into())),
            }
        }
    }
    Ok(())
}

/// The name of a segment's file.
pub fn segment_name(segment: SegmentId) -> String {
    format!("{:020}.seg", segment.0)
}

/// The name of the file of a segment that waits to be used again.
pub fn spare_name(segment: SegmentId) -> String {
    format!("{:020}.spare", segment.0)
}

/// The segments in a log directory with the lengths of their files, in order. Other files are not ours and stay.
pub fn segments(log: &Path) -> io::Result<Vec<(SegmentId, u64)>> {
    numbered(log, ".seg")
}

/// The same of segments that wait to be used again, by what they were.
pub fn spares(log: &Path) -> io::Result<Vec<(SegmentId, u64)>> {
    numbered(log, ".spare")
}

fn numbered(log: &Path, suffix: &str) -> io::Result<Vec<(SegmentId, u64)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(log)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(digits) = name.to_str().and_then(|name| name.strip_suffix(suffix)) else { continue };
        if digits.len() == 20
            && digits.bytes().all(|byte| byte.is_ascii_digit())
            && let Ok(number) = digits.parse()
        {
            match entry.metadata() {
                Ok(metadata) => found.push((SegmentId(number), metadata.len())),
                // A server that has the directory gave it another name meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// The shard of a hash slot: each shard has a contiguous range, and their sizes differ by one at most.
pub fn shard_of_slot(slot: u16, shards: u16) -> ShardId {
    ShardId((u32::from(slot) * u32::from(shards) / SLOTS) as u16)
}

fn lock(dir: &Path) -> Result<File, StartError> {
    let unusable = |error| StartError::DirectoryUnusable { dir: dir.to_owned(), error };
    let path = dir.join("LOCK");
    let mut file = File::options().read(true).write(true).create(true).truncate(false).open(path).map_err(unusable)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut text = String::new();
            let pid = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
            return Err(StartError::DirectoryInUse { dir: dir.to_owned(), pid });
        }
        Err(errno) => return Err(unusable(errno.into())),
    }
    let text = format!("{}\n", std::process::id());
    // Over the old text, which takes no new block: a server starts on a full disk too. The pid only informs.
    if file.write_all_at(text.as_bytes(), 0).and_then(|()| file.set_len(text.len() as u64)).is_err() {
        let _ = file.set_len(0);
    }
    Ok(file)
}

/// Makes the entries of a directory stable.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    let dir = open(dir, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    Ok(fsync(dir)?)
}

/// Bytes nobody can guess, from the kernel.
pub fn random_bytes<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// 40 hexadecimal digits nobody can guess: a node id or a run id.
pub fn random_id() -> io::Result<String> {
    Ok(random_bytes::<20>()?.iter().map(|byte| format!("{byte:02x}")).collect())
}

impl Manifest {
    fn create(shards: u16, segment_bytes: u64) -> io::Result<Manifest> {
        assert!(is_segment_size(segment_bytes), "the configuration checks it");
        let created = crate::clock::unix_us() / 1_000_000;
        let seed = u64::from_le_bytes(random_bytes()?);
        Ok(Manifest { node_id: random_id()?, shards, segment_bytes, seed, created })
    }

    fn encode(&self) -> String {
        let mut text = format!(
            "cairn {FORMAT}\nnode {}\nshards {}\nsegment_bytes {}\nseed {:016x}\ncreated {}\n",
            self.node_id, self.shards, self.segment_bytes, self.seed, self.created
        );
        text += &format!("crc32c {:08x}\n", crc32c(&[text.as_bytes()]));
        text
    }

    pub(crate) fn decode(bytes: &[u8], path: &Path) -> Result<Manifest, StartError> {
        let damaged = |what| StartError::ManifestDamaged { path: path.to_owned(), what };
        let text = std::str::from_utf8(bytes).map_err(|_| damaged("it is not text"))?;
        let mut lines = text.lines();
        let mut value = |name: &str| {
            lines.next().and_then(|line| line.strip_prefix(name)?.strip_prefix(' ')).ok_or(damaged("a line is missing"))
        };
        let format: u32 = value("cairn")?.parse().map_err(|_| damaged("its format is not a number"))?;
        if format > FORMAT {
            return Err(StartError::ManifestNewer { path: path.to_owned(), format, format_max: FORMAT });
        }
        let number = |text: &str| text.parse::<u64>().map_err(|_| damaged("a number is not one"));
        let node_id = value("node")?.to_owned();
        let shards = number(value("shards")?)?;
        let segment_bytes = number(value("segment_bytes")?)?;
        let seed = u64::from_str_radix(value("seed")?, 16).map_err(|_| damaged("a number is not one"))?;
        let created = number(value("created")?)?;
        let shards = u16::try_from(shards).map_err(|_| damaged("its number of shards is impossible"))?;
        let manifest = Manifest { node_id, shards, segment_bytes, seed, created };
        if manifest.encode() != text {
            return Err(damaged("its checksum does not match"));
        }
        if shards == 0 || shards > SHARDS_MAX || !is_segment_size(segment_bytes) {
            return Err(damaged("its numbers are out of range"));
        }
        Ok(manifest)
    }

    /// Writes the manifest so that after a crash there is either none or the whole of it.
    fn store(&self, dir: &Path) -> io::Result<()> {
        let fresh = dir.join("manifest.new");
        let mut file = File::create(&fresh)?;
        file.write_all(self.encode().as_bytes())?;
        file.sync_all()?;
        fs::rename(&fresh, dir.join("manifest"))?;
        sync_dir(dir)?;
        // A new directory's own entry must survive too.
        dir.parent().map_or(Ok(()), sync_dir)
    }
}

/// The size of segments in a new directory. Each log has some that wait to be used, so on a small file system they are
/// smaller: all that wait take about a fifth of it at most, as long as it has room for the smallest.
fn segment_bytes_for(available: u64, shards: u16) -> u64 {
    let share = available / u64::from(shards) / 16;
    if share == 0 {
        return SEGMENT_BYTES_MIN;
    }
    (1 << share.ilog2()).clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES)
}

/// Bytes that can still be written to a directory's file system.
fn available_bytes(dir: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(dir)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Whether segments can have this size.
pub fn is_segment_size(bytes: u64) -> bool {
    bytes >= SEGMENT_BYTES_MIN && bytes.is_multiple_of(SEGMENT_BYTES_MIN.max(BLOCK_BYTES as u64))
}

#[cfg(test)]
mod tests;
