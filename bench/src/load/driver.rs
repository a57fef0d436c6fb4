//! Owns one thread of clients: an epoll loop that sends requests, takes replies and counts.
//!
//! ```text
//! Warmup --warm-up over--> Measuring --time over, or all requests sent--> Draining --> done
//! ```
//!
//! `Driver::run` is behind every arrow. Draining takes the replies that are still under way, for a bounded time.
//! A closed-loop connection sends a batch whenever its last batch is answered; an open-loop group sends when its
//! schedule says so, on any connection with room in its pipeline.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use rustix::event::epoll;
use rustix::fs::Timespec;
use rustix::net::RecvFlags;

use super::connection::{Connection, Pending};
use super::error::LoadError;
use super::limits::{DRAIN_NS_MAX, RECV_BYTES};
use super::plan::{GroupPlan, Limit, Plan, share};
use super::scanner::Reply;
use super::schedule::Schedule;
use super::stats::CommandStats;
use super::template::{Draw, Expects};
use super::timeline::Seconds;
use super::verify;
use crate::workload::{Keys, ValuePool};

/// What the threads of a run share.
#[derive(Debug, Default)]
pub struct Shared {
    /// One thread failed: the others end as well.
    pub stop: AtomicBool,
    /// One for each thread.
    pub counters: Vec<Counters>,
}

/// Written by one thread only, once a turn. Aligned to keep two threads off one cache line.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Counters {
    pub answered: AtomicU64,
    pub errors: AtomicU64,
}

/// What one thread counted.
#[derive(Debug)]
pub struct Outcome {
    /// By group, then by command.
    pub groups: Vec<Vec<CommandStats>>,
    /// By group; `None` without a timeline.
    pub seconds: Vec<Option<Seconds>>,
    pub measured_ns: u64,
}

/// One thread's part of a group.
struct Group<'p> {
    plan: &'p GroupPlan,
    draw: Draw,
    /// `None` in a closed loop.
    schedule: Option<Schedule>,
    /// Requests still to be sent; `None` when time ends the run.
    budget: Option<u64>,
    /// The thread's connections of this group, and the one whose turn it is.
    connections: Vec<usize>,
    turn: usize,
    stats: Vec<CommandStats>,
    seconds: Option<Seconds>,
}

/// One thread of clients.
pub struct Driver<'p> {
    shared: Arc<Shared>,
    thread: usize,
    poller: rustix::fd::OwnedFd,
    connections: Vec<Connection>,
    groups: Vec<Group<'p>>,
    verify: bool,
    start: Instant,
    warmup_ns: u64,
    /// `u64::MAX` when requests end the run.
    end_ns: u64,
    buffer: Vec<u8>,
    answered: u64,
    errors: u64,
    sending: bool,
}

const POLL_NS_MAX: u64 = 100_000_000;
const EVENTS_MAX: usize = 256;

impl<'p> Driver<'p> {
    /// `connections` are the thread's own; `start` is the run's.
    pub fn new(
        plan: &'p Plan,
        thread: usize,
        shared: Arc<Shared>,
        connections: Vec<Connection>,
        start: Instant,
    ) -> Result<Self, LoadError> {
        let poller = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(LoadError::system("epoll_create"))?;
        for (index, connection) in connections.iter().enumerate() {
            let data = epoll::EventData::new_u64(index as u64);
            epoll::add(&poller, &connection.socket, data, epoll::EventFlags::IN)
                .map_err(LoadError::system("epoll_ctl"))?;
        }
        let groups = (0..plan.groups.len()).map(|group| Group::new(plan, group, thread, &connections)).collect();
        let (warmup_ns, end_ns) = plan.limit.measured_ns().unwrap_or((0, u64::MAX));
        Ok(Self {
            shared,
            thread,
            poller,
            connections,
            groups,
            verify: plan.verify,
            start,
            warmup_ns,
            end_ns,
            buffer: vec![0; RECV_BYTES],
            answered: 0,
            errors: 0,
            sending: true,
        })
    }

    /// Runs to the end.
    pub fn run(mut self) -> Result<Outcome, LoadError> {
        let outcome = self.run_phases();
        if outcome.is_err() {
            self.shared.stop.store(true, Ordering::Relaxed);
        }
        let measured_ns = outcome?;
        let (groups, seconds) = self.groups.into_iter().map(|group| (group.stats, group.seconds)).unzip();
        Ok(Outcome { groups, seconds, measured_ns })
    }

    /// Gives the length of the measured time in nanoseconds.
    fn run_phases(&mut self) -> Result<u64, LoadError> {
        for index in 0..self.connections.len() {
            self.refill(index)?;
        }
        let mut measured_from = (self.warmup_ns == 0).then_some(0);
        let mut events = Vec::with_capacity(EVENTS_MAX);
        while !self.shared.stop.load(Ordering::Relaxed) {
            let now = self.now();
            if measured_from.is_none() && now >= self.warmup_ns {
                measured_from = Some(now);
                self.groups.iter_mut().flat_map(|g| &mut g.stats).for_each(CommandStats::end_warmup);
            }
            if now >= self.end_ns || self.is_complete() {
                break;
            }
            let wake = self.send_due(now)?.min(self.end_ns);
            let wake = if measured_from.is_none() { wake.min(self.warmup_ns) } else { wake };
            self.poll(&mut events, wake.saturating_sub(now))?;
        }
        let end = self.now();
        let stats = self.groups.iter_mut().flat_map(|g| &mut g.stats);
        stats.for_each(|stats| stats.answered_in_time = stats.answered);
        self.drain(&mut events, end)?;
        Ok(end - measured_from.unwrap_or(self.warmup_ns).min(end))
    }

    /// Takes what is still under way, and counts what never comes.
    fn drain(&mut self, events: &mut Vec<epoll::Event>, end: u64) -> Result<(), LoadError> {
        self.sending = false;
        while self.connections.iter().any(|c| !c.pending.is_empty()) && !self.shared.stop.load(Ordering::Relaxed) {
            let waited = self.now() - end;
            if waited >= DRAIN_NS_MAX {
                break;
            }
            self.poll(events, DRAIN_NS_MAX - waited)?;
        }
        let now = self.now();
        for connection in &self.connections {
            for pending in &connection.pending {
                let stats = &mut self.groups[connection.group].stats[usize::from(pending.command)];
                stats.unanswered += 1;
                stats.record_lost(now.saturating_sub(pending.since));
            }
        }
        for group in &mut self.groups {
            group.count_unsent(self.end_ns, end);
        }
        Ok(())
    }

    #[inline]
    fn now(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    /// Every request was sent and answered.
    fn is_complete(&self) -> bool {
        self.end_ns == u64::MAX
            && self.groups.iter().all(|g| g.budget == Some(0))
            && self.connections.iter().all(|c| c.pending.is_empty())
    }

    /// Waits for the sockets, at most `timeout_ns`, and serves those that are ready.
    fn poll(&mut self, events: &mut Vec<epoll::Event>, timeout_ns: u64) -> Result<(), LoadError> {
        let timeout_ns = timeout_ns.min(POLL_NS_MAX);
        let timeout = Timespec { tv_sec: 0, tv_nsec: timeout_ns as _ };
        events.clear();
        match epoll::wait(&self.poller, rustix::buffer::spare_capacity(events), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(LoadError::system("epoll_wait")(errno)),
        }
        for event in events.drain(..) {
            let index = event.data.u64() as usize;
            let flags = event.flags;
            if flags.contains(epoll::EventFlags::OUT) {
                self.flush(index)?;
            }
            if flags.intersects(epoll::EventFlags::IN | epoll::EventFlags::HUP | epoll::EventFlags::ERR) {
                self.receive(index)?;
            }
        }
        let counters = &self.shared.counters[self.thread];
        counters.answered.store(self.answered, Ordering::Relaxed);
        counters.errors.store(self.errors, Ordering::Relaxed);
        Ok(())
    }

    /// Takes all that the socket has, then sends the next batch of a closed loop.
    fn receive(&mut self, index: usize) -> Result<(), LoadError> {
        loop {
            let connection = &self.connections[index];
            match rustix::net::recv(&connection.socket, &mut self.buffer[..], RecvFlags::empty()) {
                Ok((0, _)) => return Err(self.closed(index)),
                Ok((len, _)) => {
                    self.take_replies(index, len)?;
                    if len < RECV_BYTES {
                        break;
                    }
                }
                Err(rustix::io::Errno::AGAIN) => break,
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(self.broken(index, errno.into())),
            }
        }
        self.refill(index)
    }

    /// Matches the first `len` bytes of the buffer with the requests of the connection.
    fn take_replies(&mut self, index: usize, len: usize) -> Result<(), LoadError> {
        let now = self.now();
        let connection = &mut self.connections[index];
        let group = &mut self.groups[connection.group];
        let mut input = &self.buffer[..len];
        // Answers of one batch and command have the same latency: they are recorded together.
        let mut run = Run { since: u64::MAX, command: 0, count: 0 };
        loop {
            let reply = match connection.scanner.next(&mut input) {
                Ok(Some(Reply::Push)) => continue,
                Ok(Some(reply)) => reply,
                Ok(None) => break,
                Err(malformed) => {
                    let (client, answered) = (connection.client, connection.answered);
                    let group = group.plan.name.clone();
                    return Err(LoadError::Malformed { group, client, answered, what: malformed.0 });
                }
            };
            let Some(pending) = connection.pending.front().copied() else {
                let (client, answered) = (connection.client, connection.answered);
                return Err(LoadError::Unasked { group: group.plan.name.clone(), client, answered });
            };
            connection.answered += 1;
            let command = usize::from(pending.command);
            let template = &group.plan.mix.templates()[command];
            if reply == Reply::Error && !connection.failed {
                connection.failed = true;
                self.errors += 1;
                group.stats[command].on_error(|| connection.scanner.error_text());
            }
            if connection.replies_left == 0 {
                connection.replies_left = template.replies;
            }
            connection.replies_left -= 1;
            if connection.replies_left > 0 {
                continue;
            }
            connection.pending.pop_front();
            if core::mem::take(&mut connection.failed) {
                continue;
            }
            self.answered += 1;
            let stats = &mut group.stats[command];
            if reply == Reply::Nil {
                stats.misses += 1;
            }
            if self.verify && template.expects == Expects::ValueOfKey && reply == Reply::Value {
                stats.on_verified(verify::check(connection.scanner.payload(), pending.key, &group.draw.pool));
            }
            if run.since != pending.since || run.command != command {
                run.record(group, now);
                run = Run { since: pending.since, command, count: 0 };
            }
            run.count += 1;
        }
        run.record(group, now);
        Ok(())
    }

    /// The next batch of a closed-loop connection, if the last one is answered.
    #[inline]
    fn refill(&mut self, index: usize) -> Result<(), LoadError> {
        if !self.sending || !self.connections[index].pending.is_empty() {
            return Ok(());
        }
        if self.groups[self.connections[index].group].schedule.is_some() {
            return Ok(());
        }
        let now = self.now();
        let connection = &mut self.connections[index];
        let group = &mut self.groups[connection.group];
        let batch = u64::from(group.plan.pipeline).min(group.budget.unwrap_or(u64::MAX));
        for _ in 0..batch {
            group.append(connection, now);
        }
        if batch > 0 { self.flush(index) } else { Ok(()) }
    }

    /// Sends what the schedules ask for by now; gives the time of the next one that could be sent.
    fn send_due(&mut self, now: u64) -> Result<u64, LoadError> {
        let mut next = u64::MAX;
        for index in 0..self.groups.len() {
            while let Some(due) = self.groups[index].next_due() {
                if due > now {
                    next = next.min(due);
                    break;
                }
                let group = &mut self.groups[index];
                let Some(connection) = group.free(&self.connections) else { break };
                group.append_due(&mut self.connections[connection], now);
                self.flush(connection)?;
            }
        }
        Ok(next)
    }

    fn flush(&mut self, index: usize) -> Result<(), LoadError> {
        let connection = &mut self.connections[index];
        let wants_room = match connection.flush() {
            Ok(all) => !all,
            Err(error) => return Err(self.broken(index, error)),
        };
        if wants_room != connection.wants_room {
            connection.wants_room = wants_room;
            let room = if wants_room { epoll::EventFlags::OUT } else { epoll::EventFlags::empty() };
            let data = epoll::EventData::new_u64(index as u64);
            epoll::modify(&self.poller, &connection.socket, data, epoll::EventFlags::IN | room)
                .map_err(LoadError::system("epoll_ctl"))?;
        }
        Ok(())
    }

    fn closed(&self, index: usize) -> LoadError {
        let connection = &self.connections[index];
        let group = self.groups[connection.group].plan.name.clone();
        LoadError::Closed { group, client: connection.client, answered: connection.answered }
    }

    fn broken(&self, index: usize, source: io::Error) -> LoadError {
        let connection = &self.connections[index];
        let group = self.groups[connection.group].plan.name.clone();
        LoadError::Broken { group, client: connection.client, answered: connection.answered, source }
    }
}

impl<'p> Group<'p> {
    fn new(plan: &'p Plan, index: usize, thread: usize, connections: &[Connection]) -> Self {
        let group = &plan.groups[index];
        let own: Vec<usize> = (0..connections.len()).filter(|c| connections[*c].group == index).collect();
        // Client i is on thread i modulo the threads, so the first threads have clients and the others may not.
        let streams = u64::from(plan.threads.min(group.clients));
        let stream = (thread as u64).min(streams - 1);
        let schedule = group.rate.filter(|_| !own.is_empty());
        let seconds = plan.has_timeline.then(|| plan.limit.measured_ns()).flatten();
        let budget = match plan.limit {
            Limit::Time { .. } => None,
            Limit::Requests(_) if own.is_empty() => Some(0),
            Limit::Requests(requests) => Some(share(requests, stream, streams)),
        };
        let seed = plan.seed.wrapping_add((index as u64) << 32 | thread as u64);
        Self {
            plan: group,
            draw: Draw {
                keys: Keys::new(group.distribution, group.keys, stream, streams),
                rng: fastrand::Rng::with_seed(seed),
                pool: ValuePool::new(plan.value_bytes_max),
                sequence: stream,
                sequence_stride: streams,
                verify: plan.verify,
                key: 0,
                scratch: Vec::new(),
            },
            schedule: schedule.map(|rate| Schedule::new(rate / streams as f64, stream as f64 / streams as f64)),
            budget,
            connections: own,
            turn: 0,
            stats: vec![CommandStats::new(); group.mix.templates().len()],
            seconds: seconds.map(|(from_ns, to_ns)| Seconds::new(from_ns, to_ns)),
        }
    }

    /// Adds a request to what the connection is to send.
    #[inline]
    fn append(&mut self, connection: &mut Connection, since: u64) {
        let command = self.plan.mix.draw(&mut self.draw.rng);
        let template = &self.plan.mix.templates()[command];
        template.render(&mut connection.out, &mut self.draw, connection.client);
        connection.pending.push_back(Pending { since, key: self.draw.key, command: command as u16 });
        if let Some(budget) = self.budget.as_mut() {
            *budget -= 1;
        }
    }

    /// Open loop: the intended time of the next request, if one is left to be sent.
    #[inline]
    fn next_due(&self) -> Option<u64> {
        if self.budget == Some(0) { None } else { self.schedule.as_ref().map(Schedule::due) }
    }

    /// Open loop: adds the request that is due.
    fn append_due(&mut self, connection: &mut Connection, now: u64) {
        let due = self.schedule.as_mut().and_then(|schedule| schedule.take(now));
        self.append(connection, due.expect("the caller saw that a request is due"));
    }

    /// Open loop: the next connection with room in its pipeline.
    fn free(&mut self, connections: &[Connection]) -> Option<usize> {
        for _ in 0..self.connections.len() {
            let candidate = self.connections[self.turn];
            self.turn = (self.turn + 1) % self.connections.len();
            if connections[candidate].pending.len() < self.plan.pipeline as usize {
                return Some(candidate);
            }
        }
        None
    }

    /// Open loop: what was due before the run's time was over and had no free connection until `now`.
    fn count_unsent(&mut self, end: u64, now: u64) {
        if self.budget.is_some() {
            return;
        }
        let Some(schedule) = self.schedule.as_mut() else { return };
        while let Some(due) = schedule.take(end.min(now).saturating_sub(1)) {
            let command = self.plan.mix.draw(&mut self.draw.rng);
            let stats = &mut self.stats[command];
            stats.unsent += 1;
            stats.record_lost(now - due);
        }
    }
}

/// Answers in a row to requests of one command sent at one time.
struct Run {
    since: u64,
    command: usize,
    count: u64,
}

impl Run {
    #[inline]
    fn record(&self, group: &mut Group<'_>, now: u64) {
        if self.count > 0 {
            let latency_ns = now.saturating_sub(self.since);
            group.stats[self.command].record(latency_ns, self.count);
            if let Some(seconds) = &mut group.seconds {
                seconds.record(now, latency_ns, self.count);
            }
        }
    }
}
