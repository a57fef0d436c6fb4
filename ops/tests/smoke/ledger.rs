//! What one client was told of the keys that only it writes, and whether what a restarted server has agrees with that.
//!
//! Each key has a state that is known, and the changes that were sent since, in order. The first of them, as many as were
//! acknowledged, must be there; of the others any number, but none without those before it. A value that somebody was
//! shown counts as acknowledged with all changes up to it.

use redis::{Connection, Value, cmd};
use std::collections::HashMap;

/// What a client sends. All of it changes keys of its own, but for `Look`.
#[derive(Clone, Debug)]
pub enum Op {
    Set {
        key: String,
        value: String,
    },
    Append {
        key: String,
        text: String,
    },
    Incr {
        key: String,
    },
    /// Perhaps of two shards.
    Del {
        keys: Vec<String>,
    },
    ExpireAt {
        key: String,
        unix_s: u64,
    },
    Persist {
        key: String,
    },
    /// Reads keys of other clients, perhaps of all shards.
    Look {
        keys: Vec<String>,
    },
}

/// A row: its value, and its deadline in Unix milliseconds, or -1.
type State = Option<(String, i64)>;

/// A change of one key.
#[derive(Clone, Debug)]
enum Change {
    Set(String),
    Append(String),
    Incr,
    Del,
    ExpireAt(u64),
    Persist,
}

#[derive(Debug, Default)]
struct Key {
    /// Before the first of `sent`.
    base: State,
    sent: Vec<Change>,
    acked: usize,
    /// After the last of `sent`.
    last: State,
}

/// The keys of one client.
#[derive(Debug, Default)]
pub struct Ledger {
    keys: HashMap<String, Key>,
    /// Writes that were acknowledged.
    pub acked: u64,
}

/// What a client was shown of keys of others, in order: key and value.
pub type Seen = Vec<(String, String)>;

impl Op {
    pub fn packed(&self) -> Vec<u8> {
        match self {
            Op::Set { key, value } => cmd("SET").arg(key).arg(value).get_packed_command(),
            Op::Append { key, text } => cmd("APPEND").arg(key).arg(text).get_packed_command(),
            Op::Incr { key } => cmd("INCR").arg(key).get_packed_command(),
            Op::Del { keys } => cmd("DEL").arg(keys).get_packed_command(),
            Op::ExpireAt { key, unix_s } => cmd("EXPIREAT").arg(key).arg(unix_s).get_packed_command(),
            Op::Persist { key } => cmd("PERSIST").arg(key).get_packed_command(),
            Op::Look { keys } => cmd("MGET").arg(keys).get_packed_command(),
        }
    }

    fn changes(&self) -> Vec<(&String, Change)> {
        match self {
            Op::Set { key, value } => vec![(key, Change::Set(value.clone()))],
            Op::Append { key, text } => vec![(key, Change::Append(text.clone()))],
            Op::Incr { key } => vec![(key, Change::Incr)],
            Op::Del { keys } => keys.iter().map(|key| (key, Change::Del)).collect(),
            Op::ExpireAt { key, unix_s } => vec![(key, Change::ExpireAt(*unix_s))],
            Op::Persist { key } => vec![(key, Change::Persist)],
            Op::Look { .. } => Vec::new(),
        }
    }
}

impl Change {
    /// The state after it, and the number that it answers.
    fn apply(&self, state: State) -> (State, i64) {
        match (self, state) {
            (Change::Set(value), _) => (Some((value.clone(), -1)), 0),
            (Change::Append(text), state) => {
                let (value, deadline) = state.unwrap_or((String::new(), -1));
                let value = value + text;
                let length = value.len() as i64;
                (Some((value, deadline)), length)
            }
            (Change::Incr, state) => {
                let (value, deadline) = state.unwrap_or(("0".into(), -1));
                let number = value.parse::<i64>().unwrap() + 1;
                (Some((number.to_string(), deadline)), number)
            }
            (Change::Del, state) => (None, i64::from(state.is_some())),
            (_, None) => (None, 0),
            (Change::ExpireAt(unix_s), Some((value, _))) => (Some((value, *unix_s as i64 * 1000)), 1),
            (Change::Persist, Some((value, deadline))) => (Some((value, -1)), i64::from(deadline >= 0)),
        }
    }
}

impl Ledger {
    /// Notes that an operation is sent. Answers what its reply must be, if that is known.
    pub fn on_sent(&mut self, op: &Op) -> Option<Value> {
        let mut answer = 0;
        for (key, change) in op.changes() {
            let key = self.keys.entry(key.clone()).or_default();
            let (state, number) = change.apply(key.last.take());
            key.last = state;
            key.sent.push(change);
            answer += number;
        }
        match op {
            Op::Set { .. } => Some(Value::Okay),
            Op::Look { .. } => None,
            _ => Some(Value::Int(answer)),
        }
    }

    /// Notes that an operation is acknowledged.
    pub fn on_acked(&mut self, op: &Op) {
        for (key, _) in op.changes() {
            self.keys.get_mut(key).unwrap().acked += 1;
            self.acked += 1;
        }
    }

    pub fn owns(&self, key: &str) -> bool {
        self.keys.contains_key(key)
    }

    /// Compares with what the server has, and goes on from there. `seen` are the values that others were shown. Without
    /// `all` only the keys that were changed since the last time are looked at.
    pub fn verify(&mut self, client: &mut Connection, seen: &Seen, all: bool) {
        let mut shown: HashMap<&str, Vec<&str>> = HashMap::new();
        for (key, value) in seen {
            shown.entry(key).or_default().push(value);
        }
        let mut names: Vec<&String> =
            self.keys.iter().filter(|(_, key)| all || !key.sent.is_empty()).map(|(name, _)| name).collect();
        names.sort_unstable();
        let names: Vec<String> = names.into_iter().cloned().collect();
        for part in names.chunks(500) {
            let mut pipe = redis::pipe();
            for name in part {
                pipe.cmd("GET").arg(name).cmd("PEXPIRETIME").arg(name);
            }
            let replies: Vec<Value> = pipe.query(client).unwrap();
            for (name, reply) in part.iter().zip(replies.chunks(2)) {
                let value: Option<String> = redis::from_redis_value(reply[0].clone()).unwrap();
                let deadline: i64 = redis::from_redis_value(reply[1].clone()).unwrap();
                let found = value.map(|value| (value, deadline));
                let shown = shown.get(name.as_str()).map_or(&[][..], Vec::as_slice);
                self.keys.get_mut(name).unwrap().settle(name, found, shown);
            }
        }
    }
}

impl Key {
    /// Finds out how many changes were kept, and begins anew behind them.
    fn settle(&mut self, name: &str, found: State, shown: &[&str]) {
        let mut states = vec![self.base.take()];
        for change in &self.sent {
            states.push(change.apply(states.last().unwrap().clone()).0);
        }
        let has = |state: &State, value: &str| state.as_ref().is_some_and(|(own, _)| own == value);
        let mut kept_min = self.acked;
        for value in shown {
            // The earliest state that explains it: what was sent after the client's last look is not in the list.
            let first = states.iter().position(|state| has(state, value));
            kept_min = kept_min.max(first.unwrap_or_else(|| panic!("{name}: {value} was shown and never written")));
        }
        assert!(
            states[kept_min..].contains(&found),
            "{name} is {found:?}. Of {} changes {} were acknowledged and {kept_min} acknowledged or shown: {:?}",
            self.sent.len(),
            self.acked,
            &states[kept_min..]
        );
        *self = Key { base: found.clone(), sent: Vec::new(), acked: 0, last: found };
    }
}
