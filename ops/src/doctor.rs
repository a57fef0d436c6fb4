//! `cairn doctor`: can this machine run the server? One line a question, the same checks that a start makes.

use crate::addresses;
use crate::config::{Arguments, Configuration};
use crate::say;
use cairn_core::settings::{Settings, Source};
use cairn_net::probe;
use rustix::fs::{Access, FlockOperation, access, flock};
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What a check found.
enum Finding {
    Fine(String),
    /// It runs, but not as well as it could.
    Doubtful(String),
    /// It does not run.
    Bad(String),
}

use Finding::{Bad, Doubtful, Fine};

/// Takes what `serve` takes, so that it looks at the same directory, ports and limits.
pub fn run(words: &[String]) -> ExitCode {
    let loaded = Arguments::parse(words.iter().cloned()).and_then(Configuration::load);
    let configuration = match loaded {
        Ok(configuration) => configuration,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let findings = examine(&configuration.settings);
    let mut is_fit = true;
    let mut report = String::new();
    for (what, finding) in findings {
        let (mark, text) = match finding {
            Fine(text) => ("ok  ", text),
            Doubtful(text) => ("warn", text),
            Bad(text) => {
                is_fit = false;
                ("FAIL", text)
            }
        };
        report += &format!("{mark}  {what:<11} {text}\n");
    }
    say(&report);
    if is_fit { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn examine(settings: &Settings) -> Vec<(&'static str, Finding)> {
    let dir = Path::new(&settings.dir);
    let mut findings = vec![
        ("io_uring", or_bad(probe::ring(), |release| format!("Linux {release} has all that is needed"))),
        ("memlock", or_bad(probe::memlock(), |bytes| format!("{} may be locked", amount(bytes)))),
        ("pinning", or_bad(probe::pinning(), |()| "threads may choose their CPUs".into())),
        ("files", or_bad(probe::descriptors(settings.maxclients), |limit| format!("{limit} may be open"))),
        ("directory", directory(dir)),
    ];
    if let Some(existing) = nearest_existing(dir)
        && access(&existing, Access::WRITE_OK).is_ok()
    {
        let direct = match probe::direct_io(&existing) {
            Ok(name) if probe::is_in_memory(&existing) => {
                Doubtful(format!("works, but {name} is memory: nothing there survives this machine's end"))
            }
            result => or_bad(result, |name| format!("works on {name}")),
        };
        findings.push(("O_DIRECT", direct));
        findings.push(("space", space(&existing)));
    }
    findings.extend(ports(settings).into_iter().map(|finding| ("port", finding)));
    findings.push(("metrics", metrics(settings)));
    findings.push(("cores", cores()));
    findings.push(("huge pages", huge_pages()));
    findings.push(("backlog", backlog(settings.tcp_backlog)));
    findings
}

fn or_bad<T, E: ToString>(result: Result<T, E>, say: impl FnOnce(T) -> String) -> Finding {
    match result {
        Ok(value) => Fine(say(value)),
        Err(error) => Bad(error.to_string()),
    }
}

/// Nothing is created: what does not exist is judged by the directory that it would be created in.
fn directory(dir: &Path) -> Finding {
    let Some(existing) = nearest_existing(dir) else { return Bad(format!("{} cannot be reached", dir.display())) };
    if access(&existing, Access::WRITE_OK | Access::EXEC_OK).is_err() {
        let uid = rustix::process::geteuid().as_raw();
        return Bad(format!(
            "{} cannot be written by uid {uid}: chown it, or choose another --dir",
            existing.display()
        ));
    }
    let shown = fs::canonicalize(dir).unwrap_or_else(|_| std::path::absolute(dir).unwrap_or_else(|_| dir.into()));
    let Ok(lock) = File::open(dir.join("LOCK")) else {
        let what = if dir.join("manifest").exists() { "is a data directory" } else { "will be a new data directory" };
        return Fine(format!("{} {what}", shown.display()));
    };
    match flock(&lock, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Fine(format!("{} is a data directory and not in use", shown.display())),
        Err(_) => {
            let pid = fs::read_to_string(dir.join("LOCK")).unwrap_or_default();
            Bad(format!("{} is in use by process {}: stop that, or choose another --dir", shown.display(), pid.trim()))
        }
    }
}

fn nearest_existing(dir: &Path) -> Option<PathBuf> {
    let dir = std::path::absolute(dir).ok()?;
    dir.ancestors().find(|path| path.is_dir()).map(Path::to_path_buf)
}

/// With less free space than this a log does not last.
const FREE_BYTES_MIN: u64 = 1 << 30;

fn space(dir: &Path) -> Finding {
    let Ok(stat) = rustix::fs::statvfs(dir) else { return Doubtful("free space is not known".into()) };
    let free = stat.f_bavail * stat.f_frsize;
    let text = format!("{} free", amount(free));
    if free < FREE_BYTES_MIN {
        Doubtful(format!(
            "{text}: log and page file take more than what is live, so this may not last. Writes are refused when it is full"
        ))
    } else {
        Fine(text)
    }
}

/// The default address may be taken: the server then does without.
fn metrics(settings: &Settings) -> Finding {
    let address = settings.metrics_addr.as_str();
    if matches!(address, "" | "off" | "no") {
        return Fine("off".into());
    }
    match TcpListener::bind(address) {
        Ok(_) => Fine(format!("{address} is free")),
        Err(error) => {
            let text = format!("{address}: {error}. Choose another --metrics-addr, or off");
            if settings.source("metrics-addr") == Some(Source::Default) { Doubtful(text) } else { Bad(text) }
        }
    }
}

fn ports(settings: &Settings) -> Vec<Finding> {
    if settings.port == 0 {
        return vec![if settings.unixsocket.is_empty() {
            Bad("port is 0 and there is no unixsocket: nobody could connect".into())
        } else {
            Fine("none: TCP is off".into())
        }];
    }
    let found = match addresses::resolve(&settings.bind, settings.port) {
        Ok(found) => found,
        Err(why) => return vec![Bad(why)],
    };
    let mut findings: Vec<Finding> = found
        .iter()
        .map(|address| match TcpListener::bind(address) {
            Ok(_) => Fine(format!("{address} is free")),
            Err(error) => Bad(format!("{address}: {error}. Stop what listens there, or choose another --port")),
        })
        .collect();
    if !addresses::is_local(&found) && settings.acl().is_open() {
        let text =
            "others can reach this address and no password is set: protected mode will refuse them. Set requirepass";
        findings.push(Doubtful(text.into()));
    }
    findings
}

fn cores() -> Finding {
    let Ok(cpus) = probe::cpus() else { return Doubtful("the CPUs are not known".into()) };
    let quota = fs::read_to_string("/sys/fs/cgroup/cpu.max").unwrap_or_default();
    let mut numbers = quota.split_ascii_whitespace().map(str::parse::<f64>);
    if let (Some(Ok(quota)), Some(Ok(period))) = (numbers.next(), numbers.next())
        && quota / period < cpus.len() as f64
    {
        let share = quota / period;
        let count = cpus.len();
        return Doubtful(format!(
            "{count} CPUs, but a quota of {share:.1}: workers will be throttled. Set --cpus or --shards"
        ));
    }
    Fine(format!("{} CPUs, so a new data directory gets {} shards", cpus.len(), cpus.len()))
}

fn huge_pages() -> Finding {
    let text = fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").unwrap_or_default();
    match text.split(['[', ']']).nth(1) {
        Some("always") => Fine("always: harmless here, since nothing forks".into()),
        Some(mode) => Fine(mode.to_string()),
        None => Fine("not offered by this kernel".into()),
    }
}

fn backlog(wanted: u32) -> Finding {
    let text = fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap_or_default();
    match text.trim().parse::<u32>() {
        Ok(limit) if limit < wanted => Doubtful(format!(
            "tcp-backlog is {wanted}, but net.core.somaxconn only {limit}: sysctl net.core.somaxconn={wanted}"
        )),
        Ok(limit) => Fine(format!("tcp-backlog {wanted}, net.core.somaxconn {limit}")),
        Err(_) => Doubtful("net.core.somaxconn is not known".into()),
    }
}

fn amount(bytes: u64) -> String {
    match bytes {
        u64::MAX => "any amount".into(),
        _ if bytes >= 1 << 30 => format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30)),
        _ => format!("{} KiB", bytes >> 10),
    }
}
