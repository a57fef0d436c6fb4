//! Stop 1 of 10: one turn of the loop. A thread, its ring, its connections, and the machines of its shards.
//!
//! ```text
//! turn: completions -> parcels -> letters -> machines end their turn -> effects -> doorbells -> one system call
//! ```
//!
//! When a turn leaves nothing to do the worker sleeps in the ring's own wait, after a short spin if a single reply waits
//! for a flush. It yields to the executor only when a background task can go on, and never sleeps through it
//! (docs/decisions/0001-glommio.md).

mod halt;
mod idle;
mod share;
mod welcome;

use self::share::Leaving;
use crate::background::Background;
use crate::buffer::ReceiveBuffers;
use crate::clock;
use crate::datadir::page_file;
use crate::disk::{Disk, Write, Written};
use crate::host;
use crate::limits::{
    ACCEPT_PAUSE_MS, COMPLETIONS_PER_READS, COMPLETIONS_PER_TURN_MAX, PARCELS_PER_TURN_MAX, RECEIVE_BUFFER_BYTES,
    RECEIVE_BUFFERS, SEND_BYTES_MAX, TICK_MS,
};
use crate::listener::{Accepted, Listeners, cancel};
use crate::mesh::{Addressed, Doorbell, Inbox, Letter, Receiver, Sender};
use crate::pages::Pages;
use crate::report::{Report, Reporter};
use crate::ring::{Completion, Op, Ring};
use crate::socket::{Received, Sent, Sockets};
use crate::stats::WorkerStats;
use cairn_core::event::{ConnId, Effect, Event, Now, Peer};
use cairn_core::machine::Machine;
use cairn_core::resp::replies::Outgoing;
use cairn_storage::op::{DiskDone, DiskOp, PageOp};
use cairn_storage::pagefile::PAGE_OP_BIT;
use cairn_storage::units::{OpId, ShardId};
use io_uring::{opcode, types};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

const SECOND_NS: u64 = 1_000_000_000;

/// How long a worker that must end waits for what is in flight.
const HALT_NS: u64 = 2 * SECOND_NS;

static TICK: types::Timespec = types::Timespec::new().sec(TICK_MS / 1000).nsec((TICK_MS % 1000) as u32 * 1_000_000);

/// What all workers share. Not on the data path, but for `mesh`, which each takes its ends of.
pub struct Shared {
    /// Connections of the whole server.
    pub clients: AtomicU32,
    /// By worker: nothing is left to do since the drain.
    pub is_drained: Vec<AtomicBool>,
}

/// What a worker is made from.
pub struct WorkerParts {
    pub worker: u16,
    pub cpu: u16,
    /// Nanoseconds that a worker looks for work before it sleeps.
    pub spin_ns: u64,
    pub listeners: Vec<(OwnedFd, Option<PathBuf>)>,
    pub doorbell: Arc<Doorbell>,
    /// By worker.
    pub inboxes: Vec<Arc<Inbox>>,
    /// By worker; `None` for itself.
    pub senders: Vec<Option<Sender>>,
    pub receivers: Vec<Receiver>,
    /// By shard: the worker that has it.
    pub homes: Arc<[u16]>,
    pub shared: Arc<Shared>,
    pub reporter: Reporter,
}

/// A thread of the server: it drives its machines until a letter says to end.
pub struct Worker {
    // The ring first: it is dropped, and with it every operation, before the memory that operations point to.
    ring: Ring,
    buffers: ReceiveBuffers,
    sockets: Sockets,
    disk: Disk,
    pages: Pages,
    /// Where the doorbell's count is read to.
    doorbell_count: Box<[u8; 8]>,
    machines: Vec<Machine>,
    /// By machine: it has heard something in this turn.
    is_touched: Vec<bool>,
    listeners: Listeners,
    doorbell: Arc<Doorbell>,
    /// By worker.
    inboxes: Vec<Arc<Inbox>>,
    senders: Vec<Option<Sender>>,
    receivers: Vec<Receiver>,
    homes: Arc<[u16]>,
    shared: Arc<Shared>,
    reporter: Reporter,
    /// Parcels from one of this worker's machines to another.
    local: VecDeque<Addressed>,
    /// Sends that were over at once.
    returned: Vec<(u16, ConnId, Outgoing)>,
    background: Background,
    /// Connections that are to go to another worker.
    leaving: Vec<Leaving>,
    stats: WorkerStats,
    now: Now,
    spin_ns: u64,
    /// Which machine gets the next connection.
    machine_next: u16,
    reported_ns: u64,
    state: State,
    has_told_exhaustion: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before [`Letter::Serve`].
    Opening,
    Serving,
    Draining,
    Halted,
}

/// Ends the process when a worker panics: a database with a dead shard must not linger.
struct AbortOnPanic(u16);

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "cairn: worker {} has met a bug (above). The process ends at once, because it cannot serve without that \
                 shard. What was acknowledged is on disk; start it again",
                self.0
            );
            std::process::abort();
        }
    }
}

impl Worker {
    /// A worker of the calling thread, which runs on an executor of [`host`]. `logs` are the log directories of the
    /// machines' shards.
    pub fn new(parts: WorkerParts, machines: Vec<Machine>, logs: Vec<PathBuf>) -> io::Result<Worker> {
        let ring = Ring::new()?;
        let buffers = ReceiveBuffers::new(&ring, RECEIVE_BUFFERS, RECEIVE_BUFFER_BYTES)?;
        let pages = Pages::new(&logs.iter().map(|log| page_file(log)).collect::<Vec<_>>())?;
        let mut disk = Disk::new(logs);
        let mut stats = WorkerStats::new(parts.worker, parts.cpu);
        // SAFETY: a log keeps its permanent buffers at fixed addresses as long as it lives; the machines that own the logs
        // are dropped with the worker, whose first field, dropped first, is the ring.
        stats.has_registered_buffers = unsafe { disk.register(&ring, &log_buffers(&machines)) };
        let mut listeners = Listeners::new();
        for (fd, unix) in parts.listeners {
            listeners.add(fd, unix);
        }
        let now = clock::now();
        Ok(Worker {
            ring,
            buffers,
            sockets: Sockets::default(),
            disk,
            pages,
            doorbell_count: Box::default(),
            is_touched: vec![true; machines.len()],
            machines,
            listeners,
            doorbell: parts.doorbell,
            inboxes: parts.inboxes,
            senders: parts.senders,
            receivers: parts.receivers,
            homes: parts.homes,
            shared: parts.shared,
            reporter: parts.reporter,
            local: VecDeque::new(),
            returned: Vec::new(),
            background: Background::new(),
            leaving: Vec::new(),
            stats,
            now,
            spin_ns: parts.spin_ns,
            machine_next: 0,
            reported_ns: now.mono_ns,
            state: State::Opening,
            has_told_exhaustion: false,
        })
    }

    /// Turns, until a letter says to end. An error of the ring itself is a bug or the end of the kernel's memory: the
    /// worker panics, and the process ends.
    pub async fn run(mut self) {
        let _guard = AbortOnPanic(self.stats.worker);
        self.arm_doorbell().and_then(|()| self.arm_tick()).expect("the ring takes the first entries");
        while self.state != State::Halted {
            self.turn().expect("the ring works");
            if self.background.is_runnable() {
                host::yield_now().await;
                // What the task asks for is answered in a turn.
                continue;
            }
            if !self.has_work() && !self.spin() {
                self.sleep().expect("the ring works");
            }
        }
        self.background.halt();
        while self.background.is_busy() {
            host::yield_now().await;
            self.background.submit(&mut self.ring).and_then(|()| self.ring.enter()).expect("the ring works");
            self.take_completions().expect("the ring works");
        }
        self.close_all().expect("the ring works");
    }

    fn turn(&mut self) -> io::Result<()> {
        self.now = clock::now();
        let begun_ns = self.now.mono_ns;
        let took = self.take_completions()?;
        self.take_parcels();
        self.take_letters()?;
        self.take_finished();
        for machine in 0..self.machines.len() {
            if std::mem::take(&mut self.is_touched[machine]) || self.machines[machine].wants_turn() {
                self.machines[machine].end_turn(self.now);
                self.perform(machine as u16)?;
            }
        }
        self.sockets.feed(&mut self.ring)?;
        self.let_go()?;
        for sender in self.senders.iter_mut().flatten() {
            self.stats.doorbells += u64::from(sender.ring());
        }
        let freed = self.sockets.take_freed();
        if freed > 0 {
            self.shared.clients.fetch_sub(freed, Ordering::Relaxed);
        }
        self.background.pace(self.stats.log_write_bytes, self.disk.in_flight() > 0);
        self.background.submit(&mut self.ring)?;
        if self.ring.has_work() {
            self.ring.enter()?;
        }
        self.stats.turns += 1;
        if took > 0 {
            let ns = clock::mono_ns() - begun_ns;
            // A turn longer than the histogram's end counts as its end.
            self.stats.turn_ns.saturating_record(ns);
            for machine in &mut self.machines {
                machine.stats.on_turn(ns);
            }
        }
        Ok(())
    }

    /// Whether another turn would do something at once.
    fn has_work(&mut self) -> bool {
        self.ring.has_arrivals() || self.has_mail()
    }

    fn has_mail(&self) -> bool {
        !self.local.is_empty()
            || !self.returned.is_empty()
            || self.disk.has_failed()
            || self.background.has_finished()
            || self.background.has_queued()
            || self.background.is_runnable()
            || self.receivers.iter().any(|receiver| !receiver.is_empty())
            || self.senders.iter().flatten().any(Sender::can_go_on)
            || !self.inbox().is_empty()
            || self.machines.iter().any(Machine::wants_turn)
            || self.state == State::Halted
    }

    fn take_completions(&mut self) -> io::Result<usize> {
        let mut took = 0;
        while took < COMPLETIONS_PER_TURN_MAX
            && let Some(done) = self.ring.next_completion()
        {
            took += 1;
            match done.op {
                Op::Receive { conn, generation } => self.on_receive(conn, generation, done)?,
                Op::Send { conn, generation } => self.on_send(conn, generation, done.result)?,
                Op::Write { write } => {
                    let written = self.disk.on_write(write, done.result, self.now.mono_ns);
                    self.on_written(written);
                }
                Op::Page { flight } => self.pages.on_done(flight, done.result, |machine, event| {
                    self.is_touched[usize::from(machine)] = true;
                    self.machines[usize::from(machine)].handle(self.now, event);
                }),
                Op::LogRead { read } => self.disk.on_read(read, done.result, |machine, event| {
                    self.is_touched[usize::from(machine)] = true;
                    self.machines[usize::from(machine)].handle(self.now, event);
                }),
                Op::Background { operation } => self.background.on_done(operation, done.result),
                Op::Accept { listener } => self.on_accept(listener, done)?,
                Op::Doorbell => self.arm_doorbell()?,
                Op::Tick => self.on_tick()?,
                Op::Cancel => {}
            }
            if took % COMPLETIONS_PER_READS == 0 {
                // SAFETY: as in `perform`.
                unsafe { self.pages.submit_reads(&mut self.ring, &mut self.machines)? }
            }
        }
        if took > 0 {
            self.ring.release_completions();
            self.buffers.publish();
        }
        Ok(took)
    }

    fn tell(&mut self, machine: u16, event: Event<'_>) {
        self.is_touched[usize::from(machine)] = true;
        self.machines[usize::from(machine)].handle(self.now, event);
    }

    fn on_receive(&mut self, conn: u32, generation: u32, done: Completion) -> io::Result<()> {
        let buffer = done.buffer();
        match self.sockets.on_receive(&mut self.ring, conn, generation, done)? {
            Received::Bytes { machine, conn, len } => {
                self.stats.receives += 1;
                self.stats.bytes_in += len as u64;
                let bytes = self.buffers.bytes(buffer.expect("bytes come in a buffer"), len);
                self.is_touched[usize::from(machine)] = true;
                self.machines[usize::from(machine)].handle(self.now, Event::Received { conn, bytes });
            }
            Received::HungUp { machine, conn, is_broken } => self.tell(machine, Event::HungUp { conn, is_broken }),
            Received::Starved => self.stats.receives_starved += 1,
            Received::Nothing => {}
        }
        if let Some(buffer) = buffer {
            self.buffers.give(buffer);
        }
        Ok(())
    }

    fn on_send(&mut self, conn: u32, generation: u32, result: i32) -> io::Result<()> {
        self.stats.bytes_out += result.max(0) as u64;
        match self.sockets.on_send(&mut self.ring, conn, generation, result)? {
            Sent::All { machine, conn, buffer } => self.tell(machine, Event::Sent { conn, buffer }),
            Sent::HungUp { machine, conn } => self.tell(machine, Event::HungUp { conn, is_broken: true }),
            Sent::Part { machine, conn, bytes } => {
                self.stats.sends_short += u64::from(bytes < SEND_BYTES_MAX);
                self.tell(machine, Event::SentPart { conn, bytes });
            }
            Sent::Nothing => {}
        }
        Ok(())
    }

    fn on_written(&mut self, written: Written) {
        if let Ok(bytes) = written.done.result {
            self.stats.log_writes += 1;
            self.stats.log_write_bytes += u64::from(bytes);
            self.stats.flush_ns.saturating_record(written.ns);
        }
        self.tell(written.shard, Event::Disk(written.done));
    }

    fn on_tick(&mut self) -> io::Result<()> {
        self.arm_tick()?;
        self.reporter.retry();
        if matches!(self.state, State::Serving) {
            self.listeners.arm(&mut self.ring, self.now.mono_ns)?;
        }
        for machine in 0..self.machines.len() {
            self.tell(machine as u16, Event::Tick);
        }
        if self.now.mono_ns - self.reported_ns >= SECOND_NS {
            self.reported_ns = self.now.mono_ns;
            self.report_stats();
        }
        if self.state == State::Draining {
            self.check_drained();
        }
        Ok(())
    }

    fn report_stats(&mut self) {
        let counts = self.ring.counts();
        self.stats.enters = counts.enters;
        self.stats.submissions = counts.submissions;
        self.stats.completions = counts.completions;
        self.stats.completion_overflows = counts.overflows;
        self.stats.connections = self.sockets.count() as u64;
        self.stats.parcels_waiting = self.senders.iter().flatten().map(|sender| sender.backlog() as u64).sum();
        self.stats.reports_dropped = self.reporter.dropped();
        self.reporter.report(Report::Worker(Box::new(self.stats.clone())));
    }

    fn take_parcels(&mut self) {
        for _ in 0..self.local.len() {
            let Addressed { to, parcel } = self.local.pop_front().expect("as many as were counted");
            self.deliver(to, parcel);
        }
        for index in 0..self.receivers.len() {
            let mut took = 0;
            while took < PARCELS_PER_TURN_MAX
                && let Some(Addressed { to, parcel }) = self.receivers[index].take()
            {
                took += 1;
                self.deliver(to, parcel);
            }
            if took > 0 {
                self.stats.parcels_in += took as u64;
                self.stats.doorbells += u64::from(self.receivers[index].make_room());
            }
        }
    }

    fn deliver(&mut self, to: ShardId, parcel: Box<cairn_core::parcel::Parcel>) {
        let machine = self.machine_of(to);
        self.tell(machine, Event::Parcel(parcel));
    }

    /// Which of this worker's machines has a shard.
    fn machine_of(&self, shard: ShardId) -> u16 {
        let first = self.machines[0].identity.shard.0;
        let machine = shard.0 - first;
        assert!(usize::from(machine) < self.machines.len(), "shard {shard} is not this worker's");
        machine
    }

    fn take_letters(&mut self) -> io::Result<()> {
        for letter in self.inbox().take() {
            match letter {
                Letter::HostAnswer { shard, ticket, result } => {
                    let machine = self.machine_of(shard);
                    self.tell(machine, Event::HostAnswer { ticket, result });
                }
                Letter::Facts(facts) => {
                    for machine in 0..self.machines.len() {
                        self.tell(machine as u16, Event::Facts(facts.clone()));
                    }
                }
                Letter::Serve => {
                    self.state = State::Serving;
                    self.listeners.arm(&mut self.ring, self.now.mono_ns)?;
                }
                Letter::Drain { saves } => {
                    self.state = State::Draining;
                    self.listeners.stop(&mut self.ring)?;
                    for machine in 0..self.machines.len() {
                        self.tell(machine as u16, Event::Drain { saves });
                    }
                }
                Letter::Share { to, permille } => self.share(to, permille)?,
                Letter::Come(visit) => self.on_come(*visit)?,
                Letter::Went { conn, generation, is_taken } => self.on_went(conn, generation, is_taken)?,
                Letter::Halt => self.state = State::Halted,
            }
        }
        Ok(())
    }

    /// What was over without a completion, and what background work has finished.
    fn take_finished(&mut self) {
        for (machine, conn, buffer) in std::mem::take(&mut self.returned) {
            self.tell(machine, Event::Sent { conn, buffer });
        }
        for written in self.disk.take_failed() {
            self.on_written(written);
        }
        for (machine, op, errno) in self.disk.take_unread() {
            self.tell(machine, Event::LogRead { op, result: Err(errno) });
        }
        for prepared in self.background.finished() {
            let (machine, op) = prepared.tag;
            let done = DiskDone { op: OpId(op), result: prepared.result.map(|()| 0) };
            if op & PAGE_OP_BIT != 0 {
                self.tell(machine, Event::Page(done));
                continue;
            }
            self.stats.segments_prepared += u64::from(prepared.result.is_ok());
            self.tell(machine, Event::Disk(done));
        }
    }

    /// Performs what a machine wants done, in order.
    fn perform(&mut self, machine: u16) -> io::Result<()> {
        while let Some(effect) = self.machines[usize::from(machine)].poll() {
            match effect {
                Effect::Send { conn, buffer } => {
                    self.stats.sends += 1;
                    if let Some(buffer) = self.sockets.send(&mut self.ring, conn, buffer)? {
                        self.returned.push((machine, conn, buffer));
                    }
                }
                Effect::Disk(op) => self.perform_disk(machine, op)?,
                Effect::LogRead(read) => self.disk.read(&mut self.ring, machine, read)?,
                Effect::Page(PageOp::Forget { op, before }) => {
                    self.background.forget(self.disk.dir(machine), before, (machine, op.0));
                }
                Effect::Page(op) => {
                    // SAFETY: a page file keeps an output buffer where it is, and unchanged, from its operation to the answer;
                    // the machine that owns it is dropped after the ring.
                    unsafe { self.pages.submit(&mut self.ring, &self.machines[usize::from(machine)], machine, op)? }
                }
                Effect::Parcel { to, parcel } => self.post(to, parcel),
                Effect::Pause { conn } => self.sockets.pause(&mut self.ring, conn)?,
                Effect::Resume { conn } => self.sockets.resume(&mut self.ring, conn)?,
                Effect::Close { conn } => {
                    self.returned.retain(|(_, returned, _)| *returned != conn);
                    self.sockets.close(&mut self.ring, conn)?;
                }
                Effect::Sleep { us } => std::thread::sleep(Duration::from_micros(us)),
                Effect::HostAsk { ticket, ask } => {
                    let shard = self.machines[usize::from(machine)].identity.shard;
                    self.reporter.report(Report::Ask { shard, ticket, ask });
                }
                Effect::Notice(notice) => {
                    let shard = self.machines[usize::from(machine)].identity.shard;
                    self.reporter.report(Report::Notice { shard, notice });
                }
                Effect::Snapshot(snapshot) => {
                    let shard = self.machines[usize::from(machine)].identity.shard;
                    self.reporter.report(Report::Snapshot { shard, snapshot });
                }
            }
        }
        Ok(())
    }

    fn perform_disk(&mut self, machine: u16, op: DiskOp) -> io::Result<()> {
        match op {
            DiskOp::Write { op, segment, offset, buffer, len } => {
                let log = self.machines[usize::from(machine)].shard.engine().log();
                let bytes = &log.buffer(buffer)[..len as usize];
                let write = Write { op, segment, offset, buffer, bytes };
                // SAFETY: the log keeps a buffer where it is, and unchanged, from this operation to its answer, and the
                // machine that owns the log is dropped after the ring.
                unsafe { self.disk.write(&mut self.ring, machine, write, self.now.mono_ns) }
            }
            DiskOp::Prepare { op, segment, bytes } => {
                self.background.prepare(self.disk.dir(machine), segment, bytes, (machine, op.0));
                Ok(())
            }
        }
    }

    fn post(&mut self, to: ShardId, parcel: Box<cairn_core::parcel::Parcel>) {
        self.stats.parcels_out += 1;
        let home = usize::from(self.homes[usize::from(to.0)]);
        match &mut self.senders[home] {
            Some(sender) => sender.send(Addressed { to, parcel }),
            None => self.local.push_back(Addressed { to, parcel }),
        }
    }

    fn arm_doorbell(&mut self) -> io::Result<()> {
        let fd = types::Fd(self.doorbell.as_fd().as_raw_fd());
        let entry = opcode::Read::new(fd, self.doorbell_count.as_mut_ptr(), 8).build().user_data(Op::Doorbell.encode());
        // SAFETY: the box is written by this read only, of which there is one at a time, and outlives the ring.
        unsafe { self.ring.push(&entry) }
    }

    fn arm_tick(&mut self) -> io::Result<()> {
        let entry = opcode::Timeout::new(&raw const TICK).build().user_data(Op::Tick.encode());
        // SAFETY: a static lives for ever.
        unsafe { self.ring.push(&entry) }
    }
}

fn log_buffers(machines: &[Machine]) -> Vec<Vec<&[u8]>> {
    machines.iter().map(|machine| machine.shard.engine().log().buffers().collect()).collect()
}
