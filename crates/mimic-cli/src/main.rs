//! The `mimic` command.
#![forbid(unsafe_code)]
fn main() {}
