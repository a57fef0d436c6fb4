//! What a script's commands run on: the rows of this shard, or those of all shards. And scripts that are not Lua's: changes of the
//! server's own rows, which are made like any script's, and as atomic.

use super::{Machine, monitor};
use crate::acl::Subject;
use crate::command::args::Args;
use crate::command::program::Kept;
use crate::command::table::Entry;
use crate::command::{Call, Spec};
use crate::event::{HostAsk, Now};
use crate::resp::replies::Replies;
use crate::script::vm::{Called, End};
use crate::tracking::Tracker;
use cairn_storage::units::ShardId;
use std::borrow::Cow;

/// A command on a hidden row.
pub(super) struct HiddenCall<'a> {
    pub shard: ShardId,
    pub head: u64,
    pub words: &'a [&'a [u8]],
    /// It is looked at with the intention to change it.
    pub is_exclusive: bool,
}

/// What a script's commands are run with, whatever they run on.
pub(super) struct Scene {
    pub tracker: Option<Tracker>,
    /// SELECT is for the rest of the script only.
    pub db: u8,
    pub now: Now,
    pub is_readonly: bool,
    /// What it has called, if somebody wants to see that.
    pub called: Vec<(u8, Vec<Vec<u8>>)>,
}

impl Scene {
    /// A command that may be called: else the error's line.
    pub fn admit(
        &mut self,
        machine: &mut Machine,
        subject: Option<&Subject>,
        args: &Args<'_>,
    ) -> Result<Entry, Cow<'static, str>> {
        let entry = machine.admit_call(subject, args, self.is_readonly)?;
        if machine.is_monitored() && monitor::is_shown(entry.spec.flags) {
            self.called.push((self.db, args.iter().map(<[u8]>::to_vec).collect()));
        }
        Ok(entry)
    }

    /// The call that it is. What it reads is tracked.
    pub fn call<'c>(&self, machine: &mut Machine, spec: &'static Spec, args: &'c Args<'c>, is_resp3: bool) -> Call<'c> {
        let head = args.get(spec.keys.first).filter(|_| spec.keys.first > 0).map_or(0, |key| machine.shard.head(key));
        let call = Call { spec, args, db: self.db, is_resp3, now: self.now, head };
        machine.track_call(self.tracker, &call);
        call
    }
}

/// Runs commands of a script, one behind the other. Who is told to stop does so, and is run again from its beginning.
pub(super) trait Ground {
    fn machine(&mut self) -> &mut Machine;

    fn scene(&mut self) -> &mut Scene;

    /// A command of a client.
    fn call(&mut self, args: &Args<'_>, is_resp3: bool, out: &mut Replies) -> Called;

    /// A step of one: nobody is asked whether it may be.
    fn call_entry(&mut self, entry: Entry, args: &Args<'_>, is_resp3: bool, out: &mut Replies) -> Called;

    /// Whether what runs alone on it may rest, keep what it has come to, and go on from there ([`crate::command::program::Steps`]).
    fn rests(&self) -> bool {
        false
    }

    fn items(&mut self) -> u64 {
        self.machine().settings.slice_items
    }

    fn kept(&mut self) -> Option<Kept> {
        None
    }

    fn keep(&mut self, _: Kept, _rests: bool) {}

    /// The process does something. Only where rows of several shards can be locked meanwhile.
    fn ask_host(&mut self, _: HostAsk, _: &mut Replies) -> Called {
        unreachable!("who asks the process is taken for a script over several shards")
    }

    /// A command on a hidden row. Its reply is in RESP2.
    fn call_hidden(&mut self, call: &HiddenCall<'_>, out: &mut Replies) -> Called;
}

/// The reply of a command on a hidden row; or how the script ends.
pub(super) fn ask_hidden(ground: &mut dyn Ground, call: &HiddenCall<'_>) -> Result<Replies, End> {
    let mut out = Replies::default();
    match ground.call_hidden(call, &mut out) {
        Called::Stop => Err(End::Stopped),
        Called::Refused(line) => Err(End::Refused(line)),
        Called::Replied => match super::exec::error_line(&out, 0) {
            Some(line) => Err(End::Refused(line)),
            None => Ok(out),
        },
    }
}
