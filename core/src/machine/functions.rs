//! Libraries of functions: a row that each shard has, and what this shard has made of it.
//!
//! A change of libraries is a script over all shards ([`Change`]): it locks the row at the lowest shard, so that changes come one after the other,
//! and writes it at all of them, in one transaction. Who calls a function looks at its shard's row first, waits while that is being
//! changed, and has the libraries of that version from then on. So a function that was loaded is known everywhere when LOAD is answered.

use super::Machine;
use super::ask::Deferred;
use super::code::{Code, ScriptRun, Task};
use super::ground::{Ground, HiddenCall, ask_hidden};
use super::script::Ran;
use crate::command::args::Args;
use crate::command::{Call, Flow, table};
use crate::error::{Refusal, Stop};
use crate::event::{ConnId, Level, Notice};
use crate::hidden;
use crate::limits::{FUNCTION_LOAD_MS_MAX, FUNCTIONS_BYTES_MAX, HIDDEN_DB, SCRIPT_MS_MAX};
use crate::rdb::Version;
use crate::resp::encode::Reply;
use crate::script::library::{Function, Heading, Libraries, Library};
use crate::script::payload;
use crate::script::vm::{End, Limits, Vm};
use cairn_storage::units::ShardId;
use std::sync::Arc;

/// What a shard has of libraries.
#[derive(Default)]
pub struct Functions {
    /// Of the row that they are from; 0: none was ever there.
    version: u64,
    libraries: Libraries,
    /// Made at the first library, and with all of them loaded.
    vm: Option<Box<Vm>>,
    /// The first library that does not load here, and why.
    broken: Option<String>,
    /// The library that was judged last.
    judged: Option<Arc<Library>>,
}

/// What becomes of libraries.
#[derive(Debug)]
pub enum Change {
    Load { text: Vec<u8>, is_replacing: bool },
    Delete(Vec<u8>),
    Flush,
    Restore { texts: Vec<Vec<u8>>, policy: Policy },
}

/// FUNCTION RESTORE: what about those that are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    Flush,
    Append,
    Replace,
}

const VERSION_BYTES: usize = 8;

impl Functions {
    pub fn libraries(&self) -> &Libraries {
        &self.libraries
    }

    /// Bytes that the Lua state takes.
    pub fn memory_bytes(&self) -> usize {
        self.vm.as_ref().map_or(0, |vm| vm.memory_bytes())
    }

    pub(super) fn put_vm(&mut self, vm: Box<Vm>) {
        self.vm = Some(vm);
    }
}

/// Version and texts of a row. A row that is not there has version 0.
fn texts_of(row: &[u8]) -> Result<(u64, Vec<Vec<u8>>), Refusal> {
    let Some((version, payload)) = row.split_first_chunk::<VERSION_BYTES>() else { return Ok((0, Vec::new())) };
    let texts = payload::decode(payload);
    let texts = texts.map_err(|why| Refusal::text(format!("ERR the row of libraries is damaged: {}", why.text())))?;
    Ok((u64::from_le_bytes(*version), texts))
}

impl Machine {
    /// Sees that this shard has the libraries of its row. The running command has observed them.
    pub fn refresh_functions(&mut self) -> Result<(), Stop> {
        let head = hidden::functions_head(self.shard.hash_seed());
        if self.is_row_locked(HIDDEN_DB, head, false) {
            return Err(Stop::Locked);
        }
        let (name, spec) = (Args::new(b"get", &[(0, 3)]), table::find(b"get").expect("it is in the table"));
        let call = Call { spec, args: &name, db: HIDDEN_DB, is_resp3: false, now: self.now, head };
        let row = loop {
            match self.shard.peek_hidden(&call, hidden::FUNCTIONS, head) {
                Err(Stop::Missing(missing)) => self.fetch_or_stop(missing)?,
                Err(stop) => return Err(stop),
                Ok(None) if self.functions.version == 0 => return Ok(()),
                Ok(None) => break Vec::new(),
                Ok(Some(row)) if row.value.starts_with(&self.functions.version.to_le_bytes()) => return Ok(()),
                Ok(Some(row)) => break row.value.to_vec(),
            }
        };
        Ok(self.take_functions(&row)?)
    }

    /// The libraries are those of this row from now on.
    fn take_functions(&mut self, row: &[u8]) -> Result<(), Refusal> {
        let (version, texts) = texts_of(row)?;
        if version == self.functions.version {
            return Ok(());
        }
        let mut functions = Functions { version, ..Functions::default() };
        if !texts.is_empty() {
            let limits = Limits { ns: SCRIPT_MS_MAX * 1_000_000, ..self.script_limits().0 };
            let mut vm = Box::new(Vm::for_functions(self.identity.clock_ns));
            for text in texts {
                let loaded = Heading::parse(&text).and_then(|heading| vm.load(&text, &heading, limits));
                let added = loaded.and_then(|it| functions.libraries.add(&it).map_err(|name| twice(&name)));
                if let Err(why) = added {
                    self.notice(Notice::Script {
                        level: Level::Warning,
                        text: format!("a library does not load: {why}"),
                    });
                    functions.broken.get_or_insert(why);
                }
            }
            vm.take_log();
            functions.vm = Some(vm);
        }
        self.functions = functions;
        Ok(())
    }

    /// The function of that name, as the libraries of this moment have it.
    pub fn find_function(&mut self, name: &[u8]) -> Result<Arc<Function>, Stop> {
        self.refresh_functions()?;
        Ok(self.known_function(name)?)
    }

    /// The same, as they were when this shard looked last.
    pub(super) fn known_function(&self, name: &[u8]) -> Result<Arc<Function>, Refusal> {
        match (self.functions.libraries.function(name), &self.functions.broken) {
            (Some(function), _) => Ok(Arc::clone(function)),
            (None, None) => Err(Refusal::text("ERR Function not found")),
            (None, Some(why)) => {
                Err(Refusal::text(format!("ERR Function not found, and a library does not load here: {why}")))
            }
        }
    }

    /// The state that has all functions.
    pub(super) fn take_functions_vm(&mut self) -> Box<Vm> {
        self.functions.vm.take().expect("who runs a function has found it")
    }

    /// The version of the libraries that this shard has.
    pub(super) fn functions_version(&self) -> u64 {
        self.functions.version
    }

    /// Has all shards change their libraries.
    pub fn change_functions(
        &mut self,
        _: ConnId,
        change: Change,
        call: &Call<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<Flow, Stop> {
        let code = Code::Change(Arc::new(change));
        let none = Args::new(b"", &[]);
        let task = Task {
            code: &code,
            keys: none,
            args: none,
            db: call.db,
            is_readonly: false,
            now: call.now,
            subject: None,
            tracker: None,
        };
        if self.identity.shards == 1 {
            return match self.run_script_here(None, &task, reply)? {
                Ran::Whole => Ok(Flow::Done),
                Ran::NeedsOthers => unreachable!("there are no others"),
            };
        }
        if self.scripts.is_in_exec {
            let text = "ERR libraries are not changed within a transaction where the server has several shards";
            return Err(Refusal::text(text).into());
        }
        let (bytes, ranges, is_resp3) = (Vec::new(), Vec::new(), reply.is_resp3);
        let run = ScriptRun {
            code,
            bytes,
            ranges,
            keys: 0,
            db: call.db,
            is_resp3,
            is_readonly: false,
            subject: None,
            tracker: None,
        };
        self.pending.deferred = Some(Deferred::Wide(Box::new(run)));
        Ok(Flow::Later)
    }

    /// The library that a text would be. Judged once, however often its change begins again.
    fn judge(&mut self, text: &[u8]) -> Result<Arc<Library>, String> {
        if let Some(known) = self.functions.judged.as_ref().filter(|known| known.text == text) {
            return Ok(Arc::clone(known));
        }
        let heading = Heading::parse(text)?;
        let limits = Limits { ns: FUNCTION_LOAD_MS_MAX * 1_000_000, ..self.script_limits().0 };
        let clock_ns = self.identity.clock_ns;
        let mut vm = self.functions.vm.take().unwrap_or_else(|| Box::new(Vm::for_functions(clock_ns)));
        let judged = vm.judge(text, &heading, limits);
        let lines = vm.take_log();
        self.functions.vm = Some(vm);
        self.note_script_log(lines);
        self.functions.judged = judged.as_ref().ok().cloned();
        judged
    }
}

fn twice(function: &str) -> String {
    format!("Function {function} already exists")
}

impl Change {
    /// Makes the change: it ends as a script does.
    pub(super) fn run(&self, ground: &mut dyn Ground, reply: &mut Reply<'_>) -> End {
        match self.make(ground, reply) {
            Ok(()) => End::Done,
            Err(end) => end,
        }
    }

    fn make(&self, ground: &mut dyn Ground, reply: &mut Reply<'_>) -> Result<(), End> {
        let head = hidden::functions_head(ground.machine().shard.hash_seed());
        let words: [&[u8]; 2] = [b"GET", hidden::FUNCTIONS];
        let seen = ask_hidden(ground, &HiddenCall { shard: ShardId(0), head, words: &words, is_exclusive: true })?;
        let row = hidden::bulk_of(&seen).unwrap_or_default();
        let machine = ground.machine();
        let refused = |line: &str| End::Refused(line.to_owned());
        machine.take_functions(&row).map_err(|refusal| refused(&refusal.line()))?;
        let version = machine.functions.version + 1;
        let libraries = self.apply(machine).map_err(|why| End::Refused(format!("ERR {why}")))?;
        if libraries.bytes() > FUNCTIONS_BYTES_MAX {
            return Err(refused("OOM the libraries of functions take too much memory"));
        }
        let row = [&version.to_le_bytes()[..], &libraries.payload(Version::default())].concat();
        let words: [&[u8]; 3] = [b"SET", hidden::FUNCTIONS, &row];
        for shard in 0..ground.machine().identity.shards {
            ask_hidden(ground, &HiddenCall { shard: ShardId(shard), head, words: &words, is_exclusive: true })?;
        }
        match self {
            Change::Load { text, .. } => {
                reply.bulk(Heading::parse(text).expect("it was read just now").name.as_bytes());
            }
            _ => reply.ok(),
        }
        Ok(())
    }

    /// All libraries, as they are to be; or the text of an error.
    fn apply(&self, machine: &mut Machine) -> Result<Libraries, String> {
        let mut libraries = machine.functions.libraries.clone();
        match self {
            Change::Load { text, is_replacing } => {
                let Heading { name, .. } = Heading::parse(text)?;
                if !is_replacing && libraries.contains(&name) {
                    return Err(format!("Library '{name}' already exists"));
                }
                let library = machine.judge(text)?;
                libraries.add(&library).map_err(|function| twice(&function))?;
            }
            Change::Delete(name) => {
                let name = std::str::from_utf8(name).ok();
                name.and_then(|name| libraries.remove(name)).ok_or("Library not found")?;
            }
            Change::Flush => libraries = Libraries::default(),
            Change::Restore { texts, policy } => {
                let mut restored = Libraries::default();
                for text in texts {
                    let library = machine.judge(text)?;
                    if restored.contains(&library.name) {
                        return Err(format!("Library '{}' already exists", library.name));
                    }
                    restored.add(&library).map_err(|function| twice(&function))?;
                }
                match policy {
                    Policy::Flush => libraries = Libraries::default(),
                    Policy::Append => {
                        if let Some(taken) = restored.iter().find(|library| libraries.contains(&library.name)) {
                            return Err(format!("Library {} already exists", taken.name));
                        }
                    }
                    Policy::Replace => restored.iter().for_each(|library| drop(libraries.remove(&library.name))),
                }
                for library in restored.iter() {
                    libraries.add(library).map_err(|function| twice(&function))?;
                }
            }
        }
        Ok(libraries)
    }
}
