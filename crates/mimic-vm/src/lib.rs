//! The eBPF virtual machine.
#![deny(unsafe_code)]
