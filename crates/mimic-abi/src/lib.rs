//! What eBPF programs are written against. Data only: this crate executes nothing.
#![forbid(unsafe_code)]
