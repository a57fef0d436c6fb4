//! Scripts: the Lua machine that runs them, what it lets them do, and which of them are known.
//!
//! Nothing here knows of shards: a script's commands go to whoever runs it ([`vm::Vm::run`]), who gives back encoded replies.
//! `machine/script.rs` is that one; `docs/decisions/0017-scripts.md` says how scripts and transactions go together.
//!
//! - `source`: a script's text and what its first line says.
//! - `cache`: the scripts that a shard has seen.
//! - `library`, `payload`: libraries of functions, and how they are written down.
//! - `vm`, `prelude.lua`: the Lua state and its walls.
//! - `natives`, `json`, `msgpack`, `binary`, `bits`: what scripts find in it.
//! - `convert`, `figures`: replies and numbers, from and to Lua.

pub mod cache;
pub mod library;
pub mod payload;
pub mod source;
pub mod vm;

mod binary;
mod bits;
mod convert;
mod figures;
mod json;
mod msgpack;
mod natives;

/// Runs one more level of something nested, on more stack if there is not enough: how deep it may go is bounded by numbers, not by what
/// the stack of a worker happens to hold.
fn deeper<T>(run: impl FnOnce() -> T) -> T {
    const LEFT_BYTES_MIN: usize = 96 * 1024;
    const MORE_BYTES: usize = 1024 * 1024;
    stacker::maybe_grow(LEFT_BYTES_MIN, MORE_BYTES, run)
}

pub use source::{Script, ScriptFlags, Sha};
