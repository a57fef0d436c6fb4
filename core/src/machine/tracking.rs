//! Client-side caching: what connections of this core have asked for, and what they are told, from all cores.
//!
//! ```text
//!   a connection's core                      the key's shard                         the connection's core
//!   GET k: noted, then run -------------->   Tracked: k -> {connection}
//!                              k changes ->  Announcement::Changed, told when stable
//!                                            Tracked: k gone  --- Changed ------>    pushed behind all replies begun
//! ```
//!
//! A connection is noted with the key's shard before its command is sent there, so each change that the reply does not show is told behind it.

use super::Machine;
use crate::command::args::Args;
use crate::command::{Call, Flags, Spec};
use crate::event::ConnId;
use crate::parcel::{Ask, Message, TrackingMessage};
use crate::pubsub::Class;
use crate::pubsub::encode::Told;
use crate::route;
use crate::tracking::{Changes, Invalid, Tracker, Tracking, beginning_with, invalidation};
use cairn_storage::units::ShardId;
use std::collections::BTreeSet;
use std::sync::Arc;

#[derive(Default)]
pub(super) struct Trackings {
    /// Connections that track.
    here: BTreeSet<ConnId>,
    /// What has become known to have changed in this turn, if somebody wants to be told by prefix.
    changes: Changes,
}

impl Machine {
    /// Before a command is run: what it reads is noted, if its connection tracks that. Whether it may be the one behind CLIENT CACHING.
    #[inline]
    pub(super) fn begin_tracked(&mut self, conn: ConnId, call: &Call<'_>) -> bool {
        self.session(conn).client.tracking.is_some() && self.track_reads(conn, call)
    }

    #[cold]
    fn track_reads(&mut self, conn: ConnId, call: &Call<'_>) -> bool {
        let client = self.client(conn);
        let Some(tracking) = &client.tracking else { return false };
        let is_exec = call.spec.name == "exec";
        if tracking.is_broadcast || !is_exec && !tracking.notes_reads() {
            return true;
        }
        let tracker = Tracker { client: client.id, shard: self.identity.shard, conn };
        let mut keys = Vec::new();
        match &client.multi {
            Some(multi) if is_exec => {
                let mut tracking = Tracking::clone(tracking);
                for queued in multi.commands() {
                    // What it does here it will do then.
                    tracking.is_caching |= queued.entry.spec.name == "client|caching";
                    if tracking.notes_reads() {
                        keys.extend(reads(queued.entry.spec, &queued.args));
                    }
                }
            }
            _ => keys.extend(reads(call.spec, call.args)),
        }
        self.note_reads(tracker, keys);
        true
    }

    /// The same of a command of a script.
    #[inline]
    pub(super) fn track_call(&mut self, tracker: Option<Tracker>, call: &Call<'_>) {
        if let Some(tracker) = tracker {
            self.note_reads(tracker, reads(call.spec, call.args).collect());
        }
    }

    /// Who is to be told of what a script of a connection reads.
    pub(super) fn tracker_of(&self, conn: ConnId) -> Option<Tracker> {
        let client = self.client(conn);
        let tracking = client.tracking.as_ref()?;
        // In a transaction it may be said on the way.
        let notes = tracking.notes_reads() || !tracking.is_broadcast && self.is_in_transaction();
        notes.then_some(Tracker { client: client.id, shard: self.identity.shard, conn })
    }

    fn note_reads(&mut self, tracker: Tracker, mut keys: Vec<Vec<u8>>) {
        keys.sort_unstable();
        keys.dedup();
        for key in keys {
            let owner = self.owner(route::slot(&key));
            if owner == self.identity.shard {
                self.note_tracked(tracker, &key);
            } else {
                self.send_tracking(owner, TrackingMessage::Read { tracker, key });
            }
        }
    }

    fn note_tracked(&mut self, tracker: Tracker, key: &[u8]) {
        let given_up = self.shard.tracked.note(key, tracker);
        self.tell_trackers(given_up, key, 0);
        self.give_up_keys();
    }

    /// Keys beyond `tracking-table-max-keys` are as if they had changed.
    pub(crate) fn give_up_keys(&mut self) {
        while let Some(key) = self.shard.tracked.excess() {
            let trackers = self.shard.tracked.take(&key);
            self.tell_trackers(trackers, &key, 0);
        }
    }

    /// A command has run: CLIENT CACHING was about it, unless it goes on with a transaction.
    #[cold]
    pub(super) fn end_tracked(&mut self, conn: ConnId, spec: &Spec) {
        let client = self.client_mut(conn);
        let is_over = client.multi.is_none() && !spec.name.starts_with("client|");
        if let Some(tracking) = client.tracking.as_mut().filter(|_| is_over) {
            tracking.is_caching = false;
        }
    }

    /// CLIENT TRACKING ON of what is in order. The prefixes that are new; others have to hear of them.
    pub fn track(&mut self, conn: ConnId, tracking: Tracking) -> Vec<Vec<u8>> {
        let known = self.client_mut(conn).tracking.take();
        let new =
            tracking.prefixes.iter().filter(|prefix| known.as_ref().is_none_or(|it| !it.prefixes.contains(*prefix)));
        let new = new.cloned().collect();
        self.client_mut(conn).tracking = Some(Box::new(tracking));
        self.trackings.here.insert(conn);
        self.shard.tracked.set_trackers(self.trackings.here.len());
        new
    }

    /// So many of this core's connections are told of keys with these prefixes.
    pub fn note_prefixes(&mut self, conn: ConnId, prefixes: &[Vec<u8>], is_on: bool) -> Option<Ask> {
        let audiences = &mut self.pubsub.audiences;
        let changes: Arc<[_]> = prefixes
            .iter()
            .map(|prefix| (Class::Prefix, prefix.clone(), audiences.note_here(Class::Prefix, prefix, conn, is_on)))
            .collect();
        self.look_for_prefixes();
        let has_others = !changes.is_empty() && self.identity.shards > 1;
        has_others.then_some(Ask::Audiences { shard: self.identity.shard, changes })
    }

    /// Prefixes came or went, here or elsewhere.
    pub(super) fn look_for_prefixes(&mut self) {
        self.shard.tracked.set_prefixes(self.pubsub.audiences.names_len(Class::Prefix) > 0);
    }

    /// CLIENT TRACKING OFF, RESET, or the connection is gone. What others know of it they forget by the way.
    pub fn end_tracking(&mut self, conn: ConnId, tracking: Option<Box<Tracking>>) {
        let Some(tracking) = tracking else { return };
        self.trackings.here.remove(&conn);
        self.shard.tracked.set_trackers(self.trackings.here.len());
        let prefixes: Vec<Vec<u8>> = tracking.prefixes.into_iter().collect();
        if let Some(ask) = self.note_prefixes(conn, &prefixes, false) {
            self.inform_others(conn, &ask, None);
        }
    }

    /// The running command has changed what is announced behind the mark.
    pub(super) fn attribute(&mut self, client: u64, mark: usize) {
        if self.shard.tracked.is_on() && client != 0 {
            self.shard.announced.attribute(client, mark);
        }
    }

    /// A key has changed, and that is stable.
    pub(super) fn tell_changed(&mut self, key: Vec<u8>, writer: u64) {
        let trackers = self.shard.tracked.take(&key);
        self.tell_trackers(trackers, &key, writer);
        if self.pubsub.audiences.names_len(Class::Prefix) > 0 {
            let known = self.trackings.changes.entry(key).or_insert(writer);
            if *known != writer {
                *known = 0;
            }
        }
    }

    fn tell_trackers(&mut self, trackers: Vec<Tracker>, key: &[u8], writer: u64) {
        if trackers.is_empty() {
            return;
        }
        let keys: Invalid = Some(Arc::new([key.to_vec()]));
        for tracker in trackers {
            match tracker.shard {
                shard if shard == self.identity.shard => self.invalidate(tracker, &keys, writer),
                shard => self.send_tracking(shard, TrackingMessage::Changed { tracker, keys: keys.clone(), writer }),
            }
        }
    }

    fn send_tracking(&mut self, shard: ShardId, message: TrackingMessage) {
        self.outbox[usize::from(shard.0)].messages.push(Message::Tracking(message));
    }

    /// All keys of a database have, and that is stable: each core tells its own connections.
    pub(super) fn tell_emptied(&mut self) {
        for conn in self.trackings.here.clone() {
            self.send_invalid(conn, &None);
        }
        self.shard.tracked.forget_own(self.identity.shard);
    }

    /// The turn ends: those who want to be told by prefix are, on all cores.
    pub(super) fn tell_prefixes(&mut self) {
        if self.trackings.changes.is_empty() {
            return;
        }
        let changes = Arc::new(std::mem::take(&mut self.trackings.changes));
        for shard in self.pubsub.audiences.shards_of_prefixes(|prefix| has_beginning_with(&changes, prefix)) {
            self.send_tracking(ShardId(shard), TrackingMessage::Prefixed(Arc::clone(&changes)));
        }
        self.tell_prefixes_here(&changes);
    }

    fn tell_prefixes_here(&mut self, changes: &Changes) {
        for (prefix, conns) in self.pubsub.audiences.prefixes_here() {
            let all = beginning_with(changes, &prefix, None);
            if all.is_empty() {
                continue;
            }
            let all: Invalid = Some(all.into());
            for conn in conns {
                let client = self.client(conn);
                if client.tracking.as_ref().is_some_and(|tracking| tracking.is_no_loop) {
                    let keys = beginning_with(changes, &prefix, Some(client.id));
                    if !keys.is_empty() {
                        self.send_invalid(conn, &Some(keys.into()));
                    }
                } else {
                    self.send_invalid(conn, &all);
                }
            }
        }
    }

    pub(super) fn on_tracking(&mut self, message: TrackingMessage) {
        match message {
            TrackingMessage::Read { tracker, key } => self.note_tracked(tracker, &key),
            TrackingMessage::Changed { tracker, keys, writer } => self.invalidate(tracker, &keys, writer),
            TrackingMessage::Prefixed(changes) => self.tell_prefixes_here(&changes),
            TrackingMessage::Redirected { of, to, keys } => self.send_redirected(of, to, &keys),
            TrackingMessage::Broken { of } => self.break_redirect(of),
        }
    }

    /// What a connection of this core has read has changed.
    fn invalidate(&mut self, tracker: Tracker, keys: &Invalid, writer: u64) {
        let Some(client) = self.tracked_client(tracker) else { return };
        let is_own = writer == tracker.client;
        let wants = |tracking: &Tracking| !(tracking.is_broadcast || tracking.is_no_loop && is_own);
        if client.tracking.as_deref().is_some_and(wants) {
            self.send_invalid(tracker.conn, keys);
        }
    }

    fn tracked_client(&mut self, of: Tracker) -> Option<&mut crate::session::Client> {
        let client = self.find_session(of.conn).map(|session| &mut session.client);
        client.filter(|client| client.id == of.client)
    }

    fn send_invalid(&mut self, conn: ConnId, keys: &Invalid) {
        let client = self.client(conn);
        let of = Tracker { client: client.id, shard: self.identity.shard, conn };
        match client.tracking.as_ref().and_then(|tracking| tracking.redirect) {
            None if client.is_resp3 => self.push_told(conn, &mut Told::new(|reply| invalidation(reply, keys))),
            // It has nowhere to be told.
            None => {}
            Some(to) => match to.shard {
                shard if shard == self.identity.shard => self.send_redirected(of, to, keys),
                shard => self.send_tracking(shard, TrackingMessage::Redirected { of, to, keys: keys.clone() }),
            },
        }
    }

    fn send_redirected(&mut self, of: Tracker, to: Tracker, keys: &Invalid) {
        match self.tracked_client(to).map(|client| client.is_resp3 || client.subscriptions.is_some()) {
            Some(true) => self.push_told(to.conn, &mut Told::new(|reply| invalidation(reply, keys))),
            // In RESP2 only who listens may be told anything.
            Some(false) => {}
            None => match of.shard {
                shard if shard == self.identity.shard => self.break_redirect(of),
                shard => self.send_tracking(shard, TrackingMessage::Broken { of }),
            },
        }
    }

    /// Whom a connection has redirected to is gone.
    fn break_redirect(&mut self, of: Tracker) {
        let Some(client) = self.tracked_client(of) else { return };
        let is_resp3 = client.is_resp3;
        let Some(tracking) = &mut client.tracking else { return };
        tracking.is_broken = true;
        if let Some(to) = tracking.redirect.filter(|_| is_resp3) {
            self.push_told(
                of.conn,
                &mut Told::new(|reply| {
                    reply.push(2);
                    reply.bulk(b"tracking-redir-broken");
                    reply.integer(to.client as i64);
                }),
            );
        }
    }

    /// The connection of this core with that number.
    pub(crate) fn find_client(&self, id: u64) -> Option<ConnId> {
        self.clients().find(|(_, client)| client.id == id).map(|(conn, _)| conn)
    }

    /// The same; another one is to have it told, so it stays here.
    pub(crate) fn find_told(&mut self, id: u64) -> Option<ConnId> {
        let conn = self.find_client(id)?;
        let session = self.session_mut(conn);
        session.client.is_told = true;
        (!session.is_leaving).then_some(conn)
    }

    pub(crate) fn trackers_len(&self) -> usize {
        self.trackings.here.len()
    }
}

/// The keys that a command looks at, if it only looks.
fn reads<'a>(spec: &'a Spec, args: &'a Args<'_>) -> impl Iterator<Item = Vec<u8>> + 'a {
    let is_look = spec.flags.has(Flags::READONLY);
    spec.row_keys(args).filter(move |_| is_look).map(|at| args[at].to_vec())
}

fn has_beginning_with(changes: &Changes, prefix: &[u8]) -> bool {
    let from = (std::ops::Bound::Included(prefix), std::ops::Bound::Unbounded);
    changes.range::<[u8], _>(from).next().is_some_and(|(key, _)| key.starts_with(prefix))
}
