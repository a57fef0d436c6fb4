//! Reads parts of a data directory for people: pages of the newest checkpoint, and the log flush by flush. Changes nothing, and
//! may run beside a server: what a durable checkpoint leads to is not overwritten before two more are durable (P1 of the page
//! file), and what is durable of the log does not change.

use crate::limits::INSPECT_WINDOW_BYTES;
use crate::offline::{Offline, Source};
use cairn_storage::check::ShownPage;
use cairn_storage::limits::{BLOCK_BYTES, FLUSH_BYTES_MAX, PAGE_BYTES};
use cairn_storage::log::flush::{FRAME_BYTES, Flush, HEADER_BYTES, Invalid};
use cairn_storage::log::{LogConfig, Record, SegmentFile};
use cairn_storage::pagefile::{OpenStep, Opening, PageFile, Superblock};
use cairn_storage::units::{Incarnation, Lsn, PageId, SegmentId, ShardId};
use std::io;
use std::path::PathBuf;

/// The newest checkpoint of a shard, open for reading.
pub struct Checkpoint {
    file: PageFile,
    superblock: Superblock,
    source: Source,
}

impl Checkpoint {
    /// `Err`: why there is none that can be read.
    pub fn open(offline: &Offline, shard: ShardId) -> Result<Checkpoint, String> {
        let path = offline.page_path(shard);
        let failed = |error: io::Error| format!("{}: {error}", path.display());
        let mut source = Source::open(&path).map_err(failed)?;
        let bytes = source.bytes().map_err(failed)?;
        let mut opening = Opening::new(offline.page_file_config(shard), bytes);
        loop {
            match opening.step() {
                OpenStep::Read { offset, len } => match source.read(offset, len as usize) {
                    Ok(bytes) => opening.supply(bytes),
                    Err(errno) => opening.failed(errno),
                },
                OpenStep::Done => break,
                OpenStep::Refuse(fault) => return Err(format!("{}: {fault}", path.display())),
            }
        }
        let (file, superblock) = opening.finish();
        if superblock.generation == 0 {
            return Err(format!("{}: there is no checkpoint yet", path.display()));
        }
        Ok(Checkpoint { file, superblock, source })
    }

    pub fn superblock(&self) -> &Superblock {
        &self.superblock
    }

    /// Reads a page of the checkpoint. `Err`: where it ought to be, and why it cannot be had.
    pub fn page(&mut self, page: PageId) -> Result<ShownPage, (Option<u64>, String)> {
        let offset = self.file.page_offset(page).ok_or((None, "there is no such page".to_string()))?;
        let image = self.source.read(offset, PAGE_BYTES);
        let image = image.map_err(|errno| (Some(offset), io::Error::from_raw_os_error(errno).to_string()))?;
        self.file.show(page, image).map_err(|what| (Some(offset), what.to_string()))
    }
}

/// Something of a log, in its order.
#[derive(Debug)]
pub enum LogItem<'a> {
    Flush(Flush),
    Record {
        lsn: Lsn,
        record: Record<'a>,
    },
    /// No flush of this log, or one of an earlier opening that the log does not go on with.
    Gap {
        from: Lsn,
        to: Lsn,
        what: &'static str,
    },
    /// Bytes of a flush that are no records, or of a record whose other end is not there.
    Broken {
        lsn: Lsn,
        what: &'static str,
    },
}

/// Walks over a log whatever is wrong with it.
pub struct LogWalk<'a> {
    offline: &'a Offline,
    shard: ShardId,
    config: LogConfig,
    files: Vec<SegmentFile>,
    window: Window,
    incarnation: Incarnation,
    /// No flush was met yet: the segments before it may have been given up.
    is_at_begin: bool,
    /// A record that spans flushes: its length, and what of it is here.
    spanning: Option<(usize, Vec<u8>)>,
}

struct Window {
    source: Option<(SegmentId, Source)>,
    /// Of the bytes, which are in that segment.
    offset: u64,
    bytes: Vec<u8>,
}

impl<'a> LogWalk<'a> {
    pub fn new(offline: &'a Offline, shard: ShardId) -> io::Result<LogWalk<'a>> {
        let config = offline.log_config(shard);
        let files = offline.segment_files(shard)?;
        let window = Window { source: None, offset: 0, bytes: Vec::new() };
        let incarnation = Incarnation(0);
        Ok(LogWalk { offline, shard, config, files, window, incarnation, is_at_begin: true, spanning: None })
    }

    /// Shows everything from the beginning of the segment that holds `from`, until `show` answers `false`.
    pub fn run(&mut self, from: Lsn, show: &mut dyn FnMut(LogItem<'_>) -> bool) -> Result<(), String> {
        let first = from.0 / self.config.segment_bytes;
        let files: Vec<SegmentFile> = self.files.iter().copied().filter(|file| file.segment.0 >= first).collect();
        for file in files {
            if !self.segment(file, show)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Whether to go on.
    fn segment(&mut self, file: SegmentFile, show: &mut dyn FnMut(LogItem<'_>) -> bool) -> Result<bool, String> {
        let begin = file.segment.0 * self.config.segment_bytes;
        let end = begin + file.bytes.min(self.config.segment_bytes) / BLOCK_BYTES as u64 * BLOCK_BYTES as u64;
        let mut at = begin;
        let mut gap: Option<(u64, &'static str)> = None;
        while at < end {
            let found = self.flush(file.segment, begin, end, at)?;
            match found {
                Ok((flush, bytes)) => {
                    if let Some((from, what)) = gap.take()
                        && !show(LogItem::Gap { from: Lsn(from), to: Lsn(at), what })
                    {
                        return Ok(false);
                    }
                    self.incarnation = flush.incarnation;
                    if !show(LogItem::Flush(flush)) || !self.records(&flush, &bytes, show) {
                        return Ok(false);
                    }
                    at = flush.end().0;
                }
                Err(what) => {
                    gap.get_or_insert((at, what));
                    self.spanning = None;
                    at += BLOCK_BYTES as u64;
                }
            }
        }
        Ok(gap.is_none_or(|(from, what)| show(LogItem::Gap { from: Lsn(from), to: Lsn(end), what })))
    }

    fn flush(
        &mut self,
        segment: SegmentId,
        begin: u64,
        end: u64,
        at: u64,
    ) -> Result<Result<(Flush, Vec<u8>), &'static str>, String> {
        let what = |invalid| match invalid {
            Invalid::Damaged(what) => what,
            Invalid::Version(_) => "a flush of a later format",
        };
        let room = begin + self.config.segment_bytes - at;
        let config = self.config;
        let block = self.bytes(segment, at - begin, BLOCK_BYTES, end - begin)?;
        if block.iter().all(|byte| *byte == 0) {
            return Ok(Err("zeros: nothing was written here yet"));
        }
        let len = match Flush::claim(&config, Lsn(at), room, block) {
            Ok(len) if at + len as u64 <= end => len,
            Ok(_) => return Ok(Err("the segment file is too short")),
            Err(invalid) => return Ok(Err(what(invalid))),
        };
        let bytes = self.bytes(segment, at - begin, len, end - begin)?.to_vec();
        Ok(match Flush::decode(&config, &bytes) {
            Ok(flush) if flush.incarnation < self.incarnation => Err("the flush is a leftover of an earlier opening"),
            Ok(flush) => Ok((flush, bytes)),
            Err(invalid) => Err(what(invalid)),
        })
    }

    /// Bytes of a segment, read ahead.
    fn bytes(&mut self, segment: SegmentId, offset: u64, len: usize, end: u64) -> Result<&[u8], String> {
        assert!(len <= FLUSH_BYTES_MAX);
        let path = self.offline.segment_path(self.shard, segment);
        let window = &mut self.window;
        let is_open = window.source.as_ref().is_some_and(|(open, _)| *open == segment);
        if !is_open {
            let source = Source::open(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            (window.source, window.bytes) = (Some((segment, source)), Vec::new());
        }
        let is_here = offset >= window.offset && offset + len as u64 <= window.offset + window.bytes.len() as u64;
        if !is_here {
            let (_, source) = window.source.as_mut().expect("it was opened above");
            let count = (end - offset).min(INSPECT_WINDOW_BYTES as u64) as usize;
            window.bytes.clear();
            let read = source.read(offset, count).map_err(|errno| failed(path, offset, errno))?;
            window.bytes.extend_from_slice(read);
            window.offset = offset;
        }
        let at = (offset - window.offset) as usize;
        Ok(&window.bytes[at..at + len])
    }

    /// The records that end in a flush. Whether to go on.
    fn records(&mut self, flush: &Flush, bytes: &[u8], show: &mut dyn FnMut(LogItem<'_>) -> bool) -> bool {
        let payload = &bytes[HEADER_BYTES..HEADER_BYTES + flush.payload as usize];
        let lsn_of = |at: usize| Lsn(flush.lsn.0 + (HEADER_BYTES + at) as u64);
        let mut at = flush.carry as usize;
        let is_at_begin = std::mem::take(&mut self.is_at_begin);
        if let Some((len, mut begun)) = self.spanning.take() {
            begun.extend_from_slice(&payload[..at]);
            if begun.len() < len {
                self.spanning = Some((len, begun));
                return true;
            }
            if !show_record(lsn_of(at), &begun, show) {
                return false;
            }
        } else if at > 0 {
            let (lsn, what) = (lsn_of(at), "a record whose beginning is not here");
            let item = match is_at_begin {
                true => LogItem::Gap { from: flush.lsn, to: lsn, what },
                false => LogItem::Broken { lsn, what },
            };
            if !show(item) {
                return false;
            }
        }
        while let Some((frame, rest)) = payload[at..].split_first_chunk::<FRAME_BYTES>() {
            let len = u32::from_le_bytes(*frame) as usize;
            if len > rest.len() {
                self.spanning = Some((len, rest.to_vec()));
                return true;
            }
            at += FRAME_BYTES + len;
            if len == 0 || !show_record(lsn_of(at), &rest[..len], show) {
                return len != 0;
            }
        }
        true
    }
}

fn failed(path: PathBuf, offset: u64, errno: i32) -> String {
    format!("{}, offset {offset}: {}", path.display(), io::Error::from_raw_os_error(errno))
}

fn show_record(lsn: Lsn, archive: &[u8], show: &mut dyn FnMut(LogItem<'_>) -> bool) -> bool {
    match Record::decode(archive) {
        Some(record) => show(LogItem::Record { lsn, record }),
        None => show(LogItem::Broken { lsn, what: "an archive that is not a record's" }),
    }
}
