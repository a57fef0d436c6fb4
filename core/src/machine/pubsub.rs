//! Subscriptions of this core's connections, and what is announced to them: as soon as it is stable, in order, on all cores.
//!
//! ```text
//!   command, transaction, script                    stable              the turn's end
//!   -----------------------------> shard.announced ---------> pushed to ---------------> sent
//!       (undone: forgotten)            (held)          |      connections here
//!                                                      `----> parcels to other cores
//! ```
//!
//! What was announced first is told first, by all units of this core: one that is not stable yet holds up what is behind it.

use super::Machine;
use super::release::HeldReply;
use crate::announce::Announcement;
use crate::command::args::Args;
use crate::error::{Refusal, Stop};
use crate::event::ConnId;
use crate::limits::{ANNOUNCED_BYTES_MAX, ANNOUNCEMENTS_HELD_BYTES_MAX, SUBSCRIPTIONS_MAX};
use crate::notify::Events;
use crate::parcel::{Ask, Message, PubSubMessage};
use crate::pubsub::audiences::Audiences;
use crate::pubsub::encode::{self, Told};
use crate::pubsub::{CLASSES, Class, Publication, Subscriptions};
use crate::resp::encode::Reply;
use crate::resp::replies::Replies;
use crate::session::{ReplyMode, Session};
use crate::snapshot::PubSubFigures;
use cairn_storage::blob::Blob;
use cairn_storage::log::LogState;
use cairn_storage::units::{Lsn, ShardId};
use std::collections::VecDeque;
use std::sync::Arc;

#[derive(Default)]
pub(super) struct PubSub {
    pub(super) audiences: Audiences,
    /// What waits for the log, and its bytes.
    held: VecDeque<(Lsn, Vec<Announcement>)>,
    held_bytes: usize,
    /// Connections that were pushed something in this turn.
    pushed: Vec<ConnId>,
    /// Used again and again.
    shards: Vec<u16>,
}

/// So many connections of a core have subscribed to this.
pub type AudienceChange = (Class, Vec<u8>, u32);

impl Machine {
    /// How many names of a class somebody has subscribed to, on any core.
    pub fn subscribed_names(&self, class: Class) -> usize {
        self.pubsub.audiences.names_len(class)
    }

    /// Those of channels that match.
    pub fn channels(&self, is_sharded: bool, pattern: Option<&[u8]>) -> Vec<&[u8]> {
        self.pubsub.audiences.names(is_sharded, pattern)
    }

    /// How many connections of all cores have subscribed to a channel itself.
    pub fn subscribers(&self, is_sharded: bool, channel: &[u8]) -> u64 {
        let class = if is_sharded { Class::Shard } else { Class::Channel };
        self.pubsub.audiences.find(class, channel).map_or(0, |audience| audience.len())
    }

    /// SUBSCRIBE and its kin. The confirmations leave when all cores know.
    pub fn subscribe(
        &mut self,
        conn: ConnId,
        class: Class,
        names: &Args<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<(), Refusal> {
        let own = self.client(conn).subscriptions.as_ref().map_or(0, |own| own.len());
        if own + names.len() > SUBSCRIPTIONS_MAX {
            let text = format!("ERR a connection has {SUBSCRIPTIONS_MAX} subscriptions at most");
            return Err(Refusal::text(text));
        }
        let mut said = Replies::default();
        let mut changes = Vec::new();
        for name in names.iter() {
            let own = self.session_mut(conn).client.subscriptions.get_or_insert_default();
            let is_new = own.of_mut(class).insert(name.to_vec());
            let count = own.counted(class);
            if is_new {
                let here = self.pubsub.audiences.note_here(class, name, conn, true);
                changes.push((class, name.to_vec(), here));
            }
            encode::confirmation(&mut Reply::new(&mut said, reply.is_resp3), class, true, Some(name), count);
        }
        self.tell_changes(conn, changes, Some(reply.out));
        reply.out.append(said);
        Ok(())
    }

    /// UNSUBSCRIBE and its kin; from all if there are no names.
    pub fn unsubscribe(&mut self, conn: ConnId, class: Class, names: &Args<'_>, reply: &mut Reply<'_>) {
        let mut own = self.session_mut(conn).client.subscriptions.take().unwrap_or_default();
        let names: Vec<Vec<u8>> = match names.len() {
            0 => own.of(class).iter().cloned().collect(),
            _ => names.iter().map(<[u8]>::to_vec).collect(),
        };
        let mut said = Replies::default();
        let mut to = Reply::new(&mut said, reply.is_resp3);
        let mut changes = Vec::new();
        for name in &names {
            if own.of_mut(class).remove(name) {
                let here = self.pubsub.audiences.note_here(class, name, conn, false);
                changes.push((class, name.clone(), here));
            }
            encode::confirmation(&mut to, class, false, Some(name), own.counted(class));
        }
        if names.is_empty() {
            encode::confirmation(&mut to, class, false, None, own.counted(class));
        }
        if !own.is_empty() {
            self.session_mut(conn).client.subscriptions = Some(own);
        }
        self.tell_changes(conn, changes, Some(reply.out));
        reply.out.append(said);
    }

    /// RESET: what is written behind `out` leaves when all cores know.
    pub fn unsubscribe_all(&mut self, conn: ConnId, out: &Replies) {
        if let Some(own) = self.session_mut(conn).client.subscriptions.take() {
            let changes = self.leave_audiences(conn, &own);
            self.tell_changes(conn, changes, Some(out));
        }
    }

    /// A connection is gone.
    pub(super) fn forget_subscriptions(&mut self, conn: ConnId, own: Option<Box<Subscriptions>>) {
        let Some(own) = own else { return };
        let changes = self.leave_audiences(conn, &own);
        self.tell_changes(conn, changes, None);
    }

    fn leave_audiences(&mut self, conn: ConnId, own: &Subscriptions) -> Vec<AudienceChange> {
        let audiences = &mut self.pubsub.audiences;
        let all = CLASSES.iter().flat_map(|class| own.of(*class).iter().map(|name| (*class, name)));
        all.map(|(class, name)| (class, name.clone(), audiences.note_here(class, name, conn, false))).collect()
    }

    /// The other cores hear of it. What is written behind `out`, if anything, waits until they have.
    fn tell_changes(&mut self, conn: ConnId, changes: Vec<AudienceChange>, out: Option<&Replies>) {
        if changes.is_empty() || self.identity.shards == 1 {
            return;
        }
        let ask = Ask::Audiences { shard: self.identity.shard, changes: changes.into() };
        // At the end of a transaction over several shards what is written is no connection's output yet.
        self.inform_others(conn, &ask, out.filter(|_| !self.execs.is_ending));
    }

    pub(crate) fn note_audiences(&mut self, shard: ShardId, changes: &[AudienceChange]) {
        for (class, name, count) in changes {
            self.pubsub.audiences.note_elsewhere(*class, name, shard.0, *count);
        }
        self.look_for_prefixes();
    }

    /// PUBLISH, SPUBLISH: how many will get it. It is announced when what runs has ended. `conn`: whose command it is, if it is
    /// one of this core's.
    pub fn publish(&mut self, conn: ConnId, is_sharded: bool, channel: &[u8], payload: &[u8]) -> Result<u64, Stop> {
        if self.pubsub.held_bytes > ANNOUNCEMENTS_HELD_BYTES_MAX {
            return Err(Stop::Locked);
        }
        Ok(self.publish_now(conn, is_sharded, channel, payload)?)
    }

    /// The same, however much waits.
    pub(super) fn publish_now(
        &mut self,
        conn: ConnId,
        is_sharded: bool,
        channel: &[u8],
        payload: &[u8],
    ) -> Result<u64, Refusal> {
        let receivers = self.pubsub.audiences.receivers(is_sharded, channel);
        self.stats.counters.published += 1;
        if receivers == 0 {
            return Ok(0);
        }
        let payload = Blob::new(payload.to_vec());
        let publication = Arc::new(Publication { is_sharded, channel: channel.to_vec(), payload });
        let awaited = self.shard.engine().log().awaited();
        if self.find_session(conn).is_some_and(|session| session.client.open.is_some()) {
            self.publish_in_open(conn, publication)?;
            return Ok(receivers);
        }
        if let Some(session) = self.find_session(conn) {
            // Who hears of it may know what its connection has done before.
            let before = match session.client.reply_mode {
                ReplyMode::On => session.output.last_gate(),
                _ => Some(awaited),
            };
            self.shard.announced.raise(before.unwrap_or(Lsn(0)));
        }
        if self.shard.announced.bytes() > ANNOUNCED_BYTES_MAX {
            return Err(Refusal::text(format!("OOM more than {ANNOUNCED_BYTES_MAX} bytes are published at once")));
        }
        self.shard.announced.push(Announcement::Published(publication));
        Ok(receivers)
    }

    /// A unit has ended: what it has announced is told when that is stable.
    #[inline]
    pub(super) fn announce(&mut self) {
        if !self.shard.announced.is_empty() {
            self.announce_some();
        }
    }

    /// The same of a command of a client, by its number, or of nobody. What it has announced is behind the mark.
    #[inline]
    pub(super) fn announce_by(&mut self, client: u64, mark: usize) {
        if !self.shard.announced.is_empty() {
            self.attribute(client, mark);
            self.announce_some();
        }
    }

    /// The same of a command of a connection, whose reply is written and waits for `lsn`.
    #[cold]
    pub(super) fn announce_of(&mut self, conn: ConnId, lsn: Lsn, mark: usize, out: &mut Replies) {
        self.attribute(self.client(conn).id, mark);
        self.shard.announced.raise(lsn);
        self.announce_some();
        self.append_pushes(conn, out);
    }

    #[cold]
    fn announce_some(&mut self) {
        let (lsn, list) = self.shard.announced.take();
        self.tell_when_stable(lsn, list);
    }

    /// What a script has published for a connection of another core goes there with its reply, for behind it there is more that is.
    /// What has become of keys is told here, as always.
    pub(super) fn relay_announced(&mut self, to: ShardId) {
        if !self.shard.announced.is_empty() {
            let (lsn, list) = self.shard.announced.take();
            let is_published = |it: &Announcement| matches!(it, Announcement::Published(_));
            let (published, events) = list.into_iter().partition(is_published);
            self.tell_when_stable(lsn, events);
            self.hold_foreign(to, lsn.max(self.shard.observed()), HeldReply::Relayed(published));
        }
    }

    /// The same of what other shards, or transactions that are decided by now, have announced.
    pub(super) fn tell_when_stable(&mut self, lsn: Lsn, list: Vec<Announcement>) {
        let is_stable = lsn <= self.shard.stable();
        if !is_stable && matches!(self.shard.engine().log().state(), LogState::Failed(_)) {
            // It will never be.
            return;
        }
        if is_stable && self.pubsub.held.is_empty() {
            return list.into_iter().for_each(|announcement| self.tell_all_of(announcement));
        }
        self.pubsub.held_bytes += list.iter().map(Announcement::weight).sum::<usize>();
        self.pubsub.held.push_back((lsn, list));
    }

    /// The log has made progress.
    pub(super) fn release_announced(&mut self) {
        let stable = self.shard.stable();
        while self.pubsub.held.front().is_some_and(|(lsn, _)| *lsn <= stable) {
            let Some((_, list)) = self.pubsub.held.pop_front() else { break };
            self.pubsub.held_bytes -= list.iter().map(Announcement::weight).sum::<usize>();
            list.into_iter().for_each(|announcement| self.tell_all_of(announcement));
        }
    }

    /// The log has failed: what waits for it is not told, ever.
    pub(super) fn forget_announced(&mut self) {
        let stable = self.shard.stable();
        let held = std::mem::take(&mut self.pubsub.held);
        self.pubsub.held_bytes = 0;
        for (_, list) in held.into_iter().filter(|(lsn, _)| *lsn <= stable) {
            list.into_iter().for_each(|announcement| self.tell_all_of(announcement));
        }
    }

    pub(crate) fn pubsub_figures(&self) -> PubSubFigures {
        let names = |class| self.pubsub.audiences.names_len(class) as u64;
        PubSubFigures {
            clients: self.clients().filter(|(_, client)| client.subscriptions.is_some()).count() as u64,
            channels: names(Class::Channel),
            patterns: names(Class::Pattern),
            shard_channels: names(Class::Shard),
            held_bytes: self.pubsub.held_bytes as u64,
            trackers: self.trackers_len() as u64,
            tracked_keys: self.shard.tracked.keys_len() as u64,
            tracked_items: self.shard.tracked.items_len() as u64,
            tracked_prefixes: names(Class::Prefix),
        }
    }

    /// It is stable: all cores that have somebody who wants to know are told.
    fn tell_all_of(&mut self, announcement: Announcement) {
        match announcement {
            Announcement::Published(publication) => self.deliver_everywhere(&publication),
            Announcement::Event { forms, db, event, key } => self.tell_event(forms, db, event, &key),
            Announcement::Changed { key, writer } => self.tell_changed(key, writer),
            Announcement::Emptied => self.tell_emptied(),
        }
    }

    /// A keyspace notification is a message to two channels: of the key, and of the event.
    fn tell_event(&mut self, events: Events, db: u8, event: &str, key: &[u8]) {
        if self.pubsub.audiences.is_empty() {
            return;
        }
        let mut forms = Vec::new();
        if events.has_any(Events::KEYSPACE) {
            forms.push(([format!("__keyspace@{db}__:").as_bytes(), key].concat(), event.as_bytes()));
        }
        if events.has_any(Events::KEYEVENT) {
            forms.push((format!("__keyevent@{db}__:{event}").into_bytes(), key));
        }
        for (channel, payload) in forms {
            if self.pubsub.audiences.receivers(false, &channel) > 0 {
                let payload = Blob::new(payload.to_vec());
                self.deliver_everywhere(&Arc::new(Publication { is_sharded: false, channel, payload }));
            }
        }
    }

    fn deliver_everywhere(&mut self, publication: &Arc<Publication>) {
        if self.identity.shards > 1 {
            let mut shards = std::mem::take(&mut self.pubsub.shards);
            shards.clear();
            self.pubsub.audiences.shards_of(publication, &mut shards);
            for shard in &shards {
                let message = Message::PubSub(PubSubMessage::Published(Arc::clone(publication)));
                self.outbox[usize::from(*shard)].messages.push(message);
            }
            self.pubsub.shards = shards;
        }
        self.deliver_here(publication);
    }

    /// What other shards have sent.
    pub(super) fn on_pubsub(&mut self, message: PubSubMessage) {
        match message {
            PubSubMessage::Published(publication) => self.deliver_here(&publication),
            PubSubMessage::Relayed(list) => self.tell_when_stable(Lsn(0), list),
        }
    }

    fn deliver_here(&mut self, publication: &Publication) {
        let Publication { is_sharded, channel, payload } = publication;
        let PubSub { audiences, pushed, .. } = &mut self.pubsub;
        let class = if *is_sharded { Class::Shard } else { Class::Channel };
        let mut count = 0;
        if let Some(audience) = audiences.find(class, channel) {
            let mut told = Told::new(|reply| encode::message(reply, *is_sharded, None, channel, payload));
            for conn in audience.here() {
                count += u64::from(push(&mut self.sessions, pushed, *conn, &mut told));
            }
        }
        for (pattern, audience) in audiences.matching(channel).filter(|_| !is_sharded) {
            let mut told = Told::new(|reply| encode::message(reply, false, Some(pattern), channel, payload));
            for conn in audience.here() {
                count += u64::from(push(&mut self.sessions, pushed, *conn, &mut told));
            }
        }
        self.stats.counters.pushed += count;
    }

    /// The turn ends: what was pushed is sent. Who reads too slowly is cut off.
    pub(super) fn send_pushed(&mut self) {
        for conn in std::mem::take(&mut self.pubsub.pushed) {
            let Some(session) = self.find_session(conn) else { continue };
            session.is_pushed = false;
            self.enforce_buffer_limits(conn);
            self.flush_output(conn);
        }
    }

    /// Puts a message in the output of a connection of this core.
    pub(super) fn push_told(&mut self, conn: ConnId, told: &mut Told<impl Fn(&mut Reply<'_>)>) {
        let is_pushed = push(&mut self.sessions, &mut self.pubsub.pushed, conn, told);
        self.stats.counters.pushed += u64::from(is_pushed);
    }

    /// Puts bytes in the output of a connection that runs no command now.
    pub(super) fn push_bytes(&mut self, conn: ConnId, bytes: &[u8]) {
        let Some(session) = self.find_session(conn).filter(|session| !session.is_closing) else { return };
        let to = if session.is_running { &mut session.pushes } else { &mut session.output.out };
        to.extend_from_slice(bytes);
        if !std::mem::replace(&mut session.is_pushed, true) {
            self.pubsub.pushed.push(conn);
        }
    }

    /// What was pushed to a connection while its command ran stands behind the command's reply.
    fn append_pushes(&mut self, conn: ConnId, out: &mut Replies) {
        out.append(std::mem::take(&mut self.session_mut(conn).pushes));
    }
}

/// Puts a message in a connection's output. Whether that takes any.
fn push(
    sessions: &mut [Option<Box<Session>>],
    pushed: &mut Vec<ConnId>,
    conn: ConnId,
    told: &mut Told<impl Fn(&mut Reply<'_>)>,
) -> bool {
    let Some(session) = sessions.get_mut(conn.0 as usize).and_then(Option::as_deref_mut) else { return false };
    if session.is_closing {
        return false;
    }
    let form = told.form(session.client.is_resp3);
    if session.is_running { &mut session.pushes } else { &mut session.output.out }.copy(form);
    if !std::mem::replace(&mut session.is_pushed, true) {
        pushed.push(conn);
    }
    true
}
