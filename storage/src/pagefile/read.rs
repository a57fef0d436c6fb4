//! Reads in flight: one for each thing that is read, however many ask for it.

use super::extents::{self, sites_of};
use super::map::{crc_of, site_of};
use super::space::Run;
use super::{Bug, PageFile, Suspicion, image};
use crate::blob::Blob;
use crate::checksum::{crc32c, crc32c_append};
use crate::error::Missing;
use crate::extent::Extent;
use crate::limits::{OUTPUT_BYTES_MAX, PAGE_BYTES};
use crate::op::PageOp;
use crate::page;
use crate::units::{ExtentId, OpId, PageId};
use hashbrown::{HashMap, HashSet};

/// What is being read.
#[derive(Default)]
pub(super) struct Reads {
    flying: HashMap<OpId, What>,
    wanted: HashSet<Missing>,
}

enum What {
    Page { page: PageId, word: u64 },
    Extent(ExtentRead),
}

/// An extent on its way in, piece by piece.
struct ExtentRead {
    id: ExtentId,
    run: Run,
    /// Bytes of its image, how many are here, and the checksum of these.
    bytes: u64,
    at: u64,
    crc: u32,
    expected: u32,
    key: Vec<u8>,
    key_len: usize,
    value: Vec<u8>,
}

/// What a completed read has brought.
pub enum Arrival {
    /// The page's image is sound: supply it.
    Page(PageId),
    Extent(ExtentId, Extent),
    /// More of it is being read.
    Underway,
    /// It has changed or gone since the read was issued.
    Stale(Missing),
    /// What was read is not what was written. Nothing of it is to be used.
    Damaged {
        missing: Missing,
        offset: u64,
        what: &'static str,
    },
    /// It could not be read.
    Failed {
        missing: Missing,
        offset: u64,
        errno: i32,
    },
    /// It was the scrub's.
    Scrubbed(Option<Suspicion>),
}

impl PageFile {
    pub(crate) fn is_reading(&self, missing: Missing) -> bool {
        self.reads.wanted.contains(&missing)
    }

    pub(crate) fn reads_in_flight(&self) -> usize {
        self.reads.flying.len()
    }

    /// Where the newest image of a page stands, and its checksum.
    pub(crate) fn page_place(&self, page: PageId) -> Option<(u64, u32)> {
        let word = self.pages.get(page.0);
        (site_of(word).0 != 0).then(|| (self.offset(site_of(word)), crc_of(word)))
    }

    /// Keeps P6 for an image that was read by somebody else.
    pub(crate) fn verify_page(&self, page: PageId, image: &[u8]) -> Result<(), &'static str> {
        image::verify(image, self.config.salt, page.0, crc_of(self.pages.get(page.0)))
    }

    /// Whether the newest image of a page or an extent stands at this offset.
    pub fn stands_at(&self, missing: Missing, offset: u64) -> bool {
        let first = match missing {
            Missing::Page(page) | Missing::Astray(page) => Some(site_of(self.pages.get(page.0))),
            Missing::Extent(id) => self.extent_run(id).map(|run| run.first),
            Missing::Pending(_) | Missing::Redo | Missing::Deferred => None,
        };
        first.is_some_and(|first| first.0 != 0 && self.offset(first) == offset)
    }

    /// Where the newest image of a page stands, if it has one.
    pub fn offset_of(&self, page: PageId) -> Option<u64> {
        let site = site_of(self.pages.get(page.0));
        (site.0 != 0).then(|| self.offset(site))
    }

    /// The next read that was asked for. [`PageFile::poll`] answers these too; this is for a driver in the middle of a turn.
    pub(crate) fn poll_read(&mut self) -> Option<PageOp> {
        self.reads_new.pop_front()
    }

    /// The image of a page that has not yet been written.
    pub(crate) fn unwritten(&self, page: PageId) -> Option<&[u8]> {
        self.output.find(site_of(self.pages.get(page.0)))
    }

    /// Begins to read a page. It has an image, not in the output, and is not being read. Keeps P5.
    pub(crate) fn read_page(&mut self, page: PageId) {
        let word = self.pages.get(page.0);
        assert!(site_of(word).0 != 0, "a page that is not in memory has an image");
        let (op, offset) = (self.op(), self.offset(site_of(word)));
        self.reads.begin(op, What::Page { page, word });
        self.reads_new.push_back(PageOp::Read { op, offset, len: PAGE_BYTES as u32 });
        self.numbers.reads += 1;
    }

    /// Begins to read an extent. It has an image, not in the output, and is not being read.
    pub(crate) fn read_extent(&mut self, id: ExtentId) {
        let run = self.extent_run(id).expect("an extent that is not in memory has an image");
        let bytes = self.extents.get(2 * id.0 + 1);
        let read = ExtentRead {
            id,
            run,
            bytes,
            at: 0,
            crc: crc32c(&[&self.config.salt.to_le_bytes()]),
            expected: self.extent_crc(id),
            key: Vec::new(),
            key_len: 0,
            value: Vec::new(),
        };
        self.issue_extent(read);
    }

    fn issue_extent(&mut self, read: ExtentRead) {
        let op = self.op();
        let end = u64::from(sites_of(read.bytes)) * PAGE_BYTES as u64;
        let len = (end - read.at).min(OUTPUT_BYTES_MAX as u64) as u32;
        self.reads_new.push_back(PageOp::Read { op, offset: self.offset(read.run.first) + read.at, len });
        self.reads.begin(op, What::Extent(read));
        self.numbers.reads += 1;
    }

    /// Takes the answer to a read: the bytes, or the errno. Page ids are below `pages`. Keeps P6.
    pub(crate) fn on_read(&mut self, op: OpId, result: Result<&[u8], i32>, pages: usize) -> Arrival {
        if let Some(scrubbed) = self.on_scrub_read(op, result) {
            return Arrival::Scrubbed(scrubbed);
        }
        let what = self.reads.end(op);
        let (missing, offset) = (what.missing(), self.offset(what.run().first));
        let bytes = match result {
            Ok(bytes) => bytes,
            Err(errno) => return Arrival::Failed { missing, offset, errno },
        };
        let arrival = match what {
            What::Page { page, word } => {
                assert_eq!(bytes.len(), PAGE_BYTES, "all that was asked for, and only that");
                if self.pages.get(page.0) != word {
                    return Arrival::Stale(missing);
                }
                match image::verify(bytes, self.config.salt, page.0, crc_of(word)) {
                    Err(_) if self.config.planted == Some(Bug::ReadUnchecked) => Ok(Arrival::Page(page)),
                    verified => {
                        let judged = verified.and_then(|()| page::judge(bytes, pages));
                        judged.map(|()| Arrival::Page(page))
                    }
                }
            }
            What::Extent(read) => {
                let is_same = self.extent_run(read.id) == Some(read.run) && self.extent_crc(read.id) == read.expected;
                if !is_same {
                    return Arrival::Stale(missing);
                }
                self.on_extent(read, bytes)
            }
        };
        arrival.unwrap_or_else(|what| {
            self.numbers.damaged_reads += 1;
            Arrival::Damaged { missing, offset, what }
        })
    }

    fn on_extent(&mut self, mut read: ExtentRead, bytes: &[u8]) -> Result<Arrival, &'static str> {
        let used = bytes.len().min((read.bytes - read.at) as usize);
        read.crc = crc32c_append(read.crc, &bytes[..used]);
        let mut rest = &bytes[..used];
        if read.at == 0 {
            let (key, value) = extents::decode_header(rest, read.id)?;
            if (extents::HEADER_BYTES + key + value) as u64 != read.bytes {
                return Err("its lengths do not fit");
            }
            read.key_len = key;
            read.key.reserve_exact(key);
            read.value.reserve_exact(value);
            rest = &rest[extents::HEADER_BYTES..];
        }
        let (key, value) = rest.split_at(rest.len().min(read.key_len - read.key.len()));
        read.key.extend_from_slice(key);
        read.value.extend_from_slice(value);
        read.at += bytes.len() as u64;
        if read.at < read.bytes {
            self.issue_extent(read);
            return Ok(Arrival::Underway);
        }
        if read.crc != read.expected && self.config.planted != Some(Bug::ReadUnchecked) {
            return Err("the checksum does not hold");
        }
        Ok(Arrival::Extent(read.id, Extent { key: read.key.into(), value: Blob::new(read.value) }))
    }
}

impl Reads {
    fn begin(&mut self, op: OpId, what: What) {
        self.wanted.insert(what.missing());
        self.flying.insert(op, what);
    }

    fn end(&mut self, op: OpId) -> What {
        let what = self.flying.remove(&op).expect("a read is answered once, and was asked for");
        self.wanted.remove(&what.missing());
        what
    }
}

impl What {
    fn missing(&self) -> Missing {
        match self {
            What::Page { page, .. } => Missing::Page(*page),
            What::Extent(read) => Missing::Extent(read.id),
        }
    }

    fn run(&self) -> Run {
        match self {
            What::Page { word, .. } => Run { first: site_of(*word), count: 1 },
            What::Extent(read) => read.run,
        }
    }
}
