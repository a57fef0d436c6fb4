//! The page file while a shard is being opened: its maps, and what replay needs of it, many operations at a time.

use crate::error::StartError;
use crate::limits::{OPEN_COMPLETIONS_MAX, OPEN_SUBMISSIONS_MAX};
use crate::pages::Pages;
use crate::ring::{Op, Ring};
use cairn_core::event::Event;
use cairn_storage::engine::{Applied, Engine, Replay};
use cairn_storage::error::Fault;
use cairn_storage::limits::PAGE_BYTES;
use cairn_storage::log::LogStart;
use cairn_storage::op::{DiskDone, PageOp};
use cairn_storage::pagefile::{OpenStep, Opening, PageFile, PageFileConfig, Superblock};
use cairn_storage::pool::{Fetch, Fetched};
use cairn_storage::units::OpId;
use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};

/// An open page file, and a ring to read and write it by.
pub struct PageSource {
    // The first field: dropped before what its operations would refer to, of which there are none by then.
    ring: Ring,
    pages: Pages,
    path: PathBuf,
}

/// A page of the maps that was read, or the errno.
type MapPage = (u64, Result<Vec<u8>, i32>);

impl PageSource {
    /// Opens the page file, or creates it.
    pub fn open(path: &Path) -> io::Result<PageSource> {
        let ring = Ring::with_sizes(OPEN_SUBMISSIONS_MAX, OPEN_COMPLETIONS_MAX)?;
        Ok(PageSource { ring, pages: Pages::new(&[path.to_owned()])?, path: path.to_owned() })
    }

    /// Finds the newest checkpoint. Answers it, and where the log goes on.
    pub fn find(&mut self, config: PageFileConfig) -> Result<(PageFile, Superblock, LogStart), StartError> {
        let bytes = std::fs::metadata(&self.path).map_err(|error| self.unusable(error))?.len();
        let mut opening = Opening::new(config, bytes);
        let mut ahead: VecDeque<MapPage> = VecDeque::new();
        loop {
            match opening.step() {
                OpenStep::Read { offset, .. } => {
                    // What was read for a checkpoint that turned out to be damaged is of no use.
                    if ahead.front().is_none_or(|(read, _)| *read != offset) {
                        ahead = self.read_pages(opening.ahead());
                    }
                    let (_, page) = ahead.pop_front().expect("what is asked for now is the first of what comes next");
                    match page {
                        Ok(bytes) => opening.supply(&bytes),
                        Err(errno) => opening.failed(errno),
                    }
                }
                OpenStep::Done => break,
                OpenStep::Refuse(fault) => return Err(self.refuse(&fault)),
            }
        }
        if let Some((offset, what)) = opening.damage() {
            // A torn superblock is what a power cut while it was written leaves.
            tracing::warn!(
                "{} is damaged at offset {offset}: {what}. The other checkpoint (LSN {}) is used, and the log from there on: \
                 nothing acknowledged is lost. If the power was not cut while the server ran, check the disk",
                self.path.display(),
                opening.log_start().lsn
            );
        }
        let start = opening.log_start();
        let (file, superblock) = opening.finish();
        Ok((file, superblock, start))
    }

    /// Goes through with a step of a replay, whatever it needs of the page file.
    pub fn drive(
        &mut self,
        replay: &mut Replay,
        mut step: impl FnMut(&mut Replay) -> Result<Applied, Fault>,
    ) -> Result<Result<(), Fault>, StartError> {
        loop {
            match step(replay) {
                Ok(Applied::Done) => return Ok(Ok(())),
                Ok(Applied::Missing(missing)) => {
                    if replay.engine_mut().fetch(missing) == Fetch::Crowded {
                        replay.engine_mut().work(0, 0);
                    }
                }
                // Room is made of what has been written.
                Ok(Applied::Crowded) => replay.engine_mut().work(0, 0),
                Err(fault) => return Ok(Err(fault)),
            }
            self.serve(replay.engine_mut())?;
        }
    }

    /// Performs all that the engine wants of its page file, as much at once as it asks for. Nothing is in flight afterwards,
    /// whatever has failed.
    fn serve(&mut self, engine: &mut Engine) -> Result<(), StartError> {
        let mut failure = None;
        // Those that must not fail.
        let mut changes: Vec<OpId> = Vec::new();
        loop {
            while let Some(op) = engine.poll_pages() {
                match op {
                    // The next checkpoint's turn removes them too.
                    PageOp::Forget { op, .. } => engine.on_page_done(DiskDone { op, result: Ok(0) }),
                    _ => {
                        changes.extend(matches!(op, PageOp::Write { .. } | PageOp::Grow { .. }).then_some(op.op()));
                        // SAFETY: a page file keeps an output buffer where it is, and unchanged, from its operation to the
                        // answer, and this function does not end before all are answered.
                        let pushed = unsafe { self.pages.submit_of(&mut self.ring, engine.page_file(), 0, op) };
                        pushed.expect(RING);
                    }
                }
            }
            if self.pages.in_flight() == 0 {
                return failure.map_or(Ok(()), Err);
            }
            let path = &self.path;
            wait(&mut self.ring, &mut self.pages, |event| {
                let error = match event {
                    Event::PageRead { op, result } => match engine.on_page_read(op, result) {
                        Fetched::Damaged { offset, what, .. } => Some(damaged(path, offset, what.to_owned())),
                        Fetched::Failed { offset, errno, .. } => {
                            Some(damaged(path, offset, io::Error::from_raw_os_error(errno).to_string()))
                        }
                        _ => None,
                    },
                    Event::Page(done) => {
                        let errno = done.result.err().filter(|_| changes.contains(&done.op));
                        changes.retain(|op| *op != done.op);
                        engine.on_page_done(done);
                        errno.map(|errno| unusable(path, io::Error::from_raw_os_error(errno)))
                    }
                    _ => unreachable!("page files answer nothing else"),
                };
                failure = failure.take().or(error);
            });
        }
    }

    /// Reads pages, all at once: each with its offset, in this order.
    fn read_pages(&mut self, offsets: impl Iterator<Item = u64>) -> VecDeque<MapPage> {
        let mut pages: VecDeque<MapPage> = offsets.map(|offset| (offset, Err(libc::EIO))).collect();
        for (number, (offset, _)) in pages.iter().enumerate() {
            let op = PageOp::Read { op: OpId(number as u64), offset: *offset, len: PAGE_BYTES as u32 };
            // SAFETY: it is a read, into a buffer of `Pages`.
            unsafe { self.pages.submit_of(&mut self.ring, None, 0, op) }.expect(RING);
        }
        while self.pages.in_flight() > 0 {
            wait(&mut self.ring, &mut self.pages, |event| {
                let Event::PageRead { op, result } = event else { unreachable!("only reads are under way") };
                pages[op.0 as usize].1 = result.map(<[u8]>::to_vec);
            });
        }
        pages
    }

    fn unusable(&self, error: io::Error) -> StartError {
        unusable(&self.path, error)
    }

    fn refuse(&self, fault: &Fault) -> StartError {
        let offset = match fault {
            Fault::PageFile { offset, .. } | Fault::PageFileRead { offset, .. } => *offset,
            _ => 0,
        };
        damaged(&self.path, offset, fault.to_string())
    }
}

/// Why nothing can be done if the ring fails: the kernel may go on with what is in flight, and its memory must stay.
const RING: &str = "a ring that has been made takes operations";

/// Waits for operations to end, and hands on how they did.
fn wait(ring: &mut Ring, pages: &mut Pages, mut tell: impl FnMut(Event<'_>)) {
    ring.enter_and_wait().expect(RING);
    while let Some(done) = ring.next_completion() {
        let Op::Page { flight } = done.op else { unreachable!("this ring has no other operations") };
        pages.on_done(flight, done.result, |_, event| tell(event));
    }
    ring.release_completions();
}

fn unusable(path: &Path, error: io::Error) -> StartError {
    StartError::DirectoryUnusable { dir: path.to_owned(), error }
}

fn damaged(path: &Path, offset: u64, what: String) -> StartError {
    StartError::Log { file: path.to_owned(), offset, what }
}
