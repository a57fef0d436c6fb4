//! Images on their way to the disk: gathered in buffers, and written to neighbouring sites with one operation each.
//!
//! A *piece* is a run of sites and the images for them, written at once; a buffer holds one piece, or several where free
//! space is in short runs. An image stands here from the moment it is made until its write has been answered, and can be
//! read from here. Buffers are used again: nothing is allocated or cleared for each.

use super::space::{Run, Space};
use crate::limits::{OUTPUT_PAGES, OUTPUTS_SPARE, OUTPUTS_SPARE_SAVING, PAGE_BYTES};
use crate::pool::Frame;
use crate::units::{OutputId, Site};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

struct Buffer {
    memory: Box<[Frame]>,
    /// Frames that are given to pieces.
    given: u32,
    /// Pieces that are not written yet.
    pieces: u32,
}

struct Piece {
    buffer: usize,
    /// Its first frame there.
    at: u32,
    run: Run,
    /// Images in it.
    used: u32,
    /// Counts the pieces in the order of their beginnings.
    number: u64,
}

/// All buffers of a page file.
#[derive(Default)]
pub(crate) struct Output {
    buffers: Vec<Option<Buffer>>,
    buffers_vacant: Vec<usize>,
    spare: Vec<Box<[Frame]>>,
    /// The buffer that further pieces go to.
    filling: Option<usize>,
    pieces: Vec<Option<Piece>>,
    pieces_vacant: Vec<OutputId>,
    open: Option<OutputId>,
    ready: VecDeque<OutputId>,
    /// By first site.
    by_site: BTreeMap<u32, OutputId>,
    /// Numbers of all pieces.
    numbers: BTreeSet<u64>,
    number_last: u64,
}

impl Output {
    /// Sites that the open piece still has.
    pub(crate) fn open_sites(&self) -> u32 {
        self.open.map_or(0, |open| {
            let piece = self.piece(open);
            piece.run.count - piece.used
        })
    }

    /// Makes room for one more image at a site of its own. `None`: there is no free site.
    pub(crate) fn place(&mut self, space: &mut Space) -> Option<(Site, &mut [u8])> {
        if self.open_sites() == 0 {
            self.close(space);
            let run = space.take(self.frames_left().max(1))?;
            self.open = Some(self.make(run));
        }
        let open = self.open.expect("it was opened at the latest just now");
        let piece = self.pieces[open.0 as usize].as_mut().expect("the piece is in use");
        let site = Site(piece.run.first.0 + piece.used);
        let frame = (piece.at + piece.used) as usize;
        piece.used += 1;
        let buffer = self.buffers[piece.buffer].as_mut().expect("the buffer has a piece");
        Some((site, bytemuck::bytes_of_mut(&mut buffer.memory[frame])))
    }

    /// Makes a piece of sites that are the caller's, to be filled at once.
    pub(crate) fn place_run(&mut self, run: Run) -> &mut [u8] {
        let id = self.make(run);
        self.ready.push_back(id);
        let piece = self.pieces[id.0 as usize].as_mut().expect("the piece is in use");
        piece.used = run.count;
        let frames = piece.at as usize..(piece.at + run.count) as usize;
        let buffer = self.buffers[piece.buffer].as_mut().expect("the buffer has a piece");
        bytemuck::cast_slice_mut(&mut buffer.memory[frames])
    }

    /// Frames that the next piece can have.
    fn frames_left(&self) -> u32 {
        let given = self.filling.and_then(|at| self.buffers[at].as_ref()).map_or(0, |buffer| buffer.given);
        match OUTPUT_PAGES as u32 - given {
            0 => OUTPUT_PAGES as u32,
            left => left,
        }
    }

    fn make(&mut self, run: Run) -> OutputId {
        assert!(run.count as usize <= OUTPUT_PAGES);
        let at = match self.filling {
            Some(at) if self.buffer(at).given + run.count <= OUTPUT_PAGES as u32 => at,
            _ => self.begin_buffer(),
        };
        let buffer = self.buffers[at].as_mut().expect("it is being filled");
        self.number_last += 1;
        let piece = Piece { buffer: at, at: buffer.given, run, used: 0, number: self.number_last };
        buffer.given += run.count;
        buffer.pieces += 1;
        self.numbers.insert(self.number_last);
        let id = self.pieces_vacant.pop().unwrap_or_else(|| {
            self.pieces.push(None);
            OutputId(self.pieces.len() as u32 - 1)
        });
        self.pieces[id.0 as usize] = Some(piece);
        self.by_site.insert(run.first.0, id);
        id
    }

    fn begin_buffer(&mut self) -> usize {
        if let Some(at) = self.filling.take() {
            self.end_buffer(at);
        }
        let memory = self.spare.pop().unwrap_or_else(|| bytemuck::zeroed_slice_box(OUTPUT_PAGES));
        let at = self.buffers_vacant.pop().unwrap_or_else(|| {
            self.buffers.push(None);
            self.buffers.len() - 1
        });
        self.buffers[at] = Some(Buffer { memory, given: 0, pieces: 0 });
        self.filling = Some(at);
        at
    }

    /// A buffer without pieces that gets no more is kept for its next use.
    fn end_buffer(&mut self, at: usize) {
        if self.buffer(at).pieces > 0 || self.filling == Some(at) {
            return;
        }
        let buffer = self.buffers[at].take().expect("it was there just now");
        self.buffers_vacant.push(at);
        if self.spare.len() < OUTPUTS_SPARE_SAVING {
            self.spare.push(buffer.memory);
        }
    }

    /// A checkpoint is over: what its copies took is given back, but for a few buffers.
    pub(crate) fn trim(&mut self) {
        self.spare.truncate(OUTPUTS_SPARE);
    }

    /// The open piece is to be written, full or not.
    pub(crate) fn close(&mut self, space: &mut Space) {
        let Some(id) = self.open.take() else { return };
        let piece = self.pieces[id.0 as usize].as_mut().expect("the piece is in use");
        let (Run { first, count }, used) = (piece.run, piece.used);
        piece.run.count = used;
        let (end, at) = (piece.at + count, piece.buffer);
        space.give_back(Run { first: Site(first.0 + used), count: count - used });
        let buffer = self.buffers[at].as_mut().expect("the buffer has a piece");
        if buffer.given == end {
            buffer.given -= count - used;
        }
        if used == 0 { self.done(id) } else { self.ready.push_back(id) }
    }

    /// The next piece to write.
    pub(crate) fn next(&mut self) -> Option<OutputId> {
        self.ready.pop_front()
    }

    /// A write failed and may be tried again.
    pub(crate) fn again(&mut self, id: OutputId) {
        self.ready.push_front(id);
    }

    /// The piece has been written.
    pub(crate) fn done(&mut self, id: OutputId) {
        let piece = self.pieces[id.0 as usize].take().expect("a piece is written once");
        self.pieces_vacant.push(id);
        self.by_site.remove(&piece.run.first.0);
        self.numbers.remove(&piece.number);
        let buffer = self.buffers[piece.buffer].as_mut().expect("the buffer has a piece");
        buffer.pieces -= 1;
        if buffer.pieces == 0 && self.filling == Some(piece.buffer) {
            // Nothing in it is needed any more: it is filled from its beginning.
            buffer.given = 0;
        }
        self.end_buffer(piece.buffer);
    }

    pub(crate) fn run(&self, id: OutputId) -> Run {
        self.piece(id).run
    }

    pub(crate) fn bytes(&self, id: OutputId) -> &[u8] {
        let piece = self.piece(id);
        let frames = piece.at as usize..(piece.at + piece.used) as usize;
        bytemuck::cast_slice(&self.buffer(piece.buffer).memory[frames])
    }

    /// The image for a site, if it is still here.
    pub(crate) fn find(&self, site: Site) -> Option<&[u8]> {
        let (first, id) = self.by_site.range(..=site.0).next_back()?;
        let piece = self.piece(*id);
        let at = site.0 - first;
        (at < piece.used).then(|| bytemuck::bytes_of(&self.buffer(piece.buffer).memory[(piece.at + at) as usize]))
    }

    /// The number of the last piece that was begun.
    pub(crate) fn number_last(&self) -> u64 {
        self.number_last
    }

    /// Whether everything in pieces up to this one has been written.
    pub(crate) fn is_written(&self, number: u64) -> bool {
        self.numbers.first().is_none_or(|first| *first > number)
    }

    /// Whether an image for one of these sites is still here.
    pub(crate) fn holds_any(&self, run: Run) -> bool {
        let before = self.by_site.range(..run.first.0 + run.count).next_back();
        before.is_some_and(|(first, id)| first + self.piece(*id).used > run.first.0)
    }

    /// Buffers in use.
    #[inline]
    pub(crate) fn count(&self) -> usize {
        self.buffers.len() - self.buffers_vacant.len()
    }

    fn piece(&self, id: OutputId) -> &Piece {
        self.pieces[id.0 as usize].as_ref().expect("the piece is in use")
    }

    fn buffer(&self, at: usize) -> &Buffer {
        self.buffers[at].as_ref().expect("the buffer is in use")
    }
}

const _: () = assert!(OUTPUT_PAGES * PAGE_BYTES == crate::limits::OUTPUT_BYTES_MAX);
