//! A connection goes to another core, which has more time for it.
//!
//! ```text
//! here     at rest -> [`Machine::offer`] -> leaving -> [`Machine::left`]: forgotten
//!                                              |  `----> [`Machine::keep`]: it was not taken
//! there                     [`Machine::adopt`]: it is there
//! ```
//!
//! - **M1** It has nothing under way when it is offered: no input, no reply that is not sent, nothing that others have of it (subscriptions, locks, what
//!   it watches or waits for). So all that it is stands in its [`Client`].
//! - **M2** From offer to answer both cores have it, and nobody reads from it here. Who is to be cut off is met on one of them at least, and the driver
//!   cuts the connection itself, whoever says so.
//! - **M3** It is taken only by one who knows the same users. Later changes of users reach both, or the one that has it.
//!
//! `docs/decisions/0046-connections-move.md`.

use super::Machine;
use crate::ack::Output;
use crate::event::ConnId;
use crate::session::{Client, Session};

/// A connection on its way.
#[derive(Debug)]
pub struct Handover {
    pub client: Client,
    /// Of the users that it was checked by.
    acl_version: u64,
    /// Replies that were to come so far: they are numbered on.
    holes: u64,
}

impl Machine {
    /// Connections that may go to another core and have asked for something since then.
    pub fn movable(&self, since_ns: u64) -> Vec<ConnId> {
        let sessions = self.live_sessions();
        sessions
            .filter(|(_, own)| own.may_move() && own.client.last_active.mono_ns >= since_ns)
            .map(|of| of.0)
            .collect()
    }

    /// The connection as it is, for another core, if it is at rest. Nothing is read from it any more until it is [kept](Machine::keep).
    pub fn offer(&mut self, conn: ConnId) -> Option<Box<Handover>> {
        let acl_version = self.acl.version;
        let session = self.find_session(conn).filter(|session| session.may_move() && session.is_at_rest())?;
        session.is_leaving = true;
        Some(Box::new(Handover { client: session.client.to_move(), acl_version, holes: session.output.hole_last() }))
    }

    /// Another core has it: it is forgotten here, and the driver gives its descriptor up. False: it was cut off meanwhile, and is closed as any other.
    pub fn left(&mut self, conn: ConnId) -> bool {
        let Some(session) = self.find_session(conn).filter(|session| !session.is_closing) else { return false };
        assert!(session.is_leaving, "only what was offered leaves");
        self.sessions[conn.0 as usize] = None;
        self.sessions_len -= 1;
        true
    }

    /// It was not taken, and goes on here.
    pub fn keep(&mut self, conn: ConnId) {
        if let Some(session) = self.find_session(conn) {
            session.is_leaving = false;
        }
    }

    /// Whether a connection may come: keeps M3.
    pub fn may_adopt(&self, handover: &Handover) -> bool {
        handover.acl_version == self.acl.version && !self.is_draining()
    }

    /// A connection of another core is here from now on.
    pub fn adopt(&mut self, conn: ConnId, handover: Handover) {
        assert!(self.may_adopt(&handover), "who asks is told no before");
        let mut session = Session::new(handover.client);
        session.output = Output::behind(handover.holes);
        self.seat(conn, session);
    }
}

impl Session {
    /// Whether it may go to another core when it is at rest: nobody knows where it is.
    fn may_move(&self) -> bool {
        let Client { multi, open, watched, subscriptions, tracking, .. } = &self.client;
        let is_known = self.client.is_blocked || self.client.is_monitor || self.client.is_told;
        let is_ending = self.is_closing || self.is_hung_up || self.is_leaving;
        multi.is_none()
            && open.is_none()
            && watched.is_empty()
            && subscriptions.is_none()
            && tracking.is_none()
            && self.client.is_authenticated
            && !is_known
            && !is_ending
    }

    /// Keeps M1.
    fn is_at_rest(&self) -> bool {
        let is_waiting = self.stall.is_some() || self.is_listed || self.absent > 0 || !self.held.is_empty();
        let has_output = !self.output.is_empty() || self.is_pushed || !self.pushes.is_empty();
        self.query.is_empty() && !self.is_paused && !self.is_running && !is_waiting && !has_output
    }
}
