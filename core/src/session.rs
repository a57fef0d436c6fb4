//! Stop 2 of 10: one connection: bytes -> arguments, and replies in the order of requests.

use crate::event::{Now, Peer};

/// What CLIENT REPLY has set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReplyMode {
    #[default]
    On,
    Off,
    /// This command (CLIENT REPLY SKIP itself) is silent, and so is the next one.
    SkipNext,
    Skip,
}

/// What a connection has said about itself, and what it may do.
#[derive(Debug)]
pub struct Client {
    /// CLIENT ID: unique in the process, ascending within a shard.
    pub id: u64,
    pub peer: Peer,
    pub name: Vec<u8>,
    pub lib_name: Vec<u8>,
    pub lib_ver: Vec<u8>,
    pub db: u8,
    pub is_resp3: bool,
    pub is_authenticated: bool,
    pub reply_mode: ReplyMode,
    pub no_evict: bool,
    pub no_touch: bool,
    pub is_readonly: bool,
    pub accepted: Now,
    pub last_active: Now,
    /// The last command's full name.
    pub last_command: &'static str,
    pub commands: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
}
