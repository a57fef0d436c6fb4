//! Access control on one core: what it has of the users, what it checks, and, on the first shard, how users change.
//!
//! The first shard keeps the users: it makes every change, one after the other, and sends all cores what has come of it. Each
//! takes it and says so; the one who asked is answered when all have it, so no connection on any core is checked by the
//! old rules from then on.

use super::Machine;
use super::deeds::Deed;
use super::release::HeldReply;
use crate::acl::log::{Context, Entry as LogEntry};
use crate::acl::{Acl, DEFAULT_USER, Denial, Denied, Fresh, Subject, User};
use crate::clients;
use crate::command::args::Args;
use crate::command::table::Entry;
use crate::command::{Flags, sort};
use crate::error::Refusal;
use crate::event::ConnId;
use crate::parcel::{AclChange, Answer, Message, RequestId};
use crate::pubsub::{CLASSES, Class};
use crate::session::Client;
use cairn_storage::units::{Lsn, ShardId};
use std::sync::Arc;

/// The shard that keeps the users.
pub const KEEPER: ShardId = ShardId(0);

/// What the keeper knows of the others.
#[derive(Default)]
pub(super) struct Keeper {
    /// The version that each shard has, and who waits until all have one.
    taken: Vec<u64>,
    waiting: Vec<Waiting>,
}

struct Waiting {
    version: u64,
    from: ShardId,
    request: RequestId,
    answer: Answer,
}

impl Client {
    /// It is this user from now on.
    pub fn become_user(&mut self, user: &Arc<User>) {
        self.user = Arc::clone(user);
        self.is_restricted = !user.is_unrestricted();
    }
}

/// Who looks at keys that the command does not name may read all.
fn check_undeclared(user: &User, entry: Entry, args: &Args<'_>) -> Result<(), Refusal> {
    let looks_up = || sort::undeclared(args).filter(|_| !user.reads_all_keys());
    match entry.spec.flags.has(Flags::UNDECLARED).then(looks_up).flatten() {
        Some(option) => {
            Err(Refusal::text(format!("ERR {option} option of SORT denied due to insufficient ACL permissions.")))
        }
        None => Ok(()),
    }
}

impl Machine {
    /// Checks what a connection wants to do, and notes it if it is denied.
    #[cold]
    pub(super) fn check_access(&mut self, conn: ConnId, entry: Entry, args: &Args<'_>) -> Result<(), Refusal> {
        let client = self.client(conn);
        let user = Arc::clone(&client.user);
        let context = if client.multi.is_some() { Context::Multi } else { Context::Toplevel };
        let Err(denial) = user.check(entry, args) else { return check_undeclared(&user, entry, args) };
        self.client_mut(conn).last_command = entry.spec.name;
        let line = clients::line(self, conn);
        self.note_denial(&user, &denial, context, args, line);
        Err(Refusal::text(format!("NOPERM {}", denial.text(&user, None))))
    }

    /// Checks a queued command when its transaction is executed: the rules may have changed.
    pub(super) fn check_queued(&mut self, conn: ConnId, entry: Entry, args: &Args<'_>) -> Result<(), String> {
        let user = Arc::clone(&self.client(conn).user);
        let Err(denial) = user.check(entry, args) else { return Ok(()) };
        let line = clients::line(self, conn);
        self.note_denial(&user, &denial, Context::Multi, args, line);
        Err(format!(
            "NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC call. This command is no \
             longer allowed for the following reason: {}",
            denial.text(&user, None)
        ))
    }

    /// Checks a script's command.
    pub(super) fn check_called(&mut self, subject: &Subject, entry: Entry, args: &Args<'_>) -> Result<(), String> {
        let Err(denial) = subject.user.check(entry, args) else {
            return check_undeclared(&subject.user, entry, args).map_err(|refusal| refusal.line().into_owned());
        };
        self.note_denial(&subject.user, &denial, Context::Script, args, subject.client.clone());
        Err(format!("NOPERM ACL failure in script: {}", denial.text(&subject.user, None)))
    }

    /// On whose behalf a connection's script runs, if that has to be checked.
    pub(super) fn subject(&self, conn: ConnId) -> Option<Arc<Subject>> {
        let client = self.client(conn);
        let subject = || Subject { user: Arc::clone(&client.user), client: clients::line(self, conn) };
        client.is_restricted.then(|| Arc::new(subject()))
    }

    /// Somebody could not log in as this user.
    pub fn note_failed_login(&mut self, conn: ConnId, user: &[u8], command: &str) {
        self.stats.counters.auth_denied += 1;
        let context = if self.client(conn).multi.is_some() { Context::Multi } else { Context::Toplevel };
        let line = clients::line(self, conn);
        self.log_denial(Denied::Auth, context, command.as_bytes().to_vec(), user.to_vec(), line);
    }

    fn note_denial(&mut self, user: &User, denial: &Denial, context: Context, args: &Args<'_>, client: String) {
        let counters = &mut self.stats.counters;
        let object = match denial.what {
            Denied::Command => {
                counters.access_denied_command += 1;
                denial.command.as_bytes().to_vec()
            }
            Denied::Key => {
                counters.access_denied_key += 1;
                args[denial.at].to_vec()
            }
            Denied::Channel => {
                counters.access_denied_channel += 1;
                args[denial.at].to_vec()
            }
            Denied::Auth => unreachable!("a command is no login"),
        };
        self.log_denial(denial.what, context, object, user.name.clone(), client);
    }

    fn log_denial(&mut self, what: Denied, context: Context, object: Vec<u8>, user: Vec<u8>, client: String) {
        let ms = self.now.unix_ms();
        let client = client.trim_end().to_owned();
        let entry = LogEntry { id: 0, count: 1, what, context, object, user, client, created_ms: ms, updated_ms: ms };
        self.acl_log.note(self.settings.acllog_max_len, entry);
    }

    /// Takes what the keeper has sent.
    pub(super) fn on_acl(&mut self, from: ShardId, acl: &Arc<Acl>) {
        self.take_acl(acl);
        self.outbox[usize::from(from.0)].messages.push(Message::AclTaken { version: acl.version });
    }

    /// From now on connections are checked by this. Who is a user that is gone is cut off.
    fn take_acl(&mut self, acl: &Arc<Acl>) {
        assert!(acl.version > self.acl.version, "changes come in their order");
        let before = std::mem::replace(&mut self.acl, Arc::clone(acl));
        let was_open = before.is_open();
        let conns: Vec<ConnId> = self.clients().map(|(conn, _)| conn).collect();
        for conn in conns {
            let client = &mut self.session_mut(conn).client;
            match acl.user(&client.user.name) {
                Some(user) if Arc::ptr_eq(user, &client.user) => {}
                Some(user) => {
                    let user = Arc::clone(user);
                    client.become_user(&user);
                    client.is_authenticated |= !was_open && acl.is_open() && user.name == DEFAULT_USER;
                    if client.is_restricted && !may_listen(client) {
                        self.close(conn, false);
                    }
                }
                None => {
                    let user = Arc::clone(acl.default_user());
                    client.become_user(&user);
                    client.is_authenticated = false;
                    self.close(conn, false);
                }
            }
        }
    }

    /// A change for somebody on shard `from`. Only the keeper is asked.
    pub(super) fn change_acl(&mut self, from: ShardId, request: RequestId, change: &AclChange) {
        assert_eq!(self.identity.shard, KEEPER, "there is one keeper");
        let mut acl = (*self.acl).clone();
        let answer = match change_users(&mut acl, change, self.settings.fresh()) {
            Ok(answer) => answer,
            Err(line) => {
                self.access.waiting.push(Waiting { version: 0, from, request, answer: Answer::Refused(line) });
                return;
            }
        };
        acl.version += 1;
        let acl = Arc::new(acl);
        self.take_acl(&acl);
        for parcel in self.outbox.iter_mut().skip(1) {
            parcel.messages.push(Message::Acl(Arc::clone(&acl)));
        }
        self.access.waiting.push(Waiting { version: acl.version, from, request, answer });
    }

    pub(super) fn on_acl_taken(&mut self, from: ShardId, version: u64) {
        self.access.taken.resize(usize::from(self.identity.shards), 0);
        self.access.taken[usize::from(from.0)] = version;
    }

    /// Answers those whose change every core has. At the end of a turn: no connection's output is in use.
    pub(super) fn finish_acl_changes(&mut self) {
        if self.access.waiting.is_empty() {
            return;
        }
        let shards = usize::from(self.identity.shards);
        self.access.taken.resize(shards, 0);
        let everywhere = self.access.taken[1..].iter().copied().min().unwrap_or(u64::MAX);
        let (done, waiting) =
            std::mem::take(&mut self.access.waiting).into_iter().partition(|waiting| waiting.version <= everywhere);
        self.access.waiting = waiting;
        for Waiting { from, request, answer, .. } in done {
            self.note_deed(Deed::Answered { from, request });
            self.hold_foreign(from, Lsn(0), HeldReply::Answer { request, answer: Box::new(answer) });
        }
    }
}

/// Whether a client may stay subscribed to all that it listens to.
fn may_listen(client: &Client) -> bool {
    let Some(own) = &client.subscriptions else { return true };
    CLASSES
        .into_iter()
        .all(|class| own.of(class).iter().all(|name| client.user.allows_channel(name, class == Class::Pattern)))
}

/// Refused: the error's line.
fn change_users(acl: &mut Acl, change: &AclChange, fresh: Fresh) -> Result<Answer, String> {
    match change {
        AclChange::Set { name, rules } => {
            let user = acl.changed(name, rules, fresh).map_err(|(rule, bad)| {
                format!("ERR Error in ACL SETUSER modifier '{}': {bad}", String::from_utf8_lossy(rule))
            })?;
            acl.put(user);
        }
        AclChange::Delete { names } => {
            return Ok(Answer::Count(names.iter().filter(|name| acl.remove(name)).count() as i64));
        }
        AclChange::Load { users } => {
            let mut loaded = Acl::of(users.iter().cloned());
            loaded.version = acl.version;
            *acl = loaded;
        }
        AclChange::DefaultPassword { hash } => {
            let rule = hash.as_ref().map_or_else(|| b"nopass".to_vec(), |hash| format!("#{hash}").into_bytes());
            let rules = [b"resetpass".to_vec(), rule];
            let user = acl.changed(DEFAULT_USER, &rules, fresh).map_err(|(_, bad)| format!("ERR {bad}"))?;
            acl.put(user);
        }
    }
    Ok(Answer::Done)
}
