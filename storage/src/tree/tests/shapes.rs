//! Shapes and edges: what splits and joins leave behind, the greatest rows, a full pool, dropping.
