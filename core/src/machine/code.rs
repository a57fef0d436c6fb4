//! What scripts are made of: their code, which is Lua's or not, what it is given, and the Lua state that it runs in.

use super::Machine;
use super::functions::Change;
use super::ground::{Ground, Scene};
use super::idempotent::Idempotent;
use super::queued::Queued;
use super::script::refusal_of;
use crate::acl::Subject;
use crate::command::args::{Args, copied};
use crate::error::{Refusal, Stop};
use crate::event::Now;
use crate::resp::encode::Reply;
use crate::resp::replies::Replies;
use crate::script::library::Function;
use crate::script::vm::{Callee, End, Host, Limits, Vm};
use crate::script::{Script, ScriptFlags};
use crate::tracking::Tracker;
use std::sync::Arc;

/// What is run as one change.
#[derive(Clone, Debug)]
pub enum Code {
    Script(Arc<Script>),
    Function(Arc<Function>),
    Change(Arc<Change>),
    Idempotent(Arc<Idempotent>),
    /// The command of this number is taken in steps.
    Program(u16),
    Exec(Arc<Queued>),
}

impl Code {
    pub(super) fn flags(&self) -> ScriptFlags {
        let plain = ScriptFlags { is_plain: true, ..ScriptFlags::default() };
        match self {
            Code::Script(script) => script.flags,
            Code::Function(function) => function.flags,
            Code::Change(_) | Code::Program(_) | Code::Exec(_) => plain,
            Code::Idempotent(once) => once.code().map_or(plain, Code::flags),
        }
    }

    /// The function that it is, or runs.
    pub(super) fn function(&self) -> Option<&Arc<Function>> {
        match self {
            Code::Function(function) => Some(function),
            Code::Idempotent(once) => once.code().and_then(Code::function),
            Code::Script(_) | Code::Change(_) | Code::Program(_) | Code::Exec(_) => None,
        }
    }

    /// Whether it runs functions, of whatever libraries there are then.
    pub(super) fn calls_functions(&self) -> bool {
        match self {
            Code::Exec(queued) => queued.calls_functions(),
            _ => self.function().is_some(),
        }
    }

    /// The same with this function.
    pub(super) fn with_function(&self, function: Arc<Function>) -> Code {
        match self {
            Code::Idempotent(once) => Code::Idempotent(Arc::new(once.with_code(Code::Function(function)))),
            _ => Code::Function(function),
        }
    }
}

/// A Lua state, and what is run in it.
pub(super) type Lua<'a> = (Box<Vm>, Callee<'a>);

/// A script that another shard runs.
#[derive(Debug)]
pub struct ScriptRun {
    pub code: Code,
    /// Keys, then arguments: their bytes, and where each stands.
    pub bytes: Vec<u8>,
    pub ranges: Vec<(u32, u32)>,
    pub keys: usize,
    pub db: u8,
    pub is_resp3: bool,
    /// The command is one that lets no script write.
    pub is_readonly: bool,
    /// Whose rights its commands have; `None`: all.
    pub subject: Option<Arc<Subject>>,
    /// Who is told when what it reads changes.
    pub tracker: Option<Tracker>,
}

impl ScriptRun {
    /// What runs the task elsewhere, or later.
    pub(super) fn of(task: &Task<'_>, is_resp3: bool) -> Box<ScriptRun> {
        let (bytes, ranges) = copied(task.keys.iter().chain(task.args.iter()));
        let Task { db, is_readonly, tracker, .. } = *task;
        let (code, keys, subject) = (task.code.clone(), task.keys.len(), task.subject.cloned());
        Box::new(ScriptRun { code, bytes, ranges, keys, db, is_resp3, is_readonly, subject, tracker })
    }
}

/// A script and what it is given.
#[derive(Clone, Copy)]
pub struct Task<'a> {
    pub code: &'a Code,
    pub keys: Args<'a>,
    pub args: Args<'a>,
    pub db: u8,
    pub is_readonly: bool,
    pub now: Now,
    /// Whose rights its commands have; `None`: all.
    pub subject: Option<&'a Arc<Subject>>,
    /// Who is told when what it reads changes.
    pub tracker: Option<Tracker>,
}

impl Task<'_> {
    /// What its commands begin with.
    pub(super) fn scene(&self) -> Scene {
        let Task { code, db, is_readonly, now, tracker, .. } = *self;
        Scene { tracker, db, now, is_readonly: is_readonly || code.flags().no_writes, called: Vec::new() }
    }
}

/// What a task is run with.
pub(super) struct Means<'a, 'c> {
    /// `None`: nothing of it is Lua's.
    pub lua: Option<&'a mut Lua<'c>>,
    pub limits: Limits,
    pub ground: &'a mut dyn Ground,
}

impl Machine {
    /// What is to be run, as this shard has it.
    pub(super) fn own_code(&mut self, code: &Code) -> Result<Code, Stop> {
        let script = match code {
            Code::Script(script) => Some(script),
            Code::Idempotent(once) => match once.code() {
                Some(Code::Script(script)) => Some(script),
                _ => None,
            },
            Code::Function(_) | Code::Change(_) | Code::Program(_) | Code::Exec(_) => None,
        };
        if let Some(script) = script.filter(|script| !self.scripts.cache.contains(script.sha)) {
            self.keep_script(script, false);
        }
        match code.function() {
            Some(function) => {
                let name = function.name.clone();
                Ok(code.with_function(self.find_function(name.as_bytes())?))
            }
            None => Ok(code.clone()),
        }
    }

    /// The Lua state that runs it, and as what; `None` if nothing of it is Lua's.
    pub(super) fn take_vm_for<'a>(&mut self, code: &'a Code) -> Result<Option<Lua<'a>>, Refusal> {
        match code {
            Code::Script(script) => {
                let mut vm = self.take_vm();
                match vm.compile(script) {
                    Ok(()) => Ok(Some((vm, Callee::Script(script)))),
                    Err(error) => {
                        self.put_vm(vm);
                        Err(refusal_of(error))
                    }
                }
            }
            Code::Function(function) => Ok(Some((self.take_functions_vm(), Callee::Function(&function.name)))),
            Code::Change(_) | Code::Program(_) | Code::Exec(_) => Ok(None),
            Code::Idempotent(once) => once.code().map_or(Ok(None), |code| self.take_vm_for(code)),
        }
    }

    /// It goes back to where it was taken from.
    pub(super) fn put_vm_of(&mut self, code: &Code, vm: Box<Vm>) {
        if code.function().is_some() { self.functions.put_vm(vm) } else { self.put_vm(vm) }
    }
}

/// Runs what a task is about on its ground.
pub(super) fn run_code(task: &Task<'_>, means: &mut Means<'_, '_>, reply: &mut Reply<'_>) -> End {
    match task.code {
        Code::Change(change) => change.run(means.ground, reply),
        Code::Idempotent(once) => once.run(task, means, reply),
        Code::Program(_) => super::program::run_task(task, means.ground, reply),
        Code::Exec(queued) => queued.run(task, means, reply),
        Code::Script(_) | Code::Function(_) => run_lua(task, means, reply),
    }
}

/// The same of Lua's.
pub(super) fn run_lua(task: &Task<'_>, means: &mut Means<'_, '_>, reply: &mut Reply<'_>) -> End {
    let Means { lua, limits, ground } = means;
    let (vm, callee) = lua.as_deref_mut().expect("what is Lua's has a state");
    let host: Host<'_> = &mut |args: &Args<'_>, is_resp3: bool, out: &mut Replies| ground.call(args, is_resp3, out);
    vm.set_subject(task.subject.cloned());
    vm.run(*callee, &task.keys, &task.args, *limits, host, reply)
}
