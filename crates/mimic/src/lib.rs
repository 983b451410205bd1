//! mimic: run, test, debug and embed eBPF programs in userspace, with Linux's semantics.
#![forbid(unsafe_code)]

mod names;
pub mod pcap;

pub use mimic_abi as abi;
pub use mimic_linux as linux;
pub use mimic_object as object;
pub use mimic_vm as vm;
pub use names::HelperNames;
