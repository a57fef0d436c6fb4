//! IDEMPOTENT: what a command answers is kept in the same change as its effect, and who asks again is answered that.
//!
//! It is a script that is not Lua's ([`super::ground`]): it looks for the record of its key, and if there is none does what it is to do
//! and writes the record. On one shard that is one group of the log, on several one transaction. What is answered with an error has changed
//! nothing, and leaves no record. Why so: `docs/decisions/0020-idempotency.md`.

use super::Machine;
use super::code::{Code, Means, Task, run_lua};
use super::exec::{error_line, rolled_back};
use super::ground::{Ground, HiddenCall, ask_hidden};
use crate::bug::Bug;
use crate::command::args::{Args, copied};
use crate::command::{Call, Flow, Spec};
use crate::error::{Refusal, Stop};
use crate::event::ConnId;
use crate::hidden;
use crate::limits::IDEMPOTENT_REPLY_BYTES_MAX;
use crate::resp::encode::Reply;
use crate::resp::replies::Replies;
use crate::resp::translate::{to_resp2, to_resp3};
use crate::route;
use crate::script::vm::{Called, End};
use crate::tx::{Command, Multi};
use sha1::{Digest, Sha1};
use std::sync::Arc;

/// A key, and until when its record stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub key: Vec<u8>,
    pub ttl_ms: u64,
}

/// What is done once.
#[derive(Clone, Debug)]
pub struct Idempotent {
    token: Token,
    /// Of what it does: a key is for one thing.
    digest: [u8; DIGEST_BYTES],
    deed: Deed,
}

#[derive(Clone, Debug)]
enum Deed {
    Command(Multi),
    /// MULTI to EXEC.
    Commands(Multi),
    Script(Code),
}

const DIGEST_BYTES: usize = 20;
/// What a record says of its reply: the version of the protocol that it is in.
const IS_RESP3: u8 = 1;

/// How errors begin that are of disks and memory, not of what was asked for.
const CIRCUMSTANCES: [&str; 3] = ["MISCONF ", "OOM ", "ERR the page file "];

const REUSED: &str = "KEYREUSED the idempotency key was used for another command";

/// The digest of commands: their database and their words, in order.
fn digest<'a>(db: u8, commands: impl Iterator<Item = Vec<&'a [u8]>>) -> [u8; DIGEST_BYTES] {
    let mut hash = Sha1::new();
    hash.update([db]);
    for words in commands {
        hash.update((words.len() as u64).to_le_bytes());
        for word in words {
            hash.update((word.len() as u64).to_le_bytes());
            hash.update(word);
        }
    }
    hash.finalize().into()
}

impl Idempotent {
    /// The code that it runs, if that is a script's.
    pub fn code(&self) -> Option<&Code> {
        if let Deed::Script(code) = &self.deed { Some(code) } else { None }
    }

    /// The same, of a script as somebody else has it.
    pub fn with_code(&self, code: Code) -> Idempotent {
        Idempotent { token: self.token.clone(), digest: self.digest, deed: Deed::Script(code) }
    }

    fn hidden<'a>(&self, machine: &Machine, words: &'a [&'a [u8]]) -> HiddenCall<'a> {
        let slot = route::slot(&self.token.key);
        let head = hidden::record_head(slot, &self.token.key, machine.shard.hash_seed());
        HiddenCall { shard: machine.owner(slot), head, words, is_exclusive: true }
    }

    /// Does it, unless it was done.
    pub(super) fn run(&self, task: &Task<'_>, means: &mut Means<'_, '_>, reply: &mut Reply<'_>) -> End {
        let mark = reply.out.len();
        match self.make(task, means, reply) {
            Ok(()) => End::Done,
            Err(end) => {
                reply.out.truncate(mark);
                end
            }
        }
    }

    fn make(&self, task: &Task<'_>, means: &mut Means<'_, '_>, reply: &mut Reply<'_>) -> Result<(), End> {
        let name = hidden::record_key(&self.token.key);
        let words: [&[u8]; 2] = [b"GET", &name];
        let call = self.hidden(means.ground.machine(), &words);
        if let Some(record) = hidden::bulk_of(&ask_hidden(means.ground, &call)?) {
            return self.repeat(&record, reply);
        }
        let mut answer = Replies::default();
        self.perform(task, means, &mut Reply::new(&mut answer, reply.is_resp3))?;
        if answer.weight() > IDEMPOTENT_REPLY_BYTES_MAX {
            return Err(End::Refused(format!(
                "ERR the reply is longer than {IDEMPOTENT_REPLY_BYTES_MAX} bytes, which is what can be kept of an idempotent \
                 command; it was undone"
            )));
        }
        if means.ground.machine().planted == Some(Bug::RecordUnwritten) {
            reply.out.append(answer);
            return Ok(());
        }
        let mut record = self.digest.to_vec();
        record.push(if reply.is_resp3 { IS_RESP3 } else { 0 });
        record.extend_from_slice(&answer.flat());
        let expire_ms = (task.now.unix_ms() + self.token.ttl_ms).to_string();
        let words: [&[u8]; 5] = [b"SET", &name, &record, b"PXAT", expire_ms.as_bytes()];
        let call = self.hidden(means.ground.machine(), &words);
        ask_hidden(means.ground, &call)?;
        reply.out.append(answer);
        Ok(())
    }

    /// It was done: what was answered then.
    fn repeat(&self, record: &[u8], reply: &mut Reply<'_>) -> Result<(), End> {
        let (digest, rest) = record.split_at(DIGEST_BYTES);
        if digest != self.digest {
            return Err(End::Refused(REUSED.into()));
        }
        let was_resp3 = rest[0] == IS_RESP3;
        match (was_resp3, reply.is_resp3) {
            (true, false) => reply.out.extend_from_slice(&to_resp2(&rest[1..])),
            (false, true) => reply.out.extend_from_slice(&to_resp3(&rest[1..])),
            _ => reply.out.extend_from_slice(&rest[1..]),
        }
        Ok(())
    }

    fn perform(&self, task: &Task<'_>, means: &mut Means<'_, '_>, reply: &mut Reply<'_>) -> Result<(), End> {
        match &self.deed {
            Deed::Command(commands) => match call(means.ground, &commands.command(0), reply)? {
                Some(line) => Err(End::Refused(line)),
                None => Ok(()),
            },
            Deed::Commands(commands) => {
                reply.array(commands.len());
                for (number, command) in commands.commands().enumerate() {
                    match call(means.ground, &command, reply)? {
                        Some(line) if commands.rolls_back => {
                            let refusal = rolled_back(number, command.entry.spec, &line);
                            return Err(End::Refused(refusal.line().into_owned()));
                        }
                        // What will pass is not kept as an answer.
                        Some(line) if CIRCUMSTANCES.iter().any(|start| line.starts_with(start)) => {
                            return Err(End::Refused(line));
                        }
                        _ => {}
                    }
                }
                Ok(())
            }
            Deed::Script(code) => {
                // The first key is that of the record.
                let task = Task { code, keys: task.keys.skip(1), ..*task };
                match run_lua(&task, means, reply) {
                    End::Done => match error_line(reply.out, 0) {
                        Some(line) => Err(End::Refused(line)),
                        None => Ok(()),
                    },
                    End::Failed(line) => Err(End::Refused(line)),
                    end => Err(end),
                }
            }
        }
    }
}

/// Only commands on keys, and scripts, are: all else is no change of rows.
pub fn not_idempotent(spec: &Spec) -> Refusal {
    let name = spec.name;
    Refusal::text(format!("ERR '{name}' cannot be made idempotent: only commands on keys and scripts can"))
}

/// Runs a command. The line of its error, if it has answered one.
fn call(ground: &mut dyn Ground, command: &Command<'_>, reply: &mut Reply<'_>) -> Result<Option<String>, End> {
    let mut out = Replies::default();
    match ground.call(&command.args, reply.is_resp3, &mut out) {
        Called::Stop => return Err(End::Stopped),
        Called::Refused(line) => Reply::new(&mut out, reply.is_resp3).error(&line),
        Called::Replied => {}
    }
    let line = error_line(&out, 0);
    reply.out.append(out);
    Ok(line)
}

impl Machine {
    /// IDEMPOTENT before a command on keys.
    pub fn run_once(
        &mut self,
        conn: ConnId,
        token: Token,
        commands: Multi,
        call: &Call<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<Flow, Stop> {
        self.once(conn, token, Deed::Command(commands), call, reply)
    }

    /// EXEC of a transaction that began with IDEMPOTENT.
    pub(super) fn exec_once(
        &mut self,
        conn: ConnId,
        token: Token,
        multi: Box<Multi>,
        call: &Call<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<Flow, Stop> {
        if !self.client(conn).watched.is_empty() {
            // Whether it was done is to decide what is answered, and not what others have done since.
            self.unwatch(conn);
            return Err(Refusal::text("ERR WATCH and IDEMPOTENT do not go together").into());
        }
        let ran = self.once(conn, token, Deed::Commands((*multi).clone()), call, reply);
        if ran.as_ref().is_err_and(Stop::is_passing) {
            self.client_mut(conn).multi = Some(multi);
        }
        ran
    }

    fn once(
        &mut self,
        conn: ConnId,
        token: Token,
        deed: Deed,
        call: &Call<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<Flow, Stop> {
        let (Deed::Command(commands) | Deed::Commands(commands)) = &deed else { unreachable!("scripts have keys") };
        let digest = digest(call.db, commands.commands().map(|command| command.args.iter().collect()));
        let keys = commands.commands().flat_map(|Command { entry, args, .. }| {
            let places: Vec<usize> = entry.spec.row_keys(&args).collect();
            places.into_iter().map(move |at| args.get(at).expect("it is one of them"))
        });
        let (bytes, ranges) = copied(std::iter::once(token.key.as_slice()).chain(keys));
        let keys = Args::new(&bytes, &ranges);
        let none = keys.skip(keys.len());
        let code = Code::Idempotent(Arc::new(Idempotent { token, digest, deed }));
        let task = Task {
            code: &code,
            keys,
            args: none,
            db: call.db,
            is_readonly: false,
            now: call.now,
            subject: None,
            tracker: None,
        };
        self.run_script(conn, &task, reply)
    }

    /// IDEMPOTENT before a script, whose task this is. `words`: its command's.
    pub fn run_script_once(
        &mut self,
        conn: ConnId,
        token: Token,
        task: &Task<'_>,
        words: Vec<&[u8]>,
        reply: &mut Reply<'_>,
    ) -> Result<Flow, Stop> {
        let digest = digest(task.db, std::iter::once(words));
        let (bytes, ranges) = copied(std::iter::once(token.key.as_slice()).chain(task.keys.iter()));
        let keys = Args::new(&bytes, &ranges);
        let deed = Deed::Script(task.code.clone());
        let code = Code::Idempotent(Arc::new(Idempotent { token, digest, deed }));
        self.run_script(conn, &Task { code: &code, keys, ..*task }, reply)
    }
}
