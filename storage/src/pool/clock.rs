//! In which order frames are given up: three queues of frames, and who moves from one to the next.
//!
//! ```text
//!   from disk --> Fresh --> Probation --touched there--> Protected --+--> the front, touched: to the back
//!                                |                          ^        +--> the front, not touched: out
//!                                +--> out    out and soon   |
//!                                            back, or made -+
//! ```
//!
//! A page that is read from disk is touched at once by the command that needed it, and by its neighbours in a scan, which
//! says nothing about its future. So what counts is whether it is touched again after it has moved through Fresh. A scan
//! of everything therefore passes through Fresh and Probation, an eighth of all frames, and leaves Protected alone.
//!
//! Sources of the idea: the clock; 2Q (Johnson and Shasha, 1994) for the queue in front and for what comes back soon.

use crate::units::PageId;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Queue {
    Fresh,
    Probation,
    Protected,
}

const NONE: u32 = u32::MAX;

#[derive(Clone, Copy)]
struct Link {
    page: PageId,
    before: u32,
    after: u32,
    queue: Option<Queue>,
}

#[derive(Clone, Copy)]
struct Ends {
    first: u32,
    last: u32,
    len: usize,
}

/// The queues. Frames are named by their numbers.
pub(super) struct Clock {
    links: Vec<Link>,
    ends: [Ends; 3],
}

impl Clock {
    pub(super) fn new() -> Clock {
        Clock { links: Vec::new(), ends: [Ends { first: NONE, last: NONE, len: 0 }; 3] }
    }

    pub(super) fn len(&self, queue: Queue) -> usize {
        self.ends[queue as usize].len
    }

    /// The frame, which is in no queue, joins the back of one.
    pub(super) fn push(&mut self, queue: Queue, frame: u32, page: PageId) {
        let at = frame as usize;
        if at >= self.links.len() {
            let none = Link { page: PageId(0), before: NONE, after: NONE, queue: None };
            self.links.resize(at + 1, none);
        }
        assert!(self.links[at].queue.is_none());
        let ends = &mut self.ends[queue as usize];
        let last = std::mem::replace(&mut ends.last, frame);
        ends.len += 1;
        if last == NONE {
            ends.first = frame;
        } else {
            self.links[last as usize].after = frame;
        }
        self.links[at] = Link { page, before: last, after: NONE, queue: Some(queue) };
    }

    /// The frame leaves its queue.
    pub(super) fn remove(&mut self, frame: u32) {
        let Link { before, after, queue, .. } = self.links[frame as usize];
        let ends = &mut self.ends[queue.expect("a frame in use is in a queue") as usize];
        ends.len -= 1;
        if before == NONE {
            ends.first = after;
        }
        if after == NONE {
            ends.last = before;
        }
        if before != NONE {
            self.links[before as usize].after = after;
        }
        if after != NONE {
            self.links[after as usize].before = before;
        }
        self.links[frame as usize].queue = None;
    }

    /// The queue's front: frame and page.
    pub(super) fn front(&self, queue: Queue) -> Option<(u32, PageId)> {
        let first = self.ends[queue as usize].first;
        (first != NONE).then(|| (first, self.links[first as usize].page))
    }
}

#[cfg(test)]
mod tests {
    use super::{Clock, Queue};
    use crate::units::PageId;

    #[test]
    fn frames_leave_in_the_order_of_their_coming_from_anywhere() {
        let mut clock = Clock::new();
        for frame in 0..5 {
            clock.push(Queue::Fresh, frame, PageId(frame + 10));
        }
        clock.remove(2);
        clock.remove(0);
        clock.remove(4);
        clock.push(Queue::Protected, 4, PageId(14));
        clock.push(Queue::Fresh, 0, PageId(10));
        let mut order = Vec::new();
        while let Some((frame, page)) = clock.front(Queue::Fresh) {
            assert_eq!(page.0, frame + 10);
            clock.remove(frame);
            order.push(frame);
        }
        assert_eq!(order, [1, 3, 0]);
        assert_eq!((clock.len(Queue::Fresh), clock.len(Queue::Protected)), (0, 1));
        assert_eq!(clock.front(Queue::Protected), Some((4, PageId(14))));
    }
}
