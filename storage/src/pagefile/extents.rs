//! Extents on disk: values and keys too long for a leaf, each over as many neighbouring sites as it takes.
//!
//! | at | bytes | little-endian |
//! | --- | --- | --- |
//! | 0 | 4 | zero: the checksum, of the salt and of everything up to the value's end, is in the map only |
//! | 4 | 4 | the extent's number |
//! | 8 | 8 | the LSN that the log had when this was written |
//! | 16 | 2 | kind 7, version 1 |
//! | 20 | 4 | length of the key |
//! | 24 | 4 | length of the value |
//! | 32 | | the key, the value, and zeros up to the site's end |
//!
//! An extent has two words in its map: where it stands, and how long it is up to the value's end.

use super::map::{Side, crc_of, site_of, word};
use super::space::Run;
use super::{PageFile, Phase};
use crate::extent::Extent;
use crate::limits::{OUTPUT_PAGES, PAGE_BYTES};
use crate::units::{ExtentId, Lsn};

pub(crate) const HEADER_BYTES: usize = 32;
const KIND: [u8; 2] = [7, 1];

/// An extent that a checkpoint is about to write, piece by piece.
pub(super) struct ExtentJob {
    id: ExtentId,
    extent: Extent,
    /// Its sites, once there are some.
    run: Option<Run>,
    /// Sites that are done.
    at: u32,
    crc: u32,
}

/// The bytes that an extent takes in the file.
pub(crate) fn image_bytes(extent: &Extent) -> u64 {
    (HEADER_BYTES + extent.key.len() + extent.value.len()) as u64
}

pub(crate) fn sites_of(bytes: u64) -> u32 {
    bytes.div_ceil(PAGE_BYTES as u64) as u32
}

impl ExtentJob {
    /// Sites that it has taken.
    pub(super) fn sites(&self) -> u32 {
        self.run.map_or(0, |run| run.count)
    }

    fn header(&self, lsn: Lsn) -> [u8; HEADER_BYTES] {
        let mut header = [0; HEADER_BYTES];
        header[4..8].copy_from_slice(&self.id.0.to_le_bytes());
        header[8..16].copy_from_slice(&lsn.0.to_le_bytes());
        header[16..18].copy_from_slice(&KIND);
        header[20..24].copy_from_slice(&(self.extent.key.len() as u32).to_le_bytes());
        header[24..28].copy_from_slice(&(self.extent.value.len() as u32).to_le_bytes());
        header
    }

    /// Copies the image's bytes from `from` on to `out`, zeros behind its end. Answers how many are not padding.
    fn fill(&self, header: &[u8], from: usize, out: &mut [u8]) -> usize {
        let (mut start, mut done) = (0, 0);
        for part in [header, &self.extent.key, &self.extent.value] {
            let skip = (from + done).saturating_sub(start).min(part.len());
            let take = (part.len() - skip).min(out.len() - done);
            out[done..done + take].copy_from_slice(&part[skip..skip + take]);
            done += take;
            start += part.len();
        }
        out[done..].fill(0);
        done
    }
}

/// What the first bytes of an image say: the lengths of key and value.
pub(crate) fn decode_header(image: &[u8], id: ExtentId) -> Result<(usize, usize), &'static str> {
    let u32_at = |at: usize| u32::from_le_bytes(image[at..at + 4].try_into().expect("four bytes"));
    if image[16..18] != KIND {
        return Err("no extent begins here");
    }
    if u32_at(4) != id.0 {
        return Err("the extent is another one");
    }
    Ok((u32_at(20) as usize, u32_at(24) as usize))
}

impl PageFile {
    /// The bytes of an extent's image; `None` if it has none.
    pub(crate) fn extent_bytes(&self, id: ExtentId) -> Option<u64> {
        (site_of(self.extents.get(2 * id.0)).0 != 0).then(|| self.extents.get(2 * id.0 + 1))
    }

    /// Numbers of extents below this one may have images.
    pub(crate) fn extent_numbers(&self) -> usize {
        self.extents.len() / 2
    }

    pub(super) fn extent_run(&self, id: ExtentId) -> Option<Run> {
        let bytes = self.extent_bytes(id)?;
        Some(Run { first: site_of(self.extents.get(2 * id.0)), count: sites_of(bytes) })
    }

    pub(super) fn extent_crc(&self, id: ExtentId) -> u32 {
        crc_of(self.extents.get(2 * id.0))
    }

    pub(super) fn extent_runs(&self) -> impl Iterator<Item = Run> {
        (0..self.extent_numbers() as u32).filter_map(|id| self.extent_run(ExtentId(id)))
    }

    /// Whether an extent's memory can go: its image is on disk as it is.
    pub(crate) fn can_drop_extent(&self, id: ExtentId) -> bool {
        self.extent_run(id).is_some_and(|run| !self.output.holds_any(run))
            && !self.extent_jobs.iter().any(|job| job.id == id)
    }

    /// The extent does not exist any more.
    pub(crate) fn forget_extent(&mut self, id: ExtentId) {
        let run = self.extent_run(id);
        // A checkpoint that is about to write it must learn that only the checkpoint's version of the map leads to it.
        if run.is_some() || self.extent_jobs.iter().any(|job| job.id == id) {
            self.extents.set(2 * id.0, 0, Side::Live);
            self.extents.set(2 * id.0 + 1, 0, Side::Live);
        }
        if let Some(run) = run {
            self.give_up(run.first, run.count, Side::Live);
        }
    }

    /// The checkpoint that begins has to write this extent.
    pub(crate) fn save_extent(&mut self, id: ExtentId, extent: Extent) {
        self.extent_jobs.push_back(ExtentJob { id, extent, run: None, at: 0, crc: 0 });
    }

    /// Puts pieces of extents into output buffers, about `bytes` of them. Answers how many bytes that were, and whether
    /// all extents are done.
    pub(super) fn work_extents(&mut self, bytes: usize) -> (usize, bool) {
        let mut done = 0;
        while done < bytes && self.has_output_room() {
            let Some(mut job) = self.extent_jobs.pop_front() else { return (done, true) };
            match self.work_extent(&mut job) {
                None => {
                    self.extent_jobs.push_front(job);
                    return (done, false);
                }
                Some(piece) => done += piece,
            }
            if job.at < job.sites() {
                self.extent_jobs.push_front(job);
            } else {
                self.finish_extent(&job);
            }
        }
        (done, self.extent_jobs.is_empty())
    }

    /// One piece of an extent; `None` when the file has to grow first.
    fn work_extent(&mut self, job: &mut ExtentJob) -> Option<usize> {
        let sites = sites_of(image_bytes(&job.extent));
        let run = match job.run {
            Some(run) => run,
            None => {
                if self.space.free_sites() < self.reserved + sites || !self.space.has_whole(sites) {
                    self.want_sites(sites + self.reserved);
                    return None;
                }
                *job.run.insert(self.space.take_whole(sites).expect("it was there just now"))
            }
        };
        let count = (run.count - job.at).min(OUTPUT_PAGES as u32);
        let piece = Run { first: crate::units::Site(run.first.0 + job.at), count };
        let header = job.header(Lsn(self.stamp.lsn));
        let out = self.output.place_run(piece);
        let used = job.fill(&header, job.at as usize * PAGE_BYTES, out);
        if job.at == 0 {
            job.crc = crate::checksum::crc32c(&[&self.config.salt.to_le_bytes()]);
        }
        job.crc = crate::checksum::crc32c_append(job.crc, &out[..used]);
        job.at += count;
        Some(count as usize * PAGE_BYTES)
    }

    fn finish_extent(&mut self, job: &ExtentJob) {
        debug_assert!(matches!(self.phase, Phase::Saving));
        let run = job.run.expect("it was written");
        let old = self.extent_run(job.id);
        let (_, is_live) = self.extents.set_frozen(2 * job.id.0, word(run.first, job.crc));
        self.extents.set_frozen(2 * job.id.0 + 1, image_bytes(&job.extent));
        match old {
            // It has changed or gone since the checkpoint began, so only that leads to the image.
            _ if !is_live => self.give_up(run.first, run.count, Side::Live),
            Some(old) => self.give_up(old.first, old.count, Side::Checkpoint),
            None => {}
        }
    }
}
