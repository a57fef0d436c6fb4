//! MONITOR: what commands the connections of all cores run, as they run them.
//!
//! Each core knows on which cores somebody monitors. Lines gather while a turn runs, and go to all of them at its end; where nobody does,
//! that is one test a command. The lines of one core are in the order in which it ran the commands; those of different cores
//! come turn by turn. What is behind EXEC, or in a script, is shown when it is certain that it runs: once.

use super::Machine;
use crate::command::args::Args;
use crate::command::{Call, Flags};
use crate::error::Refusal;
use crate::event::ConnId;
use crate::limits::MONITOR_TURN_BYTES_MAX;
use crate::parcel::{Ask, Message};
use crate::resp::encode::Reply;
use crate::resp::replies::Replies;
use crate::slowlog::is_secret;
use crate::tx::{Command, Multi};
use cairn_storage::units::ShardId;
use std::sync::Arc;

#[derive(Default)]
pub(super) struct Monitors {
    /// Of this core.
    own: Vec<ConnId>,
    /// By shard, how many others have.
    elsewhere: Vec<u32>,
    is_any: bool,
    /// What is to be told at the turn's end, encoded, and how many lines there was no room for.
    lines: Vec<u8>,
    left_out: u64,
}

impl Machine {
    /// Whether anybody wants to see commands.
    #[inline]
    pub(super) fn is_monitored(&self) -> bool {
        self.monitors.is_any
    }

    /// MONITOR. Its reply leaves when all cores know.
    pub fn begin_monitor(&mut self, conn: ConnId, reply: &mut Reply<'_>) -> Result<(), Refusal> {
        if self.scripts.is_in_exec {
            return Err(Refusal::text("ERR MONITOR isn't allowed for DENY BLOCKING client"));
        }
        if !std::mem::replace(&mut self.client_mut(conn).is_monitor, true) {
            self.monitors.own.push(conn);
            self.tell_monitoring(conn, Some(reply.out));
        }
        reply.ok();
        Ok(())
    }

    /// A connection monitors no longer.
    pub fn end_monitor(&mut self, conn: ConnId) {
        self.monitors.own.retain(|own| *own != conn);
        self.tell_monitoring(conn, None);
    }

    fn tell_monitoring(&mut self, conn: ConnId, out: Option<&Replies>) {
        self.note_monitoring();
        if self.identity.shards > 1 {
            let ask = Ask::Monitors { shard: self.identity.shard, count: self.monitors.own.len() as u32 };
            self.inform_others(conn, &ask, out);
        }
    }

    /// Another core has so many.
    pub(crate) fn note_monitors(&mut self, shard: ShardId, count: u32) {
        self.monitors.elsewhere.resize(usize::from(self.identity.shards), 0);
        self.monitors.elsewhere[usize::from(shard.0)] = count;
        self.note_monitoring();
    }

    fn note_monitoring(&mut self) {
        let Monitors { own, elsewhere, is_any, .. } = &mut self.monitors;
        *is_any = !own.is_empty() || elsewhere.iter().any(|count| *count > 0);
    }

    /// What is shown so far in this turn.
    #[inline]
    pub(super) fn shown_len(&self) -> usize {
        self.monitors.lines.len()
    }

    /// Shows a command of a connection that has run; `before` was shown when it began. A script stands before what it has called.
    #[cold]
    pub(super) fn show_command(&mut self, conn: ConnId, call: &Call<'_>, before: usize) {
        let is_script = call.spec.flags.has(Flags::SKIP_MONITOR) && call.spec.group == "scripting";
        if (is_shown(call.spec.flags) || is_script)
            && let Some(session) = self.find_session(conn)
        {
            let addr = session.client.peer.addr.clone();
            let called = self.monitors.lines.len();
            self.show(call.db, &addr, call.args);
            if is_script && before < called {
                let len = self.monitors.lines.len() - called;
                self.monitors.lines[before..].rotate_right(len);
            }
        }
    }

    /// Shows the commands of a transaction that is executed.
    #[cold]
    pub(super) fn show_queued(&mut self, conn: ConnId, mut db: u8, multi: &Multi) {
        let addr = self.client(conn).peer.addr.clone();
        for Command { entry, args, .. } in multi.commands() {
            if is_shown(entry.spec.flags) {
                self.show(db, &addr, &args);
            }
            if entry.spec.name == "select"
                && let Ok(index) = crate::command::connection::selected(&args, self.settings.databases)
            {
                db = index;
            }
        }
    }

    /// Shows what a script has called.
    pub(super) fn show_called(&mut self, called: Vec<(u8, Vec<Vec<u8>>)>) {
        for (db, words) in called {
            let (bytes, ranges) = crate::command::args::copied(words.iter().map(Vec::as_slice));
            self.show(db, "lua", &Args::new(&bytes, &ranges));
        }
    }

    fn show(&mut self, db: u8, addr: &str, args: &Args<'_>) {
        if self.monitors.lines.len() > MONITOR_TURN_BYTES_MAX {
            self.monitors.left_out += 1;
            return;
        }
        write_line(&mut self.monitors.lines, self.now.unix_us, db, addr, args);
    }

    /// The end of a turn.
    pub(super) fn tell_monitors(&mut self) {
        if self.monitors.lines.is_empty() {
            return;
        }
        let left_out = std::mem::take(&mut self.monitors.left_out);
        let mut lines = std::mem::take(&mut self.monitors.lines);
        if left_out > 0 {
            lines.extend_from_slice(
                format!("+... {left_out} commands are not shown: there were too many at once\r\n").as_bytes(),
            );
        }
        let lines = Arc::new(lines);
        for (shard, _) in self.monitors.elsewhere.iter().enumerate().filter(|(_, count)| **count > 0) {
            self.outbox[shard].messages.push(Message::Monitored(Arc::clone(&lines)));
        }
        self.push_monitored(&lines);
    }

    /// Lines for the connections of this core.
    pub(super) fn push_monitored(&mut self, lines: &[u8]) {
        for conn in self.monitors.own.clone() {
            self.push_bytes(conn, lines);
        }
    }
}

/// Commands that are nobody's business are not shown.
pub(super) fn is_shown(flags: Flags) -> bool {
    !flags.has(Flags::ADMIN) && !flags.has(Flags::SKIP_MONITOR)
}

/// `+1339518083.107412 [0 127.0.0.1:60866] "keys" "*"`
fn write_line(out: &mut Vec<u8>, unix_us: u64, db: u8, addr: &str, args: &Args<'_>) {
    let (seconds, us) = (unix_us / 1_000_000, unix_us % 1_000_000);
    out.extend_from_slice(format!("+{seconds}.{us:06} [{db} {addr}]").as_bytes());
    for (index, arg) in args.iter().enumerate() {
        out.extend_from_slice(b" \"");
        let shown = if is_secret(args, index) { b"(redacted)" } else { arg };
        shown.iter().for_each(|byte| write_byte(out, *byte));
        out.push(b'"');
    }
    out.extend_from_slice(b"\r\n");
}

fn write_byte(out: &mut Vec<u8>, byte: u8) {
    match byte {
        b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'\t' => out.extend_from_slice(b"\\t"),
        0x07 => out.extend_from_slice(b"\\a"),
        0x08 => out.extend_from_slice(b"\\b"),
        b' '..=b'~' => out.push(byte),
        _ => out.extend_from_slice(format!("\\x{byte:02x}").as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::args::copied;

    fn line(words: &[&[u8]]) -> String {
        let (bytes, ranges) = copied(words.iter().copied());
        let mut out = Vec::new();
        write_line(&mut out, 1_339_518_083_007_412, 3, "lua", &Args::new(&bytes, &ranges));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lines_are_those_of_redis() {
        assert_eq!(
            line(&[b"set", b"a \"b\\\r\n\t\x07\x08\x00\xff~", b""]),
            "+1339518083.007412 [3 lua] \"set\" \"a \\\"b\\\\\\r\\n\\t\\a\\b\\x00\\xff~\" \"\"\r\n"
        );
        assert_eq!(
            line(&[b"AUTH", b"me", b"pw"]),
            "+1339518083.007412 [3 lua] \"AUTH\" \"(redacted)\" \"(redacted)\"\r\n"
        );
    }
}
