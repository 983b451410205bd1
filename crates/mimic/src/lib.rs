//! mimic: run, test, debug and embed eBPF programs in userspace.
#![forbid(unsafe_code)]

pub mod pcap;
