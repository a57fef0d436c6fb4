//! The bounds of the checkers and of their runs.

/// Findings that a checker reports; it stops looking for more of a kind then.
pub const ANOMALIES_MAX: usize = 8;
/// Steps of the search for small cycles, after the first one of a component is known.
pub const CYCLE_STEPS_MAX: u64 = 50_000_000;
/// States that the search for an order of one key's operations looks at.
pub const REGISTER_STATES_MAX: usize = 5_000_000;
/// The same, while a history that has no order is made smaller.
pub const SHRINK_STATES_MAX: usize = 20_000;
/// Additions beside a reading of a counter, any of which it may have found: so many that all cases can be tried.
pub const BESIDE_MAX: usize = 14;
/// Operations of a witness that are shown.
pub const WITNESS_LINES_MAX: usize = 24;
/// Elements of a list that are shown.
pub const LIST_SHOWN_MAX: usize = 12;
/// Connections of a run.
pub const CLIENTS_MAX: u32 = 10_000;
/// Keys in use at a time.
pub const KEYS_MAX: u32 = 1_000_000;
pub const KILLS_MAX: u64 = 1_000_000;
/// An operation that is not answered by then never will be.
pub const ANSWER_NS_MAX: u64 = 30_000_000_000;
/// How long a server may take to start.
pub const START_SECONDS_MAX: u64 = 60;
