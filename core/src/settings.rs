//! Parameters: what an operator can set, by Redis's names, and where each value comes from.
//!
//! Every parameter of Redis 7.2 is known. Those that mean something here have a typed field; the others are accepted
//! with a reason for the operator, and CONFIG GET shows what Redis would, so that tools find what they look for.
//! Whoever starts the server sets values in the order default, file, environment, flag: a later one wins.

mod idle;
mod table;
mod value;

#[cfg(test)]
mod tests;

pub use value::{Form, OutputLimit, OutputLimits, bytes};

use crate::acl::{self, Acl, Fresh, User};
use crate::collection::Thresholds;
use crate::event::Peer;
use crate::notify::Events;
use crate::rdb::Version;
use std::borrow::Cow;
use std::fmt;
use value::Value;

/// One parameter.
#[derive(Debug)]
pub struct Parameter {
    pub name: &'static str,
    /// Its older name, under which it can be read and set too. Empty: none.
    pub alias: &'static str,
    pub form: Form,
    pub default: &'static str,
    pub role: Role,
    /// Can it be set while the server runs?
    pub is_mutable: bool,
    /// A directive of the file that CONFIG does not show.
    pub is_hidden: bool,
}

/// What a parameter does here.
#[derive(Clone, Copy, Debug)]
pub enum Role {
    /// It acts: this puts the value in its field.
    Acts(fn(&mut Settings, Value)),
    /// It has no effect here, for this reason; any valid value is kept and shown.
    Idle(&'static str),
    /// The shown value is how Cairn is, for this reason; no other is taken.
    Fixed(&'static str),
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Source {
    #[default]
    Default,
    File,
    Environment,
    Flag,
    /// CONFIG SET.
    Runtime,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Source::Default => "default",
            Source::File => "file",
            Source::Environment => "environment",
            Source::Flag => "flag",
            Source::Runtime => "runtime",
        })
    }
}

/// What became of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetOutcome {
    Set,
    /// It has no effect here.
    Ignored {
        reason: &'static str,
    },
}

/// Why a value was not taken. Its text is Redis's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingError {
    /// No parameter has this name.
    Unknown,
    Immutable,
    /// The value differs from how Cairn is, which cannot be changed.
    Fixed(&'static str),
    Invalid(Cow<'static, str>),
}

impl fmt::Display for SettingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SettingError::Unknown => f.write_str("Unknown option or number of arguments"),
            SettingError::Immutable => f.write_str("can't set immutable config"),
            SettingError::Fixed(reason) => write!(f, "can't be changed: {reason}"),
            SettingError::Invalid(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for SettingError {}

/// Who may use what is guarded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Guard {
    #[default]
    Nobody,
    Everybody,
    /// Those of this machine.
    Local,
}

impl Guard {
    fn of(text: &str) -> Guard {
        match text {
            "yes" => Guard::Everybody,
            "local" => Guard::Local,
            _ => Guard::Nobody,
        }
    }

    pub fn allows(self, peer: &Peer) -> bool {
        self == Guard::Everybody || self == Guard::Local && peer.is_local
    }
}

/// All parameters' values.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    pub bind: Vec<String>,
    pub port: u16,
    pub unixsocket: String,
    pub unixsocketperm: u32,
    pub protected_mode: bool,
    pub tcp_backlog: u32,
    pub tcp_keepalive_s: u32,
    /// Seconds after which an idle client is closed. 0: never.
    pub timeout_s: u64,
    pub maxclients: u32,
    pub proto_max_bulk_len: usize,
    pub client_query_buffer_limit: usize,
    pub client_output_buffer_limit: OutputLimits,
    /// The password of the default user as a PHC string (salted and slow-hashed). The clear text is nowhere.
    pub requirepass: Option<String>,
    /// The file of users. Empty: there is none.
    pub aclfile: String,
    pub acllog_max_len: usize,
    /// `acl-pubsub-default`: new users may use all channels.
    pub acl_pubsub_default_is_all: bool,
    /// Who may ask for DEBUG.
    pub enable_debug: Guard,
    pub databases: u8,
    /// Bytes; 0: no limit.
    pub maxmemory: u64,
    /// Microseconds. Negative: nothing is logged; 0: everything.
    pub slowlog_log_slower_than_us: i64,
    pub slowlog_max_len: usize,
    /// How long a script may run; 0: as long as any may.
    pub busy_reply_threshold_ms: u64,
    /// What the Lua state of a shard may take.
    pub script_memory_bytes: u64,
    /// Milliseconds; 0: the monitor is off.
    pub latency_monitor_threshold_ms: u64,
    pub latency_tracking: bool,
    /// What is told of keys.
    pub notify_keyspace_events: Events,
    pub latency_tracking_info_percentiles: Vec<f64>,
    /// Keys that all shards together remember for client-side caching; 0: any number.
    pub tracking_table_max_keys: u64,
    /// Milliseconds that a command of an open transaction waits for locks, and that such a transaction is idle; 0: any time.
    pub txn_lock_timeout_ms: u64,
    pub txn_idle_timeout_ms: u64,
    /// What DUMP, FUNCTION DUMP and MIGRATE write.
    pub dump_payload_version: Version,
    /// Items that a command shows at once, at most: longer replies are shown in slices.
    pub slice_items: u64,
    /// What a shard keeps at most of rows that have changed since a snapshot that is read.
    pub txn_snapshot_memory_bytes: u64,
    /// Connections go from cores that are busy to cores that are not.
    pub balance_connections: bool,
    /// Blind additions a second that make a counter hot (0: none is), and for how many seconds.
    pub hot_promote_rate: u64,
    pub hot_promote_seconds: u64,
    /// When collections give up Redis's smaller encodings.
    pub thresholds: Thresholds,
    pub dir: String,
    pub logfile: String,
    pub loglevel: String,
    /// `text` (Redis's lines), `logfmt` or `json`.
    pub log_format: String,
    /// Seconds that a shutdown waits for clients to take their replies.
    pub shutdown_timeout_s: u64,
    /// Shards of a new data directory. 0: one per CPU.
    pub shards: u16,
    /// The CPUs that workers are pinned to, as a list of numbers and ranges. Empty: all that the process may use.
    pub cpus: String,
    /// Bytes that pages in memory may take. 0: 60% of the machine's.
    pub memory_bytes: u64,
    /// Where metrics are served. Empty: nowhere.
    pub metrics_addr: String,
    /// Bytes that the scrub of each shard reads in a second at most; 0: there is no scrub.
    pub scrub_bytes_per_second: u64,
    /// Seconds from the beginning of one pass of the scrub to that of the next, if it is over by then.
    pub scrub_interval_s: u64,
}

#[derive(Clone, Debug)]
pub struct Settings {
    fields: Fields,
    /// As CONFIG GET shows them, and where they come from, in the order of [`parameters`].
    shown: Vec<(String, Source)>,
    users: Users,
}

/// The users that a server begins with.
#[derive(Clone, Debug, Default)]
struct Users {
    /// By the configuration: their names and rules.
    configured: Vec<(Vec<u8>, Vec<Vec<u8>>)>,
    /// By the file that `aclfile` names.
    of_file: Option<Vec<User>>,
}

/// Every parameter there is.
pub fn parameters() -> impl Iterator<Item = &'static Parameter> {
    table::ACTING.iter().chain(table::FIXED).chain(idle::IDLE)
}

/// A parameter by its name or its older name, in any case.
pub fn parameter(name: &str) -> Option<&'static Parameter> {
    find(name).map(|(_, parameter)| parameter)
}

fn find(name: &str) -> Option<(usize, &'static Parameter)> {
    parameters().enumerate().find(|(_, parameter)| {
        parameter.name.eq_ignore_ascii_case(name)
            || (!parameter.alias.is_empty() && parameter.alias.eq_ignore_ascii_case(name))
    })
}

/// Is the value of this parameter for nobody's eyes? It is never logged; if it has no effect here, it is not even kept.
pub fn is_secret(name: &str) -> bool {
    ["requirepass", "masterauth", "masteruser", "tls-key-file-pass", "tls-client-key-file-pass"]
        .iter()
        .any(|secret| secret.eq_ignore_ascii_case(name))
}

/// Is this a salted and hashed password, not one in clear text?
pub fn is_hashed(password: &str) -> bool {
    password.starts_with("$argon2")
}

/// The typed values are read as fields: `settings.maxclients`.
impl std::ops::Deref for Settings {
    type Target = Fields;

    #[inline]
    fn deref(&self) -> &Fields {
        &self.fields
    }
}

impl Default for Settings {
    fn default() -> Settings {
        let mut settings = Settings {
            fields: Fields::default(),
            shown: parameters().map(|parameter| (parameter.default.to_owned(), Source::Default)).collect(),
            users: Users::default(),
        };
        for parameter in table::ACTING {
            let words: Vec<&str> = if parameter.form.is_list() && parameter.default.is_empty() {
                Vec::new()
            } else {
                vec![parameter.default]
            };
            let value = value::parse(parameter.form, &words, &OutputLimits::default()).expect("a default is valid");
            let shown = value::show(parameter.form, &value);
            settings.put(parameter, value);
            let (place, _) = find(parameter.name).expect("it is in the table");
            settings.shown[place].0 = shown;
        }
        settings
    }
}

impl Settings {
    /// Sets a parameter to its arguments as they stand in the file, or to the one argument of CONFIG SET.
    pub fn set(&mut self, source: Source, name: &str, args: &[&str]) -> Result<SetOutcome, SettingError> {
        let (place, parameter) = find(name).ok_or(SettingError::Unknown)?;
        if source == Source::Runtime && parameter.is_hidden {
            return Err(SettingError::Unknown);
        }
        if source == Source::Runtime && !parameter.is_mutable {
            return Err(SettingError::Immutable);
        }
        if parameter.name == "user" {
            return self.set_user(args);
        }
        let value = value::parse(parameter.form, args, &self.fields.client_output_buffer_limit)
            .map_err(SettingError::Invalid)?;
        if parameter.name == "requirepass"
            && let Value::Text(password) = &value
            && !password.is_empty()
            && !is_hashed(password)
        {
            return Err(SettingError::Invalid("the password must have been hashed".into()));
        }
        let shown = value::show(parameter.form, &value);
        match parameter.role {
            Role::Acts(_) => {
                self.put(parameter, value);
                self.shown[place] = (shown, source);
                Ok(SetOutcome::Set)
            }
            Role::Idle(reason) if is_secret(parameter.name) => Ok(SetOutcome::Ignored { reason }),
            Role::Idle(reason) => {
                self.shown[place] = (shown, source);
                Ok(SetOutcome::Ignored { reason })
            }
            Role::Fixed(_) if shown == self.shown[place].0 => Ok(SetOutcome::Set),
            Role::Fixed(reason) if source == Source::Runtime => Err(SettingError::Fixed(reason)),
            Role::Fixed(reason) => Ok(SetOutcome::Ignored { reason }),
        }
    }

    /// `user NAME RULE...`. Passwords must be hashes.
    fn set_user(&mut self, args: &[&str]) -> Result<SetOutcome, SettingError> {
        let invalid = |text: String| SettingError::Invalid(text.into());
        let Some((name, rules)) = args.split_first() else { return Err(invalid("wrong number of arguments".into())) };
        if acl::has_blanks(name.as_bytes()) {
            return Err(invalid("Spaces not allowed in ACL usernames".into()));
        }
        if self.users.configured.iter().any(|(known, _)| known == name.as_bytes()) {
            return Err(invalid("Duplicate user found. A user can only be defined once in config files".into()));
        }
        let rules = acl::merge(rules.iter().map(|rule| rule.as_bytes())).map_err(|first| {
            let first = String::from_utf8_lossy(&first);
            invalid(format!("Unmatched parenthesis in acl selector starting at '{first}'."))
        })?;
        let mut user = User::new(name.as_bytes().to_vec(), Fresh::default());
        for rule in &rules {
            user.apply(rule, Fresh::default()).map_err(|bad| invalid(bad.to_string()))?;
        }
        self.users.configured.push((user.name, rules));
        Ok(SetOutcome::Set)
    }

    /// The users of the file that `aclfile` names. They and the default user are all there are.
    pub fn set_users_of_file(&mut self, users: Vec<User>) {
        self.users.of_file = Some(users);
    }

    /// Whether the configuration has users of its own.
    pub fn has_users(&self) -> bool {
        !self.users.configured.is_empty()
    }

    /// What new users begin with.
    pub fn fresh(&self) -> Fresh {
        Fresh { has_all_channels: self.acl_pubsub_default_is_all }
    }

    /// The users that a server begins with.
    pub fn acl(&self) -> Acl {
        if let Some(users) = &self.users.of_file {
            return Acl::of(users.iter().cloned());
        }
        let mut default = User::default_user();
        if let Some(hash) = &self.requirepass {
            default.is_nopass = false;
            default.passwords.push(hash.clone());
        }
        let configured = self.users.configured.iter().map(|(name, rules)| {
            let mut user = User::new(name.clone(), self.fresh());
            for rule in rules {
                // A rule that was taken when it was read may name what `acl-pubsub-default` makes pointless.
                let _ = user.apply(rule, self.fresh());
            }
            user
        });
        Acl::of(std::iter::once(default).chain(configured))
    }

    /// The value as CONFIG GET shows it. A password shows as its hash.
    pub fn get(&self, name: &str) -> Option<&str> {
        find(name).filter(|(_, parameter)| !parameter.is_hidden).map(|(place, _)| self.shown[place].0.as_str())
    }

    /// Where the value comes from.
    pub fn source(&self, name: &str) -> Option<Source> {
        find(name).map(|(place, _)| self.shown[place].1)
    }

    /// Names and values of the parameters for whose name (or older name, then listed under it too) `is_wanted` holds.
    pub fn matching(&self, mut is_wanted: impl FnMut(&'static str) -> bool) -> Vec<(&'static str, &str)> {
        let mut out = Vec::new();
        for (parameter, (shown, _)) in parameters().zip(&self.shown) {
            for name in [parameter.name, parameter.alias] {
                if !name.is_empty() && !parameter.is_hidden && is_wanted(name) {
                    out.push((name, shown.as_str()));
                }
            }
        }
        out
    }

    /// What somebody has set: for CONFIG REWRITE. Directives of the file alone stay there as they are.
    pub fn changed(&self) -> Vec<(&'static str, &str)> {
        parameters()
            .zip(&self.shown)
            .filter(|(parameter, (_, source))| *source != Source::Default && !parameter.is_hidden)
            .map(|(parameter, (shown, _))| (parameter.name, shown.as_str()))
            .collect()
    }

    fn put(&mut self, parameter: &Parameter, value: Value) {
        if let Role::Acts(put) = parameter.role {
            put(self, value);
        }
    }
}
