//! The Linux eBPF subsystem.
#![forbid(unsafe_code)]
