//! Stop 9 of 10: the gate. Replies leave in the order of requests, each when what it observed is stable.
//!
//! A connection's output is one stream of bytes. *Gates* stand in it: the bytes from a gate's start to its end may leave once
//! the log is stable up to its LSN. *Holes* stand in it where a reply is still to come, from another shard or from the process.
//! Long values stand between the bytes, and leave by sends of their own. What stands behind a closed gate or an open hole waits
//! with it, since requests are answered in order.
//!
//! The replies to what is queued behind MULTI are no use without that to EXEC: they *lead* to its gate or hole, and are not sent before
//! by themselves.
//!
//! Numbered invariants:
//! - A1: gates and holes stand in the order of their places in the stream.
//! - A2: no byte leaves before every gate in front of it, or over it, is open.
//! - A3: no byte leaves before every hole in front of it is filled.

use crate::limits::{ASKED_BYTES_MAX, HOLES_MAX};
use crate::resp::replies::{Outgoing, Replies};
use cairn_storage::units::Lsn;
use std::collections::VecDeque;

/// The bytes from `start` to `end` wait for `lsn`.
#[derive(Clone, Copy, Debug)]
struct Gate {
    /// The bytes from here to the start lead to it.
    lead: u64,
    start: u64,
    end: u64,
    lsn: Lsn,
}

/// A reply that is still to come.
#[derive(Debug)]
struct Hole {
    /// Its number: holes of a connection are numbered from 1 on.
    id: u64,
    /// The bytes from here on lead to it.
    lead: u64,
    at: u64,
    reply: Option<Replies>,
    /// Commands behind it wait until it is filled.
    is_barrier: bool,
    /// The client wants no reply: it is filled with nothing.
    is_silent: bool,
    /// Bytes of the request that another shard has, or will have.
    asked_bytes: usize,
}

/// The output of one connection. Places are bytes since the connection began, holes' replies and long values not counted.
#[derive(Debug, Default)]
pub struct Output {
    /// Encoded replies that have not left.
    pub(crate) out: Replies,
    /// The place of the first byte of `out`.
    base: u64,
    gates: VecDeque<Gate>,
    /// The last gate is of commands that are still being run.
    is_in_batch: bool,
    holes: VecDeque<Hole>,
    hole_last: u64,
    /// Those that are not filled.
    holes_open: usize,
    hole_bytes: usize,
    /// Of all open holes.
    asked_bytes: usize,
    barriers: usize,
    /// To a gate or hole at the second place the bytes from the first one on lead.
    lead: (u64, u64),
    /// What may leave, where holes or long values part it, and its bytes.
    ready: VecDeque<Outgoing>,
    ready_bytes: usize,
    is_sending: bool,
    /// A long value is being sent.
    is_sending_blob: bool,
    /// Bytes of the send in flight that the kernel has not taken yet.
    sending_bytes: usize,
    /// A buffer that has come back from a send.
    spare: Vec<u8>,
}

/// Buffers larger than this are given back to the allocator rather than kept with an idle connection.
const SPARE_BYTES_MAX: usize = 64 * 1024;

impl Output {
    /// That of a connection which has had so many holes elsewhere.
    pub fn behind(hole_last: u64) -> Output {
        Output { hole_last, ..Output::default() }
    }

    /// The number of the last hole.
    pub fn hole_last(&self) -> u64 {
        self.hole_last
    }

    /// The bytes from `start` (an index of `out`) to its end, just written, wait for `lsn`.
    #[inline]
    pub fn gate(&mut self, start: usize, out: &Replies, lsn: Lsn) {
        let (from, end) = (self.base + start as u64, self.base + out.len() as u64);
        match self.gates.back_mut() {
            // Neighbours of one batch share a gate. Those of a later one do not: who sends without a pause would be answered when it pauses.
            Some(gate) if gate.end == from && self.is_in_batch => {
                gate.end = end;
                gate.lsn = gate.lsn.max(lsn);
            }
            // Keeps A1.
            _ => self.gates.push_back(Gate { lead: self.lead_to(from), start: from, end, lsn }),
        }
        self.is_in_batch = true;
    }

    /// The commands that were run together have run.
    pub fn end_batch(&mut self) {
        self.is_in_batch = false;
    }

    /// What the last closed gate waits for, if there is one.
    pub fn last_gate(&self) -> Option<Lsn> {
        self.gates.iter().map(|gate| gate.lsn).max()
    }

    /// The place of an index of what is written.
    pub fn place(&self, index: usize) -> u64 {
        self.base + index as u64
    }

    /// If a gate or a hole comes next, the bytes from a place on lead to it.
    pub fn note_lead(&mut self, from: u64, out: &Replies) {
        self.lead = (from, self.place(out.len()));
    }

    fn lead_to(&self, place: u64) -> u64 {
        if self.lead.1 == place { self.lead.0 } else { place }
    }

    /// Whether all that may leave leads to what may not.
    #[inline]
    fn is_all_lead(&self) -> bool {
        match (self.holes.front(), self.gates.front()) {
            (Some(hole), gate) if gate.is_none_or(|gate| hole.at <= gate.start) => {
                hole.reply.is_none() && self.base >= hole.lead
            }
            (_, Some(gate)) => self.base >= gate.lead,
            _ => false,
        }
    }

    /// Leaves a hole behind the last byte of `out`.
    pub fn open_hole(&mut self, out: &Replies, is_barrier: bool, is_silent: bool, asked_bytes: usize) -> u64 {
        self.hole_last += 1;
        self.holes_open += 1;
        self.barriers += usize::from(is_barrier);
        let at = self.base + out.len() as u64;
        self.asked_bytes += asked_bytes;
        let (id, lead) = (self.hole_last, self.lead_to(at));
        self.holes.push_back(Hole { id, lead, at, reply: None, is_barrier, is_silent, asked_bytes });
        self.hole_last
    }

    /// The last hole is for the replies to so many more requests: each has a number.
    pub fn skip_holes(&mut self, count: u64) {
        self.hole_last += count;
    }

    /// Fills a hole. Whether there was one to fill.
    pub fn fill_hole(&mut self, id: u64, reply: Replies) -> bool {
        let Ok(at) = self.holes.binary_search_by_key(&id, |hole| hole.id) else { return false };
        let hole = &mut self.holes[at];
        if hole.reply.is_some() {
            return false;
        }
        self.holes_open -= 1;
        self.barriers -= usize::from(hole.is_barrier);
        self.asked_bytes -= hole.asked_bytes;
        let reply = if hole.is_silent { Replies::default() } else { reply };
        self.hole_bytes += reply.weight();
        hole.reply = Some(reply);
        true
    }

    /// Whether a reply is still to come.
    pub fn has_open_holes(&self) -> bool {
        self.holes_open > 0
    }

    /// Whether so much is under way at other shards that the next command waits.
    pub fn has_asked_enough(&self) -> bool {
        self.holes.len() > HOLES_MAX || self.asked_bytes > ASKED_BYTES_MAX
    }

    pub fn has_barrier(&self) -> bool {
        self.barriers > 0
    }

    /// Bytes that are written and have not been handed to a send. A long value that is being sent counts: the next command
    /// waits for it.
    pub fn unsent_bytes(&self) -> usize {
        let sending = if self.is_sending_blob { self.sending_bytes } else { 0 };
        self.out.weight() + self.hole_bytes + self.ready_bytes + sending
    }

    /// Bytes that are written and that the peer's kernel has not made room for: what a slow reader costs.
    pub fn unread_bytes(&self) -> usize {
        self.sending_bytes + self.out.weight() + self.hole_bytes + self.ready_bytes
    }

    pub fn is_empty(&self) -> bool {
        self.out.is_empty() && self.holes.is_empty() && self.ready.is_empty() && !self.is_sending
    }

    /// Nothing can leave before a command has its answer that may never come: SHUTDOWN, DEBUG SLEEP, WAIT.
    pub fn is_at_barrier(&self) -> bool {
        let is_open = |hole: &Hole| hole.is_barrier && hole.reply.is_none() && hole.at == self.base;
        !self.is_sending && self.ready.is_empty() && self.holes.front().is_some_and(is_open)
    }

    /// Takes what may leave now for a send, unless one is in flight or nothing may.
    pub fn take_sendable(&mut self, stable: Lsn) -> Option<Outgoing> {
        if self.is_sending {
            return None;
        }
        self.open_gates(stable);
        if self.ready.is_empty() && self.is_all_lead() {
            return None;
        }
        let is_parted = !self.holes.is_empty() || self.out.has_blobs() || !self.ready.is_empty();
        let outgoing = if is_parted { self.take_part() } else { Outgoing::Bytes(self.take_prefix()) };
        self.is_sending = !outgoing.is_empty();
        self.is_sending_blob = matches!(outgoing, Outgoing::Blob(_));
        self.sending_bytes = outgoing.len();
        self.is_sending.then_some(outgoing)
    }

    /// Keeps A2: gates open from the front.
    #[inline]
    fn open_gates(&mut self, stable: Lsn) {
        while self.gates.front().is_some_and(|gate| gate.lsn <= stable) {
            self.gates.pop_front();
        }
    }

    /// The place of the first closed gate, or of the end.
    fn open_end(&self) -> u64 {
        self.gates.front().map_or(self.base + self.out.len() as u64, |gate| gate.start)
    }

    fn take_prefix(&mut self) -> Vec<u8> {
        let len = (self.open_end() - self.base) as usize;
        self.base += len as u64;
        let mut buffer = std::mem::take(&mut self.spare);
        buffer.clear();
        self.out.take_bytes(len, buffer)
    }

    /// The next of the parts that may leave.
    #[cold]
    fn take_part(&mut self) -> Outgoing {
        if self.ready.is_empty() {
            self.gather();
        }
        let outgoing = self.ready.pop_front().unwrap_or_default();
        self.ready_bytes -= outgoing.len();
        outgoing
    }

    /// Keeps A3: bytes, long values and filled holes become ready in turn, up to the first open hole.
    fn gather(&mut self) {
        let end = self.open_end();
        let mut taken = Replies::default();
        let mut to = self.base;
        loop {
            let hole_at = self.holes.front().map(|hole| hole.at).filter(|at| *at <= end);
            // A long value is inside of a reply, so it is never where a gate begins, nor where a hole is.
            let blob_at = self.out.blob_place().map(|place| self.base + place as u64).filter(|at| *at < end);
            let stop = hole_at.unwrap_or(end).min(blob_at.unwrap_or(end));
            taken.extend_from_slice(&self.out.bytes()[(to - self.base) as usize..(stop - self.base) as usize]);
            to = stop;
            if blob_at == Some(stop) {
                let blob = self.out.take_blob().expect("it was seen just now");
                taken.push_blob(blob);
            } else if let Some(hole) = self.holes.front_mut().filter(|_| hole_at == Some(stop)) {
                let Some(reply) = hole.reply.take() else { break };
                self.hole_bytes -= reply.weight();
                taken.append(reply);
                self.holes.pop_front();
            } else {
                break;
            }
        }
        self.out.drop_bytes((to - self.base) as usize);
        self.base = to;
        self.part(taken);
    }

    /// Replies become ready: their long values by themselves.
    fn part(&mut self, mut replies: Replies) {
        self.ready_bytes += replies.weight();
        while let Some(place) = replies.blob_place() {
            let blob = replies.take_blob().expect("it was seen just now");
            if place > 0 {
                self.ready.push_back(Outgoing::Bytes(replies.bytes()[..place].to_vec()));
                replies.drop_bytes(place);
            }
            self.ready.push_back(Outgoing::Blob(blob));
        }
        if !replies.is_empty() {
            let len = replies.len();
            self.ready.push_back(Outgoing::Bytes(replies.take_bytes(len, Vec::new())));
        }
    }

    /// A part of the send in flight has left.
    pub fn on_sent_part(&mut self, bytes: usize) {
        self.sending_bytes = self.sending_bytes.saturating_sub(bytes);
    }

    /// A send is done; its buffer serves again.
    pub fn on_sent(&mut self, outgoing: Outgoing) {
        assert!(self.is_sending, "only a send that was begun can end");
        self.is_sending = false;
        self.is_sending_blob = false;
        self.sending_bytes = 0;
        if let Outgoing::Bytes(mut buffer) = outgoing
            && buffer.capacity() <= SPARE_BYTES_MAX
        {
            buffer.clear();
            self.spare = buffer;
        }
    }

    /// Forgets what waits for an LSN beyond `stable`, and all behind it: the log has failed, these will never be
    /// acknowledged. Whether there was such a thing.
    pub fn cut_unstable(&mut self, stable: Lsn) -> bool {
        self.open_gates(stable);
        let Some(&gate) = self.gates.front() else { return false };
        let end = gate.start;
        self.out.truncate((end - self.base) as usize);
        self.gates.clear();
        while self.holes.back().is_some_and(|hole| hole.at > end) {
            if let Some(hole) = self.holes.pop_back() {
                self.barriers -= usize::from(hole.is_barrier && hole.reply.is_none());
                self.holes_open -= usize::from(hole.reply.is_none());
                self.asked_bytes -= if hole.reply.is_none() { hole.asked_bytes } else { 0 };
                self.hole_bytes -= hole.reply.map_or(0, |reply| reply.weight());
            }
        }
        true
    }
}

#[cfg(test)]
mod tests;
