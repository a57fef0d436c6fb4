//! A server: checks the machine, opens the data directory, starts one worker a CPU, and stops them in good order.
//!
//! ```text
//! start: checks -> directory is locked -> ports are bound -> workers recover their shards -> all accept
//! stop:  nobody is accepted -> machines finish what was begun -> workers end
//! ```

use crate::balance::Balancer;
use crate::clock;
use crate::datadir::{DataDir, Manifest, random_bytes, random_id};
use crate::error::StartError;
use crate::exchange::{Entry, Exchange, NoDecisions};
use crate::facts;
use crate::host::Thread;
use crate::limits::WORKERS_MAX;
use crate::listener::{tcp_shared, unix};
use crate::mesh::{Doorbell, Inbox, Letter, Receiver, Sender, mailbox};
use crate::open::{Progress, Scanned, log_config, scan};
use crate::probe;
use crate::report::{self, Report, Reporter};
use crate::worker::{Shared, Worker, WorkerParts};
use cairn_core::event::{ProcessFacts, Ticket};
use cairn_core::machine::{Identity, Machine};
use cairn_core::settings::Settings;
use cairn_storage::engine::Engine;
use cairn_storage::units::ShardId;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

/// What a server is started with.
#[derive(Clone)]
pub struct ServerConfig {
    /// Addresses, port, directory, shards, CPUs, memory, limits: all that has a name for operators.
    pub settings: Settings,
    /// For INFO.
    pub executable: String,
    pub config_file: String,
    /// How long a worker looks for work before it sleeps, in nanoseconds. 0: it sleeps at once.
    pub spin_ns: u64,
    /// Bytes of a segment of a new data directory. 0: the usual size.
    pub segment_bytes: u64,
    /// Bytes that the allocator has handed out, for INFO.
    pub allocated_bytes: fn() -> u64,
    /// Where recovery says how far it is.
    pub progress: Arc<Progress>,
}

impl ServerConfig {
    pub fn new(settings: Settings) -> ServerConfig {
        ServerConfig {
            settings,
            executable: String::new(),
            config_file: String::new(),
            spin_ns: SPIN_NS,
            segment_bytes: 0,
            allocated_bytes: || 0,
            progress: Arc::default(),
        }
    }
}

/// How long a worker spins unless told otherwise, when it may: see docs/decisions/0002-own-ring.md for the figures.
pub const SPIN_NS: u64 = 200_000;

/// A running server. Dropping it without [`ServerHandle::stop`] ends it without waiting for anything.
pub struct ServerHandle {
    bound: Vec<SocketAddr>,
    unixsocket: Option<PathBuf>,
    manifest: Manifest,
    is_new: bool,
    run_id: String,
    cpus: Vec<usize>,
    homes: Arc<[u16]>,
    inboxes: Vec<Arc<Inbox>>,
    shared: Arc<Shared>,
    reports: Option<mpsc::Receiver<Report>>,
    threads: Vec<Thread>,
    facts: Option<facts::Collector>,
    balancer: Option<Balancer>,
    // Unlocked last.
    _dir: DataDir,
}

/// How a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// Everything that was begun was finished and answered. Else the time was up; what was acknowledged is on disk anyway.
    pub is_clean: bool,
}

/// Starts a server. Returns when it accepts connections.
pub fn start(config: ServerConfig) -> Result<ServerHandle, StartError> {
    let settings = &config.settings;
    probe::ring()?;
    probe::memlock()?;
    probe::pinning()?;
    probe::descriptors(settings.maxclients)?;
    clock::calibrate();
    let cpus = choose_cpus(&settings.cpus)?;
    look_at_ports(settings)?;
    let dir_path = Path::new(&settings.dir);
    let dir = DataDir::open(dir_path, settings.shards, cpus.len().min(WORKERS_MAX) as u16, config.segment_bytes)?;
    probe::direct_io(dir.path())?;
    let shards = dir.manifest().shards;
    let workers = cpus.len().min(usize::from(shards)).min(WORKERS_MAX);
    let cpus = cpus[..workers].to_vec();
    let (bound, unixsocket, listeners) = bind(settings, workers)?;
    let homes: Arc<[u16]> =
        (0..shards).map(|shard| (usize::from(shard) * workers / usize::from(shards)) as u16).collect();
    let shared = Arc::new(Shared {
        clients: AtomicU32::new(0),
        is_drained: (0..workers).map(|_| AtomicBool::new(false)).collect(),
    });
    let (reporter, reports) = report::channel();
    let tcp_port = bound.first().map_or(0, SocketAddr::port);
    let plan = Arc::new(Plan::new(&config, &dir, tcp_port, Arc::clone(&homes))?);
    let run_id = plan.run_id.clone();
    let mesh = Mesh::new(workers).map_err(StartError::Ring)?;
    let inboxes: Vec<Arc<Inbox>> = mesh.doorbells.iter().map(|bell| Arc::new(Inbox::new(Arc::clone(bell)))).collect();
    let seats = Seats { plan, shared: Arc::clone(&shared), inboxes: inboxes.clone(), cpus: cpus.clone(), reporter };
    let threads = seats.start(mesh, listeners)?;
    let facts = facts::Collector::start(inboxes.clone(), config.allocated_bytes);
    let balancer = Balancer::start(inboxes.clone(), cpus.clone());
    Ok(ServerHandle {
        bound,
        unixsocket,
        manifest: dir.manifest().clone(),
        is_new: dir.is_new(),
        run_id,
        cpus,
        homes,
        inboxes,
        shared,
        reports: Some(reports),
        threads,
        facts: Some(facts),
        balancer: Some(balancer),
        _dir: dir,
    })
}

impl ServerHandle {
    /// The TCP addresses that it listens on, with their real ports.
    pub fn bound(&self) -> &[SocketAddr] {
        &self.bound
    }

    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Whether the data directory was created by this start.
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// 40 hexadecimal digits, new at every start.
    pub fn run_id(&self) -> &str {
        &self.run_id
    }

    /// The CPUs of the workers, in their order.
    pub fn cpus(&self) -> &[usize] {
        &self.cpus
    }

    /// What the workers report. Can be taken once.
    pub fn take_reports(&mut self) -> Option<mpsc::Receiver<Report>> {
        self.reports.take()
    }

    /// Who can answer questions, from any thread.
    pub fn answerer(&self) -> Answerer {
        Answerer { inboxes: self.inboxes.clone(), homes: Arc::clone(&self.homes) }
    }

    /// Connections now.
    pub fn clients(&self) -> u32 {
        self.shared.clients.load(Ordering::Relaxed)
    }

    /// Accepts nobody any more, finishes what was begun, makes a last checkpoint if it `saves`, and ends; at the latest after
    /// `limit`.
    pub fn stop(mut self, limit: Duration, saves: bool) -> Stopped {
        self.post_all(|| Letter::Drain { saves });
        let deadline = Instant::now() + limit;
        let mut quiet = 0;
        // Twice in a row and a tick apart: a parcel may have been under way between two workers that had nothing to do.
        while quiet < 2 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2 * crate::limits::TICK_MS));
            let is_drained = self.shared.is_drained.iter().all(|worker| worker.load(Ordering::Acquire));
            quiet = if is_drained { quiet + 1 } else { 0 };
        }
        let is_joined = self.halt();
        Stopped { is_clean: quiet == 2 && is_joined }
    }

    fn post_all(&self, letter: impl Fn() -> Letter) {
        for inbox in &self.inboxes {
            inbox.post(letter());
        }
    }

    fn halt(&mut self) -> bool {
        self.facts = None;
        self.balancer = None;
        self.post_all(|| Letter::Halt);
        let joined = self.threads.drain(..).map(Thread::join).filter(Result::is_err).count() == 0;
        if let Some(path) = self.unixsocket.take() {
            // It may have been removed by somebody else.
            let _ = std::fs::remove_file(path);
        }
        joined
    }
}

impl Drop for ServerHandle {
    fn drop(&mut self) {
        if !self.threads.is_empty() {
            self.halt();
        }
    }
}

/// Brings answers of the process back to the shards that asked.
#[derive(Clone)]
pub struct Answerer {
    inboxes: Vec<Arc<Inbox>>,
    homes: Arc<[u16]>,
}

impl Answerer {
    /// Answers a [`Report::Ask`].
    pub fn answer(&self, shard: ShardId, ticket: Ticket, result: Result<String, String>) {
        let home = usize::from(self.homes[usize::from(shard.0)]);
        self.inboxes[home].post(Letter::HostAnswer { shard, ticket, result });
    }

    /// Fresh facts for all shards.
    pub fn facts(&self, facts: &ProcessFacts) {
        for inbox in &self.inboxes {
            inbox.post(Letter::Facts(facts.clone()));
        }
    }
}

/// What the machines of a server are made from.
struct Plan {
    settings: Settings,
    manifest: Manifest,
    logs: Vec<PathBuf>,
    homes: Arc<[u16]>,
    run_id: String,
    tcp_port: u16,
    executable: String,
    config_file: String,
    os: String,
    seed: u64,
    memory_bytes: u64,
    spin_ns: u64,
    progress: Arc<Progress>,
    exchange: Exchange,
}

impl Plan {
    fn new(config: &ServerConfig, dir: &DataDir, tcp_port: u16, homes: Arc<[u16]>) -> Result<Plan, StartError> {
        let unusable = |error| StartError::DirectoryUnusable { dir: "/dev/urandom".into(), error };
        let manifest = dir.manifest().clone();
        let uname = rustix::system::uname();
        let text = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
        let memory_bytes = match config.settings.memory_bytes {
            0 => facts::memory_total_bytes() / 5 * 3,
            bytes => bytes,
        };
        Ok(Plan {
            settings: config.settings.clone(),
            logs: (0..manifest.shards).map(|shard| dir.log(ShardId(shard))).collect(),
            homes,
            run_id: random_id().map_err(unusable)?,
            tcp_port,
            executable: config.executable.clone(),
            config_file: config.config_file.clone(),
            os: format!("{} {} {}", text(uname.sysname()), text(uname.release()), text(uname.machine())),
            seed: u64::from_le_bytes(random_bytes().map_err(unusable)?),
            memory_bytes: memory_bytes / u64::from(manifest.shards),
            spin_ns: config.spin_ns,
            exchange: Exchange::new(manifest.shards),
            manifest,
            progress: Arc::clone(&config.progress),
        })
    }

    /// Recovers the shards of a worker. Runs on its thread.
    fn open(&self, worker: u16, entry: &mut Entry<'_>) -> Result<Vec<Machine>, StartError> {
        let is_home = |shard: &u16| self.homes[usize::from(*shard)] == worker;
        let shards: Vec<ShardId> = (0..self.manifest.shards).filter(is_home).map(ShardId).collect();
        let mut scanned = Vec::new();
        for shard in &shards {
            let config = log_config(*shard, &self.manifest);
            scanned.push(scan(&self.logs[usize::from(shard.0)], config, self.memory_bytes, &self.progress)?);
        }
        let tails = scanned.iter_mut().map(Scanned::tail).collect();
        let decisions = entry.decide(tails).map_err(|why| self.undecided(worker, &why))?;
        let finished = scanned.into_iter().map(|scanned| scanned.finish(&decisions, &self.progress));
        shards.iter().zip(finished).map(|(shard, engine)| Ok(self.machine(*shard, engine?))).collect()
    }

    fn undecided(&self, worker: u16, why: &NoDecisions) -> StartError {
        match why {
            NoDecisions::OtherFailed => {
                let what = "another worker could not open its shards".to_owned();
                StartError::Worker { worker: usize::from(worker), what }
            }
            NoDecisions::Refused(fault) => {
                StartError::LogsDisagree { dir: (&self.settings.dir).into(), what: fault.to_string() }
            }
        }
    }

    fn machine(&self, shard: ShardId, engine: Engine) -> Machine {
        let now = clock::now();
        let identity = Identity {
            shard,
            shards: self.manifest.shards,
            run_id: self.run_id.clone(),
            node_id: self.manifest.node_id.clone(),
            process_id: std::process::id(),
            tcp_port: self.tcp_port,
            executable: self.executable.clone(),
            config_file: self.config_file.clone(),
            started: now,
            os: self.os.clone(),
            seed: self.seed ^ u64::from(shard.0).wrapping_mul(0x9e37_79b9_7f4a_7c15),
            hash_seed: self.manifest.seed,
            clock_ns: clock::mono_ns,
        };
        Machine::new(identity, self.settings.clone(), engine, now)
    }
}

/// Mailboxes between all workers, and their doorbells.
struct Mesh {
    doorbells: Vec<Arc<Doorbell>>,
    /// By sending worker, then receiving.
    senders: Vec<Vec<Option<Sender>>>,
    /// By receiving worker.
    receivers: Vec<Vec<Receiver>>,
}

impl Mesh {
    fn new(workers: usize) -> std::io::Result<Mesh> {
        let doorbells: Vec<Arc<Doorbell>> =
            (0..workers).map(|_| Doorbell::new().map(Arc::new)).collect::<Result<_, _>>()?;
        let mut senders = Vec::new();
        let mut receivers: Vec<Vec<Receiver>> = (0..workers).map(|_| Vec::new()).collect();
        for from in 0..workers {
            let ends = (0..workers).map(|to| {
                (from != to).then(|| {
                    let (sender, receiver) = mailbox(Arc::clone(&doorbells[from]), Arc::clone(&doorbells[to]));
                    receivers[to].push(receiver);
                    sender
                })
            });
            senders.push(ends.collect());
        }
        Ok(Mesh { doorbells, senders, receivers })
    }
}

type Listening = Vec<(OwnedFd, Option<PathBuf>)>;

/// Starts the threads.
struct Seats {
    plan: Arc<Plan>,
    shared: Arc<Shared>,
    inboxes: Vec<Arc<Inbox>>,
    cpus: Vec<usize>,
    reporter: Reporter,
}

impl Seats {
    /// Starts all workers, waits until they have recovered their shards, and lets them serve. If one cannot, all end.
    fn start(self, mesh: Mesh, listeners: Vec<Listening>) -> Result<Vec<Thread>, StartError> {
        let (ready, results) = mpsc::channel();
        let mut threads = Vec::new();
        let mut failure = None;
        let ends = mesh.doorbells.into_iter().zip(mesh.senders).zip(mesh.receivers).zip(listeners);
        for (worker, (((doorbell, senders), receivers), listeners)) in ends.enumerate() {
            let parts = WorkerParts {
                worker: worker as u16,
                cpu: self.cpus[worker] as u16,
                spin_ns: self.plan.spin_ns,
                listeners,
                doorbell,
                inboxes: self.inboxes.clone(),
                senders,
                receivers,
                homes: Arc::clone(&self.plan.homes),
                shared: Arc::clone(&self.shared),
                reporter: self.reporter.share(),
            };
            let plan = Arc::clone(&self.plan);
            let ready = ready.clone();
            let work = move || work(plan, parts, ready);
            match Thread::start(&format!("cairn-{worker}"), self.cpus[worker], work) {
                Ok(thread) => threads.push(thread),
                Err(what) => {
                    failure = Some(StartError::Worker { worker, what });
                    self.plan.exchange.fail();
                    break;
                }
            }
        }
        drop(ready);
        for result in results.iter().take(threads.len()) {
            if let Err(error) = result {
                failure.get_or_insert(error);
            }
        }
        let letter = || if failure.is_none() { Letter::Serve } else { Letter::Halt };
        for inbox in &self.inboxes {
            inbox.post(letter());
        }
        match failure {
            None => Ok(threads),
            Some(error) => {
                for thread in threads {
                    // It is the first failure that is reported.
                    let _ = thread.join();
                }
                Err(error)
            }
        }
    }
}

/// The life of a worker's thread. Says once whether it is ready.
async fn work(plan: Arc<Plan>, parts: WorkerParts, ready: mpsc::Sender<Result<(), StartError>>) {
    let number = parts.worker;
    let mut entry = plan.exchange.enter();
    let worker = plan.open(number, &mut entry).and_then(|machines| {
        let logs = machines.iter().map(|machine| plan.logs[usize::from(machine.identity.shard.0)].clone()).collect();
        Worker::new(parts, machines, logs).map_err(StartError::Ring)
    });
    // Who waits for it waits until all have answered.
    match worker {
        Ok(worker) => {
            let _ = ready.send(Ok(()));
            drop((ready, entry));
            worker.run().await;
        }
        Err(error) => {
            // Before the entry goes: it is the first failure that is reported.
            let _ = ready.send(Err(error));
        }
    }
}

/// What is listened on: the TCP addresses, the Unix socket's path, and by worker its listeners.
type Bound = (Vec<SocketAddr>, Option<PathBuf>, Vec<Listening>);

fn is_tcp(settings: &Settings) -> bool {
    settings.port != 0 || settings.unixsocket.is_empty()
}

/// A start that cannot listen leaves no new data directory behind.
fn look_at_ports(settings: &Settings) -> Result<(), StartError> {
    for Wanted { ip, is_optional } in if is_tcp(settings) { addresses(&settings.bind)? } else { Vec::new() } {
        match probe::address(SocketAddr::new(ip, settings.port)) {
            Err(StartError::AddressNotHere { .. }) if is_optional => {}
            result => result?,
        }
    }
    Ok(())
}

/// Binds everything that is to be listened on.
fn bind(settings: &Settings, workers: usize) -> Result<Bound, StartError> {
    let mut listeners: Vec<Listening> = (0..workers).map(|_| Vec::new()).collect();
    let mut bound: Vec<SocketAddr> = Vec::new();
    let backlog = settings.tcp_backlog as i32;
    let mut port = settings.port;
    for Wanted { ip, is_optional } in if is_tcp(settings) { addresses(&settings.bind)? } else { Vec::new() } {
        match tcp_shared(SocketAddr::new(ip, port), workers, backlog) {
            Ok((addr, fds)) => {
                // All addresses share the port that the first one was given.
                port = addr.port();
                bound.push(addr);
                for (own, fd) in listeners.iter_mut().zip(fds) {
                    own.push((fd, None));
                }
            }
            Err(StartError::AddressNotHere { .. }) if is_optional => {}
            Err(error) => return Err(error),
        }
    }
    let path = (!settings.unixsocket.is_empty()).then(|| PathBuf::from(&settings.unixsocket));
    if let Some(path) = &path {
        let mode = (settings.unixsocketperm != 0).then_some(settings.unixsocketperm);
        let fd = unix(path, mode, backlog)?;
        for own in &mut listeners {
            let copy =
                fd.try_clone().map_err(|error| StartError::Listen { addr: path.display().to_string(), error })?;
            own.push((copy, Some(path.clone())));
        }
    }
    Ok((bound, path, listeners))
}

struct Wanted {
    ip: IpAddr,
    /// It need not exist on this machine.
    is_optional: bool,
}

/// The addresses of a `bind` directive: `*`, `::*`, names that are addresses, and `-` before those that may be absent.
fn addresses(words: &[String]) -> Result<Vec<Wanted>, StartError> {
    let parse = |word: &String| {
        let (text, is_optional) = word.strip_prefix('-').map_or((word.as_str(), false), |text| (text, true));
        let ip = match text {
            "*" => Ok(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            "::*" => Ok(IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
            "localhost" => Ok(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            _ => text.parse(),
        };
        ip.map(|ip| Wanted { ip, is_optional }).map_err(|_| {
            let error = std::io::Error::other("not an IP address (names are not looked up)");
            StartError::Listen { addr: text.to_owned(), error }
        })
    };
    words.iter().map(parse).collect()
}

/// The CPUs to use, from a list of numbers and ranges. Empty: all that this process may use.
fn choose_cpus(list: &str) -> Result<Vec<usize>, StartError> {
    let open = probe::cpus().map_err(StartError::Ring)?;
    if list.trim().is_empty() {
        return Ok(open);
    }
    let mut chosen = Vec::new();
    for part in list.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number =
            |text: &str| text.trim().parse::<usize>().map_err(|_| StartError::CpuList { list: list.to_owned() });
        let (first, last) = (number(first)?, number(last)?);
        for cpu in first..=last {
            if !open.contains(&cpu) {
                return Err(StartError::NoSuchCpu { cpu });
            }
            if !chosen.contains(&cpu) {
                chosen.push(cpu);
            }
        }
    }
    if chosen.is_empty() { Err(StartError::CpuList { list: list.to_owned() }) } else { Ok(chosen) }
}

#[cfg(test)]
mod tests;
