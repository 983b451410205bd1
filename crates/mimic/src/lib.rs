//! mimic: run, test, debug and embed eBPF programs in userspace, with Linux's semantics.
//!
//! [`LoadExt::load`] puts an object into a VM; [`Loaded`] gives its programs, ready to run, and its maps with typed access;
//! [`Runner`] takes a program over packets. The crates underneath are re-exported: [`abi`], [`object`], [`vm`], [`linux`].
//!
//! This crate does file formats (captures, JSON) but no terminals.
#![forbid(unsafe_code)]

mod btf_file;
pub mod ctx;
mod dump;
mod empty;
mod encode;
mod error;
mod loaded;
mod map;
mod names;
mod packet;
pub mod pcap;
#[cfg(not(target_family = "wasm"))]
mod per_cpu;
mod preset;
mod pretty;
mod rss;
mod runner;
mod struct_ops;
mod tally;
mod test_run;
pub mod world;

pub use btf_file::read_btf;
pub use dump::{Entry, MapContents, Typed, hex, unhex};
pub use empty::empty_context;
pub use error::{Error, ErrorKind};
pub use loaded::{LoadExt, Loaded, Run, Runnable};
pub use map::{MapHandle, Pair, Plain};
pub use mimic_abi as abi;
pub use mimic_linux as linux;
pub use mimic_object as object;
pub use mimic_vm as vm;
pub use names::HelperNames;
pub use packet::{AnyPacket, PacketContext, verdict_name, verdicts_of};
#[cfg(not(target_family = "wasm"))]
pub use per_cpu::Each;
pub use rss::{Rss, flow_hash};
pub use runner::{Count, RECORDS_MAX, Record, Records, Report, Runner, Verdict, VerdictKey};
pub use struct_ops::StructOpsHandle;
pub use test_run::{MapAnswer, TestAnswer, TestInput, run_test};

/// The example in the README.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
