//! What subscribers are sent: arrays in RESP2, pushes in RESP3.

use super::Class;
use crate::limits::LONG_VALUE_BYTES_MIN;
use crate::resp::encode::Reply;
use crate::resp::replies::Replies;
use cairn_storage::blob::Blob;

/// One message in both versions of the protocol, each written when the first connection wants it.
pub struct Told<F: Fn(&mut Reply<'_>)> {
    write: F,
    forms: [Option<Replies>; 2],
}

impl<F: Fn(&mut Reply<'_>)> Told<F> {
    pub fn new(write: F) -> Told<F> {
        Told { write, forms: [None, None] }
    }

    pub fn form(&mut self, is_resp3: bool) -> &Replies {
        let write = &self.write;
        self.forms[usize::from(is_resp3)].get_or_insert_with(|| {
            let mut replies = Replies::default();
            write(&mut Reply::new(&mut replies, is_resp3));
            replies
        })
    }
}

/// A message of a channel. `pattern`: what has matched, if that is why it is sent.
pub fn message(reply: &mut Reply<'_>, is_sharded: bool, pattern: Option<&[u8]>, channel: &[u8], payload: &Blob) {
    reply.push(if pattern.is_some() { 4 } else { 3 });
    reply.bulk(match (is_sharded, pattern) {
        (true, _) => b"smessage",
        (false, None) => b"message",
        (false, Some(_)) => b"pmessage",
    });
    pattern.into_iter().for_each(|pattern| reply.bulk(pattern));
    reply.bulk(channel);
    if payload.len() >= LONG_VALUE_BYTES_MIN {
        // All who get it send the same memory.
        reply.blob(payload.clone());
    } else {
        reply.bulk(payload);
    }
}

/// A name was subscribed to, or is no longer. `None`: there was nothing to unsubscribe from.
pub fn confirmation(reply: &mut Reply<'_>, class: Class, is_on: bool, name: Option<&[u8]>, count: usize) {
    reply.push(3);
    reply.bulk(match (class, is_on) {
        (Class::Channel, true) => b"subscribe",
        (Class::Channel, false) => b"unsubscribe",
        (Class::Pattern, true) => b"psubscribe",
        (Class::Pattern, false) => b"punsubscribe",
        (Class::Shard, true) => b"ssubscribe",
        (Class::Shard, false) => b"sunsubscribe",
        (Class::Prefix, _) => unreachable!("nobody subscribes to prefixes of keys"),
    });
    match name {
        Some(name) => reply.bulk(name),
        None => reply.null(),
    }
    reply.integer(count as i64);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(write: impl Fn(&mut Reply<'_>), resp2: &str, resp3: &str) {
        let mut told = Told::new(write);
        assert_eq!(told.form(false).flat(), resp2.as_bytes());
        assert_eq!(told.form(true).flat(), resp3.as_bytes());
    }

    #[test]
    fn messages_are_arrays_or_pushes() {
        let payload = Blob::new(b"hi".to_vec());
        let rest = "3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$2\r\nhi\r\n";
        check(|reply| message(reply, false, None, b"c", &payload), &format!("*{rest}"), &format!(">{rest}"));
        let rest = "4\r\n$8\r\npmessage\r\n$1\r\n*\r\n$1\r\nc\r\n$2\r\nhi\r\n";
        check(|reply| message(reply, false, Some(b"*"), b"c", &payload), &format!("*{rest}"), &format!(">{rest}"));
        let rest = "3\r\n$8\r\nsmessage\r\n$1\r\nc\r\n$2\r\nhi\r\n";
        check(|reply| message(reply, true, None, b"c", &payload), &format!("*{rest}"), &format!(">{rest}"));
    }

    #[test]
    fn a_long_payload_is_shared() {
        let mut replies = Replies::default();
        for len in [LONG_VALUE_BYTES_MIN - 1, LONG_VALUE_BYTES_MIN] {
            message(&mut Reply::new(&mut replies, true), false, None, b"c", &Blob::new(vec![b'x'; len]));
            assert_eq!(replies.has_blobs(), len == LONG_VALUE_BYTES_MIN);
        }
    }

    #[test]
    fn confirmations_name_what_was_asked_for() {
        let rest = "3\r\n$12\r\nsunsubscribe\r\n";
        check(
            |reply| confirmation(reply, Class::Shard, false, None, 0),
            &format!("*{rest}$-1\r\n:0\r\n"),
            &format!(">{rest}_\r\n:0\r\n"),
        );
        let rest = "3\r\n$10\r\npsubscribe\r\n$2\r\nn*\r\n:7\r\n";
        check(
            |reply| confirmation(reply, Class::Pattern, true, Some(b"n*"), 7),
            &format!("*{rest}"),
            &format!(">{rest}"),
        );
    }
}
