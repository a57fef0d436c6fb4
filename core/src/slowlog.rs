//! The slow log of one shard: the latest commands that took longer than `slowlog-log-slower-than`.
//!
//! Entries have ids that are unique over all shards (`sequence * shards + shard`), so that the logs of several shards
//! merge into one. Follows Redis: an entry keeps at most 32 arguments of at most 128 bytes each.

use crate::command::args::Args;
use crate::limits::{SLOWLOG_ARG_BYTES_MAX, SLOWLOG_ARGS_MAX};
use crate::parcel::SlowEntry;
use crate::settings;
use std::collections::VecDeque;

/// At most as many entries as `slowlog-max-len` says. Ids of several shards do not meet: each counts in its own
/// steps.
#[derive(Clone, Debug)]
pub struct Slowlog {
    /// Newest first.
    entries: VecDeque<SlowEntry>,
    id_next: u64,
    id_step: u64,
}

impl Default for Slowlog {
    fn default() -> Slowlog {
        Slowlog::new(0, 1)
    }
}

impl Slowlog {
    pub fn new(shard: u16, shards: u16) -> Slowlog {
        assert!(shard < shards, "shard {shard} of {shards}");
        Slowlog { entries: VecDeque::new(), id_next: u64::from(shard), id_step: u64::from(shards) }
    }

    /// Notes a command that took `us` microseconds, and keeps at most `len_max` entries.
    pub fn record(&mut self, len_max: usize, unix_s: u64, us: u64, args: &Args<'_>, addr: &str, name: &[u8]) {
        let id = self.id_next;
        self.id_next += self.id_step;
        if len_max == 0 {
            self.entries.clear();
            return;
        }
        self.entries.push_front(SlowEntry {
            id,
            unix_s,
            us,
            args: cut(args),
            addr: addr.to_owned(),
            name: String::from_utf8_lossy(name).into_owned(),
        });
        self.entries.truncate(len_max);
    }

    /// Up to `count` entries, newest first.
    pub fn latest(&self, count: usize) -> Vec<SlowEntry> {
        self.entries.iter().take(count).cloned().collect()
    }

    /// Commands that were noted since the start, those that have left included.
    pub fn recorded(&self) -> u64 {
        self.id_next / self.id_step
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Forgets the oldest entries beyond `len_max`.
    pub fn truncate(&mut self, len_max: usize) {
        self.entries.truncate(len_max);
    }

    pub fn reset(&mut self) {
        self.entries.clear();
    }
}

/// The newest `count` entries of several logs, newest first.
pub fn merge(logs: impl IntoIterator<Item = Vec<SlowEntry>>, count: usize) -> Vec<SlowEntry> {
    let mut all: Vec<SlowEntry> = logs.into_iter().flatten().collect();
    all.sort_by_key(|entry| std::cmp::Reverse((entry.unix_s, entry.id)));
    all.truncate(count);
    all
}

/// What stands for a secret in an entry.
const REDACTED: &[u8] = b"(redacted)";

/// Is the argument at `index` a password or a user's name?
pub(crate) fn is_secret(args: &Args<'_>, index: usize) -> bool {
    if args.is(0, "auth") {
        return index > 0;
    }
    if args.is(0, "hello") {
        // Behind the version stand `AUTH user password` and `SETNAME name`, in any order.
        let mut at = 2;
        while at < index {
            let is_auth = args.is(at, "auth");
            at += if is_auth { 3 } else { 2 };
            if is_auth && index < at {
                return true;
            }
        }
        return false;
    }
    if args.is(0, "acl") && ["setuser", "getuser", "deluser"].iter().any(|word| args.is(1, word)) {
        return index >= 2;
    }
    let is_value = index >= 3 && index % 2 == 1;
    let name = || String::from_utf8_lossy(&args[index - 1]);
    args.is(0, "config") && args.is(1, "set") && is_value && settings::is_secret(&name())
}

/// The arguments as an entry keeps them: what is left out is counted in the last one.
fn cut(args: &Args<'_>) -> Vec<Vec<u8>> {
    let kept = if args.len() > SLOWLOG_ARGS_MAX { SLOWLOG_ARGS_MAX - 1 } else { args.len() };
    let shown = |(index, arg)| if is_secret(args, index) { REDACTED.to_vec() } else { cut_one(arg) };
    let mut out: Vec<Vec<u8>> = args.iter().take(kept).enumerate().map(shown).collect();
    if kept < args.len() {
        out.push(format!("... ({} more arguments)", args.len() - kept).into_bytes());
    }
    out
}

fn cut_one(arg: &[u8]) -> Vec<u8> {
    if arg.len() <= SLOWLOG_ARG_BYTES_MAX {
        return arg.to_vec();
    }
    let mut out = arg[..SLOWLOG_ARG_BYTES_MAX].to_vec();
    out.extend_from_slice(format!("... ({} more bytes)", arg.len() - SLOWLOG_ARG_BYTES_MAX).as_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::args::copied;

    fn record(log: &mut Slowlog, len_max: usize, unix_s: u64, args: &[&[u8]]) {
        let (bytes, ranges) = copied(args.iter().copied());
        log.record(len_max, unix_s, 7, &Args::new(&bytes, &ranges), "1.2.3.4:5", b"me");
    }

    #[test]
    fn long_commands_are_cut_as_redis_cuts_them() {
        let mut log = Slowlog::default();
        let many = vec![b"x".as_slice(); 32];
        record(&mut log, 10, 1, &many);
        assert_eq!(log.latest(1)[0].args.len(), 32);
        let many = vec![b"x".as_slice(); 33];
        record(&mut log, 10, 1, &many);
        let entry = &log.latest(1)[0];
        assert_eq!((entry.args.len(), entry.args[31].as_slice()), (32, b"... (2 more arguments)".as_slice()));
        for (len, expect) in [(127, 127), (128, 128), (129, 128 + "... (1 more bytes)".len())] {
            let arg = vec![b'a'; len];
            record(&mut log, 10, 1, &[b"set", &arg]);
            assert_eq!(log.latest(1)[0].args[1].len(), expect, "{len}");
        }
    }

    #[test]
    fn passwords_are_not_kept() {
        for (line, expect) in [
            ("ACL SETUSER bob on >pw", "ACL SETUSER (redacted) (redacted) (redacted)"),
            ("acl deluser bob", "acl deluser (redacted)"),
            ("ACL DRYRUN bob GET k", "ACL DRYRUN bob GET k"),
            ("AUTH pw", "AUTH (redacted)"),
            ("auth user pw", "auth (redacted) (redacted)"),
            ("HELLO 3 AUTH user pw SETNAME me", "HELLO 3 AUTH (redacted) (redacted) SETNAME me"),
            ("hello 3 setname auth auth user pw", "hello 3 setname auth auth (redacted) (redacted)"),
            ("HELLO 3 SETNAME pw", "HELLO 3 SETNAME pw"),
            ("CONFIG SET timeout 3 RequirePass pw", "CONFIG SET timeout 3 RequirePass (redacted)"),
            ("CONFIG SET masterauth pw loglevel debug", "CONFIG SET masterauth (redacted) loglevel debug"),
            ("CONFIG GET requirepass requirepass", "CONFIG GET requirepass requirepass"),
            ("SET auth pw", "SET auth pw"),
        ] {
            let mut log = Slowlog::default();
            let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            record(&mut log, 10, 1, &args);
            let shown = log.latest(1)[0].args.join(&b' ');
            assert_eq!(String::from_utf8(shown).unwrap(), expect);
        }
    }

    #[test]
    fn the_oldest_entries_go() {
        let mut log = Slowlog::new(1, 2);
        for second in 0..5 {
            record(&mut log, 3, second, &[b"ping"]);
        }
        let ids: Vec<u64> = log.latest(10).iter().map(|entry| entry.id).collect();
        assert_eq!(ids, [9, 7, 5]);
        record(&mut log, 0, 9, &[b"ping"]);
        assert!(log.is_empty());
    }

    #[test]
    fn logs_merge_by_time() {
        let (mut left, mut right) = (Slowlog::new(0, 2), Slowlog::new(1, 2));
        record(&mut left, 9, 10, &[b"a"]);
        record(&mut right, 9, 11, &[b"b"]);
        record(&mut left, 9, 12, &[b"c"]);
        let merged = merge([left.latest(9), right.latest(9)], 2);
        assert_eq!(merged.iter().map(|entry| entry.unix_s).collect::<Vec<_>>(), [12, 11]);
    }
}
