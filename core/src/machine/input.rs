//! What a connection has sent: it is run straight from where it was received, or kept until it is whole or may run.

use super::Machine;
use crate::event::ConnId;
use crate::limits::LONG_VALUE_BYTES_MIN;
use std::sync::Arc;

impl Machine {
    pub(super) fn on_received(&mut self, conn: ConnId, bytes: &[u8]) {
        let now = self.now;
        self.stats.counters.net_in_bytes += bytes.len() as u64;
        let Some(session) = self.find_session(conn) else { return };
        session.client.bytes_in += bytes.len() as u64;
        session.client.last_active = now;
        let is_direct = session.query.is_empty() && session.is_runnable();
        if is_direct {
            let (taken, need) = self.run(conn, bytes);
            let session = self.session_mut(conn);
            if taken < bytes.len() && !session.is_closing {
                session.query.expect(need.unwrap_or(0));
                session.query.extend(&bytes[taken..]);
            }
        } else if !session.is_closing {
            session.query.extend(bytes);
            if session.is_runnable() {
                self.run_query(conn);
            }
        }
        self.after_run(conn);
    }

    /// Runs what stands in the connection's query buffer.
    pub(super) fn run_query(&mut self, conn: ConnId) {
        loop {
            let session = self.session_mut(conn);
            if session.query.is_short() || !session.is_runnable() {
                return;
            }
            let input = session.query.take();
            let (rest, need) = if input.len() < LONG_VALUE_BYTES_MIN {
                let (taken, need) = self.run(conn, &input);
                (after(input, taken), need)
            } else {
                self.run_long(conn, input)
            };
            if !self.session_mut(conn).query.give_back(rest, need) {
                return;
            }
        }
    }

    /// The same of a buffer in which a value may stand that becomes a row's, and the buffer with it.
    #[cold]
    fn run_long(&mut self, conn: ConnId, input: Vec<u8>) -> (Vec<u8>, Option<usize>) {
        let input = Arc::new(input);
        let (taken, need) = self.lending(&input, |machine| machine.run(conn, &input));
        let rest = Arc::try_unwrap(input).map_or_else(|kept| kept[taken..].to_vec(), |input| after(input, taken));
        (rest, need)
    }

    /// Has commands run whose arguments stand in `input`: a long one of them may be kept by keeping that.
    pub(super) fn lending<T>(&mut self, input: &Arc<Vec<u8>>, run: impl FnOnce(&mut Machine) -> T) -> T {
        let before = self.shard.lend(Some(Arc::clone(input)));
        let ran = run(self);
        self.shard.lend(before);
        ran
    }
}

/// A buffer without its first bytes.
fn after(mut buffer: Vec<u8>, taken: usize) -> Vec<u8> {
    buffer.drain(..taken);
    buffer
}
