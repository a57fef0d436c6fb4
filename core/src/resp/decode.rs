//! Stop 2 of 10: bytes -> arguments.
