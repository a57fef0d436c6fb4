//! Why a run of the load generator could not begin or was cut short.

use std::io;

/// Which connection, after how much, and what the system or the server said.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The arguments do not make a run.
    #[error("{0}")]
    Invalid(String),
    #[error("cannot connect to {target}: {source}")]
    Connect { target: String, source: io::Error },
    #[error("{target} refused {command}: {reply}")]
    Refused { target: String, command: &'static str, reply: String },
    #[error("the server closed connection {client} of group {group} after {answered} replies on it")]
    Closed { group: String, client: u32, answered: u64 },
    #[error("connection {client} of group {group} failed after {answered} replies on it: {source}")]
    Broken { group: String, client: u32, answered: u64, source: io::Error },
    #[error("connection {client} of group {group} brought bytes that are no reply after {answered} replies: {what}")]
    Malformed { group: String, client: u32, answered: u64, what: String },
    #[error("connection {client} of group {group} brought a reply to no request after {answered} replies")]
    Unasked { group: String, client: u32, answered: u64 },
    #[error("{what}: {source}")]
    System { what: &'static str, source: io::Error },
    #[error("no process {pid} to account for")]
    NoProcess { pid: u32 },
    #[error("filling the key space met {errors} error replies, the first: {first}")]
    NotLoaded { errors: u64, first: String },
    #[error("filling the key space ended with {missing} of {keys} keys unanswered")]
    LoadUnanswered { missing: u64, keys: u64 },
    #[error("cannot write {path}: {source}")]
    Output { path: String, source: io::Error },
}

impl LoadError {
    pub(super) fn system(what: &'static str) -> impl FnOnce(rustix::io::Errno) -> Self {
        move |errno| Self::System { what, source: errno.into() }
    }
}
