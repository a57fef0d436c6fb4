//! Images on their way to the disk: buffers that are written to neighbouring sites with one operation each.
//!
//! An image stands here from the moment it is made until its write has been answered, and can be read from here.

use super::space::{Run, Space};
use crate::limits::{OUTPUT_PAGES, OUTPUTS_SPARE, PAGE_BYTES};
use crate::pool::Frame;
use crate::units::{OutputId, Site};
use std::collections::VecDeque;

struct Buffer {
    memory: Box<[Frame]>,
    run: Run,
    /// Images in it.
    used: u32,
    /// Counts the buffers in the order of their beginnings.
    number: u64,
}

/// All buffers of a page file.
#[derive(Default)]
pub(crate) struct Output {
    buffers: Vec<Option<Buffer>>,
    vacant: Vec<OutputId>,
    spare: Vec<Box<[Frame]>>,
    open: Option<OutputId>,
    ready: VecDeque<OutputId>,
    number_last: u64,
}

impl Output {
    /// Sites that the open buffer still has.
    pub(crate) fn open_sites(&self) -> u32 {
        self.open.map_or(0, |open| {
            let buffer = self.buffer(open);
            buffer.run.count - buffer.used
        })
    }

    /// Makes room for one more image at a site of its own. `None`: there is no free site.
    pub(crate) fn place(&mut self, space: &mut Space) -> Option<(Site, &mut [u8])> {
        if self.open_sites() == 0 {
            self.close(space);
            let run = space.take(OUTPUT_PAGES as u32)?;
            self.open = Some(self.make(run));
        }
        let buffer = self.buffer_mut(self.open.expect("it was opened at the latest just now"));
        let site = Site(buffer.run.first.0 + buffer.used);
        let image = bytemuck::bytes_of_mut(&mut buffer.memory[buffer.used as usize]);
        buffer.used += 1;
        Some((site, image))
    }

    /// Makes a buffer for sites that are the caller's, to be filled at once.
    pub(crate) fn place_run(&mut self, run: Run) -> &mut [u8] {
        let id = self.make(run);
        self.ready.push_back(id);
        let buffer = self.buffer_mut(id);
        buffer.used = run.count;
        bytemuck::cast_slice_mut(&mut buffer.memory[..run.count as usize])
    }

    fn make(&mut self, run: Run) -> OutputId {
        assert!(run.count as usize <= OUTPUT_PAGES);
        // Where free space is in pieces a buffer holds a few pages only: memory for many would have to be cleared in vain.
        let memory = self.spare.pop().unwrap_or_else(|| bytemuck::zeroed_slice_box(run.count as usize));
        self.number_last += 1;
        let buffer = Some(Buffer { memory, run, used: 0, number: self.number_last });
        match self.vacant.pop() {
            Some(id) => {
                self.buffers[id.0 as usize] = buffer;
                id
            }
            None => {
                self.buffers.push(buffer);
                OutputId(self.buffers.len() as u32 - 1)
            }
        }
    }

    /// The open buffer is to be written, full or not.
    pub(crate) fn close(&mut self, space: &mut Space) {
        let Some(id) = self.open.take() else { return };
        let buffer = self.buffer_mut(id);
        let Run { first, count } = buffer.run;
        let used = buffer.used;
        buffer.run.count = used;
        space.give_back(Run { first: Site(first.0 + used), count: count - used });
        if used == 0 { self.done(id) } else { self.ready.push_back(id) }
    }

    /// The next buffer to write.
    pub(crate) fn next(&mut self) -> Option<OutputId> {
        self.ready.pop_front()
    }

    /// A write failed and may be tried again.
    pub(crate) fn again(&mut self, id: OutputId) {
        self.ready.push_front(id);
    }

    /// The buffer has been written.
    pub(crate) fn done(&mut self, id: OutputId) {
        let buffer = self.buffers[id.0 as usize].take().expect("a buffer is written once");
        self.vacant.push(id);
        if self.spare.len() < OUTPUTS_SPARE && buffer.memory.len() == OUTPUT_PAGES {
            self.spare.push(buffer.memory);
        }
    }

    pub(crate) fn run(&self, id: OutputId) -> Run {
        self.buffer(id).run
    }

    pub(crate) fn bytes(&self, id: OutputId) -> &[u8] {
        let buffer = self.buffer(id);
        bytemuck::cast_slice(&buffer.memory[..buffer.used as usize])
    }

    /// The image for a site, if it is still here.
    pub(crate) fn find(&self, site: Site) -> Option<&[u8]> {
        let holds = |buffer: &&Buffer| (buffer.run.first.0..buffer.run.first.0 + buffer.used).contains(&site.0);
        let buffer = self.buffers.iter().flatten().find(holds)?;
        let at = (site.0 - buffer.run.first.0) as usize;
        Some(bytemuck::bytes_of(&buffer.memory[at]))
    }

    /// The number of the last buffer that was begun.
    pub(crate) fn number_last(&self) -> u64 {
        self.number_last
    }

    /// Whether everything in buffers up to this one has been written.
    pub(crate) fn is_written(&self, number: u64) -> bool {
        self.buffers.iter().flatten().all(|buffer| buffer.number > number)
    }

    /// Whether an image for one of these sites is still here.
    pub(crate) fn holds_any(&self, run: Run) -> bool {
        let overlaps = |buffer: &Buffer| {
            buffer.run.first.0 < run.first.0 + run.count && run.first.0 < buffer.run.first.0 + buffer.used
        };
        self.buffers.iter().flatten().any(overlaps)
    }

    /// Buffers in use.
    pub(crate) fn count(&self) -> usize {
        self.buffers.len() - self.vacant.len()
    }

    fn buffer(&self, id: OutputId) -> &Buffer {
        self.buffers[id.0 as usize].as_ref().expect("the buffer is in use")
    }

    fn buffer_mut(&mut self, id: OutputId) -> &mut Buffer {
        self.buffers[id.0 as usize].as_mut().expect("the buffer is in use")
    }
}

const _: () = assert!(OUTPUT_PAGES * PAGE_BYTES == crate::limits::OUTPUT_BYTES_MAX);
