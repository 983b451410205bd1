//! From the bytes of an eBPF object file to linked programs and map specs; deterministic and host-independent.
#![forbid(unsafe_code)]
