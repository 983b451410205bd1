//! Short names for what most rows need.

use mimic_abi::{ArgType, MemAccess, MemLen};

/// Memory that the helper reads, as long as the next argument says.
pub(super) const READ: ArgType = ArgType::Mem(MemAccess::Read, MemLen::NextArg);
/// Memory that the helper writes, as long as the next argument says.
pub(super) const WRITE: ArgType = ArgType::Mem(MemAccess::Write, MemLen::NextArg);
/// Memory that the helper reads and writes, as long as the next argument says.
pub(super) const READ_WRITE: ArgType = ArgType::Mem(MemAccess::ReadWrite, MemLen::NextArg);
