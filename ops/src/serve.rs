//! `cairn serve`: the process around the shards. Starts them, logs what they say, answers what they ask, stops them.
//!
//! Threads beside the workers: this one waits for the end; one takes the workers' reports; one hashes passwords; one
//! takes signals; one serves metrics. None of them is on the data path.

use crate::apart::{Then, apart};
use crate::config::{self, Arguments, Configuration};
use crate::log::{self, Format, Loudness};
use crate::metrics::Metrics;
use crate::metrics_http::{self, Admin};
use crate::migrate::Migrations;
use crate::password::{self, Passwords};
use crate::{affinity, notify, users};
use cairn_core::acl::Fresh;
use cairn_core::event::{HostAsk, Level, Notice};
use cairn_core::settings::{Settings, Source};
use cairn_net::probe;
use cairn_net::report::Report;
use cairn_net::server::{self, Answerer, ServerConfig, ServerHandle};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};
use tracing::{debug, error, info, trace, warn};

/// How long SHUTDOWN FORCE waits for what is in flight.
const FORCED_STOP: Duration = Duration::from_millis(500);

/// A second signal within this time of the first is the same wish.
const SIGNAL_ECHO: Duration = Duration::from_millis(300);

/// Why the server ends.
enum Stop {
    Signal(&'static str),
    Command {
        is_forced: bool,
        saves: bool,
    },
    /// The workers are gone.
    WorkersEnded,
}

pub fn run(words: &[String]) -> ExitCode {
    let configuration = match Arguments::parse(words.iter().cloned()).and_then(Configuration::load) {
        Ok(configuration) => configuration,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    if let Err(error) = start_log(&configuration.settings) {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    match serve(&configuration) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            error!("{why}");
            if !configuration.settings.logfile.is_empty() {
                eprintln!("{why}");
            }
            ExitCode::FAILURE
        }
    }
}

fn start_log(settings: &Settings) -> Result<(), String> {
    let format = Format::parse(&settings.log_format).expect("the parameter table lists the formats");
    let loudness = Loudness::parse(&settings.loglevel).expect("the parameter table lists the levels");
    log::start(format, loudness, &settings.logfile)
}

fn serve(configuration: &Configuration) -> Result<(), String> {
    let settings = &configuration.settings;
    greet(configuration);
    if settings.port == 0 && settings.unixsocket.is_empty() {
        return Err("Configured to not listen anywhere: port is 0 and there is no unixsocket. Give one of them".into());
    }
    let (stop, stopped) = channel();
    let is_serving = Arc::new(AtomicBool::new(false));
    watch_signals(stop.clone(), Arc::clone(&is_serving))?;
    let metrics = Arc::new(Metrics::new(settings.dir.as_ref()));
    let (admin, metrics_address) = start_admin(settings, &metrics)?;
    let mut handle = start_shards(configuration)?;
    affinity::set_data_cpus(handle.cpus());
    affinity::leave_data_cpus();
    let reports = handle.take_reports().expect("they are taken here only");
    let host = Host {
        answerer: handle.answerer(),
        passwords: Passwords::start()?,
        migrations: Migrations::default(),
        metrics: Arc::clone(&metrics),
        config_file: configuration.file.clone(),
        aclfile: settings.aclfile.clone(),
        stop,
    };
    let spawned = std::thread::Builder::new().name("cairn-host".into()).spawn(move || host.run(&reports));
    spawned.map_err(|error| error.to_string())?;
    is_serving.store(true, Ordering::Release);
    metrics.set_up(true);
    admin.is_ready.store(true, Ordering::Release);
    introduce(settings, &handle, metrics_address.as_deref());
    notify::tell("READY=1\nSTATUS=Ready to accept connections");
    let why = stopped.recv().unwrap_or(Stop::WorkersEnded);
    admin.is_ready.store(false, Ordering::Release);
    metrics.set_up(false);
    finish(handle, settings, why)
}

fn greet(configuration: &Configuration) {
    info!("Cairn is starting");
    info!(
        "Cairn version={}, bits={}, pid={}, just started",
        env!("CARGO_PKG_VERSION"),
        usize::BITS,
        std::process::id()
    );
    match &configuration.file {
        Some(path) => info!("Configuration loaded from {}", path.display()),
        None => info!("No config file: defaults, environment and flags. To give one: cairn serve /path/to/cairn.conf"),
    }
    for warning in &configuration.warnings {
        warn!("{warning}");
    }
}

/// The admin port. The default one may be taken by another server of this machine; then there is none.
fn start_admin(settings: &Settings, metrics: &Arc<Metrics>) -> Result<(Arc<Admin>, Option<String>), String> {
    let (asked, rendered) = (Arc::clone(metrics), Arc::clone(metrics));
    let admin = Arc::new(Admin {
        is_ready: AtomicBool::new(false),
        trouble: Box::new(move || asked.failed_log()),
        render: Box::new(move || rendered.render()),
    });
    let address = settings.metrics_addr.as_str();
    if matches!(address, "" | "off" | "no") {
        return Ok((admin, None));
    }
    match metrics_http::start(address, Arc::clone(&admin)) {
        Ok(bound) => Ok((admin, Some(bound.to_string()))),
        Err(why) if settings.source("metrics-addr") == Some(Source::Default) => {
            warn!("No metrics are served: {why}. Choose another address with --metrics-addr, or off");
            Ok((admin, None))
        }
        Err(why) => {
            Err(format!("The metrics endpoint cannot be opened: {why}. Choose another with --metrics-addr, or off"))
        }
    }
}

/// Returns when all shards are recovered and accept connections.
fn start_shards(configuration: &Configuration) -> Result<ServerHandle, String> {
    let mut config = ServerConfig::new(configuration.settings.clone());
    let executable = std::env::current_exe().unwrap_or_default();
    config.executable = executable.display().to_string();
    config.config_file = configuration.file.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
    let progress = Arc::clone(&config.progress);
    let (done, is_done) = channel::<()>();
    let report = move || {
        // Ends when the other end of the channel is dropped.
        while is_done
            .recv_timeout(Duration::from_secs(5))
            .is_err_and(|error| error == std::sync::mpsc::RecvTimeoutError::Timeout)
        {
            let (bytes, bytes_max, records) = progress.now();
            let percent = bytes * 100 / bytes_max.max(1);
            info!("Recovering: {percent}% of the log read, {records} records found");
            // Long recoveries are no reason for the service manager to lose patience.
            notify::tell(&format!("STATUS=Recovering, {percent}%\nEXTEND_TIMEOUT_USEC=30000000"));
        }
    };
    notify::tell("STATUS=Recovering");
    let reporter = std::thread::Builder::new().name("cairn-progress".into()).spawn(report);
    let begun = Instant::now();
    let read = Arc::clone(&config.progress);
    let started = server::start(config).map_err(|error| error.to_string());
    drop(done);
    if let Ok(reporter) = reporter {
        reporter.join().expect("it only prints");
    }
    if started.as_ref().is_ok_and(|handle| !handle.is_new()) {
        let (bytes, _, records) = read.now();
        let seconds = begun.elapsed().as_secs_f64();
        info!(
            "Log read: {records} records from {bytes} bytes. Answering after {seconds:.3} seconds; {} effects of the log are still \
             to be applied",
            read.pending()
        );
    }
    started
}

fn introduce(settings: &Settings, handle: &ServerHandle, metrics: Option<&str>) {
    let shards = match handle.manifest().shards {
        1 => "1 shard".to_string(),
        count => format!("{count} shards"),
    };
    let dir = std::fs::canonicalize(&settings.dir).unwrap_or_else(|_| settings.dir.clone().into());
    let age = if handle.is_new() { "new" } else { "recovered" };
    for file in ["dump.rdb", "appendonlydir"].iter().filter(|file| handle.is_new() && dir.join(file).exists()) {
        warn!(
            "{} was left by Redis and is not read: the data directory starts empty (see cairn import)",
            dir.join(file).display()
        );
    }
    let cpus: Vec<String> = handle.cpus().iter().map(usize::to_string).collect();
    info!("Server initialized");
    info!("Data directory {} ({age}), {shards} on CPU {}", dir.display(), cpus.join(","));
    if probe::is_in_memory(&dir) {
        warn!("The data directory is on a file system in memory: what is written does not survive this machine's end");
    } else {
        info!("Durability: every write is answered after its log record is on stable storage (O_DIRECT, synced)");
    }
    if let Some(address) = metrics {
        info!("Metrics and probes on http://{address}/metrics");
    }
    for address in handle.bound() {
        info!("Listening on {address}");
    }
    if !settings.unixsocket.is_empty() {
        info!("Listening on {}", settings.unixsocket);
    }
    if !crate::addresses::is_local(handle.bound()) && settings.acl().is_open() {
        if settings.protected_mode {
            warn!(
                "No password is set: protected mode refuses clients of other machines. Set requirepass to let them in"
            );
        } else {
            warn!(
                "No password is set and protected mode is off: everybody who reaches this machine has access to the data"
            );
        }
    }
    info!("Ready to accept connections");
}

fn finish(handle: ServerHandle, settings: &Settings, why: Stop) -> Result<(), String> {
    let limit = Duration::from_secs(settings.shutdown_timeout_s.max(1));
    let (limit, saves) = match why {
        Stop::Signal(name) => {
            info!("Received {name}, scheduling shutdown...");
            (limit, true)
        }
        Stop::Command { is_forced, saves } => {
            info!("User requested shutdown...");
            // Who cannot wait for clients cannot wait for that either.
            if is_forced { (FORCED_STOP, false) } else { (limit, saves) }
        }
        Stop::WorkersEnded => return Err("The workers have ended unexpectedly".into()),
    };
    notify::tell("STOPPING=1\nSTATUS=Shutting down");
    if !handle.stop(limit, saves).is_clean {
        warn!("Not everything was finished in time; every acknowledged write is on stable storage all the same");
    }
    info!("Cairn is now ready to exit, bye bye...");
    Ok(())
}

/// TERM and INT stop in good order, a second one at once; USR1 opens the log file again; HUP does nothing.
fn watch_signals(stop: Sender<Stop>, is_serving: Arc<AtomicBool>) -> Result<(), String> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1]).map_err(|error| error.to_string())?;
    let watch = move || {
        let mut first: Option<Instant> = None;
        for signal in signals.forever() {
            let name = match signal {
                SIGUSR1 => {
                    if let Err(error) = log::reopen() {
                        warn!("The log file cannot be opened again: {error}");
                    }
                    continue;
                }
                SIGTERM => "SIGTERM",
                SIGINT => "SIGINT",
                _ => continue,
            };
            if let Some(first) = first {
                // Wrappers (timeout, npm, some shells) signal the process and then its group.
                if first.elapsed() < SIGNAL_ECHO {
                    continue;
                }
                warn!("Received a second {name}: exiting at once. Every acknowledged write is on stable storage");
                std::process::exit(1);
            }
            if !is_serving.load(Ordering::Acquire) {
                info!("Received {name} before the start was over: exiting");
                std::process::exit(0);
            }
            first = Some(Instant::now());
            // Who waits for it is there until the process ends.
            let _ = stop.send(Stop::Signal(name));
        }
    };
    std::thread::Builder::new().name("cairn-signals".into()).spawn(watch).map_err(|error| error.to_string())?;
    Ok(())
}

/// Takes what the workers report.
struct Host {
    answerer: Answerer,
    passwords: Passwords,
    migrations: Migrations,
    metrics: Arc<Metrics>,
    config_file: Option<PathBuf>,
    /// Empty: there is none.
    aclfile: String,
    stop: Sender<Stop>,
}

impl Host {
    fn run(self, reports: &Receiver<Report>) {
        for report in reports {
            match report {
                Report::Ask { shard, ticket, ask } => {
                    let answerer = self.answerer.clone();
                    self.on_ask(ask, Box::new(move |result| answerer.answer(shard, ticket, result)));
                }
                Report::Notice { notice, .. } => {
                    if let Notice::ConfigSet { name, value } = &notice
                        && name == "loglevel"
                        && let Some(loudness) = Loudness::parse(value)
                    {
                        log::set_loudness(loudness);
                    }
                    print(&notice);
                }
                Report::Snapshot { snapshot, .. } => self.metrics.on_snapshot(snapshot),
                Report::Worker(stats) => self.metrics.on_worker(stats),
            }
        }
        // The last worker is gone. If that was meant, nobody listens any more.
        let _ = self.stop.send(Stop::WorkersEnded);
    }

    fn on_ask(&self, ask: HostAsk, answer: Then) {
        match ask {
            HostAsk::CheckPassword { hashes, password } => self.passwords.check(hashes, password, answer),
            HostAsk::SettlePasswords { hashes, steps } => self.passwords.settle(hashes, steps, answer),
            HostAsk::Random { bytes } => answer(password::random_hex(bytes)),
            HostAsk::ReadUsers { fresh } => self.read_users(fresh, answer),
            HostAsk::WriteUsers { lines } => answer(self.write_users(&lines)),
            HostAsk::HashPassword { password } => self.passwords.hash(password, answer),
            HostAsk::RewriteConfig { parameters, users } => answer(self.rewrite(&parameters, &users)),
            HostAsk::Migrate(migration) => self.migrations.start(*migration, answer),
            HostAsk::Shutdown { is_forced, saves } => {
                if self.stop.send(Stop::Command { is_forced, saves }).is_err() {
                    answer(Err("Errors trying to SHUTDOWN. Check logs.".into()));
                }
            }
        }
    }

    /// On a thread of its own: each password that stands there in clear text is hashed.
    fn read_users(&self, fresh: Fresh, answer: Then) {
        let path = self.aclfile.clone();
        apart("cairn-users", "The file of users is not read", answer, move || {
            users::read(&path, fresh).map(|users| users::text(&users))
        });
    }

    fn write_users(&self, lines: &[Vec<u8>]) -> Result<String, String> {
        let written = users::write(&self.aclfile, lines);
        written.inspect_err(|why| warn!("ACL SAVE failed: {why}")).map(|()| String::new())
    }

    fn rewrite(&self, parameters: &[(String, String)], users: &[String]) -> Result<String, String> {
        let Some(path) = &self.config_file else { return Err("The server is running without a config file".into()) };
        match config::rewrite(path, parameters, users) {
            Ok(()) => {
                info!("CONFIG REWRITE executed with success.");
                Ok(String::new())
            }
            Err(why) => {
                warn!("CONFIG REWRITE failed: {why}");
                Err(why)
            }
        }
    }
}

fn print(notice: &Notice) {
    match notice.level() {
        Level::Debug => trace!("{notice}"),
        Level::Verbose => debug!("{notice}"),
        Level::Notice => info!("{notice}"),
        Level::Warning => warn!("{notice}"),
    }
}
