//! Drives the workloads over real connections, from one thread, so that all times are of one clock. Kills the server when its time has come.
//!
//! ```text
//! Working --all operations of the window are over--> Reading --everything is read--> done, or Working in the next window
//! ```
//!
//! `State::work` and `State::next_window` are behind the arrows. In *Reading* what was written is read once more.

use super::exchange::{Exchange, Taken};
use super::left::{Left, Reader};
use super::limits::ANSWER_NS_MAX;
use super::server::Server;
use super::window::{Verdicts, Windows};
use super::workload::Workload;
use crate::load::connection::{Greeting, Target, connect};
use crate::sim::reply::shown;
use indicatif::ProgressBar;
use rustix::event::epoll;
use rustix::fd::OwnedFd;
use rustix::fs::Timespec;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// What happens after so many operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    Kill,
    Save,
}

/// What came of a run, beside the histories.
#[derive(Debug, Default)]
pub struct Sum {
    pub operations: u64,
    pub seconds: f64,
    pub kills: u64,
    pub saves: u64,
    pub restart_longest: Duration,
    /// Connections that the server closed though nobody killed it.
    pub closed: u64,
    /// Replies that should not have been, and the first of them.
    pub errors: u64,
    pub first_error: Option<String>,
}

/// One connection.
struct Client {
    socket: OwnedFd,
    exchange: Exchange,
    sent: usize,
    wants_room: bool,
}

/// A run.
pub struct Drive<'a> {
    pub workloads: Vec<Box<dyn Workload>>,
    pub windows: Windows,
    pub verdicts: &'a mut Verdicts,
    pub server: Option<&'a mut Server>,
    pub target: Target,
    pub greeting: Greeting,
    /// The database of every second window.
    pub db_other: u32,
    pub operations: u64,
    /// By the number of operations that are over, of all windows.
    pub deeds: VecDeque<(u64, Deed)>,
    pub rng: fastrand::Rng,
    pub bar: ProgressBar,
}

/// The same while it is under way.
struct State<'a> {
    plan: Drive<'a>,
    poller: OwnedFd,
    clients: Vec<Client>,
    start: Instant,
    last_ns: u64,
    begun: u64,
    over: u64,
    /// The number of the window, and how many operations are begun when no further one of it is.
    window: u64,
    window_end: u64,
    /// What the window before has left.
    left: Option<Left>,
    /// Connections that have ended since the last kill: what they had under way may still happen.
    ended: u64,
    is_reading: bool,
    /// Between a kill and the start after it.
    is_down: bool,
    buffer: Vec<u8>,
    sum: Sum,
}

const RECV_BYTES: usize = 256 << 10;
const POLL_NS: i64 = 5_000_000;
const EVENTS_MAX: usize = 256;

impl Drive<'_> {
    /// Runs to the end. An error says what kept it from that; the histories are then as far as it came.
    pub fn run(self, clients: u32) -> (Sum, Result<(), String>) {
        let poller = match epoll::create(epoll::CreateFlags::CLOEXEC) {
            Ok(poller) => poller,
            Err(errno) => return (Sum::default(), Err(format!("epoll_create: {errno}"))),
        };
        let mut state = State {
            plan: self,
            poller,
            clients: Vec::new(),
            start: Instant::now(),
            last_ns: 0,
            begun: 0,
            over: 0,
            window: 0,
            window_end: 0,
            left: None,
            ended: 0,
            is_reading: false,
            is_down: false,
            buffer: vec![0; RECV_BYTES],
            sum: Sum::default(),
        };
        let outcome = state.run(clients);
        if outcome.is_err() {
            state.sum.seconds = state.sum.seconds.max(state.start.elapsed().as_secs_f64());
            (0..state.clients.len()).for_each(|index| state.lose(index));
            state.plan.verdicts.judge(state.window, &state.plan.workloads);
        }
        state.sum.operations = state.over;
        (state.sum, outcome)
    }
}

impl State<'_> {
    fn run(&mut self, clients: u32) -> Result<(), String> {
        for index in 0..clients as usize {
            let client = self.open(index)?;
            self.clients.push(client);
        }
        loop {
            (0..self.plan.workloads.len()).try_for_each(|index| self.prepare(index))?;
            self.work()?;
            if !self.next_window()? {
                return Ok(());
            }
        }
    }

    /// One window.
    fn work(&mut self) -> Result<(), String> {
        let operations = self.plan.operations;
        self.window_end = operations.min(self.begun + self.plan.windows.size);
        let begun = Instant::now();
        self.go_through(false)?;
        if self.ended > 0 && self.window_end < operations {
            // What has come to its end otherwise than by a kill may not happen behind the last readings.
            if self.plan.server.is_some() {
                self.kill()?;
            } else {
                self.window_end = operations;
                self.go_through(false)?;
            }
        }
        self.sum.seconds += begun.elapsed().as_secs_f64();
        self.go_through(true)
    }

    /// All that is to be asked of the window, or to be read in its end, until nothing is under way.
    fn go_through(&mut self, is_reading: bool) -> Result<(), String> {
        self.is_reading = is_reading;
        let mut events = Vec::with_capacity(EVENTS_MAX);
        (0..self.clients.len()).try_for_each(|index| self.begin(index))?;
        let mut checked = Instant::now();
        while self.clients.iter().any(|client| client.exchange.busy.is_some()) {
            self.poll(&mut events)?;
            while let Some((_, deed)) = self.plan.deeds.front().filter(|(at, _)| *at <= self.over).copied() {
                self.plan.deeds.pop_front();
                self.act(deed)?;
            }
            if checked.elapsed() > Duration::from_secs(1) {
                checked = Instant::now();
                self.check_progress()?;
            }
        }
        Ok(())
    }

    /// The window is over: it is judged, and so is what the one before has left. Whether another one begins.
    fn next_window(&mut self) -> Result<bool, String> {
        self.plan.verdicts.judge(self.window, &self.plan.workloads);
        let is_last = self.begun >= self.plan.operations;
        if is_last && self.window == 0 {
            return Ok(false);
        }
        if let Some(left) = self.left.take() {
            let now = self.reader(self.plan.db_other)?.read_all()?;
            self.plan.verdicts.outlast(self.window - 1, left.changes(&now));
        }
        if is_last || !self.plan.verdicts.is_sound() {
            return Ok(false);
        }
        self.left = Some(self.reader(self.plan.greeting.db)?.read_all()?);
        self.reader(self.plan.db_other)?.empty()?;
        self.window += 1;
        std::mem::swap(&mut self.plan.greeting.db, &mut self.plan.db_other);
        self.plan.workloads = (self.plan.windows.make)(self.window);
        for index in 0..self.clients.len() {
            self.clients[index] = self.open(index)?;
        }
        Ok(true)
    }

    /// A connection beside those of the clients.
    fn reader(&self, db: u32) -> Result<Reader, String> {
        let Target::Tcp { host, port } = &self.plan.target else { return Err("only over TCP".to_owned()) };
        Reader::connect(host, *port, db)
    }

    /// No two are the same.
    fn now(&mut self) -> u64 {
        self.last_ns = (self.start.elapsed().as_nanos() as u64).max(self.last_ns + 1);
        self.last_ns
    }

    fn open(&self, index: usize) -> Result<Client, String> {
        let socket = connect(&self.plan.target, &self.plan.greeting).map_err(|error| error.to_string())?;
        let data = epoll::EventData::new_u64(index as u64);
        epoll::add(&self.poller, &socket, data, epoll::EventFlags::IN)
            .map_err(|errno| format!("epoll_ctl: {errno}"))?;
        Ok(Client { socket, exchange: Exchange::default(), sent: 0, wants_room: false })
    }

    /// What a workload wants before all: with the first client, and answered.
    fn prepare(&mut self, workload: usize) -> Result<(), String> {
        let begun = Instant::now();
        self.plan.workloads[workload].prepare(&mut self.clients[0].exchange.request);
        self.flush(0)?;
        while !self.clients[0].exchange.is_answered() {
            if self.receive(0)? || begun.elapsed().as_nanos() as u64 > ANSWER_NS_MAX {
                return Err("the server does not answer what the run begins with".to_owned());
            }
        }
        let client = &mut self.clients[0];
        let errors = client.exchange.errors()?;
        client.reset();
        let wrong = errors.first().map(|line| format!("the server refuses what the run begins with: {}", shown(line)));
        wrong.map_or(Ok(()), Err)
    }

    /// Gives an idle client something to do, if there is something.
    fn begin(&mut self, index: usize) -> Result<(), String> {
        if self.is_down {
            return Ok(());
        }
        let now = self.now();
        let request = &mut self.clients[index].exchange.request;
        let workloads = &mut self.plan.workloads[..];
        let chosen = if self.is_reading {
            (0..workloads.len()).find(|at| workloads[*at].begin_last(index as u32, now, request))
        } else if self.begun < self.window_end {
            let chosen = self.plan.rng.usize(..workloads.len());
            workloads[chosen].begin(index as u32, now, request);
            self.begun += 1;
            Some(chosen)
        } else {
            None
        };
        self.clients[index].exchange.busy = chosen.map(|chosen| (chosen, now));
        if chosen.is_some() { self.flush(index) } else { Ok(()) }
    }

    fn poll(&mut self, events: &mut Vec<epoll::Event>) -> Result<(), String> {
        let timeout = Timespec { tv_sec: 0, tv_nsec: POLL_NS };
        events.clear();
        match epoll::wait(&self.poller, rustix::buffer::spare_capacity(events), Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(format!("epoll_wait: {errno}")),
        }
        for event in events.drain(..) {
            let index = event.data.u64() as usize;
            let flags = event.flags;
            if flags.contains(epoll::EventFlags::OUT) {
                self.flush(index)?;
            }
            if flags.intersects(epoll::EventFlags::IN | epoll::EventFlags::HUP | epoll::EventFlags::ERR) {
                let is_closed = self.receive(index)?;
                self.take(index)?;
                if is_closed {
                    self.on_closed(index)?;
                }
            }
        }
        Ok(())
    }

    fn flush(&mut self, index: usize) -> Result<(), String> {
        let client = &mut self.clients[index];
        let bytes = &client.exchange.request.bytes;
        while client.sent < bytes.len() {
            match rustix::net::send(&client.socket, &bytes[client.sent..], SendFlags::NOSIGNAL) {
                Ok(sent) => client.sent += sent,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                // Reading says what there is to say.
                Err(_) => client.sent = bytes.len(),
            }
        }
        let wants_room = client.sent < bytes.len();
        if wants_room != client.wants_room {
            client.wants_room = wants_room;
            let room = if wants_room { epoll::EventFlags::OUT } else { epoll::EventFlags::empty() };
            let data = epoll::EventData::new_u64(index as u64);
            epoll::modify(&self.poller, &client.socket, data, epoll::EventFlags::IN | room)
                .map_err(|errno| format!("epoll_ctl: {errno}"))?;
        }
        Ok(())
    }

    /// Takes all that the socket has; true if nothing will come any more.
    fn receive(&mut self, index: usize) -> Result<bool, String> {
        let client = &mut self.clients[index];
        loop {
            match rustix::net::recv(&client.socket, &mut self.buffer[..], RecvFlags::empty()) {
                Ok((0, _)) => return Ok(true),
                Ok((len, _)) => client.exchange.receive(&self.buffer[..len])?,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(false),
                Err(_) => return Ok(true),
            }
        }
    }

    /// Hands the replies to the workload once they are all there, and goes on.
    fn take(&mut self, index: usize) -> Result<(), String> {
        let now = self.now();
        let client = &mut self.clients[index];
        let taken = client.exchange.take(index as u32, now, &mut self.plan.workloads)?;
        if taken != Taken::Nothing {
            client.sent = 0;
        }
        match taken {
            Taken::Nothing => return Ok(()),
            Taken::Asks => return self.flush(index),
            Taken::Over => self.on_over(index),
            Taken::Wrong(wrong) => {
                self.sum.errors += 1;
                self.ended += 1;
                self.sum.first_error.get_or_insert(wrong.what);
                self.lose(index);
                if !self.is_down {
                    self.clients[index] = self.open(index)?;
                }
            }
        }
        self.begin(index)
    }

    fn on_over(&mut self, index: usize) {
        self.clients[index].exchange.busy = None;
        if !self.is_reading {
            self.over += 1;
            if self.over.is_multiple_of(1024) {
                self.plan.bar.set_position(self.over);
            }
        }
    }

    /// Nothing more will come to this client.
    fn lose(&mut self, index: usize) {
        if let Some(workload) = self.clients[index].exchange.lose() {
            self.plan.workloads[workload].on_lost(index as u32);
            self.on_over(index);
        }
    }

    fn on_closed(&mut self, index: usize) -> Result<(), String> {
        if let Some(what) = self.plan.server.as_mut().and_then(|server| server.ended()) {
            return Err(what);
        }
        self.sum.closed += 1;
        self.ended += 1;
        self.lose(index);
        self.clients[index] = self.open(index)?;
        self.begin(index)
    }

    fn act(&mut self, deed: Deed) -> Result<(), String> {
        let Some(server) = self.plan.server.as_mut() else { return Ok(()) };
        match deed {
            Deed::Save => {
                self.sum.saves += 1;
                server.save().map_err(|error| format!("BGSAVE: {error}"))
            }
            Deed::Kill => self.kill(),
        }
    }

    /// What was answered before the end counts as answered.
    fn kill(&mut self) -> Result<(), String> {
        let server = self.plan.server.as_mut().expect("who kills has a server");
        if let Some(what) = server.ended() {
            return Err(what);
        }
        server.kill().map_err(|error| format!("kill: {error}"))?;
        (self.is_down, self.ended) = (true, 0);
        for index in 0..self.clients.len() {
            self.receive(index)?;
            self.take(index)?;
            self.lose(index);
        }
        let server = self.plan.server.as_mut().expect("it was there a moment ago");
        let took = server.restart().map_err(|error| format!("after kill {}: {error}", self.sum.kills + 1))?;
        self.sum.kills += 1;
        self.sum.restart_longest = self.sum.restart_longest.max(took);
        for index in 0..self.clients.len() {
            self.clients[index] = self.open(index)?;
        }
        self.is_down = false;
        (0..self.clients.len()).try_for_each(|index| self.begin(index))
    }

    fn check_progress(&mut self) -> Result<(), String> {
        let now = self.now();
        for (index, client) in self.clients.iter().enumerate() {
            let Exchange { busy: Some((workload, since)), ref request, .. } = client.exchange else { continue };
            if now.saturating_sub(since) > ANSWER_NS_MAX {
                let name = self.plan.workloads[workload].name();
                let (asked, got) = (shown(&request.bytes), client.exchange.whole());
                return Err(format!(
                    "client {index} ({name}) waits for {} s: {got} of {} replies to {asked}",
                    ANSWER_NS_MAX / 1_000_000_000,
                    request.replies
                ));
            }
        }
        Ok(())
    }
}

impl Client {
    fn reset(&mut self) {
        self.exchange.reset();
        self.sent = 0;
    }
}
