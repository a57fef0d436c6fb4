//! Owns the command line of the load generator and its translation into a [`Plan`].

use std::path::PathBuf;
use std::time::Duration;

use super::connection::{Greeting, Target};
use super::error::LoadError;
use super::limits::{
    CLIENTS_MAX, COMMANDS_MAX, GROUPS_MAX, PIPELINE_MAX, RATE_MAX, THREADS_MAX, TIMELINE_SECONDS_MAX, WEIGHT_MAX,
};
use super::plan::{GroupPlan, Limit, Mix, Plan};
use super::template::{Context, Template};
use super::verify::STAMP_BYTES;
use crate::workload::{KeyDistribution, ValueSize};

/// Drives any Redis-protocol server and reports throughput, latency percentiles and CPU time per request.
#[derive(Clone, Debug, clap::Args)]
#[command(after_long_help = AFTER_HELP)]
pub struct BenchArgs {
    /// Host name or address of the server
    #[arg(long, default_value = "127.0.0.1", value_name = "HOST")]
    pub host: String,
    /// TCP port of the server
    #[arg(short, long, default_value_t = 6379)]
    pub port: u16,
    /// Unix socket of the server, instead of host and port
    #[arg(short, long, value_name = "PATH", conflicts_with_all = ["host", "port"])]
    pub socket: Option<PathBuf>,
    /// User to authenticate as
    #[arg(long, requires = "password")]
    pub user: Option<String>,
    /// Password to authenticate with
    #[arg(short = 'a', long, env = "REDISCLI_AUTH", hide_env_values = true)]
    pub password: Option<String>,
    /// Database to select
    #[arg(long, default_value_t = 0, value_name = "NUMBER")]
    pub db: u32,
    /// Speak RESP3 (sends HELLO 3)
    #[arg(short = '3', long)]
    pub resp3: bool,

    /// Connections
    #[arg(short, long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=i64::from(CLIENTS_MAX)))]
    pub clients: u32,
    /// Closed loop: requests written at once by a client, which then waits for all their replies. Open loop:
    /// requests that a client may have under way
    #[arg(short = 'P', long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(PIPELINE_MAX)))]
    pub pipeline: u32,
    /// Threads among which the connections are divided
    #[arg(short, long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(THREADS_MAX)))]
    pub threads: u32,
    /// CPUs to pin the threads to, for example 1 or 0,2-3
    #[arg(long, value_name = "LIST")]
    pub cpus: Option<String>,
    /// Open loop: send so many requests a second, whether or not earlier ones are answered; latency then counts
    /// from the intended send time. Without it the loop is closed
    #[arg(short, long, value_name = "PER_SECOND", value_parser = parse_rate)]
    pub rate: Option<f64>,

    /// Seconds to measure
    #[arg(short, long, default_value_t = 10.0, value_name = "SECONDS", value_parser = parse_seconds)]
    pub duration: f64,
    /// Seconds to run before measuring begins
    #[arg(short, long, default_value_t = 1.0, value_name = "SECONDS", value_parser = parse_seconds)]
    pub warmup: f64,
    /// Send so many requests (of each group) instead of running for a time; there is no warm-up then
    #[arg(short = 'n', long, conflicts_with_all = ["duration", "warmup"], value_parser = clap::value_parser!(u64).range(1..))]
    pub requests: Option<u64>,

    /// Size of the key space
    #[arg(short, long, default_value_t = 100_000, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    pub keys: u64,
    /// What {key} stands for; {num} or {num:WIDTH} within it is the zero-padded number
    #[arg(long, default_value = "key:{num}", value_name = "PATTERN")]
    pub key_pattern: String,
    /// How keys are drawn: uniform, sequential, or zipf:THETA (theta 0.99 is common, larger is more skewed)
    #[arg(long, default_value = "uniform", value_name = "NAME")]
    pub distribution: KeyDistribution,
    /// Bytes of a value: a number, or MIN-MAX
    #[arg(short, long, default_value = "100", value_name = "SIZE")]
    pub value_size: ValueSize,
    /// GETs to SETs, for example 9:1 or 0:1
    #[arg(long, default_value = "1:1", value_name = "GET:SET", conflicts_with_all = ["command", "group"])]
    pub ratio: String,
    /// A command to send, see below; several make a mix, each optionally with a weight: '9:GET {key}'
    #[arg(long, value_name = "TEMPLATE")]
    pub command: Vec<String>,
    /// A group of clients of its own, see below; several run beside one another
    #[arg(short, long, value_name = "SPEC", conflicts_with = "command")]
    pub group: Vec<String>,

    /// First set each key of the key space once
    #[arg(long)]
    pub load: bool,
    /// Set each key of the key space once, and end
    #[arg(long)]
    pub load_only: bool,
    /// Write values that name their key, and check that GET brings back a value of the key asked for. All the
    /// keys' values must have been written with --verify
    #[arg(long)]
    pub verify: bool,
    /// Process of the server: reports its CPU time and context switches per request
    #[arg(long, value_name = "PID")]
    pub pid: Option<u32>,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
    /// Write the latency distribution in HdrHistogram's percentile format (.hgrm, milliseconds); with several
    /// groups, one file for each
    #[arg(long, value_name = "FILE")]
    pub hdr: Option<PathBuf>,
    /// Draw latency by the second as SVG, a chart for each group, with the seconds in which the server made a
    /// checkpoint (as its INFO says); the report sets these beside the others
    #[arg(long, value_name = "FILE", conflicts_with_all = ["requests", "load_only"])]
    pub timeline: Option<PathBuf>,
    /// No progress display
    #[arg(short, long)]
    pub quiet: bool,
    /// Seed of all random choices
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

const AFTER_HELP: &str = "\
Templates:
  {key} a key; {num} its number alone; {value} or {value:SIZE} random bytes;
  {seq} a number that grows; {conn} the connection's number; {int:LIMIT} a random
  number below LIMIT; {{ and }} braces. Quotes keep blanks.
  A lone ';' joins commands to one request: 'MULTI ; INCR {key} ; EXEC'

Groups:
  --group 'name=get clients=4 rate=1000 command=GET {key}'
  --group 'name=set command=SET {key} {value}'
  Settings: name clients pipeline rate keys key-pattern distribution value-size;
  what is not set is as for the whole run. 'command=' comes last; ' | ' separates
  the commands of a mix.

Exit status:
  0 done; 1 could not run, or was cut short; 2 wrong arguments; 3 done, but some
  replies were errors, never came, or did not verify.";

impl BenchArgs {
    /// The run that the arguments ask for.
    pub fn plan(&self) -> Result<Plan, LoadError> {
        let seconds = |s: f64| Duration::from_secs_f64(s);
        let limit = match self.requests {
            Some(requests) => Limit::Requests(requests),
            None if self.duration == 0.0 => return Err(invalid("--duration must be above 0")),
            None => Limit::Time { warmup: seconds(self.warmup), measured: seconds(self.duration) },
        };
        let groups = if self.group.is_empty() {
            vec![self.group_plan(&GroupSpec::default(), 0)?]
        } else {
            let groups = self.group.iter().enumerate();
            groups.map(|(i, text)| self.group_plan(&GroupSpec::parse(text)?, i)).collect::<Result<Vec<_>, _>>()?
        };
        self.plan_of(groups, limit)
    }

    /// The run that sets each key once.
    pub fn load_plan(&self) -> Result<Plan, LoadError> {
        let context = Context { key_pattern: &self.key_pattern, value_size: self.value_size, keys: self.keys };
        let group = GroupPlan {
            name: "load".to_owned(),
            clients: self.clients,
            pipeline: self.pipeline.max(LOAD_PIPELINE),
            rate: None,
            keys: self.keys,
            distribution: KeyDistribution::Sequential,
            mix: Mix::new(vec![(1, Template::parse("SET {key} {value}", context).map_err(LoadError::Invalid)?)]),
        };
        self.plan_of(vec![group], Limit::Requests(self.keys))
    }

    fn plan_of(&self, groups: Vec<GroupPlan>, limit: Limit) -> Result<Plan, LoadError> {
        let target = match &self.socket {
            Some(path) => Target::Unix(path.clone()),
            None => Target::Tcp { host: self.host.clone(), port: self.port },
        };
        let clients: u64 = groups.iter().map(|g| u64::from(g.clients)).sum();
        if clients > u64::from(CLIENTS_MAX) || groups.len() > GROUPS_MAX {
            return Err(invalid(&format!("more than {CLIENTS_MAX} clients or {GROUPS_MAX} groups")));
        }
        let templates = || groups.iter().flat_map(|g| g.mix.templates());
        let least = templates().filter_map(Template::value_bytes_min).min();
        if self.verify && least.is_some_and(|bytes| bytes < STAMP_BYTES) {
            return Err(invalid(&format!("--verify needs values of at least {STAMP_BYTES} bytes")));
        }
        let has_timeline = self.timeline.is_some() && matches!(limit, Limit::Time { .. });
        if has_timeline && !(1.0..=TIMELINE_SECONDS_MAX as f64).contains(&self.duration) {
            return Err(invalid(&format!("--timeline needs a --duration of 1 to {TIMELINE_SECONDS_MAX} seconds")));
        }
        let value_bytes_max = templates().map(|t| t.value_bytes_max).max().unwrap_or(0);
        Ok(Plan {
            target,
            greeting: Greeting {
                user: self.user.clone(),
                password: self.password.clone(),
                db: self.db,
                resp3: self.resp3,
            },
            threads: self.threads,
            cpus: self.cpus.as_deref().map_or(Ok(Vec::new()), parse_cpus).map_err(|e| invalid(&e))?,
            limit,
            verify: self.verify,
            pid: self.pid,
            seed: self.seed,
            has_timeline,
            value_bytes_max: value_bytes_max.max(self.value_size.max),
            groups,
        })
    }

    fn group_plan(&self, spec: &GroupSpec, index: usize) -> Result<GroupPlan, LoadError> {
        let keys = spec.keys.unwrap_or(self.keys);
        let context = Context {
            key_pattern: spec.key_pattern.as_deref().unwrap_or(&self.key_pattern),
            value_size: spec.value_size.unwrap_or(self.value_size),
            keys,
        };
        let weighted = match (spec.commands.is_empty(), self.command.is_empty()) {
            (false, _) => spec.commands.iter().map(|text| parse_weighted(text, context)).collect(),
            (true, false) => self.command.iter().map(|text| parse_weighted(text, context)).collect(),
            (true, true) => parse_ratio(&self.ratio, context),
        };
        let weighted: Vec<(u32, Template)> = weighted.map_err(LoadError::Invalid)?;
        if weighted.len() > COMMANDS_MAX {
            return Err(invalid(&format!("more than {COMMANDS_MAX} commands in a mix")));
        }
        let single = self.group.len() < 2;
        let name = spec.name.clone();
        Ok(GroupPlan {
            name: name.unwrap_or_else(|| if single { "all".to_owned() } else { format!("group{}", index + 1) }),
            clients: spec.clients.unwrap_or(self.clients),
            pipeline: spec.pipeline.unwrap_or(self.pipeline),
            rate: spec.rate.or(self.rate),
            keys,
            distribution: spec.distribution.unwrap_or(self.distribution),
            mix: Mix::new(weighted),
        })
    }
}

/// Filling the key space is not what is measured: it goes in batches.
const LOAD_PIPELINE: u32 = 64;

/// What one `--group` sets.
#[derive(Clone, Debug, Default, PartialEq)]
struct GroupSpec {
    name: Option<String>,
    clients: Option<u32>,
    pipeline: Option<u32>,
    rate: Option<f64>,
    keys: Option<u64>,
    key_pattern: Option<String>,
    distribution: Option<KeyDistribution>,
    value_size: Option<ValueSize>,
    commands: Vec<String>,
}

impl GroupSpec {
    fn parse(text: &str) -> Result<Self, LoadError> {
        let mut spec = Self::default();
        let mut rest = text.trim_start();
        while !rest.is_empty() {
            if let Some(commands) = rest.strip_prefix("command=") {
                spec.commands = commands.split(" | ").map(str::to_owned).collect();
                break;
            }
            let (setting, after) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
            let (name, value) = setting
                .split_once('=')
                .ok_or_else(|| invalid(&format!("--group {text:?}: {setting:?} is no NAME=VALUE")))?;
            spec.set(name, value).map_err(|e| invalid(&format!("--group {text:?}: {name}: {e}")))?;
            rest = after.trim_start();
        }
        Ok(spec)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let number = |max: u32| match value.parse::<u32>() {
            Ok(n) if n > 0 && n <= max => Ok(n),
            _ => Err(format!("{value} is not in 1..{max}")),
        };
        match name {
            "name" => self.name = Some(value.to_owned()),
            "clients" => self.clients = Some(number(CLIENTS_MAX)?),
            "pipeline" => self.pipeline = Some(number(PIPELINE_MAX)?),
            "rate" => self.rate = Some(parse_rate(value)?),
            "keys" => match value.parse() {
                Ok(keys) if keys > 0 => self.keys = Some(keys),
                _ => return Err(format!("{value} is no count")),
            },
            "key-pattern" => self.key_pattern = Some(value.to_owned()),
            "distribution" => self.distribution = Some(value.parse()?),
            "value-size" => self.value_size = Some(value.parse()?),
            _ => return Err("no such setting".to_owned()),
        }
        Ok(())
    }
}

fn invalid(what: &str) -> LoadError {
    LoadError::Invalid(what.to_owned())
}

/// `GET {key}`, or `9:GET {key}` with its weight.
fn parse_weighted(text: &str, context: Context<'_>) -> Result<(u32, Template), String> {
    let (weight, template) = match text.split_once(':') {
        Some((head, tail)) if !head.is_empty() && head.bytes().all(|b| b.is_ascii_digit()) => {
            let weight = head.parse().ok().filter(|w| (1..=WEIGHT_MAX).contains(w));
            (weight.ok_or_else(|| format!("{text:?}: the weight is not in 1..{WEIGHT_MAX}"))?, tail)
        }
        _ => (1, text),
    };
    Ok((weight, Template::parse(template, context)?))
}

fn parse_ratio(text: &str, context: Context<'_>) -> Result<Vec<(u32, Template)>, String> {
    let wrong = || format!("--ratio {text}: expected GET:SET, for example 9:1");
    let (gets, sets) = text.split_once(':').ok_or_else(wrong)?;
    let weight = |t: &str| t.parse::<u32>().ok().filter(|w| *w <= WEIGHT_MAX).ok_or_else(wrong);
    let mut weighted = Vec::new();
    for (weight, template) in [(weight(gets)?, "GET {key}"), (weight(sets)?, "SET {key} {value}")] {
        if weight > 0 {
            weighted.push((weight, Template::parse(template, context)?));
        }
    }
    if weighted.is_empty() { Err(wrong()) } else { Ok(weighted) }
}

fn parse_rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate <= RATE_MAX => Ok(rate),
        _ => Err(format!("expected a number above 0 and up to {RATE_MAX}")),
    }
}

fn parse_seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=SECONDS_MAX).contains(&seconds) => Ok(seconds),
        _ => Err(format!("expected a number from 0 to {SECONDS_MAX}")),
    }
}

/// A year.
const SECONDS_MAX: f64 = 366.0 * 86_400.0;

/// `0,2-3` as the numbers.
fn parse_cpus(text: &str) -> Result<Vec<usize>, String> {
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        match (from.trim().parse::<usize>(), to.trim().parse::<usize>()) {
            (Ok(from), Ok(to)) if from <= to && to < CPUS_MAX => cpus.extend(from..=to),
            _ => return Err(format!("--cpus {text}: {part:?} is no CPU or range of CPUs")),
        }
    }
    Ok(cpus)
}

/// The kernel's CPU sets as they are used here hold so many.
const CPUS_MAX: usize = 1024;

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        args: BenchArgs,
    }

    pub(in crate::load) fn plan(arguments: &[&str]) -> Result<Plan, String> {
        let all = ["bench"].iter().chain(arguments);
        let cli = <Cli as clap::Parser>::try_parse_from(all).map_err(|e| e.to_string())?;
        cli.args.plan().map_err(|e| e.to_string())
    }

    #[test]
    fn defaults_make_a_plan() {
        let plan = plan(&[]).unwrap();
        assert_eq!(plan.target.to_string(), "127.0.0.1:6379");
        assert_eq!(plan.groups.len(), 1);
        let names: Vec<&str> = plan.groups[0].mix.templates().iter().map(|t| t.name.as_str()).collect();
        assert_eq!(names, ["GET", "SET"]);
        assert_eq!(plan.limit, Limit::Time { warmup: Duration::from_secs(1), measured: Duration::from_secs(10) });
    }

    #[test]
    fn groups_have_their_own_settings() {
        let get = "name=get clients=4 rate=1000 keys=7 distribution=zipf:0.9 command=3:GET {key} | PING";
        let plan =
            plan(&["-c", "8", "-P", "2", "-n", "5", "-g", get, "-g", "value-size=1-2 command=SET {key} {value}"])
                .unwrap();
        let [get, set] = plan.groups.as_slice() else { panic!("{} groups", plan.groups.len()) };
        assert_eq!((get.name.as_str(), get.clients, get.pipeline, get.rate, get.keys), ("get", 4, 2, Some(1000.0), 7));
        assert_eq!(get.mix.templates().len(), 2);
        assert_eq!((set.name.as_str(), set.clients, set.rate), ("group2", 8, None));
        assert_eq!(plan.value_bytes_max, 100);
        assert!(get.describe().contains("intended send time") && set.describe().contains("closed loop"));
    }

    #[test]
    fn wrong_arguments_are_refused() {
        for wrong in [
            &["--ratio", "0:0"][..],
            &["--ratio", "1"],
            &["--command", "0:GET {key}"],
            &["--command", "GET {nokey}"],
            &["--rate", "0"],
            &["--rate", "1e8"],
            &["--cpus", "3-1"],
            &["--cpus", "1024"],
            &["--clients", "0"],
            &["--clients", "60001"],
            &["--pipeline", "0"],
            &["--duration", "0"],
            &["--requests", "0"],
            &["--group", "clients=4 colour=red"],
            &["--group", "rate=-1"],
            &["--group", "GET"],
            &["--verify", "--value-size", "31"],
            &["--keys", "11", "--key-pattern", "{num:1}"],
        ] {
            assert!(plan(wrong).is_err(), "{wrong:?}");
        }
        assert!(plan(&["--verify", "--value-size", "32"]).is_ok());
        assert_eq!(plan(&["--cpus", "0,2-3"]).unwrap().cpus, [0, 2, 3]);
    }
}
