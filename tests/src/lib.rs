//! What the integration tests share: the kernel as an oracle.
#![deny(unsafe_code)]

pub mod calls;
#[cfg(unix)]
pub mod canary;
pub mod conformance;
pub mod engines;
#[cfg(unix)]
pub mod hostile;
#[cfg(target_os = "linux")]
pub mod kernel;
pub mod oracle;
pub mod random;
