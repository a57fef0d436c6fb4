//! Connections come, go, and are held to their limits.

use super::Machine;
use crate::event::{ConnId, Effect, Notice, Peer};
use crate::limits::{UNAUTHENTICATED_QUERY_BYTES_MAX, UNAUTHENTICATED_SECONDS_MAX};
use crate::session::{Client, Session};
use std::sync::Arc;

/// Unrun input of a stalled connection above which its socket is not read.
pub(super) const QUERY_PAUSE_BYTES: usize = 256 * 1024;

const PROTECTED: &[u8] = b"-DENIED Redis is running in protected mode because protected mode is enabled and no password is \
set for the default user. In this mode connections are only accepted from the loopback interface. If you want to connect \
from external computers to Redis you may adopt one of the following solutions: 1) Just disable protected mode sending the \
command 'CONFIG SET protected-mode no' from the loopback interface by connecting to Redis from the same host the server is \
running, however MAKE SURE Redis is not publicly accessible from internet if you do so. Use CONFIG REWRITE to make this \
change permanent. 2) Alternatively you can just disable the protected mode by editing the Redis configuration file, and \
setting the protected mode option to 'no', and then restarting the server. 3) If you started the server manually just for \
testing, restart it with the '--protected-mode no' option. 4) Setup a an authentication password for the default user. \
NOTE: You only need to do one of the above things in order for the server to start accepting connections from the \
outside.\r\n";

impl Machine {
    pub(super) fn on_accepted(&mut self, conn: ConnId, peer: Peer) {
        self.client_last += 1;
        let id = (self.client_last - 1) * u64::from(self.identity.shards) + u64::from(self.identity.shard.0) + 1;
        let user = Arc::clone(self.acl.default_user());
        let is_denied = self.settings.protected_mode && user.is_nopass && !peer.is_local;
        let mut session = Session::new(Client::new(id, peer, user, self.now));
        if is_denied {
            session.output.out.extend_from_slice(PROTECTED);
            session.is_closing = true;
        }
        self.seat(conn, session);
        self.stats.counters.connections_received += 1;
        if is_denied {
            self.flush_output(conn);
        }
    }

    /// A connection has an id of this core.
    pub(super) fn seat(&mut self, conn: ConnId, session: Session) {
        let index = conn.0 as usize;
        if self.sessions.len() <= index {
            self.sessions.resize_with(index + 1, || None);
        }
        assert!(self.sessions[index].is_none(), "an id is taken until its connection is closed");
        self.sessions[index] = Some(Box::new(session));
        self.sessions_len += 1;
    }

    pub(super) fn on_hung_up(&mut self, conn: ConnId, is_broken: bool) {
        let Some(session) = self.find_session(conn) else { return };
        session.is_hung_up = true;
        if is_broken || session.client.is_blocked {
            return self.drop_session(conn);
        }
        self.after_run(conn);
    }

    /// Closes a connection of this core once what it has to get is sent (`at_once`: now).
    pub fn close(&mut self, conn: ConnId, at_once: bool) {
        if at_once {
            return self.drop_session(conn);
        }
        if let Some(session) = self.find_session(conn) {
            // Its own command may be what ends it, so its output is looked at later: at the turn's end at the latest.
            session.is_closing = true;
            self.list_stalled(conn);
        }
    }

    /// The machine's last word on a connection.
    pub(super) fn drop_session(&mut self, conn: ConnId) {
        if let Some(session) = self.sessions[conn.0 as usize].take() {
            self.sessions_len -= 1;
            self.forget_pending(session.client.id);
            self.forget_watched(session.client.watched);
            self.drop_open(session.client.open);
            self.forget_subscriptions(conn, session.client.subscriptions);
            self.end_tracking(conn, session.client.tracking);
            if session.client.is_monitor {
                self.end_monitor(conn);
            }
            self.effects.push_back(Effect::Close { conn });
        }
    }

    fn cut(&mut self, conn: ConnId, why: &'static str) {
        let (shard, addr) = (self.identity.shard, self.session(conn).client.peer.addr.clone());
        self.notice(Notice::ClientCut { shard, addr, why });
        self.drop_session(conn);
    }

    /// Query and output buffers at once above their hard limits end a connection.
    pub(super) fn enforce_buffer_limits(&mut self, conn: ConnId) {
        let (query_max, limits) = (self.settings.client_query_buffer_limit, self.settings.client_output_buffer_limit);
        let Some(session) = self.find_session(conn) else { return };
        let (query, output) = (session.query.len(), session.output.unread_bytes());
        let is_listener = session.client.subscriptions.is_some();
        let hard =
            if is_listener || session.client.is_monitor { limits.pubsub } else { limits.normal }.hard_bytes as usize;
        if !session.client.is_authenticated {
            // Who waits for the answer to AUTH is not read any more; what is here already may turn out to be in order.
            if query > UNAUTHENTICATED_QUERY_BYTES_MAX && session.stall.is_none() {
                self.stats.counters.query_limit_closed += 1;
                self.cut(conn, "its request is too long for a client that has not authenticated");
            }
        } else if query > query_max {
            self.stats.counters.query_limit_closed += 1;
            self.cut(conn, "its query buffer is above client-query-buffer-limit");
        } else if hard > 0 && output >= hard {
            self.stats.counters.output_limit_closed += 1;
            self.cut(conn, "its output buffer is above the hard limit of client-output-buffer-limit");
        }
    }

    /// Once a second: idle clients, those that do not authenticate, those that do not read.
    pub(super) fn enforce_client_limits(&mut self) {
        let conns: Vec<ConnId> = self.live_sessions().map(|(conn, _)| conn).collect();
        let now_ns = self.now.mono_ns;
        let (timeout_s, limits) = (self.settings.timeout_s, self.settings.client_output_buffer_limit);
        for conn in conns {
            let session = self.session_mut(conn);
            let is_listener = session.client.subscriptions.is_some();
            let is_monitor = session.client.is_monitor;
            let limit = if is_listener || is_monitor { limits.pubsub } else { limits.normal };
            let output = session.output.unread_bytes() as u64;
            let seconds = |since_ns: u64| now_ns.saturating_sub(since_ns) / super::SECOND_NS;
            let is_over = limit.soft_bytes > 0 && output >= limit.soft_bytes;
            session.over_soft_limit_since_ns =
                if is_over { Some(session.over_soft_limit_since_ns.unwrap_or(now_ns)) } else { None };
            let over_s = session.over_soft_limit_since_ns.map_or(0, seconds);
            let (idle_s, age_s) =
                (seconds(session.client.last_active.mono_ns), seconds(session.client.accepted.mono_ns));
            let is_stranger = !session.client.is_authenticated;
            // It was over before that was seen.
            if is_over && over_s >= limit.soft_seconds {
                self.stats.counters.output_limit_closed += 1;
                self.cut(conn, "its output buffer is above the soft limit of client-output-buffer-limit for too long");
            } else if is_stranger && age_s >= UNAUTHENTICATED_SECONDS_MAX {
                self.cut(conn, "it has not authenticated in time");
            } else if timeout_s > 0 && !is_listener && !is_monitor && idle_s > timeout_s && session.output.is_empty() {
                self.stats.counters.idle_closed += 1;
                self.cut(conn, "idle for longer than timeout");
            }
        }
    }
}
