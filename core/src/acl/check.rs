//! May a user do this? Asked before a command runs, for each user that is not unrestricted.

use super::{Access, Selector, User};
use crate::command::args::Args;
use crate::command::table::{self, Entry};
use std::sync::Arc;

/// What a user may not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Denied {
    Command,
    Key,
    Auth,
    Channel,
}

impl Denied {
    /// As ACL LOG has it.
    pub fn name(self) -> &'static str {
        match self {
            Denied::Command => "command",
            Denied::Key => "key",
            Denied::Auth => "auth",
            Denied::Channel => "channel",
        }
    }
}

/// What was denied, and which argument is the reason. The name for a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denial {
    pub what: Denied,
    pub at: usize,
    /// The command: not the one that was sent if that runs another one.
    pub command: &'static str,
}

impl Denial {
    /// Redis's text, without a code. `object`: what was denied, for those who may know.
    pub fn text(&self, user: &User, object: Option<&[u8]>) -> String {
        let (name, text) = (String::from_utf8_lossy(&user.name), String::from_utf8_lossy);
        match (self.what, object) {
            (Denied::Command | Denied::Auth, _) => {
                format!("User {name} has no permissions to run the '{}' command", self.command)
            }
            (Denied::Key, None) => "No permissions to access a key".to_owned(),
            (Denied::Channel, None) => "No permissions to access a channel".to_owned(),
            (Denied::Key, Some(key)) => format!("User {name} has no permissions to access the '{}' key", text(key)),
            (Denied::Channel, Some(channel)) => {
                format!("User {name} has no permissions to access the '{}' channel", text(channel))
            }
        }
    }
}

/// A restricted user on whose behalf a script runs, and the line of CLIENT LIST for ACL LOG.
#[derive(Debug)]
pub struct Subject {
    pub user: Arc<User>,
    pub client: String,
}

/// Arguments of IDEMPOTENT in front of the command that it runs.
const IDEMPOTENT_ARGS: usize = 3;

impl User {
    /// Checks a command with its arguments, the name first. If no selector allows it, the denial is the one that came furthest.
    pub fn check(&self, entry: Entry, args: &Args<'_>) -> Result<(), Denial> {
        let mut denial: Option<Denial> = None;
        for selector in self.selectors() {
            match check_selector(selector, entry, args) {
                Ok(()) => return self.check_inner(entry, args),
                Err(new) if denial.is_none_or(|old| (new.what, new.at) > (old.what, old.at)) => denial = Some(new),
                Err(_) => {}
            }
        }
        Err(denial.expect("a user has a selector"))
    }

    /// Whether it may stay subscribed to this.
    pub fn allows_channel(&self, channel: &[u8], is_pattern: bool) -> bool {
        self.selectors().any(|selector| selector.allows_channel(channel, is_pattern))
    }

    /// The command that this one runs.
    fn check_inner(&self, entry: Entry, args: &Args<'_>) -> Result<(), Denial> {
        if entry.spec.name != "idempotent" {
            return Ok(());
        }
        let args = args.skip(IDEMPOTENT_ARGS);
        let Some(entry) = args.get(0).and_then(table::entry) else { return Ok(()) };
        let checked = self.check(entry, &args);
        checked.map_err(|denial| Denial { at: denial.at + IDEMPOTENT_ARGS, ..denial })
    }
}

fn check_selector(selector: &Selector, entry: Entry, args: &Args<'_>) -> Result<(), Denial> {
    let spec = entry.spec;
    let denial = |what, at| Denial { what, at, command: spec.name };
    if !selector.allows_command(entry, args.get(1)) {
        return Err(denial(Denied::Command, 0));
    }
    if !selector.allows_all_keys() && spec.has_keys() {
        let check = |number: usize, at: usize| {
            let access = Access::of_use(spec.key_use(number, args));
            let is_allowed = args.get(at).is_none_or(|key| selector.allows_key(key, access));
            if is_allowed { Ok(()) } else { Err(denial(Denied::Key, at)) }
        };
        // Who has the number of keys wrong is told so by the command.
        let positions = spec.key_positions(args).unwrap_or_default();
        positions.into_iter().enumerate().try_for_each(|(number, at)| check(number, at))?;
    }
    for (at, is_pattern) in channels(spec.name, args.len()) {
        if !selector.allows_channel(&args[at], is_pattern) {
            return Err(denial(Denied::Channel, at));
        }
    }
    Ok(())
}

/// Where the channels of a command stand that are published to or listened to, and whether they are patterns. Who ends to
/// listen needs no permission.
fn channels(name: &str, argc: usize) -> impl Iterator<Item = (usize, bool)> + use<> {
    let (end, is_pattern) = match name {
        "publish" | "spublish" => (2.min(argc), false),
        "subscribe" | "ssubscribe" => (argc, false),
        "psubscribe" => (argc, true),
        _ => (0, false),
    };
    (1..end.max(1)).map(move |at| (at, is_pattern))
}

#[cfg(test)]
mod tests;
