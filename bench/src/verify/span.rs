//! When an operation of a history was under way, and what became of it.

use std::fmt;

/// The operation of `client` began at `invoked` and was answered at `completed`, in nanoseconds since the run began.
/// Strictly before means before: of two operations that share an instant neither comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub client: u32,
    pub invoked: u64,
    /// [`Span::OPEN`] if it was never answered.
    pub completed: u64,
}

/// What became of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Committed,
    /// Refused: it has done nothing, and never will.
    Aborted,
    /// Not answered: it may have happened, or may still happen.
    Unknown,
}

impl Span {
    pub const OPEN: u64 = u64::MAX;

    /// Of something that was never answered.
    pub fn open(client: u32, invoked: u64) -> Span {
        Span { client, invoked, completed: Span::OPEN }
    }

    /// Whether it was over before the other began.
    pub fn is_before(&self, other: &Span) -> bool {
        self.completed < other.invoked
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let us = |ns: u64| ns as f64 / 1000.0;
        write!(f, "client {} from {:.1}", self.client, us(self.invoked))?;
        match self.completed {
            Span::OPEN => write!(f, " us on, never answered"),
            completed => write!(f, " to {:.1} us", us(completed)),
        }
    }
}
