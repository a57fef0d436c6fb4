//! What crosses cores: bounded mailboxes of one sender and one receiver each, and the doorbells that wake a worker.
//!
//! A doorbell is rung only for a worker that says it sleeps. Both sides follow the same order, with a full barrier in
//! the middle, so that no wake-up is lost:
//!
//! ```text
//! sender:   put the parcel in     | barrier | is the receiver asleep?  -> ring
//! receiver: say "I go to sleep"   | barrier | is there a parcel?       -> stay awake
//! ```
//!
//! The same holds with the roles exchanged for a sender that waits for room.

use crate::limits::MAILBOX_PARCELS;
use cairn_core::event::{ConnId, ProcessFacts, Ticket};
use cairn_core::machine::Handover;
use cairn_core::parcel::Parcel;
use cairn_storage::units::ShardId;
use rustix::event::{EventfdFlags, eventfd};
use std::cell::UnsafeCell;
use std::collections::VecDeque;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, PoisonError};

/// A parcel and the shard it is for.
#[derive(Debug)]
pub struct Addressed {
    pub to: ShardId,
    pub parcel: Box<Parcel>,
}

/// Wakes one worker.
#[derive(Debug)]
pub struct Doorbell {
    eventfd: OwnedFd,
    is_asleep: AtomicBool,
}

impl Doorbell {
    pub fn new() -> io::Result<Doorbell> {
        Ok(Doorbell { eventfd: eventfd(0, EventfdFlags::CLOEXEC)?, is_asleep: AtomicBool::new(false) })
    }

    /// The worker goes to sleep, unless `has_mail` (asked after the announcement) finds something. Whether it may.
    pub fn lie_down(&self, has_mail: impl FnOnce() -> bool) -> bool {
        self.is_asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if has_mail() {
            self.get_up();
            return false;
        }
        true
    }

    pub fn get_up(&self) {
        self.is_asleep.store(false, Ordering::Relaxed);
    }

    /// After something was left for the worker: wakes it if it sleeps. Whether that took a system call.
    pub fn ring(&self) -> bool {
        fence(Ordering::SeqCst);
        if self.is_asleep.load(Ordering::Relaxed) && self.is_asleep.swap(false, Ordering::Relaxed) {
            // Only an overflowing counter fails, and then a wake-up is pending already.
            let _ = rustix::io::write(&self.eventfd, &1_u64.to_ne_bytes());
            return true;
        }
        false
    }
}

impl AsFd for Doorbell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.eventfd.as_fd()
    }
}

/// On a cache line of its own, so that the two sides do not slow each other.
#[repr(align(128))]
struct Line<T>(T);

/// The ring of a mailbox. Positions count without end; a slot is position modulo length.
struct Slots {
    /// The next position to read: written by the receiver.
    head: Line<AtomicUsize>,
    /// The next position to write: written by the sender.
    tail: Line<AtomicUsize>,
    /// The sender waits for room.
    is_wanted: AtomicBool,
    slots: Box<[UnsafeCell<MaybeUninit<Addressed>>]>,
}

// SAFETY: a slot is accessed by the sender only at positions in `tail..head + length`, by the receiver only in
// `head..tail`; release stores and acquire loads of `head` and `tail` hand slots over. There is one handle a side, not
// `Clone`, and its methods take `&mut self`. Were there two senders, both could write the same slot.
unsafe impl Sync for Slots {}
// SAFETY: as above, and what the slots hold is itself `Send`.
unsafe impl Send for Slots {}

impl Slots {
    fn at(&self, position: usize) -> *mut MaybeUninit<Addressed> {
        self.slots[position & (self.slots.len() - 1)].get()
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        for position in self.head.0.load(Ordering::Acquire)..self.tail.0.load(Ordering::Acquire) {
            // SAFETY: positions from head to tail were written and not yet read; nobody else has the slots any more.
            unsafe { (*self.at(position)).assume_init_drop() };
        }
    }
}

/// The sending end of a mailbox, with the parcels that did not fit yet.
pub struct Sender {
    slots: Arc<Slots>,
    tail: usize,
    /// The receiver's head as last seen.
    head: usize,
    /// In order, behind those in the mailbox. Bounded by the machines' own bounds on unsent messages.
    backlog: VecDeque<Addressed>,
    receiver: Arc<Doorbell>,
    has_news: bool,
}

/// The receiving end of a mailbox.
pub struct Receiver {
    slots: Arc<Slots>,
    head: usize,
    sender: Arc<Doorbell>,
}

/// A mailbox between two workers.
pub fn mailbox(sender: Arc<Doorbell>, receiver: Arc<Doorbell>) -> (Sender, Receiver) {
    mailbox_of(MAILBOX_PARCELS, sender, receiver)
}

fn mailbox_of(length: usize, sender: Arc<Doorbell>, receiver: Arc<Doorbell>) -> (Sender, Receiver) {
    assert!(length.is_power_of_two());
    let slots = Arc::new(Slots {
        head: Line(AtomicUsize::new(0)),
        tail: Line(AtomicUsize::new(0)),
        is_wanted: AtomicBool::new(false),
        slots: (0..length).map(|_| UnsafeCell::new(MaybeUninit::uninit())).collect(),
    });
    let incoming = Receiver { slots: Arc::clone(&slots), head: 0, sender };
    (Sender { slots, tail: 0, head: 0, backlog: VecDeque::new(), receiver, has_news: false }, incoming)
}

impl Sender {
    /// Leaves a parcel; if the mailbox is full it is kept here, in order. The receiver hears of it at
    /// [`Sender::ring`].
    pub fn send(&mut self, parcel: Addressed) {
        if !self.backlog.is_empty() {
            self.backlog.push_back(parcel);
        } else if let Err(parcel) = self.put(parcel) {
            self.backlog.push_back(parcel);
        }
    }

    /// Offers again what did not fit, and wakes the receiver if it sleeps and there is something new. Whether a system
    /// call was made.
    pub fn ring(&mut self) -> bool {
        self.retry();
        if !self.backlog.is_empty() {
            self.slots.is_wanted.store(true, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            self.retry();
        }
        std::mem::take(&mut self.has_news) && self.receiver.ring()
    }

    /// Parcels wait and there is room for one by now: no time to sleep.
    pub fn can_go_on(&self) -> bool {
        let length = self.slots.slots.len();
        !self.backlog.is_empty() && self.tail - self.slots.head.0.load(Ordering::Acquire) < length
    }

    /// Parcels that wait for room.
    pub fn backlog(&self) -> usize {
        self.backlog.len()
    }

    fn retry(&mut self) {
        while let Some(parcel) = self.backlog.pop_front() {
            if let Err(parcel) = self.put(parcel) {
                self.backlog.push_front(parcel);
                return;
            }
        }
    }

    fn put(&mut self, parcel: Addressed) -> Result<(), Addressed> {
        let length = self.slots.slots.len();
        if self.tail - self.head == length {
            self.head = self.slots.head.0.load(Ordering::Acquire);
            if self.tail - self.head == length {
                return Err(parcel);
            }
        }
        // SAFETY: the position is not below `head + length` only if the receiver has read its slot (acquired above), and
        // it reads it again only after the release store of `tail` below.
        unsafe { (*self.slots.at(self.tail)).write(parcel) };
        self.tail += 1;
        self.slots.tail.0.store(self.tail, Ordering::Release);
        self.has_news = true;
        Ok(())
    }
}

impl Receiver {
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.slots.tail.0.load(Ordering::Acquire) == self.head
    }

    /// Takes the oldest parcel.
    pub fn take(&mut self) -> Option<Addressed> {
        if self.is_empty() {
            return None;
        }
        // SAFETY: the position is below `tail` (acquired), so its slot was written and is not written again before the
        // release store of `head` below; `head` moves past it, so it is read once.
        let parcel = unsafe { (*self.slots.at(self.head)).assume_init_read() };
        self.head += 1;
        self.slots.head.0.store(self.head, Ordering::Release);
        Some(parcel)
    }

    /// After taking: wakes the sender if it waits for room. Whether a system call was made.
    pub fn make_room(&mut self) -> bool {
        fence(Ordering::SeqCst);
        self.slots.is_wanted.load(Ordering::Relaxed)
            && self.slots.is_wanted.swap(false, Ordering::Relaxed)
            && self.sender.ring()
    }
}

/// What comes to a worker from outside the workers, or rarely: a lock is good enough.
#[derive(Debug)]
pub enum Letter {
    HostAnswer {
        shard: ShardId,
        ticket: Ticket,
        result: Result<String, String>,
    },
    Facts(ProcessFacts),
    /// All shards are there: accept connections.
    Serve,
    /// Another worker has time: it is to have connections that make this one's core busy, so many in a thousand.
    Share {
        to: u16,
        permille: u16,
    },
    /// A connection comes from another worker.
    Come(Box<Visit>),
    /// What became of it there.
    Went {
        conn: ConnId,
        generation: u32,
        is_taken: bool,
    },
    /// Accept nobody any more, finish what was begun, then end.
    Drain {
        saves: bool,
    },
    /// End now, finished or not.
    Halt,
}

/// A connection that goes from one worker to another.
#[derive(Debug)]
pub struct Visit {
    /// The worker that it comes from, and what it is there.
    pub from: u16,
    pub conn: ConnId,
    pub generation: u32,
    pub fd: OwnedFd,
    pub handover: Handover,
}

/// A worker's letters from outside.
#[derive(Debug)]
pub struct Inbox {
    letters: Mutex<Vec<Letter>>,
    is_filled: AtomicBool,
    doorbell: Arc<Doorbell>,
}

impl Inbox {
    pub fn new(doorbell: Arc<Doorbell>) -> Inbox {
        Inbox { letters: Mutex::new(Vec::new()), is_filled: AtomicBool::new(false), doorbell }
    }

    pub fn post(&self, letter: Letter) {
        self.letters.lock().unwrap_or_else(PoisonError::into_inner).push(letter);
        self.is_filled.store(true, Ordering::Release);
        self.doorbell.ring();
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        !self.is_filled.load(Ordering::Acquire)
    }

    /// All letters, oldest first.
    pub fn take(&self) -> Vec<Letter> {
        if self.is_empty() {
            return Vec::new();
        }
        let mut letters = self.letters.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_filled.store(false, Ordering::Release);
        std::mem::take(&mut letters)
    }
}

#[cfg(test)]
mod tests {
    use super::{Addressed, Doorbell, Inbox, Letter, mailbox_of};
    use cairn_core::parcel::Parcel;
    use cairn_storage::units::ShardId;
    use std::sync::Arc;
    use std::thread;

    fn parcel(number: u32) -> Addressed {
        let args = vec![number];
        Addressed { to: ShardId(1), parcel: Box::new(Parcel { args, ..Parcel::default() }) }
    }

    fn doorbells() -> (Arc<Doorbell>, Arc<Doorbell>) {
        (Arc::new(Doorbell::new().unwrap()), Arc::new(Doorbell::new().unwrap()))
    }

    /// Sleeps as a worker does: on the eventfd, and only if there is no mail.
    fn sleep(doorbell: &Doorbell, has_mail: impl FnOnce() -> bool) -> bool {
        if !doorbell.lie_down(has_mail) {
            return false;
        }
        let mut count = [0; 8];
        rustix::io::read(doorbell, &mut count).unwrap();
        doorbell.get_up();
        true
    }

    #[test]
    fn order_holds_and_no_wake_up_is_lost_while_both_sides_sleep_at_every_chance() {
        const PARCELS: u32 = 200_000;
        let (there, here) = doorbells();
        let (mut sender, mut receiver) = mailbox_of(4, Arc::clone(&there), Arc::clone(&here));
        let sending = thread::spawn(move || {
            let mut slept = 0;
            for number in 0..PARCELS {
                sender.send(parcel(number));
                sender.ring();
                while sender.backlog() > 8 {
                    slept += u32::from(sleep(&there, || sender.can_go_on()));
                    sender.ring();
                }
            }
            while sender.backlog() > 0 {
                sleep(&there, || sender.can_go_on());
                sender.ring();
            }
            slept
        });
        let mut expect = 0;
        while expect < PARCELS {
            match receiver.take() {
                Some(got) => {
                    assert_eq!(got.parcel.args, [expect]);
                    expect += 1;
                }
                None => {
                    receiver.make_room();
                    sleep(&here, || !receiver.is_empty());
                }
            }
        }
        receiver.make_room();
        sending.join().unwrap();
        assert!(receiver.take().is_none());
    }

    #[test]
    fn a_full_mailbox_keeps_the_order_in_the_backlog() {
        let (there, here) = doorbells();
        let (mut sender, mut receiver) = mailbox_of(2, there, here);
        for number in 0..5 {
            sender.send(parcel(number));
        }
        assert_eq!(sender.backlog(), 3);
        assert_eq!(receiver.take().unwrap().parcel.args, [0]);
        sender.send(parcel(5));
        sender.ring();
        assert_eq!(sender.backlog(), 3);
        for number in 1..6 {
            sender.ring();
            assert_eq!(receiver.take().unwrap().parcel.args, [number]);
        }
        assert!(receiver.take().is_none());
    }

    #[test]
    fn parcels_left_in_a_mailbox_are_freed_with_it() {
        let (there, here) = doorbells();
        let (mut sender, mut receiver) = mailbox_of(4, there, here);
        for number in 0..4 {
            sender.send(parcel(number));
        }
        assert!(receiver.take().is_some());
        sender.send(parcel(9));
        drop(sender);
        drop(receiver);
    }

    #[test]
    fn letters_wake_a_sleeper() {
        let doorbell = Arc::new(Doorbell::new().unwrap());
        let inbox = Arc::new(Inbox::new(Arc::clone(&doorbell)));
        let posting = {
            let inbox = Arc::clone(&inbox);
            thread::spawn(move || (0..1000).for_each(|_| inbox.post(Letter::Halt)))
        };
        let mut seen = 0;
        while seen < 1000 {
            let letters = inbox.take();
            seen += letters.len();
            if letters.is_empty() {
                sleep(&doorbell, || !inbox.is_empty());
            }
        }
        posting.join().unwrap();
    }
}
