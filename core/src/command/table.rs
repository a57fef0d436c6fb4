//! The command table: every command there is, found by name.

use super::Spec;

/// All rows, family by family.
pub const FAMILIES: &[&[Spec]] = &[];
